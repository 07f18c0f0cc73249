"""Several processes on one file: each run executes once, somewhere, in the order asked for."""

import asyncio
import os
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from segue import Engine, RunFailed

from . import jobs
from .looking import select, until
from .processes import Process, process
from .verifier import lines
from .worker import errand, grandparent, nap, narrow


def workers(stack: ExitStack, folder: Path, count: int) -> list[Process]:
    arguments = (f"sqlite:{folder / 'a.db'}", str(folder / "sink"))
    started = [
        stack.enter_context(process("worker", *arguments, env={"MARK": str(folder / "mark")})) for _ in range(count)
    ]
    for each in started:
        each.until("open")
    return started


def test_three_workers_execute_a_hundred_queued_runs_once_each(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), Engine(f"sqlite:{tmp_path / 'a.db'}", execute=False):
            handles = [await errand.start(number) for number in range(100)]
            with ExitStack() as stack:
                started = workers(stack, tmp_path, 3)
                assert [await handle.result() for handle in handles] == list(range(100))
                assert [each.end() for each in started] == [0, 0, 0]
        ran = Counter(line["run"] for line in lines(tmp_path / "sink"))
        assert ran == Counter(handle.id for handle in handles)

    asyncio.run(main())


def test_a_concurrency_of_one_holds_across_workers(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), Engine(f"sqlite:{tmp_path / 'a.db'}", execute=False):
            handles = [await narrow.options(concurrency=1).start(number) for number in range(30)]
            with ExitStack() as stack:
                workers(stack, tmp_path, 3)
                found = await asyncio.gather(*[handle.result() for handle in handles], return_exceptions=True)
        assert [each for each in found if isinstance(each, RunFailed)] == [], "two were inside at a time"

    asyncio.run(main())


def test_priorities_come_first_and_delays_are_kept(tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with asyncio.timeout(60), Engine(f"sqlite:{tmp_path / 'a.db'}", execute=False):
            later = await errand.options(id="later", delay=1.0, priority=9).start(1)
            handles = [await narrow.options(id=f"n{p}", priority=p, concurrency=1).start(p) for p in (0, 2, 1, 3)]
            with ExitStack() as stack:
                workers(stack, tmp_path, 2)
                for handle in (later, *handles):
                    await handle.result()
        [(early,)] = select(tmp_path / "a.db", "select started < due from runs where id = 'later'")
        assert not early
        return [id for (id,) in select(tmp_path / "a.db", "select id from runs where flow = 'narrow' order by started")]

    assert asyncio.run(main()) == ["n3", "n2", "n1", "n0"]


def test_a_child_run_may_execute_on_another_worker(tmp_path: Path) -> None:
    """Its parent parks or waits meanwhile, and gets the result."""

    async def main() -> None:
        async with asyncio.timeout(60), Engine(f"sqlite:{tmp_path / 'a.db'}", execute=False):
            handles = [await grandparent.start(number) for number in range(20)]
            with ExitStack() as stack:
                workers(stack, tmp_path, 3)
                assert [await handle.result() for handle in handles] == [number + 1 for number in range(20)]
        assert len(lines(tmp_path / "sink")) == 20

    asyncio.run(main())


def test_a_worker_that_is_killed_leaves_its_runs_to_the_others_within_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), Engine(f"sqlite:{tmp_path / 'a.db'}", execute=False):
            handles = [await nap.start(0.5) for _ in range(10)]
            with ExitStack() as stack:
                started = workers(stack, tmp_path, 2)
                path, running = tmp_path / "a.db", "select worker from runs where status = 'running'"
                await until(lambda: len(select(path, running)) == 10)
                [owner] = select(path, running)[0]
                [victim] = [each for each in started if f":{each.pid}:" in owner]
                os.kill(victim.pid, 9)
                assert [await handle.result() for handle in handles] == ["rested"] * 10

    asyncio.run(main())


def test_an_id_that_is_started_many_times_at_once_is_one_run(tmp_path: Path) -> None:
    async def main() -> None:
        jobs.aim(tmp_path / "sink")
        url = f"sqlite:{tmp_path / 'a.db'}"
        async with asyncio.timeout(60), Engine(url), Engine(url):
            handles = await asyncio.gather(*[errand.options(id="same").start(7) for _ in range(40)])
            assert [await handle.result() for handle in handles] == [7] * 40
        assert len(lines(tmp_path / "sink")) == 1

    asyncio.run(main())
