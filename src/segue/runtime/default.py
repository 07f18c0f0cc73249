"""The engine that is used when none was opened: one for the process, made at first use."""

import asyncio
import atexit
import builtins
import logging
import multiprocessing
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from segue.errors import NotInFlow, UsageError
from segue.runtime import engine as engines
from segue.runtime.call import Call
from segue.runtime.context import HERE
from segue.runtime.engine import Engine

log = logging.getLogger("segue")

T = TypeVar("T")

_implicit: Engine | None = None
_opening: asyncio.Lock | None = None
_background: asyncio.AbstractEventLoop | None = None
_guard = threading.Lock()


def entered() -> Engine | None:
    """The engine opened last by ``async with``, if it is open."""
    for engine in reversed(engines._entered):  # pyright: ignore[reportPrivateUsage]
        if engine.is_open:
            return engine
    return None


async def current() -> Engine:
    """The engine for a call made here: the step's own, the one opened by ``async with``, or the implicit one."""
    global _implicit, _opening
    here = HERE.get()
    if here is None and _is_step_process():
        raise UsageError(
            "the process of a step has loaded this script, and would run its flows again. A script with process=True "
            "steps starts its runs under: if __name__ == '__main__':"
        )
    if isinstance(here, Call):
        return here.run.engine
    if here is not None and here.in_flow:
        raise NotInFlow(
            "a flow's body cannot ask an engine for runs, or questions: it would ask again at every replay, and be "
            "told something else. Ask in a step"
        )
    if (engine := entered()) is not None:
        return engine
    if _implicit is not None and _implicit.is_open:
        return _implicit
    if _in_notebook() and asyncio.get_running_loop() is not _background:
        # a cell may await a flow and the next call flow.run(), which blocks the notebook's loop: not the engine's too
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(current(), _loop()))
    with _guard:
        if _opening is None or _implicit is None or not _same_loop(_opening):
            _opening = asyncio.Lock()
        lock = _opening
    async with lock:
        if _implicit is None or not _implicit.is_open:
            engine = Engine(_adopts=False)
            await engine.open()
            _implicit = engine
            atexit.register(_leave, engine)
            await _mention_unfinished(engine)
    return _implicit


def _is_step_process() -> bool:
    return multiprocessing.parent_process() is not None and "__mp_main__" in sys.modules


def _same_loop(lock: asyncio.Lock) -> bool:
    loop = getattr(lock, "_loop", None)
    return loop is None or loop is asyncio.get_running_loop()


async def _mention_unfinished(engine: Engine) -> None:
    """A script that runs again makes a new run; it says what an earlier one left behind."""
    left = await engine.store.unfinished(None)
    if left:
        ids = ", ".join(row.id for row in left[:3]) + (", …" if len(left) > 3 else "")
        runs = "1 unfinished run" if len(left) == 1 else f"{len(left)} unfinished runs"
        log.warning(
            "%s in %s (%s): to go on with them, segue resume; to see them, segue runs", runs, engine.store.url, ids
        )


def _leave(engine: Engine) -> None:
    """At the program's end: hand what is unfinished back, if the loop has not."""
    if not engine._open:  # pyright: ignore[reportPrivateUsage]
        return
    engine._open = False  # pyright: ignore[reportPrivateUsage]
    if engine._lease is not None:  # pyright: ignore[reportPrivateUsage]
        engine._lease.stop()  # pyright: ignore[reportPrivateUsage]
    engine.journal.close()
    left = list(engine.runs)

    async def leave() -> None:
        store = engine.store.sibling()
        await store.open()
        await store.leave(engine.worker)
        await store.close()

    try:
        with asyncio.Runner() as runner:
            runner.run(leave())
    except Exception as error:
        log.warning("worker %s could not leave, and will lapse: %s", engine.worker, error)
    if left:
        log.warning("%d unfinished run%s kept: to go on, segue resume", len(left), "s are" if len(left) > 1 else " is")


async def on_engine(engine: Engine, coro: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine on the engine's loop, from whichever loop runs here."""
    if asyncio.get_running_loop() is engine.ambient:
        return await coro
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coro, engine.ambient))


def _in_notebook() -> bool:
    shell = getattr(builtins, "get_ipython", None)
    return shell is not None and hasattr(shell(), "kernel")


def _loop() -> asyncio.AbstractEventLoop:
    """The background loop for code that is not async, on a thread of its own."""
    global _background
    with _guard:
        if _background is None or _background.is_closed():
            try:
                import uvloop

                _background = uvloop.new_event_loop()
            except ImportError:
                _background = asyncio.new_event_loop()
            threading.Thread(target=_background.run_forever, name="segue-loop", daemon=True).start()
        return _background


def run_sync(coro: Coroutine[Any, Any, T], what: str) -> T:
    """Run a coroutine to its end, from code that is not async.

    Raises:
        UsageError: an event loop is running here; the caller can await.
    """
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        engine = entered()
        if not _in_notebook() or (engine is not None and engine.ambient is here):
            coro.close()
            raise UsageError(f"{what} blocks, and an event loop is running here: use await instead")
    future: Future[T] = asyncio.run_coroutine_threadsafe(coro, _loop())
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        raise
