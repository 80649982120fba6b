"""Tells what is going on, line by line, with the time since the command began."""

import sys
import time

_BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print one line to stderr, so that stdout holds only what was asked for."""
    elapsed = time.monotonic() - _BEGAN
    print(f"[{elapsed:6.1f}s] {text}", file=sys.stderr, flush=True)
