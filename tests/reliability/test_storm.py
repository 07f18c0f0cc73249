"""A storm of events on two workers: none is lost, memory stays bounded, and the backlog falls once it is over."""

import asyncio
import os
from contextlib import ExitStack
from pathlib import Path

from segue import Engine

from .looking import select, until
from .processes import process
from .verifier import lines
from .worker import gust

DEEP = bool(os.environ.get("SEGUE_DEEP"))
EVENTS, SECONDS = (100_000, 60.0) if DEEP else (4_000, 2.4)
BATCHES = 24
MIB = 1 << 20


def resident(pid: int) -> int:
    """Bytes that a process has in memory."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def backlog(path: Path) -> int:
    return select(path, "select count(*) from runs where ended is null")[0][0]


def test_a_storm_of_events_on_two_workers(tmp_path: Path) -> None:
    path, sink = tmp_path / "a.db", tmp_path / "turns"

    async def main() -> None:
        async with asyncio.timeout(1500 if DEEP else 100), Engine(f"sqlite:{path}", execute=False) as engine:
            with ExitStack() as stack:
                environment = {"TURNS": str(sink)}
                workers = [
                    stack.enter_context(process("worker", engine.store.url, str(tmp_path / "sink"), env=environment))
                    for _ in range(2)
                ]
                for worker in workers:
                    worker.until("open")
                loop = asyncio.get_running_loop()
                began, taken = loop.time(), list[str | None]()
                per = EVENTS // BATCHES
                for batch in range(BATCHES):
                    first = batch * per
                    events = [(f"e{n}", f"k{n % 150}", n) for n in range(first, first + per)]
                    intake = await gust.start_many(events)
                    assert not intake.refused
                    taken += intake.runs
                    await asyncio.sleep(max(0.0, began + (batch + 1) * SECONDS / BATCHES - loop.time()))
                left = [backlog(path)]
                sizes = [resident(worker.pid) for worker in workers]
                while left[-1]:
                    await until(lambda goal=left[-1] * 4 // 5: backlog(path) <= goal)
                    left.append(backlog(path))
                    sizes += [resident(worker.pid) for worker in workers]
                assert left == sorted(left, reverse=True), f"the backlog falls: {left}"
                assert max(sizes) < 300 * MIB, f"{max(sizes) / MIB:.0f} MiB"

    asyncio.run(main())
    seen = lines(sink)
    for what in ("begin", "end"):
        assert sorted(line["number"] for line in seen if line["what"] == what) == list(
            range(BATCHES * (EVENTS // BATCHES))
        )
