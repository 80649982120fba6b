"""Commands look the same to the server, whoever packs them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import Connection
from redis.exceptions import DataError

from opsagent_queue.packing import packing

OPTIONS: dict[str, Any] = {"encoding_errors": "surrogateescape", "decode_responses": True}
OURS = packing(Connection)(**OPTIONS)
REDIS_PYS = Connection(**OPTIONS)

texts = st.text(st.characters(exclude_categories=["Cs"]))
operands = texts | st.binary() | st.integers() | st.floats(allow_nan=False)


@given(st.sampled_from(["EVALSHA", "CLIENT KILL", b"GET"]), st.lists(operands))
def test_a_command_is_packed_as_by_redis_py(command: str | bytes, args: list[Any]) -> None:
    ours = b"".join(OURS.pack_command(command, *args))

    assert ours == b"".join(REDIS_PYS.pack_command(command, *args))


def test_text_that_is_no_utf_8_keeps_its_bytes() -> None:
    (packed,) = OURS.pack_command("GET", b"caf\xe9".decode("utf-8", "surrogateescape"))

    assert packed.endswith(b"$4\r\ncaf\xe9\r\n")


def test_a_value_that_redis_has_no_word_for_is_refused() -> None:
    value: Any = object()
    with pytest.raises(DataError, match="Invalid input of type"):
        OURS.pack_command("GET", value)
