"""Comparing two runs: where they part first, and all that differs. Pure: no store, no clock; timings do not count."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

from segue.errors import Failure
from segue.inspection import RunRecord, StepRecord

MOST = 20
"""Differing parts of one value that are kept, unless all are wanted."""

Side = Literal["first", "second"]


class Part(NamedTuple):
    """A part of a value that differs.

    Attributes:
        path: to it, as in ``"$.pages[3].box"``.
        first, second: what is there in either value.
        only: the value that has such a part, where the other has none.
    """

    path: str
    first: Any = None
    second: Any = None
    only: Side | None = None


class Parts(NamedTuple):
    """The parts in which two values differ.

    Attributes:
        shown: the first of them.
        total: how many there are.
    """

    shown: tuple[Part, ...] = ()
    total: int = 0


SAME = Parts()
"""Two values that do not differ."""


class Fact(NamedTuple):
    """Something else than a value that differs.

    Attributes:
        what: ``status``, ``error``, ``attempts``, ``failures``, ``source``, ``rung``, ``by``, ``confidence``,
            ``lenient``, ``said``, ``edited``, ``undo`` or ``kind``.
    """

    what: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class StepChange:
    """A step that differs.

    Attributes:
        id: its identity in the first run; in the second, if only that has it.
        other: its identity in the second run, where that is another one: a task was added or moved before it.
        only: the run that has it, where the other has not.
        runs: both child runs, if it is one.
    """

    id: str
    name: str
    other: str | None = None
    only: Side | None = None
    input: Parts = SAME
    output: Parts = SAME
    facts: tuple[Fact, ...] = ()
    runs: tuple[str, str] | None = None

    @property
    def parts(self) -> bool:
        """Whether its input, output or fate differs, and not only how it came about."""
        fate = any(fact.what in ("status", "error", "kind") for fact in self.facts)
        return self.only is not None or self.input.total > 0 or self.output.total > 0 or fate


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, beside each other.

    Attributes:
        input: where the inputs of the runs differ.
        steps: those that differ, in the order of the first run.
        result: where the results differ, if both runs have completed.
        facts: how the ends differ otherwise: ``status``, ``error``.
    """

    first: RunRecord
    second: RunRecord
    input: Parts
    steps: tuple[StepChange, ...]
    result: Parts
    facts: tuple[Fact, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs but the time that it took."""
        return not (self.input.total or self.steps or self.result.total or self.facts)

    @property
    def parted(self) -> StepChange | None:
        """The step at which they part: the earliest whose input, output or fate differs."""
        return next((step for step in self.steps if step.parts), None)


def compare(first: RunRecord, second: RunRecord, *, most: int | None = MOST) -> Comparison:
    """Compare two runs, normally of one flow.

    A step is compared with the one of the same identity; one that has none, with the next of its name.

    Args:
        most: so many differing parts of each value are kept; None for all.

    >>> found = compare(timeline(*one), timeline(*other))
    >>> found.parted.name, found.parted.output.shown
    ('ocr', (Part(path='$.income', first=100, second=1000, only=None),))
    """
    ids = _ids(first), _ids(second)
    changes = (_step(one, other, ids, most) for one, other in _pairs(first.steps, second.steps))
    both_completed = first.status == second.status == "completed"
    return Comparison(
        first,
        second,
        differing(first.input, second.input, most=most),
        tuple(change for change in changes if change is not None),
        differing(first.result, second.result, most=most) if both_completed else SAME,
        tuple(_facts([("status", str(first.status), str(second.status))])) + _errors(first.error, second.error, ids),
    )


# Steps


def _pairs(first: Sequence[StepRecord], second: Sequence[StepRecord]) -> Iterator[tuple[Any, Any]]:
    """The steps of two runs that belong together, in the order of the first; None beside one that is alone."""
    first, second = [[step for step in steps if step.kind != "timer"] for steps in (first, second)]
    partners = _partners(first, second)
    taken = {partner.id for partner in partners.values()}
    alone: dict[str | None, list[StepRecord]] = {}
    before: str | None = None
    for step in second:  # one that only the second run has comes after what precedes it there
        if step.id in taken:
            before = step.id
        else:
            alone.setdefault(before, []).append(step)
    yield from ((None, step) for step in alone.get(None, ()))
    for step in first:
        partner = partners.get(step.id)
        yield step, partner
        if partner is not None:
            yield from ((None, other) for other in alone.get(partner.id, ()))


def _partners(first: Iterable[StepRecord], second: Iterable[StepRecord]) -> dict[str, StepRecord]:
    left = {step.id: step for step in second}
    found = {step.id: left.pop(step.id) for step in first if step.id in left}
    by_name: dict[str, list[StepRecord]] = {}
    for step in left.values():
        by_name.setdefault(step.name, []).append(step)
    for step in first:
        if step.id not in found and (same_name := by_name.get(step.name)):
            found[step.id] = same_name.pop(0)
    return found


def _step(one: StepRecord | None, other: StepRecord | None, ids: "Ids", most: int | None) -> StepChange | None:
    """What differs between two steps; None if nothing does."""
    if one is None or other is None:
        alone = one or other
        assert alone is not None
        return StepChange(alone.id, alone.name, only="first" if one is not None else "second")
    known = one.input is not None and other.input is not None
    input = differing(one.input, other.input, most=most) if known else SAME
    completed = one.status == other.status == "completed"
    output = differing(one.output, other.output, most=most) if completed else SAME
    facts = tuple(_facts(_told(one, other))) + _errors(one.error, other.error, ids) + _failures(one, other, ids)
    if not (input.total or output.total or facts):
        return None
    runs = (one.run, other.run) if one.run is not None and other.run is not None else None
    return StepChange(one.id, one.name, other.id if other.id != one.id else None, None, input, output, facts, runs)


def _told(one: StepRecord, other: StepRecord) -> Iterator[tuple[str, Any, Any]]:
    yield "kind", one.kind, other.kind
    yield "status", one.status, other.status
    for name in ("source", "rung", "by", "confidence", "lenient", "said"):
        yield name, getattr(one.note, name), getattr(other.note, name)
    yield "edited", one.edited, other.edited
    yield "undo", one.undo, other.undo
    yield "attempts", len(one.attempts), len(other.attempts)


def _facts(told: Iterable[tuple[str, Any, Any]]) -> Iterator[Fact]:
    return (Fact(*fact) for fact in told if fact[1] != fact[2])


def _failures(one: StepRecord, other: StepRecord, ids: "Ids") -> tuple[Fact, ...]:
    """How earlier attempts failed."""
    first, second = ([a.error for a in step.attempts[:-1] if a.error is not None] for step in (one, other))
    if [_kind(error, ids[0]) for error in first] == [_kind(error, ids[1]) for error in second]:
        return ()
    return (Fact("failures", [str(error) for error in first], [str(error) for error in second]),)


def _errors(first: Failure | None, second: Failure | None, ids: "Ids") -> tuple[Fact, ...]:
    if _kind(first, ids[0]) == _kind(second, ids[1]):
        return ()
    return (Fact("error", *(None if error is None else str(error) for error in (first, second))),)


def _kind(failure: Failure | None, ids: Sequence[str]) -> tuple[str, str] | None:
    """What makes two failures the same one: not the ids of the runs that they name."""
    if failure is None:
        return None
    message = failure.message
    for id in ids:
        message = message.replace(id, "RUN")
    return failure.type, message


Ids = tuple[Sequence[str], Sequence[str]]
"""The ids of either run, and of those that it called; the longest first."""


def _ids(record: RunRecord) -> list[str]:
    ids = {record.id} | {step.run for step in record.steps if step.run is not None}
    return sorted((id for id in ids if len(id) > 3), key=len, reverse=True)


# Values


def differing(first: Any, second: Any, *, most: int | None = MOST) -> Parts:
    """The parts in which two values of plain data differ: lists by index, dicts by key.

    >>> differing({"a": [1, 2]}, {"a": [1, 3]}).shown
    (Part(path='$.a[1]', first=2, second=3, only=None),)
    """
    found = _differing(first, second)
    shown = tuple(islice(found, most))
    return Parts(shown, len(shown) + sum(1 for _ in found))


def _differing(first: Any, second: Any) -> Iterator[Part]:
    left = [Part("$", first, second)]
    while left:  # no recursion: a value may be nested deeply
        part = left.pop()
        sides: tuple[Any, Any] = (part.first, part.second)
        if part.only is not None:
            yield part
        elif all(isinstance(side, dict) for side in sides):
            left += reversed(_members(part.path, *sides))
        elif all(isinstance(side, list | tuple) for side in sides):
            left += reversed(_items(part.path, *sides))
        elif not _equal(*sides):
            yield part


def _members(path: str, first: dict[Any, Any], second: dict[Any, Any]) -> list[Part]:
    found = [
        Part(path + _step_to(key), value, second[key])
        if key in second
        else Part(path + _step_to(key), value, only="first")
        for key, value in first.items()
    ]
    return found + [
        Part(path + _step_to(key), second=value, only="second") for key, value in second.items() if key not in first
    ]


def _items(path: str, first: Sequence[Any], second: Sequence[Any]) -> list[Part]:
    shared = min(len(first), len(second))
    found = [Part(f"{path}[{i}]", first[i], second[i]) for i in range(shared)]
    found += [Part(f"{path}[{i}]", first[i], only="first") for i in range(shared, len(first))]
    return found + [Part(f"{path}[{i}]", second=second[i], only="second") for i in range(shared, len(second))]


def _step_to(key: Any) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first):
        return math.isnan(second)
    try:
        return bool(first == second)
    except Exception:  # a value that some decoder made
        return False


# For programs


def as_data(found: Comparison) -> dict[str, Any]:
    """The comparison as plain data: what ``segue diff --json`` prints."""
    parted = found.parted
    return {
        "same": found.same,
        "first": _run(found.first),
        "second": _run(found.second),
        "parted": None if parted is None else parted.id,
        "input": _values(found.input),
        "steps": [_step_data(step) for step in found.steps],
        "result": _values(found.result),
        **_by_name(found.facts),
    }


def _run(record: RunRecord) -> dict[str, Any]:
    row = record.row
    return {"id": row.id, "flow": row.flow, "version": row.version, "code": row.code, "status": str(row.status)}


def _step_data(step: StepChange) -> dict[str, Any]:
    data: dict[str, Any] = {"id": step.id, "name": step.name}
    if step.only is not None:
        return {**data, "only": step.only}
    data |= {"other": step.other} if step.other is not None else {}
    data |= {"runs": list(step.runs)} if step.runs is not None else {}
    return {**data, "input": _values(step.input), "output": _values(step.output), **_by_name(step.facts)}


def _by_name(facts: Iterable[Fact]) -> dict[str, Any]:
    return {fact.what: {"first": fact.first, "second": fact.second} for fact in facts}


def _values(parts: Parts) -> dict[str, Any]:
    return {"differing": parts.total, "parts": [_part(part) for part in parts.shown]}


def _part(part: Part) -> dict[str, Any]:
    sides = {"first": part.first, "second": part.second}
    return {"path": part.path, **{side: value for side, value in sides.items() if part.only in (None, side)}}
