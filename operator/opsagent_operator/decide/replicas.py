"""How many workers an object shall have: the number of replicas is decided here.

Up at once and in one step, unless the object limits the step. Down only to the highest number that
was wanted within the stabilization window (the rule of Kubernetes' HorizontalPodAutoscaler), from
there step by step, and to zero only after the queue has been empty for the cooldown. What is not
known, or not to be believed, holds the number where it is.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from opsagent_operator.api.duration import format_duration
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec, Scaling
from opsagent_operator.decide.need import Need, need, replicas_text
from opsagent_operator.decide.trust import remember_queue
from opsagent_operator.model.observed import Memory, QueueState, Unreachable

__all__ = ["Replicas", "clock", "desired_replicas"]

UP_PAUSE: Final = timedelta(seconds=5)
"""Between two steps up, where `scaleUp.maxStep` limits them."""
DOWN_PAUSE: Final = timedelta(seconds=15)
"""Between two steps down at most: time to see what the last one did."""
SHORTEST_PAUSE: Final = timedelta(seconds=1)

Action = Literal["ScaleUp", "ScaleDown", "Hold", "Steady"]
Wants = tuple[tuple[datetime, int], ...]
"""As in `Memory.recommendations`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replicas:
    """A number of replicas, with the reason for it."""

    count: int
    current: int
    """The number until now."""
    wanted: int
    """What the queue needs, within the bounds, before anything holds the number back."""
    action: Action
    reason: str
    """CamelCase; documented in docs/status.md."""
    message: str
    """The reason with its numbers, for people."""
    until: datetime | None
    """When another decision is due if nothing changes by then; None if time alone changes nothing."""
    memory: Memory


def desired_replicas(
    spec: OpsAgentWorkerSpec,
    queue: QueueState | Unreachable,
    *,
    current: int,
    memory: Memory,
    now: datetime,
    cannot_start: str | None = None,
    woken_by: str | None = None,
) -> Replicas:
    """The number of replicas that serve the queue.

    Args:
        spec: the object's spec.
        queue: the queue as seen just now.
        current: replicas asked for until now.
        memory: what was remembered at the last visit.
        now: the time of the decision.
        cannot_start: how many workers cannot start, as text; None if none.
        woken_by: the message that this visit is due to.
    """
    chosen = spec.paused or spec.replicas is not None
    memory = remember_queue(
        memory,
        queue,
        spare=not chosen and current > spec.scaling.min_replicas,
        patience=spec.scaling.when_unknown.after,
        now=now,
    )
    if isinstance(queue, QueueState) and not chosen and memory.emptied_at is None:
        found = need(spec, queue, start_time=memory.start_time)
        busy = queue.work + queue.soon > 0 or queue.estimated
        wants = _wants(spec, memory, wanted=found.count, current=current, now=now)
        empty_since = None if busy else memory.empty_since or now
        moment = _Moment(spec, current, memory, wants, empty_since, now, cannot_start, woken_by)
        return moment.by_depth(found, estimated=queue.estimated)
    # The queue has no say: what it asked for before says nothing about the moment it has again.
    moment = _Moment(spec, current, memory, (), None, now, cannot_start, woken_by)
    if spec.paused:
        return moment.to(0, "Paused", "0 replicas: spec.paused is true")
    if spec.replicas is not None:
        why = f"{replicas_text(spec.replicas)}: spec.replicas says so, the queue is not asked"
        return moment.to(spec.replicas, "FixedReplicas", why)
    if memory.emptied_at is not None:
        return moment.in_doubt(memory.emptied_at)
    return moment.blindly(memory.unknown_since or now)


def _wants(
    spec: OpsAgentWorkerSpec, memory: Memory, *, wanted: int, current: int, now: datetime
) -> Wants:
    """What was wanted within the window and is now; what is older is forgotten.

    Between two visits nobody looks, so what the last one wanted counts as wanted until now. A fresh
    memory knows no past, so it takes the present for it: what runs was wanted until now.
    """
    past = memory.recommendations
    oldest = now - spec.scaling.scale_down.stabilization
    latest = past[-1][1] if past else current
    # Only a number that no later one reaches can ever be the highest in the window: the numbers fall
    # from the oldest to the newest.
    kept = [
        entry for entry in (*past[:-1], (now, latest)) if entry[0] > oldest and entry[1] > wanted
    ]
    return (*kept, (now, wanted))


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a decision depends on besides the queue, and the ways to decide."""

    spec: OpsAgentWorkerSpec
    current: int
    memory: Memory
    wants: Wants
    empty_since: datetime | None
    now: datetime
    cannot_start: str | None
    woken_by: str | None

    @property
    def scaling(self) -> Scaling:
        return self.spec.scaling

    def blindly(self, unknown_since: datetime) -> Replicas:
        """What runs now: unknown is never zero. The floor holds even so, and in time the fallback."""
        policy = self.scaling.when_unknown
        floor = max(self.current, self.scaling.min_replicas)
        why = "the queue is unknown, and unknown is not zero"
        if policy.replicas is None:
            return self.hold(floor, "QueueUnknown", why)
        fallback = min(max(policy.replicas, self.scaling.min_replicas), self.scaling.max_replicas)
        falls_back_at = unknown_since + policy.after
        if self.now < falls_back_at:
            if fallback > floor:
                why += f"; {fallback} from {clock(falls_back_at)} on (scaling.whenUnknown)"
            return self.hold(floor, "QueueUnknown", why, until=falls_back_at)
        why = f"the queue has been unknown since {clock(unknown_since)} (scaling.whenUnknown)"
        if fallback > floor:
            return self.up(fallback, "Fallback", f"{replicas_text(fallback)}: {why}")
        return self.hold(floor, "Fallback", why)

    def in_doubt(self, emptied_at: datetime) -> Replicas:
        """What runs now: a queue that is empty since its Redis began anew may have been lost."""
        believed_at = emptied_at + self.scaling.when_unknown.after
        why = (
            f"the queue is empty since its Redis was restarted or replaced, seen at"
            f" {clock(emptied_at)}; that is not believed until {clock(believed_at)}"
            " (scaling.whenUnknown.after)"
        )
        return self.hold(self.current, "EmptyAfterRestart", why, until=believed_at)

    def by_depth(self, found: Need, *, estimated: bool) -> Replicas:
        """What the tasks need, as far as it may be changed now."""
        if found.count > self.current:
            return self.up(found.count, "QueueDepth", found.text)
        if found.count == self.current:
            return self.to(found.count, "QueueDepth", found.text)
        return self.down(found, estimated=estimated)

    def up(self, wanted: int, reason: str, why: str) -> Replicas:
        """At once and in one step, or as far as steps go; no further while workers cannot start."""
        floor = max(self.current, self.scaling.min_replicas)
        step = self.scaling.scale_up.max_step
        if wanted <= floor:
            return self.to(wanted, reason, why)
        if self.cannot_start is not None and self.current > 0:
            why += f", but {self.cannot_start}: none is added until they can"
            return self.hold(floor, "WorkersCannotStart", why, wanted=wanted)
        if step is None:
            return self.to(wanted, reason, why)
        stepped_at = self.memory.raised_at
        if stepped_at is not None and self.now < stepped_at + UP_PAUSE:
            until = stepped_at + UP_PAUSE
            why += f", in steps of {step}; until {clock(until)} (scaleUp.maxStep)"
            return self.hold(floor, "StepLimit", why, wanted=wanted, until=until)
        highest = max(floor, self.current + step.of(self.current))
        if highest < wanted:
            why += f", in steps of {step} (scaleUp.maxStep)"
            until = self.now + UP_PAUSE
            return self.to(highest, "StepLimit", why, wanted=wanted, until=until)
        return self.to(wanted, reason, why)

    def down(self, found: Need, *, estimated: bool) -> Replicas:
        """As far down as the window, the cooldown to zero and the step allow."""
        policy, memory, now = self.scaling.scale_down, self.memory, self.now
        wanted, why = found.count, found.text
        # A bound that somebody has lowered is a wish, and no matter of caution.
        limit = min(self.current, self.scaling.max_replicas)
        if wanted == limit:
            return self.to(wanted, "QueueDepth", why)
        if estimated:
            why += ", but most of the waiting tasks have not been looked at yet"
            return self.hold(limit, "EstimatedDepth", why, wanted=wanted)

        floor, reason, brake = wanted, "QueueDepth", ""
        holding = [entry for entry in self.wants if entry[1] >= limit]
        highest = self.wants[0][1]
        within = f"wanted within the last {format_duration(policy.stabilization)}"
        if holding:
            at, number = holding[-1]
            until = at + policy.stabilization
            why += f", but {number} {within}; until {clock(until)} (scaleDown.stabilization)"
            return self.hold(limit, "StabilizationWindow", why, wanted=wanted, until=until)
        if highest > wanted:
            floor, reason = highest, "StabilizationWindow"
            brake = f", but {highest} {within} (scaleDown.stabilization)"

        empty_since = self.empty_since or now
        until = empty_since + policy.cooldown_to_zero
        if floor == 0 and now < until:
            empty = f", but empty only since {clock(empty_since)}"
            if limit == 1:
                why += f"{empty}; until {clock(until)} (scaleDown.cooldownToZero)"
                return self.hold(1, "CooldownToZero", why, wanted=wanted, until=until)
            floor, reason = 1, "CooldownToZero"
            brake = f"{empty} (scaleDown.cooldownToZero)"

        pause = min(max(policy.stabilization, SHORTEST_PAUSE), DOWN_PAUSE)
        if memory.stepped_at is not None and now < memory.stepped_at + pause:
            until = memory.stepped_at + pause
            why += f", in steps of {policy.max_step}; until {clock(until)} (scaleDown.maxStep)"
            return self.hold(limit, "StepLimit", why, wanted=wanted, until=until)
        lowest = limit - policy.max_step.of(limit)
        if floor < lowest:
            floor, reason = lowest, "StepLimit"
            brake = f", in steps of {policy.max_step} (scaleDown.maxStep)"
        next_at = now + pause if floor > wanted else None
        return self.to(floor, reason, why + brake, wanted=wanted, until=next_at)

    def to(
        self,
        count: int,
        reason: str,
        why: str,
        *,
        wanted: int | None = None,
        until: datetime | None = None,
    ) -> Replicas:
        """A step to `count`, or none because that is the number already."""
        return self._replicas("Steady", count, reason, why, wanted=wanted, until=until)

    def hold(
        self,
        count: int,
        reason: str,
        why: str,
        *,
        wanted: int | None = None,
        until: datetime | None = None,
    ) -> Replicas:
        """`count` for now, although another number is wanted or nobody knows which."""
        why = f"holding {count}: {why}"
        return self._replicas("Hold", count, reason, why, wanted=wanted, until=until)

    def _replicas(
        self,
        unmoved: Action,
        count: int,
        reason: str,
        why: str,
        *,
        wanted: int | None,
        until: datetime | None,
    ) -> Replicas:
        """The decision; `unmoved` is what it is called if the number stays."""
        current, message = self.current, why
        action, raised_at, stepped_at = unmoved, self.memory.raised_at, self.memory.stepped_at
        if count > current:
            action, raised_at = "ScaleUp", self.now
            message += f"; was {current}"
            if self.woken_by is not None:
                message += f"; woken by {self.woken_by}"
        elif count < current:
            action, stepped_at = "ScaleDown", self.now
            message += f"; was {current}"
        elif unmoved == "Steady":
            message += "; unchanged"
        memory = replace(
            self.memory,
            recommendations=self.wants,
            empty_since=self.empty_since,
            asked=count,
            raised_at=raised_at,
            stepped_at=stepped_at,
        )
        return Replicas(
            count=count,
            current=current,
            wanted=count if wanted is None else wanted,
            action=action,
            reason=reason,
            message=message,
            until=until,
            memory=memory,
        )


def clock(moment: datetime) -> str:
    """The time of day, in UTC, as messages have it."""
    return moment.strftime("%H:%M:%S")
