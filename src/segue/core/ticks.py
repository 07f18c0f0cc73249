"""Which instants of a schedule get a run, of those that have come since somebody looked last."""

from collections.abc import Iterable
from itertools import takewhile
from typing import Literal, NamedTuple

CatchUp = Literal["latest", "all", "none"] | float
"""What becomes of instants that nobody saw come: the last one gets a run; each does; none does; each does that is not
older than so many seconds."""

ON_TIME = 60.0
"""Seconds by which an instant may be late and still count as seen."""

AT_ONCE = 100
"""Runs that one look makes at most. The rest is left to the next."""

CONSIDERED = 10_000
"""Instants that one look considers at most."""


class Due(NamedTuple):
    """What is to be done about a schedule.

    Attributes:
        ticks: the instants that get a run, oldest first; seconds since the epoch.
        missed: how many came before them and get none.
        upto: how far the schedule has been dealt with then.
        more: there is more to do at once.
    """

    ticks: tuple[float, ...]
    missed: int
    upto: float
    more: bool = False


def due(instants: Iterable[float], upto: float, now: float, catch_up: CatchUp) -> Due:
    """Decide about the instants after ``upto``, in order, up to now.

    Time only moves forward here: where the clock was set back, nothing is due until it is where it was.

    >>> due([60.0, 120.0, 180.0], 0.0, 130.0, "latest")
    Due(ticks=(120.0,), missed=1, upto=120.0, more=False)
    """
    come: list[float] = []
    for instant in takewhile(lambda instant: instant <= now, instants):
        come.append(instant)
        if len(come) == CONSIDERED:
            break
    if not come:
        return Due((), 0, upto)
    cut = len(come) == CONSIDERED
    if catch_up == "latest":
        wanted = [] if cut else come[-1:]
    elif catch_up == "none":
        wanted = [instant for instant in come[-1:] if now - instant <= ON_TIME]
    elif catch_up == "all":
        wanted = come
    else:
        wanted = [instant for instant in come if now - instant <= catch_up]
    ticks = tuple(wanted[:AT_ONCE])
    more = cut or len(wanted) > AT_ONCE
    return Due(ticks, len(come) - len(wanted), ticks[-1] if len(wanted) > AT_ONCE else come[-1], more)
