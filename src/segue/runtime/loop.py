"""One small event loop for each run, so that a flow's plain asyncio code replays exactly.

A flow's tasks, futures, locks and queues live on this loop and nowhere else. It is a queue of callbacks, drained in
one go from a callback of the user's own loop: a flow has *settled* when the queue is empty, which is exact and needs
no guessing at how many ticks a chain of callbacks takes. Step bodies run on the user's loop; only their recorded ends
come in here, one at a time. Time stands still between entries: it is the time of the last one.

Measured on the prototype: over 1,200 random flows crashed and replayed, no difference; on the user's loop, 18 of 200
differed with the best settling rule found.
"""

import asyncio
import sys
from asyncio import events, tasks
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from threading import get_ident
from typing import Any, NoReturn, Protocol

from segue.errors import NotInFlow
from segue.runtime.context import HERE, Place, place
from segue.runtime.lease import NeverAwaits


class Owner(Protocol):
    """What the loop needs of its run."""

    root: Place
    engine: Any

    def arm(self, timer: "Timer") -> None: ...
    def disarm(self, timer: "Timer") -> None: ...
    def adopt(self, task: "asyncio.Task[Any]") -> None: ...
    def report(self, context: dict[str, Any]) -> None: ...


class Timer(asyncio.TimerHandle):
    """A timer of the flow. It is durable: that it fired is an entry, and when is fixed by the entries before."""

    step: Any = None


_STRIDE = 0x9E3779B97F4A7C15  # 2 ** 64 over the golden ratio: its multiples spread evenly over any table (Knuth)


class FlowTask(asyncio.Task[Any]):
    """A task that hashes by its number: sets of tasks, as ``asyncio.wait`` returns, iterate alike on replay."""

    number: int

    def __new__(  # pyright: ignore[reportInconsistentConstructor]
        cls, coro: Coroutine[Any, Any, Any], *, loop: "RunLoop", **_kwargs: Any
    ) -> "FlowTask":
        task = super().__new__(cls)
        task.number = loop.next_number()  # before __init__, which already puts the task into a set of asyncio's
        return task

    def __hash__(self) -> int:
        return self.number


_REFUSED = {
    "run_in_executor": "run blocking code",
    "getaddrinfo": "resolve a name",
    "getnameinfo": "resolve an address",
    "create_connection": "open a connection",
    "create_server": "open a server",
    "create_unix_connection": "open a socket",
    "create_unix_server": "open a server",
    "create_datagram_endpoint": "open a socket",
    "connect_accepted_socket": "open a socket",
    "sendfile": "send a file",
    "start_tls": "open a connection",
    "connect_read_pipe": "read a pipe",
    "connect_write_pipe": "write a pipe",
    "subprocess_shell": "start a process",
    "subprocess_exec": "start a process",
    "add_reader": "wait for a file",
    "add_writer": "wait for a file",
    "sock_recv": "use a socket",
    "sock_recv_into": "use a socket",
    "sock_sendall": "use a socket",
    "sock_connect": "use a socket",
    "sock_accept": "use a socket",
    "add_signal_handler": "handle signals",
}


def _refuse(name: str, what: str) -> Callable[..., NoReturn]:
    def refused(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotInFlow(
            f"a flow's body cannot {what} ({name}): it would happen again at every replay. "
            "Put it into a step: @step async def …, and await that"
        )

    return refused


def _called_by_as_completed() -> bool:
    # as_completed makes a *set* of bare coroutines and creates their tasks in its order, which is that of their
    # addresses. frames: this, create_task, _ensure_future, ensure_future, and then the caller in question.
    frame: Any = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code.co_name in ("_ensure_future", "ensure_future"):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename != tasks.__file__:
        return False
    if frame.f_code.co_name in ("<setcomp>", "__init__"):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name in ("as_completed", "__init__")


class Soon:
    """A callback in the queue. Slimmer than ``asyncio.Handle``, of which a flow needs only ``cancel``."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "_loop")

    def __init__(self, callback: Any, args: tuple[Any, ...], loop: "RunLoop", context: Context | None) -> None:
        self._callback, self._args, self._loop = callback, args, loop
        self._context = copy_context() if context is None else context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def _run(self) -> None:
        try:
            self._context.run(self._callback, *self._args)
        except (KeyboardInterrupt, SystemExit, NeverAwaits):
            raise
        except BaseException as error:
            self._loop.call_exception_handler({"message": f"{self._callback!r} failed", "exception": error})


def _let_go(_generator: Any) -> None:
    """The garbage collector found an async generator half-way: its ``finally`` does not run at a random moment."""


class RunLoop(asyncio.AbstractEventLoop):
    """The loop of one run. Only what asyncio's own primitives need; all else is refused by name."""

    def __init__(self, run: Owner, now: float, salt: int = 0) -> None:
        self.run = run
        self.now = now
        self._number = salt  # apart from other runs, whose tasks are in the same set of asyncio's
        self._queue: deque[Any] = deque()
        self._entered = False
        self._thread = 0
        self._hooks: Any = (None, None)

    # What asyncio asks of a loop

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = Soon(callback, args, self, context)
        self._queue.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        raise NotInFlow(
            "a flow's future was set from a thread: that would not replay. Let a step return what the thread found"
        )

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Timer:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Timer:
        timer = Timer(when, callback, args, self, context)
        self.run.arm(timer)
        return timer

    def _timer_handle_cancelled(self, handle: Timer) -> None:
        self.run.disarm(handle)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(  # pyright: ignore[reportIncompatibleMethodOverride] - newer Pythons pass more
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None, **_kwargs: Any
    ) -> "asyncio.Task[Any]":
        # _kwargs is eager_start of Python 3.12 and later: here every task starts in its turn, so that it replays.
        if _called_by_as_completed():
            coro.close()
            raise NotInFlow(
                "asyncio.as_completed starts bare coroutines in an order of its own, which would not replay. Give it "
                "tasks: asyncio.as_completed([asyncio.create_task(call) for call in calls])"
            )
        parent = place() or self.run.root
        context = copy_context() if context is None else context.copy()
        context.run(HERE.set, Place(parent.run, parent.child_path(), parent.deadline, parent.since))
        task = FlowTask(coro, loop=self, name=name, context=context)
        self.run.adopt(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.run.report(context)

    # What a run does with it

    def soon(self, timer: Timer) -> None:
        """A timer fires: its callback is next."""
        self._queue.append(timer)

    def enter(self) -> bool:
        """Become the running loop, for ``drain``. False: it is that already."""
        if self._entered:
            return False
        self._entered = True
        self._thread = get_ident()
        self._hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self)  # pyright: ignore[reportPrivateUsage]
        sys.set_asyncgen_hooks(None, _let_go)
        return True

    def leave(self) -> None:
        """Give back to the user's loop."""
        self._entered = False
        sys.set_asyncgen_hooks(*self._hooks)
        events._set_running_loop(self.run.engine.ambient)  # pyright: ignore[reportPrivateUsage]

    def at_home(self) -> bool:
        """Whether the caller is the flow's own code, and not a thread or loop that it was passed to."""
        return self._entered and get_ident() == self._thread

    def drain(self) -> None:
        """Run every callback, and those that they add, until none is left: the flow has settled."""
        queue = self._queue
        while queue:
            handle = queue.popleft()
            if not handle._cancelled:
                handle._run()

    def next_number(self) -> int:
        """What the next task hashes by: the same at each replay."""
        self._number = (self._number + _STRIDE) & 0xFFFFFFFFFFFFFFF
        return self._number

    def clear(self) -> None:
        """Drop what is queued: the run has left memory."""
        self._queue.clear()


for _name, _what in _REFUSED.items():
    setattr(RunLoop, _name, _refuse(_name, _what))
