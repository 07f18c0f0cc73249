"""A circuit breaker: whether a call may begin, from how the last ones ended."""

from collections import deque
from typing import Literal

from segue.limits import Breaker

State = Literal["closed", "open", "half-open"]


class Circuit:
    """Closed until too many calls fail; then open; then half-open, for one call that decides: the probe.

    A call's end is told together with the *era* in which it began. Every change of state begins a new one, and what is
    told of an earlier era is not heard: a call from before the circuit opened must not pass for the probe (the
    generations of sony/gobreaker).

    Times are those of one clock that never goes back.

    Attributes:
        era: a number, the current one. Read it when ``allows`` has said yes.
        retry_at: when to ask again; None while it is closed. While a probe is under way this is when the next one could
            begin if it failed at once.
    """

    __slots__ = ("_failed", "_probing", "breaker", "era", "retry_at")

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.era = 0
        self.retry_at: float | None = None
        self._failed: deque[float] = deque(maxlen=breaker.failures)
        self._probing = False

    def state(self, now: float) -> State:
        """Half-open from the moment in which a probe may begin until it has ended."""
        if self.retry_at is None:
            return "closed"
        return "half-open" if self._probing or now >= self.retry_at else "open"

    def failures(self, now: float) -> int:
        """How many failures count at this time: those that opened it, once it is open."""
        if self.retry_at is None:
            self._forget(now)
        return len(self._failed)

    def refuses(self, now: float) -> bool:
        """Whether ``allows`` would say no. Asking changes nothing."""
        return self.retry_at is not None and (self._probing or now < self.retry_at)

    def allows(self, now: float) -> bool:
        """Whether a call may begin now. If that makes it the probe, no other may until its end is told."""
        if self.refuses(now):
            return False
        if self.retry_at is not None:
            self._probing = True
            self._turn(now + self.breaker.reset)
        return True

    def succeeded(self, now: float, era: int) -> None:
        """A call of this era ended well."""
        if era == self.era and self._probing:
            self._probing = False
            self._failed.clear()
            self._turn(None)

    def failed(self, now: float, era: int) -> None:
        """A call of this era failed."""
        if era != self.era:
            return
        self._forget(now)
        self._failed.append(now)
        if self._probing or len(self._failed) == self.breaker.failures:
            self._probing = False
            self._turn(now + self.breaker.reset)

    def abandoned(self, now: float, era: int) -> None:
        """A call of this era was cancelled, which says nothing about what it called. The next may be the probe."""
        if era == self.era and self._probing:
            self._probing = False
            self._turn(now)

    def _turn(self, retry_at: float | None) -> None:
        self.retry_at = retry_at
        self.era += 1

    def _forget(self, now: float) -> None:
        while self._failed and now - self._failed[0] > self.breaker.within:
            self._failed.popleft()
