"""The environment of programs that speak to a local cluster."""

import os
from collections.abc import Mapping

_LOCAL = "127.0.0.0/8,10.200.0.0/14"


def without_proxies() -> Mapping[str, str]:
    """This process's environment, in which no proxy stands before clusters of this machine.

    A proxy for everything else (package registries) stays.
    """
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    exempt = f"{listed},{_LOCAL}" if listed else _LOCAL
    return {**os.environ, "NO_PROXY": exempt, "no_proxy": exempt}
