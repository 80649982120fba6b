"""Which end of an attempt a failure is."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_worker.backoff import Backoff
from opsagent_worker.errors import DeferredError, PermanentError, RetryableError
from opsagent_worker.outcome import Failed, Retry, TaskTimeoutError, allowed_attempts, judge

BACKOFF = Backoff(base=10, ceiling=60)

errors = st.sampled_from(
    [RetryableError("busy"), TaskTimeoutError("slow"), KeyError("x"), httpx.ReadTimeout("")]
)


@given(st.integers(min_value=1, max_value=50), st.integers(min_value=1, max_value=50))
def test_a_permanent_error_fails_at_any_attempt(attempt: int, most: int) -> None:
    outcome = judge(PermanentError("no"), attempt=attempt, max_attempts=most, backoff=BACKOFF)

    assert outcome == Failed("no", "PermanentError")


@given(errors, st.integers(min_value=1, max_value=50), st.integers(min_value=1, max_value=50))
def test_any_other_error_is_tried_again_exactly_while_attempts_are_left(
    error: Exception, attempt: int, most: int
) -> None:
    outcome = judge(error, attempt=attempt, max_attempts=most, backoff=BACKOFF)

    assert isinstance(outcome, Retry) == (attempt < most)


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        (RetryableError("busy"), "retryable", "busy"),
        (TaskTimeoutError("too slow"), "timeout", "too slow"),
        (KeyError("x"), "unexpected", "KeyError: 'x'"),
        (ConnectionResetError(), "unexpected", "ConnectionResetError: ConnectionResetError"),
    ],
)
def test_the_reason_of_a_retry_is_the_kind_of_failure(
    error: Exception, reason: str, text: str
) -> None:
    outcome = judge(error, attempt=1, max_attempts=2, backoff=BACKOFF)

    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.error) == (reason, text)


def test_the_wait_that_was_asked_for_is_kept() -> None:
    error = RetryableError("busy", retry_after=500)
    outcome = judge(error, attempt=1, max_attempts=2, backoff=BACKOFF)

    assert isinstance(outcome, Retry)
    assert outcome.delay >= 500


def test_the_last_failure_says_how_often_it_was_tried() -> None:
    once = judge(RetryableError("busy"), attempt=1, max_attempts=1, backoff=BACKOFF)
    often = judge(RetryableError("busy"), attempt=4, max_attempts=4, backoff=BACKOFF)

    assert once == Failed("gave up after 1 attempt: busy", "RetryableError")
    assert often == Failed("gave up after 4 attempts: busy", "RetryableError")


@pytest.mark.parametrize(
    ("task_max_retries", "settings_max_attempts", "attempts"),
    [(3, 4, 4), (1, 4, 2), (9, 4, 4), (0, 4, 1), (-1, 4, 1), (3, 1, 1)],
)
def test_the_smaller_limit_wins_and_one_attempt_is_always_allowed(
    task_max_retries: int, settings_max_attempts: int, attempts: int
) -> None:
    assert (
        allowed_attempts(
            task_max_retries=task_max_retries, settings_max_attempts=settings_max_attempts
        )
        == attempts
    )


class UnspeakableError(RuntimeError):
    def __str__(self) -> str:
        return str(self.args[7])


def test_an_error_whose_text_cannot_be_had_is_one_like_any_other() -> None:
    outcome = judge(UnspeakableError(), attempt=1, max_attempts=2, backoff=BACKOFF)

    assert isinstance(outcome, Retry)
    assert outcome.error == "UnspeakableError: an error that cannot be put into words"


@pytest.mark.parametrize("wait", [float("nan"), "soon", 10**400, [], -5])
def test_a_wait_that_makes_no_sense_is_the_usual_one(wait: Any) -> None:
    for error in (RetryableError("busy", retry_after=wait), DeferredError("down", retry_in=wait)):
        outcome = judge(error, attempt=1, max_attempts=2, backoff=BACKOFF)

        assert isinstance(outcome, Retry)
        assert 0 <= outcome.delay <= BACKOFF.base


def test_a_wait_written_as_text_is_understood() -> None:
    error = RetryableError("busy", retry_after="500")  # type: ignore[arg-type] # as a header says it
    outcome = judge(error, attempt=1, max_attempts=2, backoff=BACKOFF)

    assert isinstance(outcome, Retry)
    assert outcome.delay >= 500
