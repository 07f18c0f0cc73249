"""Virtual time: an event loop whose clock jumps to the next timer as soon as nothing can run before it.

A week's sleep takes as long as a look at a heap. What happens outside the loop is real, and waited for really, while
virtual time stands still:

- *jobs* on threads and in processes (steps of plain functions, ``asyncio.to_thread``, executors). They run side by
  side; their results come in one at a time, in the order in which they were asked for, when nothing else can run. So a
  run's history does not depend on how fast the machine is.
- *connections*: sockets and pipes. When nothing has come in for ``QUIET`` seconds they are taken for idle; beside a
  subprocess that runs, for ``PATIENCE``.
"""

import asyncio
import ctypes
import math
import selectors
import sys
import threading
import time
from asyncio import base_events, futures
from collections.abc import Callable, Coroutine
from contextvars import Context
from datetime import UTC, datetime
from types import CodeType, FrameType
from typing import Any, TypeVar, cast

from segue.errors import SegueError
from segue.runtime.threads import Pool

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""When virtual time begins, in seconds since the epoch."""

PATIENCE = 60.0
"""Real seconds that a job or subprocess may take."""

QUIET = 2.0
"""Real seconds without news after which a connection is taken for idle."""

MOST_JUMPS = 1_000_000
"""Jumps of the clock after which whatever runs is taken to go on for ever."""


class Deadlock(SegueError):
    """Nothing is left that could ever run, or what runs never ends. In virtual time that would be a test that hangs."""


_OUTSIDE: frozenset[CodeType] = frozenset(
    {
        Pool.submit.__code__,
        futures.wrap_future.__code__,
        base_events.BaseEventLoop.shutdown_default_executor.__code__,
    }
)
"""Who makes a future that something outside the loop will settle."""


class _Selector(selectors.DefaultSelector):
    """Asks the loop what to do where another selector would sleep."""

    def __init__(self, asleep: Callable[[], list[Any]]) -> None:
        super().__init__()
        self._asleep = asleep

    def look(self, timeout: float) -> list[Any]:
        """What came in, within so many real seconds."""
        return super().select(timeout)

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        return self._asleep()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own.

    Args:
        start: what its clock shows at first, in seconds since the epoch.

    Attributes:
        before_jump: called before time passes, with when it will be then, or ``math.inf`` if nothing is left to wait
            for. Where one gives True it has found something to do, and time stands still for now.
        jumps: how often time has passed since this was last set to 0.

    >>> loop = VirtualLoop(start=0.0)
    >>> loop.run_until_complete(asyncio.sleep(604800)); loop.wall()
    604800.0
    """

    def __init__(self, start: float = START) -> None:
        self._now = start
        self._jobs: dict[asyncio.Future[Any], float] = {}
        self._arrived: dict[asyncio.Future[Any], tuple[asyncio.Handle, Callable[[], asyncio.Handle]]] = {}
        self._idle: frozenset[Any] = frozenset()
        self._processes: list[asyncio.SubprocessTransport] = []
        self._settled: list[asyncio.Future[None]] = []
        self._still: list[asyncio.Future[None]] = []
        self.before_jump: list[Callable[[float], bool]] = []
        self.jumps = 0
        self._watched = _Selector(self._asleep)
        super().__init__(self._watched)
        self._own: frozenset[Any] = frozenset(self._watched.get_map())
        self._tune()

    def time(self) -> float:
        """The virtual time; the same as ``wall()``, so that differences are exact."""
        return self._now

    def wall(self) -> float:
        """The virtual time in seconds since the epoch: what an engine takes as its clock."""
        return self._now

    def _tune(self) -> None:
        # asyncio fires what is due before time() + resolution: with the distance to the next float that is "up to now"
        cast("Any", self)._clock_resolution = math.ulp(self._now)

    # What is waited for really

    def create_future(self) -> "asyncio.Future[Any]":
        future = super().create_future()
        if sys._getframe(1).f_code in _OUTSIDE:  # pyright: ignore[reportPrivateUsage]
            self._jobs[future] = 0.0
        return future

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        job = args[0] if args else getattr(callback, "__self__", None)
        if not isinstance(job, asyncio.Future) or job not in self._jobs:
            return super().call_soon_threadsafe(callback, *args, context=context)
        if self.is_closed():
            raise RuntimeError("the loop is closed")
        handle = asyncio.Handle(callback, args, self, context)
        self._arrived[job] = handle, lambda: self.call_soon(callback, *args, context=context)
        cast("Any", self)._write_to_self()
        return handle

    def _first_job(self) -> "asyncio.Future[Any] | None":
        for job in list(self._jobs):
            if not job.done():
                return job
            del self._jobs[job]  # cancelled: nobody waits for it any more
            self._arrived.pop(job, None)
        return None

    def _await_job(self, job: "asyncio.Future[Any]") -> list[Any]:
        if arrived := self._arrived.pop(job, None):
            del self._jobs[job]
            handle, deliver = arrived
            if not handle.cancelled():
                deliver()
            return []
        since = self._jobs[job] = self._jobs[job] or time.monotonic()
        events = self._watched.look(max(0.0, since + PATIENCE - time.monotonic()))
        if not events and time.monotonic() - since >= PATIENCE:
            raise Deadlock(
                f"deadlock: virtual time stands still for a thread or process that has been busy for {PATIENCE:g} s: "
                f"{_threads()}. Fake that step, or let it end by itself"
            )
        return events

    async def _make_subprocess_transport(self, *args: Any, **kwargs: Any) -> asyncio.SubprocessTransport:
        transport = await cast("Any", super())._make_subprocess_transport(*args, **kwargs)
        self._processes.append(transport)
        return transport

    def _news(self) -> list[Any]:
        """What came in on connections, if there are any that are not idle."""
        self._processes = [process for process in self._processes if process.get_returncode() is None]
        open_now: frozenset[Any] = frozenset(self._watched.get_map()) - self._own | {id(p) for p in self._processes}
        if not open_now or open_now == self._idle:
            return []
        events = self._watched.look(PATIENCE if self._processes else QUIET)
        self._idle = frozenset() if events else open_now
        return events

    # What happens when nothing is ready

    def _asleep(self) -> list[Any]:
        if events := self._watched.look(0):
            self._idle = frozenset()
            return events
        if (job := self._first_job()) is not None:
            return self._await_job(job)
        if events := self._news():
            return events
        scheduled: list[asyncio.TimerHandle] = cast("Any", self)._scheduled
        to = scheduled[0].when() if scheduled else math.inf
        if any(found(to) for found in self.before_jump) or _release(self._settled):
            return []
        if to < math.inf:
            self._jump(to)
        elif not _release(self._still):
            raise Deadlock(
                f"deadlock: nothing is left that could run: no timer, no thread, no connection. {_tasks(self)}"
            )
        return []

    def _jump(self, to: float) -> None:
        self.jumps += 1
        if self.jumps > MOST_JUMPS:
            raise Deadlock(
                f"deadlock: virtual time has moved {MOST_JUMPS:,} times and it is {_date(self._now)}: something waits "
                f"again and again for what never comes. {_tasks(self)}"
            )
        self._now = max(self._now, to)
        self._tune()

    async def settled(self) -> None:
        """Wait until nothing more can happen at this moment of virtual time."""
        future: asyncio.Future[None] = self.create_future()
        self._settled.append(future)
        await future

    def stillness(self) -> "asyncio.Future[None]":
        """Done when nothing is left that could ever run; without anybody who waits for this, that is a ``Deadlock``."""
        future: asyncio.Future[None] = self.create_future()
        self._still.append(future)
        return future

    # An end without a goodbye

    def halt(self) -> None:
        """Stop after the callback that runs now, whatever else was ready. From any thread."""
        if asyncio._get_running_loop() is not self:  # pyright: ignore[reportPrivateUsage]
            self.call_soon_threadsafe(self.halt)
            return
        for handle in cast("Any", self)._ready:
            keep_for_ever(handle._callback)  # it may be all that refers to a task which has not begun
            handle.cancel()
        self.stop()

    def kill(self) -> None:
        """Close it as the death of its process would: nothing of what waits here ever runs again.

        Not even ``finally``. So what waits is never collected either; threads cannot be killed, and are waited for.
        """
        while (job := self._first_job()) is not None:
            self._jobs[job] = self._jobs[job] or time.monotonic()
            if job in self._arrived or time.monotonic() - self._jobs[job] > PATIENCE:
                del self._jobs[job]
                continue
            self._watched.look(0.05)
        for task in asyncio.all_tasks(self):
            asyncio._unregister_task(task)  # pyright: ignore[reportPrivateUsage] - or all_tasks would go through it for ever
            keep_for_ever(task)
        self.close()


def keep_for_ever(thing: object) -> None:
    """It is never collected."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _release(waiting: "list[asyncio.Future[None]]") -> bool:
    """Settle them all. True: somebody was still waiting."""
    found = False
    while waiting:
        future = waiting.pop()
        if not future.done():
            future.set_result(None)
            found = True
    return found


def run_virtual(main: Coroutine[Any, Any, T], *, start: float = START) -> T:
    """Run a coroutine to its end in virtual time, and cancel whatever is left then, as ``asyncio.run`` does.

    Args:
        start: what the clock shows at first, in seconds since the epoch.

    Raises:
        Deadlock: nothing is left that could ever run, or time has moved a million times.
        RuntimeError: an event loop is running here.

    >>> run_virtual(asyncio.sleep(604800, "a week later"))
    'a week later'
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner:
        return runner.run(main)


# What to say of what hangs


def _date(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f}"


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"


def _tasks(loop: asyncio.AbstractEventLoop) -> str:
    """Where the loop's tasks wait."""
    places: list[str] = []
    for task in asyncio.all_tasks(loop):
        coro: Any = task.get_coro()
        frame: FrameType | None = None
        while (inner := getattr(coro, "cr_frame", None)) is not None:
            if frame is None or not inner.f_globals.get("__name__", "").startswith("asyncio."):
                frame = inner
            coro = coro.cr_await
        places.append(f"{task.get_name()} at {_place(frame)}" if frame is not None else task.get_name())
    shown = "; ".join(sorted(places)[:10]) + ("; …" if len(places) > 10 else "")
    return f"These wait: {shown}" if places else "No task waits"


def _threads() -> str:
    """What the threads of this process are at, but for this one and those that serve."""
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
    busy: list[str] = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if (
            frame is not None
            and thread is not threading.current_thread()
            and thread.name not in ("segue-lease", "segue-watch")
        ):
            own = _own_frame(frame)
            if own is not None:
                busy.append(f"{thread.name} at {_place(own)}")
    return "; ".join(busy) or "it cannot be seen from here"


def _own_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that belongs to nobody who only waits for work."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name == "segue.runtime.threads" and frame.f_code.co_name == "_serve":
            return None
        if name not in ("threading", "queue", "concurrent.futures.thread", "selectors"):
            return frame
        frame = frame.f_back
    return None
