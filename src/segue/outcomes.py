"""``Outcome``: a result together with how it came about, instead of a value or an exception."""

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

from segue.errors import UsageError

T = TypeVar("T")
D = TypeVar("D")

Source = Literal["model", "cached", "fallback", "human", "degraded", "missing"]
"""Where a value came from: the step itself, an earlier result, a fallback, a person, the declared ``degraded`` value;
``missing`` where there is none."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of a call.

    Attributes:
        ok: there is a value.
        source: where it came from.
        rung: how far down the recovery ladder that was: 0 for the step itself.
        attempts: how many there were, on all rungs together.
        confidence: what the result says of itself, if it does.
        age: of a cached value, in seconds.
        error: what failed: the reason that there is no value, or the last failure before a fallback gave one.

    >>> Outcome(True, 3).value_or(0), missing(TimeoutError("too late")).value_or(0)
    (3, 0)
    """

    ok: bool
    _value: T | None = None
    source: Source = "model"
    rung: int = 0
    attempts: int = 1
    confidence: float | None = None
    age: float | None = None
    error: BaseException | None = None

    @property
    def value(self) -> T:
        """The value.

        Raises:
            UsageError: there is none; ``error`` says why.
        """
        if not self.ok:
            raise UsageError(f"this outcome has no value: {self.error}. Ask .ok first, or take .value_or(…)")
        return cast("T", self._value)

    @property
    def degraded(self) -> bool:
        """Whether it is anything but what the step itself gave."""
        return self.source != "model"

    def unwrap(self) -> T:
        """The value, or the error raised."""
        if not self.ok:
            raise self.error or UsageError("this outcome has no value")
        return cast("T", self._value)

    def value_or(self, default: D) -> T | D:
        """The value, or this in its place."""
        return cast("T", self._value) if self.ok else default


def missing(error: BaseException, attempts: int = 0) -> Outcome[Any]:
    """No value, and why."""
    return Outcome(False, source="missing", attempts=attempts, error=error)
