"""What users declare about how much at once, how often, and when to leave a failing service alone: frozen values."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from segue.errors import DeclarationError
from segue.policies import Duration, seconds

REMEMBERED = 200
"""How many of the last successful attempts a hedge looks at."""

_MOST = 1_000_000_000


def _counted(what: str, given: object, most: int = _MOST) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= most:
        raise DeclarationError(f"{what} is a number from 1 to {most:,}, not {given!r}")
    return given


def _lasting(what: str, given: Duration) -> float:
    if (value := seconds(given)) == 0:
        raise DeclarationError(f"{what} is more than 0, not {given!r}")
    return value


@dataclass(frozen=True, slots=True)
class Breaker:
    """When to stop calling what keeps failing, and when to try it again (Nygard, "Release It!", 2007).

    Successes in between do not make up for failures: they are counted over a time, not in a row.

    Args:
        failures: so many of them open the circuit,
        within: if they happen in this time.
        reset: so long it stays open; then one call is let through, whose end closes it or opens it again.

    >>> Breaker(failures=3, within="10s")
    Breaker(failures=3, within=10.0, reset=30.0)
    """

    failures: int
    within: float
    reset: float

    def __init__(self, failures: int = 5, within: Duration = "1m", reset: Duration = "30s") -> None:
        object.__setattr__(self, "failures", _counted("failures", failures))
        object.__setattr__(self, "within", _lasting("within", within))
        object.__setattr__(self, "reset", _lasting("reset", reset))


@dataclass(frozen=True, slots=True)
class Rate:
    """How many may start in a time.

    They need not be spread evenly: after a pause, ``count`` may start at once.

    >>> Rate(100, "1m")
    Rate(count=100, per=60.0)
    """

    count: int
    per: float

    def __init__(self, count: int, per: Duration) -> None:
        object.__setattr__(self, "count", _counted("the count of a rate", count))
        object.__setattr__(self, "per", _lasting("the time of a rate", per))


@dataclass(frozen=True, slots=True)
class Hedge:
    """When to send a second request beside one that takes long (Dean and Barroso, "The Tail at Scale", CACM 2013).

    Args:
        after: how long to wait for the first one; by default as long as all but the slowest 5 % of the last
            successful attempts took.
        least: attempts that must have succeeded before that is known well enough.

    >>> Hedge("2s")
    Hedge(after=2.0, least=20)
    """

    after: float | None
    least: int

    def __init__(self, after: Duration | None = None, least: int = 20) -> None:
        object.__setattr__(self, "after", None if after is None else _lasting("the wait of a hedge", after))
        object.__setattr__(self, "least", _counted("least", least, REMEMBERED))


class Limits(NamedTuple):
    """Everything that holds calls back, for one step or for several that share a name."""

    concurrency: int | None = None
    rate: Rate | None = None
    breaker: Breaker | None = None


_RATE = re.compile(r"([0-9]{1,10})/([0-9.]*)([a-z].*)")


def as_rate(given: str | Rate | None) -> Rate | None:
    """``rate="100/m"`` is short for ``rate=Rate(100, "1m")``.

    >>> as_rate("10/30s")
    Rate(count=10, per=30.0)
    """
    if given is None or isinstance(given, Rate):
        return given
    found = _RATE.fullmatch(given.replace(" ", "")) if isinstance(given, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
    try:
        if found is not None:
            return Rate(int(found[1]), (found[2] or "1") + found[3])
    except DeclarationError as error:
        raise DeclarationError(f"{given!r} is not a rate: {error}") from None
    raise DeclarationError(f"{given!r} is not a rate; write a count and a time, such as '100/m' or '10/30s'")


def as_concurrency(given: int | None) -> int | None:
    """How many at once; None for any number."""
    return None if given is None else _counted("concurrency", given)


def as_breaker(given: int | Breaker | None) -> Breaker | None:
    """``breaker=3`` is short for ``breaker=Breaker(failures=3)``."""
    return given if given is None or isinstance(given, Breaker) else Breaker(given)


def as_hedge(given: bool | Duration | Hedge | None) -> Hedge | None:
    """``hedge="2s"`` is short for ``hedge=Hedge(after="2s")``, and ``hedge=True`` for ``hedge=Hedge()``."""
    if given is None or given is False:
        return None
    if given is True:
        return Hedge()
    return given if isinstance(given, Hedge) else Hedge(given)
