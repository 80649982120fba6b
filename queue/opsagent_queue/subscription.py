"""Listening on channels of Redis: a subscription that survives the loss of its connection.

It stands on a plain connection of redis-py instead of its `PubSub`: that one cannot tell which of
several channels was refused, and takes twice as long for a message.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError

logger = logging.getLogger(__name__)


class Subscribed(msgspec.Struct, frozen=True):
    """Channels are listened to from now on: what was published there before is not known."""

    channels: tuple[str, ...] = ()
    """Those that were added; empty for all, after the connection was made or made again."""


class Message(msgspec.Struct, frozen=True):
    """What somebody has published."""

    channel: str
    text: str


_PING_SECONDS: Final = 15.0
_REFUSED_SECONDS: Final = 5.0
"""Until a channel that Redis refused is asked for again: its rules may have been changed."""
_MAX_PAUSE_SECONDS: Final = 1.0


class Subscription:
    """Messages of some channels, to be entered with `async with` and read with `async for`.

    Yields `Subscribed` after each connection, and for channels that are added later; in between, a
    `Message` for each that is published. Never ends and never raises while Redis is away: the first
    attempt to reconnect is made at once, later ones with jitter, at most a second apart. A
    connection that answers no PING for 15 s is taken for dead. A channel that this user may not
    listen to harms no other one; it is logged and asked for again.
    """

    def __init__(self, redis: Redis, channels: Iterable[str] = ()) -> None:
        pool = redis.connection_pool
        # A connection of its own: a subscriber must neither occupy one that commands need nor
        # wait through the retries that suit commands.
        self._kind: type[AbstractConnection] = pool.connection_class
        self._options: dict[str, Any] = {
            **pool.connection_kwargs,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
        }
        self._wanted = dict.fromkeys(channels)
        self._any_wanted = asyncio.Event()
        if self._wanted:
            self._any_wanted.set()
        self._connection: AbstractConnection | None = None
        self._complete = False
        """Whether `Subscribed` was told of this connection."""
        self._outbox: list[tuple[str, str]] = []
        self._asked: deque[tuple[str, str]] = deque()
        """Commands without an answer so far; Redis answers in their order."""
        self._confirmed: list[str] = []
        """Channels of which `Subscribed` has to be told yet."""
        self._refused: dict[str, None] = {}
        self._ask_again_at = 0.0
        self._sending: asyncio.Task[None] | None = None
        self._failures = 0
        self._pinged = False

    @property
    def listening(self) -> bool:
        """Whether messages can arrive at present, as far as is known."""
        return self._complete

    def add(self, *channels: str) -> None:
        """Listen on these, too."""
        self._change("SUBSCRIBE", [name for name in channels if name not in self._wanted])

    def remove(self, *channels: str) -> None:
        """Listen on these no more; messages that are on their way may still arrive."""
        self._change("UNSUBSCRIBE", [name for name in channels if name in self._wanted])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._drop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Subscribed | Message:
        while True:
            try:
                if self._connection is None:
                    await self._connect()
                elif (event := await self._listen(self._connection)) is not None:
                    return event
            except (RedisError, OSError) as error:
                await self._drop()
                await self._pause(error)

    async def _connect(self) -> None:
        await self._any_wanted.wait()
        connection = self._kind(**self._options)
        try:
            await connection.connect()  # type: ignore[no-untyped-call] # redis-py leaves it so
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        self._pinged = False
        self._send("SUBSCRIBE", self._wanted)

    async def _listen(self, connection: AbstractConnection) -> Subscribed | Message | None:
        """What to tell; None when only the connection was looked after."""
        self._ask_again()
        try:
            reply = await connection.read_response(timeout=_PING_SECONDS, disconnect_on_error=False)
        except NoPermissionError as error:
            if not self._asked:
                raise
            self._refuse(self._asked.popleft()[1], error)
        else:
            if reply is None:
                self._ping()
            elif reply[0] == "message":
                self._pinged = False
                # Before that, `Subscribed` is still to come and says more.
                return Message(reply[1], reply[2]) if self._complete else None
            elif reply[0] in {"subscribe", "unsubscribe"} and self._asked:
                self._confirm(*self._asked.popleft())
            else:
                self._pinged = False
        return None if self._asked or self._outbox or not self._confirmed else self._tell()

    def _tell(self) -> Subscribed:
        """All that was asked for is answered."""
        confirmed, self._confirmed = tuple(self._confirmed), []
        self._failures = 0
        if self._complete:
            return Subscribed(confirmed)
        self._complete = True
        return Subscribed()

    def _ping(self) -> None:
        """Nothing was heard for a while: does the connection live?"""
        if self._pinged or self._asked:
            raise TimeoutError("Redis did not answer on the subscription")
        self._pinged = True
        self._outbox.append(("PING", ""))
        self._start_sending()

    def _confirm(self, verb: str, channel: str) -> None:
        if verb == "SUBSCRIBE" and channel in self._wanted:
            self._refused.pop(channel, None)
            self._confirmed.append(channel)

    def _refuse(self, channel: str, error: NoPermissionError) -> None:
        if channel in self._wanted:
            if channel not in self._refused:
                logger.warning("Redis does not let us listen on %s: %s", channel, error)
            self._refused[channel] = None
            self._ask_again_at = asyncio.get_running_loop().time() + _REFUSED_SECONDS

    def _ask_again(self) -> None:
        if self._refused and asyncio.get_running_loop().time() >= self._ask_again_at:
            self._ask_again_at = float("inf")
            self._send("SUBSCRIBE", self._refused)

    def _change(self, verb: str, channels: Iterable[str]) -> None:
        for channel in channels:
            if verb == "SUBSCRIBE":
                self._wanted[channel] = None
            else:
                del self._wanted[channel]
                self._refused.pop(channel, None)
        if self._wanted:
            self._any_wanted.set()
        else:
            self._any_wanted.clear()
        if self._connection is not None:  # else the next one asks for all that is wanted then
            self._send(verb, channels)

    def _send(self, verb: str, channels: Iterable[str]) -> None:
        # Each in a command of its own, so that each has an answer of its own.
        self._outbox += [(verb, channel) for channel in channels]
        self._start_sending()

    def _start_sending(self) -> None:
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._send_all())

    async def _send_all(self) -> None:
        while self._outbox and (connection := self._connection) is not None:
            if not connection.is_connected:
                return
            commands, self._outbox = self._outbox, []
            self._asked += [command for command in commands if command[0] != "PING"]
            packed = connection.pack_commands(
                (verb, channel) if channel else (verb,) for verb, channel in commands
            )
            try:
                await connection.send_packed_command(packed, check_health=False)
            except (RedisError, OSError):
                return  # whoever reads is told, too

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        sending, self._sending = self._sending, None
        self._complete = False
        self._outbox.clear()
        self._asked.clear()
        self._confirmed.clear()
        self._refused.clear()
        if sending is not None:
            sending.cancel()
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _pause(self, error: Exception) -> None:
        """Nothing after the first failure, then up to twice as long each time, with full jitter."""
        self._failures += 1
        if self._failures == 1:
            logger.warning("subscription lost, reconnecting: %s", error)
            return
        longest = min(_MAX_PAUSE_SECONDS, 0.025 * 2 ** min(self._failures, 10))
        await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - jitter, no secret
