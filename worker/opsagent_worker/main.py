"""Entry point, kept so small that a signal to stop is understood as early as possible."""

import atexit
import os
import signal
import sys
from contextlib import suppress


class _End:
    """Ends the process once all others that are told of its end have been.

    Python would go on to take apart each module and object, which takes up to a second on a busy machine, most of what a
    stopping worker takes, and changes nothing.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        """None: the worker did not come to its end, and Python has something to say."""
        # The first to be registered is the last to be called: threads have been joined, handlers' own farewells said.
        atexit.register(self)

    def __call__(self) -> None:
        if self.code is None:
            return
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(self.code)


def main() -> None:
    # As PID 1 of a container the process would ignore SIGTERM until its own handlers are there, and then run on unaware.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    end = _End()

    from opsagent_worker.process import run

    end.code = run()
    sys.exit(end.code)
