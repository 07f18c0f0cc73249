"""Which alerts are due, and how many may go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.alarm import Said, is_due, room, share
from segue.limits import Rate

HOUR = 3600.0


LAST = Said(100.0, 90.0, 3)


@pytest.mark.parametrize(
    ("last", "new", "lasting", "due"),
    [
        (None, Said(10.0, 10.0, 1), True, True),
        (None, Said(10.0, 10.0, 1), False, True),
        (LAST, Said(100.0 + HOUR - 1, 90.0, 3), True, False),
        (LAST, Said(100.0 + HOUR, 90.0, 3), True, True),
        (LAST, Said(100.0 + 24 * HOUR, 90.0, 3), False, False),
        (LAST, Said(100.0 + HOUR - 1, 95.0, 4), False, False),
        (LAST, Said(100.0 + HOUR, 95.0, 4), False, True),
        (LAST, Said(100.0 + HOUR, 95.0, 1), False, True),  # others were dealt with
        (LAST, Said(100.0 + HOUR, 90.0, 4), False, True),  # one that began earlier ended later
        (LAST, Said(100.0 + HOUR, 80.0, 2), False, False),  # the newest was dealt with
        (LAST, Said(50.0, 95.0, 4), True, False),  # the clock went back
    ],
)
def test_what_was_said_is_said_again_in_time_and_only_if_there_is_more(
    last: Said | None, new: Said, lasting: bool, due: bool
) -> None:
    assert is_due(last, new, HOUR, lasting=lasting) is due


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
