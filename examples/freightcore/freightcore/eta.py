"""Times along a route: what a plan expects, and when a customer is told that the van comes."""

from collections.abc import Sequence
from dataclasses import dataclass

from freightcore.facts import DEPOT, Load, Order, Pause, Roads, Route, Visit
from freightcore.roads import expected, metres, quickest

PAUSE = 1_800
"""Seconds of a pause."""

PAUSE_WITHIN = int(5.5 * 3600)
"""Seconds of work after which the plan has the driver pause; the law says six hours."""


@dataclass(frozen=True)
class Eta:
    """What a customer is told: about when, and by when almost surely."""

    order: str
    about: int
    by: int


def timed(load: Load, orders: Sequence[Order], roads: Roads, left: Sequence[str] = ()) -> Route:
    """A route through these orders in this order, each leg on the quicker way, and a pause in time."""
    at, place, driven, length = load.free_at, load.place, 0, 0
    since = load.on_since if load.paused is None else load.paused
    pause: Pause | None = None
    visits: list[Visit] = []
    for order in orders:
        via, took = quickest(place, order.place, expected(roads, at), roads.weather)
        begins = max(at + took, order.opens)
        if pause is None and load.paused is None and begins + order.service - since > PAUSE_WITHIN:
            idle = max(at, min(order.opens - took - PAUSE, since + PAUSE_WITHIN))
            pause = Pause(len(visits), idle, idle + PAUSE)
            at = pause.ends
            via, took = quickest(place, order.place, expected(roads, at), roads.weather)
            begins = max(at + took, order.opens)
        visits.append(Visit(order.id, via, at + took, begins, begins + order.service))
        driven, length = driven + took, length + metres(place, order.place, via)
        at, place = begins + order.service, order.place
    via, took = quickest(place, DEPOT, expected(roads, at), roads.weather)
    if pause is None and load.paused is None and took and at + took - since > PAUSE_WITHIN:
        pause = Pause(len(visits), at, at + PAUSE)
        at = pause.ends
        via, took = quickest(place, DEPOT, expected(roads, at), roads.weather)
    length, driven = length + metres(place, DEPOT, via), driven + took
    return Route(load.vehicle, load.free_at, visits, pause, at + took, via, length, driven, sorted(left))


def tell(route: Route) -> list[Eta]:
    """What to tell the customers: the further ahead, the less sure."""
    return [
        Eta(visit.order, visit.begins, visit.begins + 300 + (visit.begins - route.sets_off) // 8)
        for visit in route.visits
    ]
