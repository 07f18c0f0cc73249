"""How long until the next call may start: a token bucket."""

from segue.limits import Rate

_HAIR = 1e-6
"""A token that misses no more than this is whole, since clocks are rounded. The rest is still owed."""


class Bucket:
    """Holds ``count`` tokens at most, full at first; each start takes one, and one comes back every ``per / count``.

    So in any ``t`` seconds at most ``count + t * count / per`` start (the arrival bound of a token bucket, RFC 2215,
    section 3.6): ``count`` at once after a pause, ``count`` in each ``per`` in the long run, and fewer than twice
    ``count`` in the ``per`` that begins with such a burst.

    Times are those of one clock that never goes back.
    """

    __slots__ = ("_at", "_level", "_most", "_speed")

    def __init__(self, rate: Rate) -> None:
        self._most = self._level = float(rate.count)
        self._speed = rate.count / rate.per
        self._at: float | None = None

    def delay(self, now: float) -> float:
        """Seconds until the next one may start; 0 for now. Asking takes nothing.

        >>> bucket = Bucket(Rate(1, "8s"))
        >>> bucket.start(100)
        >>> bucket.delay(102)
        6.0
        """
        missing = 1 - self._filled(now)
        return missing / self._speed if missing > _HAIR else 0.0

    def start(self, now: float) -> None:
        """One starts now: it takes a token, which ``delay`` has said to be there."""
        self._level = self._filled(now) - 1
        self._at = now

    def _filled(self, now: float) -> float:
        if self._at is None:
            return self._most
        return min(self._most, self._level + (now - self._at) * self._speed)
