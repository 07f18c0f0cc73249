"""Steps that take their process down, one way or another."""

import asyncio
import ctypes
import os
import resource
import select
import signal
from pathlib import Path

from segue import Engine, flow, step

from . import jobs


@step
async def die(way: str) -> None:
    jobs.effect()
    if way == "exit":
        os._exit(3)
    if way == "kill":  # as the kernel does when memory is short
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "abort":
        os.abort()
    if way == "segfault":
        ctypes.string_at(0)
    if way.startswith("late"):  # when others have begun
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.05)
        os._exit(3)
    bytearray(8 << 30)  # "memory": more than the process may have


@flow(name="poison")
async def poison(way: str) -> None:
    await die(way)


@step
def long_call() -> str:
    select.select([], [], [], 0.3)
    return "done"


@flow(name="innocent")
async def innocent() -> str:
    return await long_call()


jobs.KNOWN |= {"poison": poison, "innocent": innocent}


async def life(folder: Path, numbers: range, ways: list[str], pipe: int) -> None:
    """Start the poisonous runs and others beside them, unless they are there; then wait for all."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "memory" in ways:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    jobs.aim(folder / "sink", pipe)
    async with Engine(f"sqlite:{folder / 'segue.db'}", execute=False):
        for way in ways if numbers else ():
            await poison.options(id=f"poison-{way}").start(way)
            if way.startswith("late"):
                await innocent.options(id="innocent").start()
        for number in numbers:
            await jobs.job.options(id=f"job-{number}").start(number)
    async with Engine(f"sqlite:{folder / 'segue.db'}") as engine:
        await jobs.settle(engine)
