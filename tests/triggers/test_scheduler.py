"""The scheduler on a store, by a clock that the test sets: downtime, clocks that jump, two at once, errors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from segue import DeclarationError, Engine, Flow, flow
from segue.errors import StoreError
from segue.runtime.tickets import Options
from segue.stores.base import Query, Row
from segue.stores.sqlite import SqliteStore
from segue.triggers import Tick, cron, every
from segue.triggers.scheduler import AGAIN, LONGEST, Scheduler
from segue.values import plain

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    """Where the hands stand."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Site:
    """A store, and schedulers on it which only start runs."""

    def __init__(self, path: Path | None = None) -> None:
        self.clock, self.path = Clock(), path
        self.store = self.fresh()

    def fresh(self) -> SqliteStore:
        return SqliteStore(self.path, durability="process", clock=self.clock)

    async def rows(self) -> list[Row]:
        """The runs that were started, in order."""
        found = await self.store.find(Query(limit=100_000))
        loaded = [await self.store.load(row.id) for row in sorted(found, key=lambda row: (row.created, row.id))]
        return [one[0] for one in loaded if one is not None]

    async def instants(self) -> list[str]:
        """When they were to start."""
        return [row.id.split("-")[1] for row in await self.rows()]


def on_site(
    flows: Iterable[Flow[..., Any]], scene: Callable[[Site, Scheduler], Awaitable[None]], path: Path | None = None
) -> None:
    async def whole() -> None:
        site = Site(path)
        async with Engine(site.store, execute=False, _clock=site.clock) as engine:
            await scene(site, Scheduler(engine, flows))

    asyncio.run(whole())


def input_of(row: Row) -> Any:
    return plain(row.input)


def hourly(catch_up: Any) -> Flow[..., Any]:
    @flow(name=f"hourly-{catch_up}", on=cron("0 * * * *", tz="Europe/London", catch_up=catch_up))
    async def report(tick: Tick) -> None: ...

    return report


def test_each_tick_is_one_run_which_is_told_of_it() -> None:
    seen: list[Tick] = []

    @flow(on=[cron("*/15 * * * *", tz="Europe/London")])
    async def told(tick: Tick) -> None:
        seen.append(tick)

    async def main() -> None:
        clock = Clock()
        store = SqliteStore(None, clock=clock)
        async with Engine(store, _clock=clock) as engine:
            scheduler = Scheduler(engine, [told])
            assert await scheduler.look() == NOON + 900
            clock.now += 900
            for _ in range(3):
                assert await scheduler.look() == NOON + 1800
            [row] = await store.find(Query())
            assert row.id.startswith("tick-20270601T121500Z-")
            await (await told.handle(row.id)).result()
        at = datetime(2027, 6, 1, 12, 15, tzinfo=UTC)
        assert seen == [Tick(at, "*/15 * * * * Europe/London", 0, "Europe/London")]
        assert seen[0].local.isoformat() == "2027-06-01T13:15:00+01:00"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("catch_up", "hours", "missed"),
    [
        ("latest", ["15"], [2]),
        ("all", ["13", "14", "15"], [0, 0, 0]),
        ("none", [], []),
        ("2h", ["14", "15"], [0, 0]),
    ],
)
def test_down_for_three_hours(catch_up: Any, hours: list[str], missed: list[int]) -> None:
    async def scene(site: Site, scheduler: Scheduler) -> None:
        await scheduler.look()
        site.clock.now += 3 * 3600 + 600
        following = await scheduler.look()
        assert following == NOON + 4 * 3600
        assert await scheduler.look() == following
        assert [at[9:11] for at in await site.instants()] == hours
        assert [input_of(row)["tick"]["missed"] for row in await site.rows()] == missed
        site.clock.now = following
        await scheduler.look()
        assert (await site.instants())[-1] == "20270601T160000Z"
        assert len(await site.rows()) == len(hours) + 1

    on_site([hourly(catch_up)], scene)


@pytest.mark.parametrize("catch_up", ["latest", "all", "none"])
def test_the_clock_is_set_back_an_hour_and_nothing_comes_twice(catch_up: Any) -> None:
    @flow(name=f"tens-{catch_up}", on=every("10m", catch_up=catch_up))
    async def tens() -> None: ...

    async def scene(site: Site, scheduler: Scheduler) -> None:
        for step in (0, *[300] * 12, -3600, *[300] * 24):
            site.clock.now += step
            await scheduler.look()
        assert await site.instants() == [
            f"{datetime.fromtimestamp(NOON + 600 * n, UTC):%Y%m%dT%H%M%S}Z" for n in range(1, 13)
        ]

    on_site([tens], scene)


@pytest.mark.parametrize(("catch_up", "count"), [("latest", 1), ("all", 6), ("none", 1), ("30m", 4)])
def test_a_clock_that_is_set_forward_an_hour_is_downtime(catch_up: Any, count: int) -> None:
    @flow(name=f"forward-{catch_up}", on=every("10m", catch_up=catch_up))
    async def forward() -> None: ...

    async def scene(site: Site, scheduler: Scheduler) -> None:
        await scheduler.look()
        site.clock.now += 3600
        await scheduler.look()
        assert len(await site.instants()) == count
        assert (await site.instants())[-1] == "20270601T130000Z"

    on_site([forward], scene)


@pytest.mark.parametrize("catch_up", ["latest", "all"])
def test_two_schedulers_start_each_tick_once(tmp_path: Path, catch_up: Any) -> None:
    @flow(name=f"pair-{catch_up}", on=every("1s", catch_up=catch_up))
    async def pair(tick: Tick) -> None: ...

    async def scene(site: Site, one: Scheduler) -> None:
        theirs = Clock(NOON + 0.4)
        async with Engine(site.fresh(), execute=False, _clock=theirs) as engine:
            other = Scheduler(engine, [pair])
            await asyncio.gather(one.look(), other.look())
            for step in (1, 1, 0.5, 7, 0.1, 1, 1, 30, 1, 2):
                site.clock.now += step
                theirs.now += step
                await asyncio.gather(one.look(), other.look(), one.look(), other.look())
            await one.look()
            await other.look()
        instants, rows = await site.instants(), await site.rows()
        assert instants == sorted(set(instants))
        assert sum(1 + input_of(row)["tick"]["missed"] for row in rows) == int(theirs.now - NOON)
        if catch_up == "all":
            assert len(rows) == int(theirs.now - NOON)

    on_site([pair], scene, tmp_path / "runs.db")


def test_of_many_missed_ticks_a_hundred_at_once() -> None:
    @flow(on=every("1s", catch_up="all"))
    async def many() -> None: ...

    async def scene(site: Site, scheduler: Scheduler) -> None:
        await scheduler.look()
        site.clock.now += 250
        assert await scheduler.look() <= site.clock.now
        assert len(await site.rows()) == 100
        assert await scheduler.look() <= site.clock.now
        assert await scheduler.look() == NOON + 251
        assert len(await site.rows()) == 250

    on_site([many], scene)


def test_a_crash_between_the_run_and_the_note_of_it_loses_and_repeats_nothing() -> None:
    @flow(on=every("10m", catch_up="latest"))
    async def crashed(tick: Tick) -> None: ...

    async def scene(site: Site, scheduler: Scheduler) -> None:
        await scheduler.look()
        site.clock.now += 3600
        progress = site.store.progress

        async def lost(name: str, was: Any, to: Any) -> bool:
            if not to.under_way:
                raise StoreError("the disk is gone")
            return await progress(name, was, to)

        site.store.progress = lost
        assert await scheduler.look() == site.clock.now + AGAIN
        site.store.progress = progress
        site.clock.now += 1800  # what was planned is finished as it was, and what came meanwhile is another plan
        await scheduler.look()
        await scheduler.look()
        assert await site.instants() == ["20270601T130000Z", "20270601T133000Z"]
        assert [input_of(row)["tick"]["missed"] for row in await site.rows()] == [5, 2]

    on_site([crashed], scene)


def test_a_store_that_cannot_be_read_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(site: Site, scheduler: Scheduler) -> None:
        await scheduler.look()
        schedules = site.store.schedules

        async def broken(names: Any) -> Any:
            raise StoreError("the disk is gone")

        site.store.schedules = broken
        site.clock.now += 3600
        for _ in range(3):
            assert await scheduler.look() == site.clock.now + AGAIN
        site.store.schedules = schedules
        await scheduler.look()
        assert await site.instants() == ["20270601T130000Z"]

    with caplog.at_level(logging.WARNING, "segue"):
        on_site([hourly("latest")], scene)
    assert [record.getMessage() for record in caplog.records] == [
        "the schedules cannot be read, and wait: the disk is gone"
    ]


def test_a_full_queue_holds_its_schedule_up_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    @flow(on=every("1m", catch_up="all"), max_queued=2)
    async def narrow() -> None: ...

    @flow(on=every("1m", catch_up="all"))
    async def wide() -> None: ...

    async def scene(site: Site, scheduler: Scheduler) -> None:
        await scheduler.look()
        site.clock.now += 300
        for _ in range(2):
            await scheduler.look()
        flows = [row.flow for row in await site.rows()]
        assert (flows.count(narrow.name), flows.count(wide.name)) == (2, 5)
        narrow.spec.max_queued = None
        await scheduler.look()
        flows = [row.flow for row in await site.rows()]
        assert flows.count(narrow.name) == 5

    with caplog.at_level(logging.WARNING, "segue"):
        on_site([narrow, wide], scene)
    assert len(caplog.records) == 1


def test_a_run_that_was_made_under_another_policy_stays_as_it_is() -> None:
    @flow(on=every("10m"))
    async def changed(tick: Tick) -> None: ...

    async def scene(site: Site, scheduler: Scheduler) -> None:
        from segue.triggers.scheduler import id_of

        await scheduler.look()
        site.clock.now += 3600
        id = id_of(f"{changed.name} every 10m", site.clock.now)
        other = Tick(datetime.fromtimestamp(site.clock.now, UTC), "every 10m", 77)
        await scheduler.engine.launch(changed.spec, (other,), {}, Options(id=id), wait=True)
        assert await scheduler.look() == site.clock.now + 600
        [row] = await site.rows()
        assert input_of(row)["tick"]["missed"] == 77

    on_site([changed], scene)


def test_it_sleeps_until_the_next_tick_but_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    @flow(on=every("100s"))
    async def rare() -> None: ...

    async def scene(site: Site, scheduler: Scheduler) -> None:
        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            site.clock.now += seconds
            if len(slept) == 8:
                raise asyncio.CancelledError

        with monkeypatch.context() as patch:
            patch.setattr("segue.triggers.scheduler.asyncio.sleep", sleep)
            with pytest.raises(asyncio.CancelledError):
                await scheduler.run()
        assert len(await site.rows()) == 1

    on_site([rare], scene)
    assert slept[:4] == [LONGEST, LONGEST, LONGEST, 10.0]


# Declarations


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: cron("61 * * * *"), "write minute hour day month weekday, such as"),
        (lambda: cron("* * *"), "such as '*/15 * * * *'"),
        (lambda: cron(""), "such as '*/15 * * * *'"),
        (lambda: cron("0 0 30 2 *"), "such as '*/15 * * * *'"),
        (lambda: cron("* * * * *" * 100), "such as '*/15 * * * *'"),
        (lambda: cron(15), "such as '*/15 * * * *'"),  # pyright: ignore[reportArgumentType]
        (lambda: cron("0 3 * * *", tz="Europe/Londn"), "tz='Europe/London'"),
        (lambda: cron("0 3 * * *", tz="../../etc/passwd"), "tz='Europe/London'"),
        (lambda: cron("0 3 * * *", tz=""), "tz='Europe/London'"),
        (lambda: cron("0 3 * * *", tz=None), "tz='Europe/London'"),  # pyright: ignore[reportArgumentType]
        (lambda: cron("0 3 * * *", catch_up="some"), "'latest', 'all', 'none', or a duration"),
        (lambda: cron("0 3 * * *", catch_up=None), "'latest', 'all', 'none', or a duration"),  # pyright: ignore[reportArgumentType]
        (lambda: cron("0 3 * * *", catch_up=-1), "'latest', 'all', 'none', or a duration"),
        (lambda: every("10ms"), "between a second and a year"),
        (lambda: every(0), "between a second and a year"),
        (lambda: every("3 apples"), "such as '30s'"),
        (lambda: every("1h", catch_up=""), "'latest', 'all', 'none', or a duration"),
    ],
)
def test_what_cannot_be_is_refused_and_shown_right(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        make()
    assert said in str(refused.value)


def test_without_cronsim_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cronsim", None)
    with pytest.raises(DeclarationError, match=r"pip install 'segue\[triggers\]'"):
        cron("0 3 * * *")
    assert every("1m").text == "every 1m"


def test_a_flow_takes_nothing_or_a_tick() -> None:
    async def nothing() -> None: ...
    async def optional(n: int = 3) -> None: ...
    async def tick(tick: Tick) -> None: ...
    async def named(*, tick: Tick, n: int = 3) -> None: ...
    async def needs(n: int) -> None: ...
    async def both(tick: Tick, n: int) -> None: ...

    fitting: list[Any] = [nothing, optional, tick, named]
    unfit: list[tuple[Any, str]] = [(needs, "n"), (both, "tick, n")]
    for fits in fitting:
        flow(name=f"fits-{fits.__name__}", on=every("1m"))(fits)
    for fn, name in unfit:
        with pytest.raises(DeclarationError, match=f"this one needs {name}; write async def flow"):
            flow(name="unfit", on=every("1m"))(fn)


def test_values_are_frozen_and_shown_as_they_are_written() -> None:
    assert cron(" 0  3 * * * ") == cron("0 3 * * *", tz="UTC", catch_up="latest")
    assert repr(cron("0 3 * * *")) == "cron('0 3 * * *', tz='UTC')"
    assert repr(every(timedelta(minutes=90))) == "every('1h30m')"
    assert len({every("60s"), every("1m"), every("1m", catch_up="all")}) == 2
