"""Steps that take their process down, one way or another."""

import ctypes
import os
import resource
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
    bytearray(8 << 30)  # "memory": more than the process may have


@flow(name="poison")
async def poison(way: str) -> None:
    await die(way)


jobs.KNOWN["poison"] = poison


async def life(folder: Path, numbers: range, ways: list[str], pipe: int) -> None:
    """Start the poisonous runs and others beside them, unless they are there; then wait for all."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "memory" in ways:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    jobs.aim(folder / "sink", pipe)
    async with Engine(f"sqlite:{folder / 'segue.db'}", execute=False):
        for way in ways if numbers else ():
            await poison.options(id=f"poison-{way}").start(way)
        for number in numbers:
            await jobs.job.options(id=f"job-{number}").start(number)
    async with Engine(f"sqlite:{folder / 'segue.db'}") as engine:
        await jobs.settle(engine)
