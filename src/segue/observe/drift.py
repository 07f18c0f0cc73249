"""How the steps that are watched for drift stand: read from a store, by any process."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from segue.core.drift import Change, State, Test, forgotten
from segue.core.windows import Kind, Summary, summary
from segue.errors import UsageError
from segue.runtime.drifting import PREFIX, read_record, write_record
from segue.stores.base import Cell, Store


@dataclass(frozen=True, slots=True)
class DriftState:
    """One signal of one step.

    Attributes:
        then: what was declared to happen when it drifts: ``alert`` or ``fallback``.
        state: ``learning`` until the reference is full.
        since: when it came into that state, seconds since the epoch; 0 while it learns for the first time.
        test, statistic, threshold, p: of the last look; None before the first one. While it has drifted, a look asks
            how well the newest values fit the reference.
        reference, recent: the two windows, in few words.
        learned: the values of the reference, numbers or texts, in the order in which they came.
        values: the newest values, the last one last.
        seen, skipped: values that came, and those that were no use: not finite, or not of the signal's kind.
        changes: its last changes of state, oldest first, and those that a person made. Their numbers only grow, also
            through a reset: whoever has seen number 7 of this step and version looks for greater ones.
    """

    step: str
    version: str
    signal: str
    then: str
    state: State
    since: float
    kind: Kind
    test: Test | None
    statistic: float | None
    threshold: float | None
    p: float | None
    reference: Summary
    recent: Summary
    learned: tuple[Any, ...]
    values: tuple[Any, ...]
    seen: int
    skipped: int
    changes: tuple[Change, ...]


async def states(store: Store, step: str | None = None) -> list[DriftState]:
    """Every watched signal of every step that has been called, by step, version and signal.

    Args:
        step: only those of the steps of this name.

    Raises:
        CorruptRecord: what is stored is not what was written.

    >>> drifted = [one.step for one in await states(engine.store) if one.state == "drifted"]
    """
    found: list[DriftState] = []
    for cell in await store.cells(PREFIX):
        record = read_record(cell)
        if step not in (None, record.step):
            continue
        for name, signal in record.signals.items():
            changes = tuple(change for change in record.changes if change.signal in ("", name))
            reference, recent = summary(signal.reference, signal.kind), summary(signal.recent, signal.kind)
            found.append(
                DriftState(
                    record.step, record.version, name, record.then, signal.state, signal.since, signal.kind,
                    signal.test,
                    signal.statistic, signal.threshold, signal.p, reference, recent, tuple(signal.reference),
                    tuple(signal.recent), signal.seen, signal.skipped, changes,
                )
            )  # fmt: skip
    return found


async def reset(store: Store, step: str, *, by: str, version: str | None = None) -> list[str]:
    """Forget what was learned of a step, so that it is learned anew: after a model was trained again, for example.

    Workers that run take notice within about a second.

    Args:
        by: who does it; it is recorded.
        version: only of this version of the step.

    Returns:
        The versions that begin anew; none if no such step was watched.

    Raises:
        UsageError: other workers write all the time, and it could not be done.
    """
    return [
        await _reset_one(store, cell, by)
        for cell in await store.cells(PREFIX)
        if (record := read_record(cell)).step == step and version in (None, record.version)
    ]


async def _reset_one(store: Store, cell: Cell, by: str) -> str:
    for _ in range(100):
        record = read_record(cell)
        fresh = Cell(cell.name, max(store.clock(), cell.at), write_record(forgotten(record, by, store.clock())))
        if await store.keep(fresh, cell):
            return record.version
        if (now := await store.cell(cell.name)) is not None:
            cell = now
    raise UsageError(f"the drift of {cell.name!r} is written by others all the time; try again")


def names(found: Collection[DriftState]) -> list[str]:
    """The steps among these, each once."""
    return list(dict.fromkeys(one.step for one in found))
