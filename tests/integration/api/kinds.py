"""The kinds of constraints that fields of the API have, each with values it accepts and values it refuses."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

ABSENT: Final = object()

# What the API server says when a keyword of the schema is violated.
KEYWORD_MESSAGES: Final = {
    "minimum": "should be greater than or equal to",
    "maximum": "should be less than or equal to",
    "maxLength": "Too long",
    "maxItems": "Too many",
    "maxProperties": "Too many",
    "enum": "Unsupported value",
    "required": "Required value",
    "unique": "Duplicate value",
}


@dataclass(frozen=True)
class Constraint:
    """`field` may be any of `accepts` and none of `refuses`, of which the API server then says `says`.

    `field` is a path in the schema: `[]` is an item of a list, `{}` a value of a map.
    """

    sentence: str
    field: str
    says: str
    accepts: tuple[Any, ...]
    refuses: tuple[Any, ...]


def required(field: str, example: Any) -> Constraint:
    return Constraint(
        sentence=f"{field} is required",
        field=field,
        says=KEYWORD_MESSAGES["required"],
        accepts=(example,),
        refuses=(ABSENT,),
    )


def one_of(field: str, *values: str, wrong: str) -> Constraint:
    return Constraint(
        sentence=f"{field} is one of {', '.join(values)}",
        field=field,
        says=KEYWORD_MESSAGES["enum"],
        accepts=values,
        refuses=(wrong, ""),
    )


def bounded(field: str, low: int, high: int) -> Iterator[Constraint]:
    yield Constraint(
        sentence=f"{field} is {low} or more",
        field=field,
        says=KEYWORD_MESSAGES["minimum"],
        accepts=(low,),
        refuses=(low - 1,),
    )
    yield Constraint(
        sentence=f"{field} is {high} or less",
        field=field,
        says=KEYWORD_MESSAGES["maximum"],
        accepts=(high,),
        refuses=(high + 1,),
    )


def no_longer_than(length: int, field: str, *, longest: str | None = None) -> Constraint:
    """`longest` is a valid value of that length; by default any letters are."""
    return Constraint(
        sentence=f"{field} has at most {length} characters",
        field=field,
        says=KEYWORD_MESSAGES["maxLength"],
        accepts=("a" * length if longest is None else longest,),
        refuses=("a" * (length + 1),),
    )


def no_more_than(count: int, field: str, items: list[Any]) -> Constraint:
    """`items` is one more than allowed."""
    assert len(items) == count + 1
    return Constraint(
        sentence=f"{field} has at most {count} items",
        field=field,
        says=KEYWORD_MESSAGES["maxItems"],
        accepts=(items[:count],),
        refuses=(items,),
    )


def no_more_entries_than(count: int, field: str, value: Any) -> Constraint:
    entries = {f"key{number}": value for number in range(count + 1)}
    return Constraint(
        sentence=f"{field} has at most {count} entries",
        field=field,
        says=KEYWORD_MESSAGES["maxProperties"],
        accepts=({key: value for key, value in entries.items() if key != "key0"},),
        refuses=(entries,),
    )


def without_duplicates(field: str, accepted: list[Any], refused: list[Any]) -> Constraint:
    return Constraint(
        sentence=f"{field} has no duplicates",
        field=field,
        says=KEYWORD_MESSAGES["unique"],
        accepts=(accepted,),
        refuses=(refused,),
    )


def object_name(field: str) -> Iterator[Constraint]:
    yield Constraint(
        sentence=f"{field} is the name of a Kubernetes object",
        field=field,
        says="must be the name of a Kubernetes object",
        accepts=("a", "ops-agent", "ops.agent.v2", "0ps"),
        refuses=("", "Ops-Agent", "ops_agent", "-ops", "ops-", "ops..agent", "a/b", "a b", "ä"),
    )
    yield no_longer_than(253, field)


def data_key(field: str) -> Iterator[Constraint]:
    yield Constraint(
        sentence=f"{field} is a key of a Secret or ConfigMap",
        field=field,
        says="must be a key of the Secret or ConfigMap",
        accepts=("REDIS_URL", "redis.url", "tls-ca.crt"),
        refuses=("", "REDIS URL", "redis/url", "key=value"),
    )
    yield no_longer_than(253, field)


def key_ref(field: str) -> Iterator[Constraint]:
    yield required(f"{field}.name", "ops-agent")
    yield required(f"{field}.key", "REDIS_URL")
    yield from object_name(f"{field}.name")
    yield from data_key(f"{field}.key")


def version(field: str) -> Iterator[Constraint]:
    yield Constraint(
        sentence=f"{field} is a git tag that is an image tag",
        field=field,
        says="must be a git tag that is an image tag too",
        accepts=("v1.0.0-stable-20251022-1530", "latest", "_x", "0f3a9c2"),
        refuses=("", "v1 0", "release/1.0", "-v1", ".v1", "v1+build", "v1:0", "v1@sha256", "v1\n"),
    )
    yield no_longer_than(128, field)


def duration(field: str, low: str, below: str, high: str, above: str) -> Iterator[Constraint]:
    yield Constraint(
        sentence=f"{field} is a duration from {low} to {high}",
        field=field,
        says=f"must be a duration from {low} to {high}, written like 500ms, 30s, 1m30s or 2h",
        accepts=(low, high, "60s", "1m0s", "1.5m", "90000ms"),
        refuses=(below, above, "", "60", "-60s", "1d", "1 m", "PT1M", "soon", "999999h999999h"),
    )
    yield no_longer_than(20, field, longest="60s00s" + 7 * "0s")


def quantity(field: str) -> Iterator[Constraint]:
    yield Constraint(
        sentence=f"{field} is a quantity",
        field=field,
        says="must be a quantity such as 500m, 2 or 512Mi",
        accepts=("500m", 2, "2", "0.5", "512Mi", "1e3", 0),
        refuses=("", "much", "500 m", "512MiB", "-1", -1, "1.5.2"),
    )
    yield no_longer_than(32, field, longest="1" * 32)


def step(field: str, *, most: str = "999%") -> Iterator[Constraint]:
    yield Constraint(
        sentence=f"{field} is a number of workers or a percentage",
        field=field,
        says="must be a number from 1 to 1000, or a percentage from 1% to 999%, such as 50%",
        accepts=(1, 1000, "1%", "50%", most),
        refuses=(0, -1, 1001, "", "0%", "05%", "50", "-5%", "5.5%", "half"),
    )
    yield no_longer_than(4, field, longest=most)


def label_key(field: str) -> Iterator[Constraint]:
    yield Constraint(
        sentence=f"{field} is a label's key",
        field=field,
        says="must be a label's key such as",
        accepts=("team", "topology.kubernetes.io/zone", "A_b.c-d"),
        refuses=("", "-team", "team/", "/team", "a/b/c", "Example.com/team", "team name", "a" * 64),
    )
    yield no_longer_than(317, field, longest="a" * 253 + "/" + "b" * 63)


def label_value(field: str) -> Iterator[Constraint]:
    yield Constraint(
        sentence=f"{field} is a label's value",
        field=field,
        says="must be a label's value",
        accepts=("", "ops", "v1.0_x-Y"),
        refuses=("-ops", "ops-", "two words", "a/b"),
    )
    yield no_longer_than(63, field)


def map_keys(field: str, value: Any) -> Constraint:
    return Constraint(
        sentence=f"every key of {field} is a label's key",
        field=field,
        says="every key must be",
        accepts=({"cpu": value}, {"example.com/team": value}, {}),
        refuses=({"-x": value}, {"a/b/c": value}, {"": value}, {"a" * 64: value}),
    )


def unreserved(field: str) -> Constraint:
    return Constraint(
        sentence=f"{field} leaves the operator's keys alone",
        field=field,
        says="keys that begin with opsagent.dev/ or app.kubernetes.io/ are set by the operator",
        accepts=(
            {"team": "ops"},
            {"example.com/version": "1"},
            {"opsagent.dev.example.com/x": "1"},
        ),
        refuses=({"opsagent.dev/worker": "other"}, {"app.kubernetes.io/name": "mine"}),
    )
