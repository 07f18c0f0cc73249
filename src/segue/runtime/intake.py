"""Many runs at once: events that come by the thousand are written in batches, not one by one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from segue.errors import Conflict, QueueFull, SegueError, UsageError
from segue.runtime.mailbox import ALL
from segue.runtime.tickets import Options
from segue.stores.artifacts import SPILL
from segue.stores.base import Known, NewRun

if TYPE_CHECKING:
    from segue.runtime.engine import Engine
    from segue.runtime.spec import FlowSpec

BATCH = 1000
"""Events that are written in one transaction."""


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


async def take_in(engine: "Engine", spec: "FlowSpec", events: Iterable[Any], options: Options) -> list[Started]:
    """Start a run for each event, durably, in their order.

    Args:
        events: each the only argument of a call; for a flow that takes them all together, an item of its list.

    Raises:
        StoreError: the store cannot take them now. Those before may have been written.
    """
    if options.id is not None:
        raise UsageError("many runs cannot have one id: start_many takes none")
    found: list[Started] = []
    batch: list[Any] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            found += await _take_in(engine, spec, batch, options)
            batch = []
    return found + (await _take_in(engine, spec, batch, options) if batch else [])


async def _take_in(engine: "Engine", spec: "FlowSpec", events: Sequence[Any], options: Options) -> list[Started]:
    await engine.ready()
    together = spec.mailbox is not None and spec.mailbox.merge == ALL
    found: list[Started | NewRun] = []
    for event in events:
        args = ([event],) if together else (event,)
        try:
            input = spec.inputs.encode_typed(args, {})
            if len(input) > SPILL:
                input = await engine.kept(input)
            found.append(engine.new_run(spec, input, options, spec.about(args, {}), None, here=False))
        except (SegueError, TypeError) as error:
            found.append(_refused(error))
    new = [run for run in found if isinstance(run, NewRun)]
    room = await engine.room(spec, len(new))
    for place, run in enumerate(found):
        if isinstance(run, NewRun):
            room -= 1
            if room < 0:
                found[place] = _refused(QueueFull(spec.name, spec.max_queued or 0))
    new = [run for run in found if isinstance(run, NewRun)]
    known: Mapping[str, Known] = {}
    if new:
        known = await engine.submit(new)
        engine.queued(options)
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
