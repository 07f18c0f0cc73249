"""Which of the alerts that there could be are due, and how many of them may go."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from segue.limits import Rate

T = TypeVar("T", bound=Hashable)


class Said(NamedTuple):
    """What was said last about a subject.

    Attributes:
        at: when.
        since: of what moment it told.
    """

    at: float
    since: float


def is_due(said: Said | None, since: float, now: float, repeat: float, *, lasting: bool) -> bool:
    """Whether there is something to say about a subject.

    Args:
        said: what was said last; None for nothing.
        since: of what moment there is something to tell now.
        repeat: seconds for which nothing more is said.
        lasting: it is a state, which is said again while it lasts. Else it is something that has happened, and is said
            again only when it has happened again.

    >>> is_due(Said(100.0, 90.0), 90.0, now=500.0, repeat=60.0, lasting=False)
    False
    """
    if said is None:
        return True
    return now - said.at >= repeat and (lasting or since > said.since)


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
