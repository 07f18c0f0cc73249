"""The vans on the true roads: what telematics reports, and how the day went in truth."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from freightcore import drivers
from freightcore.eta import PAUSE
from freightcore.facts import DEPOT, Driver, Load, Order, Place, Proposal
from freightcore.roads import metres, seconds
from freightcore.world import City


@dataclass(frozen=True)
class Driven:
    """How far a van has come with its instructions.

    Attributes:
        visited: when each visit began, those under way counted.
        late: seconds after the window's end, of those.
        free_at, place: where its driver can take new instructions.
    """

    visited: dict[str, int]
    late: dict[str, int]
    free_at: int
    place: Place
    driven: int
    metres: int
    paused: int | None


def drive(city: City, told: Proposal, until: int | None = None) -> Driven:
    """Follow instructions on the true roads.

    Args:
        until: look at this time; None for the end of the day.
    """
    load, route = told.load, told.route
    orders = {order.id: order for order in load.orders}
    at, place, driven, length, paused = load.free_at, load.place, 0, 0, load.paused
    visited: dict[str, int] = {}
    late: dict[str, int] = {}
    for index, visit in enumerate(route.visits):
        if until is not None and at > until:
            return Driven(visited, late, at, place, load.driven + driven, length, paused)
        if route.pause is not None and route.pause.before == index:
            at = paused = max(at, route.pause.begins) + PAUSE
        order = orders[visit.order]
        took = _truly(city, place, order.place, visit.via, at)
        driven, length = driven + took, length + metres(place, order.place, visit.via)
        begins = max(at + took, order.opens)
        visited[order.id], late[order.id] = begins, max(0, begins - order.closes)
        at, place = begins + order.service, order.place
    if until is not None and at > until:
        return Driven(visited, late, at, place, load.driven + driven, length, paused)
    if route.pause is not None and route.pause.before == len(route.visits):
        at = paused = max(at, route.pause.begins) + PAUSE
    took = _truly(city, place, DEPOT, route.home_via, at)
    driven, length = driven + took, length + metres(place, DEPOT, route.home_via)
    return Driven(visited, late, at + took, DEPOT, load.driven + driven, length, paused)


def _truly(city: City, a: Place, b: Place, via: str, at: int) -> int:
    return seconds(a, b, "ring" if via == "ring" else "direct", lambda zone: city.jam(zone, at), city.slowed(at))


def fresh(driver: Driver) -> Load:
    """A van before the day."""
    able = drivers.availability(driver, None)
    return Load(driver.id, driver, able.starts, able.ends, able.starts, DEPOT, [])


def stands(city: City, told: Proposal, at: int, orders: Mapping[str, Order], gone: Collection[str], off: bool) -> Load:
    """A van as it stands at a time, by what it was told last.

    Args:
        orders: all that are known.
        gone: orders that nobody delivers any more.
        off: its driver has clocked out.
    """
    before = told.load
    now = drive(city, told, at)
    remaining = [
        orders[visit.order] for visit in told.route.visits if visit.order not in now.visited and visit.order not in gone
    ]
    idle = now.place == DEPOT and not remaining and at - now.free_at >= PAUSE  # who waits at the depot has a pause
    collected = sum(order.units for order in before.orders if order.id in now.visited and order.known)
    return replace(
        before,
        free_at=max(now.free_at, at),
        place=now.place,
        orders=remaining,
        carried=before.carried + collected,
        driven=now.driven,
        paused=at if idle else now.paused,
        on_duty=not off,
    )


@dataclass(frozen=True)
class Journey:
    """A van's day, as it was.

    Attributes:
        visited, late: of every order that it visited.
        path: the places it went to, in order.
    """

    vehicle: str
    visited: dict[str, int]
    late: dict[str, int]
    metres: int
    home: int
    path: list[str]


def journey(city: City, told: Sequence[tuple[int, Proposal]]) -> Journey:
    """What a van did in truth, by all that it was told and when."""
    visited: dict[str, int] = {}
    late: dict[str, int] = {}
    length = 0
    home = 0
    for index, (_, proposal) in enumerate(told):
        following = told[index + 1][0] if index + 1 < len(told) else None
        part = drive(city, proposal, following)
        visited |= part.visited
        late |= part.late
        length += part.metres
        home = part.free_at
    return Journey(told[0][1].load.vehicle, visited, late, length, home, sorted(visited, key=visited.__getitem__))
