"""Drill 3, the slow model: ``segue run examples/freightcore/slow.py``, which really takes its 45 seconds.

Three orders come in. For the first the traffic model answers at once. For the second it takes 45 seconds: the plan
goes out within 30, on the forecast that was kept, and says so. The late forecast is kept too: the third order, a moment
later, has it without waiting, slow as the model still is.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from app import congestion_forecast, learn, open_day, orchestrate_route_update, plan_morning
from freightcore.facts import Event
from freightcore.traffic import slot_of
from freightcore.world import CITIES, Scenario, world_of

from segue import flow, gather, log, step


@dataclass(frozen=True)
class Planned:
    """An order, and how its plan came about.

    Attributes:
        source: where the forecast of the traffic was from.
        seconds: from the event to the end of its run, the plan dispatched.
    """

    order: str
    vans: list[str]
    source: str
    seconds: float


@dataclass(frozen=True)
class Slow:
    """What was measured.

    Attributes:
        late: seconds from the second event until its forecast was there after all.
    """

    before: Planned
    meanwhile: Planned
    late: float
    afterwards: Planned


@flow
async def slow(seconds: float = 45, seed: int = 7, drivers: int = 10, deliveries: int = 150) -> Slow:
    folder = await open_day(Scenario(seed, 1, drivers, deliveries))
    await gather(learn(folder), plan_morning(folder, CITIES[0]))
    seen = await slow_down(folder, seconds)
    for what, one in (("before", seen.before), ("meanwhile", seen.meanwhile), ("afterwards", seen.afterwards)):
        log.info("%-10s order %s: planned on data of %r after %.1f s", what, one.order, one.source, one.seconds)
    log.info("the forecast that was late came after %.1f s, and was kept", seen.late)
    return seen


@step
async def slow_down(day: str, seconds: float) -> Slow:
    """Let the three orders come, the second in the quarter of an hour after the first one's."""
    clock = asyncio.get_running_loop().time
    city = world_of(day).cities[CITIES[0]]
    orders = sorted((order for order in city.orders if order.known), key=lambda order: order.known)[:3]
    quarter = (orders[-1].known // 1800 + 1) * 1800
    times = (quarter + 60, quarter + 960, quarter + 1000)
    events = [
        Event(f"{Path(day).name}/slow-{number}", day, at, "order", city.name, order_id=order.id)
        for number, (at, order) in enumerate(zip(times, orders, strict=True), 1)
    ]

    async def planned(event: Event) -> Planned:
        began = clock()
        run = await orchestrate_route_update.start(event)
        update = await run.result()
        vans = [outcome.vehicle for outcome in update.outcomes if outcome.did != "kept"]
        return Planned(event.order_id or "", vans, update.source, round(clock() - began, 3))

    before = await planned(events[0])
    (Path(day) / "slowness").write_text(str(seconds))
    began = clock()
    meanwhile = await planned(events[1])
    forecast = await congestion_forecast.start(day, city.name, slot_of(events[1].at))  # the same event: the same run
    await forecast.result()
    late = round(clock() - began, 3)
    return Slow(before, meanwhile, late, await planned(events[2]))
