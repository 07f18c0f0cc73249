"""What users declare about time and failure: small frozen values, the same wherever they are taken."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from math import isfinite
from typing import Any, cast

from segue.errors import DeclarationError

Duration = float | timedelta | str
"""A length of time: seconds, a ``timedelta``, or text as in ``"250ms"``, ``"30s"``, ``"1h30m"``, ``"2d"``."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def seconds(duration: Duration) -> float:
    """The duration in seconds.

    Raises:
        DeclarationError: it is negative, not finite, or text that is not a number with a unit.

    >>> seconds("1h30m")
    5400.0
    """
    if isinstance(duration, timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, str):
        if not _WHOLE.fullmatch(text := duration.replace(" ", "")):
            raise DeclarationError(f"{duration!r} is not a duration; write a number with a unit, such as '30s' or '2h'")
        value = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    elif isinstance(duration, bool) or not isinstance(duration, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"a duration is seconds, a timedelta or text such as '30s', not {duration!r}")
    else:
        value = float(duration)
    if not isfinite(value) or value < 0:
        raise DeclarationError(f"a duration is finite and not negative, not {duration!r}")
    return value


def spoken(duration: float) -> str:
    """Seconds as people write them.

    >>> spoken(5400), spoken(604800), spoken(0.25), spoken(61.5)
    ('1h30m', '1w', '250ms', '1m1.5s')
    """
    left = round(duration, 3)
    if 0 < left < 1:
        return f"{left * 1000:g}ms"
    parts: list[str] = []
    for unit in ("w", "d", "h", "m"):
        count, left = divmod(left, seconds(f"1{unit}"))
        if count:
            parts.append(f"{count:.0f}{unit}")
    if left >= 0.001 or not parts:
        parts.append(f"{left:.3f}".rstrip("0").rstrip(".") + "s")
    return "".join(parts)


Matcher = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Which errors: a class, several, or a function of the error."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and how patiently, to try again.

    Waits grow exponentially with full jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015): before the
    n-th retry between ``(1 - jitter) * d`` and ``d``, where ``d = min(backoff * factor ** (n - 1), max_delay)``.
    An error with a ``retry_after`` attribute (seconds) is waited for at least that long, ``max_delay`` at most.

    Args:
        retries: tries *after* the first attempt.
        backoff: the first wait.
        factor: by how much each wait outgrows the last.
        max_delay: no wait is longer.
        jitter: the random share of each wait, 0 to 1.
        on: which errors are worth another try; by default every ``Exception`` but ``Permanent``.
        if_result: results (not errors) that are worth another try.

    >>> Retry(3, backoff="1s", on=(ConnectionError, TimeoutError)).retries
    3
    """

    retries: int
    backoff: Duration = 0.2
    factor: float = 2.0
    max_delay: Duration = 60.0
    jitter: float = 1.0
    on: Matcher | None = None
    if_result: Callable[[Any], bool] | None = None
    first: float = field(init=False, repr=False, default=0.0)
    longest: float = field(init=False, repr=False, default=0.0)

    def __post_init__(self) -> None:
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"retry is a number of retries, 0 or more, not {self.retries!r}")
        on = cast("object", self.on)
        if isinstance(on, list | tuple):
            kinds = tuple(cast("list[object]", on))
            object.__setattr__(self, "on", kinds)
            fits = bool(kinds) and all(isinstance(kind, type) for kind in kinds)
        else:
            fits = on is None or callable(on)
        if not fits:
            raise DeclarationError(f"on is an error's class, several, or a function of the error, not {self.on!r}")
        if not (isfinite(self.factor) and self.factor >= 1):
            raise DeclarationError(f"factor is 1 or more, not {self.factor!r}")
        if not 0 <= self.jitter <= 1:
            raise DeclarationError(f"jitter is between 0 and 1, not {self.jitter!r}")
        object.__setattr__(self, "first", seconds(self.backoff))
        object.__setattr__(self, "longest", seconds(self.max_delay))

    def wants(self, error: BaseException) -> bool:
        """Whether this error is worth another try."""
        if self.on is None:
            return isinstance(error, Exception)
        on: Any = self.on
        return isinstance(error, on) if isinstance(on, type | tuple) else bool(on(error))


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long a step may take: each attempt, and all attempts with the waits between them.

    Args:
        attempt: for one attempt.
        total: for all of them, fallbacks included.
        minimum: an attempt is not begun with less time than this before its flow's deadline or the total's end.

    >>> Timeout(attempt="30s", total="2m").total
    120.0
    """

    attempt: float | None = None
    total: float | None = None
    minimum: float | None = None

    def __init__(
        self, attempt: Duration | None = None, total: Duration | None = None, minimum: Duration | None = None
    ) -> None:
        for name, given in (("attempt", attempt), ("total", total), ("minimum", minimum)):
            value = None if given is None else seconds(given)
            if value == 0:
                raise DeclarationError(f"timeout {name} is more than 0, or None for no limit")
            object.__setattr__(self, name, value)

    def left(self, elapsed: float) -> float | None:
        """Seconds that an attempt may take which begins so long after the first one; None for no limit.

        >>> Timeout(attempt="30s", total="2m").left(100)
        20.0
        """
        if self.total is None:
            return self.attempt
        left = max(0.0, self.total - elapsed)
        return left if self.attempt is None else min(self.attempt, left)


def transient(error: BaseException) -> bool:
    """A ready-made ``Retry(on=…)``: connections, timeouts, and HTTP's 408, 429 and 5xx.

    A status is read off the error, or off its ``response``, as httpx, requests, aiohttp and the model clients have it.

    >>> transient(ConnectionResetError()), transient(ValueError("no such city"))
    (True, False)
    """
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int):
                return status in (408, 429) or 500 <= status <= 599
    kinds = {base.__name__ for base in type(error).__mro__}
    return bool(kinds & {"TransportError", "ConnectError", "ConnectionError", "TimeoutException", "Timeout"})


NO_RETRY = Retry(0)
NO_TIMEOUT = Timeout()


def as_retry(given: "int | Retry | None") -> Retry:
    """``retry=2`` is short for ``retry=Retry(2)``."""
    if given is None:
        return NO_RETRY
    return given if isinstance(given, Retry) else Retry(given)


def as_timeout(given: "Duration | Timeout | None") -> Timeout:
    """``timeout="30s"`` is short for ``timeout=Timeout(attempt="30s")``."""
    if given is None:
        return NO_TIMEOUT
    return given if isinstance(given, Timeout) else Timeout(attempt=given)
