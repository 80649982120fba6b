"""What an investigation makes of what it saw: the table of rules, as a table."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_queue import Results, Snapshot, Task
from opsagent_worker.checks.result import Check, CheckKind, HealthReport, HealthStatus
from opsagent_worker.handlers.investigate import alert_task
from opsagent_worker.investigation.finding import Action, Finding, decide, ranked
from opsagent_worker.investigation.observation import Failure, Observation, Unseen
from opsagent_worker.investigation.rules import orient
from opsagent_worker.vercel import Deployment

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

QUEUE = Snapshot(
    pending=0,
    delayed=0,
    next_due_ms=None,
    in_flight=1,
    dead=0,
    foreign=0,
    orphaned=0,
    oldest_ms=None,
    paused=False,
    time_ms=0,
    run_id=None,
)

CALM = Observation(now=NOW, window=timedelta(hours=1), queue=QUEUE)


def with_queue(**values: Any) -> Observation:
    return replace(CALM, queue=replace(QUEUE, **values))


def report(
    status: HealthStatus, *, kind: CheckKind = "http", latency_ms: float | None = None
) -> HealthReport:
    check = Check(kind=kind, status=status, detail="what was found", latency_ms=latency_ms)
    return HealthReport(target="http://api", checks=(check,))


def with_services(**services: HealthReport) -> Observation:
    return replace(CALM, services=services)


def failure(
    number: int, error: str = "boom", *, error_class: str = "ValueError", minutes_ago: float = 5
) -> Failure:
    return Failure(
        task_id=f"task-{number}",
        type="deploy",
        version="v1",
        error=error,
        error_class=error_class,
        at=NOW - timedelta(minutes=minutes_ago),
    )


def with_failures(*errors: str) -> Observation:
    # Each of a class of its own, so that nothing but the text can be what they share.
    failures = [
        failure(number, error, error_class=f"Error{number}") for number, error in enumerate(errors)
    ]
    return replace(CALM, failures=failures)


def with_versions(**versions: Results) -> Observation:
    return replace(CALM, versions=versions)


def deployment(
    *,
    minutes_ago: float,
    name: str = "web",
    state: str = "READY",
    target: str | None = "production",
) -> Deployment:
    moment = int((NOW - timedelta(minutes=minutes_ago)).timestamp() * 1000)
    return Deployment.model_validate(
        {
            "uid": f"dpl_{name}_{minutes_ago:g}",
            "name": name,
            "state": state,
            "target": target,
            "created": moment - 60_000,
            "ready": moment,
            "errorMessage": "exited with 1" if state == "ERROR" else None,
        }
    )


FAILURES = tuple(failure(number, minutes_ago=20 - number) for number in range(4))


def test_calm_observations_give_no_finding_and_nothing_to_do() -> None:
    assert orient(CALM) == []
    decision = decide([])
    assert (decision.action.kind, decision.severity, decision.confidence) == ("none", None, 1.0)


@pytest.mark.parametrize(
    ("seen", "severity", "what", "kind"),
    [
        (with_queue(paused=True), "critical", "the queue is paused", "resume_queue"),
        (with_queue(oldest_ms=400_000), "critical", "waiting for 6 min", "add_workers"),
        (with_queue(pending=101), "warning", "101 tasks are waiting", "add_workers"),
        (with_queue(dead=2), "warning", "2 tasks have failed for good", "look_at_dead_letters"),
        (
            with_queue(orphaned=1),
            "warning",
            "1 queued id has no readable record",
            "find_what_removes_records",
        ),
        (
            with_services(api=report(HealthStatus.UNHEALTHY)),
            "critical",
            "service api is unhealthy: what was found",
            "restore_service",
        ),
        (
            with_services(api=report(HealthStatus.DEGRADED)),
            "warning",
            "service api is degraded",
            "restore_service",
        ),
        (
            with_services(api=report(HealthStatus.DEGRADED, kind="certificate")),
            "warning",
            "service api is degraded",
            "renew_certificate",
        ),
        (
            with_services(redis=report(HealthStatus.HEALTHY, kind="redis", latency_ms=150.5)),
            "warning",
            "Redis took 150.5 ms",
            "relieve_redis",
        ),
        (
            with_versions(v1=Results(ok=95, failed=5), v2=Results(ok=2, retried=5, crashed=3)),
            "critical",
            "version v2 of the worker fails where v1 does not",
            "roll_back_worker",
        ),
        (
            with_versions(v1=Results(ok=80, failed=20)),
            "warning",
            "20% of the attempts of version v1 go wrong",
            "look_at_error",
        ),
        (
            with_failures(
                "db.example.com:5432 refused",
                "no answer of DB.example.com:5432",
                "by db.example.com:5432",
            ),
            "warning",
            "3 of 3 failures name db.example.com:5432",
            "check_dependency",
        ),
        (
            replace(CALM, failures=FAILURES),
            "warning",
            "4 of 4 failures are ValueError of deploy tasks",
            "look_at_error",
        ),
        (
            replace(CALM, deployments=[deployment(minutes_ago=9, state="ERROR")]),
            "warning",
            "the latest deployment of web ended as ERROR",
            "look_at_deployment",
        ),
        (
            replace(CALM, counters=Unseen("Redis is away")),
            "warning",
            "counters could not be seen: Redis is away",
            "look_again",
        ),
    ],
)
def test_each_rule_finds_its_own(seen: Observation, severity: str, what: str, kind: str) -> None:
    (finding,) = orient(seen)

    assert (finding.severity, finding.action.kind) == (severity, kind)
    assert what in finding.what
    assert 0 < finding.confidence <= 1


@pytest.mark.parametrize(
    "seen",
    [
        with_queue(pending=100, oldest_ms=300_000),
        with_services(api=report(HealthStatus.HEALTHY, latency_ms=5_000)),
        with_versions(v1=Results(ok=90, failed=10)),
        with_versions(v1=Results(ok=100), v2=Results(failed=4)),
        with_versions(v1=Results(), v2=Results()),
        with_failures("db.example.com refused", "db.example.com refused"),
        with_failures("a.example.com", "b.example.com", "c.example.com"),
        replace(CALM, deployments=[deployment(minutes_ago=5)]),
        replace(
            CALM,
            deployments=[deployment(minutes_ago=1), deployment(minutes_ago=9, state="ERROR")],
        ),
    ],
)
def test_what_is_usual_or_too_little_to_tell_is_no_finding(seen: Observation) -> None:
    assert orient(seen) == []


@pytest.mark.parametrize(
    ("deployments", "proposed"),
    [
        ([deployment(minutes_ago=25)], "dpl_web_25"),
        ([deployment(minutes_ago=25), deployment(minutes_ago=40)], "dpl_web_25"),
        ([deployment(minutes_ago=10)], None),  # after the first failure
        ([deployment(minutes_ago=90)], None),  # long before it
        ([deployment(minutes_ago=25, target=None)], None),  # a preview
        ([deployment(minutes_ago=25, state="BUILDING")], None),
        ([deployment(minutes_ago=15), deployment(minutes_ago=25)], None),  # already replaced
        (None, None),
        (Unseen("forbidden"), None),
    ],
)
def test_a_rollback_is_proposed_for_what_went_live_shortly_before_trouble(
    deployments: Any, proposed: str | None
) -> None:
    findings = orient(replace(CALM, failures=FAILURES, deployments=deployments))

    actions = [one.action for one in findings if one.action.kind == "roll_back_deployment"]
    assert [action.parameters["deployment_id"] for action in actions] == (
        [] if proposed is None else [proposed]
    )


def test_an_ill_service_of_the_projects_name_makes_a_rollback_surer() -> None:
    seen = replace(
        CALM,
        services={"web": report(HealthStatus.UNHEALTHY)},
        deployments=[deployment(minutes_ago=6), deployment(minutes_ago=6, name="shop")],
    )
    sure = {
        one.action.parameters["project"]: one.confidence
        for one in orient(seen)
        if one.action.kind == "roll_back_deployment"
    }

    assert sure == {"web": 0.88, "shop": 0.68}


def test_the_more_versions_differ_the_surer_is_a_rollback_of_the_worker() -> None:
    def confidence(failed: int) -> float:
        versions = {"v1": Results(ok=100), "v2": Results(ok=100 - failed, failed=failed)}
        return orient(replace(CALM, versions=versions))[0].confidence

    assert [confidence(failed) for failed in (30, 60, 100)] == [0.65, 0.8, 0.95]


def test_every_blind_spot_is_told_and_hides_nothing_else() -> None:
    seen = Observation(
        now=NOW,
        window=timedelta(hours=1),
        services={"api": report(HealthStatus.UNHEALTHY)},
        queue=Unseen("away"),
        counters=Unseen("away"),
        failures=Unseen("away"),
        versions=Unseen("away"),
        deployments=Unseen("forbidden"),
    )
    first, *blind = orient(seen)

    assert first.rule == "ill_services"
    assert [one.rule for one in blind] == ["blind_spots"] * 5
    assert seen.to_result()["queue"] == {"unseen": "away"}
    assert seen.to_result()["deployments"] == {"unseen": "forbidden"}


def finding(severity: str, confidence: float, what: str) -> Finding:
    return Finding(
        rule="test",
        severity=severity,  # type: ignore[arg-type] # one of the two
        confidence=confidence,
        what=f"because {what}",
        action=Action(kind="look_again", what=what),
    )


def test_the_most_severe_and_surest_finding_decides_and_others_are_alternatives() -> None:
    decision = decide(
        [
            finding("warning", 1.0, "a"),
            finding("critical", 0.5, "b"),
            finding("critical", 0.9, "c"),
            finding("critical", 0.8, "c"),
            finding("warning", 0.2, "d"),
            finding("warning", 0.1, "e"),
        ]
    )

    assert (decision.action.what, decision.reason) == ("c", "because c")
    assert (decision.severity, decision.confidence) == ("critical", 0.9)
    assert [action.what for action in decision.alternatives] == ["b", "a", "d"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["critical", "warning"]), st.floats(0, 1), st.text(max_size=2))
    )
)
def test_ranking_loses_nothing_and_puts_no_warning_before_a_critical(
    rows: list[tuple[str, float, str]],
) -> None:
    findings = [finding(*row) for row in rows]
    order = ranked(findings)

    assert len(order) == len(findings)
    severities = [one.severity for one in order]
    assert severities == sorted(severities)


def test_an_investigation_has_one_alert_task_however_often_it_runs() -> None:
    task = Task.new(type="investigate", payload={"issue": "slow"}, assigned_to="ops", priority="P1")
    decision = decide([finding("critical", 0.9, "restore api")])
    first, again = (alert_task(task, "slow", decision) for _ in range(2))

    assert first.task_id == again.task_id != task.task_id
    assert (first.parent_task_id, first.trace_id) == (task.task_id, task.trace_id)
    assert (first.priority, first.assigned_to, first.type) == ("P1", "ops", "alert")
    payload: Mapping[str, Any] = first.payload
    assert payload["severity"] == "critical"
    assert payload["message"] == "slow: because restore api. Recommended: restore api"
