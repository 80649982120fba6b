"""The process around the worker: settings, logs, signals, exit codes."""

import asyncio
import gc
import os
import signal
import sys
import threading
from typing import Final

import sentry_sdk
import structlog
import uvloop

from opsagent_worker import logs
from opsagent_worker.drain import StopSignals
from opsagent_worker.error_reports import configure_error_reports
from opsagent_worker.settings import SettingsError
from opsagent_worker.startup import load
from opsagent_worker.worker import run_worker

STOPPED: Final = 0
FAILED: Final = 1
MISCONFIGURED: Final = 2

_LAST_REPORT_SECONDS: Final = 2.0

# With the 8 s of an interrupted drain still inside what a pod's grace period has beyond the drain timeout (see drain.py).
_AFTERWARDS_SECONDS: Final = 3.0


def run() -> int:
    """Runs a worker until it is told to stop; returns the exit code.

    0: stopped as asked. 1: a fault of the worker itself. 2: the settings are wrong; every problem is on stderr.
    """
    try:
        settings, own = load()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for a person; logs are not configured yet
        return MISCONFIGURED
    # What is there by now stays: the garbage collector need not look at it again and again, for tens of milliseconds.
    gc.freeze()
    redactor = settings.redactor()
    lines = logs.configure(level=settings.log_level, redactor=redactor)
    error_reports = configure_error_reports(settings, redactor)

    async def main() -> int:
        signals = StopSignals()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, signals.received)
        code = FAILED
        try:
            with lines.gathering():
                await run_worker(
                    settings, own=own, signals=signals, error_reports=error_reports, lines=lines
                )
            code = STOPPED
        except Exception as error:  # noqa: BLE001 - the last line of defence: log it, and let the pod be restarted
            # Here, as what the worker left running may keep all that follows from happening.
            structlog.get_logger().critical("worker failed", exc_info=error)
            error_reports.fault(error)
        finally:
            _end_within(_AFTERWARDS_SECONDS, code)
        return code

    try:
        return uvloop.run(main())
    finally:
        sentry_sdk.flush(timeout=_LAST_REPORT_SECONDS)


def _end_within(seconds: float, code: int) -> None:
    """Ends the process after `seconds` if it has not ended by then.

    The worker has done its part; but Python waits for handlers that ignore their cancellation, and for threads that they
    have left behind, for ever.
    """

    def end() -> None:
        sentry_sdk.flush(timeout=_LAST_REPORT_SECONDS)
        sys.stdout.flush()
        os._exit(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
