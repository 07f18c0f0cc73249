"""A worker that is stopped and continued: it says what happens to it, a line at a time."""

import asyncio
import logging
import os
import sys

from segue import Engine, current_run, flow, step


def say(*words: object) -> None:
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


class Says(logging.Handler):
    """Prints that the lease is lost, when the engine says so."""

    def emit(self, record: logging.LogRecord) -> None:
        if "lost its lease" in record.getMessage():
            say("fenced", record.getMessage())


told: dict[int, asyncio.Event] = {}
alone = "--alone" in sys.argv


@step
async def held(number: int) -> str:
    """Ends when it is told to; a second execution, elsewhere, ends at once."""
    say("begun", number)
    if alone:
        await told.setdefault(number, asyncio.Event()).wait()
    return f"{os.getpid()}"


@step
async def mark(number: int) -> int:
    say("marked", current_run().id)
    return number


@flow(name="held-up")
async def held_up(number: int) -> str:
    pid = await held(number)
    await mark(number)
    return pid


async def listen() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        word, _, number = line.partition(" ")
        if word == "start":
            handle = await held_up.options(id=f"held-{number}").start(int(number))
            say("started", handle.id)
        elif word == "go":
            told.setdefault(int(number), asyncio.Event()).set()


async def main() -> None:
    logging.getLogger("segue").addHandler(Says())
    async with Engine(sys.argv[1], _lease=0.3):
        say("open")
        await listen()


if __name__ == "__main__":
    asyncio.run(main())
