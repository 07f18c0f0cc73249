"""The loop in a worker that looks whether there is something to tell, and starts a run for it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from segue.alerts.alert import FLOW, Alert, line
from segue.alerts.delivery import Way, deliver
from segue.alerts.looks import KINDS, Sight
from segue.alerts.settings import REMEMBERED, Alerts
from segue.core.alarm import Said, is_due, room, share
from segue.errors import Conflict, SegueError
from segue.runtime.engine import Engine
from segue.runtime.tickets import Options
from segue.stores.artifacts import Artifacts
from segue.stores.base import Query, Row, Store

log = logging.getLogger("segue")

EVERY = 10.0
"""Seconds between looks."""

URGENT = 1_000_000
"""The priority of a run that delivers: it goes before those that may be why it is needed."""


async def keep(engine: Engine, alerts: Alerts, sleep: Callable[[float], Awaitable[None]] | None = None) -> None:
    """Look, and wait, until cancelled."""
    watch = Watch(engine, alerts)
    trouble = ""
    while True:
        try:
            await watch.tick()
            trouble = ""
        except SegueError as error:
            if str(error) != trouble:  # said once, however long it lasts
                trouble = str(error)
                log.warning("alerts cannot be looked for yet: %s", error)
        except Exception:
            log.exception("a defect in Segue: alerts could not be looked for")
        await (sleep or asyncio.sleep)(EVERY)


async def told(store: Store, artifacts: Artifacts, run: str) -> Alert | None:
    """What a run delivers; None where that cannot be read."""
    try:
        loaded = await store.load(run)
        if loaded is None or (input := artifacts.fetch(loaded[0].input)) is None:
            return None
        args, kwargs = deliver.spec.inputs.decode(input)
        return deliver.spec.inputs.named(args, kwargs)["alert"]
    except (SegueError, TypeError, LookupError):  # another version's, or damaged
        return None


class Watch:
    """Looks at one store for one engine. What was told is known from the runs that told it.

    Attributes:
        held: the names of alerts that the rate has held back, and that no other has told of.
    """

    def __init__(self, engine: Engine, alerts: Alerts) -> None:
        self.engine, self.alerts = engine, alerts
        self.ways: list[Way] = [way for way in ("webhook", "command") if getattr(alerts, way) is not None]
        self.held: set[str] = set()
        self._known: dict[str, Said] = {}

    async def tick(self) -> int:
        """Look once, and start what is due. Gives how many runs that were."""
        engine, now = self.engine, self.engine.clock()
        sight = Sight(engine.store, engine.artifacts, engine.worker, now, self.alerts)
        rows = await engine.store.find(Query(flow=FLOW, limit=REMEMBERED))
        last: dict[str, Row] = {}
        for row in rows:
            last.setdefault(row.id.rpartition("-")[0], row)
        found = {alert.name: alert for alert in await self._found(sight, last)}
        left = room([row.created for row in rows], self.alerts.at_most, now)
        going, self.held = share(list(found), left, self.held)
        for name in going:
            alert = found[name]
            if (complete := KINDS[alert.kind].complete) is not None:
                alert = await complete(sight, alert)
            if name == going[-1] and self.held:
                alert, self.held = _summed(alert, len(self.held)), set()
            await self._start(alert, last.get(name), now)
        return len(going)

    async def _found(self, sight: Sight, last: dict[str, Row]) -> list[Alert]:
        found: list[Alert] = []
        for kind in self.alerts.on:
            for alert in await KINDS[kind].look(sight):
                said = await self._said(last.get(alert.name))
                new = Said(sight.now, alert.since, alert.count)
                if is_due(said, new, self.alerts.repeat, lasting=KINDS[kind].lasting):
                    found.append(alert)
        return found

    async def _said(self, row: Row | None) -> Said | None:
        """What was told last, from the input of the run that told it."""
        if row is None:
            return None
        if (said := self._known.get(row.id)) is None:
            alert = await told(self.engine.store, self.engine.artifacts, row.id)
            if len(self._known) > REMEMBERED:
                self._known.clear()
            since, count = (row.created, 0) if alert is None else (alert.since, alert.count)
            said = self._known[row.id] = Said(row.created, since, count)
        return said

    async def _start(self, alert: Alert, last: Row | None, now: float) -> None:
        """Start the run for an alert: of several workers that see the same, one does."""
        period = f"p{now // self.alerts.repeat:.0f}" if last is None else f"{1000 * last.created:.0f}"
        options = Options(id=f"{alert.name}-{period}", priority=URGENT)
        try:
            await self.engine.launch(deliver.spec, (alert, self.ways), {}, options, wait=True)
        except Conflict:  # another worker was first, and has counted a little differently
            log.debug("alert %s is told by another worker", options.id)


def _summed(alert: Alert, more: int) -> Alert:
    return msgspec.structs.replace(
        alert, title=line(f"{alert.title}; and {more:,} more", 2 * len(alert.title)), more=more
    )
