"""Two windows of values, and how far apart they are: measures that are cheap, and know nothing of chance. Pure."""

import zlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import fsum, isfinite, log
from typing import Any, Literal, NamedTuple

Kind = Literal["", "number", "seconds", "rate", "category"]

OTHER = "other"
MOST_CATEGORIES = 50
LONGEST_CATEGORY = 32
BINS = 5
"""Of a number, for the population stability index: equal shares of the reference."""
SLACK = 0.5
"""Deviations smaller than this, in standard deviations, do not add up in Page and Hinkley's sum."""


# Values


def kind_of(value: Any) -> Kind:
    """What a value is to be compared as; ``""`` if it cannot be."""
    if isinstance(value, bool):
        return "rate"
    if isinstance(value, int | float):
        return "number"
    return "category" if isinstance(value, str) else ""


def as_kind(value: Any, kind: Kind) -> float | str | None:
    """A value as one of this kind; None if it is none, is no number, or cannot be had.

    >>> as_kind(True, "rate"), as_kind(float("nan"), "number"), as_kind(3, "category")
    (1.0, None, '3')
    """
    if kind == "category":
        return _category(value) if isinstance(value, str | bool | int | float) else None
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def _category(value: str | float) -> str:
    if not isinstance(value, str):
        return str(value) if isinstance(value, bool) or -1e15 < value < 1e15 else "a number out of bounds"
    if len(value) <= LONGEST_CATEGORY:
        return value.encode("utf-8", "backslashreplace").decode()
    begin = value[:1024].encode("utf-8", "backslashreplace")  # a value of a megabyte must not cost a millisecond
    return f"{begin.decode()[:20]}…{zlib.crc32(begin, len(value)):08x}"


def bounded(values: Sequence[str], most: int = MOST_CATEGORIES) -> list[str]:
    """The same with all but the most frequent categories as ``other``."""
    kept = {name for name, _ in Counter(values).most_common(most)}
    return [value if value in kept else OTHER for value in values]


# Measures


def ks(reference: Sequence[float], recent: Sequence[float]) -> float:
    """Kolmogorov and Smirnov's distance of two samples: the largest between their distribution functions, 0 to 1.

    Args:
        reference: in order.

    >>> ks([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    ordered, n, m = sorted(recent), len(reference), len(recent)
    most, place = 0.0, 0
    while place < m:
        value = ordered[place]
        most = max(most, abs(bisect_left(reference, value) / n - place / m))
        place = bisect_right(ordered, value, place)
        most = max(most, abs(bisect_right(reference, value) / n - place / m))
    return most


class Shares(NamedTuple):
    """How often each bin was hit in two windows."""

    reference: list[int]
    recent: list[int]


def shares(reference: Sequence[Any], recent: Sequence[Any], kind: Kind) -> Shares:
    """Two windows as counts: of categories, of values if there are few, of equal shares of the reference.

    Categories with less than a twentieth of the reference are counted together, as are those it does not have.

    Args:
        reference: in order, if these are numbers.
    """
    distinct = set(reference)
    if kind == "category" or len(distinct) <= 2 * BINS:
        return _by_value(reference, recent)
    n = len(reference)
    edges = sorted({reference[n * part // BINS] for part in range(1, BINS)})
    places = [0, *(bisect_left(reference, edge) for edge in edges), n]
    counted = [0] * (len(edges) + 1)
    for value in recent:
        counted[bisect_right(edges, value)] += 1
    return Shares([upper - lower for lower, upper in pairwise(places)], counted)


def _by_value(reference: Sequence[Any], recent: Sequence[Any]) -> Shares:
    before, now = Counter(reference), Counter(recent)
    named = [value for value, count in before.items() if count * 20 >= len(reference)]
    one, two = [before[value] for value in named], [now[value] for value in named]
    rest = len(reference) - sum(one), len(recent) - sum(two)
    return Shares([*one, rest[0]], [*two, rest[1]]) if any(rest) else Shares(one, two)


def psi(counts: Shares) -> float:
    """The population stability index: the sum over bins of (q - p) ln(q / p), half an event added to each.

    Below 0.1 is taken for stable, above 0.25 for a shift (Siddiqi, "Credit Risk Scorecards", 2006).

    >>> round(psi(Shares([90, 10], [30, 20])), 2)
    0.53
    """
    n, m = (sum(side) + len(side) / 2 for side in counts)
    total = 0.0
    for before, now in zip(*counts, strict=True):
        p, q = (before + 0.5) / n, (now + 0.5) / m
        total += (q - p) * log(q / p)
    return total


def mid_ranks(reference: Sequence[float], values: Sequence[float]) -> list[float]:
    """For each value, the share of the reference below it; of equals half. Between 0 and 1, whatever the unit.

    Args:
        reference: in order.
    """
    n = 2 * len(reference)
    return [(bisect_left(reference, value) + bisect_right(reference, value)) / n for value in values]


def scores(reference: Sequence[float], values: Sequence[float]) -> list[float]:
    """Values in standard deviations of a normal distribution, by their rank in the reference: no unit, no long tails.

    >>> [round(score, 1) for score in scores([1, 10, 100], [1, 10, 1e9])]
    [-0.7, 0.0, 1.2]
    """
    from statistics import NormalDist  # takes longer to import than all of this module

    n, normal = len(reference), NormalDist()
    return [normal.inv_cdf((share * n + 0.5) / (n + 1)) for share in mid_ranks(reference, values)]


def excess(deviations: Sequence[float]) -> float:
    """The larger of Page's two cumulative sums at its highest, in standard deviations (Biometrika 41, 1954)."""
    up = down = most = 0.0
    for deviation in deviations:
        up = max(0.0, up + deviation - SLACK)
        down = max(0.0, down - deviation - SLACK)
        most = max(most, up, down)
    return most


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return fsum(listed) / len(listed)


def shift(reference: Sequence[float], recent: Sequence[float], least: int = 5) -> float:
    """How far the mean of the newest values lies from the reference's, at most: of the last five, six, and so on."""
    mean = _mean(reference)
    total, most = 0.0, 0.0
    for count, value in enumerate(reversed(recent), 1):
        total += value - mean
        if count >= least:
            most = max(most, abs(total) / count)
    return most


def ranked(kind: Kind, reference: list[Any], recent: list[Any]) -> tuple[list[float], list[float]]:
    """Two windows in the scale that ADWIN's bounds need, 0 to 1: rates as they are, numbers by their ranks."""
    if kind == "rate":
        return reference, recent
    ordered = sorted(reference)
    return mid_ranks(ordered, reference), mid_ranks(ordered, recent)


# In words


@dataclass(slots=True)
class Summary:
    """A window in few words.

    Attributes:
        mean, sd: of numbers and rates.
        shares: of categories, the most frequent first.
    """

    count: int
    mean: float | None = None
    sd: float | None = None
    shares: dict[str, float] = field(default_factory=dict[str, float])


def summary(values: Sequence[Any], kind: Kind) -> Summary:
    """What a window holds."""
    if not values or kind == "":
        return Summary(len(values))
    if kind == "category":
        return Summary(len(values), shares={name: n / len(values) for name, n in Counter(values).most_common(5)})
    scale = max(1.0, *(abs(value) for value in values))  # squares of huge numbers must not overflow
    mean = _mean(value / scale for value in values)
    sd = _mean((value / scale - mean) ** 2 for value in values) ** 0.5
    return Summary(len(values), mean * scale, sd * scale)
