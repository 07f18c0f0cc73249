"""``@flow``: an async function whose runs survive, and the handles on them."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial, update_wrapper
from typing import Any, Generic, Literal, NamedTuple, ParamSpec, Self, TypeVar, cast, overload

from segue.errors import DeclarationError, SegueError, UsageError
from segue.keys import Trigger, identity, mailbox, priority_of, triggers
from segue.naming import check_name
from segue.outcomes import Outcome
from segue.policies import Duration, seconds
from segue.runtime.context import HERE, Place
from segue.runtime.default import current, on_engine, run_sync
from segue.runtime.engine import Engine
from segue.runtime.ids import checked
from segue.runtime.intake import Started, take_in
from segue.runtime.registry import FLOWS, add_flow, module_of
from segue.runtime.spec import FlowSpec
from segue.runtime.tickets import Options, Ticket
from segue.sending import cancel_run, send_signal
from segue.steps import Step
from segue.together import CONCURRENCY, map_over

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Handle(Generic[R]):
    """A run that was started.

    Attributes:
        id: the run's id.
        created: when it was created, seconds since the epoch.
    """

    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket
        self.id = ticket.id
        self.created = ticket.created

    async def result(self) -> R:
        """What the flow returned; waits for it.

        Raises:
            RunFailed: the run failed, ran out of time or was cancelled.
            UnknownRun: the store has no such run.
        """
        return await on_engine(self._ticket.engine, self._ticket.result())

    async def status(self) -> str:
        """How it stands: see ``segue.core.lifecycle.Status``.

        Raises:
            UnknownRun: the store has no such run.
        """
        engine = self._ticket.engine
        return str((await on_engine(engine, engine.row(self.id))).status)

    async def reason(self) -> str | None:
        """What the run waits for, by name, if it does not run and has not ended; or which run took it along."""
        engine = self._ticket.engine
        return await on_engine(engine, _reason(engine, self.id))

    async def cancel(self, reason: str = "", *, by: str = "") -> None:
        """Have it cancelled: steps that run get to clean up, child runs are cancelled too, and what was done is undone.

        When this returns the wish is durable; ``result`` raises ``RunCancelled`` when it has come true. A run that has
        not begun ends at once. Asked for twice it is the same.

        Raises:
            RunEnded: it has ended already.
            UnknownRun: the store has no such run.

        >>> await handle.cancel("the customer called")
        """
        engine = self._ticket.engine
        await on_engine(engine, _sent(engine, cancel_run(engine.store, self.id, by=by, why=reason)))

    async def send(self, name: str, value: Any = None, *, once: str | None = None) -> bool:
        """Send a signal, which the flow reads with ``wait_for(name, …)``. When this returns it is durable.

        Args:
            once: an id of your own for what is sent: sent again under it, it is not delivered twice.

        Returns:
            False if a signal of this ``once`` was sent before.

        Raises:
            RunEnded: the run has ended already.
            UnknownRun: the store has no such run.
            Unstorable, UsageError: the value cannot be sent.

        >>> await handle.send("paid", {"amount": 900}, once="event-7")
        """
        engine = self._ticket.engine
        return await on_engine(engine, _sent(engine, send_signal(engine.store, self.id, name, value, once=once)))

    def __repr__(self) -> str:
        return f"<run {self.id}>"


class Refused(NamedTuple):
    """An event for which no run was started.

    Attributes:
        place: of it among the events, from 0.
    """

    place: int
    problem: SegueError


class Intake:
    """What became of events that were started together.

    Attributes:
        runs: the id of each one's run, in order; None where it was refused.
        duplicates: how many had a run already.
        refused: those for which none was started, and why.
    """

    def __init__(self, started: Sequence[Started]) -> None:
        self.runs = [one.run for one in started]
        self.duplicates = sum(one.duplicate for one in started)
        self.refused = [Refused(n, one.problem) for n, one in enumerate(started) if one.problem is not None]

    @property
    def accepted(self) -> int:
        """How many runs are new."""
        return len(self.runs) - self.duplicates - len(self.refused)

    def __repr__(self) -> str:
        return f"<{self.accepted} new runs, {self.duplicates} duplicates, {len(self.refused)} refused>"


async def _sent(engine: Engine, sending: Coroutine[Any, Any, T]) -> T:
    try:
        return await sending
    finally:
        engine.look_for_mail()


async def _reason(engine: Engine, id: str) -> str | None:
    from segue.inspection import reason_of

    return reason_of(await engine.row(id), engine.clock(), FLOWS)


class Flow(Generic[P, R]):
    """An async function whose runs are durable; calling it gives a coroutine.

    ``await flow(x)`` runs it and gives its result; within another flow, as a child run. ``flow.run(x)`` does so from
    code that is not async, and ``await flow.start(x)`` returns a handle as soon as the run is on disk.

    Attributes:
        fn: the function as it was written.
        name: what it is called in records.
    """

    def __init__(self, spec: FlowSpec, options: Options = Options()) -> None:  # noqa: B008 - a frozen value
        self.spec = spec
        self.fn: Callable[..., Coroutine[Any, Any, Any]] = spec.fn
        self.name = spec.name
        self._options = options
        update_wrapper(self, spec.fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        return self._call(args, kwargs)

    async def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        here = HERE.get()
        if here is not None and here.in_flow:
            place = cast("Place", here)
            call = place.run.ask_child(place, self.spec, args, kwargs, self._options)
            try:
                return await call.future
            except asyncio.CancelledError:
                await place.run.abandon(call)
        engine = await current()
        return await on_engine(engine, self._finish(engine, args, kwargs))

    async def _finish(self, engine: Engine, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        ticket = await engine.launch(self.spec, args, kwargs, self._options, wait=False)
        return await ticket.result()

    @overload
    def map(
        self, items: Iterable[Any], *, partial: Literal[False] = False, deadline: None = None, min_ok: int = 0
    ) -> Coroutine[Any, Any, list[R]]: ...
    @overload
    def map(
        self, items: Iterable[Any], *, partial: Literal[True], deadline: Duration | None = None, min_ok: int = 0
    ) -> Coroutine[Any, Any, list[Outcome[R]]]: ...
    def map(
        self, items: Iterable[Any], *, partial: bool = False, deadline: Duration | None = None, min_ok: int = 0
    ) -> Any:
        """Call it once for each item, some at a time, and give the results in the order of the items.

        In a flow each is a child run. ``options(concurrency=32)`` says how many at a time; 32 unless said.

        Args:
            items: taken one by one as there is room; ten thousand of them do not make ten thousand tasks.
            partial, deadline, min_ok: as in ``gather``.

        >>> embeddings = await digest.options(concurrency=8).map(chunks)
        """
        at_once = self._options.concurrency or CONCURRENCY
        each = cast("Any", type(self)(self.spec, self._options._replace(concurrency=None)))
        return map_over(
            each, items, name=self.name, concurrency=at_once, partial=partial, deadline=deadline, min_ok=min_ok
        )

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it and wait for the result, from code that is not async.

        Raises:
            UsageError: an event loop is running here: use ``await flow(...)``.
            RunFailed: the run failed.
        """
        return run_sync(self._call(args, kwargs), f"{self.spec.fn.__name__}.run()")

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Start a run. When this returns the run is durable: a crash cannot lose it.

        Raises:
            Conflict: the id asked for by ``options`` belongs to a run with another input.
            StoreError: the store cannot take it now.
        """
        here = HERE.get()
        if here is not None and here.in_flow:
            raise UsageError(
                f"flow {self.name!r} is started from a flow's body, which would start it again at each replay: "
                "await it as a child, or start it from a step"
            )
        engine = await current()
        return Handle(await on_engine(engine, engine.launch(self.spec, args, kwargs, self._options, wait=True)))

    async def start_many(self, events: Iterable[Any]) -> "Intake":
        """Start a run for each event, a thousand in a transaction. When this returns all of them are durable.

        Events are taken in their order. One that cannot be taken keeps none of the others back.

        Args:
            events: each the only argument of a call, as in ``map``; for ``coalesce="all"``, an item of the list.

        Raises:
            StoreError: the store cannot take them now. The first ones may be durable: with ``dedupe=``, it does no harm
                to start all of them again.

        >>> intake = await reroute.start_many(events)
        >>> intake.accepted, intake.duplicates, intake.refused
        (2998, 2, [])
        """
        engine = await current()
        return Intake(await on_engine(engine, self._take_in(engine, events)))

    async def _take_in(self, engine: Engine, events: Iterable[Any]) -> list[Started]:
        return [one async for batch in take_in(engine, self.spec, events, self._options) for one in batch]

    async def handle(self, id: str) -> Handle[R]:
        """A handle on a run of this flow by its id."""
        engine = await current()
        row = await on_engine(engine, engine.row(checked(id)))
        return Handle(Ticket(engine, self.spec, row.id, row.created))

    def options(
        self,
        *,
        id: str | None = None,
        timeout: Duration | None = None,
        priority: int | None = None,
        delay: Duration = 0,
        concurrency: int | None = None,
    ) -> Self:
        """The same flow, with what is not its own parameter set for the runs started from it.

        Args:
            id: the run's id. A run that has it already, with the same input, is attached to and not made again.
            timeout: for the whole run, from when it first executes.
            priority: runs of higher priority are claimed first; what the flow declares, unless said.
            delay: start no sooner.
            concurrency: claim it only while fewer runs of this flow than this are executing, on all workers.
        """
        if concurrency is not None and concurrency < 1:
            raise DeclarationError(f"concurrency is 1 or more, not {concurrency!r}")
        options = Options(
            id if id is None else checked(id),
            None if timeout is None else seconds(timeout),
            priority,
            seconds(delay),
            concurrency,
        )
        return type(self)(self.spec, options)

    def __repr__(self) -> str:
        return f"<flow {self.name}>"


class _Decorator:
    """What ``@flow(...)`` is to a type checker."""

    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Flow[P, R]: ...  # type: ignore[empty-body]


@overload
def flow(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Flow[P, R]: ...
@overload
def flow(
    *,
    name: str | None = None,
    version: str = "",
    timeout: Duration | None = None,
    max_queued: int | None = None,
    on_divergence: Literal["fail", "rerun"] = "fail",
    key: str | Callable[..., Any] | None = None,
    while_waiting: Literal["hold", "release"] = "hold",
    dedupe: str | Callable[..., Any] | None = None,
    window: Duration = "24h",
    coalesce: Literal["latest", "all"] | Callable[[Any, Any], Any] | None = None,
    debounce: Duration | None = None,
    debounce_max: Duration | None = None,
    priority: int | str | Callable[..., Any] = 0,
    expire: Duration | None = None,
    on: Trigger | Sequence[Trigger] = (),
) -> _Decorator: ...
def flow(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: str = "",
    timeout: Duration | None = None,
    max_queued: int | None = None,
    on_divergence: Literal["fail", "rerun"] = "fail",
    key: str | Callable[..., Any] | None = None,
    while_waiting: Literal["hold", "release"] = "hold",
    dedupe: str | Callable[..., Any] | None = None,
    window: Duration = "24h",
    coalesce: Literal["latest", "all"] | Callable[[Any, Any], Any] | None = None,
    debounce: Duration | None = None,
    debounce_max: Duration | None = None,
    priority: int | str | Callable[..., Any] = 0,
    expire: Duration | None = None,
    on: Trigger | Sequence[Trigger] = (),
) -> Any:
    """Make an async function a flow: what its steps return is recorded, so that a run goes on after a crash.

    Its body decides and calls steps; it does no I/O itself. Plain asyncio works in it and replays exactly: ``gather``,
    ``TaskGroup``, ``wait``, queues, locks, timeouts, cancellation.

    Args:
        name: what it is called in records; by default module and function.
        version: recorded with each run, and told when a run diverges.
        timeout: for a whole run, from when it first executes.
        max_queued: so many runs may wait for a worker; the next one is refused with ``QueueFull``, so that a spike
            does not make those wait that came before it.
        on_divergence: what to do when changed code asks a resumed run's step for another input than was recorded:
            ``"fail"`` ends the run and shows both inputs, ``"rerun"`` runs the step again.
        key: what a run is about: a path over the parameters (``"event.driver_id"``), or a function of some of them.
            Runs of one key go one at a time, in the order in which they were started, on whichever worker; other keys
            go beside them. A run whose key is None goes by itself.
        while_waiting: what becomes of the key while its run has left memory, asleep or waiting for a person, a signal
            or a child: ``"hold"`` keeps it, ``"release"`` lets the next run go; the first one takes its turn again, as
            the next, when it goes on.
        dedupe: which event a run is for, likewise. Started again for the same event within the window, with the same
            input, it is the run that was there first.
        window: how long an event counts as the same.
        coalesce: events that come while their key is busy are taken together by the next run: ``"latest"`` acts on the
            last one, and says what it dropped; ``"all"`` on all of them, for a flow whose only parameter is a
            ``list[E]``; a function of an earlier and a later one, which gives one, on what it makes of them. The runs
            that did not begin end as ``merged``, and have the result of the one that took them along.
        debounce: with ``coalesce``: a run does not begin before so much time has passed without another event of its
            key, …
        debounce_max: … or before so much time has passed since the first one, if that is sooner.
        priority: runs of higher priority are claimed first: a number, or where it is found in the parameters, as for
            ``key``. Runs of one key keep their order; one that waits lends its priority to the one before it.
        expire: a run that has not begun so long after it was created never does: it ends as ``expired``.
        on: what starts runs of it by itself, where ``segue serve`` runs: see ``segue.triggers``.

    Raises:
        DeclarationError: the function is not async, its name is taken, or a path is not among its parameters.

    >>> @flow
    ... async def greet(name: str) -> str:
    ...     return f"hello {name}"
    """
    declare = partial(
        _declare,
        name=name,
        version=version,
        timeout=timeout,
        max_queued=max_queued,
        on_divergence=on_divergence,
        key=key,
        while_waiting=while_waiting,
        dedupe=dedupe,
        window=window,
        coalesce=coalesce,
        debounce=debounce,
        debounce_max=debounce_max,
        priority=priority,
        expire=expire,
        on=on,
    )
    return declare if fn is None else declare(fn)


def _declare(
    fn: Callable[..., Any],
    *,
    name: str | None,
    version: str,
    timeout: Duration | None,
    max_queued: int | None,
    on_divergence: str,
    key: str | Callable[..., Any] | None,
    while_waiting: str,
    dedupe: str | Callable[..., Any] | None,
    window: Duration,
    coalesce: Any,
    debounce: Duration | None,
    debounce_max: Duration | None,
    priority: Any,
    expire: Duration | None,
    on: Any,
) -> Flow[Any, Any]:
    if isinstance(fn, Flow | Step):
        raise DeclarationError(f"flow {fn.name!r}: it is declared a step or flow already")
    if not inspect.iscoroutinefunction(fn):
        raise DeclarationError(f"a flow is an async function; {getattr(fn, '__name__', fn)!r} is not: write async def")
    if on_divergence not in ("fail", "rerun"):
        raise DeclarationError(f"on_divergence is 'fail' or 'rerun', not {on_divergence!r}")
    checked_name = check_name("flow", name if name is not None else f"{module_of(fn)}.{fn.__name__}")
    if max_queued is not None and (type(max_queued) is not int or max_queued < 1):
        raise DeclarationError(f"max_queued is 1 or more, or None for any number, not {max_queued!r}")
    limit = None if timeout is None else seconds(timeout)
    if while_waiting not in ("hold", "release"):
        raise DeclarationError(f"while_waiting is 'hold' or 'release', not {while_waiting!r}")
    spec = FlowSpec(checked_name, fn, version, cast("Any", on_divergence), limit, max_queued)
    spec.key, spec.frees = identity(spec, "key", key), while_waiting == "release"
    spec.dedupe, spec.window = identity(spec, "dedupe", dedupe), seconds(window)
    spec.mailbox = mailbox(spec, coalesce, debounce, debounce_max)
    spec.priority = priority_of(spec, priority)
    spec.expire = None if expire is None else seconds(expire)
    spec.on = triggers(spec, on)
    add_flow(spec)
    return Flow(spec)


def wait(awaitable: Awaitable[T]) -> T:
    """Wait for anything awaitable, from code that is not async.

    Raises:
        UsageError: an event loop is running here: use ``await``.

    >>> handle = wait(greet.start("Ada"))
    >>> wait(handle.result())
    'hello Ada'
    """

    async def whole() -> T:
        return await awaitable

    try:
        return run_sync(whole(), "segue.wait()")
    except UsageError:
        if inspect.iscoroutine(awaitable):
            awaitable.close()  # else Python would add that it was never awaited
        raise
