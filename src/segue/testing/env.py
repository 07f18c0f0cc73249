"""``Env``: where a test runs flows in virtual time, with fakes in place of steps, and crashes where it says."""

import asyncio
import copy
import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, cast

from segue import inbox
from segue.core.lifecycle import Status
from segue.errors import Permanent, UsageError
from segue.flows import Flow
from segue.inbox import Question
from segue.inspection import timeline
from segue.policies import Duration, seconds
from segue.runtime import crashpoints
from segue.runtime.context import HERE
from segue.runtime.registry import FLOWS
from segue.runtime.resources import Resource
from segue.runtime.spec import StepSpec
from segue.sending import cancel_run, send_signal
from segue.steps import Step
from segue.stores.base import Query, Row
from segue.testing.clock import START
from segue.testing.records import RunRecord, record_of
from segue.testing.world import Life, Trap, World

if TYPE_CHECKING:
    from segue.runtime.call import Call

P = ParamSpec("P")

_UNSET: Any = object()


class Hook(Protocol):
    """What may stand between steps and their attempts, such as ``segue.testing.chaos.Chaos``."""

    async def around(self, call: "Call", real: Callable[[], Awaitable[Any]]) -> Any:
        """Make one attempt: await ``real()``, or do something else."""
        ...


class SequenceUsedUp(Permanent):
    """A step was called once more than ``fake(…, sequence=…)`` has items for it. Not retried."""


class NothingCrashed(UsageError):
    """The place that ``crash_at`` or ``crash_after`` names was never reached: the test would prove nothing."""


@dataclass(frozen=True, slots=True)
class StepCall:
    """One attempt at a step's body, or at the fake in its place.

    Attributes:
        arguments: by name, defaults included; copies, where they can be copied.
        attempt: its number in that step, from 1.
        run: the run's id.
        step: the step's identity in the run.
        at: when, in seconds since the epoch, in virtual time.
    """

    arguments: dict[str, Any]
    attempt: int
    run: str
    step: str
    at: float


@dataclass(slots=True)
class _Fake:
    """What stands in for one body."""

    name: str
    returns: Any
    raises: Any
    items: list[Any] | None
    calls: Callable[..., Any] | None
    sleeps: float
    used: int = 0

    async def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        item = self._next()  # a call counts when it begins, also one that runs out of time
        if self.sleeps:
            await asyncio.sleep(self.sleeps)
        if self.calls is not None:
            value = self.calls(*args, **kwargs)
            return await value if inspect.isawaitable(value) else value
        if _is_error(item):
            raise item
        return item

    def _next(self) -> Any:
        self.used += 1
        if self.items is None:
            return self.raises if self.raises is not None else self.returns
        if self.used > len(self.items):
            raise SequenceUsedUp(
                f"step {self.name!r} is called for the {_nth(self.used)} time, and its fake has a sequence of "
                f"{len(self.items)}"
            )
        return self.items[self.used - 1]


def _is_error(item: Any) -> bool:
    return isinstance(item, BaseException) or (isinstance(item, type) and issubclass(item, BaseException))


def _nth(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


class Env:
    """Runs flows in virtual time, on a store in memory. For plain tests, ``def test_…``, not ``async def``.

    Time stands still while anything can run, and else jumps to the next timer: a flow that sleeps a week, or retries
    for hours, takes milliseconds. See ``segue.testing.clock`` for threads and connections, which are real. Code that
    reads the machine's clock itself, ``time.time()``, is not fooled.

    The pytest fixture ``segue_env`` is one for each test; elsewhere use ``with Env() as env:``.

    Args:
        seed: what the jitter of retries is drawn from.
        start: when virtual time begins, in seconds since the epoch.
        hook: stands between the steps and their attempts, fakes included.
        prefix: what the ids of its runs begin with: they are ``run-1``, ``run-2``, …

    >>> with Env() as env:
    ...     env.fake(charge, sequence=[ConnectionError("gone"), "paid"])
    ...     record = env.run(order, 42)
    ...     assert record.result == "paid" and record.step("charge").attempts == 2
    """

    def __init__(self, *, seed: int = 0, start: float = START, hook: Hook | None = None, prefix: str = "run") -> None:
        self._hook, self._prefix = hook, prefix
        self._world = World(seed, start, self._around, self._stand_in)
        self._fakes: dict[Any, _Fake] = {}
        self._provided: dict[Resource[Any], Any] = {}
        self._calls: dict[Any, list[StepCall]] = {}
        self._count = 0
        self._deaths: dict[str, int] = {}
        self._closed = False

    # Fakes

    def fake(
        self,
        step: Step[..., Any] | Resource[Any],
        *,
        returns: Any = _UNSET,
        raises: BaseException | type[BaseException] | None = None,
        sequence: Iterable[Any] | None = None,
        calls: Callable[..., Any] | None = None,
        sleeps: Duration = 0,
    ) -> None:
        """From now on the step's body is not called; this happens instead. Policies and checks of the step stay.

        Args:
            step: a ``@step``, also one that is another's fallback. Or a ``@resource``, which then is not loaded and
                has the value that ``returns`` gives.
            returns: what each call returns.
            raises: what each call raises: an error or its class.
            sequence: what one call after the other returns, or raises if it is an error.
            calls: a function of the step's arguments, async or not, called in the body's place.
            sleeps: virtual time that each call takes first. With nothing else each call then returns None.

        A step that uses resources does not load them while it is faked.

        Raises:
            UsageError: that is no step, or two of these contradict each other.

        >>> env.fake(fetch, returns={"price": 12.0}, sleeps="2s")
        >>> env.fake(fetch, raises=ConnectionError("no route"))
        >>> env.fake(fetch, sequence=[TimeoutError(), {"price": 12.0}])
        >>> env.fake(fetch, calls=lambda city: {"price": len(city)})
        """
        given = [
            name
            for name, there in (
                ("returns", returns is not _UNSET),
                ("raises", raises is not None),
                ("sequence", sequence is not None),
                ("calls", calls is not None),
            )
            if there
        ]
        if isinstance(step, Resource):
            if given != ["returns"] or sleeps:
                raise UsageError(f"a resource is faked by its value: env.fake({step.name}, returns=…)")
            self._provided[step] = returns
            return
        fn = _fn_of(step)
        if len(given) > 1:
            raise UsageError(f"fake({step.name!r}): {' and '.join(given)} contradict each other; give one of them")
        wait = seconds(sleeps)
        if not given and not wait:
            raise UsageError(f"fake({step.name!r}) says nothing: give returns, raises, sequence, calls or sleeps")
        items = None if sequence is None else list(sequence)
        self._fakes[fn] = _Fake(step.name, None if returns is _UNSET else returns, raises, items, calls, wait)

    def calls(self, step: Step[..., Any]) -> list[StepCall]:
        """Every attempt at the step so far, of all runs, in the order in which they began; faked or not.

        >>> [call.arguments["city"] for call in env.calls(fetch)]
        ['Rome', 'Rome', 'Oslo']
        """
        return list(self._calls.get(_fn_of(step), ()))

    async def _around(self, call: "Call", real: Callable[[], Awaitable[Any]]) -> Any:
        loop = self._world.live().loop
        spec: StepSpec = call.lead
        args, kwargs = call.args, call.kwargs
        if isinstance(real, functools.partial):  # on a higher rung these are other arguments
            begin = cast("functools.partial[Any]", real)
            args, kwargs = begin.args, {name: value for name, value in begin.keywords.items() if name not in spec.uses}
        made = StepCall(_copied(spec, args, kwargs), call.attempt, call.run.id, str(call.step), loop.wall())
        self._calls.setdefault(spec.fn, []).append(made)
        fake = self._fakes.get(spec.fn)
        body: Callable[[], Awaitable[Any]] = cast("Any", real) if fake is None else lambda: fake(args, kwargs)
        return await (body() if self._hook is None else self._hook.around(call, body))

    def _stand_in(self, resource: Resource[Any]) -> tuple[Any] | None:
        if resource in self._provided:
            return (self._provided[resource],)
        spec: StepSpec | None = getattr(HERE.get(), "lead", None)
        return (None,) if spec is not None and spec.fn in self._fakes else None

    # Runs

    def run(self, flow: Flow[P, Any], *args: P.args, **kwargs: P.kwargs) -> RunRecord:
        """Run a flow to its end, or until nothing is left that could move it.

        It does not raise when the flow fails: ask the record, or ``record.unwrap()``.

        Raises:
            UsageError: this is no flow, or is called from a running event loop.
            NothingCrashed: the place that ``crash_at`` names was not reached.
            Deadlock: something goes on without an end, or a thread takes too long.

        >>> env.run(order, 42).status
        'completed'
        """
        record = self._run(flow, args, kwargs)
        missed = " and ".join(trap.what for trap in self._world.traps if not trap.optional)
        self._world.traps.clear()
        if missed:
            raise NothingCrashed(f"nothing crashed: {missed} was never reached in\n{record.tree()}")
        return record

    def start(self, flow: Flow[P, Any], *args: P.args, **kwargs: P.kwargs) -> RunRecord:
        """Start a run, and let happen what happens without any time passing. Then ``advance``, and ask ``record``.

        >>> record = env.start(reminder)
        >>> env.advance("1d"); env.record(record).status
        'completed'
        """
        id = self._id_for(flow)
        used = self._used()

        async def scene(life: Life) -> RunRecord:
            found = await self._launch(life, flow, args, kwargs, id)
            await life.loop.settled()
            return self._look(life, found, used)

        return self._play(scene, id)

    def finish(self, run: RunRecord | str) -> RunRecord:
        """Let a run that was started go on to its end, or until nothing is left that could move it."""
        id = run if isinstance(run, str) else run.id

        async def scene(life: Life) -> RunRecord:
            await self._until_over(life, id)
            return self._look(life, id)

        return self._play(scene, id)

    def record(self, run: RunRecord | str) -> RunRecord:
        """A run as it stands now.

        Raises:
            UsageError: no run of this environment has the id.
        """
        return self._look(self._world.live(), run if isinstance(run, str) else run.id)

    def advance(self, duration: Duration) -> None:
        """Let virtual time pass, and everything happen that is due by then.

        >>> env.advance("1h30m")
        """
        until = self.now + seconds(duration)

        async def scene(life: Life) -> None:
            await asyncio.sleep(max(0.0, until - life.loop.time()))
            await life.loop.settled()

        self._play(scene, None)

    @property
    def now(self) -> float:
        """The virtual time, in seconds since the epoch."""
        return self._world.clock()

    def _run(self, flow: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> RunRecord:
        id = self._id_for(flow)
        used = self._used()

        async def scene(life: Life) -> RunRecord:
            found = await self._launch(life, flow, args, kwargs, id)
            await self._until_over(life, found)
            return self._look(life, found, used)

        return self._play(scene, id)

    def _play(self, scene: Callable[[Life], Any], id: str | None) -> Any:
        if self._closed:
            raise UsageError("this environment is closed")
        before = self._world.crashes
        try:
            played = self._world.play(scene)
        finally:
            if id is not None:
                self._deaths[id] = self._deaths.get(id, 0) + self._world.crashes - before
        return replace(played, crashes=self._deaths[id]) if isinstance(played, RunRecord) and id is not None else played

    def _id_for(self, flow: Any) -> str:
        if not isinstance(flow, Flow):
            what = "a step; it runs in a flow, or call it by itself" if isinstance(flow, Step) else repr(flow)
            raise UsageError(f"run() and start() take a @flow, and this is {what}")
        self._count += 1
        given: str | None = cast("Any", flow)._options.id
        return given if given is not None else f"{self._prefix}-{self._count}"

    @staticmethod
    async def _launch(life: Life, flow: Any, args: Any, kwargs: Any, id: str) -> str:
        """Start a run; gives the id of the one that was there already, if it is for the same event."""
        ticket = await life.engine.launch(flow.spec, args, kwargs, flow._options._replace(id=id), wait=True)
        return ticket.id

    async def _until_over(self, life: Life, id: str) -> None:
        loop, engine = life.loop, life.engine
        over: Any = loop.create_future()

        def ended(status: Status, result: bytes | None) -> None:
            if not over.done():
                over.set_result(None)

        row = await engine.row(id)
        if row.status.terminal:
            return
        engine.follow(id, ended)
        still = loop.stillness()
        still.add_done_callback(lambda still: still.cancelled() or ended(Status.RUNNING, None))
        try:
            await over
        finally:
            engine.unwatch(id, ended)
            still.cancel()

    # Records

    def _look(self, life: Life, id: str, used: Mapping[Any, int] | None = None) -> RunRecord:
        loaded = self._world.disk._load(id)  # pyright: ignore[reportPrivateUsage]
        if loaded is None:
            raise UsageError(f"no run of this environment has the id {id!r}")
        row, entries = loaded
        artifacts = self._world.artifacts
        children = self._world.disk._find(Query(parent=id, limit=100_000))  # pyright: ignore[reportPrivateUsage]
        told = timeline(row, entries, children[::-1], artifacts.fetch)
        unused = () if used is None else tuple(f.name for fn, f in self._fakes.items() if f.used == used.get(fn, 0))
        return record_of(
            told,
            result=self._result(row) if row.status is Status.COMPLETED else None,
            now=self.now,
            children=lambda child: self._look(life, child),
            order=lambda step: self._world.began.get((id, step), math.inf),
            crashes=self._deaths.get(id, 0),
            waits=_waits(life, row),
            unused=unused,
        )

    def _result(self, row: Row) -> Any:
        return FLOWS[row.flow].output.decode(self._world.artifacts.fetch(row.result) or b"")

    def _used(self) -> dict[Any, int]:
        return {fn: fake.used for fn, fake in self._fakes.items()}

    # From outside

    def questions(self, run: RunRecord | str | None = None, *, open: bool = True) -> list[Question]:
        """What runs here ask people, oldest first.

        Args:
            run: only what this one asks.
            open: only what waits for an answer.

        >>> [question.text for question in env.questions()]
        ['Refund 900 €?']
        """

        async def scene(life: Life) -> list[Question]:
            return await inbox.questions(run=_id_of(run), open=open, limit=100_000, store=life.mount)

        return self._play(scene, None)

    def answer(self, question: Question | RunRecord | str, value: Any, *, by: str = "test") -> None:
        """Answer a question, and let happen what happens without any time passing.

        Args:
            question: it, its id, or the record of a run that asks one question.

        Raises:
            UsageError: that run asks none, or several.
            InvalidAnswer, AlreadyDecided, UnknownQuestion: as ``segue.inbox.answer``.

        >>> record = env.run(refund, 900)
        >>> env.answer(record, True, by="ada"); env.record(record).status
        'completed'
        """
        if isinstance(question, RunRecord):
            asked = self.questions(question)
            if len(asked) != 1:
                some = "; ".join(f"{one.id}: {one.text}" for one in asked) or "none"
                raise UsageError(f"run {question.id} asks {len(asked)} questions: {some}. Give the one to answer")
            question = asked[0]
        id = question if isinstance(question, str) else question.id

        self._deliver(lambda life: inbox.answer(id, value, by=by, store=life.mount))

    def send(self, run: RunRecord | str, signal: str, value: Any = None) -> None:
        """Send a signal to a run, and let happen what happens without any time passing.

        >>> env.send(record, "paid", {"amount": 900})
        """
        self._deliver(lambda life: send_signal(life.mount, _id_of(run) or "", signal, value))

    def cancel(self, run: RunRecord | str, reason: str = "", *, by: str = "") -> None:
        """Cancel a run, and let happen what happens without any time passing.

        >>> env.cancel(record); env.record(record).status
        'cancelled'
        """
        self._deliver(lambda life: cancel_run(life.mount, _id_of(run) or "", by=by, why=reason))

    def _deliver(self, sending: Callable[[Life], Awaitable[Any]]) -> None:
        """Send something, once, however often the process dies of what follows, and let happen what happens."""
        sent = False

        async def scene(life: Life) -> None:
            nonlocal sent
            if not sent:
                await sending(life)
                sent = True
            life.engine.look_for_mail()
            await life.loop.settled()

        self._play(scene, None)

    # Crashes

    def crash_at(self, point: str, nth: int = 1) -> None:
        """The next run's process dies when it reaches this point for the n-th time; the run goes on in another one.

        Its record is of the whole. Called several times: each process dies at the next of these.

        Args:
            point: ``before-create``, ``after-create``: of the run. ``before-body``, ``after-body``: of each attempt of
                a step. ``before-commit``, ``in-commit``, ``after-commit``: of each batch of the journal.
                ``before-artifact``, ``after-artifact``: of a value beyond 256 KiB. ``before-claim``, ``after-claim``:
                of runs that wait for a worker, such as one that has slept for long. ``before-mail``, ``after-mail``:
                of an answer, a signal, a cancellation, or the end of the time for an answer. ``before-end``,
                ``after-end``: of the run.

        Raises:
            UsageError: there is no such point.

        >>> env.crash_at("after-body")  # charged, and nobody knows
        >>> env.run(order, 42).crashes
        1
        """
        if point not in crashpoints.POINTS:
            raise UsageError(f"there is no crash point {point!r}; there are {', '.join(sorted(crashpoints.POINTS))}")
        self._trap(Trap(point, nth, f"{point} for the {_nth(nth)} time" if nth > 1 else point))

    def crash_after(self, entries: int) -> None:
        """The next run's process dies when this many entries of the journal are on disk: ends of steps and timers.

        >>> env.crash_after(2)
        """
        self._trap(Trap("after", entries, f"the {_nth(entries)} entry of the journal"))

    def crash_before(self, entry: int) -> None:
        """The next run's process dies just before the n-th entry of the journal is written: what it tells of is done.

        >>> env.crash_before(2)
        """
        self._trap(Trap("before", entry, f"the {_nth(entry)} entry of the journal"))

    def plan_crash(self, entry: int, *, written: bool) -> None:
        """As ``crash_after`` and ``crash_before``, but if the run does not get there it does not matter."""
        self._world.traps.append(Trap("after" if written else "before", entry, optional=True))

    @property
    def crashes(self) -> int:
        """How often a process has died here."""
        return self._world.crashes

    @property
    def written(self) -> int:
        """The entries that are in the journals of all runs; those that ``crash_after`` counts."""
        return self._world.disk.written()

    def _trap(self, trap: Trap) -> None:
        if isinstance(trap.left, bool) or trap.left < 1:
            raise UsageError(f"a crash is counted from 1, not {trap.left!r}")
        self._world.traps.append(trap)

    # The end

    def close(self) -> None:
        """Let go of everything. Runs that have not ended are given up."""
        if not self._closed:
            self._closed = True
            self._world.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fn_of(step: Any) -> Any:
    if isinstance(step, Step):
        return cast("Step[..., Any]", step).fn
    if isinstance(step, Flow):
        raise UsageError(f"{cast('Flow[..., Any]', step).name!r} is a flow: fake the steps that it calls")
    name = getattr(step, "__name__", None) or repr(step)
    hint = "it is not declared with @step" if callable(step) else "it is no step at all"
    raise UsageError(f"a fake stands in for a @step, and {name!r} is none: {hint}. Give the step as the flow calls it")


def _id_of(run: RunRecord | str | None) -> str | None:
    return run.id if isinstance(run, RunRecord) else run


def _copied(spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        named = spec.inputs.named(args, kwargs)
    except TypeError:
        named = dict(kwargs)
    copies: dict[str, Any] = {}
    for name, value in named.items():
        try:
            copies[name] = copy.deepcopy(value)
        except Exception:  # a client, a lock: what cannot be copied is shown itself
            copies[name] = value
    return copies


def _waits(life: Life, row: Row) -> tuple[str, ...]:
    """What a run waits for that has not ended."""
    if row.status.terminal:
        return ()
    run = life.engine.runs.get(row.id)
    if run is not None:
        return tuple(run._waiting)  # pyright: ignore[reportPrivateUsage]
    return (row.reason,) if row.reason is not None else ()
