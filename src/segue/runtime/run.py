"""One run in memory: its flow's code on a loop of its own, and the steps it has asked for.

The way of a step: the flow awaits it (``ask``), which looks it up on the tape. If it is new it starts, once everything
submitted before it is durable (``start``). When its body ends, an entry is submitted (``end``) and queued; ``pump``
hands entries to the flow one at a time, settling it in between, and whatever the flow asks for next starts over here.
The flow may see a result before it is durable, since a flow has no effects of its own; steps, which have, wait.
"""

import asyncio
import ctypes
import hashlib
import logging
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from zlib import crc32

from segue.core.branches import SIGNAL, name_of, signal_step, undone_step, wait_name
from segue.core.entries import GOOD, UNASKED, Entry, Kind
from segue.core.lifecycle import Event, Status, move
from segue.core.redrive import past
from segue.core.replay import Found, Tape
from segue.errors import (
    DeclarationError,
    Divergence,
    Failure,
    NotInFlow,
    RunCancelled,
    RunFailed,
    RunTimedOut,
    StoreError,
)
from segue.outcomes import Source
from segue.runtime import crashpoints
from segue.runtime.asked import Asked, ChildCall, FlowTimer
from segue.runtime.call import Call
from segue.runtime.context import HERE, Place
from segue.runtime.failures import blamed, failure_of
from segue.runtime.ids import child_id
from segue.runtime.inquiries import Inquiry
from segue.runtime.lease import NeverAwaits
from segue.runtime.loop import FlowTask, RunLoop, Timer
from segue.runtime.notes import Note
from segue.runtime.redrives import read_redrive, why_cancelled
from segue.runtime.signals import SignalCall, Signals
from segue.runtime.spec import FlowSpec, StepSpec
from segue.runtime.undoing import Effect, End, Undoing, effect_of, pack_end, read_end
from segue.stores.artifacts import SPILL
from segue.stores.base import Change, Mail, Row, Took
from segue.types import StepId
from segue.values import Codec, as_json, encode, plain

if TYPE_CHECKING:
    from segue.runtime.engine import Engine

log = logging.getLogger("segue")

PARK_AFTER = 30.0
"""A run that has nothing to do for so many seconds leaves memory."""


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
        self.past = past(entries, read_redrive)
        self.tape = Tape(self.past.entries, self.past.spare)
        self._signals: Signals | None = None
        self.inquiries: dict[str, Inquiry] = {}
        """The questions that people have to decide now."""
        self.answers: dict[str, Mail] = {}
        """Decisions that have come before the flow, replayed, asks the question again."""
        self.asked = bool(self.tape.asked)
        """It has asked people something."""
        self.begun: set[str] = self.tape.begun  # pyright: ignore[reportAttributeAccessIssue]
        """Steps with an effect that can be undone, whose bodies have run, or may have."""
        self._effects: list[Effect] = []
        self._undoing: Undoing | None = None
        self._mail: set[int] = set()  # that is taken already, on disk or on its way there
        self.tape.time = max(self.tape.time, row.started or row.created)
        self.cautious = row.losses > 0
        self.suspect = row.losses > 1
        """It may be what killed its last two workers."""
        self.at = -1
        """The place in the journal of what the flow was given last."""
        self.progressed = False
        """It has recorded an outcome here."""
        self.origin = self.past.of or row.id
        """The run whose chance and order of tasks it shares: its own, unless it is a fork."""
        self.loop = RunLoop(self, row.started or row.created, crc32(self.origin.encode()))
        limit = row.timeout
        self.root = Place(self, deadline=None if limit is None else (row.started or row.created) + limit)
        self.submitted = self.stored = 0
        self.status = Status.RUNNING
        self._waiting: dict[StepId, Asked] = {}
        self._steps: dict[str, StepSpec] = {}
        self._others: dict[str, str] = {}
        """Steps that have another input than they had before a redrive, with a digest of it."""
        self._held: deque[tuple[int, Asked]] = deque()
        self._barriers: list[tuple[int, asyncio.Future[None]]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._prune_at = 64
        self._main: asyncio.Task[Any] | None = None
        self._leaving = False
        self._closed = False
        self._refusing = False  # what the flow's code asks for is neither looked up nor begun
        self._cancelled: str | None = None
        self._diverged: Divergence | None = None
        self._result: tuple[Status, bytes] | None = None
        self.error: BaseException | None = None
        self.fallbacks: list[Fallback] = []
        self.creator: Any = None

    @property
    def signals(self) -> Signals:
        """Signals that have come, and who waits for some."""
        if self._signals is None:
            self._signals = Signals(self.past.entries, self.tape.signals)
        return self._signals

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
        try:
            coro = self._guarded(args, kwargs) if self.row.timeout is not None else self.spec.fn(*args, **kwargs)
        except TypeError as error:  # its parameters have changed since
            self._finish(Status.FAILED, error)
            return
        self._main = task = FlowTask(coro, loop=self.loop, context=context)
        self.adopt(task)

    async def _guarded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place = Place(self, "@timeout", self.root.deadline)  # its timer must not count among the flow's own
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
        if not self.loop.at_home():
            self._refuse_stranger()
        if self._undoing is None and self._steps.setdefault(spec.name, spec.origin) is not spec.origin:
            first, second = (f"{f.__module__}.{f.__qualname__}" for f in (self._steps[spec.name].fn, spec.fn))
            raise DeclarationError(
                f"two steps of one run are named {spec.name!r}: {first} and {second}. Name one: @step(name='…')"
            )
        input = spec.inputs.encode(args, kwargs)
        call = Call(self, spec, here.identify(spec.name), here, args, kwargs, input)
        if self.past.edits and (edited := self.past.edits.get(call.step)) is not None:
            call.edit(plain(edited))
        self._look_up(call, input, spec.inputs.same)
        return call

    def ask_signal(self, here: Place, name: str, codec: Codec) -> SignalCall:
        """The flow waits for a signal."""
        if not self.loop.at_home():
            self._refuse_stranger()
        call = SignalCall(self, name, here.identify(wait_name(name)), codec)
        self._look_up(call, call.input, lambda recorded, asked: recorded == asked)
        return call

    def ask_child(
        self, here: Place, spec: FlowSpec, args: tuple[Any, ...], kwargs: dict[str, Any], options: Any
    ) -> ChildCall:
        """The flow awaits another flow."""
        if not self.loop.at_home():
            self._refuse_stranger()
        input = spec.inputs.encode_typed(args, kwargs)
        step = here.identify(spec.name)
        if here.deadline is not None:
            left = max(0.001, here.until - self.loop.now)
            own = options.timeout if options.timeout is not None else spec.timeout
            options = options._replace(timeout=left if own is None else min(own, left))
        id = options.id or child_id(self.id, step, self.past.fresh.get(step, 0))
        about = spec.about(args, kwargs)._replace(event=None)  # replay alone sees to it that this call makes one run
        call = ChildCall(self, spec, step, id, input, options, about)
        self._look_up(call, input, spec.inputs.same)
        return call

    def _refuse_stranger(self) -> NoReturn:
        raise NotInFlow(
            f"a step of run {self.id} was called from another thread or loop than its flow's. Call it in the "
            "flow's own body, or call its raw function, step.fn, here"
        )

    def _look_up(self, asked: Any, input: bytes, same: Callable[[bytes, bytes], bool]) -> None:
        if self._refusing:  # it never comes; raising here would keep a flow that catches everything busy for ever
            return
        step: StepId = asked.step
        artifacts = self.engine.artifacts
        reference = input if len(input) <= SPILL else artifacts.reference(input)
        found = self.tape.ask(step, reference)
        if found is Found.DIVERGED:
            recorded = artifacts.fetch(self.tape.recorded_input(step)) or b""
            if same(recorded, input):
                found = self.tape.ask(step, self.tape.recorded_input(step))
            elif self.spec.divergence == "rerun" or self.tape.is_spare(step):
                self.tape.forget(step)
                found = Found.NEW
            else:
                self._diverge(f"step {step!r} is asked for with {show(input)}, and was recorded with {show(recorded)}")
        former = self.past.former.get(step, reference)
        if former != reference and not same(artifacts.fetch(former) or b"", input):
            self._others[step] = hashlib.blake2b(reference, digest_size=16).hexdigest()
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
            "The run has ended, and keeps its record. Let runs in flight end before such a change, or declare "
            "@flow(on_divergence='rerun') to run such steps again"
        )
        if self._undoing is None:
            self._diverged = self._diverged or error
        raise error

    async def abandon(self, call: Call | ChildCall | SignalCall) -> NoReturn:
        """The flow was cancelled while it waited for a call: see to the call's end first."""
        if self._refusing or (call.future.done() and not call.future.cancelled()):
            raise asyncio.CancelledError
        # A cancelled step's end is an entry too, and the flow waits for it: an undo must not overtake a live effect.
        if not call.recorded:
            call.cancel()
        while call.step in self._waiting and not self._refusing:
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
        if not self._refusing and self.tape.ask(step, None) is Found.NEW:
            self._held.append((self.submitted, asked))

    def disarm(self, timer: Timer) -> None:
        """The flow cancels a timer."""
        asked = self._waiting.pop(timer.step, None)
        if asked is not None:
            asked.cancel()

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """Keep a task of the flow: what nothing refers to, the garbage collector would end at a random moment."""
        tasks = self._tasks
        tasks.append(task)
        if len(tasks) > self._prune_at:
            self._tasks = [task for task in tasks if not task.done()]
            self._prune_at = max(64, 2 * len(self._tasks))

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
        if (ended := self.engine.clock()) < tape.time:
            ended = tape.time
        tape.time = ended
        entry = Entry(tape.seq, kind, step, attempt, started, ended, input, output)
        tape.seq += 1
        self.engine.journal.write(self, entry)
        return entry

    def record(
        self, kind: Kind, step: StepId, attempt: int, started: float, input: bytes | None, output: bytes | None
    ) -> None:
        """Append what the flow is to see, and hand it over at the next pump."""
        self.progressed = True
        self.tape.record(self.submit(kind, step, attempt, started, input, output))
        self.engine.wake(self)

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
        self.loop.enter()
        try:
            self._turn()
        except (KeyboardInterrupt, SystemExit, NeverAwaits) as error:
            self._begin_to_end(Status.FAILED, error)
            self.wake()
        finally:
            self.loop.leave()
        if self._result is None and not self._closed:
            self.start_held()

    def _turn(self) -> None:
        loop, tape, waiting = self.loop, self.tape, self._waiting
        while True:
            loop.drain()
            if self._diverged is not None:
                self._finish(Status.FAILED, self._diverged)
                return
            over = self._main is None or (self._main.done() and self._all_over())
            entry = None if over and (self._undoing is not None or not tape.undoing) else tape.next()
            if entry is None:
                if over:
                    self._conclude()
                elif waiting:
                    return
                else:
                    self._begin_to_end(Status.FAILED, Stalled(_NOTHING_COMES))
                if self._undoing is None or self._result is not None:
                    return
                continue  # what the run did is undone first
            loop.now, self.at = entry.ended, entry.seq
            if tape.replaying:  # a long record takes long to hand over; what is watched is the time between two awaits
                self.engine.watch.start()
            if entry.kind in UNASKED:
                self._overrule(entry)
                continue
            asked = waiting.pop(entry.step, None)
            if asked is not None:
                if type(asked) is Call and asked.spec.reversible and entry.kind in GOOD:
                    self._note_effect(asked, entry)
                asked.deliver(entry)

    def _overrule(self, entry: Entry) -> None:
        """Something that the flow did not ask for: the wish to cancel the run, or its end, with all to be undone."""
        if entry.kind is Kind.UNDO:
            self._undo(read_end(entry))
        elif self._main is not None and not self._main.done() and self._undoing is None and self._cancelled is None:
            self._cancelled = why_cancelled(entry)
            self._main.cancel()

    def _note_effect(self, call: Call, entry: Entry) -> None:
        if entry.seq > self.past.forked and (effect := effect_of(call, entry)) is not None:
            self._effects.append(effect)  # what another run did, of which this one is a fork, is that one's

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
        stored = self.stored
        while held and held[0][0] <= stored:
            asked = held.popleft()[1]
            if self._waiting.get(asked.step) is not asked:
                continue
            if self.tape.replaying and isinstance(asked, Call | ChildCall) and self._shifted(asked):
                return
            asked.start()

    def _shifted(self, asked: Call | ChildCall) -> bool:
        """Whether a call that seems new was recorded under another identity; the run then ends."""
        if self._undoing is not None or self.spec.divergence == "rerun":
            return False
        shift = self.tape.shifted(asked.step, self.engine.artifacts.reference(asked.input))
        if shift is None:
            return False
        try:
            self._diverge(
                f"the call of {name_of(asked.step)!r} with {show(asked.input)} is {shift.asked!r} now, and was "
                f"recorded as {shift.recorded!r}: a task was added, removed or moved before it"
            )
        except Divergence as error:
            self._finish(Status.FAILED, error)
        return True

    # Ending

    def cancel(self, why: str, by: str = "") -> None:
        """Cancel the run: its main task gets a ``CancelledError``, today and at each replay."""
        if self._result is None and not self._closed and self._main is not None and self._undoing is None:
            self._receive(Kind.CANCEL, StepId("@cancel"), encode({"why": why, "by": by}, "a cancellation"))

    def _receive(self, kind: Kind, step: StepId, data: bytes) -> Entry:
        """Something comes from outside: an entry, which the flow feels once it has all that was recorded before."""
        now = self.engine.clock()
        entry = self.submit(kind, step, 0, now, None, data)
        if kind in UNASKED:
            self.tape.record(entry)
        self.wake()
        return entry

    def take(self, mail: Mail) -> None:
        """Mail for this run: what it brings becomes an entry, once."""
        if self._closed or self._result is not None or mail.number in self._mail:
            return
        if mail.name == "answer":
            if (inquiry := self.inquiries.get(mail.once)) is not None:
                inquiry.take(mail)
            else:
                self.answers[mail.once] = mail
        elif mail.name == "cancel":
            self.took(mail, self._receive(Kind.CANCEL, StepId("@cancel"), mail.body))
        elif mail.name.startswith(SIGNAL):
            entry = self._receive(Kind.SIGNAL, signal_step(mail.name.removeprefix(SIGNAL)), mail.body)
            self.took(mail, entry)
            self.signals.arrive(entry)

    def took(self, mail: Mail, entry: Entry | None = None) -> None:
        """This mail is in the journal, with the entry that was submitted last."""
        self._mail.add(mail.number)
        self.engine.journal.took(Took(self.id, mail.number, entry.seq if entry is not None else self.tape.seq - 1))

    def _conclude(self) -> None:
        """The flow's code has ended: so does the run, unless something is to be undone first."""
        main = self._main
        if main is None:
            return
        if self._undoing is not None:
            failure = self._undoing.failure(self._unknown())
            self._finish(self._undoing.end.status, self.error, failure=failure)
        elif main.cancelled():
            failure = RunCancelled(
                self.id, self.spec.name, Failure("RunCancelled", self._cancelled or "it cancelled itself")
            )
            self._begin_to_end(Status.CANCELLED if self._cancelled else Status.FAILED, failure)
        elif (error := main.exception()) is not None:
            self._begin_to_end(Status.FAILED, error)
        else:
            try:
                data, _ = self.spec.output.encode(main.result())
                data = self.engine.artifacts.spill(data) or data
            except StoreError as error:
                log.warning("the result of run %s cannot be written yet: %s", self.id, error)
                self.engine.ambient.call_later(1.0, self.wake)
            except Exception as error:
                self._begin_to_end(Status.FAILED, error)
            else:
                self._finish(Status.COMPLETED, None, data)

    # Ending in failure

    def _begin_to_end(self, status: Status, error: BaseException) -> None:
        """The run ends like that, once what it did is undone."""
        failure = self._failure(error)
        if not self._effects:
            self._finish(status, error, failure=self._with_unknown(failure))
            return
        self.error = error
        end = End(status, failure, blamed(error)[1])
        self.loop.now = self.submit(Kind.UNDO, StepId("@undo"), 0, self.engine.clock(), None, pack_end(end)).ended
        self._undo(end)

    def _undo(self, end: End) -> None:
        """Leave the flow's code where it stands, and undo what its steps did."""
        self._unwind()
        self._undoing = Undoing(self, end, tuple(self._effects))
        context = copy_context()
        context.run(HERE.set, Place(self))
        self._main = FlowTask(self._undoing.flow(), loop=self.loop, context=context)
        self._tasks = [self._main]
        self._leaving = False

    def _failure(self, error: BaseException) -> Failure:
        if isinstance(error, RunFailed) and error.run == self.id:
            return error.error
        return failure_of(error)._replace(step=blamed(error)[0])

    def _unknown(self) -> list[str]:
        """Steps that may have had an effect, and gave no result that it could be undone by."""
        return sorted(self.begun - {effect.step for effect in self._effects if effect.alone})

    def _with_unknown(self, failure: Failure) -> Failure:
        if not (unknown := self._unknown()):
            return failure
        said = f"outcome unknown: {', '.join(unknown)}"
        return failure._replace(note=f"{failure.note}; {said}" if failure.note else said)

    def _finish(
        self, status: Status, error: BaseException | None, data: bytes = b"", *, failure: Failure | None = None
    ) -> None:
        """The run has ended: write that, and let go of what is left.

        Args:
            failure: the error as it is recorded, where there is more to say than the error does.
        """
        fault: tuple[str | None, str] | None = None
        if status is not Status.COMPLETED:
            self.error = error or self.error
            if failure is None and error is not None:
                failure = self._with_unknown(self._failure(error))
            failure = failure or Failure("Unknown", "")
            data = encode(failure, "failure")
            cause = blamed(self.error)[1] if self.error is not None else ""
            if self.error is None and self._undoing is not None:  # another worker met it
                cause = self._undoing.end.cause
            fault = (name_of(failure.step) if failure.step else None, cause or failure.type)
        event = {Status.COMPLETED: Event.COMPLETE, Status.FAILED: Event.FAIL}.get(status, Event.CANCEL)
        self.status = move(self.status, event)
        if crashpoints.armed:
            crashpoints.reach("before-end")
        self.close()
        self._result = (status, data)
        self.engine.journal.change(
            self,
            Change(
                self.id,
                status,
                None,
                None,
                data,
                max(self.tape.time, self.engine.clock()),
                parent=self.row.parent,
                fallbacks=len(self.fallbacks),
                asked=self.asked,
                fault=fault,
                lane=self.row.lane,
            ),
        )

    def fail(self, error: BaseException) -> None:
        """End it, unless it has ended or left memory."""
        if self._result is None and not self._closed:
            self._finish(Status.FAILED, error)

    def parkable(self, now: float) -> tuple[str, float | None, tuple[str, ...]] | None:
        """Whether nothing of this run happens here for a while: why, until when, and for which children."""
        if self._closed or self._held or not self._waiting or self.stored < self.submitted:
            return None
        if len(self._waiting) > 1000:
            return None
        due: float | None = None
        children: list[str] = []
        reasons: list[str] = []
        for asked in self._waiting.values():
            when: float | None = None
            if isinstance(asked, FlowTimer):
                when = asked.when
            elif isinstance(asked, ChildCall) and not self.engine.is_local(asked.id):
                children.append(asked.id)
            elif isinstance(asked, SignalCall):
                reasons.append(f"waits for signal {asked.name!r}")
            elif isinstance(asked, Call) and (inquiry := asked.inquiry) is not None and asked.stopping is None:
                when = inquiry.next
                reasons.append(f"waits for {inquiry.assignee or 'a person'} to answer question {inquiry.id}")
            else:
                return None
            if when is not None:
                due = when if due is None else min(due, when)
        if due is not None and due - now < PARK_AFTER:
            return None
        if children:
            reasons.append(f"waits for {len(children)} child run{'s' * (len(children) > 1)}")
        more = f", and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        return "; ".join(reasons[:3]) + more if reasons else "sleeps", due, tuple(children)

    def park(self, reason: str, due: float | None, children: tuple[str, ...]) -> None:
        """Leave memory until something is due."""
        self.status = move(self.status, Event.PARK)
        for mail in self.answers.values():  # to questions that the flow, whose code has changed, does not ask any more
            log.warning("run %s: an answer to question %s is for nobody: its code has changed", self.id, mail.once)
            self.engine.journal.took(Took(self.id, mail.number, None))
        self.close()
        self.engine.journal.change(
            self,
            Change(
                self.id,
                Status.WAITING,
                reason,
                due if due is not None else 1e15,
                waits=children,
                lane=self.row.lane if self.row.frees else None,
            ),
        )

    def close(self) -> None:
        """Leave memory: stop what runs, and unwind the flow's tasks with steps refused, recording nothing."""
        if self._closed:
            return
        self._closed = True
        self._unwind()
        self._refusing = True
        self.loop.clear()
        for _, future in self._barriers:  # whoever waits looks at what has become of the run
            if not future.done():
                future.set_result(None)

    def _unwind(self) -> None:
        """Leave the flow's code where it stands: end its tasks, and let none of them ask for anything on the way."""
        self._refusing = True
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
            entered = self.loop.enter()
            try:
                self.loop.drain()
            except (KeyboardInterrupt, SystemExit, NeverAwaits):
                continue
            finally:
                if entered:
                    self.loop.leave()
        for task in self._tasks:
            if not task.done():  # collected, it would swallow GeneratorExit too, and go on with real steps, in no run
                log.error("a task of run %s swallows every cancellation: it is left where it stands", self.id)
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
            elif not task.cancelled():
                task.exception()  # it has been seen
        self._waiting.clear()
        self._refusing = False

    def decoded(self, decode: Callable[[bytes], Any], entry: Entry) -> Any:
        """The value of a recorded result."""
        return decode(self.engine.artifacts.fetch(entry.output) or b"")

    def fell_back(self, step: StepId, note: Note, failure: Failure | None) -> None:
        """The flow is given a result that did not come from the step itself."""
        self.fallbacks.append(Fallback(step, note.source, note.rung, note.by, failure, note.age))

    def idempotency_key(self, step: StepId, rung: int = 0) -> str:
        """The same for every attempt and replay of this step, on this rung of its ladder, and for no other."""
        key = f"{self.id}\0{step}\0{rung}" if rung else f"{self.id}\0{step}"
        if self.past.redrives:
            effect = undone_step(step) or step  # undoing another effect is another effect, too
            if times := self.past.fresh.get(effect):
                key += f"\0again {times}"
            if other := self._others.get(effect):
                key += f"\0with {other}"
        return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


class Fallback(NamedTuple):
    """A result that a flow was given, and that did not come from the step itself.

    Attributes:
        step: the step's identity.
        rung: of its ladder.
        by: that rung's name.
        reason: the last failure before it.
        age: of a cached value, in seconds.
    """

    step: str
    source: Source
    rung: int
    by: str
    reason: Failure | None
    age: float | None = None


_NOTHING_COMES = (
    "the flow waits for something that nothing will bring: no step, timer or child run is pending. It may wait for an "
    "Event, Queue or Future that only code outside the flow would set"
)


class Stalled(Exception):
    """The flow waits for something that nothing will bring."""


def show(input: bytes) -> str:
    """An encoded input, short enough for an error."""
    try:
        text = as_json(plain(input)).decode()
    except Exception:
        text = repr(input)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text):,} characters)"
