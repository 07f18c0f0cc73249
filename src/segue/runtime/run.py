"""One run in memory: its flow's code on a loop of its own, and the steps it has asked for.

The way of a step: the flow awaits it (``ask``), which looks it up on the tape. If it is new it starts, once everything
submitted before it is durable (``start``). When its body ends, an entry is submitted (``end``) and queued; ``pump``
hands entries to the flow one at a time, settling it in between, and whatever the flow asks for next starts over here.
The flow may see a result before it is durable, since a flow has no effects of its own; steps, which have, wait.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from segue.core.branches import name_of
from segue.core.entries import Entry, Kind
from segue.core.ladder import Again, decide
from segue.core.lifecycle import Event, Status, move
from segue.core.replay import Found, Tape
from segue.errors import (
    CorruptRecord,
    Divergence,
    Failure,
    NotInFlow,
    RunCancelled,
    RunFailed,
    RunTimedOut,
    StepFailed,
    StepTimedOut,
    Unstorable,
)
from segue.runtime import crashpoints
from segue.runtime.calls import refuse_unwanted, wait_asked, worth_it
from segue.runtime.context import HERE, Place
from segue.runtime.failures import failure_of, message_of
from segue.runtime.loop import RunLoop, Timer
from segue.runtime.spec import FlowSpec, StepSpec
from segue.stores.artifacts import SPILL, Artifacts
from segue.stores.base import Change, NewRun, Row
from segue.types import StepId
from segue.values import as_json, encode, plain

if TYPE_CHECKING:
    from segue.runtime.engine import Engine

log = logging.getLogger("segue")

GRACE = 5.0
"""Seconds that a body gets to end after it was cancelled or ran out of time, before it is given up."""

PARK_AFTER = 30.0
"""A run that has nothing to do for so many seconds leaves memory."""


class Asked(Protocol):
    """Something that the flow waits for by identity."""

    step: StepId

    def deliver(self, entry: Entry) -> None:
        """Its recorded end is there: let the flow have it."""
        ...

    def start(self) -> None:
        """It is new: begin."""
        ...

    def cancel(self) -> None:
        """The flow does not want it any more: stop, and record that."""
        ...

    def give_up(self) -> None:
        """The run leaves memory: stop, and record nothing."""
        ...


def decode_failure(data: bytes | None) -> Failure:
    """A recorded failure."""
    fields = plain(data) or ["Unknown", "", "", [], None, ""]
    return Failure(*fields[:3], tuple(fields[3]), *fields[4:])


class Call:
    """A step that the flow has asked for: its attempts, until it ends."""

    __slots__ = (
        "args",
        "attempt",
        "began",
        "entered",
        "future",
        "handle",
        "input",
        "kwargs",
        "over",
        "recorded",
        "recorded_input",
        "run",
        "spec",
        "started",
        "step",
        "stopping",
        "task",
        "value",
    )
    in_flow = False

    def __init__(self, run: "Run", spec: StepSpec, step: StepId, args: Any, kwargs: Any, input: bytes) -> None:
        self.run, self.spec, self.step = run, spec, step
        self.args, self.kwargs, self.input = args, kwargs, input
        self.future: asyncio.Future[Any] = run.loop.create_future()
        self.attempt = 0
        self.began = self.started = 0.0
        self.task: asyncio.Task[None] | None = None
        self.handle: asyncio.TimerHandle | None = None
        self.stopping: str | None = None  # why the body is being cancelled: "cancelled" or "timeout"
        self.entered = self.over = self.recorded = self.recorded_input = False
        self.value: Any = None

    @property
    def artifacts(self) -> Artifacts:
        return self.run.engine.artifacts

    # What the run asks of it

    def start(self) -> None:
        if failed := self.run.tape.failed_attempts(self.step):
            self.attempt, self.began = len(failed), failed[0].started
            self.recorded_input = True
            last = decode_failure(failed[-1].output)
            self._after_failure(last, Unstored(last), again_at=failed[-1].ended)
        else:
            self._attempt()

    def _attempt(self) -> None:
        run = self.run
        self.handle = None
        self.attempt += 1
        self.stopping, self.entered = None, False
        self.started = run.engine.clock()
        if not self.began:
            self.began = self.started
        context = copy_context()
        context.run(HERE.set, self)
        self.task = run.engine.ambient.create_task(self._body(), context=context)
        limit = self.spec.timeout.attempt
        if self.spec.timeout.total is not None:
            left = max(0.0, self.spec.timeout.total - (self.started - self.began))
            limit = left if limit is None else min(limit, left)
        if limit is not None:
            self.handle = run.engine.ambient.call_later(limit, self._stop, "timeout")
        if run.engine.watchers:
            run.engine.tell("attempt", run, step=self.step, attempt=self.attempt, input=self.input)

    async def _body(self) -> None:
        self.entered = True
        try:
            if self.run.cautious or len(self.input) > SPILL:
                await self._prepare()
            if crashpoints.armed:
                crashpoints.reach("before-body")
            value = await self.spec.begin(*self.args, **self.kwargs)
            if crashpoints.armed:
                crashpoints.reach("after-body")
            if self.stopping == "timeout":
                raise TimeoutError
            if self.spec.retry.if_result is not None:
                refuse_unwanted(self.spec.retry, value)
            data, self.value = self.spec.output.encode(value)
            if len(data) > SPILL:
                data = await self._spilled(data)
        except BaseException as error:
            self._failed(error)
            return
        if not self.over:
            self._end(Kind.OK, data)

    async def _prepare(self) -> None:
        """What must be on disk before the body runs: a long input, and a trace if the last worker died."""
        run = self.run
        if len(self.input) > SPILL:
            await self._spilled(self.input)
        if run.cautious:
            run.submit(Kind.START, self.step, self.attempt, self.started, self._unrecorded_input(), None)
            await run.durable()

    async def _spilled(self, data: bytes) -> bytes:
        return await self.run.engine.aside.submit(lambda: self.artifacts.spill(data)) or data

    def _failed(self, error: BaseException) -> None:
        if self.over:
            return
        if self.stopping == "cancelled":
            note = "" if isinstance(error, asyncio.CancelledError) else message_of(error)
            self._end(Kind.CANCELLED, encode(note, "note"))
        elif self.stopping == "timeout" and isinstance(error, asyncio.CancelledError | TimeoutError):
            self._timed_out("its thread is still running" if self.spec.form == "thread" else "")
        else:
            note = ""
            if isinstance(error, asyncio.CancelledError):
                note = "the step cancelled itself"
            self._after_failure(failure_of(error, note), error)

    def _timed_out(self, note: str) -> None:
        allowed = self.spec.timeout
        spent = self.run.engine.clock() - self.began
        if allowed.total is not None and spent >= allowed.total:
            said = f"no result within {allowed.total:g} s, all attempts together"
        else:
            said = f"no result within {allowed.attempt:g} s"
        if note:
            log.warning("step %r of run %s: %s, and %s", self.step, self.run.id, said, note)
        error = TimeoutError(said)
        kinds = ("builtins.TimeoutError", "builtins.OSError", "builtins.Exception", "builtins.BaseException")
        self._after_failure(Failure("StepTimedOut", said, kinds=kinds, note=note), error)

    def _after_failure(self, failure: Failure, error: BaseException, again_at: float | None = None) -> None:
        """Climb the ladder: another attempt, or the step's end.

        Args:
            again_at: when the failed attempt ended, if it was recorded by an earlier worker.
        """
        run, spec = self.run, self.spec
        now = run.engine.clock()
        verdict = decide(
            spec.retry,
            self.attempt,
            worth_it=error.worth_it(spec) if isinstance(error, Unstored) else worth_it_here(spec, error),
            elapsed=now - self.began,
            total=spec.timeout.total,
            chance=run.engine.chance(),
            retry_after=failure.retry_after if again_at is not None else wait_asked(error),
        )
        if not isinstance(verdict, Again):
            self._end(Kind.ERROR, encode(failure, "failure"))
            return
        self._clear()
        if again_at is None:
            data = encode(failure, "failure")
            run.submit(Kind.ATTEMPT, self.step, self.attempt, self.started, self._unrecorded_input(), data)
            again_at = now
        if run.engine.watchers:
            run.engine.tell("retry", run, step=self.step, attempt=self.attempt, failure=failure, delay=verdict.delay)
        self.handle = run.engine.ambient.call_later(max(0.0, again_at + verdict.delay - now), self._attempt)
        run.wake()

    def _stop(self, why: str) -> None:
        """Ask the body to end; if it is deaf, give it up after a while."""
        self._clear()
        self.stopping = why
        if self.task is None or not self.entered:  # it waits for a retry, or has not begun: nothing can end it but us
            if self.task is not None:
                self.task.cancel()
            self._failed(asyncio.CancelledError())
            return
        self.task.cancel()
        self.handle = self.run.engine.ambient.call_later(GRACE, self._deaf)

    def _deaf(self) -> None:
        note = f"it did not stop within {GRACE:g} s and is still running"
        if self.stopping == "timeout":
            self.task = None
            self._timed_out(note)
        else:
            self._end(Kind.CANCELLED, encode(note, "note"))

    def cancel(self) -> None:
        if not self.over and self.stopping != "cancelled":
            self._stop("cancelled")

    def give_up(self) -> None:
        self.over = True
        self._clear()
        if self.task is not None and not self.task.done():
            self.task.cancel()

    def _clear(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None

    def _unrecorded_input(self) -> bytes | None:
        if self.recorded_input:
            return None
        self.recorded_input = True
        return self.run.engine.artifacts.reference(self.input)

    def _end(self, kind: Kind, data: bytes) -> None:
        if self.over:
            return
        self.over = True
        self._clear()
        run = self.run
        run.tape.record(
            run.submit(kind, self.step, self.attempt, self.started, self._unrecorded_input(), data)
        )
        if run.engine.watchers:
            run.engine.tell("step", run, step=self.step, attempt=self.attempt, kind=kind, data=data)
        run.wake()

    def deliver(self, entry: Entry) -> None:
        future = self.future
        if future.done():
            return
        if entry.kind is Kind.OK:
            try:
                future.set_result(self.value if self.over else self.run.decoded(self.spec.output.decode, entry))
            except (Unstorable, CorruptRecord) as error:
                future.set_exception(error)
        elif entry.kind is Kind.ERROR:
            failure = decode_failure(entry.output)
            kind = StepTimedOut if failure.type == "StepTimedOut" else StepFailed
            future.set_exception(kind(self.step, entry.attempt, failure))
        else:
            future.cancel()


class Unstored(Exception):
    """Stands for an error of which only the record is left."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure

    def worth_it(self, spec: StepSpec) -> bool:
        """It was worth a retry when it happened, or no further attempt would have been due."""
        return True


def worth_it_here(spec: StepSpec, error: BaseException) -> bool:
    """As ``worth_it``; a value that cannot be stored will not be storable next time."""
    from segue.runtime.calls import UnwantedResult

    if isinstance(error, Unstorable):
        return False
    return isinstance(error, UnwantedResult) or worth_it(spec.retry, error)


class ChildCall:
    """A flow that the flow has asked for: a run of its own."""

    in_flow = False

    def __init__(self, run: "Run", spec: FlowSpec, step: StepId, id: str, input: bytes, options: Any) -> None:
        self.run, self.spec, self.step, self.id, self.input, self.options = run, spec, step, id, input, options
        self.future: asyncio.Future[Any] = run.loop.create_future()
        self.started = 0.0
        self.over = self.recorded = self.stopping = False

    def start(self) -> None:
        engine = self.run.engine
        self.started = engine.clock()
        if engine.watchers:
            engine.tell("child", self.run, step=self.step, id=self.id, flow=self.spec.name, input=self.input)
        engine.start_child(self)

    def ended(self, status: Status, result: bytes | None) -> None:
        """The child run has ended: that is an entry of its parent."""
        if self.over:
            return
        self.over = True
        kind = {Status.COMPLETED: Kind.OK, Status.CANCELLED: Kind.CANCELLED}.get(status, Kind.ERROR)
        if kind is Kind.CANCELLED and not self.stopping:
            kind = Kind.ERROR
        run = self.run
        input = run.engine.artifacts.reference(self.input)
        run.tape.record(run.submit(kind, self.step, 1, self.started, input, result))
        if run.engine.watchers:
            run.engine.tell("step", run, step=self.step, attempt=1, kind=kind, data=result)
        run.wake()

    def cancel(self) -> None:
        self.stopping = True
        if self.started:
            self.run.engine.cancel_child(self.id)
        elif self.run.new:  # it has not begun; else it may have, under an earlier worker, and is looked up first
            self.started = self.run.engine.clock()
            self.ended(Status.CANCELLED, encode("it had not begun", "note"))

    def give_up(self) -> None:
        self.over = True
        self.run.engine.unwatch(self.id, self.ended)

    def deliver(self, entry: Entry) -> None:
        future = self.future
        if future.done():
            return
        if entry.kind is Kind.OK:
            try:
                future.set_result(self.run.decoded(self.spec.output.decode, entry))
            except (Unstorable, CorruptRecord) as error:
                future.set_exception(error)
        elif entry.kind is Kind.ERROR:
            future.set_exception(run_error(self.id, self.spec.name, decode_failure(entry.output)))
        else:
            future.cancel()


def run_error(id: str, flow: str, failure: Failure) -> RunFailed:
    """The error that a run's failure is raised as."""
    kinds = {"RunTimedOut": RunTimedOut, "RunCancelled": RunCancelled}
    return kinds.get(failure.type, RunFailed)(id, flow, failure)


class FlowTimer:
    """A durable timer of the flow, and the real one that will fire it."""

    def __init__(self, run: "Run", timer: Timer, step: StepId) -> None:
        self.run, self.timer, self.step = run, timer, step
        self.handle: asyncio.TimerHandle | None = None

    @property
    def when(self) -> float:
        return self.timer.when()

    def start(self) -> None:
        engine = self.run.engine
        self.handle = engine.ambient.call_later(max(0.0, self.when - engine.clock()), self._fire)
        if engine.watchers:
            engine.tell("timer", self.run, step=self.step, when=self.when)

    def _fire(self) -> None:
        run = self.run
        self.handle = None
        if run.engine.watchers:
            run.engine.tell("timer", run, step=self.step, when=None)
        run.tape.record(run.submit(Kind.TIMER, self.step, 0, self.when, None, None))
        run.wake()

    def deliver(self, entry: Entry) -> None:
        self.run.loop.soon(self.timer)

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
            if self.run.engine.watchers:
                self.run.engine.tell("timer", self.run, step=self.step, when=None)

    give_up = cancel


class Run:
    """One run in memory.

    Args:
        row: the run as created or claimed.
        entries: its journal.
        new: it was created here a moment ago: nothing of it can exist elsewhere.
    """

    in_flow = True

    def __init__(self, engine: "Engine", spec: FlowSpec, row: Row, entries: list[Entry], *, new: bool) -> None:
        self.engine, self.spec, self.row, self.new = engine, spec, row, new
        self.id = row.id
        self.tape = Tape(entries)
        self.tape.time = max(self.tape.time, row.started or row.created)
        self.cautious = row.losses > 0
        self.loop = RunLoop(self, row.started or row.created)
        self.root = Place(self)
        self.submitted = self.stored = 0
        self.status = Status.RUNNING
        self._waiting: dict[StepId, Asked] = {}
        self._held: deque[tuple[int, Asked]] = deque()
        self._barriers: list[tuple[int, asyncio.Future[None]]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._numbered = 0
        self._prune_at = 64
        self._main: asyncio.Task[Any] | None = None
        self._leaving = False
        self._closed = False
        self._cancelled: str | None = None
        self._diverged: Divergence | None = None
        self._result: tuple[Status, bytes] | None = None
        self.error: BaseException | None = None
        self.creator: Any = None

    # Beginning

    def begin(self) -> None:
        """Create the flow's main task; it runs at the next pump."""
        try:
            args, kwargs = self.spec.inputs.decode(self.engine.artifacts.fetch(self.row.input) or b"")
        except Exception as error:
            self._finish(Status.FAILED, error)
            return
        context = copy_context()
        context.run(HERE.set, self.root)
        coro = self._guarded(args, kwargs) if self.row.timeout is not None else self.spec.fn(*args, **kwargs)
        from segue.runtime.loop import FlowTask

        self._main = task = FlowTask(coro, loop=self.loop, context=context)
        task.number = self.adopt(task)

    async def _guarded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place = Place(self, "@timeout")  # its timer must not count among the flow's own
        root = HERE.get()
        HERE.set(place)
        limit = asyncio.timeout(self.row.timeout)
        try:
            async with limit:
                HERE.set(root)
                return await self.spec.fn(*args, **kwargs)
        except TimeoutError as error:
            if limit.expired():
                raise RunTimedOut(
                    self.id, self.spec.name, Failure("RunTimedOut", f"no result within {self.row.timeout:g} s")
                ) from error
            raise

    # What the flow's code asks for

    def ask(self, here: Place, spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """The flow awaits a step."""
        self._check_home()
        input = spec.inputs.encode(args, kwargs)
        call = Call(self, spec, here.identify(spec.name), args, kwargs, input)
        self._look_up(call, input, spec.inputs.same)
        return call

    def ask_child(
        self, here: Place, spec: FlowSpec, args: tuple[Any, ...], kwargs: dict[str, Any], options: Any
    ) -> ChildCall:
        """The flow awaits another flow."""
        self._check_home()
        input = spec.inputs.encode_typed(args, kwargs)
        step = here.identify(spec.name)
        digest = hashlib.blake2b(f"{self.id}\0{step}".encode(), digest_size=8).hexdigest()
        call = ChildCall(self, spec, step, options.id or f"{self.id[:40]}.{digest}", input, options)
        self._look_up(call, input, spec.inputs.same)
        return call

    def _check_home(self) -> None:
        if self._closed:
            raise asyncio.CancelledError
        if asyncio._get_running_loop() is not self.loop:  # pyright: ignore[reportPrivateUsage]
            raise NotInFlow(
                f"a step of run {self.id} was called from another thread or loop than its flow's. Call it in the "
                "flow's own body, or call its raw function, step.fn, here"
            )

    def _look_up(self, asked: Any, input: bytes, same: Callable[[bytes, bytes], bool]) -> None:
        step: StepId = asked.step
        artifacts = self.engine.artifacts
        reference = artifacts.reference(input)
        found = self.tape.ask(step, reference)
        if found is Found.DIVERGED:
            recorded = artifacts.fetch(self.tape.recorded_input(step)) or b""
            if same(recorded, input):
                found = self.tape.ask(step, self.tape.recorded_input(step))
            elif self.spec.divergence == "rerun":
                self.tape.forget(step)
                found = Found.NEW
            else:
                self._diverge(
                    f"step {step!r} is asked for with {show(input)}, and was recorded with {show(recorded)}"
                )
        self._waiting[step] = asked
        asked.recorded = found is Found.RECORDED
        if found is Found.NEW:
            self._held.append((self.submitted, asked))

    def _diverge(self, what: str) -> NoReturn:
        changes: list[str] = []
        if self.row.code != self.spec.code:
            changes.append(f"the flow's code changed since ({self.row.code} → {self.spec.code})")
        if self.row.version != self.spec.version:
            changes.append(f"its version changed ({self.row.version!r} → {self.spec.version!r})")
        why = "; ".join(changes) or "its code is the same, so it must read something that changes: a clock, a global"
        error = Divergence(
            f"run {self.id} of {self.spec.name!r} diverged: {what}. {why[0].upper()}{why[1:]}. "
            "Undo the change, or declare @flow(on_divergence='rerun') to run such steps again"
        )
        self._diverged = self._diverged or error
        raise error

    async def await_call(self, call: "Call | ChildCall") -> Any:
        """The flow's side of a step: its result, its failure, or its end after a cancellation."""
        try:
            return await call.future
        except asyncio.CancelledError:
            if self._closed or (call.future.done() and not call.future.cancelled()):
                raise
        # A cancelled step's end is an entry too, and the flow waits for it: an undo must not overtake a live effect.
        if not call.recorded:
            call.cancel()
        while call.step in self._waiting and not self._closed:
            call.future = self.loop.create_future()
            try:
                await call.future
            except asyncio.CancelledError:
                continue
            except Exception:
                break
        raise asyncio.CancelledError

    # What the loop asks of its run

    def arm(self, timer: Timer) -> None:
        """The flow sets a timer."""
        here = HERE.get()
        place = here if isinstance(here, Place) else self.root
        step = place.identify("@timer")
        timer.step = step
        asked = FlowTimer(self, timer, step)
        self._waiting[step] = asked
        if not self._closed and self.tape.ask(step, None) is Found.NEW:
            self._held.append((self.submitted, asked))

    def disarm(self, timer: Timer) -> None:
        """The flow cancels a timer."""
        asked = self._waiting.pop(timer.step, None)
        if asked is not None:
            asked.cancel()

    def adopt(self, task: "asyncio.Task[Any]") -> int:
        """Keep a task of the flow: what nothing refers to, the garbage collector would end at a random moment."""
        tasks = self._tasks
        tasks.append(task)
        if len(tasks) > self._prune_at:
            self._tasks = [task for task in tasks if not task.done()]
            self._prune_at = max(64, 2 * len(self._tasks))
        self._numbered += 1
        return self._numbered

    def report(self, context: dict[str, Any]) -> None:
        """Something went wrong in the flow that nobody awaits."""
        if not self._closed:
            error = context.get("exception")
            log.warning("run %s: %s", self.id, context.get("message", "error"), exc_info=error)

    # Writing

    def submit(
        self, kind: Kind, step: StepId, attempt: int, started: float, input: bytes | None, output: bytes | None
    ) -> Entry:
        """Append to the journal."""
        tape = self.tape
        tape.time = ended = max(tape.time, self.engine.clock())
        entry = Entry(tape.seq, kind, step, attempt, started, ended, input, output)
        tape.seq += 1
        self.engine.journal.write(self, entry)
        return entry

    def written(self, upto: int) -> None:
        self.stored = upto
        for mark, future in self._barriers:
            if mark <= upto and not future.done():
                future.set_result(None)
        if self._barriers:
            self._barriers = [barrier for barrier in self._barriers if barrier[0] > upto]
        if self._held:
            self.start_held()
        elif self._result is not None and upto == self.submitted:
            self.engine.finished(self, *self._result)

    async def durable(self) -> None:
        """Wait until all that was submitted so far is on disk."""
        if self.stored < self.submitted:
            future: asyncio.Future[None] = self.engine.ambient.create_future()
            self._barriers.append((self.submitted, future))
            self.engine.flush_soon()
            await future

    def refused(self, error: BaseException) -> None:
        self.close()
        self.engine.refused(self, error)

    def rejected(self, why: str) -> None:
        log.error("run %s leaves memory: another worker wrote to it (%s)", self.id, why)
        self.close()
        self.engine.dropped(self)

    # Moving on

    def wake(self) -> None:
        """There may be something to hand to the flow."""
        self.engine.wake(self)

    def pump(self) -> None:
        """Hand over what can be handed over, one entry at a time, until the flow has settled."""
        if self._closed or self._result is not None:
            return
        try:
            self._turn()
        except (KeyboardInterrupt, SystemExit) as error:
            self._finish(Status.FAILED, error)
        if self._result is None and not self._closed:
            self._held and self.start_held()

    def _turn(self) -> None:
        loop, tape, waiting = self.loop, self.tape, self._waiting
        while True:
            loop.drain()
            if self._diverged is not None:
                return self._finish(Status.FAILED, self._diverged)
            if self._main is None or (self._main.done() and self._all_over()):
                return self._conclude()
            entry = tape.next()
            if entry is None:
                break
            asked = waiting.pop(entry.step, None)
            loop.now = entry.ended
            if asked is not None:
                asked.deliver(entry)
        if not waiting:
            if self._main.done():
                return self._conclude()
            return self._finish(Status.FAILED, Stalled(
                "the flow waits for something that nothing will bring: no step, timer or child run is pending. "
                "It may wait for an Event, Queue or Future that only code outside the flow would set"
            ))
        return None

    def _all_over(self) -> bool:
        """Whether every task has ended. The flow has returned: the others are cancelled, as asyncio.run does."""
        alive = [task for task in self._tasks if not task.done()]
        if not alive:
            return True
        if not self._leaving:
            self._leaving = True
            for task in alive:
                task.cancel()
            self.loop.drain()
            return all(task.done() for task in alive)
        return False

    def start_held(self) -> None:
        """Start what the flow has asked for and nobody has recorded, as far as what led to it is durable."""
        held = self._held
        while held and held[0][0] <= self.stored:
            asked = held.popleft()[1]
            if self._waiting.get(asked.step) is not asked:
                continue
            if self.tape.replaying and isinstance(asked, Call | ChildCall):
                shift = self.tape.shifted(asked.step, self.engine.artifacts.reference(asked.input))
                if shift is not None and self.spec.divergence == "fail":
                    try:
                        self._diverge(
                            f"the call of {name_of(asked.step)!r} with {show(asked.input)} is {shift.asked!r} now and was "
                            f"recorded as {shift.recorded!r}: a task was added, removed or moved before it"
                        )
                    except Divergence as error:
                        return self._finish(Status.FAILED, error)
            asked.start()
        return None

    # Ending

    def cancel(self, why: str) -> None:
        """Cancel the run from outside: its main task gets a ``CancelledError``."""
        if self._main is not None and not self._main.done() and self._cancelled is None:
            self._cancelled = why
            self._main.cancel()
            self.wake()

    def _conclude(self) -> None:
        main = self._main
        if main is None:
            return
        if main.cancelled():
            failure = RunCancelled(self.id, self.spec.name, Failure("RunCancelled", self._cancelled or "it cancelled itself"))
            self._finish(Status.CANCELLED if self._cancelled else Status.FAILED, failure)
        elif (error := main.exception()) is not None:
            self._finish(Status.FAILED, error)
        else:
            try:
                data, _ = self.spec.output.encode(main.result())
            except Exception as error:
                self._finish(Status.FAILED, error)
            else:
                self._finish(Status.COMPLETED, None, data)

    def _finish(self, status: Status, error: BaseException | None, data: bytes = b"") -> None:
        """The run has ended: write that, and let go of what is left."""
        if error is not None:
            self.error = error
            failure = error.error if isinstance(error, RunFailed) and error.run == self.id else failure_of(error)
            data = encode(failure, "failure")
        event = {Status.COMPLETED: Event.COMPLETE, Status.FAILED: Event.FAIL}.get(status, Event.CANCEL)
        self.status = move(self.status, event)
        if crashpoints.armed:
            crashpoints.reach("before-end")
        if len(data) > SPILL:
            data = self.engine.artifacts.spill(data) or data
        self.close()
        self._result = (status, data)
        self.engine.journal.change(self, Change(self.id, status, None, None, data, max(self.tape.time, self.engine.clock())))

    def parkable(self, now: float) -> tuple[str, float | None, tuple[str, ...]] | None:
        """Whether nothing of this run happens here for a while: why, until when, and for which children."""
        if self._closed or self._held or not self._waiting or self.stored < self.submitted:
            return None
        if len(self._waiting) > 1000:
            return None
        due: float | None = None
        children: list[str] = []
        for asked in self._waiting.values():
            if isinstance(asked, FlowTimer):
                due = asked.when if due is None else min(due, asked.when)
            elif isinstance(asked, ChildCall) and not self.engine.is_local(asked.id):
                children.append(asked.id)
            else:
                return None
        if due is not None and due - now < PARK_AFTER:
            return None
        reason = f"waits for {len(children)} child run{'s' * (len(children) > 1)}" if children else "sleeps"
        return reason, due, tuple(children)

    def park(self, reason: str, due: float | None, children: tuple[str, ...]) -> None:
        """Leave memory until something is due."""
        self.status = move(self.status, Event.PARK)
        self.close()
        self.engine.journal.change(
            self, Change(self.id, Status.WAITING, reason, due if due is not None else 1e15, None, None, children)
        )

    def close(self) -> None:
        """Leave memory: stop what runs, and unwind the flow's tasks with steps refused, recording nothing."""
        if self._closed:
            return
        self._closed = True
        self._held.clear()
        for asked in list(self._waiting.values()):
            asked.give_up()
        self._waiting.clear()
        for _ in range(100):
            alive = [task for task in self._tasks if not task.done()]
            if not alive:
                break
            for task in alive:
                task.cancel()
            try:
                self.loop.drain()
            except (KeyboardInterrupt, SystemExit):
                continue
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()  # it has been seen
        self._waiting.clear()
        self.loop.clear()
        for _, future in self._barriers:  # whoever waits looks at what has become of the run
            if not future.done():
                future.set_result(None)

    def decoded(self, decode: Callable[[bytes], Any], entry: Entry) -> Any:
        """The value of a recorded result."""
        return decode(self.engine.artifacts.fetch(entry.output) or b"")

    def idempotency_key(self, step: StepId) -> str:
        """The same for every attempt and replay of this step, and for no other."""
        return hashlib.blake2b(f"{self.id}\0{step}".encode(), digest_size=16).hexdigest()


class Stalled(Exception):  # noqa: N818 - recorded as the run's failure, under this name
    """The flow waits for something that nothing will bring."""


def show(input: bytes) -> str:
    """An encoded input, short enough for an error."""
    try:
        text = as_json(plain(input)).decode()
    except Exception:
        text = repr(input)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text):,} characters)"


__all__ = ["Call", "ChildCall", "NewRun", "Run", "run_error"]
