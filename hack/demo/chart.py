"""Installs the operator as a user would: with helm."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import gobuild
from devcluster.failure import ClusterError
from devcluster.gobuild import HACK

CHART = HACK.parent / "helm" / "opsagent-operator"
RELEASE = "opsagent-operator"
NAMESPACE = "opsagent-system"


@dataclass(frozen=True)
class Operator:
    """The chart's release on the cluster of `kubeconfig`."""

    kubeconfig: Path

    def install(self, values: Mapping[str, Any]) -> None:
        """Install or upgrade; returns when the operator is ready."""
        flags = ("--install", "--create-namespace", "--wait", "--timeout=3m", "--values=-")
        self._helm("upgrade", RELEASE, CHART, *flags, stdin=json.dumps(values))

    def uninstall(self) -> None:
        """Remove what helm installed, and return when it is gone; CRD and objects stay."""
        self._helm("uninstall", RELEASE, "--wait", "--ignore-not-found")

    def _helm(self, *arguments: str | Path, stdin: str = "") -> None:
        found = shutil.which("helm")
        program = Path(found) if found else gobuild.build([gobuild.HELM])["helm"]
        done = subprocess.run(
            [program, *arguments, "--namespace", NAMESPACE, "--kubeconfig", self.kubeconfig],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"`helm {arguments[0]}` failed: {done.stderr.strip()}")
