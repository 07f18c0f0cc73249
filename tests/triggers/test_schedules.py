"""``cron`` and ``every``: when they are due, and that each tick is one run."""

import asyncio
import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from segue import DeclarationError, Engine, flow
from segue.stores.base import Query
from segue.triggers import Tick, cron, every
from segue.triggers.scheduler import Scheduler
from tests.cli.conftest import Project, until_said
from tests.cli.conftest import project as project  # a fixture

HOUR = 3600.0


def times(schedule: Any, start: str, hours: float) -> list[str]:
    """Its instants from a local time on, as local times with their offsets."""
    begin = datetime.fromisoformat(start).replace(tzinfo=schedule.zone).timestamp()
    found = takewhile(lambda instant: instant <= begin + hours * HOUR, schedule.after(begin))
    return [datetime.fromtimestamp(instant, schedule.zone).strftime("%d %H:%M %z") for instant in found]


@pytest.mark.parametrize(
    ("expression", "tz", "start", "hours", "expected"),
    [  # spring forward: 01:00 to 02:00 on 29 March 2026, 02:00 to 03:00 on 8 March
        ("30 1 * * *", "Europe/London", "2026-03-28T12:00", 36, ["29 02:00 +0100"]),
        ("0 * * * *", "Europe/London", "2026-03-28T23:30", 3, ["29 00:00 +0000", "29 02:00 +0100", "29 03:00 +0100"]),
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00", 36, ["08 03:00 -0400"]),
        # fall back: 02:00 to 01:00 on 25 October 2026 and on 1 November
        ("30 1 * * *", "Europe/London", "2026-10-24T12:00", 36, ["25 01:30 +0100"]),
        (
            "0 * * * *", "Europe/London", "2026-10-25T00:30", 3,
            ["25 01:00 +0100", "25 01:00 +0000", "25 02:00 +0000"],
        ),
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", 36, ["01 01:30 -0400"]),
        ("0 3 * * *", "UTC", "2026-10-24T12:00", 48, ["25 03:00 +0000", "26 03:00 +0000"]),
    ],
)  # fmt: skip
def test_times_where_clocks_change(expression: str, tz: str, start: str, hours: float, expected: list[str]) -> None:
    assert times(cron(expression, tz=tz), start, hours) == expected


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
    end = begin + 36 * HOUR

    def rest(upto: float) -> list[float]:
        return list(takewhile(lambda instant: instant <= end, schedule.after(upto)))

    whole = rest(begin)
    assert whole == sorted(set(whole))
    for upto in range(int(begin), int(end), 900):
        assert rest(upto) == [instant for instant in whole if instant > upto]


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: cron("* * * *"), "one is '*/15 * * * *', as in crontab(5)"),
        (lambda: cron("61 * * * *"), "one is '*/15 * * * *'"),
        (lambda: cron("0 0 30 2 *"), "one is '*/15 * * * *'"),
        (lambda: cron("0 3 * * *", tz="Europe/Londn"), "'Europe/Londn' is no zone; one is 'Europe/London'"),
        (lambda: cron("0 3 * * *", tz="../../etc/passwd"), "is no zone"),
        (lambda: cron("0 3 * * *", catch_up="some"), "catch_up is 'latest', 'all', 'none' or a duration"),
        (lambda: every("10ms"), "a period is at least 0.1 s, not '10ms'"),
        (lambda: every("often"), "often"),
        (lambda: flow(name="wrong", on=[every("1s")])(needs), "gives nothing but a Tick, and the flow must be given n"),
        (lambda: flow(name="wrong", on="0 3 * * *")(plain), "on is a list of triggers"),  # pyright: ignore
        (lambda: flow(name="wrong", on=["0 3 * * *"])(plain), "is no trigger: see segue.triggers"),  # pyright: ignore
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(declare: Callable[[], Any], said: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        declare()
    assert said in str(refused.value)


async def needs(n: int) -> None: ...


async def plain() -> None: ...


@flow(name="quarter", on=[cron("*/15 * * * *", tz="Europe/London")])
async def quarter(tick: Tick) -> Tick:
    return tick


@flow(name="each quarter", on=[cron("*/15 * * * *", catch_up="all")])
async def each_quarter(tick: Tick) -> Tick:
    return tick


@flow(name="only on time", on=[cron("*/15 * * * *", catch_up="none")])
async def only_on_time() -> None: ...


@flow(name="recent", on=[cron("*/15 * * * *", catch_up="40m")])
async def recent() -> None: ...


FLOWS = [quarter, each_quarter, only_on_time, recent]
BEGAN = datetime(2026, 6, 1, 12, 5, tzinfo=UTC).timestamp()


class Clock:
    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> float:
        return self.now


async def served(path: Path, clock: Clock, *at: float) -> dict[str, list[tuple[str, int]]]:
    """What two schedulers start that look at these times, in hours since the beginning: when it was due, and missed."""
    from segue.stores.sqlite import SqliteStore

    async with (
        Engine(SqliteStore(path, clock=clock), execute=False, _clock=clock) as one,
        Engine(SqliteStore(path, clock=clock), execute=False, _clock=clock) as other,
    ):
        schedulers = [Scheduler(engine, [one.spec for one in FLOWS]) for engine in (one, other)]
        for hours in at:
            clock.now = BEGAN + hours * HOUR
            await asyncio.gather(*[scheduler.look() for scheduler in schedulers])
        found: dict[str, list[tuple[str, int]]] = {}
        for row in reversed(await one.store.find(Query(limit=1000))):
            loaded = await one.store.load(row.id)
            assert loaded is not None
            spec = next(flow.spec for flow in FLOWS if flow.name == row.flow)
            given = spec.inputs.decode(loaded[0].input)[1].get("tick")
            due = "" if given is None else f"{given.scheduled.astimezone(UTC):%H:%M}"
            found.setdefault(row.flow, []).append((due, 0 if given is None else given.missed))
        return {name: sorted(ticks) for name, ticks in found.items()}


def test_after_three_hours_of_nobody_each_policy_is_kept(tmp_path: Path) -> None:
    found = asyncio.run(served(tmp_path / "a.db", Clock(), 0, 0.25, 3.175))
    quarters = [f"{12 + n // 4}:{15 * (n % 4):02}" for n in range(1, 14)]
    assert found["quarter"] == [("12:15", 0), ("15:15", 11)]
    assert found["each quarter"] == [(due, 0) for due in quarters]
    assert len(found["only on time"]) == 1, "12:15, seen at 12:20, was too late; 15:15 was not"
    assert len(found["recent"]) == 1 + 3


def test_a_clock_that_is_set_back_or_forward_makes_no_tick_twice(tmp_path: Path) -> None:
    found = asyncio.run(served(tmp_path / "a.db", Clock(), 0, 0.2, 0.45, -0.55, -0.3, 0.2, 0.45, 0.7))
    assert found["each quarter"] == [("12:15", 0), ("12:30", 0), ("12:45", 0)]
    assert found["quarter"] == [("12:15", 0), ("12:30", 0), ("12:45", 0)]
    found = asyncio.run(served(tmp_path / "b.db", Clock(), 0, 0.2, 1.2, 0.25, 0.5, 1.2, 1.45))
    quarters = [f"{12 + n // 4}:{15 * (n % 4):02}" for n in range(1, 7)]
    assert found["each quarter"] == [(due, 0) for due in quarters]
    assert found["quarter"] == [("12:15", 0), ("13:15", 3), ("13:30", 0)]


def test_a_tick_is_what_its_flow_is_told() -> None:
    schedule = cron("0 12 * * *", tz="Europe/London")
    tick = schedule.tick(datetime(2026, 6, 1, 11, tzinfo=UTC).timestamp(), 2)
    assert tick == Tick(
        datetime(2026, 6, 1, 12, tzinfo=ZoneInfo("Europe/London")), "cron '0 12 * * *' Europe/London", 2
    )
    assert tick.scheduled.utcoffset() == timedelta(hours=1)


SERVED = """
from segue import flow, step
from segue.triggers import every, Tick


@step
async def note(at: str) -> None:
    open("ticks", "a").write(at + "\\n")


@flow(on=[every("200ms", catch_up="all")])
async def often(tick: Tick) -> None:
    await note(str(tick.scheduled.timestamp()))


@flow
async def other() -> None: ...
"""


def noted(folder: Path) -> list[float]:
    file = folder / "ticks"
    return [float(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(ticks: int, folder: Path, *processes: Any) -> None:
    while len(noted(folder)) < ticks:
        for process in processes:
            assert process.poll() is None, process.communicate()


def test_two_processes_serve_one_store_and_each_tick_is_one_run_through_crashes(project: Project) -> None:
    project.write("timed.py", SERVED)
    first = project.start("serve", "timed.py")
    said = until_said(first, "every 200ms, next")
    assert "timed.often: every 200ms, next" in said
    second = project.start("serve", "timed.py")
    wait_for(5, project.folder, first, second)
    project.environment["SEGUE_CRASH_AT"] = "after-create:3"
    dying = project.start("serve", "timed.py")
    dying.communicate(timeout=60)
    del project.environment["SEGUE_CRASH_AT"]
    first.kill()
    first.communicate()
    wait_for(len(noted(project.folder)) + 5, project.folder, second)
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=30)
    assert second.returncode == 0
    again = project.start("serve", "timed.py")
    wait_for(len(noted(project.folder)) + 3, project.folder, again)
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=30)
    ticks = sorted(set(noted(project.folder)))
    steps = {round(later - earlier, 3) for earlier, later in pairwise(ticks)}
    assert steps == {0.2}, "none was lost"
    runs = json.loads(project.segue("runs", "--json", "--limit", "10000").out)
    assert len({run["id"] for run in runs}) == len(runs) >= len(ticks)


def test_serving_nothing_is_said(project: Project) -> None:
    project.write("quiet.py", "from segue import flow\n\n@flow\nasync def quiet() -> None: ...\n")
    serving = project.start("serve", "quiet.py")
    until_said(serving, "no flow here is started by anything: @flow(on=")
    serving.send_signal(signal.SIGINT)
    serving.communicate(timeout=30)
    assert serving.returncode == 0
