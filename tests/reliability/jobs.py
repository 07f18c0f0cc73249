"""The flows that are killed: chains, gathers, children, retries, timers, threads and values that leave the journal."""

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from segue import Engine, Flow, Retry, RunFailed, current_run, flow, gather, idempotency_key, sleep, step
from segue.core.lifecycle import Status
from segue.stores.artifacts import SPILL
from segue.stores.base import Query

BLOB = SPILL + 1000
OPEN = (Status.QUEUED, Status.RUNNING, Status.WAITING)

sink = -1
"""Where effects go: one O_APPEND write for each."""
pulse = -1
"""A pipe that gets a byte for each effect, for whoever counts them."""


def aim(path: Path, pipe: int = -1) -> None:
    """Open the sink."""
    global sink, pulse
    sink, pulse = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), pipe


def effect() -> None:
    """What the outside world gets to see of a step."""
    run = current_run()
    line = {"run": run.id, "step": run.step, "attempt": run.attempt, "key": idempotency_key(), "pid": os.getpid()}
    os.write(sink, json.dumps(line).encode() + b"\n")
    if pulse >= 0:
        os.write(pulse, b".")


@step
async def add(number: int, turns: int) -> int:
    effect()
    for _ in range(turns):
        await asyncio.sleep(0)
    return number + 1


@step
def in_thread(number: int) -> int:
    effect()
    return number + 1


@step(retry=Retry(3, backoff="1ms"))
async def second_time(number: int) -> int:
    effect()
    if (current_run().attempt or 0) < 2:
        raise ConnectionError("again")
    return number + 1


@step
async def large(number: int) -> bytes:
    effect()
    return bytes([number % 256]) * BLOB


@step
async def measure(data: bytes) -> int:
    effect()
    return len(data)


async def chain(number: int, length: int) -> int:
    for _ in range(length):
        number = await add(number, number % 5)
    return number


@flow(name="child")
async def child(number: int) -> int:
    return await chain(number, 2)


@flow(name="job")
async def job(number: int) -> int:
    """Ten steps, whatever the number; its result is ``expected(number)``."""
    total = await add(number, 0)
    left, right = await gather(chain(number, 2), chain(number + 1, 2))
    await sleep("1ms")
    total += left + right + await second_time(number) + await in_thread(number)
    total += await child(number)
    if number % 8 == 0:
        total += await measure(await large(number))
    return total


def expected(number: int) -> int:
    total = (number + 1) + (number + 2) + (number + 3) + (number + 1) + (number + 1) + (number + 2)
    return total + (BLOB if number % 8 == 0 else 0)


@flow(name="bulk")
async def bulk(data: bytes) -> bytes:
    """Its input and result are too long for the journal."""
    assert await measure(data) == len(data)
    return data + b"!"


KNOWN: dict[str, Flow[..., Any]] = {known.name: known for known in (job, child, bulk)}


async def submit(log: int, number: int, named: bool) -> None:
    """Start a run, and note it durably once it is acknowledged."""
    if number % 10 == 9:
        handle = await bulk.options(id=f"bulk-{number}" if named else None).start(b"x" * (BLOB + number))
    else:
        handle = await job.options(id=f"job-{number}" if named else None).start(number)
    os.write(log, json.dumps({"run": handle.id, "number": number}).encode() + b"\n")
    os.fsync(log)


async def settle(engine: Engine) -> None:
    """Wait until every run has ended."""
    while left := await engine.store.find(Query(status=OPEN, limit=10_000)):
        for row in left:
            with suppress(RunFailed):  # the verifier says whether it should have
                await (await KNOWN[row.flow].handle(row.id)).result()


async def life(folder: Path, numbers: range, pipe: int) -> None:
    """One process's life: open the store, go on with what it holds, submit more, and wait for all."""
    aim(folder / "sink", pipe)
    log = os.open(folder / "submits", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async with Engine(f"sqlite:{folder / 'segue.db'}") as engine:
        async with asyncio.TaskGroup() as group:
            for number in numbers:
                group.create_task(submit(log, number, named=number % 3 == 0))
        await settle(engine)
