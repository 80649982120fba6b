"""Entry point, kept so small that a signal to stop is understood as early as possible."""

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def main() -> NoReturn:
    # As PID 1 of a container the process would ignore SIGTERM until its own handlers are there, and then run on unaware.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    from opsagent_worker.process import run

    _end(run())


def _end(code: int) -> NoReturn:
    """Ends the process as Python does, but for its last step.

    There it would take apart each module and object, which takes up to a second on a busy machine, most of what a stopping
    worker takes, and changes nothing. `atexit` alone could not end it: whoever registered before us would not be called.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public name for this, nor the next
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
