"""Trips of bicycle couriers, a file for each day. They are made up, by a seed: the same day has the same trips.

On 10 March roads are dug up, and trips take longer from then on: a model from before grows stale. On 13 March
whatever writes down how long a trip took has it in seconds, and calls it minutes.
"""

import csv
import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from datetime import date, timedelta
from io import StringIO
from pathlib import Path
from random import Random
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

A_DAY = 250
WEEKS = 2
ROADWORKS = date(2026, 3, 10)
IN_SECONDS = date(2026, 3, 13)
KEPT_BACK = 5
"""One trip of so many is never learned from, by whichever model: they are what models are compared on."""


@dataclass(frozen=True)
class Trip:
    """What is known before a trip. Its fields are what a model sees, in this order."""

    km: Annotated[float, Meta(ge=0, le=50)]
    hour: Annotated[float, Meta(ge=0, lt=24)]
    rain: Annotated[float, Meta(ge=0, le=100)]
    """Millimetres an hour."""
    stops: Annotated[float, Meta(ge=0, le=50)]


FEATURES = tuple(field.name for field in fields(Trip))
_HEAD = ("id", *FEATURES, "minutes")


class BadTrips(ValueError):
    """These are not trips."""


def collect(folder: Path, upto: date) -> Path:
    """Fetch the days that are not there yet, and give one file of the last weeks.

    A night on which nobody collected is made up for by the next one.
    """
    days = [upto - timedelta(days=back) for back in reversed(range(7 * WEEKS))]
    parts = [_fetched(folder, day) for day in days]
    whole = folder / "collected.csv"
    write(whole, ",".join(_HEAD).encode() + b"\n" + b"".join(part.read_bytes() for part in parts))
    return whole


def _fetched(folder: Path, day: date) -> Path:
    file = folder / "days" / f"{day}.csv"
    if not file.exists():
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerows(_source(day))
        write(file, text.getvalue().encode())
    return file


def write(file: Path, data: bytes) -> None:
    """Write a file whole or not at all, and have it survive a power cut."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
    with draft.open("wb") as writing:
        writing.write(data)
        writing.flush()
        os.fsync(writing.fileno())
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _source(day: date) -> Iterator[tuple[str | float, ...]]:
    """In place of your own database."""
    chance = Random(f"trips of {day}")
    wet = max(0.0, chance.gauss(0.4, 1.0))
    for number in range(A_DAY):
        trip = Trip(
            km=round(chance.lognormvariate(1.1, 0.5), 2),
            hour=round(min(23.9, max(0.0, chance.gauss(14, 4))), 1),
            rain=round(wet * chance.random(), 1),
            stops=float(chance.randint(1, 5)),
        )
        minutes = _taken(trip, day) * chance.lognormvariate(0, 0.12)
        yield f"{day}-{number}", *astuple(trip), round(minutes * (60 if day == IN_SECONDS else 1), 1)


def _taken(trip: Trip, day: date) -> float:
    rush = 0.4 * math.exp(-(((trip.hour - 8.5) / 1.5) ** 2)) + 0.6 * math.exp(-(((trip.hour - 17.5) / 2) ** 2))
    pace = 3.4 * (1 + rush) * (1 + 0.1 * trip.rain) * (1.3 if day >= ROADWORKS else 1)
    return 3 + pace * trip.km + 1.8 * trip.stops


@dataclass(frozen=True)
class Table:
    """Trips and how long they took.

    Attributes:
        kept_back: which of them no model learns from.
    """

    trips: NDArray[np.float64]
    minutes: NDArray[np.float64]
    kept_back: NDArray[np.bool_]


def read(data: bytes) -> Table:
    """What ``collect`` wrote.

    Raises:
        BadTrips: it is something else; the line is named.
    """
    lines = csv.reader(StringIO(data.decode("utf-8", "replace")))
    if tuple(next(lines, ())) != _HEAD:
        raise BadTrips(f"the first line is to be {','.join(_HEAD)}")
    rows: list[list[float]] = []
    kept_back: list[bool] = []
    for line in lines:
        try:
            row = [float(value) for value in line[1:]]
        except ValueError:
            row = []
        if len(row) != len(_HEAD) - 1 or not all(map(math.isfinite, row)):
            raise BadTrips(f"line {lines.line_num} is no trip: {line!r:.100}")
        rows.append(row)
        kept_back.append(hashlib.blake2b(line[0].encode(), digest_size=4).digest()[0] % KEPT_BACK == 0)
    if not any(kept_back) or all(kept_back):
        raise BadTrips(f"{len(rows)} trips are too few to learn from")
    table = np.array(rows)
    return Table(table[:, :-1], table[:, -1], np.array(kept_back))
