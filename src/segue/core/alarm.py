"""Which of the alerts that there could be are due, and how many of them may go."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from segue.limits import Rate

T = TypeVar("T", bound=Hashable)


class Said(NamedTuple):
    """What was said about a subject, or is to be said now.

    Attributes:
        at: when.
        since: of what moment.
        number: of how many things.
    """

    at: float
    since: float
    number: int


def is_due(last: Said | None, new: Said, repeat: float, *, lasting: bool) -> bool:
    """Whether there is something to say about a subject.

    Args:
        last: what was said last; None for nothing.
        repeat: seconds for which nothing more is said.
        lasting: it is a state, which is said again while it lasts. Else it is something that has happened, and is said
            again only when it has happened again: later, or more often, since what began earlier may end later.

    >>> is_due(Said(100.0, 90.0, 1), Said(500.0, 90.0, 1), 60.0, lasting=False)
    False
    """
    if last is None:
        return True
    return new.at - last.at >= repeat and (lasting or new.since > last.since or new.number > last.number)


def room(times: Iterable[float], rate: Rate, now: float) -> int:
    """How many more may go now, if others went at these times: never more than ``count`` in any ``per``.

    >>> room([10.0, 95.0, 99.0], Rate(3, "60s"), now=100.0)
    1
    """
    return max(0, rate.count - sum(now - at < rate.per for at in times))


def share(found: Sequence[T], room: int, held: Collection[T]) -> tuple[list[T], set[T]]:
    """Those that go, and those that are held back: what was held back before is, until it goes.

    >>> share(["a", "b", "c"], 1, {"z"}) == (["a"], {"b", "c", "z"})
    True
    """
    going = list(found[:room])
    return going, {*held, *found[room:]} - set(going)
