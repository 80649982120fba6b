"""What Redis' refusals mean: wait, or have somebody look. Texts as Redis 7.0 and 6.2 send them."""

import pytest
from redis._parsers import BaseParser

from opsagent_queue import QueueRefusedError, QueueUnavailableError
from opsagent_queue.connection import redis_errors

SCRIPT_7 = " script: 4ca238f611c9d0ae4e9a75a5dbac22aedc1e44b2, on @user_script:14."
SCRIPT_62 = "ERR Error running script (call to f_4ca238f611): @user_script:14: @user_script: 14: -"
FOUND_62 = "ERR Error running script (call to f_4ca238f611): @user_script:14: "
"""Before what a command itself has found; before what forbids the command, it is the text above."""


def meaning(reply: str) -> Exception:
    with pytest.raises((QueueRefusedError, QueueUnavailableError)) as caught, redis_errors():
        raise BaseParser.parse_error(reply)  # type: ignore[no-untyped-call] # redis-py leaves it untyped
    return caught.value


@pytest.mark.parametrize(
    "reply",
    [
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOREPLICAS Not enough good replicas to write.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "UNKILLABLE Sorry the script already executed write commands against the dataset.",
        "CLUSTERDOWN The cluster is down",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "ERR max number of clients reached",
        f"READONLY You can't write against a read only replica.{SCRIPT_7}",
        f"{SCRIPT_62}READONLY You can't write against a read only replica. ",
        f"{SCRIPT_62}NOREPLICAS Not enough good replicas to write. ",
    ],
)
def test_what_ends_by_itself_is_unavailable(reply: str) -> None:
    assert isinstance(meaning(reply), QueueUnavailableError)


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "raise maxmemory"),
        (f"OOM command not allowed when used memory > 'maxmemory'.{SCRIPT_7}", "raise maxmemory"),
        (f"{SCRIPT_62}OOM command not allowed when used memory > 'maxmemory'. ", "raise maxmemory"),
        ("MISCONF Redis is configured to save RDB snapshots, but it's unable to.", "its disk"),
        ("NOPERM User ops has no permissions to run the 'evalsha' command", "be granted"),
        (f"{SCRIPT_62}NOPERM this user has no permissions to run the 'zadd' command ", "granted"),
        (f"ERR The user executing the script can't run this command{SCRIPT_7}", "be granted"),
        (
            "ERR ACL failure in script: User ops has no permissions to run the 'zadd' command",
            "be g",
        ),
        ("NOAUTH Authentication required.", "credentials"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "credentials"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "another prefix"),
        (f"WRONGTYPE Operation against a key holding the wrong kind{SCRIPT_7}", "another prefix"),
        (f"{FOUND_62}WRONGTYPE Operation against a key holding the wrong kind", "another prefix"),
        ("MOVED 3999 127.0.0.1:6381", "Cluster, which is not supported"),
        ("CROSSSLOT Keys in request don't hash to the same slot", "Cluster, which is not"),
        ("ERR unknown command 'EVALSHA'", "unknown command"),
        ("NOTBUSY something unheard of", "unheard of"),
    ],
)
def test_what_somebody_has_to_look_at_is_refused_with_advice(reply: str, advice: str) -> None:
    error = meaning(reply)
    assert isinstance(error, QueueRefusedError)
    assert advice in str(error)
