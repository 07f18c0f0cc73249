"""What follows a failed attempt, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue import Retry
from segue.core.ladder import Again, Climb, GiveUp, Verdict, decide, delay_before

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
    retry: Retry,
    attempt: int,
    *,
    worth_it: bool = True,
    left: float | None = None,
    rung: int = 0,
    instant: tuple[bool, ...] = (False,),
) -> Verdict:
    return decide(retry, attempt, worth_it=worth_it, left=left, chance=0, rung=rung, instant=instant)


THREE = (False, False, True)
"""The step, a fallback that takes time, and a constant."""


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (after(STEADY, 1), Again(1)),
        (after(STEADY, 5), Again(10)),
        (after(STEADY, 6), GiveUp("retries spent")),
        (after(Retry(0), 1), GiveUp("no retry asked for")),
        (after(STEADY, 1, worth_it=False), GiveUp("not worth a retry")),
        (after(STEADY, 1, left=1.1), Again(1)),
        (after(STEADY, 1, left=1), GiveUp("no time left")),
        (after(STEADY, 1, left=0), GiveUp("no time left")),
        (after(STEADY, 1, instant=THREE), Again(1)),
        (after(STEADY, 6, instant=THREE), Climb(1, "retries spent")),
        (after(STEADY, 1, worth_it=False, instant=THREE), Climb(1, "not worth a retry")),
        (after(STEADY, 1, left=0.5, instant=THREE), Climb(1, "no time left")),
        (after(STEADY, 1, left=0, instant=THREE), Climb(2, "no time left")),
        (after(STEADY, 1, rung=1, instant=THREE), Again(1)),
        (after(Retry(0), 1, rung=1, instant=THREE), Climb(2, "no retry asked for")),
        (after(Retry(0), 1, rung=2, instant=THREE), GiveUp("no retry asked for")),
        (after(Retry(0), 1, left=0, instant=(False, False)), GiveUp("no retry asked for")),
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
        verdict = decide(retry, attempts, worth_it=True, left=None, chance=chance, retry_after=asked)
        if isinstance(verdict, GiveUp):
            break
        assert isinstance(verdict, Again)
        assert 0 <= verdict.delay <= retry.longest
        assert asked is None or verdict.delay >= min(asked, retry.longest)
    assert attempts == retry.retries + 1


@given(POLICIES, st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_wait_lies_between_its_jittered_floor_and_its_full_length(retry: Retry, attempt: int, chance: float) -> None:
    full = delay_before(Retry(1, retry.first, retry.factor, retry.longest, 0), attempt, 0, None)
    assert full * (1 - retry.jitter) <= delay_before(retry, attempt, chance, None) <= full <= retry.longest


@given(POLICIES, st.integers(1, 10), st.floats(0, 1e6), st.floats(0, 1, exclude_max=True), ASKED)
def test_no_attempt_is_allowed_to_begin_when_no_time_is_left(
    retry: Retry, attempt: int, left: float, chance: float, asked: float | None
) -> None:
    verdict = decide(retry, attempt, worth_it=True, left=left, chance=chance, retry_after=asked)
    if isinstance(verdict, Again):
        assert verdict.delay < left


RUNGS = st.lists(st.tuples(st.booleans(), POLICIES), min_size=1, max_size=5)
"""Whether each rung takes no time, and its policy."""


@given(RUNGS, st.none() | st.floats(0, 1e5), st.data())
def test_a_whole_climb_goes_up_once_and_stays_within_what_is_allowed(
    rungs: list[tuple[bool, Retry]], total: float | None, data: st.DataObject
) -> None:
    instant = (False, *(quick for quick, _ in rungs[1:]))
    clock, climbed = 0.0, [0]
    tries = [0] * len(rungs)
    while True:
        rung = climbed[-1]
        tries[rung] += 1
        if not instant[rung]:
            assert total is None or clock < total or clock == 0
            longest = 100.0 if total is None else max(0.0, total - clock)
            clock += data.draw(st.floats(0, min(100.0, longest)))
        verdict = decide(
            rungs[rung][1],
            tries[rung],
            worth_it=data.draw(st.booleans()),
            left=None if total is None else max(0.0, total - clock),
            chance=data.draw(st.floats(0, 1, exclude_max=True)),
            rung=rung,
            instant=instant,
        )
        if isinstance(verdict, GiveUp):
            break
        if isinstance(verdict, Again):
            clock += verdict.delay
        else:
            climbed.append(verdict.rung)
    assert climbed == sorted(set(climbed)), "fallbacks in order, none twice"
    assert all(count <= retry.retries + 1 for count, (_, retry) in zip(tries, rungs, strict=True))
    assert total is None or clock <= total
    skipped = set(range(climbed[-1])) - set(climbed)
    assert not any(instant[rung] for rung in skipped), "what takes no time is never passed over"
