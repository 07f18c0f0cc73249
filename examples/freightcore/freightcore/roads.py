"""Driving as the planner sees it: distances, two ways for each leg, and how long each takes.

The independent checker does not use this: it has arithmetic of its own.
"""

from collections.abc import Callable, Sequence

from freightcore.facts import Place, Roads, Via

FREE = 32 / 3.6
"""Metres a second where nothing is in the way."""

RING = 34 / 3.6
"""Metres a second on the ring road, which is never jammed."""

Jam = Callable[[int], float]
"""Congestion of a zone."""


def metres(a: Place, b: Place, via: Via) -> int:
    straight = abs(a.x - b.x) + abs(a.y - b.y)
    return straight if via == "direct" else straight * 17 // 10 + 1_000


def seconds(a: Place, b: Place, via: Via, jam: Jam, weather: float) -> int:
    """How long a leg takes with such jams."""
    if via == "ring":
        return round(metres(a, b, via) / RING * weather)
    middle = Place((a.x + b.x) // 2, (a.y + b.y) // 2)
    jammed = (jam(a.zone) + jam(middle.zone) + jam(b.zone)) / 3
    return round(metres(a, b, via) / (FREE * (1 - 0.75 * jammed)) * weather)


def quickest(a: Place, b: Place, jam: Jam, weather: float) -> tuple[Via, int]:
    """The quicker of the two ways, and how long it takes."""
    direct, ring = seconds(a, b, "direct", jam, weather), seconds(a, b, "ring", jam, weather)
    return ("ring", ring) if ring < direct else ("direct", direct)


def expected(roads: Roads, at: int) -> Jam:
    """The jams that a plan expects at a time."""
    jams: Sequence[float] = roads.jams if at < roads.at + 3600 else roads.later
    return jams.__getitem__
