"""One object's situation, as decided: what status, conditions and events are told from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from opsagent_operator.decide.problem import Problem
from opsagent_operator.decide.replicas import Replicas
from opsagent_operator.model.observed import Observed, Revision

__all__ = ["Situation"]


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is, what shall be, and what stands between."""

    observed: Observed
    target: Revision | None
    """None when the spec cannot be read, or is pinned to a revision that does not exist."""
    serving: Revision | None
    """The revision that serves while the target has not proved itself."""
    replicas: Replicas | None
    """None when the spec cannot be read."""
    shares: Mapping[str, int]
    """Replicas by revision name."""
    paused: bool
    problem: Problem | None

    @property
    def lead(self) -> Revision | None:
        """The revision that serves now: the target once promoted."""
        if self.target is not None and self.target.promoted_at is not None:
            return self.target
        return self.serving

    @cached_property
    def desired(self) -> int:
        """Workers that there shall be, of all revisions."""
        return sum(self.shares.values())

    @cached_property
    def ready(self) -> int:
        """Workers that are ready, of all revisions."""
        return sum(state.ready for state in self.observed.deployments.values())

    def ready_of(self, revision: Revision) -> int:
        """Workers of `revision` that are ready."""
        state = self.observed.deployments.get(revision.name)
        return state.ready if state else 0

    @property
    def replacing(self) -> bool:
        """Whether workers of another revision than the target's still run."""
        name = self.target.name if self.target else None
        return any(count for revision, count in self.shares.items() if revision != name)
