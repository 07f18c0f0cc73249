"""Compensation: when a run ends in failure, the effects of its steps are undone, the last one first.

That it does is an entry of its own, so that a run which has begun to undo never goes on with its flow, whatever code it
is resumed with. The undoing itself is a small flow: each undo is a step, with its own retries, recorded like any other.
"""

import inspect
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from segue.core.branches import undo_path
from segue.core.entries import Entry
from segue.core.lifecycle import Status
from segue.errors import CorruptRecord, Failure, SegueError, shortened
from segue.runtime.call import Call
from segue.runtime.context import HERE, Place
from segue.runtime.failures import read_failure
from segue.runtime.notes import unpack
from segue.runtime.spec import StepSpec
from segue.values import encode, plain

if TYPE_CHECKING:
    from segue.runtime.run import Run

log = logging.getLogger("segue")


class End(NamedTuple):
    """How a run ends, once its effects are undone.

    Attributes:
        cause: the class of the error in the step that it failed of.
    """

    status: Status
    failure: Failure
    cause: str = ""


def pack_end(end: End) -> bytes:
    """The output of an entry of kind ``UNDO``."""
    return encode([str(end.status), tuple(end.failure), end.cause], "the run's end")


def read_end(entry: Entry) -> End:
    """The end that such an entry announces."""
    match plain(entry.output):
        case [str() as status, failure, *more]:
            return End(Status(status), read_failure(encode(failure, "failure")), str(more[0]) if more else "")
        case other:
            raise CorruptRecord(f"the record of the run's end cannot be read: {other!r:.200}")


class Effect(NamedTuple):
    """What a step has done, and what undoes it."""

    call: Call
    entry: Entry
    undo: StepSpec
    taken: int

    @property
    def step(self) -> str:
        return self.call.step

    @property
    def alone(self) -> bool:
        """No rung of the ladder before it can have had another effect, that nobody heard of."""
        before = self.call.spec.rungs[: unpack(self.entry)[0].rung]
        return not any(rung.spec is not None and rung.spec.undo is not None for rung in before)


def effect_of(call: Call, entry: Entry) -> Effect | None:
    """The effect that a good outcome stands for, if something undoes it: that of the rung which gave it."""
    note, _ = unpack(entry)
    rung = call.spec.rungs[note.rung] if note.rung < len(call.spec.rungs) else None
    if rung is None or rung.spec is None or rung.spec.undo is None or note.source not in ("model", "fallback"):
        return None
    return Effect(call, entry, *rung.spec.undo)


def _inputs(call: Call) -> dict[str, Any]:
    """The step's inputs as they were: the flow may have changed its own objects since."""
    inputs, args, kwargs = call.spec.inputs, call.args, call.kwargs
    edits = call.run.past.edits.get(call.step) if call.edited else None
    if edits is not None or not inputs.same(call.input, inputs.encode(args, kwargs)):
        args, kwargs = inputs.decode(call.input)
    named = inputs.named(args, kwargs)
    return named if edits is None else {**named, **inputs.convert(plain(edits))}


def _arguments(effect: Effect) -> tuple[Any, ...]:
    """The effect's result, and the inputs that led to it, in the order of the step's parameters."""
    call = effect.call
    note, data = unpack(effect.entry)
    result = call.spec.output.decode(call.artifacts.fetch(data) or b"")
    inputs = _inputs(call)
    if note.rung:
        rung = call.spec.rungs[note.rung]
        assert rung.spec is not None
        inputs = {**rung.defaults, **{name: inputs[name] for name in rung.taken or () if name in inputs}}
        inputs = rung.spec.inputs.named(*rung.spec.inputs.arranged(inputs))
    did = call.spec.rungs[note.rung].spec or call.spec
    kinds = did.inputs.signature.parameters
    given: list[Any] = []
    for name, value in inputs.items():
        several = kinds[name].kind is inspect.Parameter.VAR_POSITIONAL
        given += value if several else [value]
    return (result, *given[: effect.taken])


class Undoing:
    """The undoing of one run.

    Attributes:
        undone, kept: steps whose effects were undone, and those that could not be, with the reason.
    """

    def __init__(self, run: "Run", end: End, effects: Sequence[Effect]) -> None:
        self.run, self.end, self.effects = run, end, effects
        self.undone: list[str] = []
        self.kept: list[tuple[str, str]] = []

    async def flow(self) -> None:
        """Undo one effect after the other. A failure of one does not keep the others."""
        for effect in reversed(self.effects):
            place = Place(self.run, undo_path(effect.step))
            HERE.set(place)
            try:
                await self.run.ask(place, effect.undo, _arguments(effect), {}).answer()
            except SegueError as error:
                log.error("run %s: the effect of step %r could not be undone: %s", self.run.id, effect.step, error)
                self.kept.append((effect.step, str(error)))
            else:
                self.undone.append(effect.step)

    def failure(self, unknown: Sequence[str]) -> Failure:
        """The run's failure, with what became of its effects."""
        said = [
            f"undone: {', '.join(self.undone)}" if self.undone else "",
            *(f"NOT undone: {step} ({shortened(why, 200)})" for step, why in self.kept),
            f"outcome unknown: {', '.join(unknown)}" if unknown else "",
        ]
        failure = self.end.failure
        return failure._replace(note="; ".join(part for part in (failure.note, *said) if part))
