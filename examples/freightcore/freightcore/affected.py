"""Which vans an event concerns: only their routes are worked out again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from freightcore import dispatch, fleet
from freightcore.eta import timed
from freightcore.facts import DEPOT, Affected, Availability, Change, Event, Load, Order, Place, Proposal, Roads, Task
from freightcore.world import World, world_of

SLIPS = 600
"""Seconds by which a route has to become longer or shorter before it is worth another one."""

CANDIDATES = 3
"""How many vans are tried for an order that needs one."""


def find(event: Event, change: Change, roads: Roads, available: Sequence[Availability]) -> Affected:
    """Whom the event concerns."""
    world = world_of(event.day)
    told = dispatch.latest(event.day, city=event.city)
    known = Known(event.day)
    on_duty = {one.driver for one in available if one.on_duty}
    loads = {vehicle: known.load(world, proposal, event.at) for vehicle, proposal in told.items()}
    if change == "traffic":
        slipped = [v for v, load in loads.items() if v in on_duty and _slips(load, told[v], roads, event.at)]
        return Affected([[Task(vehicle, [], []) for vehicle in sorted(slipped)]] if slipped else [], [])
    if change == "driver" and event.driver_id is not None:
        load = loads[event.driver_id]
        homeless = [order.id for order in load.orders]
        others = {v: other for v, other in loads.items() if v in on_duty and v != event.driver_id}
        given_back = [Task(event.driver_id, [], homeless)]
        return Affected([given_back, *_waves(world, homeless, others, None)], homeless)
    if event.kind == "cancel" and event.order_id is not None:
        having = [v for v, proposal in told.items() if any(e.order == event.order_id for e in proposal.route.visits)]
        return Affected([[Task(vehicle, [], [event.order_id]) for vehicle in having]] if having else [], [])
    able = {v: load for v, load in loads.items() if v in on_duty}
    homeless = [event.order_id] if event.order_id is not None else []
    return Affected(_waves(world, homeless, able, event.driver_id), homeless)


def load_of(event: Event, task: Task) -> Load:
    """A van as it stands when the event comes, with what it gets and without what it loses."""
    world = world_of(event.day)
    told = dispatch.latest(event.day, vehicle=task.vehicle)[task.vehicle]
    load = Known(event.day).load(world, told, event.at)
    orders = [order for order in load.orders if order.id not in task.drops]
    return replace(load, orders=[*orders, *(world.orders[id] for id in task.adds)])


class Known:
    """What the desk knows of orders and drivers."""

    def __init__(self, day: str) -> None:
        self.off = dispatch.marks(day, "off")
        self.gone: set[str] = set()
        for kind in ("cancelled", "rebooked", "subcontracted"):
            self.gone.update(dispatch.marks(day, kind))

    def load(self, world: World, told: Proposal, at: int) -> Load:
        """A van as it stands, by what it was told last."""
        driver = told.load.driver
        return fleet.stands(world.cities[driver.city], told, at, world.orders, self.gone, driver.id in self.off)


def _slips(load: Load, told: Proposal, roads: Roads, at: int) -> bool:
    """Whether the roads change when this van is back, or make it break a promise."""
    if not load.orders:
        return False
    route = timed(load, load.orders, roads)
    urgent = {order.id: order.closes for order in load.orders if order.urgent}
    late = any(visit.begins > urgent.get(visit.order, visit.begins) for visit in route.visits)
    return late or abs(route.home - told.route.home) > SLIPS


def _waves(world: World, homeless: Iterable[str], loads: Mapping[str, Load], first: str | None) -> list[list[Task]]:
    """Who is to be tried for these orders: in the first wave the best van for each, in the second the next best one."""
    waves: list[dict[str, list[str]]] = [{} for _ in range(CANDIDATES)]
    for id in homeless:
        order = world.orders[id]
        able = [v for v, load in loads.items() if _can_take(load, order)]
        able.sort(key=lambda vehicle: (vehicle != first, _detour(loads[vehicle], order), vehicle))
        for wave, vehicle in zip(waves, able, strict=False):
            wave.setdefault(vehicle, []).append(id)
    return [[Task(vehicle, adds, []) for vehicle, adds in sorted(wave.items())] for wave in waves if wave]


def _can_take(load: Load, order: Order) -> bool:
    units = load.carried + sum(each.units for each in load.orders) + order.units
    skilled = not order.skill or order.skill in load.driver.skills
    return skilled and units <= load.driver.capacity and load.free_at < min(order.closes, load.ends - 3600)


def _detour(load: Load, order: Order) -> int:
    """Metres that it takes at least to go by this order too."""
    places = [load.place, *(each.place for each in load.orders), DEPOT]
    return min(_far(a, order.place) + _far(order.place, b) - _far(a, b) for a, b in pairwise(places))


def _far(a: Place, b: Place) -> int:
    return abs(a.x - b.x) + abs(a.y - b.y)
