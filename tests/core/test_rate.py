"""How many start in which time."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from segue.core.rate import Bucket
from segue.limits import Rate


def starts(rate: Rate, asked: list[float]) -> list[float]:
    """When calls that are asked for at these times start, each as soon as it may."""
    bucket, now, started = Bucket(rate), 0.0, list[float]()
    for at in asked:
        now = max(now, at)
        now += bucket.delay(now)
        bucket.start(now)
        started.append(now)
    return started


@pytest.mark.parametrize(
    ("rate", "asked", "expected"),
    [
        (Rate(3, 6), [0, 0, 0], [0, 0, 0]),
        (Rate(3, 6), [0, 0, 0, 0, 0], [0, 0, 0, 2, 4]),
        (Rate(1, 10), [5, 5, 5], [5, 15, 25]),
        (Rate(1, 10), [5, 14, 40, 40], [5, 15, 40, 50]),
        (Rate(2, 10), [0, 0, 5, 6, 7], [0, 0, 5, 10, 15]),
        (Rate(2, 10), [0, 0, 100, 100, 100], [0, 0, 100, 100, 105]),  # a pause fills it, and no further
        (Rate(2, 10), [100, 100, 100], [100, 100, 105]),  # it is full at first, whenever that is
    ],
)
def test_each_starts_as_soon_as_there_is_a_token(rate: Rate, asked: list[float], expected: list[float]) -> None:
    assert starts(rate, asked) == expected


def test_asking_takes_nothing() -> None:
    bucket = Bucket(Rate(1, 8))
    assert [bucket.delay(0) for _ in range(3)] == [0, 0, 0]
    bucket.start(0)
    assert [bucket.delay(now) for now in (0, 0, 2, 8, 9)] == [8, 8, 6, 0, 0]


@pytest.mark.parametrize("now", [0.0, 1e5, 1.7e9])
@pytest.mark.parametrize("count", [1, 7, 100, 10_000])
def test_a_whole_burst_starts_at_once_and_not_one_more(now: float, count: int) -> None:
    bucket = Bucket(Rate(count, 60))
    for _ in range(count):
        assert bucket.delay(now) == 0
        bucket.start(now)
    assert bucket.delay(now) == pytest.approx(60 / count)  # pyright: ignore[reportUnknownMemberType]


def test_the_window_that_begins_with_a_burst_holds_less_than_twice_the_count() -> None:
    started = starts(Rate(5, 10), [0.0] * 20)
    assert sum(t < 10 for t in started) == 9
    assert sum(10 <= t < 20 for t in started) == 5


RATES = st.builds(Rate, st.integers(1, 20), st.floats(0.1, 100))
GAPS = st.lists(st.just(0.0) | st.floats(0, 30), min_size=1, max_size=60)


def times(gaps: list[float]) -> list[float]:
    """Clock readings so far apart. A clock that starts high has rounded ones."""
    now, asked = 1000.0, list[float]()
    for gap in gaps:
        asked.append(now := now + gap)
    return asked


@given(RATES, GAPS)
def test_no_stretch_of_time_holds_more_than_the_count_and_what_came_back_in_it(rate: Rate, gaps: list[float]) -> None:
    started = starts(rate, times(gaps))
    for first in range(len(started)):
        for last in range(first, len(started)):
            most = rate.count + (started[last] - started[first]) * rate.count / rate.per
            assert last - first + 1 <= most + 1e-5


@given(RATES, GAPS)
def test_no_window_holds_twice_the_count_nor_more_than_the_count_at_one_moment(rate: Rate, gaps: list[float]) -> None:
    started = starts(rate, times(gaps))
    for begin in started:
        assert sum(begin <= t < begin + rate.per * (1 - 1e-6) for t in started) < 2 * rate.count
        assert started.count(begin) <= rate.count


@given(RATES, GAPS)
@example(Rate(7, 10.0), [0.0] * 40)
def test_after_the_delay_there_is_none_any_more(rate: Rate, gaps: list[float]) -> None:
    bucket = Bucket(rate)
    for now in starts(rate, times(gaps)):
        assert bucket.delay(now) == 0
        bucket.start(now)
        assert bucket.delay(now + bucket.delay(now)) == 0


@given(RATES, GAPS)
def test_none_waits_longer_than_it_must(rate: Rate, gaps: list[float]) -> None:
    """Each that waited follows the one before by one token's time: a shorter wait would break the rate."""
    asked = times(gaps)
    started = starts(rate, asked)
    assert started == sorted(started)
    assert all(start >= at for at, start in zip(asked, started, strict=True))
    interval = rate.per / rate.count
    for (before, now), at in zip(pairwise(started), asked[1:], strict=True):
        if now > max(before, at):
            assert now - before <= interval * (1 + 1e-6) + 1e-6
