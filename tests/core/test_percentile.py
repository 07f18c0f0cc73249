"""What "slow" means after so many durations."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.percentile import Durations, hedge_after
from segue.limits import Hedge


def seen(durations: list[float], most: int = 200) -> Durations:
    made = Durations(most)
    for duration in durations:
        made.add(duration)
    return made


@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        ([], None),
        ([3], 3),
        ([1, 2], 2),
        (list(range(1, 20)), 19),
        (list(range(1, 21)), 19),  # the first length at which the slowest is left out
        (list(range(100, 0, -1)), 95),
        ([1.0] * 95 + [60.0] * 5, 1),
        ([1.0] * 94 + [60.0] * 6, 60),
    ],
)
def test_the_95th_percentile_is_one_of_the_durations(durations: list[float], expected: float | None) -> None:
    assert seen(durations).p95() == expected


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1e6), min_size=1, max_size=60), st.integers(1, 25))
def test_only_the_last_ones_count(durations: list[float], most: int) -> None:
    made = seen(durations, most)
    last = sorted(durations[-most:])
    assert len(made) == len(last)
    assert made.p95() == last[ceil(0.95 * len(last)) - 1]


@pytest.mark.parametrize(
    ("hedge", "succeeded", "expected"),
    [
        (Hedge("2s"), 0, 2),
        (Hedge("2s"), 100, 2),
        (Hedge(), 0, None),
        (Hedge(), 19, None),
        (Hedge(), 20, 19),
        (Hedge(least=3), 3, 3),
        (Hedge(least=200), 1000, 990),
    ],
)
def test_a_hedge_waits_as_it_says_or_as_long_as_most_of_the_last_attempts_took(
    hedge: Hedge, succeeded: int, expected: float | None
) -> None:
    assert hedge_after(hedge, seen([float(n) for n in range(1, succeeded + 1)])) == expected
