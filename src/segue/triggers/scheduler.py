"""The scheduler: starts a run for each instant of each schedule, once, however many of it there are.

A tick is a run whose id is made of flow, schedule and instant: whoever comes second finds it there. Only when it is
durable does the store note how far the schedule was dealt with. So a crash in between repeats what changes nothing.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from typing import NamedTuple

from segue.core.ticks import due
from segue.errors import Conflict, QueueFull, StoreError, UsageError
from segue.runtime import crashpoints
from segue.runtime.engine import Engine
from segue.runtime.spec import FlowSpec
from segue.runtime.tickets import Options
from segue.triggers.schedules import Schedule, tick_parameter

log = logging.getLogger("segue")

LONGEST_REST = 10.0
"""Seconds between two looks at most: clocks are set."""

AGAIN_AFTER = 1.0
"""Seconds after which what could not be done is tried again."""


class Timetable(NamedTuple):
    """A schedule and the flow that it starts."""

    spec: FlowSpec
    schedule: Schedule

    @property
    def name(self) -> str:
        return f"{self.spec.name}\n{self.schedule.text}"


def timetables(specs: Sequence[FlowSpec]) -> list[Timetable]:
    """The schedules of these flows."""
    return [Timetable(spec, on) for spec in specs for on in spec.on if isinstance(on, Schedule)]


def tick_id(table: Timetable, instant: float) -> str:
    """The id of the run for an instant."""
    key = f"{table.name}\n{instant:.3f}".encode()
    return f"tick-{hashlib.blake2b(key, digest_size=10).hexdigest()}"


class Scheduler:
    """Serves the schedules of some flows with an engine, which need not execute them."""

    def __init__(self, engine: Engine, specs: Sequence[FlowSpec]) -> None:
        self.engine, self.tables = engine, timetables(specs)
        self._upto: dict[str, float] = {}
        self._trouble = ""

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            now = self.engine.clock()
            try:
                then = await self.look()
                self._trouble = ""
            except StoreError as error:
                if str(error) != self._trouble:  # said once, however long it lasts
                    self._trouble = str(error)
                    log.warning("schedules wait: %s", error)
                then = now + AGAIN_AFTER
            await asyncio.sleep(max(0.0, min(then - self.engine.clock(), LONGEST_REST)))

    async def look(self) -> float:
        """Start what is due. Gives when something is due next, in seconds since the epoch.

        Raises:
            StoreError: the store cannot be read or written now. What was not started is, at the next look.
        """
        stored = await self.engine.store.schedules([table.name for table in self.tables])
        nexts = [await self._serve(table, stored.get(table.name)) for table in self.tables]
        return min(nexts, default=float("inf"))

    async def _serve(self, table: Timetable, stored: float | None) -> float:
        now = self.engine.clock()
        upto = max(self._upto.get(table.name, stored or 0.0), stored or 0.0)
        if stored is None and table.name not in self._upto:  # it is new: it begins now
            await self.engine.store.advance(table.name, now)
            self._upto[table.name] = upto = now
        found = due(table.schedule.after(upto), upto, now, table.schedule.catch_up)
        for number, instant in enumerate(found.ticks):
            try:
                await self._start(table, instant, found.missed if number == 0 else 0)
            except QueueFull as full:
                log.warning("%s: %s", table.schedule, full)
                return now + AGAIN_AFTER
        if found.upto > upto:
            crashpoints.reach("after-create")
            await self.engine.store.advance(table.name, found.upto)
            self._upto[table.name] = found.upto
        return now if found.more else next(iter(table.schedule.after(max(found.upto, now))))

    async def _start(self, table: Timetable, instant: float, missed: int) -> None:
        spec, parameter = table.spec, tick_parameter(table.spec)
        given = {} if parameter is None else {parameter: table.schedule.tick(instant, missed)}
        try:
            await self.engine.launch(spec, (), given, Options(id=tick_id(table, instant)), wait=True)
        except Conflict:
            pass  # another scheduler made it, who had missed fewer
        except UsageError as error:  # its key cannot be made of a tick; nothing will change that
            log.error("%s of %r: no run: %s", table.schedule, spec.name, error)
