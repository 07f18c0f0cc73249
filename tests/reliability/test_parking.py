"""Runs that have nothing to do for a while leave memory, and come back when they are due."""

import asyncio
import gc
import time
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from segue import Engine, flow, sleep, step
from segue.runtime import run as runs
from segue.stores.sqlite import SqliteStore

from .looking import select, until
from .processes import process
from .verifier import lines
from .worker import nap

HOUR = 3600.0
RAN: list[str] = []


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@step
async def note(what: str) -> str:
    RAN.append(what)
    return what


@flow
async def sleeper(name: str) -> str:
    before = await note(f"{name} before")
    await sleep("1h")
    return before + await note(f"{name} after")


@flow
async def outer(name: str) -> str:
    return await sleeper(name) + "!"


async def until_parked(engine: Engine) -> None:
    db = cast("SqliteStore", engine.store).db
    await until(lambda: not engine.runs and not list(db.execute("select 1 from runs where status != 'waiting'")))


def test_a_run_that_sleeps_leaves_memory_and_comes_back_when_it_is_due() -> None:
    async def main() -> None:
        RAN.clear()
        clock = Clock()
        async with asyncio.timeout(20), Engine(SqliteStore(None, clock=clock), _clock=clock) as engine:
            handles = [await sleeper.start(f"s{n}") for n in range(20)]
            await asyncio.sleep(0)
            kept = [weakref.ref(run) for run in engine.runs.values()]
            await until_parked(engine)
            await until(lambda: gc.collect() >= 0 and all(ref() is None for ref in kept))
            assert [await handle.status() for handle in handles] == ["waiting"] * 20
            assert "sleeps" in str(await handles[0].reason())
            clock.ahead += HOUR - 60
            engine.nudge()
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(RAN) == 20
            clock.ahead += 61
            assert [await handle.result() for handle in handles] == [f"s{n} befores{n} after" for n in range(20)]
            assert len(RAN) == 40

    asyncio.run(main())


def test_a_parent_parks_beside_its_child_and_both_survive_another_process(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def main() -> None:
        RAN.clear()
        clock = Clock()
        async with asyncio.timeout(20):
            async with Engine(SqliteStore(path, clock=clock), _clock=clock) as engine:
                handle = await outer.start("c")
                await until_parked(engine)
                rows = select(path, "select status, reason from runs order by number")
                assert [status for status, _ in rows] == ["waiting", "waiting"]
                assert "child run" in rows[0][1]
            clock.ahead += HOUR + 1
            async with Engine(SqliteStore(path, clock=clock), _clock=clock):
                assert await (await outer.handle(handle.id)).result() == "c beforec after!"
        assert RAN == ["c before", "c after"]

    asyncio.run(main())


def test_a_parked_run_is_resumed_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PARK_AFTER", 0.01)
    path = tmp_path / "a.db"

    async def main() -> None:
        async with asyncio.timeout(30):
            async with Engine(f"sqlite:{path}") as engine:
                handle = await nap.start(1.0)
                await until_parked(engine)
                assert await handle.status() == "waiting"
            with ExitStack() as stack:
                worker = stack.enter_context(process("worker", f"sqlite:{path}", str(tmp_path / "sink")))
                worker.until("open")
                async with Engine(f"sqlite:{path}", execute=False):
                    assert await (await nap.handle(handle.id)).result() == "rested"
        [line] = lines(tmp_path / "sink")
        assert line["pid"] == worker.pid

    asyncio.run(main())


def test_a_clock_that_jumps_back_delays_no_timer_twice_and_loses_none() -> None:
    async def main() -> None:
        RAN.clear()
        clock = Clock()
        async with asyncio.timeout(20), Engine(SqliteStore(None, clock=clock), _clock=clock) as engine:
            handle = await sleeper.start("j")
            await until_parked(engine)
            clock.ahead -= HOUR
            engine.nudge()
            for _ in range(50):
                await asyncio.sleep(0)
            assert await handle.status() == "waiting"
            clock.ahead += 2 * HOUR + 1
            assert await handle.result() == "j beforej after"
        assert RAN == ["j before", "j after"]

    asyncio.run(main())
