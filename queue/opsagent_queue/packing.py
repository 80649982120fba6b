"""Commands are packed by hiredis, as replies are read by it, and sent at once.

redis-py's asyncio connections pack arguments one by one in Python: 0.6 µs each, with ten of them for every task that ends.
Its blocking connections leave that to hiredis, a tenth of the time; here ours do, too.

They also wait, in `asyncio.wait_for`, until the system has taken a command. Before Python 3.12 that makes a task of each, two turns of the
loop later than need be, and may swallow a cancellation. Ours do not wait: a reply is waited for in any case, for the same time.
"""

from collections.abc import Iterable
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection


class _Packing(AbstractConnection):
    def pack_command(self, *args: Any) -> list[bytes]:
        command, *operands = args
        if isinstance(command, str):
            command = command.encode()  # "CLIENT KILL" and its like are two words to the server
        try:
            return [hiredis.pack_command((*command.split(), *operands))]
        except (TypeError, UnicodeEncodeError):
            # Text that is no UTF-8 (see `encoding_errors`), or a kind of value that hiredis does not know.
            return super().pack_command(*args)

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002 - as it is declared
    ) -> None:
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call] # redis-py leaves it untyped
        writer = self._writer
        if writer is None or writer.is_closing() or isinstance(command, (bytes, str)):
            # It has to be connected first, or to be found lost.
            await super().send_packed_command(command, check_health=False)
            return
        writer.writelines(command)


def packing(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """`kind` of connection, with commands packed by hiredis."""
    return cast("type[AbstractConnection]", type(f"Packing{kind.__name__}", (_Packing, kind), {}))
