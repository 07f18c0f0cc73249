"""Repair: what people do about runs that have ended, or should: redrive, discard, fork, cancel.

Every function works on a store, by default that of the engine which calls made here would use. None of them executes
anything: a worker, or ``segue resume``, goes on with what they queue.

>>> from segue import repair
>>> for fault in await repair.dead():
...     print(fault.runs, fault.flow, fault.step, fault.error)
>>> await repair.redrive(run, by="ada", input={"income": 4200})
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from zlib import crc32

from segue.core.branches import name_of
from segue.core.entries import GOOD, OUTCOMES, Entry, Kind
from segue.core.lifecycle import Status
from segue.core.redrive import BEGINNING, NoSuchStep, Past, Redrive, find_step, past, plan
from segue.errors import CannotRedrive, Conflict, Failure, UnknownRun, UsageError
from segue.runtime.failures import read_failure
from segue.runtime.ids import checked, child_id, new_id
from segue.runtime.notes import Note, pack
from segue.runtime.redrives import Deed, Redriven, pack_deed, pack_redriven, read_redrive
from segue.sending import LARGEST, cancel_run
from segue.stores.base import TOOK, Amend, Fault, NewRun, Query, Row, Store
from segue.stores.pruning import BEING_PRUNED, renew
from segue.types import StepId
from segue.values import encode

__all__ = ["Fault", "Repaired", "cancel", "dead", "discard", "fork", "redrive", "redrive_all"]


class Repaired(NamedTuple):
    """A run that a redrive has queued again.

    Attributes:
        step: where it goes on; empty if only the flow's own code had failed.
    """

    run: str
    flow: str
    step: str


async def _store(store: Store | None) -> Store:
    if store is not None:
        return store
    from segue.runtime.default import current  # an engine takes long to load, and is not needed to look at a store

    return (await current()).store


def _deed(by: str, why: str) -> Deed:
    if not isinstance(by, str) or not by.strip() or len(by) > 200 or not by.isprintable():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"by= is the name of who does it, not {by!r:.220}")
    try:
        why.encode()
    except UnicodeEncodeError:
        raise UsageError(f"why= is text that can be written in UTF-8, not {why!r:.220}") from None
    return Deed(by, why[:2000])


async def dead(*, flow: str | None = None, store: Store | None = None) -> list[Fault]:
    """Dead letters: runs that failed for good and that nobody has dealt with, those that are alike together.

    >>> [(fault.runs, fault.step, fault.error) for fault in await repair.dead()]
    [(17, 'ocr', 'ConnectionError')]
    """
    return await (await _store(store)).faults(flow)


async def cancel(run: str, *, by: str, why: str = "", store: Store | None = None) -> Status:
    """Have a run cancelled, wherever it executes. Gives how it stands: ``cancelled`` if it had not begun.

    Raises:
        RunEnded: it has ended already.
        UnknownRun: there is no such run.

    >>> await repair.cancel(run, by="ada", why="a duplicate")
    """
    deed = _deed(by, why)
    return await cancel_run(await _store(store), run, by=deed.by, why=deed.why)


# Redrive


class _Ended(NamedTuple):
    """A run that has ended, read for repair."""

    row: Row
    entries: list[Entry]
    past: Past
    failure: Failure

    @property
    def failed(self) -> str | None:
        return self.failure.step or None


async def _load(store: Store, run: str) -> tuple[Row, list[Entry]]:
    loaded = await store.load(run)
    if loaded is None or loaded[0].reason == BEING_PRUNED:
        raise UnknownRun(f"no run has the id {run!r} in {store.url}")
    return loaded


async def _ended(store: Store, run: str) -> _Ended:
    row, entries = await _load(store, run)
    if row.status not in (Status.FAILED, Status.CANCELLED):
        hint = "; to run it again with today's code: segue fork" if row.status is Status.COMPLETED else ""
        raise CannotRedrive(f"run {run} is {row.status}: only one that failed or was cancelled can be redriven{hint}")
    return _Ended(row, entries, past(entries, read_redrive), read_failure(row.result))


async def redrive(
    run: str,
    *,
    by: str,
    start: str | None = None,
    input: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] = MappingProxyType({}),
    why: str = "",
    store: Store | None = None,
) -> list[Repaired]:
    """Let a run that failed or was cancelled go on: from the step that failed, or from an earlier one.

    What is recorded before that step is not run again. If effects of the run were undone, it goes on from the first of
    them. A child run that failed goes on too, and so does the parent that failed for it.

    Args:
        by: who does it; it is recorded, with what was changed.
        start: the step to go on from, by name or identity; ``"start"`` for all of it.
        input: what to run that step with in place of what the flow gives it, by parameter. What is not named stays.
        results: results that steps get without being run, by step.

    Returns:
        The runs that are queued again.

    Raises:
        CannotRedrive: it is not at its end, or cannot go on from there; nothing was changed.
        UnknownRun: there is no such run.

    >>> await repair.redrive(run, by="ada", start="read", input={"dpi": 600})
    """
    where = await _store(store)
    deed = _deed(by, why)
    found = await _ended(where, run)
    repaired = await _reopen(where, found, deed, start, input, results)
    return repaired + await _reopen_parents(where, found.row, deed)


async def redrive_all(
    *,
    by: str,
    flow: str | None = None,
    step: str | None = None,
    error: str | None = None,
    limit: int = 1_000_000,
    start: str | None = None,
    input: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] = MappingProxyType({}),
    why: str = "",
    store: Store | None = None,
) -> AsyncIterator[tuple[str, list[Repaired] | CannotRedrive]]:
    """Redrive all dead letters that are alike: each run's id, with what became of it.

    >>> async for run, repaired in repair.redrive_all(flow="app.loan", error="ConnectionError", by="ada"): ...
    """
    where = await _store(store)
    query = Query(flow=flow, dead=True, step=step, error=error, limit=limit)
    done: set[str] = set()
    for row in (await where.find(query))[::-1]:
        if row.id in done:  # with its parent, or its child
            continue
        try:
            repaired = await redrive(row.id, by=by, start=start, input=input, results=results, why=why, store=where)
        except CannotRedrive as problem:
            yield row.id, problem
        else:
            done |= {one.run for one in repaired}
            yield row.id, repaired


async def _reopen(
    store: Store,
    found: _Ended,
    deed: Deed,
    start: str | None,
    input: Mapping[str, Any] | None,
    results: Mapping[str, Any],
) -> list[Repaired]:
    """Queue a run again, after those of its child runs that it failed for."""
    row, entries = found.row, found.past.entries
    children = await _children(store, found)
    now = store.clock()
    try:
        start = start if start is None or start == BEGINNING else find_step(entries, start)
        edited = found.failed if start is None else None if start == BEGINNING else start
        edits = {} if input is None else {_needed(row, edited): _edited(entries, edited or "", input)}
        given = {find_step(entries, step): value for step, value in results.items()}
        changes = plan(
            entries,
            failed=found.failed,
            start=start,
            edits=edits,
            results=given,
            children=children,
            timed_out=_timed_out(found.failure),
            cancelled=row.status is Status.CANCELLED,
        )
        changes = changes._replace(pause=_pause(found, changes, now))
    except NoSuchStep as problem:
        raise CannotRedrive(f"run {row.id} cannot be redriven: {problem}") from None
    for step in edits:
        if step in children:
            raise CannotRedrive(
                f"step {step!r} is a child run: redrive that one, {children[step].id}, with another input"
            )
    repaired: list[Repaired] = []
    for step, child in children.items():  # those that ended in failure, or with their parent, go on with it
        again = step not in _left(entries, changes) and step not in changes.fresh and step not in given
        if again and child.status in (Status.FAILED, Status.CANCELLED):
            repaired += await _reopen(store, await _ended(store, child.id), deed, None, None, {})
    record = Redriven(deed, changes, row.result or b"", tuple(given))
    await _write(store, found, Kind.REDRIVE, pack_redriven(record), given, deed, now)
    for step in changes.fresh:  # the child that was there is nobody's any more
        if step in children and children[step].status is Status.FAILED and children[step].reason is None:
            await _discard(
                store, children[step].id, deed._replace(why=f"its parent {row.id} was redriven with another")
            )
    return [*repaired, Repaired(row.id, row.flow, changes.step)]


def _left(entries: Sequence[Entry], changes: Redrive) -> set[str]:
    """The steps whose outcomes still count after a redrive."""
    last = Entry(entries[-1].seq + 1 if entries else 0, Kind.REDRIVE, StepId("@redrive"), 0, 0.0, 0.0, None, None)
    nothing = Redrive("", last.seq, False)
    left = past([*entries, last], lambda entry: changes if entry is last else nothing).entries
    return {entry.step for entry in left if entry.kind in OUTCOMES}


async def _children(store: Store, found: _Ended) -> dict[str, Row]:
    """The child runs of a run, by step."""
    rows = {row.id: row for row in await store.find(Query(parent=found.row.id, limit=1_000_000))}
    steps = dict.fromkeys(entry.step for entry in found.past.entries if entry.kind in OUTCOMES)
    by_id = {child_id(found.row.id, step, found.past.fresh.get(step, 0)): step for step in steps}
    children: dict[str, Row] = {step: rows[id] for id, step in by_id.items() if id in rows}
    for row in rows.values():  # those that were called under an id of the user's own
        named = [step for step in steps if name_of(step) == row.flow and step not in children]
        if len(named) == 1 and row.id not in by_id:
            children[named[0]] = row
    return children


async def _reopen_parents(store: Store, child: Row, deed: Deed) -> list[Repaired]:
    """Let the run go on that failed since this child did."""
    if child.parent is None:
        return []
    loaded = await store.load(child.parent)
    if loaded is None or loaded[0].status is not Status.FAILED:
        return []
    parent = await _ended(store, child.parent)
    children = await _children(store, parent)
    if parent.failed is None or parent.failed not in children or children[parent.failed].id != child.id:
        return []
    now = store.clock()
    changes = plan(parent.past.entries, failed=parent.failed, children=children)
    changes = changes._replace(pause=_pause(parent, changes, now))
    if changes.step != parent.failed:  # its own effects were undone: whoever redrives it decides that
        return []
    record = pack_redriven(Redriven(deed, changes, parent.row.result or b""))
    await _write(store, parent, Kind.REDRIVE, record, {}, deed, now)
    return [Repaired(parent.row.id, parent.row.flow, changes.step), *await _reopen_parents(store, parent.row, deed)]


def _timed_out(failure: Failure) -> bool:
    """Whether the flow's own time was up, and not that of a step."""
    if failure.type in ("StepTimedOut", "StepFailed"):
        return False
    return "builtins.TimeoutError" in failure.kinds or failure.type == "RunTimedOut"


def _pause(found: _Ended, changes: Redrive, now: float) -> float:
    """Seconds that do not count for the run's deadlines.

    Since its end; since its beginning, if it ran out of time; since what is taken back, if it goes further back.
    """
    row = found.row
    if row.started is None:  # it has not begun, and its time begins when it does
        return 0.0
    if _timed_out(found.failure):
        return max(0.0, now - row.started - found.past.pause())
    if changes.whole:
        before = [entry for entry in found.past.entries if entry.seq < changes.after]
        if not before:
            return max(0.0, now - row.started - found.past.pause())
        return max(0.0, now - before[-1].ended - found.past.pause(before[-1].seq))
    return max(0.0, now - (row.ended or now))


def _needed(row: Row, step: str | None) -> str:
    if step is None:
        raise CannotRedrive(
            f"run {row.id}: no step of it failed, so say which one the input is for: --from STEP (start=). To run the "
            "flow itself with another input, start a new run"
        )
    return step


def _edited(entries: Sequence[Entry], step: str, input: Mapping[str, Any]) -> bytes:
    """What a step is to be given in place of what the flow gives it."""
    if any(entry.kind is Kind.ASKED and entry.step == step and entry.attempt == 1 for entry in entries):
        raise CannotRedrive(
            f"step {step!r} is a question to a person, and has no input: ask it anew with start={step!r}"
        )
    data = encode(dict(input), f"the edited input of step {step!r}")
    if len(data) > LARGEST:
        raise CannotRedrive(f"the edited input takes {len(data):,} bytes, and {LARGEST:,} are allowed")
    return data


async def _write(
    store: Store, found: _Ended, kind: Kind, data: bytes, given: Mapping[str, Any], deed: Deed, now: float
) -> None:
    """Append what was done to the run, and the results that were given, and queue it."""
    seq = len(found.entries)
    entries = [Entry(seq, kind, StepId("@redrive"), 0, now, now, None, data)]
    for step, value in given.items():
        note = Note("human", by=deed.by, said="the result was given after the fact", given=True)
        output = pack(note, encode(value, f"the given result of step {step!r}"))
        # without an input: it stands whatever the flow asks for then
        entries.append(Entry(seq + len(entries), Kind.NOTED, StepId(step), 1, now, now, None, output))
    row = found.row
    if not await store.amend(Amend(row.id, row.status, seq, entries, Status.QUEUED)):
        raise CannotRedrive(f"run {row.id} has changed meanwhile: somebody else was faster. Look at it again")


# Discard


async def discard(run: str, *, by: str, why: str = "", store: Store | None = None) -> None:
    """Decide that nothing more is done about a run that failed. It keeps its record, and is no dead letter any more.

    Raises:
        CannotRedrive: it did not fail, or was discarded before.
        UnknownRun: there is no such run.

    >>> await repair.discard(run, by="ada", why="a test document")
    """
    await _discard(await _store(store), run, _deed(by, why))


async def _discard(store: Store, run: str, deed: Deed) -> None:
    row, entries = await _load(store, run)
    if row.status is not Status.FAILED or row.reason is not None:
        how = f"{row.status}, {row.reason}" if row.reason else str(row.status)
        raise CannotRedrive(f"run {run} is {how}: only a run that failed, and was not discarded before, can be")
    now = store.clock()
    entry = Entry(len(entries), Kind.DISCARD, StepId("@discard"), 0, now, now, None, pack_deed(deed))
    said = f"discarded by {deed.by}" + (f": {deed.why}" if deed.why else "")
    if not await store.amend(Amend(run, row.status, len(entries), [entry], row.status, said)):
        raise CannotRedrive(f"run {run} has changed meanwhile: somebody else was faster. Look at it again")


# Fork


async def fork(
    run: str,
    *,
    by: str,
    start: str | None = None,
    version: str | None = None,
    id: str | None = None,
    why: str = "",
    store: Store | None = None,
) -> str:
    """Run a run's past again, as a new run, with the code that workers have now: on recorded results up to a point.

    The run itself stays as it is. What the new one does goes to the outside as its own, under other idempotency keys.

    Args:
        start: the step from which on everything runs anew, by name or identity. By default only what was not recorded
            does: the step that failed, or what today's code asks for besides.
        version: what to note as the flow's version.
        id: the new run's id.

    Returns:
        The new run's id; it is queued.

    Raises:
        CannotRedrive: there is no such step.
        Conflict: the id is taken.
        UnknownRun: there is no such run.

    >>> await repair.fork(run, by="ada", start="score")
    """
    where = await _store(store)
    deed = _deed(by, why)
    row, entries = await _load(where, run)
    counting = past(entries, read_redrive)
    failed = read_failure(row.result).step or None if row.status is Status.FAILED else None
    try:
        start = start if start is None or start == BEGINNING else find_step(counting.entries, start)
        timed_out = row.status is Status.FAILED and _timed_out(read_failure(row.result))
        cancelled = row.status is Status.CANCELLED
        changes = plan(counting.entries, failed=failed, start=start, timed_out=timed_out, cancelled=cancelled)
    except NoSuchStep as problem:
        raise CannotRedrive(f"run {run} cannot be forked from there: {problem}") from None
    now = where.clock()
    kept = _recorded(counting.entries, changes)
    began = row.started if row.started is not None else now
    last = began if timed_out else max([began, *(entry.ended for entry in kept)])
    pause = max(0.0, now - last) + (0.0 if timed_out else counting.pause())
    early = sum(entry.seq < changes.after for entry in _recorded(counting.entries, changes, renumber=False))
    changes = changes._replace(after=early, whole=False, steps=(), fresh=(), of=counting.of or run, pause=pause)
    changes = changes._replace(spare=tuple(counting.spare))
    kept.append(
        Entry(len(kept), Kind.FORKED, StepId("@fork"), 0, now, now, None, pack_redriven(Redriven(deed, changes)))
    )
    new = NewRun(
        id=new_id() if id is None else checked(id),
        flow=row.flow,
        version=row.version if version is None else version,
        code=row.code,
        status=Status.QUEUED,
        worker=None,
        origin=row.origin,
        parent=None,
        priority=row.priority,
        concurrency=row.concurrency,
        timeout=row.timeout,
        due=now,
        created=now,
        started=row.started,  # the flow sees the time at which its past began
        input=row.input,
        checksum=crc32(row.input),
        key=row.key,
        frees=row.frees,
        merges=TOOK if row.merges == TOOK else 0,
    )
    # the run may be pruned at any moment: what it shares with the fork must not be taken for old until that is there
    renew(where, (new.input, *(data for entry in kept for data in (entry.input, entry.output))))
    await _load(where, run)  # what it refers to was there until now, and so stays long enough for the new one
    if await where.create(new, kept) is not None:
        raise Conflict(f"id {new.id!r} belongs to another run")
    return new.id


def _recorded(entries: Sequence[Entry], changes: Redrive, *, renumber: bool = True) -> list[Entry]:
    """What a fork takes over: outcomes, and signals, with new places."""
    kinds = OUTCOMES | {Kind.SIGNAL, Kind.EVENTS}
    kept = [
        entry
        for entry in entries
        if (entry.kind in kinds or (entry.kind is Kind.CANCEL and entry.seq < changes.after))
        and entry.step not in changes.steps
        and not entry.step.startswith("@undo(")
        and (entry.seq < changes.after or (not changes.whole and entry.kind in GOOD))
    ]
    return [entry._replace(seq=place) for place, entry in enumerate(kept)] if renumber else kept
