"""Which ticks of a schedule are due: from what was dealt with, what time it is, and the policy for what was missed.

Whoever finds ticks due first writes down up to when they are dealt with now: the plan. What it comes to follows from
the plan alone, so that any number of schedulers, whatever their clocks say, and whoever goes on after a crash, start
the same runs in the same order; and nothing is planned before the plan is done.
"""

from collections.abc import Iterator
from itertools import islice
from math import inf, nextafter
from typing import Literal, NamedTuple, Protocol

Policy = Literal["latest", "all", "none"] | float
"""What becomes of ticks that were missed: one run for all of them, each, none, or those not older than so many seconds.
"""

AT_ONCE = 100
"""Ticks in one plan at most: after a long time the oldest come first, and other schedules have their turn between."""

COUNTED = 20_000
"""Missed ticks are counted so far."""

GRACE = 60.0
"""Seconds for which a tick is not yet missed where those are skipped: a scheduler may be late, or start again."""


class Instants(Protocol):
    """The instants of a schedule, in seconds since the epoch. Whoever asks from wherever sees the same ones."""

    def after(self, time: float) -> Iterator[float]:
        """Those later than this, in order."""
        ...


class Progress(NamedTuple):
    """How far a schedule has come.

    Attributes:
        upto: ticks until then were dealt with.
        planned: ticks until then are being dealt with; as ``upto`` if none are.
    """

    upto: float
    planned: float

    @property
    def under_way(self) -> bool:
        """There is a plan, which goes first."""
        return self.planned > self.upto

    @property
    def done(self) -> "Progress":
        """Once all of the plan was started."""
        return Progress(self.planned, self.planned)


class Due(NamedTuple):
    """A tick to start a run for.

    Attributes:
        at: its instant, seconds since the epoch.
        missed: how many before it are left out for its sake.
    """

    at: float
    missed: int = 0


def plan(was: Progress | None, now: float, instants: Instants, policy: Policy) -> Progress | None:
    """What to write down before anything is started; None if nothing is due.

    Args:
        was: None for a schedule that is seen for the first time: its ticks count from now on.
    """
    if was is None:
        return Progress(now, now)
    if was.under_way:
        return was
    first = next(instants.after(was.upto), None)
    if first is None or first > now:
        return None
    grace = GRACE if policy == "none" else policy
    since = was.upto if isinstance(grace, str) else max(was.upto, nextafter(now - grace, -inf))
    if policy in ("latest", "none"):
        return Progress(since, now)
    many = list(islice(_until(now, instants.after(since)), AT_ONCE))
    return Progress(since, many[-1] if len(many) == AT_ONCE else now)


def due(progress: Progress, instants: Instants, policy: Policy) -> list[Due]:
    """The ticks of a plan, in order."""
    between = _until(progress.planned, instants.after(progress.upto))
    if policy not in ("latest", "none"):
        return [Due(at) for at in between]
    some = list(islice(between, COUNTED))
    if not some:
        return []
    last = some[-1] if len(some) < COUNTED else _last(progress, instants)
    return [Due(last, len(some) - 1 if policy == "latest" else 0)]


def _until(time: float, instants: Iterator[float]) -> Iterator[float]:
    for at in instants:
        if at > time:
            return
        yield at


def _last(progress: Progress, instants: Instants) -> float:
    """The last instant of very many."""
    back = 1.0
    while True:
        since = max(progress.upto, progress.planned - back)
        found = list(_until(progress.planned, instants.after(since)))
        if found:
            return found[-1]
        back *= 4
