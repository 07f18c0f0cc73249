"""How long the slow ones take: the 95th percentile of the last durations, and the hedge that follows from it."""

from bisect import bisect_left, insort
from collections import deque

from segue.limits import REMEMBERED, Hedge


class Durations:
    """The last durations of something. Adding one finds its place among the others; reading sorts nothing."""

    __slots__ = ("_last", "_sorted")

    def __init__(self, most: int = REMEMBERED) -> None:
        self._last: deque[float] = deque(maxlen=most)
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._last)

    def add(self, duration: float) -> None:
        """Remember one, instead of the oldest if there are enough."""
        if len(self._last) == self._last.maxlen:
            del self._sorted[bisect_left(self._sorted, self._last[0])]
        self._last.append(duration)
        insort(self._sorted, duration)

    def p95(self) -> float | None:
        """The shortest that at least 95 % of them do not exceed (nearest rank); None if there are none."""
        rank = -(-95 * len(self._sorted) // 100)  # rounded up, in whole numbers
        return self._sorted[rank - 1] if rank else None


def hedge_after(hedge: Hedge, durations: Durations) -> float | None:
    """Seconds after which to send the second request; None if too little is known yet.

    Args:
        durations: those of the last successful attempts.
    """
    if hedge.after is not None:
        return hedge.after
    return durations.p95() if len(durations) >= hedge.least else None
