"""Engines: opening, closing, sharing a store, leaving memory, and the loops they are used from."""

import asyncio
import gc
import os
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from segue import Engine, Handle, StoreError, UsageError, flow, step
from segue.core.lifecycle import Status
from segue.runtime import engine as engines
from segue.runtime import run as runs
from segue.stores.base import Query
from segue.stores.sqlite import SqliteStore

from .stage import asynchronous, stage

gates: dict[str, asyncio.Event] = {}
entered: dict[str, asyncio.Event] = {}
trail: list[str] = []


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gates.clear()
    entered.clear()
    trail.clear()
    monkeypatch.setenv("SEGUE_STORE", f"sqlite:{tmp_path}/default.db?durability=process")


@step
async def work(name: str) -> str:
    trail.append(name)
    if name in entered:
        entered[name].set()
    if name in gates:
        await gates[name].wait()
    return f"did {name}"


@flow
async def one(name: str) -> str:
    return await work(name)


@flow
async def two(first: str, second: str) -> list[str]:
    return [await work(first), await work(second)]


@flow
async def sleeps(hours: int) -> int:
    await asyncio.sleep(hours * 3600)
    return hours


def gate(name: str) -> None:
    gates[name], entered[name] = asyncio.Event(), asyncio.Event()


def place(folder: Path) -> str:
    return f"sqlite:{folder}/runs.db?durability=process"


# Opening and closing


@pytest.mark.parametrize("concurrency", [0, -1, True])
def test_an_engine_executes_at_least_one_run_at_a_time(concurrency: int) -> None:
    with pytest.raises(UsageError, match="concurrency is 1 or more"):
        Engine("memory:", concurrency=concurrency)


@asynchronous
async def test_an_engine_is_opened_once_and_may_be_closed_twice() -> None:
    engine = await Engine("memory:").open()
    with pytest.raises(UsageError, match="this engine is open already"):
        await engine.open()
    await engine.close()
    await engine.close()
    assert not engine.is_open


@asynchronous
async def test_without_a_name_the_store_is_the_default_one(tmp_path: Path) -> None:
    async with Engine() as engine:
        assert engine.store.url == f"sqlite:{tmp_path}/default.db"
        assert await one("a") == "did a"


@asynchronous
async def test_a_call_uses_the_innermost_engine_that_is_open(tmp_path: Path) -> None:
    async with Engine("memory:") as outer:
        async with Engine(place(tmp_path)) as inner:
            await one("a")
            assert [len(await engine.store.find(Query())) for engine in (outer, inner)] == [0, 1]
        await one("b")
        assert len(await outer.store.find(Query())) == 1


@asynchronous
async def test_without_an_open_engine_there_is_an_implicit_one_for_the_process(tmp_path: Path) -> None:
    assert await one("a") == "did a"
    handle = await one.start("b")
    assert await handle.result() == "did b"
    from segue.runtime import default

    engine = default._implicit  # pyright: ignore[reportPrivateUsage]
    assert engine is not None
    assert engine.store.url == f"sqlite:{tmp_path}/default.db"
    await engine.close()


@asynchronous
async def test_closing_hands_unfinished_runs_back_and_another_engine_goes_on_where_they_were(tmp_path: Path) -> None:
    gate("b")
    async with Engine(place(tmp_path)):
        handle = await two.start("a", "b")
        await entered["b"].wait()
    assert trail == ["a", "b"]
    gates["b"].set()
    async with Engine(place(tmp_path), execute=False) as engine:
        row = await engine.row(handle.id)
        assert (row.status, row.worker, row.losses) == (Status.QUEUED, None, 0)
        engine.execute = True
        assert await (await two.handle(handle.id)).result() == ["did a", "did b"]
    assert trail == ["a", "b", "b"]


@asynchronous
async def test_who_waits_for_a_run_is_told_when_its_engine_closes() -> None:
    gate("a")
    async with Engine("memory:") as engine:
        waiting = asyncio.create_task(one("a"))
        await entered["a"].wait()
    assert not engine.is_open
    with pytest.raises(UsageError, match=r"the engine was closed before run \w+ ended"):
        await waiting


@asynchronous
async def test_a_closed_engine_says_so_to_the_handles_it_gave(tmp_path: Path) -> None:
    for url in ("memory:", place(tmp_path)):
        async with Engine(url):
            handle = await one.start("a")
            await handle.result()
        for ask in (handle.status, handle.reason):
            with pytest.raises(StoreError, match=r"the store .* is closed"):
                await ask()


@asynchronous
async def test_a_closed_engine_can_be_opened_again(tmp_path: Path) -> None:
    engine = Engine(place(tmp_path))
    for name in "ab":
        async with engine:
            assert await one(name) == f"did {name}"


@asynchronous
async def test_a_thread_switch_is_quicker_only_while_an_engine_is_open() -> None:
    before = sys.getswitchinterval()
    async with Engine("memory:"):
        assert sys.getswitchinterval() == pytest.approx(engines.SWITCH_INTERVAL)  # pyright: ignore[reportUnknownMemberType]
    assert sys.getswitchinterval() == before


@asynchronous
async def test_an_engine_leaves_no_thread_and_no_worker_behind(tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    async with Engine(place(tmp_path)):
        await one("a")
    left = {thread.name for thread in threading.enumerate()} - before
    assert not {name for name in left if name.startswith("segue-lease")}
    store = SqliteStore(tmp_path / "runs.db")
    await store.open()
    assert list(store.db.execute("select id from workers")) == []
    await store.close()


# Sharing a store


@asynchronous
async def test_an_engine_that_does_not_execute_leaves_its_runs_to_one_that_does(tmp_path: Path) -> None:
    async with Engine(place(tmp_path)) as worker, Engine(place(tmp_path), execute=False) as submitter:
        handle = await one.start("a")
        assert await handle.result() == "did a"
        assert (submitter.runs, handle._ticket.engine) == ({}, submitter)  # pyright: ignore[reportPrivateUsage]
        row = await worker.row(handle.id)
        assert (row.origin, row.claims) == (submitter.worker, 1)


@asynchronous
async def test_each_run_is_executed_once_by_one_of_several_engines(tmp_path: Path) -> None:
    async with Engine(place(tmp_path), execute=False) as submitter:
        handles = [await one.start(str(n)) for n in range(30)]
        async with Engine(place(tmp_path)) as first, Engine(place(tmp_path)) as second:
            await asyncio.gather(*[handle.result() for handle in handles])
        rows = await submitter.store.find(Query())
    assert sorted(trail, key=int) == [str(n) for n in range(30)]
    assert {row.claims for row in rows} == {1}
    assert first.worker != second.worker


@asynchronous
async def test_a_child_may_execute_on_another_engine(tmp_path: Path) -> None:
    gate("a")
    async with Engine(place(tmp_path), concurrency=1):
        handle = await one.options(id="child").start("a")
        await entered["a"].wait()
        async with Engine(place(tmp_path)):
            parent = await calls_child.start()
            gates["a"].set()
            assert await parent.result() == "did a"
            assert await handle.result() == "did a"
    assert trail == ["a"]


@flow
async def calls_child() -> str:
    return await one.options(id="child")("a")


# How many at a time


@asynchronous
async def test_an_engine_executes_no_more_runs_than_it_is_allowed() -> None:
    async with stage(concurrency=2) as on:
        for name in "abcd":
            gate(name)
        handles = [await one.start(name) for name in "abcd"]
        assert await handles[3].status() == "queued"
        for name, handle in zip("abcd", handles, strict=True):
            await entered[name].wait()
            assert len(on.engine.runs) <= 2
            gates[name].set()
            await handle.result()
    assert trail == list("abcd")


# Leaving memory


async def parked(on: Any, count: int) -> list[Handle[int]]:
    """Start runs that sleep for hours, and wait until they have left memory."""
    left, gone = asyncio.Event(), 0

    def listen(told: Any) -> None:
        nonlocal gone
        gone += told.what == "park"
        if gone >= count:
            left.set()

    on.engine.watchers.append(listen)
    handles = list(await asyncio.gather(*[sleeps.start(1) for _ in range(count)]))
    await left.wait()
    await asyncio.sleep(0)  # the engine's turn, which writes that
    await on.engine.journal.drained()
    return handles


@asynchronous
async def test_a_run_that_sleeps_long_leaves_memory_and_says_why() -> None:
    async with stage() as on:
        (handle,) = await parked(on, 1)
        assert on.engine.runs == {}
        assert await handle.status() == "waiting"
        assert await handle.reason() == "sleeps"


@asynchronous
async def test_a_parked_run_comes_back_when_it_is_due() -> None:
    moved = 0.0

    def clock() -> float:
        return time.time() + moved

    store = SqliteStore(None, clock=clock)
    async with Engine(store, _clock=clock) as engine:
        on = type("On", (), {"engine": engine})()
        (handle,) = await parked(on, 1)
        moved = 3601.0
        assert await handle.result() == 1


@asynchronous
async def test_thousands_of_parked_runs_are_not_in_memory() -> None:
    count = 10_000 if os.environ.get("SEGUE_DEEP") == "1" else 1_000
    store = SqliteStore(None)  # its memory is SQLite's own, and not counted here
    async with Engine(store, concurrency=count + 1) as engine:
        on = type("On", (), {"engine": engine})()
        await parked(on, 10)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        handles = await parked(on, count)
        assert engine.runs == {}
        assert len(handles) == count
        handles.clear()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert held / count < 2048


def test_a_run_parks_only_after_a_while() -> None:
    assert runs.PARK_AFTER >= 1


# Loops


@asynchronous
async def test_an_engine_can_be_used_from_another_loop() -> None:
    async with Engine("memory:") as engine:
        found: list[Any] = []

        async def elsewhere() -> None:
            handle = await one.start("a")
            found.extend([await handle.result(), await handle.status(), await one("b")])

        thread = asyncio.to_thread(asyncio.run, elsewhere())
        await thread
        assert found == ["did a", "completed", "did b"]
        assert len(await engine.store.find(Query())) == 2


def test_runs_from_several_threads_share_the_implicit_engine() -> None:
    results: list[str] = []

    def run(name: str) -> None:
        results.append(one.run(name))

    threads = [threading.Thread(target=run, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [f"did {n}" for n in range(8)]


def test_an_engine_whose_loop_stands_still_is_not_waited_for() -> None:
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(one("a")) == "did a"
    assert one.run("b") == "did b"
    assert loop.run_until_complete(one("c")) == "did c"
    loop.close()


def test_an_engine_survives_neither_its_loop_nor_is_it_used_after_it(tmp_path: Path) -> None:
    async def first() -> str:
        return await one("a")

    assert asyncio.run(first()) == "did a"
    assert asyncio.run(first()) == "did a"
    assert one.run("b") == "did b"


# Watching


@asynchronous
async def test_a_watcher_hears_what_happens_and_its_own_failure_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with stage() as on:

        def broken(told: Any) -> None:
            raise RuntimeError("watching")

        on.engine.watchers.insert(0, broken)
        assert await on.play(one, "a") == "did a"
        assert [told.what for told in on.heard] == ["run", "attempt", "step", "end"]
    assert "a watcher failed" in caplog.text
