"""Many runs that wait for people: they cost the worker nothing, the inbox is quick, and each goes on when answered."""

import asyncio
import gc
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path

from segue import Engine, ask_human, flow, inbox
from segue.core.lifecycle import Status
from segue.stores.base import Query
from segue.stores.sqlite import SqliteStore
from segue.stores.urls import open_url

DEEP = os.environ.get("SEGUE_DEEP") == "1"
RUNS = 100_000 if DEEP else 4_000
WARM, AT_ONCE = 1_000, 128


@flow(name="parked")
async def parked(number: int) -> int:
    return number + await ask_human(f"number {number}?", answer=int, assignee=f"person-{number % 7}")


async def all_parked(engine: Engine) -> None:
    await until(lambda: not engine.runs and not left(engine, Status.RUNNING, Status.QUEUED))


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again, and leave the worker time to work."""
    while not condition():  # noqa: ASYNC110 - there is no event for a run that leaves memory
        await asyncio.sleep(0.01)


def left(engine: Engine, *status: Status) -> bool:
    """Whether a run stands like that."""
    store = engine.store
    assert isinstance(store, SqliteStore)
    return bool(store._find(Query(status=status, limit=1)))  # pyright: ignore[reportPrivateUsage]


async def start(numbers: range) -> None:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with limit:
            await parked.options(id=f"run-{number}").start(number)

    for first in range(numbers.start, numbers.stop, 1000):
        await asyncio.gather(*[one(n) for n in range(first, min(first + 1000, numbers.stop))])


async def fill(url: str) -> float:
    """Park them all; gives the bytes that each still costs the worker."""
    async with Engine(url) as engine:
        await start(range(WARM))  # so that what is made at first use is there
        await all_parked(engine)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await start(range(WARM, RUNS))
        await all_parked(engine)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return (after - before) / (RUNS - WARM)


def filled(url: str) -> float:
    """The same in a process of its own: here, what other tests left going would be counted, too."""
    code = f"import asyncio; from {__name__} import fill; print(asyncio.run(fill({url!r})))"
    root = Path(__file__).parents[2]
    return float(subprocess.run([sys.executable, "-c", code], cwd=root, check=True, stdout=subprocess.PIPE).stdout)


async def quickest(look: Callable[[], Awaitable[object]]) -> float:
    """Seconds that a look takes, at best."""
    took: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        await look()
        took.append(time.perf_counter() - began)
    return min(took)


async def looks(url: str) -> dict[str, float]:
    """How long it takes to see what waits; whole commands are measured by ``make bench``."""
    store = open_url(url)
    await store.open()
    took = {
        "inbox": await quickest(lambda: inbox.questions(store=store)),
        "inbox of one": await quickest(lambda: inbox.questions(assignee="person-3", store=store)),
        "runs": await quickest(lambda: store.find(Query(limit=20))),
        "orphans": await quickest(store.orphans),
        "dead": await quickest(store.faults),
    }
    await store.close()
    return took


def commands(url: str) -> dict[str, float]:
    """Seconds that whole commands take, at best."""
    took: dict[str, float] = {}
    for command in (["inbox"], ["inbox", "--assignee", "person-3"], ["runs"], ["show", "run-7"]):
        times: list[float] = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "segue", *command, "--store", url], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        took[" ".join(command)] = min(times)
    return took


async def answer_all(url: str) -> None:
    async with Engine(url) as engine:
        asked = await inbox.questions(limit=RUNS + 1, store=engine.store)
        assert len(asked) == RUNS
        for question in asked:
            await inbox.answer(question.id, 1, by="ada", store=engine.store)
        await until(lambda: not left(engine, Status.RUNNING, Status.QUEUED, Status.WAITING))
        rows = await engine.store.find(Query(status=(Status.COMPLETED,), limit=RUNS + 1))
        assert len(rows) == RUNS
        for number in range(0, RUNS, max(1, RUNS // 50)):
            assert await (await parked.handle(f"run-{number}")).result() == number + 1


def test_runs_that_wait_for_people_cost_nothing_but_their_rows_and_all_go_on(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'parked.db'}?durability=process"
    each = filled(url)
    took = asyncio.run(looks(url))
    print(f"{RUNS:,} runs parked: {each:.0f} bytes of the worker each; {took}")
    assert each < 200
    assert max(took.values()) < 0.05, took
    if DEEP:  # needs a machine of its own
        took = commands(url)
        print(took)
        assert max(took.values()) < 0.2, took
    asyncio.run(answer_all(url))
