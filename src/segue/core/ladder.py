"""What to do after an attempt: a pure function of the policy, of what happened, and of the time left."""

from typing import NamedTuple

from segue.policies import Retry


class Again(NamedTuple):
    """Try once more, after ``delay`` seconds."""

    delay: float


class GiveUp(NamedTuple):
    """The step has failed."""

    reason: str


Verdict = Again | GiveUp


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
    elapsed: float,
    total: float | None,
    chance: float,
    retry_after: float | None = None,
) -> Verdict:
    """Whether to try again after a failed attempt.

    Args:
        attempt: the number of the attempt that failed, from 1.
        worth_it: the policy wants to retry this kind of failure.
        elapsed: seconds since the first attempt began.
        total: seconds that all attempts may take together.

    >>> decide(Retry(1, backoff=2, jitter=0), 1, worth_it=True, elapsed=0, total=None, chance=0.5)
    Again(delay=2.0)
    """
    if not worth_it:
        return GiveUp("not worth a retry")
    if attempt > retry.retries:
        return GiveUp("retries spent" if retry.retries else "no retry asked for")
    delay = delay_before(retry, attempt, chance, retry_after)
    if total is not None and elapsed + delay >= total:
        return GiveUp("no time left")
    return Again(delay)
