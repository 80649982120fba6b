"""Commands are written by hiredis, as replies are read by it.

redis-py's asyncio connections pack arguments one by one in Python: 0.6 µs each, with ten of them for every task that ends.
Its blocking connections leave that to hiredis, a tenth of the time; here ours do, too.
"""

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


def packing(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """`kind` of connection, with commands packed by hiredis."""
    return cast("type[AbstractConnection]", type(f"Packing{kind.__name__}", (_Packing, kind), {}))
