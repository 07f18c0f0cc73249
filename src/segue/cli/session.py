"""An engine with a person in front of it: what they see, and how they stop it."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import IO, Any, TypeVar

from segue.cli.text import say, visible
from segue.cli.view import PACE, View
from segue.runtime.engine import Engine

T = TypeVar("T")

LAST_WORDS = 2.0
"""Seconds that step bodies get to end after they were cancelled. Their runs are handed back by then."""


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run to the end on uvloop, where there is one. A body that does not stop cannot hold up the program's end."""
    stdin_closed()
    try:
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        factory = None

    async def whole() -> int:
        code = await main
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others and (await asyncio.wait(others, timeout=LAST_WORDS))[1]:
            _leave_now(code)
        return code

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(whole())


def _leave_now(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Stop:
    """The person's wish to stop: the first signal asks, the second does not wait."""

    def __init__(self) -> None:
        self.signal = 0
        self._asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def asked(self) -> bool:
        return self.signal != 0

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the wish, so long. True: it is there."""
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            pass
        return self.asked

    def _receive(self, number: int, _: object) -> None:
        if self.asked and number == signal.SIGHUP:  # a closing terminal sends it twice: itself, and by its shell
            return
        if self.asked:
            os.write(2, b"\nsegue: stopped at once; runs that were not handed back are taken over later\n")
            os._exit(128 + number)
        self.signal = number
        self._loop.call_soon_threadsafe(self._asked.set)

    @contextmanager
    def installed(self) -> Generator[None, None, None]:
        """Listen to signals. Plain handlers, since those run even while a flow keeps the loop busy."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, self._receive) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


@asynccontextmanager
async def watched(engine: Engine, view: View) -> AsyncGenerator[Stop, None]:
    """Open the engine, show what it does, and listen for a wish to stop."""
    stop = Stop()
    engine.watchers.append(view)
    with stop.installed():
        painter: asyncio.Task[None] | None = None
        try:
            async with engine:
                view.start()
                painter = asyncio.create_task(_paint(view))
                yield stop
                if stop.asked:
                    with suppress(OSError):
                        view.stop()
                    say("segue: handing back what is unfinished …")
        finally:
            if painter is not None:
                painter.cancel()
            with suppress(OSError):  # the terminal may be gone
                view.stop()


async def _paint(view: View) -> None:
    while True:
        began = time.perf_counter()
        view.refresh()
        # A picture of thousands of steps takes long; the steps themselves come first.
        await asyncio.sleep(max(PACE, 10 * (time.perf_counter() - began)))


class _Handler(logging.Handler):
    """Log records as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        # sys.stderr is looked up each time: the live tree stands in for it while it is shown
        print(visible(f"segue: {self.format(record)}"), file=sys.stderr, flush=True)


def show_logs() -> None:
    """Show warnings, and what flows log; unless the user's code has set logging up by itself."""
    if logging.getLogger().handlers or logging.getLogger("segue").handlers:
        return
    logging.getLogger("segue").addHandler(_Handler())
    logging.getLogger("segue.flow").setLevel(logging.INFO)


def stdin_closed() -> None:
    """Give the user's code an empty stdin. A child such as ffmpeg would read the terminal, or be stopped for trying."""
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    except OSError:
        pass  # it is closed already


@contextmanager
def stdout_kept() -> Generator[Callable[[str], None], None, None]:
    """Keep stdout for the result: what the user's code and its child processes print goes to stderr meanwhile.

    Gives a function that writes to the real stdout.
    """
    sys.stdout.flush()
    try:
        kept = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    except (OSError, ValueError):  # not a file: a test's buffer
        yield lambda text: print(text, flush=True)
        return
    real: IO[str] = os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="backslashreplace")

    def write(text: str) -> None:
        real.write(text + "\n")
        real.flush()

    try:
        with real:
            yield write
    finally:
        sys.stdout.flush()
        os.dup2(kept, sys.stdout.fileno())
        os.close(kept)
