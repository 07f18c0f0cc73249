"""Which ticks are due, by table and by chance: every instant is dealt with by the policy, none twice, in order."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.ticks import AT_ONCE, COUNTED, Due, Policy, Progress, due, plan
from segue.triggers import cron, every


class Tens:
    """An instant every ten seconds."""

    def after(self, time: float) -> Iterator[float]:
        at = (time // 10 + 1) * 10
        while True:
            yield at
            at += 10


TENS = Tens()


def dealt(upto: float, now: float, policy: Policy) -> tuple[list[Due], float]:
    """What is due in one look, and up to when."""
    to = plan(Progress(upto, upto), now, TENS, policy)
    return ([], upto) if to is None else (due(to, TENS, policy), to.done.upto)


@pytest.mark.parametrize("policy", ["latest", "all", "none", 25.0])
def test_a_new_schedule_counts_from_now_on(policy: Policy) -> None:
    first = plan(None, 1234.0, TENS, policy)
    assert first is not None
    assert first == Progress(1234.0, 1234.0)
    assert due(first, TENS, policy) == []
    assert plan(first, 1239.0, TENS, policy) is None
    assert dealt(1234.0, 1240.0, policy) == ([Due(1240.0)], 1240.0)


@pytest.mark.parametrize(
    ("upto", "now", "policy", "ticks", "after"),
    [
        (0, 9.9, "latest", [], 0),
        (0, 10, "latest", [(10, 0)], 10),
        (0, 20.5, "latest", [(20, 1)], 20.5),
        (0, 10_805, "latest", [(10_800, 1079)], 10_805),
        (0, 45, "all", [(10, 0), (20, 0), (30, 0), (40, 0)], 45),
        (0, 45, "none", [(40, 0)], 45),
        (0, 10_805, "none", [(10_800, 0)], 10_805),
        (0, 45, 15.0, [(30, 0), (40, 0)], 45),
        (0, 45, 25.0, [(20, 0), (30, 0), (40, 0)], 45),
        (0, 45, 0.0, [], 45),
        (0, 40, 0.0, [(40, 0)], 40),
        (3600, 0, "all", [], 3600),  # the clock went back: they were dealt with
        (3600, 3609, "all", [], 3600),
        (3600, 3610, "all", [(3610, 0)], 3610),
    ],
)
def test_what_is_due(upto: float, now: float, policy: Policy, ticks: list[tuple[float, int]], after: float) -> None:
    assert dealt(upto, now, policy) == ([Due(*tick) for tick in ticks], after)


def test_where_missed_ticks_are_skipped_one_a_minute_late_is_not_missed() -> None:
    hourly, was = every("1h", "none"), Progress(3500.0, 3500.0)
    for now, ticks in ((3659.9, [Due(3600.0)]), (3660.1, [])):
        to = plan(was, now, hourly, "none")
        assert to is not None
        assert due(to, hourly, "none") == ticks
        assert to.done == Progress(now, now)


def test_of_very_many_a_hundred_at_once_the_oldest_first() -> None:
    first, upto = dealt(0, 10_000, "all")
    assert [tick.at for tick in first] == [10.0 * n for n in range(1, AT_ONCE + 1)]
    assert upto == 1000.0
    assert dealt(upto, 10_000, "all")[0][0] == Due(1010.0)
    assert [tick.at for tick in dealt(0, 10_000, 9_000.0)[0]] == [1000.0 + 10 * n for n in range(AT_ONCE)]


def test_of_more_than_can_be_counted_the_latest_is_found() -> None:
    assert dealt(0, 1e9 + 5, "latest") == ([Due(1e9, COUNTED - 1)], 1e9 + 5)


def test_a_plan_goes_first_and_comes_to_the_same_whatever_the_clock_says() -> None:
    to = plan(Progress(0, 0), 45, TENS, "latest")
    assert to is not None
    assert to == Progress(0, 45)
    for now in (0.0, 45.0, 1e6):
        assert plan(to, now, TENS, "latest") == to
    assert due(to, TENS, "latest") == [Due(40, 3)]


class Shared:
    """A store of one schedule's progress, which lets one of several come further from where it is."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.runs: dict[float, int] = {}
        self.planned_at: list[tuple[Progress, float]] = []


def scheduler(shared: Shared, clock: list[float], policy: Policy) -> Iterator[None]:
    """A scheduler as segue.triggers.scheduler has it, which stands still at each yield."""
    while True:
        was = shared.progress
        yield
        now = clock[0]
        to = plan(was, now, TENS, policy)
        if to is None:
            continue
        if to != was:
            if shared.progress != was:
                continue
            shared.progress = to
            yield
        for tick in due(to, TENS, policy):
            if tick.at in shared.runs:
                assert shared.runs[tick.at] == tick.missed, "the same input, whoever starts it"
            shared.runs.setdefault(tick.at, tick.missed)
            yield
        if shared.progress == to:
            shared.progress = to.done
        yield


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("go"), st.integers(0, 2), st.integers(1, 9)),
        st.tuples(st.just("die"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("clock"), st.integers(0, 2), st.sampled_from([1, 3, 7, 12, 40, 300, 3600, -3600, -20])),
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(MOVES, st.sampled_from(["latest", "all", "none", 30.0]))
def test_several_schedulers_that_die_and_whose_clocks_jump(moves: list[tuple[str, int, int]], policy: Policy) -> None:
    shared = Shared()
    clocks = [[1e6], [1e6 + 0.4], [1e6 - 2.0]]
    alive = [scheduler(shared, clock, policy) for clock in clocks]
    latest = 1e6 + 0.4
    for what, which, amount in moves:
        if what == "go":
            for _ in range(amount):
                next(alive[which])
        elif what == "die":
            alive[which] = scheduler(shared, clocks[which], policy)
        else:
            clocks[which][0] += amount
            latest = max(latest, clocks[which][0])
    began = list(shared.runs)
    assert began == sorted(began), "in order"
    for clock in clocks:
        clock[0] = latest
    last = scheduler(shared, clocks[0], policy)
    for _ in range(20_000):
        next(last)
        if (
            shared.progress is not None
            and not shared.progress.under_way
            and plan(shared.progress, latest, TENS, policy) is None
        ):
            break
    assert shared.progress is not None
    assert list(shared.runs) == sorted(shared.runs)
    ran, upto = set(shared.runs), shared.progress.upto
    counted = sum(shared.runs.values())
    first = min(ran, default=upto)
    between = [10.0 * n for n in range(int(first / 10), int(upto / 10) + 1)] if ran else []
    assert ran <= set(between)
    if policy == "all":
        assert ran == set(between)
    elif policy == "latest":  # each one ran, or was counted by the one that ran in its place
        assert len(ran) + counted >= len(between)
        missed_before_first = shared.runs[first] if ran else 0
        assert len(ran) + counted - missed_before_first == len(between)


LONDON, NEW_YORK = "Europe/London", "America/New_York"


def fired(expression: str, tz: str, since: str, until: str) -> list[str]:
    """The instants of a schedule between two times in UTC, in its zone's time."""
    zone = ZoneInfo(tz)
    begin, end = (datetime.fromisoformat(text + "+00:00").timestamp() for text in (since, until))
    found: list[str] = []
    for at in cron(expression, tz=tz).after(begin):
        if at > end:
            return found
        found.append(datetime.fromtimestamp(at, zone).strftime("%d %H:%M%z")[:-2])
    raise AssertionError


@pytest.mark.parametrize(
    ("expression", "tz", "since", "until", "expected"),
    [
        # The clocks of London go forward on 28 March 2027 at 01:00, and back on 31 October at 02:00.
        ("0 * * * *", LONDON, "2027-03-27T23:30", "2027-03-28T02:30", ["28 00:00+00", "28 02:00+01", "28 03:00+01"]),
        ("30 1 * * *", LONDON, "2027-03-26T12:00", "2027-03-29T12:00", ["27 01:30+00", "28 02:00+01", "29 01:30+01"]),
        (
            "0 * * * *",
            LONDON,
            "2027-10-30T23:30",
            "2027-10-31T02:30",
            ["31 01:00+01", "31 01:00+00", "31 02:00+00"],
        ),
        ("30 1 * * *", LONDON, "2027-10-29T12:00", "2027-11-01T12:00", ["30 01:30+01", "31 01:30+01", "01 01:30+00"]),
        # Those of New York on 14 March at 02:00, and on 7 November at 02:00.
        ("0 * * * *", NEW_YORK, "2027-03-14T05:30", "2027-03-14T08:30", ["14 01:00-05", "14 03:00-04", "14 04:00-04"]),
        ("30 2 * * *", NEW_YORK, "2027-03-13T00:00", "2027-03-16T00:00", ["13 02:30-05", "14 03:00-04", "15 02:30-04"]),
        ("30 1 * * *", NEW_YORK, "2027-03-13T12:00", "2027-03-15T12:00", ["14 01:30-05", "15 01:30-04"]),
        ("0 * * * *", NEW_YORK, "2027-11-07T04:30", "2027-11-07T07:30", ["07 01:00-04", "07 01:00-05", "07 02:00-05"]),
        ("30 1 * * *", NEW_YORK, "2027-11-06T00:00", "2027-11-09T00:00", ["06 01:30-04", "07 01:30-04", "08 01:30-05"]),
    ],
)
def test_clocks_that_go_forward_and_back(expression: str, tz: str, since: str, until: str, expected: list[str]) -> None:
    assert fired(expression, tz, since, until) == expected


CHANGES = {
    LONDON: ("2027-03-28T01:00", "2027-10-31T01:00"),
    NEW_YORK: ("2027-03-14T07:00", "2027-11-07T06:00"),
}


@pytest.mark.parametrize("tz", CHANGES)
@pytest.mark.parametrize("expression", ["0 * * * *", "*/15 * * * *", "30 1 * * *", "0,30 1,2 * * *", "15 0-3 * * *"])
def test_from_wherever_one_looks_there_are_the_same_instants(tz: str, expression: str) -> None:
    schedule = cron(expression, tz=tz)
    for change in CHANGES[tz]:
        middle = datetime.fromisoformat(change + "+00:00").timestamp()
        begin, end = middle - 6 * 3600, middle + 6 * 3600
        whole = _until(schedule.after(begin), end)
        assert whole == sorted(set(whole))
        for since in range(int(begin), int(end), 450):
            assert _until(schedule.after(since), end) == [at for at in whole if at > since], since


def _until(instants: Iterator[float], end: float) -> list[float]:
    found: list[float] = []
    for at in instants:
        if at > end:
            break
        found.append(at)
    return found


@pytest.mark.parametrize("length", ["1s", "30s", "1.5s", "7h", 1.001])
def test_equal_distances_are_the_same_from_wherever_one_looks(length: str | float) -> None:
    schedule = every(length)
    instants = schedule.after(1_800_000_000.123)
    some = [next(instants) for _ in range(50)]
    for one, following in pairwise(some):
        assert next(schedule.after(one)) == following
        assert next(schedule.after(one - 0.0004)) == one


@pytest.mark.parametrize("expression", ["0 * * * *", "*/10 * * * *", "30 1 * * *", "30 2 * * *", "15 1-3 * * *"])
@pytest.mark.parametrize(
    ("tz", "day"),
    [
        ("Europe/London", "2026-10-24T12:00"),
        ("Europe/London", "2026-03-28T12:00"),
        ("America/New_York", "2026-10-31T12:00"),
        ("America/New_York", "2026-03-07T12:00"),
        ("Australia/Lord_Howe", "2026-04-04T06:00"),
    ],
)
def test_it_does_not_matter_when_one_looks(expression: str, tz: str, day: str) -> None:
    schedule = cron(expression, tz=tz)
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    end = begin + 36 * 3600.0

    def rest(upto: float) -> list[float]:
        return list(takewhile(lambda instant: instant <= end, schedule.after(upto)))

    whole = rest(begin)
    assert whole == sorted(set(whole))
    for upto in range(int(begin), int(end), 900):
        assert rest(upto) == [instant for instant in whole if instant > upto]
