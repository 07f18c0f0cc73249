"""The plan of the morning: which van has which orders, before anything happens."""

from collections.abc import Sequence
from dataclasses import replace

from freightcore import fleet, priority
from freightcore.facts import Morning, Proposal, Roads, Route
from freightcore.world import FIRST, world_of


def prepared(day: str, city: str) -> Morning:
    """What there is to plan with: what the roads are usually like at seven, and later."""
    here = world_of(day).cities[city]
    orders = [order for order in here.orders if not order.known]
    roads = Roads(FIRST, here.average(FIRST + 3600), here.average(11 * 3600), 1.0, "history")
    loads = [fleet.fresh(driver) for driver in here.drivers]
    return Morning(loads, orders, roads, priority.urgency(orders, FIRST))


def assigned(morning: Morning, routes: Sequence[Route]) -> list[Proposal]:
    """Each route with the van that it is for, and the orders that this van has now."""
    orders = {order.id: order for order in morning.orders}
    return [
        Proposal(
            route,
            replace(load, orders=[orders[visit.order] for visit in route.visits]),
            morning.roads,
        )
        for load, route in zip(morning.loads, routes, strict=True)
    ]


def unplaced(morning: Morning, routes: Sequence[Route]) -> list[str]:
    """The orders that are in none of the routes."""
    placed = {visit.order for route in routes for visit in route.visits}
    return [order.id for order in morning.orders if order.id not in placed]
