"""Many calls at the same time: all of them, what is there when the time is up, or one for each of many items."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeVar, cast, overload

from segue.errors import SegueError, UsageError
from segue.outcomes import Outcome, missing
from segue.policies import Duration, seconds
from segue.runtime.context import HERE, Place, place

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")

CONCURRENCY = 32
"""How many items ``map`` has in hand at a time, unless told."""


class NoResult(SegueError):
    """A call that has nothing to give: it was cancelled, or never begun. The ``error`` of its outcome."""


class TooLate(NoResult, TimeoutError):
    """A call that was not over when the time was up. The ``error`` of its outcome."""


class TooFewOk(SegueError):
    """Fewer calls gave a result than ``min_ok`` asks for.

    Attributes:
        outcomes: what became of each call, in order.
        min_ok: how many results it takes.
    """

    def __init__(self, outcomes: Iterable[Outcome[Any]], min_ok: int) -> None:
        self.outcomes, self.min_ok = tuple(outcomes), min_ok
        without = [(i, outcome.error) for i, outcome in enumerate(self.outcomes) if not outcome.ok]
        lines = [f"{len(self.outcomes) - len(without)} of {len(self.outcomes)} gave a result; min_ok is {min_ok}"]
        lines += [f"  - [{i}] {type(error).__name__}: {error}" for i, error in without[:_SHOWN]]
        if len(without) > _SHOWN:
            lines.append(f"  - … and {len(without) - _SHOWN:,} more: see .outcomes")
        super().__init__("\n".join(lines))


_SHOWN = 20


@overload
async def gather(a: Awaitable[A], b: Awaitable[B], /) -> tuple[A, B]: ...
@overload
async def gather(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /) -> tuple[A, B, C]: ...
@overload
async def gather(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], /) -> tuple[A, B, C, D]: ...
@overload
async def gather(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], e: Awaitable[E], /
) -> tuple[A, B, C, D, E]: ...
@overload
async def gather(*calls: Awaitable[T]) -> tuple[T, ...]: ...
@overload
async def gather(
    a: Awaitable[A], /, *, partial: Literal[True], deadline: Duration | None = None, min_ok: int = 0
) -> tuple[Outcome[A]]: ...
@overload
async def gather(
    a: Awaitable[A], b: Awaitable[B], /, *, partial: Literal[True], deadline: Duration | None = None, min_ok: int = 0
) -> tuple[Outcome[A], Outcome[B]]: ...
@overload
async def gather(
    a: Awaitable[A],
    b: Awaitable[B],
    c: Awaitable[C],
    /,
    *,
    partial: Literal[True],
    deadline: Duration | None = None,
    min_ok: int = 0,
) -> tuple[Outcome[A], Outcome[B], Outcome[C]]: ...
@overload
async def gather(
    a: Awaitable[A],
    b: Awaitable[B],
    c: Awaitable[C],
    d: Awaitable[D],
    /,
    *,
    partial: Literal[True],
    deadline: Duration | None = None,
    min_ok: int = 0,
) -> tuple[Outcome[A], Outcome[B], Outcome[C], Outcome[D]]: ...
@overload
async def gather(
    a: Awaitable[A],
    b: Awaitable[B],
    c: Awaitable[C],
    d: Awaitable[D],
    e: Awaitable[E],
    /,
    *,
    partial: Literal[True],
    deadline: Duration | None = None,
    min_ok: int = 0,
) -> tuple[Outcome[A], Outcome[B], Outcome[C], Outcome[D], Outcome[E]]: ...
@overload
async def gather(
    *calls: Awaitable[T], partial: Literal[True], deadline: Duration | None = None, min_ok: int = 0
) -> tuple[Outcome[T], ...]: ...
async def gather(
    *calls: Awaitable[Any], partial: bool = False, deadline: Duration | None = None, min_ok: int = 0
) -> tuple[Any, ...]:
    """Run calls at the same time and wait for all. When one fails the others are cancelled, and their ends recorded.

    Unlike ``asyncio.gather``, which leaves the others running; that works in flows too.

    Args:
        partial: give an ``Outcome`` for each call, in place of values or the first failure. Nothing is cancelled.
        deadline: with ``partial``: wait no longer. A call that is late goes on; what it gives is recorded, not used.
        min_ok: with ``partial``: so many must give a result.

    Raises:
        Exception: the first failure, as it came.
        TooFewOk: with ``partial``: fewer than ``min_ok`` gave a result; it names the others and why.
        UsageError: ``deadline`` or ``min_ok`` without ``partial``, or what is given cannot be awaited.

    >>> traffic, weather = await gather(congestion(area), forecast(area))
    >>> traffic, weather = await gather(congestion(area), forecast(area), partial=True, deadline="30s", min_ok=1)
    >>> weather.value_or("unknown")
    """
    try:
        _refuse_others(calls)
        limit = _limit("gather()", partial, deadline, min_ok)
    except SegueError:
        _close(calls)
        raise
    tasks = [asyncio.ensure_future(_outcome(call) if partial else call) for call in calls]
    try:
        if not partial:
            return tuple(await asyncio.gather(*tasks))
        await _within(tasks, limit)
    except BaseException:
        await _end(tasks)
        _close(calls)  # those whose task was cancelled before it began
        raise
    outcomes = tuple(task.result() if task.done() else missing(_too_late(limit)) for task in tasks)
    return _enough(outcomes, min_ok)


async def map_over(
    call: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    name: str,
    concurrency: int = CONCURRENCY,
    deadline: Duration | None = None,
    partial: bool = False,
    min_ok: int = 0,
) -> list[R] | list[Outcome[R]]:
    """Make a call for each item, some at a time, and give the results in the order of the items.

    A few tasks take the items in turn. In a flow a call is known by its item's index, not by the task that took it.

    Args:
        name: what the calls are called in records.
        concurrency: how many calls are under way at a time. It may change while a run is in flight.
        deadline, partial, min_ok: as in ``gather``. Items that are not begun by then are never begun.

    Raises:
        Exception: the first failure, with a note of its item's index; the other calls are cancelled.
        TooFewOk: with ``partial``: fewer than ``min_ok`` gave a result.
        UsageError: an argument that cannot be.
    """
    limit = _limit(f"{name}.map()", partial, deadline, min_ok)
    if isinstance(concurrency, bool) or concurrency < 1:
        raise UsageError(f"{name}.map(): concurrency is 1 or more, not {concurrency!r}")
    mapping = _Mapping(call, items, name, partial, place())
    tasks: list[asyncio.Task[None]] = []
    try:
        mapping.begin(tasks, concurrency)
        await _within(tasks, limit)
        mapping.stop(limit)
    except BaseException:
        await _end(tasks)
        raise
    return list(_enough(mapping.results, min_ok)) if partial else mapping.results


class _Mapping(Generic[T, R]):
    """One call of ``map``: the items that are still to come, and the results so far."""

    def __init__(
        self, call: Callable[[T], Awaitable[R]], items: Iterable[T], name: str, partial: bool, parent: Place | None
    ) -> None:
        try:
            self.items: Iterator[T] = iter(items)
        except TypeError:
            raise UsageError(f"{name}.map() takes an iterable of items, not {items!r:.100}") from None
        self.call, self.name, self.partial = call, name, partial
        self.results: list[Any] = []
        self.over = False
        self.base: Place | None = None
        """Where the items come from: what makes them may draw a random number, and no task's own place is the same
        when the concurrency is another."""
        if parent is not None:
            self.base = Place(parent.run, parent.identify(f"{name}@map"), parent.deadline)

    def begin(self, tasks: list[asyncio.Task[None]], concurrency: int) -> None:
        """Create the tasks, as many as there are items for."""
        here = HERE.get()
        try:
            while len(tasks) < concurrency and (taken := self._take()) is not None:
                tasks.append(asyncio.create_task(self._work(*taken)))
        finally:
            HERE.set(here)

    def _take(self) -> tuple[int, T] | None:
        if self.over:
            return None
        if self.base is not None:
            HERE.set(self.base)
        if (item := next(self.items, _PENDING)) is _PENDING:
            return None
        self.results.append(_PENDING)
        return len(self.results) - 1, item

    async def _work(self, index: int, item: T) -> None:
        base = self.base
        while True:
            if base is not None:
                HERE.set(Place(base.run, f"{base.path}[{index}]", base.deadline))
            try:
                result = await (_outcome(self.call(item)) if self.partial else _uncancelled(self.call(item)))
            except Exception as error:
                self.over = True
                error.add_note(f"It was item {index} of {self.name}.map()")
                raise
            if not self.over:
                self.results[index] = result
            if base is None:
                await asyncio.sleep(0)  # a step outside flows may never wait, and others are to get their turn
            if (taken := self._take()) is None:
                return
            index, item = taken

    def stop(self, limit: float | None) -> None:
        """The time is up, or all is done: what comes later is not used."""
        self.over = True
        if limit is None:
            return
        for index, result in enumerate(self.results):
            if result is _PENDING:
                self.results[index] = missing(_too_late(limit))
        here = HERE.get()
        HERE.set(self.base or here)
        try:
            self.results += [missing(NoResult(f"not begun within {limit:g} s")) for _ in self.items]
        finally:
            HERE.set(here)


_PENDING: Any = object()


# What both need


def _limit(what: str, partial: bool, deadline: Duration | None, min_ok: int) -> float | None:
    if not partial and (deadline is not None or min_ok):
        name = "deadline" if deadline is not None else "min_ok"
        hint = "; to give up after a while, await it within segue.timeout(…)" if deadline is not None else ""
        raise UsageError(f"{what}: {name}= belongs to partial=True, which gives outcomes{hint}")
    if isinstance(min_ok, bool) or not isinstance(min_ok, int) or min_ok < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{what}: min_ok is a number of results, not {min_ok!r}")
    return None if deadline is None else seconds(deadline)


def _refuse_others(calls: tuple[Any, ...]) -> None:
    """Refuse what cannot be awaited, before anything has begun."""
    for index, call in enumerate(calls):
        if not inspect.isawaitable(call):
            if isinstance(call, Iterable):
                hint = "write gather(*calls), not gather(calls)"
            else:
                hint = (
                    "call it: gather(fetch(url))" if callable(call) else "give it calls of steps, flows or coroutines"
                )
            raise UsageError(f"gather() cannot await argument {index}, {call!r:.100}: {hint}")


def _close(calls: Iterable[Any]) -> None:
    """Close coroutines that will not be awaited: else Python would warn of each."""
    for call in calls:
        if inspect.iscoroutine(call):
            call.close()
        elif isinstance(call, list | tuple):
            _close(cast("Iterable[Any]", call))


async def _uncancelled(call: Awaitable[T]) -> T:
    """A call that was cancelled by itself has failed, which is not to look as if its caller were cancelled."""
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise NoResult("it was cancelled") from None


async def _outcome(call: Awaitable[T]) -> Outcome[T]:
    """What becomes of a call, in this task."""
    try:
        value = await _uncancelled(call)
    except Exception as error:
        last = _last(call)
        return last if last is not None and not last.ok and last.error is error else missing(error, 1)
    last = _last(call)
    return last if last is not None and last.ok and last.value is value else Outcome(True, value)


def _last(call: Any) -> Outcome[Any] | None:
    """What the flow knows of the call, if it is one of a step."""
    from segue.steps import Step  # which has a use for this module too

    here = place()
    if here is None or getattr(call, "cr_code", None) is not Step._call.__code__:  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        return None
    return here.last


async def _within(tasks: list[asyncio.Task[Any]], limit: float | None) -> None:
    """Wait for tasks until the time is up; those that are late go on. Raises what one of them raises."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=limit, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        if task.done():
            task.result()
    for task in late:
        if place() is None:
            _late.add(task)  # in a flow its run keeps it
        task.add_done_callback(_seen)


_late: set[asyncio.Task[Any]] = set()
"""Tasks that nobody waits for any more: what nothing refers to, the garbage collector would end."""


def _seen(task: asyncio.Task[Any]) -> None:
    _late.discard(task)
    if not task.cancelled():
        task.exception()


async def _end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _too_late(limit: float | None) -> TooLate:
    recorded = "its late result is recorded and not used" if place() is not None else "its late result is not used"
    return TooLate(f"no result within {limit or 0:g} s; {recorded}")


Outcomes = TypeVar("Outcomes", bound="tuple[Outcome[Any], ...] | list[Any]")


def _enough(outcomes: Outcomes, min_ok: int) -> Outcomes:
    if min_ok and sum(outcome.ok for outcome in outcomes) < min_ok:
        raise TooFewOk(outcomes, min_ok)
    return outcomes
