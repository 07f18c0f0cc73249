"""``Alerts``: whom to tell, of what, and how often, as ``[alerts]`` in a project's settings says it."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from segue.alerts.looks import KINDS
from segue.errors import DeclarationError
from segue.limits import Rate, as_rate
from segue.policies import Duration, seconds

if TYPE_CHECKING:
    from segue.runtime.engine import Engine

REMEMBERED = 1000
"""How many of the last alerts are looked at for what was told already."""

SHORTEST = 60.0
"""Seconds after which an alert may be repeated, at least."""


@dataclass(frozen=True, slots=True)
class Alerts:
    """Whom to tell what is wrong. Each alert is delivered by a run of the flow ``segue.alert``.

    Args:
        webhook: a URL that alerts are posted to as JSON, or ``env:NAME`` for the variable that holds it. It is read
            when it is needed, and not recorded, logged or shown.
        command: a program and its arguments, which gets the alert as JSON on stdin. No shell is involved.
        on: of what to tell: ``dead_letter``, ``overdue_question``, ``queue_age``, ``breaker``, ``drift``.
        queue_age: a run that waits longer than this for a worker is worth an alert.
        overdue: a question that is open for longer is.
        repeat: nothing is told twice within this time.
        at_most: so many alerts may go. Those beyond are counted, and the next one that goes says how many they were.

    Raises:
        DeclarationError: something of it cannot be. The message does not hold the URL.

    >>> Alerts(command=["notify"], on=["dead_letter"]).queue_age
    300.0
    """

    webhook: str | None = field(repr=False)
    command: tuple[str, ...] | None
    on: tuple[str, ...]
    queue_age: float
    overdue: float
    repeat: float
    at_most: Rate

    def __init__(
        self,
        webhook: str | None = None,
        command: Sequence[str] | None = None,
        on: Sequence[str] = tuple(KINDS),
        queue_age: Duration = "5m",
        overdue: Duration = "1h",
        repeat: Duration = "1h",
        at_most: str | Rate = "20/h",
    ) -> None:
        if webhook is None and command is None:
            raise DeclarationError("nobody is told: name a webhook, a command, or both")
        rate = as_rate(at_most)
        if rate is None or rate.count > REMEMBERED:
            raise DeclarationError(f"at_most is a rate of {REMEMBERED:,} at most, such as '20/h', not {at_most!r}")
        for name, value in {
            "webhook": webhook if webhook is None else _checked_webhook(webhook),
            "command": command if command is None else _checked_command(command),
            "on": _checked_kinds(on),
            "queue_age": _lasting("queue_age", queue_age, 1.0),
            "overdue": _lasting("overdue", overdue, 1.0),
            "repeat": _lasting("repeat", repeat, SHORTEST),
            "at_most": rate,
        }.items():
            object.__setattr__(self, name, value)

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> "Alerts":
        """What ``[alerts]`` in a project's settings says.

        Raises:
            DeclarationError: it says something unknown, or that cannot be.
        """
        known = ("webhook", "command", "on", "queue_age", "overdue", "repeat", "at_most")
        if unknown := [key for key in table if key not in known]:
            raise DeclarationError(f"{', '.join(unknown)}: there are {', '.join(known)} in [alerts]")
        return cls(**table)

    def url(self) -> str:
        """The webhook's URL, as it stands now.

        Raises:
            DeclarationError: the variable that holds it is not set, or holds none.
        """
        assert self.webhook is not None
        name = self.webhook.removeprefix("env:")
        if name == self.webhook:
            return self.webhook
        if not (url := os.environ.get(name)):
            raise DeclarationError(f"the webhook's URL is in the variable {name}, which is not set here")
        return _checked_url(url, f"the variable {name}")

    def attach(self, engine: "Engine") -> None:
        """Let an engine deliver alerts, also those that others found. Do so before it is opened.

        Raises:
            DeclarationError: the webhook's URL is not where the settings say.
        """
        from segue.alerts.delivery import attach

        if self.webhook is not None:
            self.url()
        attach(engine, self)

    async def keep(self, engine: "Engine", *, sleep: Callable[[float], Awaitable[None]] | None = None) -> None:
        """Look again and again whether something is wrong, until cancelled: ``engine.spawn(alerts.keep(engine))``.

        Any number of workers may do this on one store: what several see is told once.
        """
        from segue.alerts.watch import keep

        self.attach(engine)
        await keep(engine, self, sleep)


def _checked_webhook(given: object) -> str:
    if not isinstance(given, str):
        raise DeclarationError(f"webhook is a URL, or env:NAME, not a {type(given).__name__}")
    if not given.startswith("env:"):
        return _checked_url(given, "webhook")
    if not given[4:].replace("_", "a").isalnum() or not given.isascii():
        raise DeclarationError('webhook = "env:NAME" names the variable that holds the URL')
    return given


def _checked_url(given: str, where: str) -> str:
    """The URL. Messages say what is wrong with it, and nothing that is in it."""
    try:
        parts = urlsplit(given)
        said = _unfit(given, parts.scheme, parts.hostname, parts.username, parts.port)
    except ValueError:
        said = "is no URL"
    if said:
        raise DeclarationError(
            f"{where} {said}: it is to be like https://example.org/hook, or env:NAME in the settings"
        )
    return given


def _unfit(given: str, scheme: str, host: str | None, user: str | None, port: int | None) -> str:
    if scheme not in ("http", "https") or not host or port == 0:
        return "is no address of HTTP"
    if user is not None:
        return "holds a user or password, which HTTP sends otherwise"
    return "" if given.isascii() and given.isprintable() and " " not in given else "holds characters that no URL has"


def _checked_command(given: object) -> tuple[str, ...]:
    parts = cast("list[object]", given) if isinstance(given, list | tuple) else []
    argv = tuple(part for part in parts if isinstance(part, str) and "\0" not in part)
    if not argv or len(argv) != len(parts) or not argv[0]:
        raise DeclarationError(f'command is a program and its arguments, ["notify", "ops"], not {given!r:.100}')
    return argv


def _checked_kinds(given: object) -> tuple[str, ...]:
    kinds = cast("list[object]", given) if isinstance(given, list | tuple) else []
    if not kinds or not all(isinstance(kind, str) and kind in KINDS for kind in kinds):
        raise DeclarationError(f"on is a list of some of {', '.join(KINDS)}, not {given!r:.100}")
    return tuple(dict.fromkeys(cast("list[str]", kinds)))


def _lasting(what: str, given: Duration, least: float) -> float:
    if (value := seconds(given)) < least:
        raise DeclarationError(f"{what} is {least:g} s or more, not {given!r}")
    return value
