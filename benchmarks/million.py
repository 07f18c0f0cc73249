"""``python -m benchmarks.million``: the command line on a store of a million entries, and what it costs to prune it."""

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any
from zlib import crc32

import apsw

from benchmarks.figures import line
from segue.core.entries import Kind
from segue.core.lifecycle import Status
from segue.errors import Failure
from segue.stores.artifacts import Artifacts
from segue.stores.pruning import Order, Pruner
from segue.stores.sqlite import SqliteStore
from segue.values import encode

DAY = 86_400.0
BUDGET = 0.2
FLOWS = ("reroute", "triage", "credit", "summary")
STEPS = ("fetch", "classify", "extract", "rank", "decide")
ERRORS = ("ConnectionError", "TimeoutError")
"""Failed runs fall into so many groups as there are of these three together: 40."""

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def make(path: Path, *, runs: int = 100_000, entries: int = 10, days: float = 60.0, now: float | None = None) -> None:
    """A store as a busy service leaves it: runs of so many entries each, created evenly over the last days."""
    now = time.time() if now is None else now
    store = SqliteStore(path, durability="process", blocking=True)
    store._open()  # pyright: ignore[reportPrivateUsage]
    store._close()  # pyright: ignore[reportPrivateUsage]
    db: Any = apsw.Connection(str(path))
    db.execute("pragma synchronous = off; pragma cache_size = -200000; begin")
    chance = random.Random(7)
    rows = list(_runs(chance, runs, now - days * DAY, days * DAY / runs))
    names = ",".join(rows[0])
    db.executemany(
        f"insert into runs({names}) values({','.join('?' * len(rows[0]))})", (tuple(r.values()) for r in rows)
    )
    journals = (entry for row in rows for entry in _entries(row, entries))
    db.executemany("insert into entries values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", journals)
    db.execute("commit; pragma wal_checkpoint(truncate)")
    db.close()


def _id(chance: random.Random, at: float) -> str:
    number = int(at * 1000) << 82 | chance.getrandbits(80) << 2
    return "".join(_DIGITS[(number >> shift) & 31] for shift in range(125, -5, -5))


def _status(place: float) -> Status:
    if place < 0.90:
        return Status.COMPLETED
    return Status.FAILED if place < 0.95 else Status.WAITING if place < 0.97 else Status.CANCELLED


def _runs(chance: random.Random, count: int, began: float, apart: float) -> Iterator[dict[str, Any]]:
    """Every twentieth is called by the one before it."""
    last = ""
    for number in range(count):
        created = began + number * apart
        id, flow, status = _id(chance, created), chance.choice(FLOWS), _status(chance.random())
        parent = last if number % 20 == 19 else None
        input = encode({"event": f"sensor-{chance.randrange(10_000)}", "load": chance.random(), "note": "x" * 40}, "it")
        step = error = result = None
        if status is Status.FAILED:
            step, error = chance.choice(STEPS), chance.choice(ERRORS)
            result = encode(Failure("StepFailed", f"step '{step}' failed: {error}", "  in a line\n" * 8), "it")
        elif status is Status.CANCELLED:
            result = encode(Failure("RunCancelled", "by its caller"), "it")
        elif status is Status.COMPLETED:
            result = encode({"route": [chance.randrange(100) for _ in range(12)]}, "it")
        over = status.terminal
        yield {
            "id": id, "flow": flow, "version": "1", "code": "c0ffee", "status": str(status),
            "reason": None if over else "sleeps", "worker": None, "origin": "host:1:aa", "parent": parent,
            "priority": 0, "due": created if over else created + 1000 * DAY, "created": created, "started": created,
            "ended": created + 2.0 if over else None, "claims": 1, "claim_seq": 0, "losses": 0, "input": input,
            "result": result, "checksum": crc32(input), "seal": None if result is None else crc32(result),
            "step": step, "error": error,
        }  # fmt: skip
        last = id


def _entries(row: dict[str, Any], count: int) -> Iterator[tuple[Any, ...]]:
    input = encode({"text": "where to, and by when? " * 2, "id": row["id"]}, "it")
    output = encode({"label": "congested", "scores": [0.25, 0.5, 0.125], "said": "x" * 60}, "it")
    for seq in range(count):
        step = STEPS[seq % len(STEPS)] + (f"#{seq // len(STEPS)}" if seq >= len(STEPS) else "")
        at = row["created"] + 0.1 * seq
        checksum = crc32(output, crc32(input, crc32(step.encode())))
        yield row["id"], seq, Kind.OK, step, 1, at, at + 0.05, input, output, checksum


# What the command line takes


def walls(path: Path, *arguments: str, rounds: int = 7) -> list[float]:
    """How long a command takes on this store, as a process, each time."""
    command = [sys.executable, "-m", "segue", *arguments, "--store", f"sqlite:{path}"]
    # as users have it: modules are compiled once, not at each start
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times: list[float] = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        times.append(time.perf_counter() - began)
    return times[1:]


def commands(path: Path) -> dict[str, tuple[str, ...]]:
    """What somebody asks of a store, by name."""
    db: Any = apsw.Connection(str(path))
    [(run,)] = db.execute("select id from runs where status = 'completed' order by number limit 1 offset 40000")
    [(dead,)] = db.execute("select id from runs where status = 'failed' order by number limit 1 offset 400")
    db.close()
    return {
        "segue runs": ("runs",),
        "segue runs --status failed": ("runs", "--status", "failed"),
        "segue runs --status completed": ("runs", "--status", "completed"),
        "segue show RUN": ("show", run),
        "segue show the end of an id": ("show", run[-6:]),
        "segue show last": ("show", "last"),
        "segue dead": ("dead",),
        "segue dead show RUN": ("dead", "show", dead),
    }


def _wall_of_imports() -> float:
    """What no command line of ours can be quicker than."""
    times: list[float] = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import click, apsw, msgspec"], check=True)
        times.append(time.perf_counter() - began)
    return min(times)


# What pruning takes


def prune(path: Path, days: float) -> None:
    """Prune all that ended so long ago, and say what it cost those who write meanwhile."""
    os.sync()  # else the first commit waits for the file that was just made
    store = SqliteStore(path, durability="disk", blocking=True)
    stop, waits = threading.Event(), list[float]()
    writer = threading.Thread(target=_write, args=(path, stop, waits))
    writer.start()
    pruner = Pruner(store, Artifacts.beside(path))
    with pruner.opened():
        began = time.perf_counter()
        pruner.prune(Order(time.time() - days * DAY, ("completed", "cancelled", "failed")))
        deleted = time.perf_counter() - began
        stop.set()
        writer.join()
        began = time.perf_counter()
        than = list(pruner._payloads(frozenset()))  # pyright: ignore[reportPrivateUsage]
        marked = time.perf_counter() - began
    found, waits = pruner.pruned, sorted(waits)
    line("runs deleted", f"{found.runs:,} with {found.entries:,} entries", f"in {deleted:.1f} s")
    line("payloads left to look through", f"{len(than):,}", f"in {marked:.2f} s")
    p99 = waits[int(0.99 * len(waits))]
    verdict = "met" if waits[-1] < 0.02 else "NOT MET"
    line("a commit meanwhile, from another connection", f"p50 {median(waits) * 1e3:.2f}, p99 {p99 * 1e3:.1f} ms",
         f"longest {waits[-1] * 1e3:.1f} ms; under 20: {verdict}")  # fmt: skip


def _write(path: Path, stop: threading.Event, waits: list[float]) -> None:
    import asyncio

    async def main() -> None:
        store = SqliteStore(path, durability="disk", blocking=True)
        await store.open()
        await store.join("writer", 60.0)
        while not stop.wait(0.001):
            began = time.perf_counter()
            await store.renew("writer", 60.0)
            waits.append(time.perf_counter() - began)
        await store.leave("writer")
        await store.close()

    asyncio.run(main())


def main() -> None:
    print(f"{os.cpu_count()} cores, load average when it began: {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent.parent, prefix=".bench-") as name:
        path = Path(name, "segue.db")
        began = time.perf_counter()
        make(path)
        line("1,000,000 entries of 100,000 runs made", f"{time.perf_counter() - began:.1f} s")
        bare = _wall_of_imports()
        line("Python, click, apsw and msgspec, nothing of ours", f"best {bare * 1e3:.0f} ms")
        for what, arguments in commands(path).items():
            times = walls(path, *arguments)
            verdict = f"under {BUDGET * 1e3:.0f}: {'met' if min(times) < BUDGET else 'NOT MET'}"
            line(what, f"best {min(times) * 1e3:.0f} ms, median {median(times) * 1e3:.0f} ms", verdict)
        prune(path, 30.0)


if __name__ == "__main__":
    main()
