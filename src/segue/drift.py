"""``Drift``: what users declare about watching a step's results for drift, and its signals, compiled."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, cast

from segue.checks import read
from segue.core.drift import Rule, Test
from segue.errors import DeclarationError

OWN = ("confidence", "pass_rate", "schema", "latency")
"""Signals that every step has. Other names are paths into the output."""

_TESTS = ("adwin", "page_hinkley", "ks", "psi")
_MOST = 1000


class Watched(NamedTuple):
    """One signal of a step.

    Attributes:
        read: gives its value, of a result; None for one of ``OWN``.
        path: into the output, if that is where it is.
        may_change: it is the user's function, which may change what it sees.
    """

    name: str
    read: Callable[[Any], Any] | None = None
    path: str = ""
    may_change: bool = False


@dataclass(frozen=True, slots=True)
class Drift:
    """Watch what a step gives, and notice when it no longer looks as it used to.

    The first values of a signal are learned as its *reference*. From then on the newest are compared with it every few
    events; an event is an attempt of the step itself that gave something. A drift is a change that is large enough,
    that is no chance by a statistical test, and that two looks in a row have found.

    Args:
        on: what to watch, one or several in a tuple: ``"confidence"``; ``"pass_rate"``, the share of results that pass
            their checks; ``"schema"``, the share that is not of the declared type; ``"latency"``, in seconds; a path
            into the output, as in ``"speed.mean"`` (``".latency"`` for a field of such a name); or a function of the
            output that gives a number, text or truth.
        by: the test: ``"ks"`` (Kolmogorov and Smirnov: any change of how numbers are distributed), ``"psi"``
            (population stability index: for categories and rates), ``"page_hinkley"`` (a change of the mean, soonest)
            or ``"adwin"`` (the same, with a proven bound for false alarms). By default ks for numbers, else psi.
        then: ``"alert"`` records it, logs it and tells it; ``"fallback"`` also leaves the step alone: calls go straight
            to its fallbacks, until it has recovered.
        reference: so many values are learned.
        window: so many of the newest are compared.
        threshold: how large a change must be, in the test's own measure: of ks the distance of the distributions, 0 to
            1 (0.35 unless said); of psi the index (0.25); of adwin how far the mean moves, in the rate itself, of
            numbers in ranks (0.1); of page_hinkley what adds up beyond half a standard deviation, in these (12).
        alpha: the chance that one look at unchanged values calls them changed. page_hinkley has none.
        probe: while it has drifted, every such call still calls the step. Its result is looked at, and not used.
        recover: so many results after the drift must fit the reference again; 30, or the window if that is less.

    >>> Drift(on="confidence", then="fallback").on
    ('confidence',)
    """

    on: tuple[str | Callable[[Any], Any], ...]
    by: Test | None
    then: Literal["alert", "fallback"]
    reference: int
    window: int
    threshold: float | None
    alpha: float | None
    probe: int
    recover: int

    def __init__(
        self,
        on: str | Callable[[Any], Any] | tuple[str | Callable[[Any], Any], ...],
        *,
        by: Test | None = None,
        then: Literal["alert", "fallback"] = "alert",
        reference: int = 200,
        window: int = 50,
        threshold: float | None = None,
        alpha: float | None = None,
        probe: int = 10,
        recover: int | None = None,
    ) -> None:
        several = cast("tuple[Any, ...]", on) if isinstance(on, tuple) else (on,)
        if by is not None and by not in _TESTS:
            raise DeclarationError(f"drift: by is one of {', '.join(_TESTS)}, not {by!r:.80}")
        if then not in ("alert", "fallback"):
            raise DeclarationError(f"drift: then is 'alert' or 'fallback', not {then!r:.80}")
        _count("reference", reference, 20, _MOST)
        _count("window", window, 10, reference)
        _count("probe", probe, 1, 1_000_000)
        recover = min(30, window) if recover is None else recover
        _count("recover", recover, 5, window)
        _measure("threshold", threshold, 1e9)
        _measure("alpha", alpha, 0.5)
        if alpha is not None and by == "page_hinkley":
            raise DeclarationError("drift: page_hinkley has no alpha; its threshold says how sensitive it is")
        given: dict[str, Any] = {"on": several, "by": by, "then": then, "reference": reference, "window": window}
        given |= {"threshold": threshold, "alpha": alpha, "probe": probe, "recover": recover}
        for name, value in given.items():
            object.__setattr__(self, name, value)
        self.signals()

    def rule(self) -> Rule:
        """How each signal is watched."""
        return Rule(self.by, self.reference, self.window, self.threshold, self.alpha, self.recover)

    def lacking(self) -> str:
        """A library that its test needs and that is not installed; nothing if there is none."""
        needed = ("scipy", "river") if self.by in ("adwin", "page_hinkley") else ("scipy",)
        return next((name for name in needed if find_spec(name) is None), "")

    def signals(self) -> tuple[Watched, ...]:
        """Its signals, compiled.

        Raises:
            DeclarationError: one is neither a name, a path nor a function, or two have one name.
        """
        found = tuple(_watched(one) for one in self.on)
        names = [one.name for one in found]
        if not names:
            raise DeclarationError("drift: on says what to watch; it is empty")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DeclarationError(
                f"drift: two signals are named {twice[0]!r}; give functions names of their own: def …"
            )
        return found


def _watched(on: Any) -> Watched:
    if isinstance(on, str):
        if on in OWN:
            return Watched(on)
        path = on.removeprefix(".")
        if not path or not all(path.split(".")):
            raise DeclarationError(f"drift: {on!r} is no path into the output; write it as in 'speed.mean'")
        return Watched(path, partial(_at, path), path)
    if not callable(on):
        raise DeclarationError(f"drift: on is a name, a path into the output or a function of it, not {on!r:.80}")
    from inspect import iscoroutinefunction

    if iscoroutinefunction(on) or hasattr(on, "spec"):
        raise DeclarationError(f"drift: {on!r:.80} is async; it only looks at the output")
    name = getattr(on, "__name__", type(on).__name__)
    return Watched("feature" if name == "<lambda>" else name, on, may_change=True)


def _at(path: str, value: Any) -> Any:
    return read(value, path)


def _count(what: str, given: Any, least: int, most: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
        raise DeclarationError(f"drift: {what} is a number from {least:,} to {most:,}, not {given!r:.80}")


def _measure(what: str, given: Any, most: float) -> None:
    if given is None:
        return
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= most:
        raise DeclarationError(f"drift: {what} is more than 0, and at most {most:g}, not {given!r:.80}")
