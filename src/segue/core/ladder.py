"""What to do after an attempt failed: a pure function of the policy, of what happened, and of the time left.

A step's ladder has rungs: the step itself, its fallbacks in order, and the ``degraded`` value, if there is one. On each
rung there may be several attempts. A rung that fails is left for good.
"""

from collections.abc import Sequence
from typing import NamedTuple

from segue.policies import Retry


class Again(NamedTuple):
    """Try once more on the same rung, after ``delay`` seconds."""

    delay: float


class Climb(NamedTuple):
    """Go on to the rung of this number, at once."""

    rung: int
    reason: str


class GiveUp(NamedTuple):
    """The step has failed."""

    reason: str


Verdict = Again | Climb | GiveUp


def delay_before(retry: Retry, attempt: int, chance: float, retry_after: float | None) -> float:
    """Seconds to wait after the attempt of this number (from 1) failed.

    Args:
        chance: a uniform random number in [0, 1), drawn by the caller.
    """
    # The exponent is bounded, since 2.0 ** 2000 overflows where min() can no longer help.
    wait = min(retry.first * retry.factor ** min(attempt - 1, 64), retry.longest)
    wait *= 1 - retry.jitter * chance
    return wait if retry_after is None else max(wait, min(retry_after, retry.longest))


def decide(
    retry: Retry,
    attempt: int,
    *,
    worth_it: bool,
    left: float | None,
    left_here: float | None = None,
    chance: float,
    retry_after: float | None = None,
    rung: int = 0,
    instant: Sequence[bool] = (False,),
) -> Verdict:
    """What follows a failed attempt.

    Args:
        retry: the policy of the rung that it was made on.
        attempt: its number on that rung, from 1.
        worth_it: the policy wants to retry this kind of failure.
        left: seconds that remain for all that is still to be tried; None for no limit.
        left_here: the same for the rung alone.
        rung: which rung it was, 0 for the step itself.
        instant: for each rung of the ladder, whether it takes no time, so that it may be used when none is left.

    >>> decide(Retry(1, backoff=2, jitter=0), 1, worth_it=True, left=None, chance=0.5)
    Again(delay=2.0)
    >>> decide(Retry(0), 1, worth_it=True, left=0.0, chance=0.5, instant=(False, False, True))
    Climb(rung=2, reason='no retry asked for')
    """
    if not worth_it:
        reason = "not worth a retry"
    elif attempt > retry.retries:
        reason = "retries spent" if retry.retries else "no retry asked for"
    else:
        delay = delay_before(retry, attempt, chance, retry_after)
        if all(limit is None or delay < limit for limit in (left, left_here)):
            return Again(delay)
        reason = "no time left"
    for higher in range(rung + 1, len(instant)):
        if instant[higher] or left is None or left > 0:
            return Climb(higher, reason)
    return GiveUp(reason)
