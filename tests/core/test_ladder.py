"""What follows a failed attempt, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue import Retry
from segue.core.ladder import Again, GiveUp, Verdict, decide, delay_before

STEADY = Retry(5, backoff=1, factor=2, max_delay=10, jitter=0)


@pytest.mark.parametrize(("attempt", "delay"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (6, 10), (10_000, 10)])
def test_waits_double_up_to_the_longest(attempt: int, delay: float) -> None:
    assert delay_before(STEADY, attempt, 0.5, None) == delay


@pytest.mark.parametrize(
    ("jitter", "chance", "delay"), [(1, 0, 8), (1, 0.5, 4), (0.5, 0.5, 6), (0, 0.9, 8), (0.25, 1, 6)]
)
def test_jitter_takes_its_share_of_a_wait(jitter: float, chance: float, delay: float) -> None:
    assert delay_before(Retry(9, backoff=8, jitter=jitter, max_delay=10), 1, chance, None) == delay


@pytest.mark.parametrize(("asked", "delay"), [(0, 1), (0.5, 1), (3, 3), (10, 10), (3600, 10)])
def test_an_error_may_ask_for_a_longer_wait_but_not_beyond_the_longest(asked: float, delay: float) -> None:
    assert delay_before(STEADY, 1, 0, asked) == delay


def after(
    retry: Retry, attempt: int, *, worth_it: bool = True, elapsed: float = 0, total: float | None = None
) -> Verdict:
    return decide(retry, attempt, worth_it=worth_it, elapsed=elapsed, total=total, chance=0)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (after(STEADY, 1), Again(1)),
        (after(STEADY, 5), Again(10)),
        (after(STEADY, 6), GiveUp("retries spent")),
        (after(Retry(0), 1), GiveUp("no retry asked for")),
        (after(STEADY, 1, worth_it=False), GiveUp("not worth a retry")),
        (after(STEADY, 1, elapsed=8.9, total=10), Again(1)),
        (after(STEADY, 1, elapsed=9, total=10), GiveUp("no time left")),
        (after(STEADY, 1, elapsed=99, total=10), GiveUp("no time left")),
    ],
)
def test_the_verdict_follows_from_policy_attempts_and_time(verdict: Verdict, expected: Verdict) -> None:
    assert verdict == expected


POLICIES = st.builds(
    Retry,
    st.integers(0, 12),
    backoff=st.floats(0, 1e4),
    factor=st.floats(1, 100),
    max_delay=st.floats(0, 1e5),
    jitter=st.floats(0, 1),
)
ASKED = st.none() | st.floats(0, 1e9)


@given(POLICIES, st.lists(st.tuples(st.floats(0, 1, exclude_max=True), ASKED), min_size=20, max_size=20))
def test_attempts_never_exceed_the_retries_by_more_than_one(
    retry: Retry, draws: list[tuple[float, float | None]]
) -> None:
    attempts = 0
    for chance, asked in draws:
        attempts += 1
        verdict = decide(retry, attempts, worth_it=True, elapsed=0, total=None, chance=chance, retry_after=asked)
        if isinstance(verdict, GiveUp):
            break
        assert 0 <= verdict.delay <= retry.longest
        assert asked is None or verdict.delay >= min(asked, retry.longest)
    assert attempts == retry.retries + 1


@given(POLICIES, st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_wait_lies_between_its_jittered_floor_and_its_full_length(retry: Retry, attempt: int, chance: float) -> None:
    full = delay_before(Retry(1, retry.first, retry.factor, retry.longest, 0), attempt, 0, None)
    assert full * (1 - retry.jitter) <= delay_before(retry, attempt, chance, None) <= full <= retry.longest


@given(POLICIES, st.integers(1, 10), st.floats(0, 1e6), st.floats(0.001, 1e6), st.floats(0, 1, exclude_max=True), ASKED)
def test_no_attempt_is_allowed_to_begin_after_the_total(
    retry: Retry, attempt: int, elapsed: float, total: float, chance: float, asked: float | None
) -> None:
    verdict = decide(retry, attempt, worth_it=True, elapsed=elapsed, total=total, chance=chance, retry_after=asked)
    if isinstance(verdict, Again):
        assert elapsed + verdict.delay < total
