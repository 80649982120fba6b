"""The process in each worker pod, and what handlers of one's own are written with (docs/handlers.md).

```python
from opsagent_worker import TaskContext, task
```
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsagent_worker.errors import PermanentError as PermanentError
    from opsagent_worker.errors import RetryableError as RetryableError
    from opsagent_worker.errors import TaskCancelledError as TaskCancelledError
    from opsagent_worker.handlers.context import TaskContext as TaskContext
    from opsagent_worker.handlers.definition import task as task
    from opsagent_worker.handlers.signature import HandlerDefinitionError as HandlerDefinitionError

_WHERE = {
    "HandlerDefinitionError": "opsagent_worker.handlers.signature",
    "PermanentError": "opsagent_worker.errors",
    "RetryableError": "opsagent_worker.errors",
    "TaskCancelledError": "opsagent_worker.errors",
    "TaskContext": "opsagent_worker.handlers.context",
    "task": "opsagent_worker.handlers.definition",
}


def __getattr__(name: str) -> Any:
    # Late, because this runs before anything else of the package does: what is imported here delays the moment from which
    # the process understands a signal to stop (see main.py).
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(_WHERE)
