"""What a handler raises to say how its task failed; anything else it raises counts as worth another try."""


class TaskError(Exception):
    """A task failed in a way its handler understands. The message is for people and goes into the task's `error`."""


class PermanentError(TaskError):
    """Another attempt would fail the same way: bad input, missing permission, a failed build."""


class RetryableError(TaskError):
    """Another attempt may succeed: the network, a limit, a server that is down.

    `retry_after` is the wait in seconds that the other side asked for, if it did.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeferredError(TaskError):
    """This is not the moment: the task waits at least `retry_in` seconds, which does not count as an attempt.

    For what says nothing about the task, such as a system that is known to be down. It has no limit but the task's
    deadline and cancellation: whoever raises it must see to it that somebody finds out when the moment has come.
    """

    def __init__(self, message: str, *, retry_in: float) -> None:
        super().__init__(message)
        self.retry_in = retry_in


class TaskCancelledError(BaseException):
    """The attempt has been called off, and nobody waits for its result: raised by `TaskContext.check`.

    No `Exception`, like `asyncio.CancelledError`: whatever a handler catches, this ends it.
    """
