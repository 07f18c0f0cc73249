"""Which instants of a schedule get a run."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.ticks import AT_ONCE, CONSIDERED, CatchUp, Due, due


def minutes(upto: float) -> list[float]:
    """The instants of each minute of an hour, after one of them."""
    return [60.0 * n for n in range(1, 61) if 60.0 * n > upto]


@pytest.mark.parametrize(
    ("catch_up", "upto", "now", "found"),
    [
        ("latest", 0.0, 59.9, Due((), 0, 0.0)),
        ("latest", 0.0, 60.0, Due((60.0,), 0, 60.0)),
        ("latest", 0.0, 200.0, Due((180.0,), 2, 180.0)),
        ("all", 0.0, 200.0, Due((60.0, 120.0, 180.0), 0, 180.0)),
        ("none", 0.0, 200.0, Due((180.0,), 2, 180.0)),
        ("none", 0.0, 3599.0, Due((3540.0,), 58, 3540.0)),
        (100.0, 0.0, 200.0, Due((120.0, 180.0), 1, 180.0)),
        (0.0, 0.0, 200.0, Due((), 3, 180.0)),
        ("all", 180.0, 100.0, Due((), 0, 180.0)),
    ],
)
def test_what_is_due(catch_up: CatchUp, upto: float, now: float, found: Due) -> None:
    assert due(minutes(upto), upto, now, catch_up) == found


def test_a_look_that_comes_too_late_starts_nothing_where_nothing_is_caught_up() -> None:
    assert due([100.0], 0.0, 161.0, "none") == Due((), 1, 100.0)


def test_one_look_makes_only_so_many() -> None:
    found = due(map(float, count(1)), 0.0, 250.0, "all")
    assert (len(found.ticks), found.upto, found.more) == (AT_ONCE, float(AT_ONCE), True)
    found = due(map(float, count(1)), 0.0, 3e4, "latest")
    assert (found.ticks, found.missed, found.upto, found.more) == ((), CONSIDERED, float(CONSIDERED), True)


@given(
    looks=st.lists(st.tuples(st.floats(-4000, 4000), st.booleans()), max_size=40),
    catch_up=st.sampled_from(["latest", "all", "none", 500.0]),
)
def test_however_clocks_are_set_and_whoever_is_down_each_instant_is_dealt_with_once(
    looks: list[tuple[float, bool]], catch_up: CatchUp
) -> None:
    """Looks of two schedulers that share how far they are; each step of their clock may lead back."""
    upto, now, furthest = 0.0, 0.0, 0.0
    ran: list[float] = []
    skipped = 0
    for step, again in looks:
        now += step
        furthest = max(furthest, now)
        while True:
            found = due((60.0 * n for n in count(int(max(upto, 0) // 60) + 1)), upto, now, catch_up)
            ran += found.ticks
            skipped += found.missed
            assert found.upto >= upto
            upto = found.upto
            if not found.more:
                break
        if again:  # the other one looks right behind it
            assert due((60.0 * n for n in count(int(upto // 60) + 1)), upto, now, catch_up).ticks == ()
    assert ran == sorted(set(ran)), "in order, none twice"
    assert len(ran) + skipped == int(furthest // 60), "each is dealt with"
    if catch_up == "all":
        assert skipped == 0
