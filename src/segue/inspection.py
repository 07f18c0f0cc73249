"""Reading runs back: steps and attempts, out of the journal. Pure: no store, no clock."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from segue.core.branches import name_of, undone_step
from segue.core.entries import OUTCOMES, Entry, Kind
from segue.core.lifecycle import Status
from segue.core.redrive import past
from segue.errors import CorruptRecord, Failure
from segue.runtime.failures import read_failure
from segue.runtime.ids import child_id
from segue.runtime.mailbox import events_of
from segue.runtime.notes import PLAIN, Note, unpack
from segue.runtime.redrives import read_deed, read_redrive, read_redriven
from segue.stores.base import Row
from segue.values import encode, plain

AttemptStatus = Literal["completed", "failed", "cancelled", "running", "asking", "lost"]
StepStatus = Literal["completed", "failed", "cancelled", "running", "asking", "retrying", "lost"]
StepKind = Literal["step", "run", "timer"]
Undo = Literal["undone", "not undone", "unknown"]
"""What became of an effect: ``unknown`` if the step gave no result, but its body has run, or may have."""
Fetch = Callable[[bytes | None], bytes | None]


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a step.

    Attributes:
        number: from 1.
        ended: None while it runs, or if its worker died.
        status: ``lost`` if its worker died.
        error: what happened, if it failed.
        rung: of the step's ladder: 0 for the step itself.
        by: that rung's name, where it is not the step itself.
    """

    number: int
    started: float
    ended: float | None
    status: AttemptStatus
    error: Failure | None = None
    rung: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run, or what stands among its steps: a child run, a timer.

    Attributes:
        id: its identity in the run, as in ``"1.2/fetch#3"``.
        status: ``retrying`` between a failed attempt and the next, ``asking`` while a person has to decide, ``lost``
            if its worker died.
        input: its arguments by name, as plain data; None if none were recorded.
        output: its result, as plain data.
        error: why it failed.
        run: the child run's id, if it is one.
        note: where its result came from, and how sure it is.
        asked: the ids of the questions that it put to people.
        undo: of an effect that can be undone, in a run that failed or was cancelled: what became of it.
        undoes: the step whose effect it undoes.
        edited: its input is what a person gave in place of the flow's.
        reversible: it has an effect that can be undone, and its body has run, or may have.
    """

    id: str
    name: str
    kind: StepKind
    status: StepStatus
    attempts: tuple[AttemptRecord, ...]
    input: Any = None
    output: Any = None
    error: Failure | None = None
    run: str | None = None
    note: Note = PLAIN
    asked: tuple[str, ...] = ()
    undo: Undo | None = None
    undoes: str | None = None
    edited: bool = False
    reversible: bool = False

    @property
    def started(self) -> float:
        return self.attempts[0].started

    @property
    def ended(self) -> float | None:
        return self.attempts[-1].ended if self.status in ("completed", "failed", "cancelled", "lost") else None


@dataclass(frozen=True, slots=True)
class Takeover:
    """A worker that went on with the run after another one had died."""

    time: float
    worker: str


@dataclass(frozen=True, slots=True)
class Intervention:
    """Something that reached the run from outside, or was done to it.

    Attributes:
        kind: ``signal``, ``events``, ``cancel``, ``undo``, ``redrive``, ``fork`` or ``discard``.
        by: who did it, if that is known.
        said: the rest, in words.
        data: what came, what was edited, or the end that was taken back, as plain data.
    """

    time: float
    kind: str
    by: str
    said: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run, as its journal tells it."""

    row: Row
    input: Any
    result: Any
    error: Failure | None
    steps: tuple[StepRecord, ...]
    takeovers: tuple[Takeover, ...] = ()
    interventions: tuple[Intervention, ...] = ()

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def status(self) -> Status:
        return self.row.status


def timeline(row: Row, entries: Sequence[Entry], children: Sequence[Row] = (), fetch: Fetch | None = None) -> RunRecord:
    """The run's steps with all their attempts, in the order in which they began.

    Args:
        children: the runs that it called, oldest first: ``store.find(Query(parent=row.id))``, turned round.
        fetch: gives a large value that was stored elsewhere, as ``engine.artifacts.fetch`` does. Without it such
            values are named and not loaded.
    """
    read = _Reader(fetch)
    drafts: dict[str, _Draft] = {}
    takeovers, owner = list[Takeover](), ""
    counting = past(entries, read_redrive)
    for entry in counting.entries:
        if entry.kind is Kind.CLAIM:
            claim = read.data(entry.output, {})
            worker = str(claim.get("worker", ""))
            if claim.get("losses") and worker != owner:  # else it was only woken, or handed over
                takeovers.append(Takeover(entry.started, worker))
            owner = worker
            for draft in drafts.values():
                draft.lose(entry.ended)
        elif entry.kind not in _OUTSIDE:
            drafts.setdefault(entry.step, _Draft(entry.step)).add(entry, read)
    for step, edit in counting.edits.items():
        if step in drafts:
            drafts[step].edit = edit
    for child in children:
        _adopt(row.id, child, drafts, counting.fresh)
    if row.status.terminal or row.status is Status.QUEUED:
        for draft in drafts.values():
            draft.lose(row.ended or row.due)
    steps = sorted((draft.record(read) for draft in drafts.values()), key=lambda step: step.started)
    failed = row.status in (Status.FAILED, Status.CANCELLED, Status.EXPIRED)
    if failed:
        steps = _with_undo(steps)
    return RunRecord(
        row,
        read.data(row.input),
        read.data(row.result) if row.status is Status.COMPLETED else None,
        read.failure(row.result) if failed else None,
        tuple(steps),
        tuple(takeovers),
        tuple(_intervention(entry, read, row) for entry in entries if entry.kind in _OUTSIDE),
    )


_OUTSIDE = frozenset({Kind.SIGNAL, Kind.CANCEL, Kind.UNDO, Kind.REDRIVE, Kind.FORKED, Kind.DISCARD, Kind.EVENTS})
"""Kinds of entries that belong to no step."""


def _intervention(entry: Entry, read: "_Reader", row: Row) -> Intervention:
    if entry.kind is Kind.EVENTS:
        return _taken_along(entry, read, row)
    if entry.kind is Kind.SIGNAL:
        name = entry.step.removeprefix("@signal.")
        return Intervention(entry.ended, "signal", "", f"signal {name!r} came", read.data(entry.output))
    if entry.kind in (Kind.REDRIVE, Kind.FORKED):
        return _redriven(entry)
    if entry.kind is Kind.UNDO:
        return Intervention(entry.ended, "undo", "", "what it had done was undone from here on")
    deed = read_deed(entry.output)
    by, why = str(deed.get("by") or ""), str(deed.get("why") or "")
    kind, said = ("cancel", "asked to cancel it") if entry.kind is Kind.CANCEL else ("discard", "discarded it")
    return Intervention(entry.ended, kind, by, said + (f": {why}" if why else ""))


def _taken_along(entry: Entry, read: "_Reader", row: Row) -> Intervention:
    _, *others = events = events_of(entry)
    said = f"took {len(others)} event{'s' * (len(others) > 1)} along that came before it began"
    if events[-1].input == row.input:
        said += f"; it acts on the last one, and {len(others)} {'are' if len(others) > 1 else 'is'} dropped"
    data = [{"run": event.run, "at": event.at, "input": read.data(event.input)} for event in events]
    return Intervention(entry.ended, "events", "", said, data)


def _redriven(entry: Entry) -> Intervention:
    redriven = read_redriven(entry)
    redrive, deed = redriven.redrive, redriven.deed
    kind, said = ("fork", f"forked run {redrive.of}") if entry.kind is Kind.FORKED else ("redrive", "let it go on")
    said += f" from {redrive.step}" if redrive.step else ""
    if redrive.edits:
        said += f", with an edited input of {', '.join(redrive.edits)}"
    if redriven.results:
        said += f", with a given result of {', '.join(redriven.results)}"
    data = {
        "from": redrive.step,
        "inputs": {step: plain(edit) for step, edit in redrive.edits.items()},
        "results": list(redriven.results),
        "error": error_data(read_failure(redriven.end)) if redriven.end else None,
    }
    return Intervention(entry.ended, kind, deed.by, said + (f": {deed.why}" if deed.why else ""), data)


def _with_undo(steps: list[StepRecord]) -> list[StepRecord]:
    """The steps of a run that failed, with what became of their effects."""
    undone = {step.undoes: step.status == "completed" for step in steps if step.undoes is not None}
    found: list[StepRecord] = []
    for step in steps:
        undo: Undo | None = None
        if step.id in undone:
            undo = "undone" if undone[step.id] else "not undone"
        elif step.reversible and step.undoes is None:
            undo = "not undone" if step.status == "completed" and not step.note.rung else "unknown"
        found.append(replace(step, undo=undo))
    return found


class _Reader:
    """Stored bytes as what they mean. What cannot be read is named, so that the rest can still be shown."""

    def __init__(self, fetch: Fetch | None) -> None:
        self._fetch = fetch

    def data(self, stored: bytes | None, default: Any = None) -> Any:
        if stored is None or stored == b"":
            return default
        if is_reference(stored):
            digest = stored[3:].hex()
            if self._fetch is None:
                return {"artifact": digest}
            try:
                stored = self._fetch(stored)
            except CorruptRecord as error:
                return {"artifact": digest, "problem": str(error)}
        return plain(stored)

    def failure(self, stored: bytes | None) -> Failure:
        fields: Any = self.data(stored)
        if isinstance(fields, str):
            return Failure("Unknown", fields)
        return read_failure(encode(fields, "failure"))


def is_reference(stored: bytes) -> bool:
    """Whether these bytes only name a large value: see ``segue.stores.artifacts``."""
    return len(stored) == 35 and stored.startswith(b"\xc7\x20\x01")


@dataclass(slots=True)
class _Draft:
    """A step while its entries are read."""

    id: str
    attempts: dict[int, AttemptRecord] = field(default_factory=dict[int, AttemptRecord])
    kind: StepKind = "step"
    status: StepStatus = "running"
    input: bytes | None = None
    output: bytes | None = None
    error: Failure | None = None
    run: str | None = None
    note: Note = PLAIN
    asked: list[str] = field(default_factory=list[str])
    reversible: bool = False
    edit: bytes | None = None

    def add(self, entry: Entry, read: _Reader) -> None:
        self.input = self.input if entry.input is None else entry.input
        number = max(1, entry.attempt)
        if entry.kind is Kind.ASKED:
            if (question := str(read.data(entry.output))) not in self.asked:
                self.asked.append(question)
                self.status = "asking"
                self.attempts[number] = AttemptRecord(number, entry.started, None, "asking")
        elif entry.kind is Kind.START:
            self.status, self.reversible = "running", self.reversible or entry.output is not None
            self.attempts[number] = AttemptRecord(number, entry.started, None, "running")
        elif entry.kind is Kind.ATTEMPT:
            self.status = "retrying"
            error = read.failure(entry.output)
            known = self.attempts.get(number)
            started = known.started if known is not None and known.status == "asking" else entry.started
            self.attempts[number] = AttemptRecord(number, started, entry.ended, "failed", error, error.rung, error.by)
        elif entry.kind in OUTCOMES:
            self._conclude(entry, number, read)

    def _conclude(self, entry: Entry, number: int, read: _Reader) -> None:
        status: Literal["completed", "failed", "cancelled"] = "completed"
        if entry.kind is Kind.TIMER:
            self.kind = "timer"
        elif entry.kind in (Kind.OK, Kind.NOTED):
            self.note, self.output = unpack(entry)
            self.error = None
        elif entry.kind is Kind.ERROR:
            status, self.error = "failed", read.failure(entry.output)
        else:
            status = "cancelled"
        self.status = status
        known = self.attempts.get(number)
        if known is not None and known.ended is not None and known.status == "failed" and status != "completed":
            return  # it ended between two attempts: cancelled, or out of time
        # a person was asked before the run left memory and came back
        asked = known is not None and known.status == "asking"
        started = known.started if known is not None and asked else min(entry.started, entry.ended)
        rung, by = (self.error.rung, self.error.by) if self.error is not None else (self.note.rung, self.note.by)
        self.attempts[number] = AttemptRecord(number, started, entry.ended, status, self.error, rung, by)

    def lose(self, at: float) -> None:
        """The worker is gone, and with it whatever still ran."""
        for number, attempt in self.attempts.items():
            if attempt.status == "running" and self.run is None:
                self.attempts[number] = AttemptRecord(number, attempt.started, max(at, attempt.started), "lost")
                self.status = "lost"

    def _input(self, read: _Reader) -> Any:
        """What the step ran with: what the flow gave it, with what a person has put over it."""
        given: Any = read.data(self.input)
        if self.edit is None:
            return given
        before = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        return {**before, **plain(self.edit)}

    def record(self, read: _Reader) -> StepRecord:
        attempts = tuple(self.attempts[number] for number in sorted(self.attempts))
        output = read.data(self.output)
        name = self.id if self.kind == "timer" else name_of(self.id)
        if name.startswith("@wait."):
            name = f"signal {name.removeprefix('@wait.')}"
        return StepRecord(
            self.id,
            name,
            self.kind,
            self.status,
            attempts,
            self._input(read),
            output,
            self.error,
            self.run,
            self.note,
            tuple(self.asked),
            None,
            undone_step(self.id),
            self.edit is not None,
            self.reversible,
        )


def _adopt(run: str, child: Row, drafts: dict[str, _Draft], fresh: Mapping[str, int]) -> None:
    """Find the step that a child run is; one that has not ended has no entry yet."""
    same_name = [draft for draft in drafts.values() if name_of(draft.id) == child.flow and draft.run is None]
    derived = [draft for draft in same_name if child_id(run, draft.id, fresh.get(draft.id, 0)) == child.id]
    named_by_caller = [draft for draft in same_name if not child.id.startswith(f"{run[:40]}.")]
    found = next(iter(derived or named_by_caller), None)
    if found is None:
        found = drafts[child.id] = _Draft(child.flow)
        found.status = "completed" if child.status is Status.COMPLETED else "running"
        found.attempts[1] = AttemptRecord(1, child.started or child.created, child.ended, found.status)
    found.kind, found.run = "run", child.id


def reason_of(row: Row, now: float, flows: Collection[str] | None = None) -> str | None:
    """What a run waits for, by name, if it does not run and has not ended; which run took it along, if one did.

    Args:
        flows: those that this process knows, if it is one that executes runs.
    """
    if row.status in (Status.WAITING, Status.MERGED):
        return row.reason
    if row.status is Status.HELD:
        then = f", {row.reason}" if row.reason is not None else ""
        return f"for its turn: another run of key {row.key!r} goes first{then}"
    if row.status is Status.QUEUED:
        if row.due > now:
            return f"delayed for {row.due - now:.0f} s more"
        then = f", {row.reason}" if row.reason is not None else ""
        if flows is not None and row.flow not in flows:
            return f"for a worker that knows flow {row.flow!r}{then}"
        return f"for a free worker{then}"
    return None


def until_of(row: Row) -> float | None:
    """Until when a parked run waits at most, if it does not wait for a person: their time is in the inbox."""
    if row.status is not Status.WAITING or row.due > 1e14 or "to answer question" in (row.reason or ""):
        return None
    return row.due


def as_data(record: RunRecord) -> dict[str, Any]:
    """The run as plain data: what ``segue show --json`` prints. Timers are left out; they are no steps."""
    return {
        "id": record.id,
        "flow": record.row.flow,
        "version": record.row.version,
        "status": str(record.status),
        **({"degraded": True} if record.row.fallbacks else {}),
        "input": record.input,
        "result": record.result,
        "error": error_data(record.error),
        **({"interventions": [_told(one) for one in record.interventions]} if record.interventions else {}),
        "steps": [_step_data(step) for step in record.steps if step.kind != "timer"],
    }


def _step_data(step: StepRecord) -> dict[str, Any]:
    attempts = [
        {
            "started": a.started,
            "ended": a.ended,
            "status": a.status,
            "error": error_data(a.error),
            **({"rung": a.rung, "by": a.by} if a.rung else {}),
        }
        for a in step.attempts
    ]
    data = {"id": step.id, "name": step.name, "attempts": attempts, "input": step.input, "output": step.output}
    data |= _note_data(step.note)
    data |= {"questions": list(step.asked)} if step.asked else {}
    data |= {"undo": step.undo} if step.undo is not None else {}
    data |= {"undoes": step.undoes} if step.undoes is not None else {}
    data |= {"edited": True} if step.edited else {}
    return data if step.run is None else {**data, "run": step.run}


def _told(one: Intervention) -> dict[str, Any]:
    return {"time": one.time, "kind": one.kind, "by": one.by, "said": one.said, "data": one.data}


def _note_data(note: Note) -> dict[str, Any]:
    """What there is to say of a result, without what goes without saying."""
    given = {name: value for name, value in note._asdict().items() if value != getattr(PLAIN, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}  # pyright: ignore


def error_data(failure: Failure | None) -> dict[str, Any] | None:
    """A failure as plain data."""
    if failure is None:
        return None
    data = {"type": failure.type, "message": failure.message, "traceback": failure.traceback, "note": failure.note}
    return {**data, "raw": failure.raw} if failure.raw else data
