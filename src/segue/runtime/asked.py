"""What a flow waits for by identity: a step, a child run, a timer. Each begins, ends as an entry, and is delivered."""

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from segue.core.entries import Entry, Kind
from segue.core.ladder import Again, decide
from segue.core.lifecycle import Status
from segue.errors import (
    CorruptRecord,
    Failure,
    RunCancelled,
    RunFailed,
    RunTimedOut,
    StepFailed,
    StepTimedOut,
    UnawaitedCall,
    Unstorable,
)
from segue.runtime import crashpoints
from segue.runtime.calls import UnwantedResult, refuse_unwanted, worth_it
from segue.runtime.context import HERE
from segue.runtime.failures import failure_of, message_of, read_failure, wait_asked
from segue.runtime.loop import Timer
from segue.runtime.resources import shelf_of_process
from segue.runtime.spec import FlowSpec, StepSpec
from segue.stores.artifacts import SPILL, Artifacts
from segue.types import StepId
from segue.values import encode

if TYPE_CHECKING:
    from segue.runtime.run import Run

log = logging.getLogger("segue")

GRACE = 5.0
"""Seconds that a body gets to end after it was cancelled or ran out of time, before it is given up."""


_FIXED = frozenset({int, float, str, bytes, bool, type(None), complex})
"""Types whose values nobody can change."""


class ChangedArgument(Exception):
    """A step changed what the flow gave it."""


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


def _give(future: "asyncio.Future[Any]", run: "Run", spec: StepSpec | FlowSpec, entry: Entry) -> None:
    """The flow gets a recorded result, or learns that it cannot be read any more."""
    try:
        future.set_result(run.decoded(spec.output.decode, entry))
    except (Unstorable, CorruptRecord) as error:
        future.set_exception(error)


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
        "live",
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
        self.future: asyncio.Future[Any] = asyncio.Future(loop=run.loop)
        self.attempt = self.live = 0
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
        if failed := self.run.tape.failed.get(self.step):
            self.attempt, self.began = len(failed), failed[0].started
            self.recorded_input = True
            last = read_failure(failed[-1].output)
            self._after_failure(last, None, again_at=failed[-1].ended)
        else:
            self._attempt()

    def _attempt(self) -> None:
        run = self.run
        self.handle = None
        self.attempt += 1
        self.live = self.attempt
        self.stopping, self.entered = None, False
        self.started = run.engine.clock()
        if not self.began:
            self.began = self.started
        context = run.engine.context.copy()
        context.run(HERE.set, self)
        self.task = run.engine.ambient.create_task(self._body(self.attempt), context=context)
        if self.spec.limited and (not self.spec.uses or self.spec.form == "process"):
            self._limit()
        if run.engine.watchers:
            run.engine.tell("attempt", run, step=self.step, attempt=self.attempt, input=self.input)

    def _limit(self) -> None:
        """Start the clock of the attempt."""
        limit = self.spec.timeout.left(self.run.engine.clock() - self.began)
        if limit is not None:
            self.handle = self.run.engine.ambient.call_later(limit, self._stop, "timeout")

    async def _body(self, attempt: int) -> None:
        self.entered = True
        kwargs = self.kwargs
        try:
            if self.spec.uses and self.spec.form != "process":
                kwargs = {**await self._resources(), **kwargs}
                self._limit()  # loading a shared model is not the step's time
            if self.run.cautious or len(self.input) > SPILL:
                await self._prepare()
            if crashpoints.armed:
                crashpoints.reach("before-body")
            if self.run.engine.around is None:
                value = await self.spec.begin(*self.args, **kwargs)
            else:
                value = await self.run.engine.around(self, partial(self.spec.begin, *self.args, **kwargs))
            if crashpoints.armed:
                crashpoints.reach("after-body")
            if self.live != attempt:  # it was given up, and another attempt may be under way
                return
            if self.stopping == "timeout":
                raise TimeoutError
            if self.handle is not None:
                self._clear()  # it was in time, however long the record of it takes
            if not self.spec.owns_arguments:
                self._check_unchanged()
            if self.spec.retry.if_result is not None:
                refuse_unwanted(self.spec.retry, value)
            data, self.value = self.spec.output.encode(value)
            if len(data) > SPILL:
                data = await self._spilled(data)
        except BaseException as error:
            if self.live == attempt:
                self._failed(error)
            return
        if not self.over:
            self._end(Kind.OK, data)

    def _check_unchanged(self) -> None:
        """The flow's own objects are the step's arguments: changes to them would be missing when it is replayed."""
        for value in (*self.args, *self.kwargs.values()):
            if type(value) not in _FIXED:
                if not self.spec.inputs.same(self.input, self.spec.inputs.encode(self.args, self.kwargs)):
                    raise ChangedArgument(
                        f"step {self.spec.name!r} changed an argument in place; after a crash the flow would not have "
                        "the change. Return the new value, or change a copy"
                    )
                return

    async def _resources(self) -> dict[str, Any]:
        uses, process = self.spec.uses, shelf_of_process()
        engine = self.run.engine.shelf
        return {name: await (engine if used.scope == "worker" else process).get(used) for name, used in uses.items()}

    async def _prepare(self) -> None:
        """What must be on disk before the body runs: a long input, and a trace if the last worker died."""
        run = self.run
        if len(self.input) > SPILL:
            await self._spilled(self.input)
        if run.cautious:
            run.submit(Kind.START, self.step, self.attempt, self.started, self._unrecorded_input(), None)
            await run.durable()

    async def _spilled(self, data: bytes) -> bytes:
        return await self.run.engine.spilled(data)

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

    def _after_failure(self, failure: Failure, error: BaseException | None, again_at: float | None = None) -> None:
        """Climb the ladder: another attempt, or the step's end.

        Args:
            again_at: when the failed attempt ended, if it was recorded by an earlier worker.
        """
        run, spec = self.run, self.spec
        now = run.engine.clock()
        verdict = decide(
            spec.retry,
            self.attempt,
            worth_it=_worth_it(spec, error),
            elapsed=now - self.began,
            total=spec.timeout.total,
            chance=run.engine.chance(),
            retry_after=failure.retry_after if error is None else wait_asked(error),
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
        self.live = 0
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
        if self.handle is not None:
            self._clear()
        run = self.run
        run.record(kind, self.step, self.attempt, self.started, self._unrecorded_input(), data)
        if run.engine.watchers:
            run.engine.tell("step", run, step=self.step, attempt=self.attempt, kind=kind, data=data)

    def deliver(self, entry: Entry) -> None:
        future = self.future
        if future.done():
            return
        if entry.kind is Kind.OK:
            if self.over:
                future.set_result(self.value)
            else:
                _give(future, self.run, self.spec, entry)
        elif entry.kind is Kind.ERROR:
            failure = read_failure(entry.output)
            kind = StepTimedOut if failure.type == "StepTimedOut" else StepFailed
            future.set_exception(kind(self.step, entry.attempt, failure))
        else:
            future.cancel()


def _worth_it(spec: StepSpec, error: BaseException | None) -> bool:
    if error is None:  # only its record is left: it was worth a retry then, or no further attempt would be due
        return True
    if isinstance(error, Unstorable | UnawaitedCall):  # will not be storable next time either
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
        engine.children.start(self)

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
        run.record(kind, self.step, 1, self.started, input, result)
        if run.engine.watchers:
            run.engine.tell("step", run, step=self.step, attempt=1, kind=kind, data=result)

    def cancel(self) -> None:
        self.stopping = True
        if self.started:
            self.run.engine.children.cancel(self.id)
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
            _give(future, self.run, self.spec, entry)
        elif entry.kind is Kind.ERROR:
            future.set_exception(run_error(self.id, self.spec.name, read_failure(entry.output)))
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
        run.record(Kind.TIMER, self.step, 0, self.when, None, None)

    def deliver(self, entry: Entry) -> None:
        self.run.loop.soon(self.timer)

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
            if self.run.engine.watchers:
                self.run.engine.tell("timer", self.run, step=self.step, when=None)

    give_up = cancel
