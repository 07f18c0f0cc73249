"""Events: how fast they come in, beside SQLite alone, and how fast their runs go, beside runs without a key."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from benchmarks.figures import Latency
from segue import Engine, flow, step


@dataclass(frozen=True)
class Ping:
    """An event of a driver, about as long as one of FreightCore's."""

    id: str
    driver: str
    lat: float
    lon: float
    kind: str = "position"


@flow(name="bench keyed", key="ping.driver", dedupe="ping.id")
async def keyed(ping: Ping) -> None: ...


@flow(name="bench unkeyed", dedupe="ping.id")
async def unkeyed(ping: Ping) -> None: ...


@step
async def stamp() -> float:
    return time.time()


@flow(name="bench stamped", key="ping.driver", dedupe="ping.id")
async def stamped(ping: Ping) -> float:
    return await stamp()


def pings(count: int, drivers: int = 150, hot: float = 0.0) -> Iterator[Ping]:
    chance = random.Random(7)
    for n in range(count):
        driver = "hot" if chance.random() < hot else f"driver-{chance.randrange(drivers)}"
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


async def drained(path: Path, which: Any, count: int, hot: float = 0.0) -> tuple[float, list[tuple[str, float]]]:
    """Events taken in, then executed. Runs a second, and when the runs of each driver ended."""
    async with Engine(f"sqlite:{path}", execute=False):
        await which.start_many(list(pings(count, hot=hot)))
    left, done = count, asyncio.Event()

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
        return count / (time.perf_counter() - began), []


async def to_first_step(path: Path, count: int = 200) -> Latency:
    """From an event to its first step, on an idle engine."""
    taken: list[float] = []
    async with Engine(f"sqlite:{path}"):
        for ping in pings(count):
            began = time.time()
            handle = await stamped.start(ping)
            taken.append(await handle.result() - began)
            await asyncio.sleep(0.002)
    return Latency.of(taken)
