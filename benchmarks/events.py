"""Events: how fast they come in, beside SQLite alone, and how fast their runs go, beside runs without a key."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw
import msgspec
import uvloop

from benchmarks.figures import Latency, line
from segue import Engine, flow, step


@dataclass(frozen=True)
class Ping:
    """An event of a driver, about as long as one of FreightCore's."""

    id: str
    driver: str
    lat: float
    lon: float
    kind: str = "position"


ended: dict[str, float] = {}
"""When the last run of each driver ended."""


@flow(name="bench keyed", key="ping.driver", dedupe="ping.id")
async def keyed(ping: Ping) -> None:
    ended[ping.driver] = time.perf_counter()


@flow(name="bench unkeyed", dedupe="ping.id")
async def unkeyed(ping: Ping) -> None: ...


@step
async def stamp() -> float:
    return time.time()


@flow(name="bench stamped", key="ping.driver", dedupe="ping.id")
async def stamped(ping: Ping) -> float:
    return await stamp()


HOT = "hot"


def pings(count: int, drivers: int = 150, hot: float = 0.0) -> Iterator[Ping]:
    chance = random.Random(7)
    for n in range(count):
        driver = HOT if chance.random() < hot else f"driver-{chance.randrange(drivers)}"
        yield Ping(f"event-{n:08}", driver, 51.5 + chance.random(), -0.1 + chance.random())


def bare(path: Path, rows: list[bytes], batch: int = 1000) -> float:
    """The same bytes by one batched insert after the other, each its own transaction with fsync. Rows a second."""
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", "full")
    db.execute("create table events(number integer primary key, id text, key text, body blob)")
    began = time.perf_counter()
    for start in range(0, len(rows), batch):
        db.execute("begin immediate")
        part = rows[start : start + batch]
        db.executemany(
            "insert into events(id, key, body) values(?, ?, ?)",
            [(f"event-{start + n:08}", f"driver-{n % 150}", row) for n, row in enumerate(part)],
        )
        db.execute("commit")
    took = time.perf_counter() - began
    db.close()
    return len(rows) / took


async def intake(path: Path, count: int) -> float:
    """Events into keyed, deduplicated runs. Events a second."""
    events = list(pings(count))
    async with Engine(f"sqlite:{path}", execute=False):
        began = time.perf_counter()
        taken = await keyed.start_many(events)
        took = time.perf_counter() - began
    assert (taken.accepted, taken.duplicates, len(taken.refused)) == (count, 0, 0)
    return count / took


async def drained(path: Path, which: Any, events: list[Ping]) -> tuple[float, float]:
    """Events taken in, then executed. Seconds for all of them, and for those that are not of the hot driver."""
    async with Engine(f"sqlite:{path}", execute=False):
        await which.start_many(events)
    left, done = len(events), asyncio.Event()
    ended.clear()

    def watch(told: Any) -> None:
        nonlocal left
        if told.what == "end":
            left -= 1
            if not left:
                done.set()

    engine = Engine(f"sqlite:{path}")
    engine.watchers.append(watch)
    began = time.perf_counter()
    async with engine:
        await done.wait()
        whole = time.perf_counter() - began
    return whole, max((at for driver, at in ended.items() if driver != HOT), default=began) - began


async def to_first_step(path: Path, count: int = 200) -> Latency:
    """From an event to its first step, on an idle engine."""
    async with Engine(f"sqlite:{path}"):
        return await _sent(count)


async def _sent(count: int) -> Latency:
    taken: list[float] = []
    for ping in pings(count):
        began = time.time()
        handle = await stamped.start(ping)
        taken.append(await handle.result() - began)
        await asyncio.sleep(0.005)
    return Latency.of(taken)


async def to_first_step_elsewhere(path: Path, count: int = 200) -> Latency:
    """The same, where another process executes."""
    command = [sys.executable, "-c", f"from benchmarks.events import work; work({str(path)!r})"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        async with Engine(f"sqlite:{path}", execute=False):
            return await _sent(count)
    finally:
        process.stdin.close()
        await process.wait()


def work(path: str) -> None:
    """A worker, until its stdin ends."""

    async def main() -> None:
        async with Engine(f"sqlite:{path}"):
            print("open", flush=True)
            await asyncio.to_thread(sys.stdin.read)

    uvloop.run(main())


def report(folder: Path, count: int = 20_000) -> None:
    """Every figure, with its budget."""
    print("\nEvents (SQLite, fsync)")
    events = list(pings(count))
    limit = bare(folder / "bare.db", [msgspec.msgpack.encode({"ping": ping}) for ping in events])
    line("bare batched insert of the same bytes", f"{limit:,.0f} events/s")
    taken = uvloop.run(intake(folder / "intake.db", count))
    line("(7) start_many, keyed and deduplicated", f"{taken:,.0f} events/s", _ratio(taken / limit, 0.2))
    plain, _ = uvloop.run(drained(folder / "unkeyed.db", unkeyed, events))
    turns, alone = uvloop.run(drained(folder / "keyed.db", keyed, events))
    line("(8) runs without a key, through the queue", f"{count / plain:,.0f} runs/s")
    line("(8) the same with 150 keys", f"{count / turns:,.0f} runs/s", _ratio(plain / turns, 0.75))
    rest = events[: count // 10]
    heated = [each for n, ping in enumerate(rest) for each in (ping, replace(ping, id=f"hot-{n}", driver=HOT))]
    _, alone = uvloop.run(drained(folder / "rest.db", keyed, rest))
    whole, beside = uvloop.run(drained(folder / "hot.db", keyed, heated))
    line(
        "(9) 150 keys beside one with as many events", f"{len(rest) / beside:,.0f} runs/s", _ratio(alone / beside, 0.9)
    )
    line("(9) the hot key itself, one run after the other", f"{len(rest) / whole:,.0f} runs/s")
    for what, measure in (("this process", to_first_step), ("another process", to_first_step_elsewhere)):
        found = uvloop.run(measure(folder / f"{what}.db"))
        line(f"(10) event to its first step, {what}", str(found), f"p50 under 5 ms: {_met(found.p50 < 0.005)}")


def _ratio(found: float, least: float) -> str:
    return f"{found:.2f} ×; at least {least:g}: {_met(found >= least)}"


def _met(met: bool) -> str:
    return "met" if met else "NOT MET"
