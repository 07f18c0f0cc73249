"""A step that the flow has asked for: its way up the recovery ladder, until it ends.

Each attempt is a task on the user's loop. When it ends, ``core.ladder.decide`` says what follows: another attempt,
another rung, or the step's end, which is an entry of the run.
"""

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from segue.core.entries import Entry, Kind
from segue.core.ladder import Again, Climb, GiveUp, decide
from segue.errors import (
    CheckFailed,
    CorruptRecord,
    DeadlineTooClose,
    Failure,
    InvalidResult,
    StepFailed,
    StepTimedOut,
    UnawaitedCall,
    Unstorable,
    shortened,
)
from segue.outcomes import Outcome, missing
from segue.runtime import crashpoints
from segue.runtime.calls import UnwantedResult, refuse_unwanted, worth_it
from segue.runtime.context import HERE, Place
from segue.runtime.controlled import controlled
from segue.runtime.controls import BreakerOpen
from segue.runtime.drifting import Drifted, Monitor, Seen
from segue.runtime.failures import failure_of, message_of, read_failure, wait_asked
from segue.runtime.inquiries import Inquiry
from segue.runtime.judging import Good, judge, refuse_large, refuse_stale
from segue.runtime.keeping import NothingKept, cell_name
from segue.runtime.notes import PLAIN, Note, pack, unpack
from segue.runtime.resources import shelf_of_process
from segue.runtime.spec import Asking, StepSpec
from segue.stores.artifacts import SPILL, Artifacts
from segue.stores.base import Cell
from segue.types import StepId
from segue.values import as_json, encode, plain

if TYPE_CHECKING:
    from segue.runtime.run import Run

log = logging.getLogger("segue")

GRACE = 5.0
"""Seconds that a body gets to end after it was cancelled or ran out of time, before it is given up."""

_FIXED = frozenset({int, float, str, bytes, bool, type(None), complex})
"""Types whose values nobody can change."""


class ChangedArgument(Exception):
    """A step changed what the flow gave it."""


class Call:
    """A step that the flow has asked for.

    Attributes:
        rung: of the ladder, where it stands.
        tries: attempts on that rung.
        attempt: attempts on all rungs.
        last: the last failure.
        wanted: what the flow awaits: the value, or an ``Outcome``.
        inquiry: the question that a person has to decide, while there is one.
        unanswered: how many of those who were asked have let the time pass.
        refusal: the failure for which a person is asked.
        edited: a person has given it other arguments than the flow.
        misfit: why those do not fit, if they do not.
        monitor: of the drift of what is called now, if it is watched; asked at ``minded``, seconds since the epoch.
        probing: why what this attempt gives is only looked at, and not used.
    """

    __slots__ = (
        "args",
        "attempt",
        "began",
        "cause",
        "deadline",
        "edited",
        "entered",
        "future",
        "handle",
        "input",
        "inquiry",
        "kwargs",
        "last",
        "lead",
        "let_in",
        "live",
        "minded",
        "misfit",
        "monitor",
        "note",
        "over",
        "place",
        "probing",
        "recorded",
        "recorded_input",
        "refusal",
        "run",
        "rung",
        "rung_began",
        "spec",
        "started",
        "step",
        "stopping",
        "task",
        "tries",
        "unanswered",
        "value",
        "wanted",
    )
    in_flow = False

    def __init__(
        self, run: "Run", spec: StepSpec, step: StepId, place: Place, args: Any, kwargs: Any, input: bytes
    ) -> None:
        self.run, self.step, self.place = run, step, place
        self.spec = self.lead = spec
        self.args, self.kwargs, self.input = args, kwargs, input
        self.future: asyncio.Future[Any] = asyncio.Future(loop=run.loop)
        self.deadline = place.deadline
        if place.deadline is not None and run.past.pauses:
            self.deadline = place.deadline + run.past.pause(place.since)
        self.attempt = self.live = self.rung = self.tries = 0
        self.began = self.started = self.let_in = self.rung_began = self.minded = 0.0  # seconds since the epoch
        self.task: asyncio.Task[None] | None = None
        self.handle: asyncio.TimerHandle | None = None
        self.stopping: str | None = None  # why the body is being cancelled: "cancelled" or "timeout"
        self.entered = self.over = self.recorded = self.recorded_input = self.wanted = self.edited = False
        self.value: Any = None
        self.note = PLAIN
        self.last: Failure | None = None
        self.inquiry: Inquiry | None = None
        self.unanswered = 0
        self.refusal: Failure | None = None
        self.misfit: Unstorable | None = None
        self.monitor: Monitor | None = None
        self.probing: Drifted | None = None
        self.cause = ""  # how the step itself failed, where a fallback fails too

    @property
    def artifacts(self) -> Artifacts:
        return self.run.engine.artifacts

    async def answer(self) -> Any:
        """What the flow gets for it."""
        try:
            return await self.future
        except asyncio.CancelledError:
            await self.run.abandon(self)

    def edit(self, given: dict[str, Any]) -> None:
        """Take these arguments in place of the flow's: a person gave them when the run was redriven."""
        inputs, self.edited = self.spec.inputs, True
        parameters = inputs.signature.parameters
        if unknown := [name for name in given if name not in parameters]:
            said = f"it has no parameter {unknown[0]!r}; there are {', '.join(parameters)}"
            self.misfit = Unstorable(f"the edited input of step {self.spec.name!r}", "$", said)
            return
        try:
            named = {**inputs.named(self.args, self.kwargs), **inputs.convert(given)}
            self.args, self.kwargs = inputs.arranged(named)
        except Unstorable as error:
            self.misfit = error

    # What the run asks of it

    def start(self) -> None:
        if self.misfit is not None:
            self.attempt = 1
            self._end(Kind.ERROR, encode(failure_of(self.misfit), "failure"))
        elif failed := self.run.tape.failed.get(self.step):
            self._go_on(failed)
        elif self.spec.memo is not None:
            self._in_task(self._recall())
        else:
            self._attempt()

    def _go_on(self, failed: list[Entry]) -> None:
        """Take up the ladder where an earlier worker left it."""
        failures = [read_failure(entry.output) for entry in failed]
        self.attempt, self.recorded_input = len(failed), True
        # a person may have sent it back to a lower rung: what was before is over
        since = max((place for place, failure in enumerate(failures, 1) if failure.then < failure.rung), default=0)
        failed, failures, self.last = failed[since:], failures[since:], failures[-1]
        if not failures:
            self._climb(self.last.then)
            return
        last = failures[-1]
        pause = self.run.past.pause
        self.began = failed[0].started + pause(failed[0].seq)
        self.cause = next((str(failure) for failure in reversed(failures) if not failure.rung), "")
        self.rung = last.rung
        if max(last.then, last.rung) >= len(self.spec.rungs):  # the ladder has become shorter since
            self._end(Kind.ERROR, encode(last, "failure"))
            return
        self.refusal = next((failure for failure in reversed(failures) if failure.then > failure.rung), None)
        if last.then > last.rung:
            self._climb(last.then)
            return
        self.tries = sum(failure.rung == last.rung for failure in failures)
        first = next(e for e, f in zip(failed, failures, strict=True) if f.rung == last.rung)
        self.rung_began = first.started + pause(first.seq)
        rung = self.spec.rungs[self.rung]
        if rung.ask is not None:
            self.unanswered = sum(failure.type == "NoAnswer" for failure in failures)
            self._attempt()
            return
        self.lead = rung.spec or self.spec if self.rung else self.spec
        self._after_failure(last, None, again_at=failed[-1].ended)

    def _climb(self, rung: int) -> None:
        self.rung, self.tries, self.rung_began = rung, 0, 0.0
        self.lead = self.spec.rungs[rung].spec or self.spec
        self._attempt()

    def _in_task(self, coro: Any) -> None:
        engine = self.run.engine
        context = engine.context.copy()
        context.run(HERE.set, self)
        self.task = engine.ambient.create_task(coro, context=context)

    def _attempt(self) -> None:
        run = self.run
        self.handle = None
        self.attempt += 1
        self.tries += 1
        self.live = self.attempt
        self.stopping, self.entered = None, False
        self.started = run.engine.clock()
        if self.tries == 1:
            self.rung_began = self.started
            self.began = self.began or self.started
        if self.spec.human and (asking := self.spec.rungs[self.rung].ask) is not None:
            if len(self.input) > SPILL:
                self._in_task(self._ask_at_length(asking))
            else:
                self._ask(asking)
            return
        self._in_task(self._body(self.attempt) if self.rung == 0 else self._other_body(self.attempt))
        if self.spec.bounded and not self.spec.instant[self.rung]:
            lead = self.lead
            # the wait to be let in, or for a shared model to be loaded, is not the attempt's time, but the step's
            self._limit(whole=lead.limits is not None or (bool(lead.uses) and lead.form != "process"))
        if run.engine.watchers:
            run.engine.tell("attempt", run, step=self.step, attempt=self.attempt, input=self.input, rung=self.rung)

    def left(self) -> float | None:
        """Seconds that remain for all that is still to be tried; None for no limit."""
        total = self.spec.timeout.total
        until = self.deadline
        if total is not None:
            until = self.began + total if until is None else min(until, self.began + total)
        return None if until is None else max(0.0, until - self.run.engine.clock())

    def remaining(self) -> float | None:
        """Seconds that remain for this attempt; None for no limit."""
        attempt, left = self.lead.timeout.attempt, self.left()
        if attempt is None:
            return left
        here = max(0.0, (self.let_in or self.started) + attempt - self.run.engine.clock())
        return here if left is None else min(here, left)

    def _limit(self, *, whole: bool = False) -> None:
        """Start the clock of the attempt; ``whole``: only that of all attempts."""
        self._clear()
        now = self.let_in = self.run.engine.clock()
        totals = ((self.spec.timeout.total, self.began), (self.lead.timeout.total, self.rung_began))
        limits = [max(0.0, began + total - now) for total, began in totals if total is not None]
        if not whole and self.lead.timeout.attempt is not None:
            limits.append(self.lead.timeout.attempt)
        limit = min(limits, default=None)
        if limit is not None:
            self.handle = self.run.engine.ambient.call_later(limit, self._stop, "timeout")

    def _refuse_late(self) -> None:
        """Raise if less time remains than the attempt needs."""
        left, minimum = self.left(), self.lead.timeout.minimum
        if left is not None and (left <= 0 or (minimum is not None and left < minimum)):
            needs = f"; {self.lead.name!r} needs {minimum:g} s" if minimum is not None else ""
            raise DeadlineTooClose(f"the attempt was not begun: {left:.3g} s remain before the deadline{needs}")

    async def _body(self, attempt: int) -> None:
        """An attempt of the step itself."""
        self.entered = True
        spec, args, kwargs = self.spec, self.args, self.kwargs
        try:
            if len(self.input) > SPILL:
                await self._spilled(self.input)
            if self.deadline is not None or spec.timeout.minimum is not None:
                self._refuse_late()
            if spec.early:
                refuse_stale(spec, self._inputs(), self.started)
            if spec.drift is not None:
                await self._mind_drift(spec)
            if self.last is not None and spec.feedback:
                args, kwargs = spec.inputs.replaced(args, kwargs, feedback=str(self.last))
            if self.run.cautious or spec.undo is not None:
                await self._trace(spec)
            if crashpoints.armed:
                crashpoints.reach("before-body")
            if spec.direct and self.run.engine.around is None:
                value = await spec.begin(*args, **kwargs)
            else:
                value = await self._called(spec, args, kwargs)
            if crashpoints.armed:
                crashpoints.reach("after-body")
            if self.live != attempt:  # it was given up, and another attempt may be under way
                return
            if self.stopping == "timeout":
                raise TimeoutError
            if self.handle is not None:
                self._clear()  # it was in time, however long the record of it takes
            if spec.retry.if_result is not None:
                refuse_unwanted(spec.retry, value)
            if spec.plain and type(value) is spec.output.kind and type(value) in _FIXED:
                data, self.value = spec.output.encode(value)  # nothing more can be said of it
            else:
                data = self._judged(spec, value, self._inputs() if spec.looks else {})
            if not spec.owns_arguments:
                self._check_unchanged()
            if len(data) > SPILL:
                refuse_large(spec, data)
                data = await self._spilled(data)
        except BaseException as error:
            if self.live == attempt:
                self._failed(error)
            return
        if not self.over:
            if self.note is PLAIN and spec.keep is None:
                self.last = None
                self._end(Kind.OK, data)
            else:
                self._end_well(data)

    async def _other_body(self, attempt: int) -> None:
        """An attempt on a higher rung: a fallback, a kept value, a constant."""
        self.entered = True
        rung = self.spec.rungs[self.rung]
        inputs: dict[str, Any] = {}
        self.note = Note(rung.source, self.rung, rung.name)
        try:
            if rung.source == "cached":
                value = await self._kept(rung.max_age)
            elif rung.spec is None:
                value = rung.value
            else:
                self._refuse_late()
                inputs = self._inputs()
                inputs = {**rung.defaults, **{name: inputs[name] for name in rung.taken or () if name in inputs}}
                value = await self._fallback(rung.spec, inputs)
                inputs = rung.spec.inputs.named(*rung.spec.inputs.arranged(inputs))
            if self.live != attempt:
                return
            if self.stopping == "timeout":
                raise TimeoutError
            self._clear()
            if rung.spec is not None and rung.spec.retry.if_result is not None:
                refuse_unwanted(rung.spec.retry, value)
            data = self._judged(rung.spec, value, inputs)
            if rung.spec is not None and not self.spec.owns_arguments:
                self._check_unchanged()
            if len(data) > SPILL:
                data = await self._spilled(data)
        except BaseException as error:
            if self.live == attempt:
                self._failed(error)
            return
        if not self.over:
            self._end_well(data)

    async def _fallback(self, spec: StepSpec, inputs: dict[str, Any]) -> Any:
        args, kwargs = spec.inputs.arranged(inputs)
        if spec.early:
            refuse_stale(spec, spec.inputs.named(args, kwargs), self.started)
        if spec.drift is not None:
            await self._mind_drift(spec)
        if spec.feedback and self.last is not None:
            args, kwargs = spec.inputs.replaced(args, kwargs, feedback=str(self.last))
        if self.run.cautious or spec.undo is not None:
            await self._trace(spec)
        if crashpoints.armed:
            crashpoints.reach("before-body")
        value = await self._called(spec, args, kwargs)
        if crashpoints.armed:
            crashpoints.reach("after-body")
        return value

    async def _called(self, spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if spec.uses and spec.form != "process":
            kwargs = {**await self._resources(spec), **kwargs}
            if (spec.limited or self.spec.limited) and spec.limits is None:
                self._limit()
        around = self.run.engine.around
        begin = partial(spec.begin, *args, **kwargs)
        begin = begin if around is None else partial(around, self, begin)
        value, requests = await controlled(spec, begin, self._limit, lambda: self.stopping == "timeout")
        if requests > 1:
            self.note = self.note._replace(requests=requests)
        return value

    def _inputs(self) -> dict[str, Any]:
        return self.spec.inputs.named(self.args, self.kwargs)

    def _judged(self, rung: StepSpec | None, value: Any, inputs: dict[str, Any]) -> bytes:
        if rung is None or rung.drift is None:
            good = judge(self.spec, rung, value, inputs)
        else:
            good = self._watched(rung, value, inputs)
        self.value = good.value
        if good.confidence is not None or good.lenient:
            self.note = self.note._replace(confidence=good.confidence, lenient=self.note.lenient + good.lenient)
        return good.data

    # Drift

    async def _mind_drift(self, spec: StepSpec) -> None:
        """Raise if the step is to be left alone, since its results have drifted."""
        self.monitor, self.probing = await self.run.engine.drifts.mind(spec), None
        self.minded = self.run.engine.clock()  # what that took is not the step's time
        if (refusal := self.monitor.refusal()) is not None and self.rung + 1 < len(self.spec.rungs):
            drifted, probe = refusal
            if not probe:
                raise drifted
            self.probing = drifted

    def _watched(self, rung: StepSpec, value: Any, inputs: dict[str, Any]) -> Good:
        """Judge a result, and let it be seen what came of that. A probe's is not used, unless it ends the drift."""
        took = self._took()
        try:
            good = judge(self.spec, rung, value, inputs)
        except CheckFailed as error:
            self._see(Seen(took, True, False, error.confidence, error.value))
            raise
        except InvalidResult:
            self._see(Seen(took, False))
            raise
        self._see(Seen(took, True, True, good.confidence, good.value), good.data)
        if self.probing is not None and self.monitor is not None and self.monitor.record.drifted:
            raise self.probing
        return good

    def _took(self) -> float:
        return self.run.engine.clock() - max(self.let_in, self.minded)

    def _see(self, seen: Seen, data: bytes | None = None) -> None:
        if self.monitor is not None:
            self.monitor.see(seen, data, self.run.id, self.run.spec.name, self.step)

    # Kept values

    async def _recall(self) -> None:
        """Take a kept value instead of calling the step, if there is one that is young enough."""
        self.began = self.started = self.run.engine.clock()
        try:
            if len(self.input) > SPILL:
                await self._spilled(self.input)
            value = await self._kept(self.spec.memo)
            data = self._judged(None, value, {})
            if len(data) > SPILL:
                data = await self._spilled(data)
        except asyncio.CancelledError as error:
            self._failed(error)
        except Exception:
            if not self.over:
                self.note, self.began = PLAIN, 0.0
                self._attempt()
        else:
            if not self.over:
                self.note = self.note._replace(source="cached", by="memoize")
                self._end_well(data)

    async def _kept(self, max_age: float | None) -> Any:
        engine, name = self.run.engine, cell_name(self.spec, self._inputs())
        cell = await engine.store.cell(name)
        if cell is None:
            raise NothingKept(f"step {self.spec.name!r} has given no good value for this input before")
        age = max(0.0, engine.clock() - cell.at)
        if max_age is not None and age > max_age:
            raise NothingKept(f"the last good value is {age:.0f} s old; {max_age:.0f} s are allowed")
        if engine.artifacts.renew(cell.body) and await engine.store.cell(name) != cell:
            return await self._kept(max_age)  # another has taken its place: what it names may be gone
        value = self.spec.output.decode(engine.artifacts.fetch(cell.body) or b"")
        self.note = self.note._replace(age=age)
        return value

    def _keep(self, data: bytes) -> None:
        try:
            name = cell_name(self.spec, self._inputs())
        except Exception as error:
            log.warning("a result of step %r of run %s is not kept: %s", self.step, self.run.id, error)
        else:
            self.run.engine.journal.keep(self.run, Cell(name, self.run.tape.time, data))

    # What must hold of an attempt

    def _check_unchanged(self) -> None:
        """The flow's own objects are the step's arguments: changes to them would be missing when it is replayed."""
        if self.edited:
            return
        for value in (*self.args, *self.kwargs.values()):
            if type(value) not in _FIXED:
                if not self.spec.inputs.same(self.input, self.spec.inputs.encode(self.args, self.kwargs)):
                    raise ChangedArgument(
                        f"step {self.spec.name!r} changed an argument in place; after a crash the flow would not have "
                        "the change. Return the new value, or change a copy"
                    )
                return

    async def _resources(self, spec: StepSpec) -> dict[str, Any]:
        process, engine = shelf_of_process(), self.run.engine.shelf
        return {
            name: await (engine if used.scope == "worker" else process).get(used) for name, used in spec.uses.items()
        }

    async def _trace(self, spec: StepSpec) -> None:
        """Let it be known that the body runs: it may kill its worker, or have an effect that nobody hears of."""
        run, mark = self.run, None
        if spec.undo is not None:
            mark = encode(spec.undo[0].name, "a name")
            run.begun.add(self.step)
        run.submit(Kind.START, self.step, self.attempt, self.started, self._unrecorded_input(), mark)
        await run.durable()

    async def _spilled(self, data: bytes) -> bytes:
        return await self.run.engine.spilled(data)

    # Failure

    def _failed(self, error: BaseException) -> None:
        if self.over:
            return
        if self.stopping == "cancelled":
            note = "" if isinstance(error, asyncio.CancelledError) else message_of(error)
            self._end(Kind.CANCELLED, encode(note, "note"))
        elif self.stopping == "timeout" and isinstance(error, asyncio.CancelledError | TimeoutError):
            self._timed_out("its thread is still running" if self.lead.form == "thread" else "")
        else:
            note = ""
            if isinstance(error, asyncio.CancelledError):
                note = "the step cancelled itself"
            self._after_failure(failure_of(error, note), error)

    def _timed_out(self, note: str) -> None:
        if self.lead.drift is not None:
            self._see(Seen(self._took()))
        total, attempt = self.spec.timeout.total, self.lead.timeout.attempt
        spent = self.run.engine.clock() - self.began
        if total is not None and (attempt is None or spent >= total - 0.001):
            said = f"no result within {total:g} s, all attempts together"
        else:
            said = f"no result within {attempt or self.lead.timeout.total or 0:g} s"
        if note:
            log.warning("step %r of run %s: %s, and %s", self.step, self.run.id, said, note)
        error = TimeoutError(said)
        kinds = ("builtins.TimeoutError", "builtins.OSError", "builtins.Exception", "builtins.BaseException")
        self._after_failure(Failure("StepTimedOut", said, kinds=kinds, note=note), error)

    def _after_failure(self, failure: Failure, error: BaseException | None, again_at: float | None = None) -> None:
        """Climb the ladder: another attempt, another rung, or the step's end.

        Args:
            again_at: when the failed attempt ended, if it was recorded by an earlier worker.
        """
        run, spec = self.run, self.spec
        if self.rung:
            failure = failure._replace(rung=self.rung, by=spec.rungs[self.rung].name)
        else:
            self.cause = str(failure)
        self.last, self.note = failure, PLAIN
        now = run.engine.clock()
        verdict = decide(
            self.lead.retry,
            self.tries,
            worth_it=spec.rungs[self.rung].spec is not None and self._worth_it(error),
            left=self.left(),
            left_here=self._left_here(now),
            chance=run.engine.chance(),
            retry_after=failure.retry_after if error is None else wait_asked(error),
            rung=self.rung,
            instant=spec.instant,
        )
        if isinstance(verdict, GiveUp):
            if self.rung:
                note = f"{failure.note}; " if failure.note else ""
                failure = failure._replace(note=f"{note}the step itself: {shortened(self.cause, 300)}")
            self._end(Kind.ERROR, encode(failure, "failure"))
            return
        self._clear()
        then = verdict.rung if isinstance(verdict, Climb) else self.rung
        self.last = failure = failure._replace(then=then)
        if again_at is None:
            data = encode(failure, "failure")
            run.submit(Kind.ATTEMPT, self.step, self.attempt, self.started, self._unrecorded_input(), data)
            again_at = now
        if isinstance(verdict, Again):
            wait = max(0.0, again_at + verdict.delay - now)
            self.task, self.entered = None, False
            self._tell_retry(failure, verdict.delay)
            self.handle = run.engine.ambient.call_later(wait, self._attempt)
        else:
            self._tell_retry(failure, 0.0, on_to=spec.rungs[verdict.rung].name)
            self._climb(verdict.rung)
        run.wake()

    def _left_here(self, now: float) -> float | None:
        total = self.lead.timeout.total if self.rung else None
        return None if total is None else max(0.0, self.rung_began + total - now)

    def _worth_it(self, error: BaseException | None) -> bool:
        """Whether another attempt on this rung may do better."""
        if error is None:  # only its record is left: it was worth a retry then, or no further attempt would be due
            return True
        if isinstance(error, Unstorable | UnawaitedCall | DeadlineTooClose | NothingKept):
            return False
        if isinstance(error, CheckFailed) and error.early:
            return False
        if isinstance(error, Drifted):
            return False
        if isinstance(error, BreakerOpen) and self.rung + 1 < len(self.spec.rungs):
            return False  # straight to the fallback
        return isinstance(error, UnwantedResult) or worth_it(self.lead.retry, error)

    def _tell_retry(self, failure: Failure, delay: float, on_to: str = "") -> None:
        run, attempt = self.run, self.attempt
        if run.engine.watchers:
            run.engine.tell("retry", run, step=self.step, attempt=attempt, failure=failure, delay=delay, on_to=on_to)

    # A person

    def _ask(self, asking: Asking) -> None:
        if self.last is not None and self.last.rung < self.rung:
            self.refusal = self.last
        self.task, self.inquiry = None, Inquiry(self, asking)
        try:
            self.inquiry.begin()
        except Unstorable as error:  # what is to be shown: nobody can be asked then
            self.inquiry = None
            self.leave_rung(failure_of(error))

    async def _ask_at_length(self, asking: Asking) -> None:
        """Ask about what leaves the journal."""
        await self._spilled(self.input)
        if not self.over:
            self._ask(asking)

    def end_with(self, data: bytes, value: Any, note: Note) -> None:
        """A person has given the result."""
        self.value, self.note = value, note
        self._end_well(data)

    def end_cancelled(self) -> None:
        """The flow cancelled it, and nobody had answered."""
        self._end(Kind.CANCELLED, encode("", "note"))

    def ask_again(self, failure: Failure) -> None:
        """Ask once more: the answer did not fit, or the next one's turn has come."""
        self._leave_attempt(failure, self.rung)
        self._attempt()

    def start_over(self, failure: Failure) -> None:
        """A person wants the step tried again, from the first rung."""
        self._leave_attempt(failure, 0)
        self.began, self.unanswered = 0.0, 0
        self._climb(0)

    def leave_rung(self, failure: Failure) -> None:
        """Nobody helped: on to the next rung, if there is one."""
        if self.stopping == "cancelled":
            self.end_cancelled()
        elif self.rung + 1 < len(self.spec.rungs):
            self._leave_attempt(failure, self.rung + 1)
            self._climb(self.rung + 1)
        else:
            if self.rung:
                by, note = self.spec.rungs[self.rung].name, f"the step itself: {shortened(self.cause, 300)}"
                failure = failure._replace(rung=self.rung, by=by, note=note)
            self._end(Kind.ERROR, encode(failure, "failure"))

    def _leave_attempt(self, failure: Failure, then: int) -> None:
        self.last = failure = failure._replace(rung=self.rung, by=self.spec.rungs[self.rung].name, then=then)
        self.note = PLAIN
        data = encode(failure, "failure")
        self.run.submit(Kind.ATTEMPT, self.step, self.attempt, self.started, self._unrecorded_input(), data)
        self._tell_retry(failure, 0.0, on_to=self.spec.rungs[then].name if then != self.rung else "")
        self.run.wake()

    # Being stopped

    def _stop(self, why: str) -> None:
        """Ask the body to end; if it is deaf, give it up after a while."""
        self._clear()
        self.stopping = why
        if self.inquiry is not None:
            self.inquiry.withdraw()
            return
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
        if self.inquiry is not None:
            self.inquiry.give_up()
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
        return self.input if len(self.input) <= SPILL else self.run.engine.artifacts.reference(self.input)

    # The end

    def _end_well(self, data: bytes) -> None:
        self.last = self.last if self.rung else None
        if self.note is PLAIN:
            self._end(Kind.OK, data)
        else:
            self._end(Kind.NOTED, pack(self.note, data), shown=data)
        if self.spec.keep is not None and self.rung == 0 and self.note.source == "model":
            self._keep(data)

    def _end(self, kind: Kind, data: bytes, shown: bytes | None = None) -> None:
        if self.over:
            return
        self.over = True
        self.task = None  # its context leads back here: a circle for each step would be the garbage collector's
        if self.handle is not None:
            self._clear()
        run = self.run
        started = self.started or run.engine.clock()  # it may be cancelled before it has begun here
        run.record(kind, self.step, self.attempt, started, self._unrecorded_input(), data)
        if run.engine.watchers:
            told = Kind.OK if kind is Kind.NOTED else kind
            by = self.note.by or self.note.source if self.note.source != "model" else ""
            run.engine.tell("step", run, step=self.step, attempt=self.attempt, kind=told, data=shown or data, by=by)

    def deliver(self, entry: Entry) -> None:
        future = self.future
        if future.done():
            return
        kind = entry.kind
        if kind is Kind.CANCELLED:
            future.cancel()
            return
        if kind is Kind.OK and self.over and not self.wanted and entry.attempt == 1:
            self.place.last = None
            future.set_result(self.value)
            return
        outcome = self._outcome(entry)
        self.place.last = outcome
        if self.wanted:
            future.set_result(outcome)
        elif outcome.ok:
            future.set_result(outcome.value)
        else:
            assert outcome.error is not None
            future.set_exception(outcome.error)

    def _recorded_failure(self) -> Failure | None:
        data = self.run.tape.last_failure(self.step)
        return None if data is None else read_failure(data)

    def _outcome(self, entry: Entry) -> Outcome[Any]:
        """What a recorded end means to the flow, live and replayed."""
        run = self.run
        try:
            if entry.kind is Kind.ERROR:
                failure = read_failure(run.engine.artifacts.fetch(entry.output))
                kind = StepTimedOut if failure.type == "StepTimedOut" else StepFailed
                return missing(kind(self.step, entry.attempt, failure), entry.attempt)
            note, data = unpack(entry)
            data = run.engine.artifacts.fetch(data) or b""
            decode = self.spec.output.from_plain if note.given else self.spec.output.decode
            value = self.value if self.over else decode(data)
        except (Unstorable, CorruptRecord) as error:
            if isinstance(error, Unstorable) and entry.kind is Kind.NOTED and unpack(entry)[0].given:
                where = f"the result that a person gave for step {self.spec.name!r}"
                error = InvalidResult(where, error.path, error.problem, as_json(plain(unpack(entry)[1])).decode())
            return missing(error, entry.attempt)
        last = self.last or self._recorded_failure()
        failed = StepFailed(self.step, entry.attempt, last) if note.rung and last is not None else None
        if note.rung:  # a kept value that memoize takes is no fallback
            run.fell_back(self.step, note, last)
        return Outcome(True, value, note.source, note.rung, entry.attempt, note.confidence, note.age, failed)
