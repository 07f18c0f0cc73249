"""Schedules: ``cron("*/15 * * * *", tz="Europe/London")`` and ``every("30s")``."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from segue.core.ticks import Policy
from segue.errors import DeclarationError
from segue.policies import Duration, seconds, spoken
from segue.runtime.spec import FlowSpec
from segue.values import hints_of

SHORTEST = 1.0
"""Seconds between two ticks, at least."""

_SOMETIME = 946_684_800.0  # 2000-01-01: any time from which instants can be looked for


@dataclass(frozen=True, slots=True)
class Tick:
    """What a flow is started with by a schedule, if it takes a parameter of this type.

    Attributes:
        scheduled: the instant for which it is started, in UTC. It may be later by now.
        of: the schedule, as text.
        tz: the time zone of the schedule.
        missed: how many ticks before this one were missed and have no run, where the policy is ``"latest"``. It is not
            counted beyond 20,000.

    >>> @flow(on=every("1h"))
    ... async def report(tick: Tick) -> str:
    ...     return await summary(until=tick.scheduled)
    """

    scheduled: datetime
    of: str
    missed: int = 0
    tz: str = "UTC"

    @property
    def local(self) -> datetime:
        """The instant in the time zone of the schedule."""
        return self.scheduled.astimezone(ZoneInfo(self.tz))


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule by the calendar of a time zone. Made by ``cron``."""

    expression: str
    tz: str
    catch_up: Policy

    @property
    def text(self) -> str:
        """What it is, in records."""
        return f"{self.expression} {self.tz}"

    def after(self, time: float) -> Iterator[float]:
        """Its instants later than this, seconds since the epoch."""
        from cronsim import CronSim

        last = time
        for found in CronSim(self.expression, datetime.fromtimestamp(int(time // 1), ZoneInfo(self.tz))):
            if (at := found.timestamp()) > last:  # it is blind to which of two equal hours it begins in
                last = at
                yield at

    def problem(self, spec: FlowSpec) -> str:
        """Why it cannot start this flow; nothing if it can."""
        return _unfit(spec)

    def __repr__(self) -> str:
        return f"cron({self.expression!r}, tz={self.tz!r})"


@dataclass(frozen=True, slots=True)
class Every:
    """A schedule of equal distances, counted from the epoch. Made by ``every``."""

    milliseconds: int
    catch_up: Policy

    @property
    def text(self) -> str:
        """What it is, in records."""
        return f"every {spoken(self.milliseconds / 1000)}"

    @property
    def tz(self) -> str:
        """UTC."""
        return "UTC"

    def after(self, time: float) -> Iterator[float]:
        """Its instants later than this, seconds since the epoch."""
        number = int(time * 1000 // self.milliseconds)
        while True:
            if (at := number * self.milliseconds / 1000) > time:
                yield at
            number += 1

    def problem(self, spec: FlowSpec) -> str:
        """Why it cannot start this flow; nothing if it can."""
        return _unfit(spec)

    def __repr__(self) -> str:
        return f"every({spoken(self.milliseconds / 1000)!r})"


Schedule = Cron | Every


def cron(expression: str, tz: str = "UTC", catch_up: Duration = "latest") -> Cron:
    """Start a run whenever the calendar says so.

    Args:
        expression: minute, hour, day of the month, month, day of the week, as Debian's cron reads them (through
            ``cronsim``): with a sixth field before them, of the second.
        tz: the time zone, of the IANA database. Where its clocks go forward, a time that does not exist comes as soon
            as they have; where they go back, a time that comes twice counts once, unless the minute or the hour is
            ``*``: then real time counts, and each of the two hours has its ticks.
        catch_up: what becomes of ticks that nobody was there for: ``"latest"``: one run for all of them, for the last
            one; ``"all"``: a run for each, oldest first; ``"none"``: they are skipped, a minute excepted; a duration:
            a run for each that is not older.

    Raises:
        DeclarationError: it is no such expression, zone or policy, or cronsim is not installed.

    >>> cron("30 8 * * MON-FRI", tz="Europe/London")
    cron('30 8 * * MON-FRI', tz='Europe/London')
    """
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise DeclarationError("cron() needs cronsim, which is not installed: pip install 'segue[triggers]'") from None
    said = f"cron({expression!r:.80})"
    if not isinstance(expression, str) or not expression.isascii() or len(expression) > 200:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{said}: an expression is text such as '*/15 * * * *' (minute hour day month weekday)")
    try:
        ZoneInfo(tz)
    except (LookupError, ValueError, OSError, TypeError, AttributeError):
        raise DeclarationError(
            f"{said}: there is no time zone {tz!r:.80}; write one such as tz='Europe/London'"
        ) from None
    made = Cron(" ".join(expression.split()), tz, _policy(said, catch_up))
    try:
        CronSim(made.expression, datetime.fromtimestamp(_SOMETIME, UTC))
    except CronSimError as error:
        fields = "minute hour day month weekday, such as '*/15 * * * *' or '30 8 * * MON-FRI'"
        raise DeclarationError(f"{said}: {error}; write {fields}") from None
    if next(made.after(_SOMETIME), None) is None:
        raise DeclarationError(f"{said}: there is no such day; write one that comes, such as '0 3 1 * *'")
    return made


def every(duration: Duration, catch_up: Duration = "latest") -> Every:
    """Start a run each time that so much time has passed: at multiples of it since the epoch, in UTC.

    Args:
        duration: a second or more, to the millisecond.
        catch_up: what becomes of ticks that nobody was there for: as for ``cron``.

    Raises:
        DeclarationError: it is no such duration or policy.

    >>> every("30s")
    every('30s')
    """
    said = f"every({duration!r:.80})"
    length = seconds(duration)
    if not SHORTEST <= length <= 366 * 86400:
        raise DeclarationError(f"{said}: it is between a second and a year, such as '30s' or '2h'")
    return Every(round(length * 1000), _policy(said, catch_up))


def _policy(said: str, given: Any) -> Policy:
    if given in ("latest", "all", "none"):
        return given
    try:
        return seconds(given)
    except DeclarationError:
        raise DeclarationError(
            f"{said}: catch_up is 'latest', 'all', 'none', or a duration such as '2h', not {given!r:.80}"
        ) from None


def taking(spec: FlowSpec) -> list[str]:
    """The parameters that take a tick."""
    try:
        hints = hints_of(spec.fn, spec.name)
    except (DeclarationError, ValueError):  # an annotation names what is defined further down
        hints = spec.fn.__annotations__
    return [name for name in spec.inputs.signature.parameters if hints.get(name) in (Tick, "Tick", "triggers.Tick")]


def _unfit(spec: FlowSpec) -> str:
    parameters = spec.inputs.signature.parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    ticks = taking(spec)
    if len(ticks) <= 1 and set(needed) <= set(ticks):
        return ""
    return (
        f"a schedule starts a flow that needs nothing, or one Tick: this one needs {', '.join(needed)}; "
        "write async def flow(tick: Tick)"
    )
