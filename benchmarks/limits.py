"""The bare limits: what the event loop, SQLite and the disk cost when nobody does anything with them."""

import asyncio
import os
import time
from pathlib import Path

import apsw

from benchmarks.figures import Latency


async def _noop() -> int:
    return 1


async def asyncio_noop(seconds: float = 0.3) -> float:
    """Awaited no-op coroutines a second."""
    count, stop = 0, time.perf_counter() + seconds
    while time.perf_counter() < stop:
        for _ in range(1000):
            await _noop()
        count += 1000
    return count / seconds


def fsync(folder: Path, rounds: int = 500) -> Latency:
    """Append 4 KiB to a file and sync it."""
    file = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    times: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        os.write(file, b"x" * 4096)
        os.fdatasync(file)
        times.append(time.perf_counter() - began)
    os.close(file)
    return Latency.of(times)


def _table(path: Path, synchronous: str) -> apsw.Connection:
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", synchronous)
    db.execute("create table j(run text, seq int, a blob, b blob, primary key(run, seq)) without rowid")
    return db


def single_commit(folder: Path, synchronous: str, rounds: int = 1500, before: int = 0) -> Latency:
    """Commit one row of 120 bytes by itself, as many times before as it takes for the log to have its full size."""
    db = _table(folder / f"single-{synchronous}-{before}.db", synchronous)
    times: list[float] = []
    for n in range(-before, 0):
        db.execute("insert into j values(?, ?, ?, ?)", ("run", n, b"a" * 60, b"b" * 60))
    for n in range(rounds):
        began = time.perf_counter()
        db.execute("insert into j values(?, ?, ?, ?)", ("run", n, b"a" * 60, b"b" * 60))
        times.append(time.perf_counter() - began)
    db.close()
    return Latency.of(times)


def batched_inserts(folder: Path, synchronous: str, batch: int = 64, seconds: float = 1.0) -> float:
    """Rows a second, so many to a commit, in one statement each."""
    db = _table(folder / f"batch-{synchronous}.db", synchronous)
    statement = "insert into j values " + ",".join(["(?,?,?,?)"] * batch)
    rows, stop = 0, time.perf_counter() + seconds
    while time.perf_counter() < stop:
        values: list[object] = []
        for n in range(rows, rows + batch):
            values += ("run", n, b"a" * 60, b"b" * 60)
        db.execute(statement, values)
        rows += batch
    db.close()
    return rows / seconds


def all_limits(folder: Path) -> dict[str, float | Latency]:
    """Every limit, measured now."""
    return {
        "asyncio no-op, awaits/s": asyncio.run(asyncio_noop()),
        "fsync of 4 KiB": fsync(folder),
        "one row, one commit, with fsync": single_commit(folder, "full"),
        "one row, one commit, with fsync, log of full size": single_commit(folder, "full", before=1200),
        "one row, one commit, without": single_commit(folder, "normal"),
        "64 rows a commit, with fsync, rows/s": batched_inserts(folder, "full"),
        "64 rows a commit, without, rows/s": batched_inserts(folder, "normal"),
    }
