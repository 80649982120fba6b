"""How long to wait before trying again."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from opsagent_worker.backoff import LONGEST_RETRY_AFTER, Backoff, spread

seconds = st.floats(min_value=0.001, max_value=1e4)
randoms = st.integers(min_value=0, max_value=2**32).map(Random)


class _Most(Random):
    """Draws the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


@given(seconds, seconds, st.integers(min_value=1, max_value=10**6), randoms)
def test_a_wait_is_never_negative_and_never_above_the_ceiling(
    base: float, ceiling: float, failures: int, random: Random
) -> None:
    assert 0 <= Backoff(base, ceiling, random).delay(failures) <= ceiling


def test_the_bound_starts_at_the_base_and_doubles_up_to_the_ceiling() -> None:
    backoff = Backoff(10, 60, _Most())

    assert [backoff.delay(failures) for failures in range(1, 6)] == [10, 20, 40, 60, 60]


def test_waits_are_spread_over_the_whole_range() -> None:
    backoff = Backoff(8, 8, Random(0))  # noqa: S311 - the same draws in every run
    waits = [backoff.delay(1) for _ in range(200)]

    assert min(waits) < 1
    assert max(waits) > 7


@given(st.floats(min_value=0, max_value=LONGEST_RETRY_AFTER), randoms)
def test_a_wait_asked_for_is_never_cut_short_within_an_hour(asked: float, random: Random) -> None:
    assert Backoff(1, 10, random).delay(1, retry_after=asked) >= asked


def test_an_absurd_wait_asked_for_is_bounded() -> None:
    assert Backoff(1, 10, _Most()).delay(1, retry_after=1e9) == LONGEST_RETRY_AFTER
    assert Backoff(1, 7200, _Most()).delay(1, retry_after=1e9) == 7200


@given(seconds, randoms)
def test_spreading_changes_an_interval_by_a_fifth_at_most(interval: float, random: Random) -> None:
    assert interval * 0.8 <= spread(interval, random) <= interval * 1.2
