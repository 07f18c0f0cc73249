"""``Alert``: what is told, as data and as one line of text."""

import hashlib
from typing import Any

import msgspec

FLOW = "segue.alert"
"""The flow whose runs deliver alerts."""

TITLE, DETAIL = 400, 1000
"""The most characters of a title, and of what is told beside it."""


class Alert(msgspec.Struct, frozen=True):
    """Something that somebody should look at. Its fields are those of the JSON that receivers get; none goes away.

    Attributes:
        kind: ``dead_letter``, ``overdue_question``, ``queue_age``, ``breaker``, ``drift``; ``test``: sent by hand.
        title: what, where, how many, and what to do, in one line.
        subject: what it is about: alerts of one kind and subject are the same one, said again.
        count: how many runs, questions or failures.
        since: seconds since the epoch: when the newest of the runs failed, when the last question became overdue, since
            when the first run waits, when the open circuit was seen, since when it drifts.
        look: the command that shows more.
        flow, step: which, where it is about one.
        run: the newest run that it is about, or the one that has waited longest.
        detail: of a dead letter, how its error reads.
        more: alerts that were held back by the rate and not told otherwise.
    """

    kind: str
    title: str
    subject: str
    count: int
    since: float
    look: str
    flow: str | None = None
    step: str | None = None
    run: str | None = None
    detail: str = ""
    more: int = 0

    @property
    def name(self) -> str:
        """Its kind and subject, as the beginning of an id."""
        return f"alert-{self.kind}-{hashlib.blake2b(self.subject.encode(), digest_size=6).hexdigest()}"


def line(text: str, longest: int = TITLE) -> str:
    r"""Text as one line that steers no terminal, of a bounded length: what does not print is written out.

    >>> line("no\nway\x1b[31m")
    'no way\\x1b[31m'
    """
    text = " ".join(text[: 4 * longest].split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def counted(count: int, what: str) -> str:
    """A number of things, in words.

    >>> counted(1, "run"), counted(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{count:,} {what}{'s' * (count != 1)}"


def payload(alert: Alert, key: str) -> dict[str, Any]:
    """What receivers get: the alert's fields, ``id``, and ``text``, which is what chat services show."""
    return {"id": key, "text": alert.title, **msgspec.to_builtins(alert)}
