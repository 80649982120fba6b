"""Entry point, kept so small that a signal to stop is understood as early as possible."""

import signal
import sys


def main() -> None:
    # As PID 1 of a container the process would ignore SIGTERM until its own handlers are there, and then run on unaware.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    from opsagent_worker.process import run

    sys.exit(run())
