"""The books of a day: what was sent, what came of it in truth, and what the independent checker says to all of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from freightcore import dispatch, fleet, map, regulations
from freightcore.facts import Update
from freightcore.world import NOON, World, world_of


@dataclass(frozen=True)
class Report:
    """A day in figures.

    Attributes:
        runs: of the flows for events, vans and forecasts.
        reroutes: instructions after those of the morning.
        escalations: questions that a person decided.
        sources: where the traffic forecasts came from that plans were made with.
        believed: of the events after noon, those for which the model was taken at its word.
        noticed: how many of them it took, in a city, until it was not any more; None if that never came.
        latency: seconds from an event to its first instruction, at the 50th and 99th percentile, by the real clock.
        violations: what the independent checker found in all that was dispatched.
        planned, driven: kilometres, by the plan of the morning and in truth.
        late: visits after their windows, and minutes of that in all; ``missed``: those that were promised.
        hours: of all drivers, from setting off to being back.
        error: minutes by which the last times told were off, on average.
        map: a page with all routes, before and after.
    """

    day: str
    drivers: int
    deliveries: int
    events: dict[str, int]
    runs: int
    reroutes: int
    escalations: int
    failed: int
    sources: dict[str, int]
    believed: tuple[int, int]
    noticed: int | None
    latency: tuple[float, float]
    violations: list[str]
    delivered: int
    cancelled: int
    rebooked: int
    subcontracted: int
    planned: float
    driven: float
    late: int
    late_minutes: float
    missed: int
    hours: float
    error: float
    map: str


def close(day: str, updates: Sequence[Update]) -> Report:
    """Go through everything that was sent, and what became of it."""
    world = world_of(day)
    told = dispatch.everything(day)
    by_vehicle: dict[str, list[dispatch.Instruction]] = {}
    for one in told:
        by_vehicle.setdefault(one.vehicle, []).append(one)
    journeys = {
        vehicle: fleet.journey(world.cities[world.drivers[vehicle].city], [(one.at, one.proposal) for one in mine])
        for vehicle, mine in by_vehicle.items()
    }
    delivered = {id: at for journey in journeys.values() for id, at in journey.visited.items()}
    settled = {id: kind for kind in ("cancelled", "rebooked", "subcontracted") for id in dispatch.marks(day, kind)}
    known = {id: order for id, order in world.orders.items() if not order.known or id in dispatch.marks(day, "known")}
    off = dispatch.marks(day, "off")
    violations = regulations.audit([(one.at, one.proposal) for one in told], known, off, settled, delivered)
    late = {id: late for journey in journeys.values() for id, late in journey.late.items() if late > 0}
    promised = {visit.order: visit.begins for one in told for visit in one.proposal.route.visits}
    errors = [abs(delivered[id] - promised[id]) for id in delivered if id in promised]
    morning = [one for one in told if not one.event]
    answered = sum(outcome.did == "asked" for update in updates for outcome in update.outcomes)
    events = sum(len(city.events) for city in world.cities.values())
    slots = {(event.city, event.at // 900) for city in world.cities.values() for event in city.events}
    report = Report(
        day=day,
        drivers=len(world.drivers),
        deliveries=len(known),
        events=dict(sorted(Counter(e.kind for c in world.cities.values() for e in c.events).items())),
        runs=events + sum(len(update.outcomes) for update in updates) + len(slots),
        reroutes=len(told) - len(morning),
        escalations=answered + sum(bool(update.refused) for update in updates),
        failed=events - len(updates),
        sources=dict(sorted(Counter(update.source for update in updates).items())),
        believed=_believed(updates),
        noticed=_noticed(world, updates),
        latency=_percentiles([seconds for _, seconds in dispatch.latencies(day)]),
        violations=violations,
        delivered=len(delivered),
        cancelled=sum(kind == "cancelled" and id not in delivered for id, kind in settled.items()),
        rebooked=sum(kind == "rebooked" for kind in settled.values()),
        subcontracted=sum(kind == "subcontracted" for kind in settled.values()),
        planned=round(sum(one.proposal.route.metres for one in morning) / 1000, 1),
        driven=round(sum(journey.metres for journey in journeys.values()) / 1000, 1),
        late=len(late),
        late_minutes=round(sum(late.values()) / 60, 1),
        missed=sum(world.orders[id].urgent for id in late),
        hours=round(
            sum(j.home - by_vehicle[v][0].proposal.load.on_since for v, j in journeys.items() if j.path) / 3600, 1
        ),
        error=round(sum(errors) / len(errors) / 60, 2) if errors else 0.0,
        map=str(Path(day) / "map.html"),
    )
    drawn = _drawn(
        world, report, morning, journeys, {**dict.fromkeys(late, "late"), **_undelivered(settled, delivered)}
    )
    Path(report.map).write_text(drawn)
    return report


def _undelivered(settled: Mapping[str, str], delivered: Mapping[str, int]) -> dict[str, str]:
    return {id: kind for id, kind in settled.items() if id not in delivered}


def _drawn(
    world: World,
    report: Report,
    morning: Sequence[dispatch.Instruction],
    journeys: Mapping[str, fleet.Journey],
    marks: Mapping[str, str],
) -> str:
    """The page with the maps."""
    planned = {one.vehicle: one.proposal.route for one in morning}
    panels: list[map.Panel] = []
    for name, city in world.cities.items():
        mine = [driver.id for driver in city.drivers]
        tracks = [map.Track(v, [visit.order for visit in planned[v].visits], journeys[v].path) for v in mine]
        here = {id: how for id, how in marks.items() if world.orders[id].city == name}
        before, after = (
            sum(lengths) / 1000 for lengths in ([planned[v].metres for v in mine], [journeys[v].metres for v in mine])
        )
        said = [f"{before:,.0f} km planned, {after:,.0f} driven", f"{len(city.events)} events"]
        panels.append(
            map.Panel(name, city.average(12 * 3600), {o.id: o.place for o in city.orders}, tracks, here, said)
        )
    figures = [
        (f"{report.delivered:,}", "delivered"),
        (f"{sum(report.events.values()):,}", "events"),
        (f"{report.reroutes:,}", "new routes"),
        (f"{report.escalations:,}", "decided by a person"),
        (f"{report.driven:,.0f} km", f"driven, {report.planned:,.0f} planned"),
        (f"{report.late:,}", "later than their window"),
        (f"{len(report.violations)}", "violations"),
    ]
    return map.page(f"A day of {report.drivers} vans, before and after", figures, panels)


def _believed(updates: Sequence[Update]) -> tuple[int, int]:
    later = [update for update in updates if update.at >= NOON]
    return sum(update.source == "model" for update in later), len(later)


def _noticed(world: World, updates: Sequence[Update]) -> int | None:
    """Events from noon on until the model, having been believed, is not any more; in the slowest of the cities."""
    found: list[int] = []
    for city in world.cities.values():
        mine = {event.id for event in city.events if event.at >= NOON}
        believed = [update.source == "model" for update in updates if update.event in mine]
        changes = [number for number, (was, then) in enumerate(pairwise(believed), 2) if was and not then]
        if not changes:
            return None
        found.append(changes[0])
    return max(found)


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    ranked = sorted(seconds) or [0.0]
    return round(ranked[len(ranked) // 2], 3), round(ranked[min(len(ranked) - 1, len(ranked) * 99 // 100)], 3)
