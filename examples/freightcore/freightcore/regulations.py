"""The independent checker: may a van be sent on this route?

It imports nothing of what makes plans and does its own arithmetic, so that a mistake there is found here. Each rule
takes a ``Proposal`` and says what is wrong, or None. ``audit`` holds a whole day to them, and to what only a whole day
can break.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from freightcore.facts import Order, Proposal

Rule = Callable[[Proposal], str | None]

HOUR = 3600
TOLERANCE = 90
"""Seconds by which the planner's clock and this one may differ on a leg."""

MOST_DRIVING = 9 * HOUR  # Regulation (EC) 561/2006, article 6
LEAST_REST = 11 * HOUR  # article 8
MOST_WORK_AT_A_STRETCH = 6 * HOUR  # Directive 2002/15/EC, article 5
LEAST_PAUSE = HOUR // 2
MOST_DUTY = 10 * HOUR  # a company rule, as are the customers' below
LATE_AT_MOST = HOUR
"""Whoever is not urgent is late by this much at most."""


def within_capacity(proposal: Proposal) -> str | None:
    """What is on board at any time fits."""
    units = proposal.load.carried + sum(order.units for order in _visited(proposal))
    capacity = proposal.load.driver.capacity
    return None if units <= capacity else f"{units} units for a van of {capacity}"


def within_windows(proposal: Proposal) -> str | None:
    """Nobody is visited before the window opens; who is urgent not after it has closed, others not long after."""
    orders = {order.id: order for order in proposal.load.orders}
    for visit in proposal.route.visits:
        if (order := orders.get(visit.order)) is None:
            continue
        if visit.begins < order.opens:
            return f"{order.id} is visited before it opens"
        latest = order.closes + (0 if order.urgent else LATE_AT_MOST)
        if visit.begins > latest:
            return f"{order.id} is visited {(visit.begins - order.closes) // 60} minutes after its window"
    return None


def within_driving_hours(proposal: Proposal) -> str | None:
    """Nine hours at the wheel a day."""
    hours = (proposal.load.driven + proposal.route.driving) / HOUR
    return None if hours * HOUR <= MOST_DRIVING else f"{hours:.1f} hours at the wheel"


def within_duty(proposal: Proposal) -> str | None:
    """Back in time."""
    duty = proposal.route.home - proposal.load.on_since
    return None if duty <= MOST_DUTY or not proposal.route.visits else f"{duty / HOUR:.1f} hours on duty"


def pauses_in_time(proposal: Proposal) -> str | None:
    """Half an hour off before six hours of work are over."""
    load, route = proposal.load, proposal.route
    if not route.visits:  # nobody is kept from going home
        return None
    since = load.on_since if load.paused is None else load.paused
    if route.pause is not None:
        if route.pause.ends - route.pause.begins < LEAST_PAUSE:
            return "a pause of less than half an hour"
        if route.pause.begins - since > MOST_WORK_AT_A_STRETCH:
            return f"{(route.pause.begins - since) / HOUR:.1f} hours of work before the pause"
        since = route.pause.ends
    stretch = route.home - since
    if stretch > MOST_WORK_AT_A_STRETCH:
        return f"{stretch / HOUR:.1f} hours of work without a pause"
    return None


def has_rested(proposal: Proposal) -> str | None:
    """Eleven hours between two shifts."""
    driver = proposal.load.driver
    rest = proposal.load.on_since - driver.ended
    return (
        None if rest >= LEAST_REST or not proposal.route.visits else f"{driver.id} has rested {rest / HOUR:.1f} hours"
    )


def has_skills(proposal: Proposal) -> str | None:
    """Trained for everything on board."""
    skills = proposal.load.driver.skills
    wanted = sorted({order.skill for order in _visited(proposal) if order.skill and order.skill not in skills})
    return None if not wanted else f"{proposal.load.driver.id} is not trained for {', '.join(wanted)}"


def is_on_duty(proposal: Proposal) -> str | None:
    """Whoever clocked out gets nothing more to do."""
    if proposal.load.on_duty or not proposal.route.visits:
        return None
    return f"{proposal.load.driver.id} has clocked out"


def visits_each_once(proposal: Proposal) -> str | None:
    """Nobody twice, nobody unknown."""
    counts = Counter(visit.order for visit in proposal.route.visits)
    if twice := [order for order, count in counts.items() if count > 1]:
        return f"twice: {', '.join(twice)}"
    known = {order.id for order in proposal.load.orders}
    strangers = sorted(set(counts) - known)
    return None if not strangers else f"not among its orders: {', '.join(strangers)}"


def leaves_nobody(proposal: Proposal) -> str | None:
    """Every order of the load has its place."""
    visited = {visit.order for visit in proposal.route.visits}
    lost = [order.id for order in proposal.load.orders if order.id not in visited]
    return None if not lost else f"no place for {', '.join(lost)}"


def adds_up(proposal: Proposal) -> str | None:
    """The times can be driven: each leg and each visit takes as long as it takes."""
    orders = {order.id: order for order in proposal.load.orders}
    at, x, y = proposal.load.free_at, *proposal.load.place
    driving = 0
    pause = proposal.route.pause
    stops = [(v.order, v.via, v.arrives, v.begins, v.leaves) for v in proposal.route.visits]
    stops.append(("", proposal.route.home_via, proposal.route.home, proposal.route.home, proposal.route.home))
    for index, (id, via, arrives, begins, leaves) in enumerate(stops):
        if pause is not None and pause.before == index:
            if pause.begins < at - TOLERANCE:
                return "the pause begins before the visit is over"
            at = pause.ends
        if id and id not in orders:
            return None  # another rule says so
        there, service = (orders[id].place, orders[id].service) if id else (_DEPOT, 0)
        least = _least(proposal, (x, y), there, via, at)
        driving += least
        if arrives < at + least - TOLERANCE:
            return f"{id or 'the depot'} is reached in {arrives - at} s, which takes {least}"
        if begins < arrives or leaves < begins + service:
            return f"{id} takes {leaves - begins} s, and needs {service}"
        at, (x, y) = leaves, there
    if proposal.route.driving < driving - TOLERANCE * len(stops):
        return f"{proposal.route.driving} s at the wheel are claimed, and it takes {driving}"
    return None


RULES: tuple[Rule, ...] = (
    visits_each_once,
    leaves_nobody,
    is_on_duty,
    has_rested,
    has_skills,
    within_capacity,
    within_windows,
    within_driving_hours,
    within_duty,
    pauses_in_time,
    adds_up,
)


def problems(proposal: Proposal) -> list[str]:
    """Everything that is wrong with a proposal."""
    return [f"{rule.__name__}: {said}" for rule in RULES if (said := rule(proposal)) is not None]


def all_legal(proposals: Iterable[Proposal]) -> str | None:
    """The same for many vans at once."""
    wrong = [f"{proposal.load.vehicle}: {said}" for proposal in proposals for said in problems(proposal)]
    return "; ".join(wrong[:10]) or None


def audit(
    dispatched: Iterable[tuple[int, Proposal]],
    orders: Mapping[str, Order],
    off: Mapping[str, int],
    settled: Mapping[str, str],
    delivered: Mapping[str, int],
) -> list[str]:
    """Everything that was wrong with a day.

    Args:
        dispatched: when each route was sent, in order.
        orders: all that were known.
        off: when drivers clocked out.
        settled: how orders ended that nobody delivers: cancelled, or booked for another day.
        delivered: when the others were.
    """
    found: list[str] = []
    has: dict[str, set[str]] = {}
    for at, proposal in dispatched:
        vehicle = proposal.load.vehicle
        found += [f"{vehicle} at {at}: {said}" for said in problems(proposal)]
        if vehicle in off and at > off[vehicle] and proposal.route.visits:
            found.append(f"{vehicle} at {at}: sent on its way after it clocked out")
        mine = {visit.order for visit in proposal.route.visits}
        has[vehicle] = mine
        for other, theirs in has.items():
            if other != vehicle and (both := mine & theirs):
                found.append(f"{vehicle} at {at}: {other} has {', '.join(sorted(both))} too")
    for id in orders:
        if id not in delivered and id not in settled:
            found.append(f"{id} is lost")
        if settled.get(id) == "rebooked" and id in delivered:
            found.append(f"{id} is delivered, and was booked for another day")
    return found


def _visited(proposal: Proposal) -> list[Order]:
    visited = {visit.order for visit in proposal.route.visits}
    return [order for order in proposal.load.orders if order.id in visited]


# Arithmetic of its own: the same map and the same roads as the planner's, nothing of its code.

_ZONE, _ZONES = 6_000, 4
_DEPOT = (12_000, 12_000)


def _least(proposal: Proposal, a: tuple[int, int], b: tuple[int, int], via: str, at: int) -> int:
    """Seconds that a leg takes at least."""
    kilometres = (abs(a[0] - b[0]) + abs(a[1] - b[1])) / 1000
    roads = proposal.roads
    if via == "ring":
        return int((1.7 * kilometres + 1) / 34 * HOUR * roads.weather)
    jams = roads.jams if at < roads.at + HOUR else roads.later
    halfway = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
    jam = sum(jams[_zone(point)] for point in (a, halfway, b)) / 3
    return int(kilometres / (32 * (1 - 0.75 * jam)) * HOUR * roads.weather)


def _zone(point: tuple[float, float]) -> int:
    column, row = (min(int(part // _ZONE), _ZONES - 1) for part in point)
    return row * _ZONES + column
