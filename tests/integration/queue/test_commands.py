"""The commands scripts use: none that came after Redis 6.2, and few where there is nothing to do."""

import re
from importlib import resources

import pytest

from fixtures.queue_bench import Bench

pytestmark = pytest.mark.integration

CALL = re.compile(r"redis\.p?call\('([A-Z_]+)'|with_all\(\w+, '([A-Z_]+)'")


@pytest.mark.redis7
async def test_no_command_is_younger_than_redis_6_2(bench: Bench) -> None:
    scripts = resources.files("opsagent_queue") / "scripts"
    files = [*scripts.iterdir(), *(scripts / "lib").iterdir()]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    names = {one or other for one, other in CALL.findall(text)}
    assert {"ZMSCORE", "HSET", "EXISTS", "LPUSH"} <= names
    for name in sorted(names):
        # Through a script, as the client's own reading of COMMAND replies knows no DOCS.
        reply = await bench.client.eval("return redis.call('COMMAND', 'DOCS', ARGV[1])", 0, name)
        docs = dict(zip(reply[1][::2], reply[1][1::2], strict=True))
        assert tuple(map(int, docs["since"].split("."))) <= (6, 2, 0), name


async def test_looking_in_vain_costs_few_commands(bench: Bench) -> None:
    assert await bench.finish((await bench.claim_one()).lease)
    await bench.claim(5)
    await bench.client.config_resetstat()

    await bench.claim(5)
    await bench.queue.reap()

    statistics = await bench.client.info("commandstats")
    calls = {name: told["calls"] for name, told in statistics.items() if "config" not in name}
    assert calls["cmdstat_evalsha"] == 2
    assert sum(calls.values()) <= 12, calls
