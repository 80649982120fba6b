"""Watching what takes its time at Vercel: with patience for passing trouble, and an end to it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from structlog.typing import FilteringBoundLogger

from opsagent_worker.backoff import Backoff, spread
from opsagent_worker.errors import DeferredError, RetryableError

# Trouble that lasts longer is the queue's to wait out: it takes no slot there.
_MOST_FAILURES: Final = 6
_LONGEST_PAUSE: Final = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Polling:
    interval: float
    """Seconds between two looks, give or take a fifth."""
    patience: float
    """Seconds after which what is watched has taken too long."""

    async def pause(self) -> None:
        await asyncio.sleep(spread(self.interval))

    async def ask(self, question: Callable[[], Awaitable[T]], log: FilteringBoundLogger) -> T:
        """The answer to a question that may be asked again.

        Asks up to six times: an attempt is not worth losing over a server that fails once.

        Raises:
            TaskError: the last failure, or one that asks for more than a minute of patience.
        """
        backoff = Backoff(base=2 * self.interval, ceiling=_LONGEST_PAUSE)
        for failures in range(1, _MOST_FAILURES):
            try:
                return await question()
            except (RetryableError, DeferredError) as error:
                trouble = error
            wanted = (
                trouble.retry_after if isinstance(trouble, RetryableError) else trouble.retry_in
            )
            if wanted is not None and wanted > _LONGEST_PAUSE:
                raise trouble
            log.warning("asked again in a moment", reason=str(trouble), failures=failures)
            await asyncio.sleep(backoff.delay(failures, retry_after=wanted))
        return await question()
