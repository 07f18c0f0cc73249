"""``cron`` and ``every``: schedules that start runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from segue.core.ticks import CatchUp
from segue.errors import DeclarationError
from segue.policies import Duration, seconds, spoken
from segue.runtime.spec import FlowSpec
from segue.values import hints_of

SHORTEST = 0.1
"""Seconds of the shortest period."""


@dataclass(frozen=True)
class Tick:
    """What a flow is told that a schedule starts, if it has a parameter of this type.

    Attributes:
        scheduled: when it was due, in the schedule's zone. The run may begin later.
        of: the schedule.
        missed: instants before this one that nobody saw come, and that got no run.
    """

    scheduled: datetime
    of: str
    missed: int = 0


@dataclass(frozen=True)
class Schedule:
    """Instants at which runs start, and what becomes of those that were missed.

    Attributes:
        text: it, in words: part of the ids of its runs.
    """

    text: str
    catch_up: CatchUp

    def after(self, upto: float) -> Iterator[float]:
        """Its instants after this one, in order; seconds since the epoch."""
        raise NotImplementedError

    @property
    def zone(self) -> tzinfo:
        """Where its times are told."""
        return UTC

    def problem(self, spec: FlowSpec) -> str:
        """Why it cannot start this flow; nothing if it can."""
        given = [p for p in spec.inputs.signature.parameters.values() if p.default is p.empty]
        given = [p for p in given if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if not given or (len(given) == 1 and tick_parameter(spec) == given[0].name):
            return ""
        names = ", ".join(p.name for p in given)
        return f"a schedule gives nothing but a Tick, and the flow must be given {names}"

    def tick(self, instant: float, missed: int) -> Tick:
        """What its flow is told."""
        return Tick(datetime.fromtimestamp(instant, self.zone), self.text, missed)

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, repr=False)
class Cron(Schedule):
    """See ``cron``."""

    expression: str
    tz: str

    @property
    def zone(self) -> tzinfo:
        return ZoneInfo(self.tz)

    def after(self, upto: float) -> Iterator[float]:
        from cronsim import CronSim

        zone = self.zone
        start = datetime.fromtimestamp(upto, zone)
        if _offset(upto - _NEAR, zone) != _offset(upto + _NEAR, zone):
            # Within a change of the clocks, what follows depends on where one begins: begin well before it.
            start = (start - timedelta(days=1)).replace(hour=12, fold=0)
        found = (instant.timestamp() for instant in CronSim(self.expression, start))
        return (instant for instant in found if instant > upto)


_NEAR = 6 * 3600.0


def _offset(at: float, zone: tzinfo) -> Any:
    return datetime.fromtimestamp(at, zone).utcoffset()


@dataclass(frozen=True, repr=False)
class Every(Schedule):
    """See ``every``."""

    period: float

    def after(self, upto: float) -> Iterator[float]:
        number = int(upto // self.period)
        while True:
            number += 1
            if (instant := number * self.period) > upto:
                yield instant


def cron(expression: str, tz: str = "UTC", *, catch_up: Literal["latest", "all", "none"] | Duration = "latest") -> Cron:
    """Start a run at the times that a cron expression says.

    Where clocks change, times are those of Debian's cron: a job at a fixed time runs once on that day, also if the time
    does not exist or comes twice; one that runs each hour or more often follows the hours as they pass.

    Args:
        expression: five fields, as in crontab(5).
        tz: the zone in which they are meant.
        catch_up: what becomes of times that passed while nobody served: ``"latest"``, the last one gets a run, which is
            told how many it stands for; ``"all"``, each does; ``"none"``; or a duration: each that is not older.

    Raises:
        DeclarationError: the expression, zone or policy is none.

    >>> cron("*/15 * * * *", tz="Europe/London")
    cron '*/15 * * * *' Europe/London
    """
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise DeclarationError("cron() needs cronsim: pip install 'segue[triggers]'") from None
    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise DeclarationError(f"cron: {tz!r:.80} is no zone; one is 'Europe/London'") from None
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration, TypeError, AttributeError, ValueError) as error:
        said = str(error) or "it never comes"
        raise DeclarationError(f"cron: {expression!r:.80}: {said}; one is '*/15 * * * *', as in crontab(5)") from None
    return Cron(f"cron {expression!r} {tz}", _policy("cron", catch_up), expression, tz)


def every(period: Duration, *, catch_up: Literal["latest", "all", "none"] | Duration = "latest") -> Every:
    """Start a run at each multiple of a period since 1970, whoever serves and since when.

    Args:
        catch_up: as for ``cron``.

    Raises:
        DeclarationError: it is no period of at least a tenth of a second.

    >>> every("30s")
    every 30s
    """
    length = seconds(period)
    if length < SHORTEST:
        raise DeclarationError(f"every: a period is at least {SHORTEST:g} s, not {period!r}")
    return Every(f"every {spoken(length)}", _policy("every", catch_up), length)


def _policy(what: str, catch_up: Any) -> CatchUp:
    if catch_up in ("latest", "all", "none"):
        return catch_up
    try:
        return seconds(catch_up)
    except DeclarationError as error:
        raise DeclarationError(f"{what}: catch_up is 'latest', 'all', 'none' or a duration: {error}") from None


def tick_parameter(spec: FlowSpec) -> str | None:
    """The flow's parameter that takes the tick, if it has one."""
    try:
        hints = hints_of(spec.fn, spec.name)
    except (DeclarationError, ValueError):  # an annotation names what is defined further down
        return None
    return next((name for name in spec.inputs.signature.parameters if hints.get(name) is Tick), None)
