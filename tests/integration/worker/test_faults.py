"""How the process ends: a fault of the worker itself is told, and nobody who is told of the end is left out."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

# A thread of asyncio's own pool is waited for without limit when the loop is closed.
FAILS_WITH_A_THREAD_LEFT = """
import asyncio, sys, threading
from opsagent_worker import process

async def run_worker(*_, **__):
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    raise RuntimeError("a fault")

process.run_worker = run_worker
process._AFTERWARDS_SECONDS = 0.2
sys.exit(process.run())
"""

# Registered before the worker is there, as programs do that watch another one, such as coverage and tracing.
ENDS = """
import atexit
atexit.register(print, "a wrapper's farewell")

from opsagent_worker import main, process

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()

async def run_worker(*_, **__):
    atexit.register(print, "a handler's farewell")

process.run_worker = run_worker
main.main()
"""


def test_a_fault_is_logged_although_a_thread_hangs() -> None:
    ended = run(FAILS_WITH_A_THREAD_LEFT)

    assert ended.returncode == 1
    assert '"worker failed"' in ended.stdout
    assert "RuntimeError: a fault" in ended.stdout


def test_what_is_to_happen_at_exit_happens_but_nothing_is_taken_apart() -> None:
    ended = run(ENDS)

    assert ended.returncode == 0
    assert ended.stdout.splitlines() == ["a handler's farewell", "a wrapper's farewell"]


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - fixed program, arguments made here
        [sys.executable, "-c", program],
        env={
            "PATH": os.environ["PATH"],
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "WORKER_BUILTINS": "none",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
