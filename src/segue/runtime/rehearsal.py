"""Rehearsing a run: the code of today against all that the run recorded, while nothing runs and nothing is written.

The same ``Run``, tape and loop as ever. What would start is noted in place of being started, what would be written is
dropped, and at the end stands a verdict: whether the run would go the same way, and if not, where it leaves it.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, cast

from segue.core.branches import name_of
from segue.core.entries import OUTCOMES, UNASKED, Entry, Kind
from segue.core.lifecycle import Status
from segue.errors import CorruptRecord, Failure, Unstorable, shortened
from segue.runtime import lease
from segue.runtime.asked import Asked, ChildCall, FlowTimer
from segue.runtime.call import Call
from segue.runtime.failures import read_failure
from segue.runtime.lease import NeverAwaits, Stopwatch
from segue.runtime.loop import Timer
from segue.runtime.notes import unpack
from segue.runtime.redrives import read_redrive
from segue.runtime.run import Run, Stalled, show
from segue.runtime.spec import FlowSpec
from segue.runtime.undoing import End, read_end
from segue.stores.artifacts import Artifacts
from segue.stores.base import Row
from segue.types import StepId
from segue.values import Codec, difference, plain

GIVE_UP = 3
"""A flow's code that is still busy after so many times the patience of an engine is left to itself."""

CUT_SHORT = frozenset({"Divergence", "NeverAwaits", "WorkerLost", "CorruptRecord"})
"""Failures with which runs end that their flow's code did not end."""

_OF_STEPS = OUTCOMES | {Kind.ATTEMPT, Kind.START, Kind.ASKED}
"""Kinds of entries that show that the code has asked for a step."""

What = Literal["input", "again", "shifted", "new", "left", "undo", "end", "result", "unsettled", "unreadable"]


class Difference(NamedTuple):
    """Where today's code leaves what a run recorded.

    Attributes:
        what: ``input``: a step is asked for with another input. ``again``: likewise, and the flow's policy is to run it
            again. ``shifted``: a call that was recorded under another identity. ``new``: a step that the record does
            not have. ``left``: one that it has, and that is not asked for. ``undo``: of an undo that the record has or
            has not. ``end``, ``result``: the run ends otherwise. ``unsettled``: the code never awaits. ``unreadable``:
            the record cannot be read.
        step: its identity, if it is one step's.
        said: all of that, in words.
        recorded, today: what was recorded, and what it would be now, as plain data, where these are values.
    """

    what: What
    step: str | None
    said: str
    recorded: Any = None
    today: Any = None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What became of a run when today's code was put to its record.

    Attributes:
        status: how the run stands in the store.
        differences: where the code leaves the record, the first one first; empty if it does not.
        next: of a run that has not ended, what it would wait for next, or how it would end.
        outcomes: how many outcomes were recorded and still count.
        met: how many of them the code asked for.
        changed: the flow's source or its version is another one than the run was started with.
    """

    run: str
    flow: str
    status: Status
    differences: tuple[Difference, ...] = ()
    next: tuple[str, ...] = ()
    outcomes: int = 0
    met: int = 0
    changed: bool = False

    @property
    def same(self) -> bool:
        """Whether the run would go the same way."""
        return not self.differences


def rehearse(spec: FlowSpec, row: Row, entries: Sequence[Entry], artifacts: Artifacts) -> Rehearsal:
    """Put today's code of a flow to all that one of its runs recorded. Runs no step, and writes nothing.

    The code runs in a thread of its own, with the log silent. What it does outside of steps, it does.

    Args:
        spec: the flow: ``my_flow.spec``.
        row, entries: the run and its journal, as ``store.load(id)`` gives them.
        artifacts: where the store keeps large values; only read.

    >>> async with Engine("sqlite:runs.db", execute=False) as engine:
    ...     row, entries = await engine.store.load("2026-11")
    ...     assert rehearse(month.spec, row, entries, engine.artifacts).same
    """
    found: list[Rehearsal | BaseException] = []
    watch = _Watch()

    def body() -> None:
        try:
            found.append(_rehearsed(spec, row, entries, artifacts, watch))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=copy_context().run, args=(body,), name="segue-rehearsal", daemon=True)
    with _silence(thread):
        thread.start()
        while thread.is_alive() and watch.idle() < GIVE_UP * lease.PATIENCE:
            thread.join(min(0.5, lease.PATIENCE / 4))
            watch.check()
    match found:
        case [Rehearsal() as rehearsal]:
            return rehearsal
        case [NeverAwaits()]:  # it struck while the code was being unwound
            return _verdict(row, spec, [_unsettled()])
        case [BaseException() as error]:
            raise error
        case _:
            return _verdict(row, spec, [_unsettled(", and catches what is thrown into it")])


def unreadable(row: Row, error: CorruptRecord) -> Rehearsal:
    """What there is to say of a run whose record cannot be read."""
    said = f"its record cannot be read: {error}"
    return Rehearsal(row.id, row.flow, row.status, (Difference("unreadable", None, said),))


def _verdict(row: Row, spec: FlowSpec, differences: list[Difference], **more: Any) -> Rehearsal:
    changed = (row.code, row.version) != (spec.code, spec.version)
    return Rehearsal(row.id, row.flow, row.status, tuple(differences), changed=changed, **more)


def _unsettled(how: str = "") -> Difference:
    said = f"the flow's own code ran for more than {lease.PATIENCE:g} s without an await"
    return Difference("unsettled", None, said + how)


@contextmanager
def _silence(thread: threading.Thread) -> Generator[None, None, None]:
    """Drop what that thread logs: it was said when the run was recorded."""

    def keep(record: logging.LogRecord) -> bool:
        return record.thread != thread.ident

    loggers = [logging.getLogger(name) for name in ("segue", "segue.flow")]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


class _Watch(Stopwatch):
    """Knows since when the code has not got on, whatever was thrown into it meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._moved = time.monotonic()

    def start(self) -> None:
        self._moved = time.monotonic()
        super().start()

    def idle(self) -> float:
        """Seconds since it was last started."""
        return time.monotonic() - self._moved


def _rehearsed(spec: FlowSpec, row: Row, entries: Sequence[Entry], artifacts: Artifacts, watch: _Watch) -> Rehearsal:
    try:
        run = _Rehearsed(_Stage(_ReadOnly(artifacts.root), _last(row, entries), watch), spec, row, list(entries), watch)
        try:
            run.play()
        finally:
            try:
                run.close()
            finally:
                watch.stop()
        return run.verdict()
    except CorruptRecord as error:
        return unreadable(row, error)


def _last(row: Row, entries: Sequence[Entry]) -> float:
    """When the run recorded its last entry."""
    return max([row.started or row.created, *(entry.ended for entry in entries)])


# What the run has in place of an engine


class _ReadOnly(Artifacts):
    """Large values, of which none is written: a value that would be is known by its hash alone."""

    def spill(self, data: bytes | None) -> bytes | None:
        return None if data is None else self.reference(data)

    def _renew(self, digest: str) -> bool:
        return True  # so it need not be put

    def _place(self, digest: str, write: Callable[[Path], object]) -> None:
        pass


class _Stage:
    """An engine and a journal, as far as a run has to do with them that starts nothing."""

    around = None
    ambient: Any = None
    """The loop that runs beside: none does in a rehearsal's thread."""

    def __init__(self, artifacts: Artifacts, now: float, watch: Stopwatch) -> None:
        self.artifacts, self._now, self.watch = artifacts, now, watch
        self.watchers: list[Any] = []
        self.journal = self

    def clock(self) -> float:
        return self._now

    def wake(self, run: Run) -> None:
        pass

    def unwatch(self, id: str, ended: Any) -> None:
        pass

    def write(self, run: Run, entry: Entry) -> None:
        pass

    def change(self, run: Run, change: Any) -> None:
        pass

    def took(self, took: Any) -> None:
        pass


class _Rehearsed(Run):
    """A run whose code is put to its record.

    Attributes:
        differences: found so far.
        waits: what the code waits for once the record is at its end.
    """

    def __init__(self, stage: _Stage, spec: FlowSpec, row: Row, entries: list[Entry], watch: _Watch) -> None:
        super().__init__(cast("Any", stage), spec, row, entries, new=False)
        self._watch, self._slow = watch, False
        self.differences: list[Difference] = []
        self.waits: list[str] = []
        self._met: set[str] = set()
        self._told: set[str] = set()
        self._asking: tuple[StepId, bytes] = (StepId(""), b"")
        self._probe: list[tuple[Status, bytes, Failure | None]] | None = None
        excused = _excused(self.past.entries) | {e.seq for e in self.past.entries if e.step in self.past.spare}
        of_steps = [entry for entry in self.past.entries if entry.kind in _OF_STEPS]
        self._known = {entry.step: entry.seq in excused for entry in of_steps}
        self._outcomes = {entry.step for entry in of_steps if entry.kind in OUTCOMES}
        self._ends = row.status.terminal and not self._cut_short()
        """The code has ended the run, so that all it asked for is recorded."""

    def _cut_short(self) -> bool:
        """Whether the run ended without its code having come to that end."""
        if self.row.status is Status.CANCELLED:
            return not any(entry.kind in UNASKED for entry in self.past.entries)
        return self.row.status is Status.FAILED and self._recorded_failure().type in CUT_SHORT

    def _recorded_failure(self) -> Failure:
        return read_failure(self.engine.artifacts.fetch(self.row.result))

    def play(self) -> None:
        """Run the code as far as the record goes."""
        self._watch.start()
        try:
            self.begin()
            self.pump()
        except Exception as error:  # the input does not fit its parameters any more, or it never awaits
            self.fail(error)
        self._slow = self._watch.idle() > lease.PATIENCE

    # What is caught

    def start_held(self) -> None:
        """Nothing starts: this is what the run would do next."""
        held = self._still_held()
        self._held.clear()
        for asked in held:
            if self.tape.replaying and isinstance(asked, Call | ChildCall):
                self._asking = asked.step, asked.input
                if self._shifted(asked):
                    return
        self._look_for_new(held)
        self.waits = [_named(asked.step) for asked in held if not asked.step.startswith("@timeout/")]

    def _still_held(self) -> list[Asked]:
        return [asked for _, asked in self._held if self._waiting.get(asked.step) is asked]

    def record(
        self, kind: Kind, step: StepId, attempt: int, started: float, input: bytes | None, output: bytes | None
    ) -> None:
        """A call ends that never began: the code has cancelled it."""
        if self._ends:
            self._new(step, f"{_given(self._waiting.get(step))}, and cancelled at once,")
        super().record(kind, step, attempt, started, input, output)

    def report(self, context: dict[str, Any]) -> None:
        """It was reported when the run was recorded."""

    def _begin_to_end(self, status: Status, error: BaseException) -> None:
        if self._probe is None and self._effects and self._ends:
            steps = ", ".join(repr(effect.step) for effect in self._effects)
            said = f"the run ends in failure, and what {steps} did would be undone now; the record has no undo"
            self._differ("undo", self._effects[-1].step, said)
            self._finish(status, error)
        elif self._probe is not None:
            self._probe.append((status, b"", self._failure(error)))
        else:
            super()._begin_to_end(status, error)

    def _finish(
        self, status: Status, error: BaseException | None, data: bytes = b"", *, failure: Failure | None = None
    ) -> None:
        if self._probe is not None:
            self._probe.append((status, data, failure))
        else:
            super()._finish(status, error, data, failure=failure)

    # What is looked at

    def _look_up(self, asked: Any, input: bytes, same: Callable[[bytes, bytes], bool]) -> None:
        if not self._refusing:
            self._asking = step, _ = asked.step, input
            self._met.add(step)
            recorded = self.tape.recorded_input(step)
            super()._look_up(asked, input, same)
            if recorded is not None and self.tape.recorded_input(step) is None:  # it was forgotten, to run again
                before = self.engine.artifacts.fetch(recorded) or b""
                said = f"{_spoken(step)} would run again: it is asked for with {show(input)}, and was recorded with "
                self._differ("again", step, said + show(before), before, input)

    def arm(self, timer: Timer) -> None:
        super().arm(timer)
        if not self._refusing:
            self._met.add(timer.step)

    def _diverge(self, what: str) -> NoReturn:
        step, input = self._asking
        recorded = self.engine.artifacts.fetch(self.tape.recorded_input(step))
        self._differ("shifted" if recorded is None else "input", step, what, recorded, input)
        super()._diverge(what)

    def _overrule(self, entry: Entry) -> None:
        if self._ends:  # what comes from outside would come at another place
            self._look_for_new([asked for asked in self._still_held() if not isinstance(asked, FlowTimer)])
        if entry.kind is Kind.UNDO and not self.differences:
            self._compare_undone(read_end(entry))
        super()._overrule(entry)

    def _look_for_new(self, held: Sequence[Asked]) -> None:
        """Tell of calls that leave the record: it has ended without them, or goes on without them."""
        if not self._ends and not self._missed():
            return
        calls = [asked for asked in held if not isinstance(asked, FlowTimer)]
        for asked in calls or held:
            if asked.step not in self._known:
                self._new(asked.step, _given(asked))

    def _new(self, step: StepId, given: str) -> None:
        if step in self._told:
            return
        self._told.add(step)
        missed = self._missed() if len(self._told) < 100 else []
        said = f"{_spoken(step)} is asked for{given} and the record does not have it"
        self._differ("new", step, f"{said}; not asked for so far: {_listed(missed)}" if missed else said)

    def _missed(self) -> list[str]:
        """What the record has, and the code has not asked for so far, in recorded order."""
        return [step for step, excused in self._known.items() if not excused and step not in self._met]

    def _differ(
        self, what: What, step: str | None, said: str, recorded: bytes | None = None, today: bytes | None = None
    ) -> None:
        self.differences.append(Difference(what, step, said, plain(recorded), plain(today)))
        if step is not None:
            self._told.add(step)

    # The end

    def verdict(self) -> Rehearsal:
        """How it went."""
        found = {difference.what for difference in self.differences}
        if self._slow and not (self.row.status is Status.FAILED and self._recorded_failure().type == "NeverAwaits"):
            self.differences.append(_unsettled())
        elif self._result is not None and not found & {"input", "shifted"}:
            self._compare_ends(*self._result)
        elif self._result is None and not found & {"new", "again"}:  # else the others may come after that
            self._tell_missed()
        return _verdict(
            self.row,
            self.spec,
            self.differences,
            next=() if self._ends or self.differences else tuple(self.waits),
            outcomes=len(self._outcomes),
            met=len(self._outcomes & self._met),
        )

    def _tell_missed(self) -> None:
        for step in self._missed():
            recorded = self.engine.artifacts.fetch(self.tape.recorded_input(StepId(step)))
            given = f", which was recorded with {show(recorded)}," if recorded is not None else ""
            self._differ("left", step, f"{_spoken(step)}{given} is not asked for any more", recorded)

    def _compare_undone(self, end: End) -> None:
        """The run began here to undo what it had done: today's code has to have come to the same end."""
        if self._main is None or not self._main.done() or any(not task.done() for task in self._tasks):
            goes_on = f"it waits for {_listed([*self._waiting])}" if self._waiting else "it waits for nothing"
            if self._waiting or end.failure.type != Stalled.__name__:
                self._differ("end", None, f"the run ended with {_short(end.failure)}, and goes on now: {goes_on}")
            return
        self._probe = []
        try:
            self._conclude()
            [(status, _, failure)] = self._probe
        finally:
            self._probe = None
        self._compare(end.status, end.failure, status, failure)

    def _compare_ends(self, status: Status, data: bytes) -> None:
        """The code came to an end; a failure tells why it asked for no more."""
        today = None if status is Status.COMPLETED else read_failure(data)
        before = self.row.status
        recorded = self._recorded_failure() if before in (Status.FAILED, Status.CANCELLED) else None
        if today is None:
            self._tell_missed()
        if not self._ends and before is not Status.WAITING:
            self.waits = [f"its end: {status} with {_short(today)}" if today is not None else f"its end: {status}"]
        elif before is status is Status.COMPLETED:
            self._compare_results(data)
        else:
            self._compare(before, recorded, status, today)
        if today is not None:
            self._tell_missed()

    def _compare(self, before: Status, recorded: Failure | None, status: Status, today: Failure | None) -> None:
        """Compare the ends of the run, of which one at least is no good end."""
        if before == status and (recorded is None or today is None or recorded[:2] == today[:2]):
            return
        ended = f"with {_short(recorded)}" if recorded is not None else str(before)
        ends = f"{status} with {_short(today)}" if today is not None else str(status)
        waits = f"the run waits ({self.row.reason})" if before is Status.WAITING else f"the run ended {ended}"
        values = [None if failure is None else _told(failure) for failure in (recorded, today)]
        step = today.step if today is not None and today.step else None
        self.differences.append(Difference("end", step, f"{waits}, and would end {ends}", *values))

    def _compare_results(self, data: bytes) -> None:
        codec, artifacts = self.spec.output, self.engine.artifacts
        if data == self.row.result:
            return
        assert self._main is not None
        today, value = codec.encode(self._main.result())
        recorded = artifacts.fetch(self.row.result) or b""
        if not _alike(codec, recorded, value):
            said = f"the result was {show(recorded)}, and is {show(today)}"
            self._differ("result", None, said, recorded, today)


def _excused(entries: Sequence[Entry]) -> set[int]:
    """The places of results that a redrive left to be used again, if the code asks for them."""
    places: set[int] = set()
    for entry in entries:
        if entry.kind in (Kind.REDRIVE, Kind.FORKED):
            places |= {earlier.seq for earlier in entries if read_redrive(entry).after <= earlier.seq < entry.seq}
        elif entry.kind is Kind.NOTED and unpack(entry)[0].given:
            places.add(entry.seq)
    return places


def _alike(codec: Codec, recorded: bytes, value: Any) -> bool:
    """Whether a recorded result means this value: sets, for one, are not always encoded in one order."""
    try:
        return difference(codec.decode(recorded), value) is None
    except Unstorable:  # the annotation has changed
        return False


def _given(asked: Asked | None) -> str:
    return f" with {show(asked.input)}" if isinstance(asked, Call | ChildCall) else ""


def _spoken(step: str) -> str:
    """A step, as it is told of."""
    named = _named(step)
    return f"step {step!r}" if named == step else named


def _named(step: str) -> str:
    name = name_of(step)
    if name == "@timer":
        return "a timer"
    return f"signal {name.removeprefix('@wait.')!r}" if name.startswith("@wait.") else step


def _listed(steps: Sequence[str]) -> str:
    more = f" and {len(steps) - 5} more" if len(steps) > 5 else ""
    return ", ".join(_spoken(step) for step in steps[:5]) + more


def _short(failure: Failure) -> str:
    return shortened(f"{failure.type}: {failure.message}" if failure.message else failure.type, 300)


def _told(failure: Failure) -> dict[str, str]:
    return {"type": failure.type, "message": failure.message, "traceback": failure.traceback}
