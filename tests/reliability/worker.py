"""A worker like any other, in a process of its own: it works until its input ends."""

import asyncio
import json
import os
import sys
from pathlib import Path

from segue import Engine, current_run, flow, step

from . import jobs


@step
async def once(number: int) -> int:
    jobs.effect()
    for _ in range(number % 7):
        await asyncio.sleep(0)
    return number


@flow(name="errand")
async def errand(number: int) -> int:
    return await once(number)


@step
async def enter(number: int) -> None:
    """Marks by a file that it is inside, and fails when another is."""
    mark = os.environ["MARK"]
    descriptor = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.close(descriptor)
    for _ in range(20):
        await asyncio.sleep(0)
    os.unlink(mark)


@flow(name="narrow")
async def narrow(number: int) -> int:
    await enter(number)
    return number


@flow(name="nap")
async def nap(seconds: float) -> str:
    await asyncio.sleep(seconds)
    await once(1)
    return "rested"


@flow(name="grandparent")
async def grandparent(number: int) -> int:
    return await errand.options(concurrency=1)(number) + 1


@step
async def act(what: str, key: str, number: int) -> None:
    """Leaves a line in the sink, of what an outsider sees."""
    line = json.dumps({"what": what, "key": key, "number": number, "run": current_run().id})
    sink = os.open(os.environ["TURNS"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(sink, line.encode() + b"\n")
    os.close(sink)
    for _ in range(number % 5):
        await asyncio.sleep(0)


@flow(name="turn", key="key", dedupe="event")
async def turn(event: str, key: str, number: int) -> int:
    await act("begin", key, number)
    await act("end", key, number)
    return number


@flow(name="gust", key="event.1", dedupe="event.0")
async def gust(event: tuple[str, str, int]) -> int:
    _, key, number = event
    await act("begin", key, number)
    await act("end", key, number)
    return number


async def main(url: str, sink: str) -> None:
    jobs.aim(Path(sink))
    loop = asyncio.get_running_loop()
    async with Engine(url, concurrency=8):
        print("open", flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
