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
