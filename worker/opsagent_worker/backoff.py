"""How long to wait before trying again.

Exponential with full jitter, the variant that spreads retries best in Marc Brooker's comparison ("Exponential Backoff
And Jitter", AWS Architecture Blog, 2015): uniform between nothing and the exponential ceiling.
"""

from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Final

# A server may ask for more patience than our own ceiling, but not for so much that its task is as good as lost.
LONGEST_RETRY_AFTER: Final = 3600.0

RANDOM: Final = SystemRandom()

# 2**64 exceeds any ceiling; beyond it a float would overflow.
_LARGEST_EXPONENT: Final = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits in seconds; `base` bounds the first one, each further bound is twice as high, up to `ceiling`."""

    base: float
    ceiling: float
    random: Random = RANDOM

    def delay(self, failures: int, *, retry_after: float | None = None) -> float:
        """Seconds to wait after `failures` (≥ 1) failures in a row.

        With `retry_after` at least that long, at most `LONGEST_RETRY_AFTER` or the ceiling: jitter is only added, so that
        many tasks told to wait for the same second do not come back in it together.
        """
        bound = min(self.ceiling, self.base * 2.0 ** min(failures - 1, _LARGEST_EXPONENT))
        jittered = self.random.uniform(0, bound)
        if retry_after is None:
            return jittered
        return min(retry_after + jittered, max(LONGEST_RETRY_AFTER, self.ceiling))


def spread(seconds: float, random: Random = RANDOM) -> float:
    """`seconds`, shortened or lengthened by up to a fifth, so that many workers do not act in step."""
    return seconds * random.uniform(0.8, 1.2)
