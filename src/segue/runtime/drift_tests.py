"""Whether a change may be chance: asked of scipy and river, which are loaded when they are first needed."""

import sys
from importlib import import_module
from typing import Any, NamedTuple

from segue.core.drift import FITS, Look, Signal, Test
from segue.core.windows import SLACK, ranked, scores, shares

MODULES: dict[Test, str] = {
    "ks": "scipy.stats",
    "psi": "scipy.stats",
    "adwin": "river.drift",
    "page_hinkley": "river.drift",
}


class Verdict(NamedTuple):
    """What a test says.

    Attributes:
        drifted: the change is no chance.
        fits: what came after a drift looks like the reference.
        p: the chance of such a change between samples of one distribution, where the test gives it.
    """

    drifted: bool
    fits: bool
    p: float | None = None


def asks(signal: Signal, found: Look) -> bool:
    """Whether a library has to be asked: only of large changes, and, of what has drifted, for how well it fits."""
    return found.large or signal.state == "drifted"


def loaded(test: Test) -> bool:
    """Whether that library is at hand."""
    return MODULES[test] in sys.modules


def load(test: Test) -> Any:
    """Import it, which takes a second the first time: then on another thread."""
    return import_module(MODULES[test])


def judged(signal: Signal, found: Look) -> Verdict:
    """Whether the values that a look compared come from where the reference does."""
    if not asks(signal, found):
        return Verdict(False, False)
    if found.test == "ks":
        return _by_chance(found, _ks(signal.reference, found.values))
    if found.test == "psi":
        return _by_chance(found, _psi(signal, found))
    detects = _adwin if found.test == "adwin" else _page_hinkley
    return Verdict(detects(signal, found), False)


def _by_chance(found: Look, p: float) -> Verdict:
    return Verdict(found.large and p <= found.alpha, p >= FITS, p)


def _ks(reference: list[float], recent: list[float]) -> float:
    return float(load("ks").ks_2samp(reference, recent, method="asymp").pvalue)


def _psi(signal: Signal, found: Look) -> float:
    """Of samples of n and m events from one distribution, the index by (1/n + 1/m) is distributed as chi squared, with
    one degree of freedom less than there are bins (Yurdakul, "Statistical properties of population stability index",
    2018): without that, small windows alone give a quarter."""
    reference, recent = signal.reference, found.values
    bins = len(shares(sorted(reference), recent, signal.kind).reference)
    return float(load("psi").chi2.sf(found.statistic / (1 / len(reference) + 1 / len(recent)), max(1, bins - 1)))


def _adwin(signal: Signal, found: Look) -> bool:
    """Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", 2007."""
    detector = load("adwin").ADWIN(delta=found.alpha, clock=1)
    return _detects(detector, *ranked(signal.kind, signal.reference, found.values))


def _page_hinkley(signal: Signal, found: Look) -> bool:
    """Page, "Continuous inspection schemes", Biometrika 41, 1954."""
    ordered = sorted(signal.reference)
    detector = load("page_hinkley").PageHinkley(delta=SLACK, threshold=found.threshold, alpha=1.0)
    return _detects(detector, scores(ordered, signal.reference), scores(ordered, found.values))


def _detects(detector: Any, reference: list[float], recent: list[float]) -> bool:
    """Whether a detector that has seen the reference finds a change in what came last."""
    for value in reference:
        detector.update(value)
    for value in recent:
        detector.update(value)
        if detector.drift_detected:
            return True
    return False
