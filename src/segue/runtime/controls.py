"""What stands between a step and its attempts: so many at once, so many in a time, none while the circuit is open."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from math import inf
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from segue.core.breaker import Circuit, State
from segue.core.rate import Bucket
from segue.errors import DeclarationError, SegueError
from segue.limits import Limits

T = TypeVar("T")

_SHORTEST = 1e-6
"""No timer is shorter: rounding must not make one fire again and again without the clock moving on."""


class BreakerOpen(SegueError):
    """A call was not begun: the last ones failed, and what they called is left alone for a while.

    Attributes:
        control: the name of what refused it.
        retry_after: seconds until the next one may be let through; a retry waits at least that long.
    """

    def __init__(self, control: str, retry_after: float) -> None:
        self.control, self.retry_after = control, retry_after
        super().__init__(f"{control!r} is not called: its circuit is open. The next try is in {retry_after:.1f} s")


class ControlState(NamedTuple):
    """How a control stands.

    Attributes:
        running: calls that have entered and not left.
        waiting: calls that want to enter.
        breaker: the circuit's state; None if there is none.
        failures: those that the circuit counts now.
    """

    name: str
    running: int
    waiting: int
    breaker: State | None
    failures: int


class Control:
    """A gate. Calls enter in the order in which they came, and leave when they are done.

    A call that waits has taken nothing: place, token and probe are taken when it goes, in one go with its return from
    ``enter``. So a wait can be cancelled at any moment, and there is nothing to give back.

    One event loop's: neither threads nor loops may share it.

    Args:
        clock: seconds that never go back, and pass as the loop's do.
    """

    def __init__(self, name: str, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.limits = name, limits
        self._clock = clock
        self._places = inf if limits.concurrency is None else limits.concurrency
        self._bucket = None if limits.rate is None else Bucket(limits.rate)
        self._circuit = None if limits.breaker is None else Circuit(limits.breaker)
        self._running = 0
        self._line: OrderedDict[asyncio.Future[bool], None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self) -> int:
        """Wait until one more call may begin. Does not suspend if that is now.

        Returns:
            The circuit's era, for ``leave``.

        Raises:
            BreakerOpen: the circuit is open, or opens while this waits.
        """
        now = self._clock()
        if self._circuit is not None and self._circuit.refuses(now):
            raise self._refusal(now)
        if not self._line and self._wait(now) == 0:
            return self._begin(now)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._line[turn] = None
        try:
            if len(self._line) == 1:
                self._advance()
            if not await turn:
                raise self._refusal(self._clock())
            return self._begin(self._clock())
        finally:
            del self._line[turn]
            self._advance()

    def leave(self, ok: bool | None, era: int) -> None:
        """A call that had entered is done.

        Args:
            ok: whether it went well; None if it was cancelled.
            era: what ``enter`` returned.
        """
        self._running -= 1
        if self._circuit is not None:
            tell = {True: self._circuit.succeeded, False: self._circuit.failed, None: self._circuit.abandoned}[ok]
            tell(self._clock(), era)
        self._advance()

    def state(self) -> ControlState:
        """How it stands now."""
        now, circuit = self._clock(), self._circuit
        breaker, failures = (None, 0) if circuit is None else (circuit.state(now), circuit.failures(now))
        waiting = sum(not turn.done() for turn in self._line)
        return ControlState(self.name, self._running, waiting, breaker, failures)

    def _wait(self, now: float) -> float:
        """Seconds until the next call may begin; infinite if another has to leave first."""
        if self._running >= self._places:
            return inf
        return 0.0 if self._bucket is None else self._bucket.delay(now)

    def _begin(self, now: float) -> int:
        era = 0
        if self._circuit is not None:
            if not self._circuit.allows(now):  # it opened after this call's turn had come
                raise self._refusal(now)
            era = self._circuit.era
        if self._bucket is not None:
            self._bucket.start(now)
        self._running += 1
        return era

    def _advance(self) -> None:
        """Tell the first in line that its turn has come, or see to it that somebody will.

        One at a time: whoever is told goes, or turns out to be cancelled, and then tells the next.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._line:
            return
        first = next(iter(self._line))
        if first.done():
            return
        now = self._clock()
        if self._circuit is not None and self._circuit.refuses(now):
            for turn in self._line:
                if not turn.done():
                    turn.set_result(False)
            return
        wait = self._wait(now)
        if wait == 0:
            first.set_result(True)
        elif wait < inf:
            self._timer = first.get_loop().call_later(max(wait, _SHORTEST), self._advance)

    def _refusal(self, now: float) -> BreakerOpen:
        again = None if self._circuit is None else self._circuit.retry_at
        return BreakerOpen(self.name, 0.0 if again is None else max(0.0, again - now))


_declared: dict[str, Limits] = {}
_controls: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Control]] = WeakKeyDictionary()


def declare(name: str, limits: Limits) -> None:
    """Say what a name that steps share stands for, when they are declared.

    Raises:
        DeclarationError: it stands for something else already.
    """
    _agree(name, _declared.setdefault(name, limits), limits)


def control(key: Hashable, limits: Limits, name: str = "") -> Control:
    """The control of this key on the running loop, made at first use.

    Args:
        key: the name that steps share, or whatever stands for a step that shares with none.
        name: what it is called to people, if that is not the key.

    Raises:
        DeclarationError: the key was used with other limits.
    """
    loop = asyncio.get_running_loop()
    here = _controls.get(loop)
    if here is None:
        here = _controls[loop] = {}
    found = here.get(key)
    if found is None:
        found = here[key] = Control(name or str(key), limits, loop.time)
    elif found.limits is not limits:
        _agree(found.name, found.limits, limits)
    return found


def controls() -> list[ControlState]:
    """How this process's controls stand, in the order in which they were first used.

    >>> [(state.name, state.breaker) for state in controls()]
    []
    """
    return [one.state() for there in list(_controls.values()) for one in list(there.values())]


def _agree(name: str, known: Limits, limits: Limits) -> None:
    if known != limits:
        fields = [field for field in Limits._fields if getattr(known, field) != getattr(limits, field)]
        said = "; ".join(f"{field} is {getattr(known, field)} and {getattr(limits, field)}" for field in fields)
        raise DeclarationError(f"steps that share {name!r} declare it differently: {said}")


async def hedged(begin: Callable[[], Awaitable[T]], after: float) -> tuple[T, int]:
    """The value of a request, or of a second one that is sent if the first takes long, and how many were sent.

    The first to succeed wins; the other is cancelled, and has ended when this returns. A request that fails before
    the second was sent has failed for good; later, the other is waited for, and if both fail the error is the first
    one's. Cancelling this cancels both.

    Args:
        after: seconds to wait for the first before the second is sent.
    """

    async def request() -> T:
        return await begin()

    sent = [asyncio.create_task(request())]
    try:
        await asyncio.wait(sent, timeout=after)
        if not sent[0].done():
            sent.append(asyncio.create_task(request()))
        while True:
            for task in sent:
                if task.done() and not task.cancelled() and task.exception() is None:
                    return task.result(), len(sent)
            running = [task for task in sent if not task.done()]
            if not running:
                return sent[0].result(), len(sent)  # raises
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _ended(sent)


async def _ended(tasks: list[asyncio.Task[T]]) -> None:
    """Cancel them and wait for their ends. Being cancelled meanwhile is passed on to them, and raised afterwards."""
    stop: asyncio.CancelledError | None = None
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as cancelled:
            stop = cancelled
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen: nobody else will ask
    if stop is not None:
        raise stop
