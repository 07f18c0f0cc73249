"""What the live tree knows: the runs and steps of this process, put together from what the engine tells."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from segue.cli.text import as_text, duration, one_line, shorten
from segue.core.branches import name_of
from segue.core.entries import Entry, Kind
from segue.core.lifecycle import Status
from segue.errors import Failure
from segue.inspection import is_reference, timeline
from segue.runtime.engine import Told
from segue.runtime.failures import read_failure
from segue.stores.base import Row
from segue.values import plain

MANY = 8
"""Of more calls of one step than this, those that went well are shown as one line."""

LONG = 4096
"""Values longer than this, in bytes, are not read only to show their beginning."""

_ENDS = {Kind.OK: "completed", Kind.ERROR: "failed", Kind.CANCELLED: "cancelled"}


@dataclass(slots=True)
class StepLine:
    """One call of a step, or of a child run."""

    id: str
    name: str
    started: float
    status: str = "running"
    ended: float | None = None
    attempt: int = 1
    detail: str = ""
    failure: Failure | None = None
    again_at: float | None = None
    recorded: bool = False
    child: str | None = None


@dataclass(slots=True)
class Fold:
    """Many calls of one step that went well."""

    started: float
    count: int = 0
    ended: float = 0.0
    longest: float = 0.0

    def add(self, step: StepLine) -> None:
        """One more."""
        self.started = min(self.started, step.started)
        took = (step.ended or step.started) - step.started
        self.count += 1
        self.ended = max(self.ended, step.started + took)
        self.longest = max(self.longest, took)


@dataclass(slots=True)
class RunLine:
    """One run."""

    id: str
    flow: str
    started: float
    parent: str | None
    resumed: bool = False
    status: str = "running"
    ended: float | None = None
    reason: str = ""
    failure: Failure | None = None
    steps: dict[str, StepLine] = field(default_factory=dict[str, StepLine])
    folds: dict[str, Fold] = field(default_factory=dict[str, Fold])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    timers: dict[str, float] = field(default_factory=dict[str, float])
    done: int = 0
    """Steps that have ended."""


class Progress:
    """A watcher of the engine that keeps what a person wants to see."""

    def __init__(self) -> None:
        self.runs: dict[str, RunLine] = {}

    def __call__(self, told: Told) -> None:
        handle = getattr(self, f"_on_{told.what}", None)
        if handle is not None:
            handle(told, **told.data)

    def roots(self) -> Iterator[RunLine]:
        """Runs that no other run here has called."""
        return (run for run in self.runs.values() if run.parent not in self.runs)

    # What the engine tells

    def _on_run(self, told: Told, *, resumed: bool, parent: str | None, journal: Sequence[Entry], **_: Any) -> None:
        run = self.runs[told.run] = RunLine(told.run, told.flow, told.time, parent, resumed and bool(journal))
        if journal:
            self._recall(run, journal)

    def _recall(self, run: RunLine, journal: Sequence[Entry]) -> None:
        for step in timeline(_stand_in(run), journal).steps:
            if step.kind != "timer":
                line = self._begin(run, step.id, step.started)
                line.status, line.ended, line.attempt = step.status, step.ended, len(step.attempts)
                line.failure, line.recorded = step.error, True
                line.detail = shown(step.output) if step.status == "completed" else ""
                if step.ended is not None:
                    self._close(run, line)

    def _on_attempt(self, told: Told, *, step: str, attempt: int, input: bytes, **_: Any) -> None:
        if (run := self.runs.get(told.run)) is not None:
            line = run.steps.get(step) or self._begin(run, step, told.time)
            line.status, line.attempt, line.again_at = "running", attempt, None
            line.detail = preview(input, arguments=True)

    def _on_child(self, told: Told, *, step: str, id: str, input: bytes, **_: Any) -> None:
        if (run := self.runs.get(told.run)) is not None:
            line = self._begin(run, step, told.time)
            line.child, line.detail = id, preview(input, arguments=True)

    def _on_retry(self, told: Told, *, step: str, attempt: int, failure: Failure, delay: float, **_: Any) -> None:
        if (run := self.runs.get(told.run)) is not None:
            line = run.steps.get(step) or self._begin(run, step, told.time)
            line.status, line.attempt, line.failure, line.again_at = "retrying", attempt, failure, told.time + delay

    def _on_step(
        self, told: Told, *, step: str, attempt: int, kind: Kind, data: bytes | None, by: str = "", **_: Any
    ) -> None:
        if (run := self.runs.get(told.run)) is not None:
            line = run.steps.get(step) or self._begin(run, step, told.time)
            line.status, line.ended, line.attempt, line.again_at = _ENDS[kind], told.time, attempt, None
            line.failure = read_failure(data) if kind is Kind.ERROR and data and not is_reference(data) else None
            line.detail = preview(data) if kind is Kind.OK and line.child is None else ""
            line.detail += f"  by {one_line(by)}" if by else ""
            self._close(run, line)

    def _on_asked(self, told: Told, *, step: str, text: str, assignee: str | None, question: str, **_: Any) -> None:
        if (run := self.runs.get(told.run)) is not None:
            line = run.steps.get(step) or self._begin(run, step, told.time)
            whom = one_line(assignee or "a person")
            line.status, line.detail = "asking", f"{whom} is asked ({question}): {one_line(text)}"

    def _on_listening(self, told: Told, *, step: str, signal: str, **_: Any) -> None:
        if (run := self.runs.get(told.run)) is not None:
            line = run.steps.get(step) or self._begin(run, step, told.time)
            line.status, line.detail = "running", f"waits for signal {signal!r}"

    def _on_timer(self, told: Told, *, step: str, when: float | None, **_: Any) -> None:
        if (run := self.runs.get(told.run)) is not None:
            if when is None:
                run.timers.pop(step, None)
            else:
                run.timers[step] = when

    def _on_park(self, told: Told, *, reason: str, due: float | None, **_: Any) -> None:
        self._leave(told, "waiting", reason)

    def _on_left(self, told: Told, **_: Any) -> None:
        self._leave(told, "running", "by another worker")

    def _leave(self, told: Told, status: str, reason: str) -> None:
        if (run := self.runs.get(told.run)) is not None:
            run.status, run.reason = status, reason

    def _on_end(self, told: Told, *, status: Status, result: bytes, **_: Any) -> None:
        if (run := self.runs.get(told.run)) is not None:
            run.status, run.ended, run.reason = str(status), told.time, ""
            run.timers.clear()
            if status is not Status.COMPLETED and not is_reference(result):
                run.failure = read_failure(result)

    # Keeping it short

    def _begin(self, run: RunLine, step: str, time: float) -> StepLine:
        name = name_of(step)
        name = f"signal {name.removeprefix('@wait.')}" if name.startswith("@wait.") else name
        line = run.steps[step] = StepLine(step, name, time)
        run.counts[line.name] = run.counts.get(line.name, 0) + 1
        return line

    def _close(self, run: RunLine, line: StepLine) -> None:
        run.done += 1
        if run.counts[line.name] <= MANY or line.child is not None:
            return
        gone = [line] if line.status == "completed" else []
        if (fold := run.folds.get(line.name)) is None:
            fold = run.folds[line.name] = Fold(line.started)
            gone = [s for s in run.steps.values() if s.name == line.name and s.status == "completed"]
        for step in gone:
            fold.add(step)
            del run.steps[step.id]

    def forget(self, id: str) -> None:
        """A run of no more interest, with those it called."""
        for child in [run.id for run in self.runs.values() if run.parent == id]:
            self.forget(child)
        self.runs.pop(id, None)


def _stand_in(run: RunLine) -> Row:
    """A row for reading a journal by, where only the journal matters."""
    return Row(
        run.id, run.flow, "", "", Status.RUNNING, None, None, "", run.parent, 0, None, None, 0.0, run.started,
        run.started, None, 1, 0, b"", None, 0,
    )  # fmt: skip


def preview(data: bytes | None, *, arguments: bool = False) -> str:
    """The beginning of a stored value."""
    if not data:
        return ""
    if is_reference(data) or len(data) > LONG:
        return "a large value" if is_reference(data) else f"{len(data):,} bytes"
    return shown(plain(data), arguments=arguments)


def shown(value: Any, *, arguments: bool = False) -> str:
    """A value in one line; of arguments only the values."""
    if arguments and isinstance(value, dict):
        return ", ".join(shown(part) for part in value.values())  # pyright: ignore[reportUnknownVariableType]
    return "" if value is None else shorten(one_line(as_text(value)), 200)


def told_failure(failure: Failure | None) -> str:
    """A failure in one line."""
    if failure is None:
        return ""
    return one_line(f"{failure.type}: {failure.message}" if failure.message else failure.type)


def again_in(line: StepLine, now: float) -> str:
    """When a failed step is tried again."""
    wait = (line.again_at or now) - now
    return f"again in {duration(wait)}" if wait >= 0.1 else "again now"
