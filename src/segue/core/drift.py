"""Whether what a step gives still looks as it used to: what follows from two windows compared. Pure.

A signal of a step (its confidence, a field of its output, …) is learned first: its first values are the *reference*.
Then every few events the *recent* values are held against it. How large the change is comes from ``windows``; whether
it may be chance is asked only of a change that is large enough, of a statistics library, by the caller.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from segue.core.windows import (
    Kind,
    Summary,
    as_kind,
    bounded,
    excess,
    kind_of,
    ks,
    psi,
    ranked,
    scores,
    shares,
    shift,
    summary,
)

Test = Literal["adwin", "page_hinkley", "ks", "psi"]
State = Literal["learning", "steady", "drifted"]

OF_NOTE = 1.5
"""Times come in bursts, and are no samples of one distribution: their median must change by so much, too."""
CHANGES_KEPT = 50


class Rule(NamedTuple):
    """How a signal is watched.

    Attributes:
        test: None for the one that suits its values.
        reference: so many values are learned.
        window: so many of the newest are compared.
        threshold: what a statistic must reach at least; None for the usual one of the test.
        alpha: the chance that one look at values of the same distribution calls them drifted; None likewise.
        recover: so many values after a drift must fit the reference again.
    """

    test: Test | None
    reference: int
    window: int
    threshold: float | None
    alpha: float | None
    recover: int

    @property
    def every(self) -> int:
        """Values between two looks, while nothing has drifted."""
        return max(1, self.window // 5)


class Usual(NamedTuple):
    """The threshold and alpha of a test, unless said otherwise."""

    threshold: float
    alpha: float


USUAL: dict[Test, Usual] = {
    "ks": Usual(0.35, 0.0005),
    "psi": Usual(0.25, 0.0005),
    "adwin": Usual(0.1, 0.01),
    "page_hinkley": Usual(12.0, 0.0),
}
AGREE = 2
"""Looks in a row that must find a drift, or its end: they share most of their values, but not a single odd run."""
FITS = 0.2
"""Of what is probed after a drift: fits the reference if that is at least as likely as this, by chance."""


@dataclass(slots=True)
class Signal:
    """What is known of one signal of a step.

    Attributes:
        kind: what its values are; ``""`` until the first came.
        reference: what was learned, in the order in which it came.
        recent: the newest values, as many as the window.
        since: when it came into its state, seconds since the epoch.
        agreed: looks in a row that found a drift; while it has drifted, that it fits its reference.
        fresh: values since it came into its state.
        unseen: values since the last look.
        seen, skipped: all values, and those that were of another kind, not finite, or could not be had.
        test, statistic, threshold, p: of the last look; ``p`` where the test has one and was asked.
        why: it has drifted, in figures.
    """

    kind: Kind = ""
    state: State = "learning"
    since: float = 0.0
    reference: list[Any] = field(default_factory=list[Any])
    recent: list[Any] = field(default_factory=list[Any])
    agreed: int = 0
    fresh: int = 0
    unseen: int = 0
    seen: int = 0
    skipped: int = 0
    test: Test | None = None
    statistic: float | None = None
    threshold: float | None = None
    p: float | None = None
    why: str = ""


class Look(NamedTuple):
    """What one comparison found.

    Attributes:
        large: the change is as large as the threshold. Whether it may be chance is still to be asked.
        values: those that were compared with the reference.
    """

    test: Test
    statistic: float
    threshold: float
    alpha: float
    large: bool
    values: list[Any]


def see(signal: Signal, rule: Rule, value: Any, kind: Kind = "") -> None:
    """One more value came.

    Args:
        kind: what it is, where the value itself does not tell.
    """
    if signal.kind == "":
        signal.kind = kind or _kind_for(rule, value)
    known = as_kind(value, signal.kind) if signal.kind else None
    if known is None:
        signal.skipped += 1
        return
    signal.seen += 1
    if signal.state == "learning":
        signal.reference.append(known)
        return
    signal.fresh += 1
    signal.unseen += 1
    signal.recent.append(known)
    if len(signal.recent) > rule.window:
        del signal.recent[0]


def _kind_for(rule: Rule, value: Any) -> Kind:
    found = kind_of(value)
    if found == "category" and rule.test not in (None, "psi"):
        return ""  # no number: it is skipped
    return found if as_kind(value, found) is not None else ""


def test_for(declared: Test | None, kind: Kind) -> Test:
    """The test for such values: as declared, else what suits them."""
    if declared is not None:
        return declared
    return "psi" if kind in ("category", "rate") else "ks"


def learned(signal: Signal, rule: Rule, now: float) -> bool:
    """Take what was learned for the reference, if it is enough. False: it is not, or was before."""
    if signal.state != "learning" or len(signal.reference) < rule.reference:
        return False
    if signal.kind == "category":
        signal.reference = bounded(signal.reference)
    _enter(signal, "steady", now)
    return True


def due(signal: Signal, rule: Rule) -> bool:
    """Whether it is time for a look."""
    if signal.state == "steady":
        return signal.unseen >= rule.every and len(signal.recent) >= rule.window
    return signal.state == "drifted" and signal.fresh >= rule.recover and signal.unseen >= max(1, rule.recover // 5)


def look(signal: Signal, rule: Rule) -> Look:
    """Compare the windows: how large is the change? After a drift: how well do the newest values fit?

    That is asked of the tests that say how likely such values are, whichever has noticed the drift.
    """
    if signal.state == "drifted":
        rule, recent = rule._replace(test=None, threshold=None, alpha=None), signal.recent[-rule.recover :]
    else:
        recent = signal.recent
    test = test_for(rule.test, signal.kind)
    usual = USUAL[test]
    least = usual.threshold if rule.threshold is None else rule.threshold
    alpha = usual.alpha if rule.alpha is None else rule.alpha
    statistic = _statistic(test, signal.kind, signal.reference, recent)
    large = statistic >= least and (signal.kind != "seconds" or _of_note(signal.reference, recent))
    return Look(test, statistic, least, alpha, large, list(recent))


def _of_note(reference: list[float], recent: list[float]) -> bool:
    before, now = (sorted(values)[len(values) // 2] for values in (reference, recent))
    return now > before * OF_NOTE or now * OF_NOTE < before


def _statistic(test: Test, kind: Kind, reference: list[Any], recent: list[Any]) -> float:
    if test == "psi":
        return psi(shares(sorted(reference), recent, kind))
    ordered = sorted(reference)
    if test == "ks":
        return ks(ordered, recent)
    if test == "page_hinkley":
        return excess(scores(ordered, recent))
    return shift(*ranked(kind, reference, recent))


def after(signal: Signal, found: Look, *, drifted: bool, fits: bool, p: float | None, now: float) -> State | None:
    """Take note of a look, and come into the state that follows from it. None: it stays in its state.

    Args:
        drifted: the change is large, and no chance.
        fits: what came after a drift looks like the reference again.
    """
    signal.unseen, signal.test = 0, found.test
    signal.statistic, signal.threshold, signal.p = found.statistic, found.threshold, p
    if signal.state == "steady":
        signal.agreed = signal.agreed + 1 if drifted else 0
        if signal.agreed >= AGREE:
            signal.why = in_figures(found, p)
            return _enter(signal, "drifted", now)
    elif signal.state == "drifted":
        signal.agreed = signal.agreed + 1 if fits else 0
        if signal.agreed >= AGREE:
            return _enter(signal, "steady", now)
    return None


def _enter(signal: Signal, state: State, now: float) -> State:
    signal.state, signal.since, signal.agreed, signal.fresh, signal.unseen = state, now, 0, 0, 0
    if state == "steady":
        signal.recent = []
    return state


NAMES: dict[Test, str] = {"ks": "KS", "psi": "PSI", "adwin": "ADWIN", "page_hinkley": "Page-Hinkley"}


def in_figures(found: Look, p: float | None) -> str:
    """What a look found, as people read it."""
    chance = f", p={p:.2g}" if p is not None else ""
    return f"{NAMES[found.test]} {found.statistic:.3g} (alarm at {found.threshold:.3g}){chance}"


# All signals of a step, as they are kept


@dataclass(slots=True)
class Change:
    """A signal came into another state, or a person had it learned anew.

    Attributes:
        number: from 1, in the order in which they were recorded.
        at: seconds since the epoch.
        what: ``learned``, ``drifted``, ``recovered`` or ``reset``.
        reference, recent: the two windows then.
        run, flow, step: where it was noticed.
        by: who reset it.
    """

    number: int
    at: float
    signal: str
    what: str
    said: str = ""
    statistic: float | None = None
    threshold: float | None = None
    p: float | None = None
    reference: Summary = field(default_factory=lambda: Summary(0))
    recent: Summary = field(default_factory=lambda: Summary(0))
    run: str = ""
    flow: str = ""
    step: str = ""
    by: str = ""


@dataclass(slots=True)
class Record:
    """What is known of a step's drift: all that is kept of it.

    Attributes:
        then: what is to happen when it drifts, as it was declared last.
        generation: how often a person had it learned anew.
        changes: the last ones, oldest first.
        changed: how many there were.
    """

    step: str
    version: str
    then: str
    generation: int = 0
    changed: int = 0
    signals: dict[str, Signal] = field(default_factory=dict[str, Signal])
    changes: list[Change] = field(default_factory=list[Change])

    @property
    def drifted(self) -> str:
        """A signal that has drifted, if any has; else nothing."""
        return next((name for name, signal in self.signals.items() if signal.state == "drifted"), "")


def note(record: Record, change: Change) -> None:
    """Record a change."""
    record.changed += 1
    change.number = record.changed
    record.changes = [*record.changes[1 - CHANGES_KEPT :], change]


def fitted(record: Record, names: Iterable[str], rule: Rule, then: str) -> Record:
    """What is kept, for what is declared now: signals that are new are learned, others dropped, windows cut to size.

    Args:
        record: changed in place.
    """
    record.then = then
    record.signals = {name: record.signals.get(name, Signal()) for name in names}
    for name, signal in record.signals.items():
        if signal.kind == "category" and test_for(rule.test, signal.kind) != "psi":
            record.signals[name] = Signal()
        signal.reference, signal.recent = signal.reference[: rule.reference], signal.recent[-rule.window :]
    return record


def joined(
    theirs: Record, mine: Record, seen: dict[str, list[Any]], changes: Sequence[Change], rule: Rule, now: float
) -> tuple[Record, list[Change]]:
    """What another worker has kept meanwhile, with what was seen and noticed here, and the changes that are new to it.

    Args:
        theirs: changed in place.
        mine: as it stands here.
        seen: values of each signal that the other does not know.
        changes: noticed here, and not kept yet. Those that still hold are recorded.
    """
    if theirs.generation != mine.generation:  # it is learned anew: what was seen before counts no more
        return theirs, []
    kept: list[Change] = []
    for name, values in seen.items():
        signal = theirs.signals[name]
        signal.kind = signal.kind or mine.signals[name].kind
        for value in values:
            see(signal, rule, value)
            if learned(signal, rule, now):
                kept.append(Change(0, now, name, "learned", f"{name} learned", reference=_summary_of(signal)))
    for change in changes:
        signal, own = theirs.signals[change.signal], mine.signals[change.signal]
        if (change.what, signal.state) in (("drifted", "steady"), ("recovered", "drifted")):
            _enter(signal, "drifted" if change.what == "drifted" else "steady", change.at)
            signal.why = own.why
            kept.append(change)
    for change in kept:
        note(theirs, change)
    return theirs, kept


def _summary_of(signal: Signal) -> Summary:
    return summary(signal.reference, signal.kind)


def forgotten(record: Record, by: str, now: float) -> Record:
    """The record as it begins anew: all that was learned is forgotten, the changes are not."""
    fresh = Record(record.step, record.version, record.then, record.generation + 1, record.changed)
    fresh.signals = {name: Signal(since=now) for name in record.signals}
    fresh.changes = list(record.changes)
    note(fresh, Change(0, now, "", "reset", by=by))
    return fresh
