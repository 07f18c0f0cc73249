"""The nouns of the day. Times are seconds since midnight, lengths metres, congestion a share: 1 is a standstill."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

ZONES = 4
"""A city is a square of so many by so many zones."""

ZONE = 6_000
"""Metres along one side of a zone."""

Kind = Literal["sensors", "incident", "storm", "clock_out", "order", "cancel"]
Change = Literal["traffic", "driver", "order"]
Via = Literal["direct", "ring"]


class Place(NamedTuple):
    x: int
    y: int

    @property
    def zone(self) -> int:
        """In which zone it lies, row by row."""
        return min(self.y // ZONE, ZONES - 1) * ZONES + min(self.x // ZONE, ZONES - 1)


DEPOT = Place(ZONES * ZONE // 2, ZONES * ZONE // 2)


@dataclass(frozen=True)
class Order:
    """Something to deliver, or to collect if it comes up during the day.

    Attributes:
        units: what it takes of a van's capacity.
        service: seconds at the door.
        opens, closes: when the service may begin. An urgent order's closing time is a promise; another one may be late.
        skill: what its driver must be trained for; empty for nothing.
        worth: from 1 to 5, what the customer pays for.
        known: when it came up; 0 for before the day.
    """

    id: str
    city: str
    place: Place
    units: int
    service: int
    opens: int
    closes: int
    urgent: bool
    skill: str
    worth: int
    known: int


@dataclass(frozen=True)
class Driver:
    """A driver and the van of the same name.

    Attributes:
        contract: when the shift begins, if yesterday's ended early enough.
        ended: when yesterday's ended, so a negative number.
    """

    id: str
    city: str
    skills: tuple[str, ...]
    capacity: int
    contract: int
    ended: int


@dataclass(frozen=True)
class Event:
    """Something happened.

    Attributes:
        day: the folder of the day that it belongs to.
        driver_id: whose event it is, if it is one driver's.
        trusting: the traffic model is believed whatever it says: the drill's counter-example.
    """

    id: str
    day: str
    at: int
    kind: Kind
    city: str
    driver_id: str | None = None
    order_id: str | None = None
    zone: int | None = None
    trusting: bool = False


@dataclass(frozen=True)
class Forecast:
    """What the traffic model says of a city.

    Attributes:
        jams: congestion of each zone in half an hour.
        confidence: how sure it is, from the spread of its quantiles.
        later: what the time after that is usually like, from history.
        error: what it said half an hour ago of now, minus what the vans have found, on average over the zones.
    """

    city: str
    slot: int
    jams: list[float]
    later: list[float]
    confidence: float
    error: float = 0.0


@dataclass(frozen=True)
class Weather:
    """How much longer everything takes, and why."""

    factor: float
    condition: str


@dataclass(frozen=True)
class Availability:
    """What a driver may still do.

    Attributes:
        starts, ends: from when until when, by rest and hours.
        on_duty: has not clocked out.
    """

    driver: str
    starts: int
    ends: int
    on_duty: bool
    skills: tuple[str, ...]


@dataclass(frozen=True)
class Roads:
    """What a plan takes the roads to be like.

    Attributes:
        jams: congestion of each zone for the hour after ``at``.
        later: the same for whatever comes after it, from history.
        source: where ``jams`` is from: the model, a kept value, a fallback.
    """

    at: int
    jams: list[float]
    later: list[float]
    weather: float
    source: str = "model"


@dataclass(frozen=True)
class Visit:
    order: str
    via: Via
    arrives: int
    begins: int
    leaves: int


@dataclass(frozen=True)
class Pause:
    """Half an hour off, before the visit of this index, or before the way home."""

    before: int
    begins: int
    ends: int


@dataclass(frozen=True)
class Load:
    """A van as it stands: where it will be free, and what it has to do.

    Attributes:
        free_at, place: when and where its driver can take new instructions: after the visit he is on his way to.
        orders: what is to be visited still.
        carried: units collected, which stay on board.
        driven: seconds at the wheel so far.
        paused: when the pause ended, if it was taken.
    """

    vehicle: str
    driver: Driver
    on_since: int
    ends: int
    free_at: int
    place: Place
    orders: list[Order]
    carried: int = 0
    driven: int = 0
    paused: int | None = None
    on_duty: bool = True


@dataclass(frozen=True)
class Route:
    """What a van is to do.

    Attributes:
        left: orders of the load that found no place in it.
        home: when it is back at the depot, and ``home_via`` which way.
    """

    vehicle: str
    sets_off: int
    visits: list[Visit]
    pause: Pause | None
    home: int
    home_via: Via
    metres: int
    driving: int
    left: list[str]


@dataclass(frozen=True)
class Proposal:
    """A route, and everything that it can be judged by."""

    route: Route
    load: Load
    roads: Roads


@dataclass(frozen=True)
class Morning:
    """What the day of a city begins with."""

    loads: list[Load]
    orders: list[Order]
    roads: Roads
    urgency: dict[str, float]


@dataclass(frozen=True)
class Task:
    """What is to be worked out again for one vehicle.

    Attributes:
        adds, drops: orders that it gets, and that it loses.
    """

    vehicle: str
    adds: list[str]
    drops: list[str]


@dataclass(frozen=True)
class Affected:
    """Whom an event concerns.

    Attributes:
        waves: those of one wave are worked out at the same time; the next one only if it is still needed.
        homeless: orders that need a van.
    """

    waves: list[list[Task]]
    homeless: list[str]


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        did: dispatched, kept (the last instruction stands), or asked (a person decided).
        left: added orders that had no place.
    """

    vehicle: str
    did: Literal["dispatched", "asked", "kept"]
    left: list[str]


@dataclass(frozen=True)
class Update:
    """What an event led to.

    Attributes:
        source: where the forecast of the traffic was from.
        refused: orders that no van could take, for which a person found another way.
    """

    event: str
    at: int
    change: Change
    source: str
    outcomes: list[Outcome]
    refused: list[str]
