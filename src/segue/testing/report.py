"""What came of an experiment: how each run ended, and what that says of the flow. Pure: no store, no clock."""

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from segue.core.entries import Entry, Kind
from segue.core.lifecycle import Status
from segue.errors import Failure
from segue.runtime.notes import unpack
from segue.stores.base import Row
from segue.testing.chaos import Faults, Struck
from segue.testing.records import RunRecord

End = Literal["completed", "degraded", "escalated", "failed", "stuck", "lost"]
ENDS: tuple[End, ...] = ("completed", "degraded", "escalated", "failed", "stuck", "lost")
"""How a run can end: as it should; with a fallback's result; at a person; in failure; never, though nothing moves it
any more; or unknown to the store, which had acknowledged it."""


@dataclass(frozen=True, repr=False)
class Ran(RunRecord):
    """A run, as an invariant gets it: a ``RunRecord``, and what it was started with.

    Attributes:
        input: the flow's arguments by name, as their annotations say.
        duplicates: how often it was started beyond the first time.
    """

    input: Any = None
    duplicates: int = 0


Invariant = Callable[[Any], object]
"""Called with each run: ``True`` or ``None`` if it holds; ``False``, text or an exception if it does not."""


class Place(NamedTuple):
    """Where a run died, and of what."""

    flow: str
    step: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one run when nothing moves any more.

    Attributes:
        row: as the store has it; None if it does not know it.
        acknowledged: whoever started it was told that it is durable.
        stuck: what it waits for, if nothing can move it.
        twice: what ran more often than it may have.
        deaths: how many workers died meanwhile.
    """

    number: int
    id: str
    row: Row | None
    entries: Sequence[Entry] = ()
    ran: Ran | None = None
    acknowledged: bool = True
    stuck: str = ""
    twice: str = ""
    deaths: int = 0
    duplicates: int = 0
    struck: tuple[Struck, ...] = ()


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run of an experiment.

    Attributes:
        number: what ``--only`` takes to replay it.
        rungs: how many results each rung gave that the step itself had not.
        broken: the invariants that do not hold of it, and why.
        took: seconds, by the run's own clock.
        tree: its steps, as text.
    """

    number: int
    id: str
    end: End
    place: Place | None = None
    rungs: Mapping[str, int] = field(default_factory=dict[str, int])
    broken: tuple[tuple[str, str], ...] = ()
    struck: tuple[Struck, ...] = ()
    deaths: int = 0
    duplicates: int = 0
    took: float = 0.0
    tree: str = ""


@dataclass(frozen=True, slots=True)
class Death:
    """One of the ways in which runs died, were stuck or lost.

    Attributes:
        message: of the first of them.
        runs: their numbers: each replays with the experiment's seed and ``--only``.
    """

    end: End
    flow: str
    step: str
    error: str
    message: str
    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that does not hold.

    Attributes:
        why: as the first of the runs says it.
        runs: the numbers of the runs that it does not hold of.
    """

    invariant: str
    why: str
    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of an experiment.

    Attributes:
        flow: its name.
        clean: the run without any fault, made first.
        runs: the others, by number.
        took: seconds, by the clock on the wall.
        killed: workers that died and were not one run's alone.
    """

    flow: str
    faults: Faults
    clean: RunReport
    runs: tuple[RunReport, ...]
    took: float = 0.0
    killed: int = 0
    fake_time: bool = True

    @property
    def ends(self) -> dict[End, int]:
        """How many runs ended how."""
        counts = Counter(run.end for run in self.runs)
        return {end: counts[end] for end in ENDS}

    @property
    def ok(self) -> bool:
        """Whether every invariant held and no run was stuck or lost. Runs may fail: that is for the flow to say."""
        return not self.breaches and not self.ends["stuck"] and not self.ends["lost"]

    @property
    def deaths(self) -> tuple[Death, ...]:
        """The distinct ways in which runs died, the most frequent first."""
        groups: dict[tuple[End, str, str, str], list[RunReport]] = {}
        for run in self.runs:
            if run.place is not None:
                groups.setdefault((run.end, *run.place[:3]), []).append(run)
        found = [
            Death(*key, _place_of(runs[0]).message, tuple(run.number for run in runs)) for key, runs in groups.items()
        ]
        return tuple(sorted(found, key=lambda death: (-len(death.runs), death.runs)))

    @property
    def breaches(self) -> tuple[Breach, ...]:
        """The invariants that do not hold, of the clean run either."""
        found: dict[str, list[tuple[int, str]]] = {}
        for run in (self.clean, *self.runs):
            for name, why in run.broken:
                found.setdefault(name, []).append((run.number, why))
        return tuple(Breach(name, runs[0][1], tuple(number for number, _ in runs)) for name, runs in found.items())

    @property
    def rungs(self) -> dict[str, tuple[int, int]]:
        """For each rung of the recovery ladder, how many steps it saved, and of how many runs that ended well."""
        saved: dict[str, list[int]] = {}
        for run in self.runs:
            if run.end in ("completed", "degraded"):
                for rung, steps in run.rungs.items():
                    saved.setdefault(rung, []).append(steps)
        return {rung: (sum(steps), len(steps)) for rung, steps in sorted(saved.items())}

    @property
    def struck(self) -> dict[str, dict[str, int]]:
        """How often each kind of fault struck, and as what."""
        counts: dict[str, Counter[str]] = {}
        for run in self.runs:
            for struck in run.struck:
                counts.setdefault(struck.kind, Counter())[struck.what] += 1
        killed = {"kill": {"worker": self.killed + sum(run.deaths for run in self.runs)}}
        twice = {"duplicate": {"start": sum(run.duplicates for run in self.runs)}}
        found = {kind: dict(sorted(whats.items())) for kind, whats in counts.items()} | twice | killed
        return {kind: whats for kind, whats in sorted(found.items()) if sum(whats.values())}


def _place_of(run: RunReport) -> Place:
    assert run.place is not None
    return run.place


def judge(facts: Facts, flow: str, invariants: Mapping[str, Invariant]) -> RunReport:
    """How a run ended, and whether the invariants hold of it."""
    end, place = end_of(facts, flow)
    return RunReport(
        facts.number,
        facts.id,
        end,
        place,
        rungs_of(facts.entries),
        tuple(_broken(facts, invariants)),
        facts.struck,
        facts.deaths,
        facts.duplicates,
        facts.ran.took if facts.ran is not None else 0.0,
        facts.ran.tree() if facts.ran is not None else "",
    )


def end_of(facts: Facts, flow: str) -> tuple[End, Place | None]:
    """How a run ended, and where, unless that was as it should."""
    row = facts.row
    if row is None:
        what = "was acknowledged, and the store does not know it" if facts.acknowledged else "could not be started"
        return ("lost" if facts.acknowledged else "stuck"), Place(flow, "", "", what)
    if row.status is Status.COMPLETED:
        return ("degraded" if row.fallbacks else "completed"), None
    if row.status.terminal:
        return "failed", place_of(facts.ran) if facts.ran is not None else Place(flow, "", str(row.status), "")
    reason = row.reason or "child"
    if row.status is Status.WAITING and ("to answer question" in reason or (row.due > 1e14 and "child" not in reason)):
        return "escalated", None
    return "stuck", Place(flow, "", "", facts.stuck or row.reason or str(row.status))


def place_of(record: RunRecord) -> Place:
    """Where a run died: the step that failed, in the child run that failed, if it was one."""
    error = record.error or Failure(record.status, "")
    if error.type in ("StepFailed", "StepTimedOut", "RunFailed", "RunTimedOut"):
        failed = [step for step in record.steps if step.status == "failed"]
        named = [step for step in failed if repr(step.id) in error.message]
        named += [step for step in failed if step.child is not None and step.child.id in error.message]
        last = max(named or failed, key=lambda step: step.started + step.seconds, default=None)
        if last is not None and last.child is not None and last.child.error is not None:
            return place_of(last.child)
        if last is not None and last.error is not None:
            return Place(record.flow, last.name, last.error.type, last.error.message)
    lost = [step.name for step in record.steps if step.status == "lost"] if error.type == "WorkerLost" else []
    return Place(record.flow, lost[-1] if lost else "", error.type, error.message)


def rungs_of(entries: Sequence[Entry]) -> dict[str, int]:
    """How many results of steps each rung of the recovery ladder gave: a retry, a fallback, a kept value."""
    failed = {entry.step for entry in entries if entry.kind is Kind.ATTEMPT}
    counts: Counter[str] = Counter()
    for entry in entries:
        if entry.kind not in (Kind.OK, Kind.NOTED):
            continue
        note = unpack(entry)[0]
        if note.rung:
            counts[note.source if note.by in ("", note.source) else f"{note.source} {note.by}"] += 1
        elif entry.step in failed:
            counts["retry"] += 1
        if note.lenient:
            counts["lenient parsing"] += 1
    return dict(sorted(counts.items()))


TWICE = "each attempt runs once"
"""The invariant that is always looked at: a body begins again only where a worker died."""


def _broken(facts: Facts, invariants: Mapping[str, Invariant]) -> list[tuple[str, str]]:
    found = [(TWICE, facts.twice)] if facts.twice else []
    ran = facts.ran
    if ran is None:
        return found
    for name, invariant in invariants.items():
        try:
            held = invariant(ran)
            if inspect.iscoroutine(held):
                held.close()
                held = "it is async; an invariant only looks at the run"
        except Exception as error:
            found.append((name, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__))
            continue
        if held is not None and held is not True:
            found.append((name, held if isinstance(held, str) else f"it returned {held!r}"))
    return found


def as_data(report: Report) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "flow": report.flow,
        "seed": report.faults.seed,
        "ok": report.ok,
        "runs": len(report.runs),
        **report.ends,
        "clean": report.clean.end,
        "faults": report.struck,
        "rungs": {rung: {"steps": steps, "runs": runs} for rung, (steps, runs) in report.rungs.items()},
        "deaths": [
            {
                "end": death.end,
                "flow": death.flow,
                "step": death.step,
                "error": death.error,
                "message": death.message,
                "count": len(death.runs),
                "runs": list(death.runs),
            }
            for death in report.deaths
        ],
        "invariants": [
            {"invariant": breach.invariant, "why": breach.why, "count": len(breach.runs), "runs": list(breach.runs)}
            for breach in report.breaches
        ],
    }
