"""Names and keys as strings with rules: what Kubernetes, image registries and Redis accept.

Regular expressions are RE2 (CEL's), and mean the same to Python's `re`. Every length is bounded: the API server
estimates a rule's cost from the longest value it could meet.
"""

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from opsagent_operator.api.schema import Rule

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"^{_LABEL}(\.{_LABEL})*$"
_QUALIFIED_NAME: Final = (
    rf"^({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"
)
_LABEL_VALUE: Final = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
_QUANTITY: Final = r"^[0-9]+(\.[0-9]+)?([munkMGTPE]|[KMGTPE]i|[eE][0-9]+)?$"

# A registry with an optional port, then path components: the grammar of distribution/reference without its tag and
# digest, and without IPv6 registries.
_PATH_PART: Final = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_IMAGE_REPOSITORY: Final = (
    rf"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{{1,5}})?/)?{_PATH_PART}(/{_PATH_PART})*$"
)

IMAGE_TAG_MAX_LENGTH: Final = 128
_TAG: Final = f"^[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{IMAGE_TAG_MAX_LENGTH - 1}}}$"
_TAG_TEMPLATE: Final = r"^([A-Za-z0-9_][A-Za-z0-9_.-]*)?\{version\}[A-Za-z0-9_.-]*$"


def matches(pattern: str, message: str) -> Rule:
    """A rule instead of the schema's `pattern`, whose message would be the regular expression."""
    return Rule(f'self.matches(r"{pattern}")', message)


ObjectName = Annotated[
    str,
    Field(max_length=253),
    matches(
        _SUBDOMAIN,
        "must be the name of a Kubernetes object: lower-case letters, digits, '-' and '.',"
        " starting and ending with a letter or digit",
    ),
]

DataKey = Annotated[
    str,
    Field(max_length=253),
    matches(
        r"^[-._a-zA-Z0-9]+$",
        "must be a key of the Secret or ConfigMap: letters, digits, '-', '_' and '.'",
    ),
]

ImageRepository = Annotated[
    str,
    Field(max_length=255),
    matches(
        _IMAGE_REPOSITORY,
        "must be an image name such as ghcr.io/acme/ops-agent-worker, without scheme, tag or"
        " digest: the tag follows from spec.version",
    ),
]

Version = Annotated[
    str,
    Field(max_length=IMAGE_TAG_MAX_LENGTH),
    matches(
        _TAG,
        "must be a git tag that is an image tag too: letters, digits, '_', '.' and '-', starting"
        " with a letter, digit or '_', such as v1.0.0-stable-20251022",
    ),
]

TagTemplate = Annotated[
    str,
    Field(max_length=IMAGE_TAG_MAX_LENGTH),
    matches(
        _TAG_TEMPLATE,
        "must contain {version} once, and beside it only what an image tag may have, such as"
        " {version}-alpine",
    ),
]

QueuePrefix = Annotated[
    str,
    Field(max_length=64),
    matches(
        r"^[A-Za-z0-9_.:{}-]+$",
        "must be the beginning of Redis keys: letters, digits, '_', '.', ':', '-' and, for a hash"
        " tag, '{' and '}'",
    ),
]


def not_empty(what: str) -> Rule:
    return Rule("self != ''", f"must be the name of {what}: it is empty")


RedisKey = Annotated[str, Field(max_length=512), not_empty("a Redis key")]

AgentName = Annotated[
    str,
    Field(max_length=63),
    matches(
        r"^[A-Za-z0-9_.-]+$",
        "must be an agent's name as in a task's assigned_to: letters, digits, '_', '.' and '-'",
    ),
]

# A number or text on the wire, as in a pod (`cpu: 2`, `cpu: 500m`); text in Python.
Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32}),
    Rule(
        f"type(self) == int ? self >= 0 : self.matches(r'{_QUANTITY}')",
        "must be a quantity such as 500m, 2 or 512Mi",
    ),
]

LabelKey = Annotated[
    str,
    Field(max_length=317),
    matches(_QUALIFIED_NAME, "must be a label's key such as team or topology.kubernetes.io/zone"),
]

LabelValue = Annotated[
    str,
    Field(max_length=63),
    matches(
        _LABEL_VALUE,
        "must be a label's value: letters, digits, '-', '_' and '.', starting and ending with a"
        " letter or digit",
    ),
]


def keys(description: str) -> Rule:
    """The keys of a map are what labels' keys are: a name, perhaps after a DNS name and a slash."""
    return Rule(
        f"self.all(key, key.size() <= 317 && key.matches(r'{_QUALIFIED_NAME}'))",
        f"every key must be {description}",
    )


def unreserved_keys() -> Rule:
    """The operator finds its pods by labels of its own; nobody else sets those."""
    return Rule(
        "self.all(key, !key.startsWith('opsagent.dev/') && !key.startsWith('app.kubernetes.io/'))",
        "keys that begin with opsagent.dev/ or app.kubernetes.io/ are set by the operator;"
        " use a prefix of your own",
    )
