"""A client of Redis whose commands travel together.

Visits that look at their queues at the same moment share a round trip: a thousand objects on one
Redis need no more connections than one.
"""

import asyncio
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool

__all__ = ["BatchingRedis"]

MOST: Final = 64
"""Commands sent together, so that the replies to the first ones are not kept waiting for long."""


class _Command(NamedTuple):
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    reply: asyncio.Future[Any]


class BatchingRedis(Redis):
    """Sends all commands that are given in one turn of the event loop in one write.

    Each gets its own reply, or its own error. While `batches` writes wait for their replies, what is
    given meanwhile waits, too, and then goes together. A write is given up after `timeout` seconds:
    each of its commands then fails with `TimeoutError`. A command that nobody waits for any more is not sent.
    """

    def __init__(self, connection_pool: ConnectionPool, *, batches: int, timeout: float) -> None:
        super().__init__(connection_pool=connection_pool)
        self.auto_close_connection_pool = True
        self._most_batches = batches
        self._batch_timeout = timeout
        self._commands: list[_Command] = []
        self._batches: set[asyncio.Task[None]] = set()
        self._about_to_send = False

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        reply = asyncio.get_running_loop().create_future()
        self._commands.append(_Command(args, options, reply))
        self._start_batch()
        return await reply

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - redis-py's signature
        for command in self._commands:
            command.reply.cancel()
        self._commands.clear()
        while self._batches:
            for batch in self._batches:
                batch.cancel()
            # Before Python 3.12 `asyncio.wait_for`, which redis-py uses, may swallow one.
            await asyncio.wait(self._batches, timeout=1.0)
        await super().aclose(close_connection_pool)

    def _start_batch(self) -> None:
        if self._commands and not self._about_to_send and len(self._batches) < self._most_batches:
            self._about_to_send = True
            batch = asyncio.get_running_loop().create_task(self._send())
            self._batches.add(batch)
            batch.add_done_callback(self._ended)

    def _ended(self, batch: asyncio.Task[None]) -> None:
        self._batches.discard(batch)
        self._start_batch()

    async def _send(self) -> None:
        # A task begins in the next turn of the loop: all that was given in this one is here.
        self._about_to_send = False
        wanted = [command for command in self._commands if not command.reply.done()]
        commands, self._commands = wanted[:MOST], wanted[MOST:]
        self._start_batch()
        try:
            pipeline = self.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command.arguments, **command.options)
            async with asyncio.timeout(self._batch_timeout):
                replies = await pipeline.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait have to know
            replies = [error] * len(commands)
        except asyncio.CancelledError:
            for command in commands:
                command.reply.cancel()
            raise
        for command, reply in zip(commands, replies, strict=True):
            if command.reply.done():
                continue  # nobody waits for it any more
            if isinstance(reply, Exception):
                command.reply.set_exception(reply)
            else:
                command.reply.set_result(reply)
