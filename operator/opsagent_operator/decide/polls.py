"""How long an object may go unseen when nothing tells of a change."""

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["Polls"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Polls:
    """The safety net: changes are pushed, and what time alone changes is asked for exactly."""

    active: timedelta = timedelta(seconds=15)
    """While something moves: tasks, pods, a release; or while the queue cannot be read."""
    idle: timedelta = timedelta(seconds=30)
    """While nothing does."""
