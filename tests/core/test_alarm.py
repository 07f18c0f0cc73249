"""Which alerts are due, and how many may go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.alarm import Said, is_due, room, share
from segue.limits import Rate

HOUR = 3600.0


@pytest.mark.parametrize(
    ("said", "since", "now", "lasting", "due"),
    [
        (None, 10.0, 10.0, True, True),
        (None, 10.0, 10.0, False, True),
        (Said(100.0, 90.0), 90.0, 100.0 + HOUR - 1, True, False),
        (Said(100.0, 90.0), 90.0, 100.0 + HOUR, True, True),
        (Said(100.0, 90.0), 90.0, 100.0 + 24 * HOUR, False, False),
        (Said(100.0, 90.0), 95.0, 100.0 + HOUR - 1, False, False),
        (Said(100.0, 90.0), 95.0, 100.0 + HOUR, False, True),
        (Said(100.0, 90.0), 80.0, 100.0 + HOUR, False, False),  # the newest was dealt with
    ],
)
def test_what_was_said_is_said_again_in_time_and_only_if_there_is_more(
    said: Said | None, since: float, now: float, lasting: bool, due: bool
) -> None:
    assert is_due(said, since, now, HOUR, lasting=lasting) is due


@given(st.lists(st.floats(0.0, 100.0)), st.integers(1, 5), st.floats(1.0, 20.0))
def test_never_more_go_in_a_time_than_the_rate_says(moments: list[float], count: int, per: float) -> None:
    rate, gone = Rate(count, per), list[float]()
    for now in sorted(moments):
        gone += [now] * room(gone, rate, now)
    for at in gone:
        assert sum(at - other < per for other in gone if other <= at) <= count


@given(st.lists(st.integers(), unique=True), st.integers(0, 5), st.sets(st.integers()))
def test_whatever_is_found_goes_or_is_held(found: list[int], left: int, held: set[int]) -> None:
    going, kept = share(found, left, held)
    assert len(going) <= left
    assert {*going} | kept == {*found} | held
    assert not {*going} & kept
