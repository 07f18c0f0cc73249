"""What a flow waits for by identity: a step, a child run, a timer. Each begins, ends as an entry, and is delivered."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from segue.core.entries import GOOD, Entry, Kind
from segue.core.lifecycle import Status
from segue.errors import (
    CorruptRecord,
    Failure,
    RunCancelled,
    RunExpired,
    RunFailed,
    RunTimedOut,
    Unstorable,
)
from segue.runtime.failures import read_failure
from segue.runtime.identity import About
from segue.runtime.loop import Timer
from segue.runtime.notes import unpack
from segue.runtime.spec import FlowSpec, StepSpec
from segue.types import StepId
from segue.values import encode

if TYPE_CHECKING:
    from segue.runtime.run import Run

log = logging.getLogger("segue")


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
        note, data = unpack(entry)
        decode = spec.output.from_plain if note.given else spec.output.decode
        future.set_result(decode(run.engine.artifacts.fetch(data) or b""))
    except (Unstorable, CorruptRecord) as error:
        future.set_exception(error)


class ChildCall:
    """A flow that the flow has asked for: a run of its own."""

    in_flow = False

    def __init__(
        self, run: "Run", spec: FlowSpec, step: StepId, id: str, input: bytes, options: Any, about: About
    ) -> None:
        self.run, self.spec, self.step, self.id, self.input, self.options = run, spec, step, id, input, options
        self.about = about
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
            run.engine.tell("step", run, step=self.step, attempt=1, kind=kind, data=result, by="")

    def cancel(self) -> None:
        self.stopping = True
        if self.started:
            self.run.engine.children.cancel(self)
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
        if entry.kind in GOOD:
            _give(future, self.run, self.spec, entry)
        elif entry.kind is Kind.ERROR:
            error = run_error(self.id, self.spec.name, read_failure(entry.output))
            error.step = self.step
            future.set_exception(error)
        else:
            future.cancel()


def run_error(id: str, flow: str, failure: Failure) -> RunFailed:
    """The error that a run's failure is raised as."""
    kinds = {"RunTimedOut": RunTimedOut, "RunCancelled": RunCancelled, "RunExpired": RunExpired}
    return kinds.get(failure.type, RunFailed)(id, flow, failure)


class FlowTimer:
    """A durable timer of the flow, and the real one that will fire it."""

    def __init__(self, run: "Run", timer: Timer, step: StepId) -> None:
        self.run, self.timer, self.step = run, timer, step
        self._pause = run.past.pause(run.at) if run.past.pauses else 0.0
        self.handle: asyncio.TimerHandle | None = None

    @property
    def when(self) -> float:
        """Seconds since the epoch. The flow's time stood still while the run was at an end that a redrive took back."""
        return self.timer.when() + self._pause

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
