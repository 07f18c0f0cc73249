"""Threads that do not hold up the end of the program: for blocking steps, and for the embedded store."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

Job = tuple["asyncio.AbstractEventLoop", "asyncio.Future[Any]", Callable[[], Any]]


def _settle(future: "asyncio.Future[Any]", value: Any, error: BaseException | None) -> None:
    if future.done():  # nobody waits any more
        return
    if error is None:
        future.set_result(value)
    elif isinstance(error, StopIteration):  # a future refuses it
        future.set_exception(RuntimeError(f"StopIteration: {error}"))
    else:
        future.set_exception(error)


def _answer(job: Job) -> None:
    loop, future, work = job
    value, error = None, None
    try:
        value = work()
    except BaseException as caught:
        error = caught
    try:
        loop.call_soon_threadsafe(_settle, future, value, error)
    except RuntimeError:
        pass  # the loop was closed meanwhile


class Pool:
    """Daemon threads, made as they are needed and kept.

    ``concurrent.futures`` joins its threads when the interpreter ends, so one stuck model call would keep a finished
    program alive; these do not.

    Args:
        name: what the threads are called.
        size: how many there are at most. A thread given up by ``abandon`` does not count.
    """

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.abandoned = 0
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0
        self.busy: set[int] = set()
        """The threads, by identity, that are at a job now."""

    def submit(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Do this work on a thread; the future belongs to the running loop."""
        from asyncio import get_running_loop  # the command line reads stores without a loop, and starts quicker

        loop = get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((loop, future, work))
        if not self._idle.acquire(blocking=False) and self._threads < self.size:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"{self.name}-{self._threads}", daemon=True).start()
        return future

    def abandon(self) -> None:
        """A job will not come back: let another thread take its place."""
        self.size += 1
        self.abandoned += 1

    def recover(self) -> None:
        """An abandoned job came back after all."""
        self.size -= 1
        self.abandoned -= 1

    def close(self) -> None:
        """Let the threads end when they have done what is queued. Work that comes afterwards gets new ones."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._jobs, self._idle, self._threads = SimpleQueue(), threading.Semaphore(0), 0

    def _serve(self) -> None:
        jobs, idle = self._jobs, self._idle
        while (job := jobs.get()) is not None:
            self.busy.add(threading.get_ident())
            _answer(job)
            self.busy.discard(threading.get_ident())
            del job
            idle.release()
