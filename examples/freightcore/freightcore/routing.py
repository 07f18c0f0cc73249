"""The route optimisation model: PyVRP, with capacity, time windows, hours and skills.

For one van on its way, or for a whole city before the day. It stops after a number of iterations and not after a time:
the same problem gives the same plan on every machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from freightcore.eta import PAUSE, PAUSE_WITHIN, timed
from freightcore.facts import DEPOT, ZONE, ZONES, Load, Order, Place, Roads, Route
from freightcore.roads import FREE, RING

SOFT = 3_000
"""Seconds after its window by which an order is planned that is not urgent: with ten minutes to spare for the rule."""

SPARE = 300
"""Seconds before the end of a window by which the service is planned to begin."""


def replan(load: Load, roads: Roads, urgency: Mapping[str, float], new: Sequence[str] = (), rounds: int = 120) -> Route:
    """The route of a van that is on its way.

    Args:
        urgency: of each order, between 0 and 1.
        new: orders that it may leave to others.
    """
    if not load.on_duty or not load.orders:
        return timed(load, [], roads, [order.id for order in load.orders])
    prizes = {order.id: _prize(urgency[order.id], order.id in new) for order in load.orders}
    best: Route | None = None
    for soft in (False, True):  # everybody in time, else all that have to be
        (tour,) = _solve([load], load.orders, roads, prizes, rounds, soft=soft)
        route = _legal(load, tour, roads, prizes)
        if best is None or len(route.left) < len(best.left):
            best = route
        if not route.left or (not soft and set(route.left) <= set(new)):
            break
    return best


def plan(loads: Sequence[Load], orders: Sequence[Order], roads: Roads, urgency: Mapping[str, float]) -> list[Route]:
    """The routes of a whole city before the day: one for each load. Some orders may have no place in any."""
    prizes = {order.id: _prize(urgency[order.id], False) for order in orders}
    rounds = max(60, 40_000 // max(1, len(orders)))
    routes: list[Route] = []
    fair = 1 + int(1.05 * sum(order.units for order in orders) / len(loads))  # so that all of them have work
    shared = [replace(load, driver=replace(load.driver, capacity=min(load.driver.capacity, fair))) for load in loads]
    for load, tour in zip(loads, _solve(shared, orders, roads, prizes, rounds, soft=False), strict=True):
        routes.append(replace(_legal(replace(load, orders=tour), tour, roads, prizes), left=[]))
    return routes


def _prize(urgency: float, new: bool) -> int:
    """Metres and seconds that it is worth to visit somebody."""
    return int((20_000 if new else 200_000) * (1 + urgency))


def _solve(
    loads: Sequence[Load],
    orders: Sequence[Order],
    roads: Roads,
    prizes: Mapping[str, int],
    rounds: int,
    *,
    soft: bool,
) -> list[list[Order]]:
    """For each van the orders that it visits, in order.

    Args:
        soft: whoever is not urgent may be late.
    """
    import numpy as np
    from pyvrp import Client, Depot, Location, ProblemData, VehicleType, solve
    from pyvrp.stop import MaxIterations

    starts = sorted({load.place for load in loads} | {DEPOT})
    places = [*starts, *(order.place for order in orders)]
    length, took = _matrices(places, roads)
    skilled = sorted({load.driver.skills for load in loads})
    lengths: list[Any] = []
    times: list[Any] = []
    for skills in skilled:  # a profile for each kind of driver, in which what he may not carry is out of reach
        barred = [len(starts) + i for i, order in enumerate(orders) if order.skill and order.skill not in skills]
        far = took.copy()
        far[:, barred] = far[barred, :] = 10**6
        np.fill_diagonal(far, 0)
        lengths.append(length)
        times.append(far)
    home = starts.index(DEPOT)
    vehicles = [
        VehicleType(
            1,
            [max(0, load.driver.capacity - load.carried)],
            start_depot=starts.index(load.place),
            end_depot=home,
            tw_early=load.free_at,
            start_late=load.free_at if len(loads) == 1 else load.free_at + 3600,
            tw_late=max(load.free_at + 3601, load.ends - (PAUSE if load.paused is None else 0)),
            unit_duration_cost=1,
            profile=skilled.index(load.driver.skills),
            name=load.vehicle,
        )
        for load in loads
    ]
    late = [_latest(order, loads, soft) for order in orders]
    clients = [
        Client(
            len(starts) + index,
            delivery=[order.units],
            service_duration=order.service,
            tw_early=min(order.opens, late[index]),
            tw_late=late[index],
            prize=prizes[order.id],
            required=False,
        )
        for index, order in enumerate(orders)
    ]
    depots = [Depot(index) for index in range(len(starts))]
    locations = [Location(place.x, place.y) for place in places]
    data = ProblemData(locations, clients, depots, vehicles, lengths, times)
    best = solve(data, MaxIterations(rounds), seed=1, collect_stats=False).best
    tours: list[list[Order]] = [[] for _ in loads]
    for route in best.routes():
        tours[route.vehicle_type()] = [orders[stop.idx] for stop in route if stop.is_client()]
    return tours


def _matrices(places: Sequence[Place], roads: Roads) -> tuple[Any, Any]:
    """Metres and seconds between all places on the quicker way, with the mean of the jams of now and of later."""
    import numpy as np

    jams = (np.array(roads.jams) + np.array(roads.later)) / 2
    at = np.array(places)
    halfway = (at[:, None] + at[None]) // 2
    jammed = (jams[_zones(at)][:, None] + jams[_zones(halfway)] + jams[_zones(at)][None]) / 3
    straight = np.abs(at[:, None] - at[None]).sum(axis=2)
    around = straight * 17 // 10 + 1_000
    direct_took = straight / (FREE * (1 - 0.75 * jammed)) * roads.weather
    around_took = around / RING * roads.weather
    ring = around_took < direct_took
    return np.where(ring, around, straight), np.where(ring, around_took, direct_took).round().astype(int)


def _zones(points: Any) -> Any:
    import numpy as np

    column, row = (np.minimum(points[..., axis] // ZONE, ZONES - 1) for axis in (0, 1))
    return row * ZONES + column


def _latest(order: Order, loads: Sequence[Load], soft: bool) -> int:
    """When the service may begin in the plan. Who may come after the pause is planned for half an hour earlier."""
    latest = order.closes + (SOFT if soft and not order.urgent else -SPARE)
    pause_at = min(load.on_since for load in loads) + PAUSE_WITHIN
    if all(load.paused is None for load in loads) and latest > pause_at:
        latest = max(pause_at, latest - PAUSE)
    return max(latest, 1)


def _legal(load: Load, tour: Sequence[Order], roads: Roads, prizes: Mapping[str, int]) -> Route:
    """The tour with its pause and times; what can then not be kept is left out, the least urgent first."""
    kept = list(tour)
    while True:
        left = [order.id for order in load.orders if order not in kept]
        route = timed(load, kept, roads, left)
        by_id = {order.id: order for order in kept}
        late = [
            order
            for visit in route.visits
            if visit.begins > (order := by_id[visit.order]).closes + (0 if order.urgent else SOFT)
        ]
        over = route.home > load.ends
        if not kept or not (late or over):
            return route
        cheapest = min(
            kept[: 1 + kept.index(late[0])] if late else kept, key=lambda order: (prizes[order.id], order.id)
        )
        kept.remove(cheapest)
