"""A fault of the worker itself is told, whatever else goes on."""

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


def test_a_fault_is_logged_although_a_thread_hangs() -> None:
    ended = subprocess.run(  # noqa: S603 - fixed program, arguments made here
        [sys.executable, "-c", FAILS_WITH_A_THREAD_LEFT],
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

    assert ended.returncode == 1
    assert '"worker failed"' in ended.stdout
    assert "RuntimeError: a fault" in ended.stdout
