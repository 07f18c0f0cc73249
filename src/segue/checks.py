"""What a result must be beyond its type: checks that steps declare, and that pass, or fail with a reason."""

import functools
import inspect
import operator
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from segue.errors import DeclarationError
from segue.policies import Duration, seconds

Judge = Callable[..., Any]
"""Takes a result, and inputs of the step by name. ``None`` and ``True`` pass; ``False``, a reason as text, or an
exception fail."""

Reader = str | Callable[[Any], Any]
"""A path as in ``"scores.best"``, or a function of the value."""


class Check(NamedTuple):
    """A declared check, compiled.

    Attributes:
        inputs: the step's parameters that it takes besides the result.
        early: it judges the inputs alone, before the step runs.
    """

    name: str
    judge: Judge
    inputs: tuple[str, ...]
    early: bool


def read(value: Any, path: str) -> Any:
    """The part of a value that a dotted path names: keys, attributes, and indexes of lists.

    Raises:
        LookupError: there is no such part.

    >>> read({"scores": [0.2, 0.9]}, "scores.1")
    0.9
    """
    for name in path.split("."):
        try:
            value = _way_into(type(cast("object", value)))(value, name)
        except (LookupError, AttributeError):
            raise LookupError(f"there is no {name!r} in {type(value).__name__} (path {path!r})") from None
    return value


@functools.lru_cache(maxsize=1000)
def _way_into(kind: type) -> Callable[[Any, str], Any]:
    if issubclass(kind, Mapping):
        return operator.getitem
    return _item if issubclass(kind, list | tuple) else getattr


def _item(value: Any, name: str) -> Any:
    return value[int(name)] if name.isdigit() else getattr(value, name)


def _reader(of: Reader) -> Callable[[Any], Any]:
    if isinstance(of, str):
        path = of
        return lambda value: read(value, path)
    return of


def confidence_of(value: Any) -> float | None:
    """What a result says of its own confidence, in ``.confidence`` or ``["confidence"]``; None if it says nothing."""
    found: Any = None
    if isinstance(value, Mapping):
        found = cast("Mapping[str, Any]", value).get("confidence")
    else:
        found = getattr(value, "confidence", None)
    return _number(found)


def _number(found: Any) -> float | None:
    if isinstance(found, bool) or found is None or callable(found):
        return None
    try:
        return float(found)
    except (TypeError, ValueError):
        return None


class Confident:
    """A check that a result is confident enough. See ``confident``."""

    def __init__(self, least: float, of: Reader | None) -> None:
        if isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least <= 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"confident() takes the least confidence, between 0 and 1, not {least!r}")
        self.least = least
        self._read = confidence_of if of is None else _reader(of)
        self.__name__ = f"confident({least:g})"

    def confidence(self, value: Any) -> float | None:
        """The confidence of this result, if it has any."""
        try:
            return _number(self._read(value))
        except Exception:  # it is not where it was said to be: the check says so
            return None

    def __call__(self, value: Any) -> str | None:
        confidence = _number(self._read(value))
        if confidence is None:
            return "the result says nothing of its confidence; tell where it is: confident(…, of='path')"
        return None if confidence >= self.least else f"confidence {confidence:.3g} is below {self.least:g}"


def confident(least: float, *, of: Reader | None = None) -> Confident:
    """A check: the result's confidence is at least this. The confidence is recorded with the result.

    Args:
        least: between 0 and 1.
        of: where the confidence is; by default the result's ``.confidence`` or ``["confidence"]``.

    >>> confident(0.7)({"label": "cat", "confidence": 0.31})
    'confidence 0.31 is below 0.7'
    """
    return Confident(least, of)


class Fresh:
    """A check that an input is not too old. See ``fresh``."""

    def __init__(self, max_age: Duration, of: str) -> None:
        self.max_age = seconds(max_age)
        self.of = of
        self.__name__ = f"fresh({max_age})"

    def judge(self, inputs: Mapping[str, Any], now: float) -> str | None:
        """Why these inputs are refused, if they are."""
        at = _moment(read(inputs, self.of))
        if at is None:
            return f"{self.of} is {read(inputs, self.of)!r:.60}, not a time"
        age = now - at
        if age <= self.max_age:
            return None
        return f"{self.of} is {age:.0f} s old; {self.max_age:.0f} s are allowed"

    def __call__(self, inputs: Mapping[str, Any]) -> str | None:
        return self.judge(inputs, time.time())


def fresh(max_age: Duration, *, of: str) -> Fresh:
    """A check on the *input*, before the step runs: it is not older than this. A stale one is not retried.

    Args:
        max_age: the greatest age.
        of: a path that begins with a parameter of the step, to a ``datetime`` (without a zone: UTC), ISO text, or
            seconds since the epoch.

    >>> fresh("15m", of="reading.at").judge({"reading": {"at": 1000}}, now=2000.0)
    'reading.at is 1000 s old; 900 s are allowed'
    """
    return Fresh(max_age, of)


def _moment(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
    return _number(value)


def compiled(what: str, declared: Any, parameters: tuple[str, ...]) -> tuple[Check, ...]:
    """Declared checks, ready for use.

    Args:
        what: whose they are, for errors.
        declared: one, several in a list or tuple, or None.
        parameters: the names of the step's parameters.

    Raises:
        DeclarationError: one is not callable, is async, or takes what the step does not have.
    """
    if declared is None:
        return ()
    several = list(cast("list[Any]", declared)) if isinstance(declared, list | tuple) else [declared]
    return tuple(_compile(what, judge, parameters) for judge in several)


def _compile(what: str, judge: Any, parameters: tuple[str, ...]) -> Check:
    name = getattr(judge, "__name__", type(judge).__name__)
    name = "check" if name == "<lambda>" else name
    if not callable(judge):
        raise DeclarationError(f"{what}: a check is a function of the result, not {judge!r:.80}")
    if isinstance(judge, Fresh):
        if judge.of.split(".")[0] not in parameters:
            raise DeclarationError(
                f"{what}: {name} looks at {judge.of!r}; it takes {', '.join(parameters) or 'nothing'}"
            )
        return Check(name, judge, (), early=True)
    called = type(cast("Any", judge)).__call__
    if inspect.iscoroutinefunction(judge) or inspect.iscoroutinefunction(called) or hasattr(judge, "spec"):
        raise DeclarationError(
            f"{what}: check {name!r} is async. A check only looks; let a step do the work, and gate() it"
        )
    return Check(name, judge, _further(what, name, judge, parameters), early=False)


def _further(what: str, name: str, judge: Judge, parameters: tuple[str, ...]) -> tuple[str, ...]:
    try:
        taken = list(inspect.signature(judge).parameters.values())[1:]
    except (TypeError, ValueError):  # some builtins do not tell
        return ()
    needed = [p for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if unknown := [p.name for p in needed if p.name not in parameters and p.default is p.empty]:
        raise DeclarationError(
            f"{what}: check {name!r} takes {', '.join(unknown)}, which the step does not ({', '.join(parameters)})"
        )
    return tuple(p.name for p in needed if p.name in parameters)


def verdict(check: Check, value: Any, inputs: Mapping[str, Any]) -> str | None:
    """Why the value fails the check, or None if it passes."""
    try:
        if check.inputs:
            said = check.judge(value, **{name: inputs[name] for name in check.inputs if name in inputs})
        else:
            said = check.judge(value)
        if said is None or said is True:
            return None
        if inspect.isawaitable(said):
            if inspect.iscoroutine(said):
                said.close()
            return "the check is async; a check only looks. Let a step do the work, and gate() it"
        if isinstance(said, str):
            return said or "it is not so"
        return None if said else "it is not so"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
