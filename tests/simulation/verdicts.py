"""What must hold of the effects of a run that has ended, judged by the world outside, its row and its record alone."""

import re
from collections.abc import Iterable

from segue.inspection import RunRecord, StepRecord

from .effects import Effect

ODD = ("Divergence", "CorruptRecord", "IllegalMove", "Stalled", "NeverAwaits", "AssertionError")
"""Failures that no program here gives cause for."""


def faults(record: RunRecord, effects: Iterable[Effect]) -> list[str]:
    """What is wrong with a run that has ended.

    Args:
        effects: all that were ever had, of whichever run.
    """
    status = str(record.status)
    if status not in ("completed", "failed", "cancelled"):
        return [f"it has not ended: it is {status}"]
    own = [effect for effect in effects if effect.run == record.id]
    found = _kept(record, {effect.receipt: effect for effect in effects})
    if status == "completed":
        found += [f"silent: {_named(e)} of a run that completed" for e in own if not e.final and not _used(record, e)]
        return found
    assert record.error is not None
    if record.error.type in ODD:
        found.append(f"it ended by {record.error}")
    found += [f"silent: {_named(e)}" for e in own if e.undone is None and not e.final and not _told(record, e)]
    found += _false(record, own)
    return found + _out_of_order(record, own)


def _named(effect: Effect) -> str:
    fate = "there" if effect.undone is None else "undone"
    return f"{effect.receipt} (key {effect.key[:6]}, {effect.given[1]}), which is {fate},"


def _notes(record: RunRecord) -> list[str]:
    """What was said of effects at this end of the run, and at those that redrives took back."""
    ends = [one.data["error"] for one in record.interventions if one.kind == "redrive"]
    notes = [_note(end["type"], end["message"], end["note"]) for end in ends if end is not None]
    error = record.error
    return [*notes, _note(error.type, error.message, error.note)] if error is not None else notes


def _note(type: str, message: str, note: str) -> str:
    """The note of a failure; where a worker was lost while it undid something, its message is all there is."""
    lost = re.search(r"while step '@undo\((.*)\)/\w+' was running", message) if type == "WorkerLost" else None
    return f"NOT undone: {lost[1]} (its worker was lost)" if lost else note


def _mentioned(notes: Iterable[str], step: str, *, unknown: bool = True, kept: bool = True) -> bool:
    for note in notes:
        said = re.search(r"outcome unknown: (.*)$", note)
        if unknown and said is not None and step in said[1].split(", "):
            return True
        if kept and f"NOT undone: {step} (" in note:
            return True
    return False


def _used(record: RunRecord, effect: Effect) -> bool:
    """An effect in a run that completed: it is a step's result, or the record has something to say about it."""
    if effect.undone is not None:
        return True  # it was redriven
    step = _of(record, effect.step)
    if step is not None and (step.output == effect.receipt or step.status in ("failed", "cancelled", "lost")):
        return True
    if step is not None and (step.note.rung or step.note.given or step.edited):
        return True  # it failed before a fallback, or a person has decided
    return _mentioned(_notes(record), effect.step)


def _told(record: RunRecord, effect: Effect) -> bool:
    """An effect that is still there in a run that failed: the record says so, or that it may be."""
    step = _of(record, effect.step)
    if step is not None and step.undo in ("not undone", "unknown"):
        return True
    if step is not None and step.note.given:
        return True
    return _mentioned(_notes(record), effect.step)


def _of(record: RunRecord, id: str) -> StepRecord | None:
    return next((step for step in record.steps if step.id == id), None)


def _kept(record: RunRecord, receipts: dict[str, Effect]) -> list[str]:
    """A run that completed has all that its steps gave it."""
    if str(record.status) != "completed":
        return []
    found: list[str] = []
    notes = _notes(record)
    for step in record.steps:
        if step.status != "completed" or step.undoes is not None or step.note.given or not isinstance(step.output, str):
            continue
        effect = receipts.get(step.output)
        if effect is not None and effect.run != record.id and effect.given[1].endswith(("/lost", "/once-after")):
            continue  # a fork builds on what the other run said it could not undo
        if effect is not None and effect.undone is not None and not _mentioned(notes, step.id, unknown=False):
            found.append(f"it completed, and {_named(effect)} stands in its record as the result of {step.id}")
    return found


def _false(record: RunRecord, own: list[Effect]) -> list[str]:
    """What is said to be undone is."""
    found: list[str] = []
    for step in record.steps:
        if step.undo == "undone":
            effect = next((effect for effect in own if effect.receipt == step.output), None)
            if effect is not None and effect.undone is None:
                found.append(f"it says that {step.id} was undone: {_named(effect)}")
        if step.undo == "not undone" and step.status != "completed":
            found.append(f"it says that {step.id}, which gave no result, was not undone")
    return found


def _out_of_order(record: RunRecord, own: list[Effect]) -> list[str]:
    """What ended later was undone earlier."""
    found: list[str] = []
    notes = _notes(record)[:-1]  # what could not be undone, they said, may have been all the same, long before
    ended = {
        step.output: step.ended
        for step in record.steps
        if step.undo == "undone" and not _mentioned(notes, step.id, unknown=False)
    }
    pairs = [(ended[effect.receipt], effect) for effect in own if effect.receipt in ended and effect.undone is not None]
    for time, effect in pairs:
        for later, other in pairs:
            if time is not None and later is not None and time < later:
                assert effect.undone is not None
                assert other.undone is not None
                if effect.undone < other.undone:
                    found.append(f"{effect.receipt} was undone before {other.receipt}, and had been done before it")
    return found
