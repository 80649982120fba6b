"""Starts one worker the way its users do, and reads what it prints."""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks.failure import BenchmarkError
from benchmarks.process_tree import ProcessTree
from devcluster.environment import without_proxies

_GRACE_SECONDS = 20.0
_TAIL_BYTES = 4000


@dataclass
class _Output:
    """Takes a process's output from a pipe, as a log collector would, and keeps its end."""

    pipe: IO[bytes]
    received: int = 0
    tail: bytes = b""
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with self.pipe:
            while block := self.pipe.read(1 << 16):
                self.received += len(block)
                self.tail = (self.tail + block)[-_TAIL_BYTES:]


class Worker:
    """One running worker and its child processes."""

    def __init__(
        self, command: Sequence[str | Path], *, environment: Mapping[str, str], folder: Path
    ) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**without_proxies(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
        if self._process.stdout is None:
            raise RuntimeError("a pipe was asked for")
        self._output = _Output(self._process.stdout)
        self.tree = ProcessTree(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def printed_bytes(self) -> int:
        return self._output.received

    @property
    def last_words(self) -> str:
        return self._output.tail.decode(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """The exit code, at the moment when it has ended. Raises BenchmarkError if it does not."""
        if self._process.poll() is None:
            # Popen.wait(timeout) would look every 50 ms.
            descriptor = os.pidfd_open(self.pid)
            try:
                select.select([descriptor], [], [], seconds)
            finally:
                os.close(descriptor)
        if (code := self._process.poll()) is None:
            raise BenchmarkError(f"a worker did not end within {seconds:.0f} s")
        return code

    def end(self) -> None:
        """Ask it to stop, and after a while make it and all its children."""
        pids = self.tree.pids()
        self._process.terminate()
        try:
            self._process.wait(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in {*pids, *self.tree.pids()}:
                _kill(pid)
            self._process.wait()
        self._output.thread.join(timeout=_GRACE_SECONDS)

    def until(self, condition: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Wait for `condition`; raises BenchmarkError with the worker's last words if in vain."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.exit_code is not None or time.monotonic() > deadline:
                raise BenchmarkError(
                    f"waited in vain for {what}; the worker's last words:\n{self.last_words}"
                )
            time.sleep(0.01)


@contextmanager
def launched(
    command: Sequence[str | Path], *, environment: Mapping[str, str], folder: Path
) -> Iterator[Worker]:
    worker = Worker(command, environment=environment, folder=folder)
    try:
        yield worker
    finally:
        worker.end()


def run(command: Sequence[str | Path], *, environment: Mapping[str, str], folder: Path) -> None:
    """Run a program to its end. Raises BenchmarkError if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**without_proxies(), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stdout + done.stderr)[-_TAIL_BYTES:]
        raise BenchmarkError(f"`{command[0]} …` failed:\n{words}")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
