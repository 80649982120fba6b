"""Commands that go straight to an idle connection.

redis-py's asyncio client takes a connection out of its pool under a lock and a timeout, measures that for telemetry, and wraps
each command in a retry: together more code than all else between a task's arrival and its start. Where a connection stands idle,
none of it is needed.
"""

from typing import Any, cast

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection


class DirectPool(BlockingConnectionPool):
    """A pool that has a short way, too: to a connection that is idle, while nobody waits for one."""

    _waiting = 0
    """Callers of `get_connection` that have none yet, or one that is still being made."""

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        self._waiting += 1
        try:
            return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call] # redis-py leaves it so
        finally:
            self._waiting -= 1

    def take_idle(self) -> Connection | None:
        """A connection, which may be broken; none while the next one is still to be made."""
        idle = self._available_connections
        if self._waiting or not idle or not idle[-1].is_connected:
            return None
        return cast("Connection", self.get_available_connection())  # type: ignore[no-untyped-call]

    async def give_back(self, connection: Connection) -> None:
        if connection.should_reconnect():  # type: ignore[no-untyped-call]
            await self.release(connection)
            return
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)
        if self._waiting:
            async with self._condition:
                self._condition.notify()


class DirectRedis(Redis):
    """Sends each command at once, on a connection that is idle and well.

    All else is left to redis-py: making connections and waiting for one, and sending a command again that a broken
    connection has not answered. So one that was sent from here may be sent once more often than the pool's `retry` says.
    HIMPORT, for which redis-py prepares the connection first, is not for this client.
    """

    connection_pool: DirectPool

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        connection = None if self.single_connection_client else self.connection_pool.take_idle()
        if connection is not None:
            try:
                # Readable without having been asked: it was closed, or an answer came that nobody waits for.
                if not await connection.can_read():
                    await connection.send_packed_command(connection.pack_command(*args))
                    return await self.parse_response(connection, args[0], **options)
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                pass  # whoever could not read has closed it
            finally:
                await self.connection_pool.give_back(connection)
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
