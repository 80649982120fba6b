"""What can go wrong between a program and the queue.

Callers catch `QueueError`; the subclasses say who has to act. No message carries a password or a
whole URL, so that each may be logged, put into a condition or an event as it is.
"""


class QueueError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigurationError(QueueError):
    """What was configured cannot work. The message says what to change; trying again does not help."""


class QueueUnavailableError(QueueError):
    """Redis cannot be reached or cannot serve at the moment: back off and try again."""


class QueueRefusedError(QueueError):
    """Redis answered, and refused: credentials, permissions, memory, or a key of the wrong type.

    Trying again is harmless, but somebody has to look; the message carries Redis' own reason.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code
        """The word by which Redis names the reason, such as NOPERM or OOM; empty where it has none."""


class MalformedTaskError(QueueError):
    """A record's `data` is not a task in the orchestrator's wire format."""
