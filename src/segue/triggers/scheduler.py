"""The scheduler: it sleeps until the next tick of any schedule, and starts the runs that are due."""

import asyncio
import hashlib
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from segue.core.ticks import Due, Progress, due, plan
from segue.errors import Conflict, SegueError
from segue.flows import Flow
from segue.runtime.engine import Engine
from segue.runtime.ids import short_id
from segue.runtime.spec import FlowSpec
from segue.runtime.tickets import Options
from segue.triggers.schedules import Cron, Every, Schedule, Tick, taking

log = logging.getLogger("segue")

LONGEST = 30.0
"""Seconds between two looks at the clock, which may have been set meanwhile."""

AGAIN = 1.0
"""Seconds after which what could not be started is tried again."""


class Scheduled(NamedTuple):
    """A flow and one of its schedules."""

    spec: FlowSpec
    schedule: Schedule

    @property
    def name(self) -> str:
        """What it is called in the store."""
        return f"{self.spec.name} {self.schedule.text}"


class Scheduler:
    """Starts the runs that schedules ask for. Any number of them may work on one store.

    Each tick is a run with an id of its own, made of the flow, the schedule and the instant: a second one finds it. The
    schedule comes further once the run is durable, so that a crash in between loses nothing and starts nothing twice.

    Args:
        flows: those whose schedules it keeps.

    >>> async with Engine() as engine:
    ...     await Scheduler(engine, [refresh]).run()
    """

    def __init__(self, engine: Engine, flows: Iterable[Flow[..., Any]]) -> None:
        every = [Scheduled(flow.spec, on) for flow in flows for on in flow.spec.on if isinstance(on, Cron | Every)]
        self.engine = engine
        self.scheduled = {one.name: one for one in every}
        self._troubles: dict[str, str] = {}

    async def run(self) -> None:
        """Keep the schedules, until cancelled."""
        while self.scheduled:
            following = await self.look()
            await asyncio.sleep(min(max(following - self.engine.clock(), 0.0), LONGEST))

    async def look(self) -> float:
        """Start all that is due by the engine's clock. Gives when to look again, seconds since the epoch."""
        now = self.engine.clock()
        try:
            known = await self.engine.store.schedules(list(self.scheduled))
        except SegueError as error:
            self._tell("", error)
            return now + AGAIN
        self._troubles.pop("", None)
        looks = [await self._deal(one, known.get(one.name), now) for one in self.scheduled.values()]
        return min(looks, default=now + LONGEST)

    async def _deal(self, one: Scheduled, was: Progress | None, now: float) -> float:
        """What is due of one schedule, a hundred ticks at most. Gives when to look again."""
        schedule = one.schedule
        try:
            if (to := plan(was, now, schedule, schedule.catch_up)) is not None:
                if to != was and not await self.engine.store.progress(one.name, was, to):
                    return now  # another scheduler has come further: look how
                for tick in due(to, schedule, schedule.catch_up):
                    await self._start(one, tick)
                if to.under_way:
                    await self.engine.store.progress(one.name, to, to.done)
                was = to.done
        except SegueError as error:
            self._tell(one.name, error)
            return now + AGAIN
        self._troubles.pop(one.name, None)
        return next(schedule.after(was.upto if was is not None else now), now + LONGEST)

    async def _start(self, one: Scheduled, tick: Due) -> None:
        spec, schedule = one.spec, one.schedule
        at = datetime.fromtimestamp(tick.at, UTC)
        given = {name: Tick(at, schedule.text, tick.missed, schedule.tz) for name in taking(spec)}
        options = Options(id=id_of(one.name, tick.at))
        try:
            await self.engine.launch(spec, (), given, options, wait=True)
        except Conflict as conflict:  # it has a run: made under another policy, or before the flow took a tick
            log.info("%s: %s", one.name, conflict)

    def _tell(self, name: str, error: SegueError) -> None:
        if self._troubles.get(name) != str(error):  # said once, however long it lasts
            self._troubles[name] = str(error)
            said = f"the schedule {name!r} waits" if name else "the schedules cannot be read, and wait"
            log.warning("%s: %s", said, error)


def id_of(name: str, at: float) -> str:
    """The id of the run for a tick of a schedule, the same wherever it is made.

    >>> id_of("shop.report every 1h", 1792890000.0)
    'tick-20261025T010000Z-…'
    """
    instant = datetime.fromtimestamp(at, UTC)
    moment = f"{instant:%Y%m%dT%H%M%S}" + (f".{instant.microsecond // 1000:03}" if instant.microsecond else "")
    which = hashlib.blake2b(f"{name}\0{moment}".encode(), digest_size=8)
    return f"tick-{moment}Z-{short_id(which.digest())}"
