"""Many runs at once: events that come by the thousand are written in batches, not one by one."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from segue.errors import Conflict, QueueFull, SegueError, UsageError
from segue.runtime.tickets import Options
from segue.stores.artifacts import SPILL
from segue.stores.base import Known, NewRun

if TYPE_CHECKING:
    from segue.runtime.engine import Engine
    from segue.runtime.spec import FlowSpec

BATCH = 1000
"""Events that are written in one transaction."""

_BREATH = 100
"""Events that are encoded at a time: about three milliseconds."""


class Started(NamedTuple):
    """What became of one event.

    Attributes:
        run: the run for it; None if it was refused.
        duplicate: that run was there before.
        problem: why it was refused.
    """

    run: str | None
    duplicate: bool = False
    problem: SegueError | None = None


async def take_in(
    engine: "Engine", spec: "FlowSpec", events: Iterable[Any], options: Options
) -> AsyncGenerator[list[Started], None]:
    """Start a run for each event, in their order. Gives what became of each batch, once that is durable.

    While one batch is written, the next is encoded.

    Args:
        events: each the only argument of a call; for a flow that takes them all together, an item of its list.

    Raises:
        StoreError: the store cannot take the next batch now. Nothing of it was written.
    """
    if options.id is not None:
        raise UsageError("many runs cannot have one id: start_many takes none")
    written: asyncio.Task[list[Started]] | None = None
    try:
        for batch in _batches(events):
            prepared = await _prepared(engine, spec, batch, options)
            if written is not None:
                yield await written
            written = engine.ambient.create_task(_write(engine, spec, prepared, options))
        if written is not None:
            yield await written
    finally:
        if written is not None and not written.done():
            await asyncio.wait([written])  # it is on its way, and cannot be called back


def _batches(events: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _prepared(
    engine: "Engine", spec: "FlowSpec", events: Sequence[Any], options: Options
) -> list[Started | NewRun]:
    await engine.ready()
    found: list[Started | NewRun] = []
    for number, event in enumerate(events):
        if number % _BREATH == 0:
            await asyncio.sleep(0)  # others have work, too
        args = spec.taking(event)
        try:
            input = spec.inputs.encode_typed(args, {})
            if len(input) > SPILL:
                input = await engine.kept(input)
            found.append(engine.new_run(spec, input, options, spec.about(args, {}), None, here=False))
        except (SegueError, TypeError) as error:
            found.append(_refused(error))
    return found


async def _write(engine: "Engine", spec: "FlowSpec", found: list[Started | NewRun], options: Options) -> list[Started]:
    if spec.max_queued is not None:
        room = await engine.room(spec, len(found))
        for place, run in enumerate(found):
            if isinstance(run, NewRun):
                room -= 1
                if room < 0:
                    found[place] = _refused(QueueFull(spec.name, spec.max_queued))
    new = [run for run in found if isinstance(run, NewRun)]
    known: Mapping[str, Known] = {}
    if new:
        known = await engine.submit(new)
        engine.queued(options)
    if not known and len(new) == len(found):
        return [Started(run.id) for run in new]
    return [one if isinstance(one, Started) else await _outcome(engine, spec, one, known.get(one.id)) for one in found]


async def _outcome(engine: "Engine", spec: "FlowSpec", new: NewRun, known: Known | None) -> Started:
    if known is None:
        return Started(new.id)
    try:
        return Started((await engine.first(spec, new, known)).id, duplicate=True)
    except Conflict as conflict:
        return Started(None, problem=conflict)


def _refused(error: Exception) -> Started:
    return Started(None, problem=error if isinstance(error, SegueError) else UsageError(str(error)))
