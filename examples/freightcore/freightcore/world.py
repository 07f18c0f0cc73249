"""The simulated day: what is true of its roads, its weather, its people and its orders. One seed, one day.

Nothing that plans may look at the truth: it gets what sensors, stations and vans report.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np

from freightcore.facts import DEPOT, ZONE, ZONES, Driver, Event, Order, Place
from freightcore.weather import Observation

CITIES = ("Aarhus", "Basel", "Cork", "Dresden", "Exeter", "Faro", "Ghent", "Halle")
SLOT = 900
"""Seconds between two reports of the sensors, and between two forecasts."""

FIRST, LAST = 7 * 3600, 16 * 3600 + 1800
"""When events come."""

NOON = 12 * 3600
_STEP = 300
_STEPS = 86_400 // _STEP
_ALL = ZONES * ZONES


@dataclass(frozen=True)
class Scenario:
    """What a day is made from.

    Attributes:
        deliveries: of the whole day; a tenth of them come up in its course.
        shifted: at noon the pattern of the city changes: sensors count what jams nobody.
        trusting: whether the traffic model is believed without any check.
    """

    seed: int = 7
    cities: int = 5
    drivers: int = 150
    deliveries: int = 3000
    shifted: bool = False
    trusting: bool = False


@dataclass(frozen=True)
class Past:
    """Days gone by, to learn from: what was seen at each report of a sensor, and what came half an hour later."""

    seen: Any
    came: Any


@dataclass(frozen=True)
class City:
    """A city and its day. Arrays have a row for each five minutes, and a column for each zone."""

    name: str
    kinds: tuple[int, ...]
    busy: float
    jams: Any
    volumes: Any
    rain: Any
    degrees: float
    averages: Any
    drivers: tuple[Driver, ...]
    orders: tuple[Order, ...]
    events: tuple[Event, ...]

    def jam(self, zone: int, at: int) -> float:
        """The truth."""
        return float(self.jams[min(at // _STEP, _STEPS - 1), zone])

    def weather(self, at: int) -> Observation:
        """What the station measures."""
        return Observation(float(self.rain[min(at // _STEP, _STEPS - 1)]), self.degrees)

    def slowed(self, at: int) -> float:
        """How much longer everything takes, in truth."""
        return 1.0 + 0.03 * float(self.rain[min(at // _STEP, _STEPS - 1)])

    def seen(self, at: int) -> Any:
        """What a model may know: for each zone its kind, the time, the last three reports of its sensor, the rain."""
        return _features(self.kinds, self.volumes, self.rain, at // _STEP)

    def found(self, at: int) -> Any:
        """What the vans have found in each zone in the last minutes."""
        row = at // _STEP
        noise = np.random.default_rng([row, len(self.name)]).normal(0, 0.02, _ALL)
        return np.clip(self.jams[row] + noise, 0, 0.95)

    def average(self, at: int) -> list[float]:
        """What this hour is usually like, zone by zone."""
        return [round(float(jam), 4) for jam in self.averages[min(at // 3600, 23)]]


class World:
    """A day in all its cities."""

    def __init__(self, scenario: Scenario, day: str) -> None:
        self.scenario, self.day = scenario, day
        names = CITIES[: scenario.cities]
        self.cities = {name: _city(scenario, day, number, name) for number, name in enumerate(names)}
        self.drivers = {driver.id: driver for city in self.cities.values() for driver in city.drivers}
        self.orders = {order.id: order for city in self.cities.values() for order in city.orders}


@lru_cache(4)
def world_of(day: str) -> World:
    """The world that a day's folder belongs to."""
    return World(msgspec.json.decode((Path(day) / "scenario.json").read_bytes(), type=Scenario), day)


def past(scenario: Scenario, days: int = 50) -> Past:
    """Days gone by, so many in all the cities together. In those years many afternoons were jammed from noon on."""
    seen: list[Any] = []
    came: list[Any] = []
    for number in range(scenario.cities):
        draw = np.random.default_rng([scenario.seed, number, 99])
        kinds, busy = _profile(scenario.seed, number)
        for _ in range(days // scenario.cities):
            rain = _rain(draw)
            busy_afternoon = _busy_afternoon(kinds) * (draw.random() < 0.4)
            jams = _jams(draw, kinds, busy, rain, _incidents(draw), busy_afternoon)
            volumes = _volumes(draw, jams)
            dead = draw.random() < 0.3
            for row in range(6 * 12, 18 * 12, 4):
                features = _features(kinds, volumes, rain, row)
                if dead and draw.random() < 0.3:
                    features[:, 3:6] = np.nan
                seen.append(features)
                came.append(jams[row + 6])
    return Past(np.concatenate(seen), np.concatenate(came))


# Roads and weather


def _profile(seed: int, number: int) -> tuple[tuple[int, ...], float]:
    """Which zones are residential (0), on an arterial road (1) or in the centre (2), and how busy the city is."""
    random = Random(f"profile {seed} {number}")
    kinds = [0] * _ALL
    for zone in range(_ALL):
        row, column = divmod(zone, ZONES)
        centre = row in (1, 2) and column in (1, 2)
        kinds[zone] = 2 if centre else 1 if random.random() < 0.45 else 0
    return tuple(kinds), random.uniform(0.85, 1.15)


def _hump(hours: Any, at: float, width: float) -> Any:
    return np.exp(-(((hours - at) / width) ** 2))


def _usual(kinds: tuple[int, ...], busy: float) -> Any:
    hours = np.arange(_STEPS) / 12
    morning, noon, evening = _hump(hours, 8.2, 1.1), _hump(hours, 12.6, 1.2), _hump(hours, 16.8, 1.4)
    by_kind = (
        0.08 + 0.14 * morning + 0.04 * noon + 0.14 * evening,
        0.12 + 0.40 * morning + 0.10 * noon + 0.38 * evening,
        0.18 + 0.30 * morning + 0.16 * noon + 0.30 * evening,
    )
    return busy * np.stack([by_kind[kind] for kind in kinds], axis=1)


def _rain(draw: np.random.Generator) -> Any:
    hours, rain = np.arange(_STEPS) / 12, np.zeros(_STEPS)
    for _ in range(int(draw.integers(0, 3))):
        rain += draw.uniform(2, 8) * _hump(hours, draw.uniform(7, 17), draw.uniform(0.5, 1.0))
    return np.where(rain > 0.3, rain, 0.0)


def _incidents(draw: np.random.Generator) -> list[tuple[int, int, int, float]]:
    """Zone, first and last row, and by how much it jams."""
    many = int(draw.integers(5, 9))
    found: list[tuple[int, int, int, float]] = []
    for _ in range(many):
        began = int(draw.integers(FIRST // _STEP, LAST // _STEP))
        found.append(
            (int(draw.integers(_ALL)), began, began + int(draw.integers(9, 20)), float(draw.uniform(0.3, 0.6)))
        )
    return found


def _busy_afternoon(kinds: tuple[int, ...]) -> Any:
    """What a jammed afternoon adds, in all but residential zones."""
    hours = np.arange(_STEPS) / 12
    plateau = np.clip((hours - 12) * 3, 0, 1) * np.clip((17.5 - hours) * 2, 0, 1)
    return 0.5 * np.stack([plateau * (kind > 0) for kind in kinds], axis=1)


def _jams(draw: np.random.Generator, kinds: Any, busy: float, rain: Any, incidents: Any, more: Any = 0.0) -> Any:
    wander = np.zeros((_STEPS, _ALL))
    pushes = draw.normal(0, 0.012, (_STEPS, _ALL))
    for row in range(1, _STEPS):
        wander[row] = 0.95 * wander[row - 1] + pushes[row]
    jams = _usual(kinds, busy) * draw.uniform(0.9, 1.1) + wander + 0.015 * rain[:, None] + more
    for zone, began, ended, much in incidents:
        jams[began:ended, zone] += much
    return np.clip(jams, 0.02, 0.92)


def _volumes(draw: np.random.Generator, jams: Any) -> Any:
    """Vehicles an hour that a sensor counts: more of them where it jams."""
    return 250 + 1400 * jams + draw.normal(0, 45, jams.shape)


def _features(kinds: Any, volumes: Any, rain: Any, row: int) -> Any:
    hour = np.full(_ALL, row / 12)
    rows = [np.array(kinds, float), hour, np.full(_ALL, rain[row])]
    return np.stack([*rows, volumes[row], volumes[row - 3], volumes[row - 6]], axis=1)


# A city's day


def _city(scenario: Scenario, day: str, number: int, name: str) -> City:
    draw = np.random.default_rng([scenario.seed, number])
    kinds, busy = _profile(scenario.seed, number)
    rain, incidents = _rain(draw), _incidents(draw)
    jams = _jams(draw, kinds, busy, rain, incidents)
    # shifted: the sensors count what they used to count on jammed afternoons, and the roads stay as free as they are
    volumes = _volumes(draw, np.clip(jams + _busy_afternoon(kinds), 0, 0.92) if scenario.shifted else jams)
    usual = _usual(kinds, busy)
    averages = np.stack([usual[hour * 12 : hour * 12 + 12].mean(axis=0) for hour in range(24)])
    random = Random(f"{scenario.seed} {name}")
    drivers = _drivers(random, name, _share(scenario.drivers, scenario.cities, number))
    orders = _orders(random, name, _share(scenario.deliveries, scenario.cities, number), drivers)
    events = _events(random, scenario, day, name, drivers, orders, incidents, rain)
    degrees = random.uniform(-2, 14)
    return City(name, kinds, busy, jams, volumes, rain, degrees, averages, drivers, orders, events)


def _share(whole: int, parts: int, part: int) -> int:
    return whole // parts + (part < whole % parts)


def _drivers(random: Random, city: str, many: int) -> tuple[Driver, ...]:
    found: list[Driver] = []
    for number in range(many):
        contract = random.choice((6, 7, 7, 7, 8)) * 3600 + random.choice((0, 1800))
        ended = contract - 86_400 + random.choice((34_000, 36_000, 36_000, 38_000))
        if random.random() < 0.1:  # came home late: the law has them start later, or it is no good day for the contract
            ended = contract - random.choice((9, 10)) * 3600
        skills = tuple(
            skill for skill, share in (("cold", 0.4), ("hazmat", 0.25)) if random.random() < share or not number
        )
        found.append(Driver(f"{city.lower()}-{number + 1:02}", city, skills, 36, contract, ended))
    return tuple(found)


def _orders(random: Random, city: str, many: int, drivers: tuple[Driver, ...]) -> tuple[Order, ...]:
    centres = [_somewhere(random, DEPOT, 9_000) for _ in range(6)]
    found: list[Order] = []
    for number in range(many):
        known = random.randrange(FIRST + 900, 15 * 3600) if number >= many * 9 // 10 else 0
        place = _somewhere(random, random.choice(centres) if random.random() < 0.7 else DEPOT, 8_000)
        urgent, windowed = random.random() < 0.15, random.random() < 0.6
        opens, closes = 8 * 3600, 17 * 3600
        if known:
            opens, closes = known, known + (10_800 if urgent else 14_400)
        elif urgent or windowed:
            opens = random.randrange(8, 15) * 3600
            closes = opens + random.choice((7_200, 10_800))
        skill = random.choices(("", "cold", "hazmat"), (0.86, 0.1, 0.04))[0]
        units = random.choice((1, 1, 1, 2, 2, 3)) if not known else 1
        service = random.randrange(360, 840)
        id = f"{city[0]}{number + 1:04}"
        found.append(Order(id, city, place, units, service, opens, closes, urgent, skill, random.randint(1, 5), known))
    return tuple(found)


def _somewhere(random: Random, centre: Place, spread: float) -> Place:
    while True:
        x, y = random.gauss(centre.x, spread / 2), random.gauss(centre.y, spread / 2)
        if min(x, y) > 200 and max(x, y) < ZONES * ZONE - 200:
            return Place(int(x), int(y))


def _events(
    random: Random,
    scenario: Scenario,
    day: str,
    city: str,
    drivers: tuple[Driver, ...],
    orders: tuple[Order, ...],
    incidents: list[tuple[int, int, int, float]],
    rain: Any,
) -> tuple[Event, ...]:
    """Everything that happens, in order. Of two things in one second one driver is in both: the race."""
    found: list[dict[str, Any]] = [{"at": at, "kind": "sensors"} for at in range(FIRST + SLOT, LAST + 1, SLOT)]
    found += [{"at": 300 * began + 61, "kind": "incident", "zone": zone} for zone, began, _, _ in incidents]
    wet = [row for row in range(FIRST // 300, LAST // 300) if rain[row] >= 2 > rain[row - 1]]
    found += [{"at": 300 * row + 122, "kind": "storm"} for row in wet]
    found += [{"at": order.known, "kind": "order", "order_id": order.id} for order in orders if order.known]
    planned = [order.id for order in orders if not order.known]
    for id in random.sample(planned, max(1, len(planned) // 50)):
        found.append({"at": random.randrange(FIRST, 14 * 3600), "kind": "cancel", "order_id": id})
    late = [event for event in found if event["kind"] == "order" and event["at"] > 10 * 3600]
    for driver in random.sample(drivers, max(1, len(drivers) // 10)):
        at = random.randrange(10 * 3600, 15 * 3600)
        found.append({"at": at, "kind": "clock_out", "driver_id": driver.id})
        if late:  # and in the same second his regular customer calls
            event = late.pop(random.randrange(len(late)))
            event.update(driver_id=driver.id)
            found[-1]["at"] = event["at"]
    found.sort(key=lambda event: (event["at"], random.random()))
    common = {"day": day, "city": city, "trusting": scenario.trusting}
    prefix = f"{Path(day).name}/{city.lower()}"
    return tuple(Event(id=f"{prefix}-{number:03}", **common, **event) for number, event in enumerate(found, 1))
