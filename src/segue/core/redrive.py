"""After a run's end: from where it may go on, and which of its entries still count when it does.

A journal is only appended to. A redrive is an entry that says what it takes back: the outcome of the step to go on
from, and what the flow made of that. Whoever reads the journal applies the redrives in order (``past``).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from segue.core.branches import name_of, undone_step
from segue.core.entries import GOOD, OUTCOMES, Entry, Kind

BEGINNING = "start"
"""The name of the place before the first step."""


class Redrive(NamedTuple):
    """What one redrive changes, or a fork.

    Attributes:
        step: the step to go on from, ``"start"``, or nothing: only the flow's own code failed.
        after: outcomes from this place in the journal on are taken back: …
        whole: … all of them; else those that are results stay, for a flow that asks for them again.
        steps: steps of which everything is taken back, wherever it stands.
        edits: inputs to run steps with, in place of those that the flow gives them, encoded by name.
        fresh: steps that are another one to the outside from now on: they get an idempotency key of their own, or, if
            they are child runs, another run.
        pause: seconds for which the run was at its end. They do not count for its deadlines and timers.
        of: of a fork, the run that recorded what precedes.
        spare: of a fork, likewise: steps whose results that run had kept beyond the place of a redrive.
    """

    step: str
    after: int
    whole: bool
    steps: tuple[str, ...] = ()
    edits: Mapping[str, bytes] = MappingProxyType({})
    fresh: tuple[str, ...] = ()
    pause: float = 0.0
    of: str = ""
    spare: tuple[str, ...] = ()


class Past(NamedTuple):
    """What of a journal still counts.

    Attributes:
        edits: the input to run a step with, where a person has edited it.
        fresh: how often a step has become another one to the outside.
        redrives: how often the run was let go on.
        pauses: for how many seconds it was at its end, each with the place where it went on.
        of: the run that recorded the beginning, if that was another one.
        since: the place of the last redrive, or fork; -1 if there was none.
        forked: the place up to which another run recorded it; -1 if none did.
        former: the input that a step had first, of those that were there before the last redrive.
        spare: steps whose results stand beyond the place of a redrive: the flow may take another way now.
    """

    entries: list[Entry]
    edits: dict[str, bytes]
    fresh: dict[str, int]
    redrives: int = 0
    pauses: tuple[tuple[int, float], ...] = ()
    of: str = ""
    since: int = -1
    forked: int = -1
    former: Mapping[str, bytes] = MappingProxyType({})
    spare: frozenset[str] = frozenset()

    def pause(self, after: int = -1) -> float:
        """Seconds at its end that came after this place of the journal."""
        return sum(length for place, length in self.pauses if place > after)


NOTHING = Past([], {}, {})
"""What counts of a journal that is empty."""


class NoSuchStep(LookupError):
    """The run has no step of that name or identity, or several, or cannot go on from it."""


def past(entries: Sequence[Entry], read: Callable[[Entry], Redrive]) -> Past:
    """The entries that still count, in order.

    Args:
        read: decodes what an entry of kind ``REDRIVE`` or ``FORKED`` holds.
    """
    if not entries:
        return NOTHING
    kept: list[Entry] = []
    edits: dict[str, bytes] = {}
    fresh: dict[str, int] = {}
    pauses: list[tuple[int, float]] = []
    redrives, of, since, forked = 0, "", -1, -1
    former: dict[str, bytes] = {}
    spare: frozenset[str] = frozenset()
    for entry in entries:
        if entry.kind is Kind.REDRIVE or entry.kind is Kind.FORKED:
            redrive = read(entry)
            redrives, of, since = redrives + 1, redrive.of or of, entry.seq
            pauses.append((entry.seq, redrive.pause))
            forked = entry.seq if entry.kind is Kind.FORKED else forked
            for earlier in kept:
                if earlier.input is not None:
                    former.setdefault(earlier.step, earlier.input)
            good = set[str]() if redrive.whole else {earlier.step for earlier in kept if earlier.kind in GOOD}
            kept = [earlier for earlier in kept if _counts(earlier, redrive, good)]
            spare |= {*redrive.spare, *(e.step for e in kept if e.seq >= redrive.after and e.kind in GOOD)}
            spare &= {e.step for e in kept}
            edits.update(redrive.edits)
            for step in redrive.fresh:
                fresh[step] = fresh.get(step, 0) + 1
        kept.append(entry)
    return Past(kept, edits, fresh, redrives, tuple(pauses), of, since, forked, former, spare)


def _counts(entry: Entry, redrive: Redrive, good: Collection[str]) -> bool:
    """Whether an earlier entry still counts after a redrive.

    Args:
        good: steps whose results stay, and with them what led to those.
    """
    if entry.kind in (Kind.SIGNAL, Kind.CLAIM, Kind.REDRIVE, Kind.FORKED, Kind.DISCARD, Kind.EVENTS):
        return True
    if entry.kind is Kind.UNDO or undone_step(entry.step) is not None or entry.step in redrive.steps:
        return False
    return entry.seq < redrive.after or entry.step in good


# Planning one


def find_step(entries: Sequence[Entry], wanted: str) -> str:
    """The step that a person means: by its identity, or by its name if there is one of that name.

    Raises:
        NoSuchStep: saying which there are.
    """
    ended = OUTCOMES | {Kind.ATTEMPT, Kind.START, Kind.ASKED}
    steps = list(dict.fromkeys(e.step for e in entries if e.kind in ended and not _own(e.step)))
    if wanted in steps:
        return wanted
    named = [step for step in steps if name_of(step) == wanted]
    if len(named) == 1:
        return named[0]
    if named:
        raise NoSuchStep(f"{len(named)} steps are named {wanted!r}: {', '.join(named[:10])}. Give one of these")
    raise NoSuchStep(f"there is no step {wanted!r}; there are {', '.join(steps[:20]) or 'none'}")


def _own(step: str) -> bool:
    """Whether this is no step of the user's, but a timer, an undo or the like."""
    return step.startswith("@") or name_of(step).startswith("@timer")


def undone(entries: Sequence[Entry]) -> list[str]:
    """The steps whose effects were undone, the earliest first."""
    found = {step for e in entries if e.kind in GOOD and (step := undone_step(e.step)) is not None}
    return [e.step for e in entries if e.kind in GOOD and e.step in found]


def _place(entries: Sequence[Entry], step: str) -> int:
    """Where the journal would have to end for the step to run again: before its outcome, and what cut it short."""
    last = next((e for e in reversed(entries) if e.step == step and e.kind in OUTCOMES), None)
    if last is None:
        return entries[-1].seq + 1
    if last.kind is not Kind.CANCELLED:
        return last.seq
    cut_short = (e.seq for e in entries if e.kind is Kind.TIMER and last.started <= e.ended and e.seq < last.seq)
    return min(cut_short, default=last.seq)


def _interruption(entries: Sequence[Entry], timed_out: bool, cancelled: bool) -> int:
    """Where the run was cut short, if no step of it failed: cancelled, or out of time."""
    timers = [e.seq for e in entries if e.kind is Kind.TIMER] if timed_out else []
    places = [e.seq for e in entries if e.kind is Kind.CANCEL][:1] if cancelled else []
    places += timers[-1:]
    return min(places, default=entries[-1].seq + 1 if entries else 0)


def plan(
    entries: Sequence[Entry],
    *,
    failed: str | None,
    start: str | None = None,
    edits: Mapping[str, bytes] = MappingProxyType({}),
    results: Collection[str] = (),
    children: Collection[str] = (),
    timed_out: bool = False,
    cancelled: bool = False,
) -> Redrive:
    """Where a run goes on, and what of it is taken back.

    Args:
        entries: those that count so far.
        failed: the step whose failure ended the run, if one did.
        start: the step that a person wants it to go on from, or ``"start"``.
        edits: inputs that a person gives, by step.
        results: steps whose results a person gives.
        children: the steps that are child runs.
        timed_out: it ended since its time was up.
        cancelled: it ended since somebody cancelled it.

    Raises:
        NoSuchStep: it cannot go on from there.
    """
    undo = undone(entries)
    named = [step for step in (start, *edits, *results) if step is not None]
    if BEGINNING in named:
        first, step, whole = 0, BEGINNING, True
    elif named:
        first, step = min((_place(entries, step), step) for step in named)
        whole = step != failed or bool(undo)
    else:  # before all that has to come otherwise: what failed or was cut short, and what is to be done again
        places = [(_place(entries, step), step) for step in (failed, *undo[:1]) if step is not None]
        if timed_out or cancelled or not places:
            places.append((_interruption(entries, timed_out, cancelled), ""))
        (first, step), whole = min(places), bool(undo)
    if undo and first > (earliest := _place(entries, undo[0])):
        if start is not None:
            raise NoSuchStep(
                f"the effect of {undo[0]!r} was undone, so it has to run again: go on from it, or before it"
            )
        first, step, whole = earliest, undo[0], True
    steps = tuple(dict.fromkeys(s for s in (step, *edits, *results, *undo) if s not in ("", BEGINNING)))
    again = [e.step for e in entries if e.step in children and (e.seq >= first if whole else e.step in edits)]
    fresh = tuple(dict.fromkeys((*edits, *undo, *again)))
    return Redrive(step, first, whole, steps, dict(edits), fresh)
