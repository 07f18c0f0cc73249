"""What a test sees of a run: its steps, with what went in and came out, and virtual time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from segue.core.lifecycle import Status
from segue.errors import Failure, UsageError
from segue.inspection import RunRecord as Timeline
from segue.inspection import StepRecord as TimelineStep
from segue.inspection import StepStatus
from segue.outcomes import Source
from segue.policies import spoken
from segue.runtime.asked import run_error


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run, or a child run, which stands among its parent's steps.

    Attributes:
        id: its identity in the run, as in ``"1.2/fetch#3"``.
        name: the step's name, or the child flow's.
        status: ``completed``, ``failed``, ``cancelled``, ``running``, ``retrying`` or ``lost``.
        attempts: how many there were, on all rungs together.
        input: its arguments by name, as plain data.
        output: its result, as plain data.
        error: why it failed.
        failures: of the attempts that failed, in order.
        source: where its result came from: ``model`` for the step itself.
        rung: how far down the recovery ladder that was: 0 for the step itself.
        rungs: the names of the rungs that were tried, in order, the step itself first.
        seconds: how long it took, in virtual time, retries and waits included; so far, if it has not ended.
        started: when its first attempt began, in seconds since the run was created.
        child: the run that it is, if it is one.
    """

    id: str
    name: str
    status: StepStatus
    attempts: int
    input: Any
    output: Any
    error: Failure | None
    failures: tuple[Failure, ...]
    source: Source
    rung: int
    rungs: tuple[str, ...]
    seconds: float
    started: float
    child: "RunRecord | None" = None


@dataclass(frozen=True, repr=False)
class RunRecord:
    """A run, as a test gets it from ``Env.run``.

    Attributes:
        flow: the flow's name.
        status: ``completed``, ``failed`` or ``cancelled``; ``running``, ``waiting`` or ``queued`` if it has not ended,
            because nothing is left that could move it or because it was only started.
        result: what the flow returned, as its annotation says; None unless it completed.
        error: why it failed or was cancelled.
        steps: in the order in which they began, without timers.
        created: when, in seconds since the epoch, in virtual time.
        took: how long it took, in seconds of virtual time; so far, if it has not ended.
        crashes: how often its process died under it.
        waits: if it has not ended, the steps that it waits for, by identity; or why it has left memory.
        unused: steps that were faked and that it never called.

    >>> record = env.run(order, 42)
    >>> record.status, record.step("charge").attempts
    ('completed', 3)
    """

    id: str
    flow: str
    status: str
    result: Any
    error: Failure | None
    steps: tuple[StepRecord, ...]
    created: float
    took: float
    crashes: int = 0
    waits: tuple[str, ...] = ()
    unused: tuple[str, ...] = field(default=(), compare=False)

    @property
    def ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return Status(self.status).terminal

    @property
    def degraded(self) -> bool:
        """Whether a step's result came from anything but the step itself."""
        return any(step.source != "model" for step in self.steps)

    def step(self, name: str) -> StepRecord:
        """The one step of that name or identity.

        Raises:
            UsageError: there is none, or there are several. It lists what there is.

        >>> record.step("fetch#2").output
        """
        exact = [step for step in self.steps if step.id == name]
        found = exact or [step for step in self.steps if step.name == name]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(repr(step.id) for step in found)
            raise UsageError(
                f"run {self.id} has {len(found)} steps named {name!r}: ask for one of {ids}, or for .all()"
            )
        ids = ", ".join(repr(step.id) for step in self.steps) or "none at all"
        raise UsageError(f"run {self.id} has no step {name!r}. It has {ids}")

    def all(self, name: str) -> tuple[StepRecord, ...]:
        """Its steps of that name, in the order in which they began; empty if there are none."""
        return tuple(step for step in self.steps if step.name == name)

    def unwrap(self) -> Any:
        """The result.

        Raises:
            RunFailed: it failed or was cancelled.
            UsageError: it has not ended.
        """
        if self.status == "completed":
            return self.result
        if self.error is not None:
            raise run_error(self.id, self.flow, self.error)
        raise UsageError(f"run {self.id} has not ended:\n{self.tree()}")

    def tree(self) -> str:
        """The run and its steps as text, a line each.

        >>> print(record.tree())
        completed  shop.order  1h  run-1
          completed  charge  1h  3 attempts → 'paid'
          completed  ship    0s
        """
        return "\n".join(_lines(self, 0))

    def __repr__(self) -> str:
        return f"<run\n{self.tree()}\n>" if self.steps else f"<run {self.tree()}>"


def _lines(run: RunRecord, depth: int) -> Iterator[str]:
    pad = "  " * depth
    said = f"  ← {run.error}" if run.error is not None else ""
    died = f"  {run.crashes} crash{'es' * (run.crashes > 1)}" if run.crashes else ""
    yield f"{pad}{run.status}  {run.flow}  {spoken(run.took)}  {run.id}{died}{said}"
    width = max((len(step.name) for step in run.steps if step.child is None), default=0)
    for step in run.steps:
        if step.child is not None:
            yield from _lines(step.child, depth + 1)
        else:
            yield f"{pad}  {_step_line(step, width)}"
    if run.waits:
        yield f"{pad}  waits for {', '.join(run.waits)}"
    if run.unused:
        yield f"{pad}  faked and never called: {', '.join(run.unused)}"


def _step_line(step: StepRecord, width: int) -> str:
    parts = [step.status, step.name.ljust(width), spoken(step.seconds)]
    if step.attempts > 1:
        parts.append(f"{step.attempts} attempts")
    if step.rung:
        parts.append(f"by {step.rungs[-1]} ({step.source})")
    if step.error is not None:
        parts.append(f"← {_short(str(step.error))}")
    elif step.output is not None:
        parts.append(f"→ {_short(repr(step.output))}")
    return "  ".join(parts).rstrip()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:79]}…"


def record_of(
    told: Timeline,
    *,
    result: Any,
    now: float,
    children: Callable[[str], "RunRecord | None"],
    order: Callable[[str], float],
    crashes: int,
    waits: tuple[str, ...],
    unused: tuple[str, ...],
) -> RunRecord:
    """A run as its journal tells it, with what only the test's environment knows.

    Args:
        order: of two steps that began at the same moment, which was first: by identity.
    """
    row = told.row
    steps = [_step(step, row.created, now, children) for step in told.steps if step.kind != "timer"]
    steps.sort(key=lambda step: (step.started, order(step.id)))
    took = _rounded((row.ended if row.ended is not None else now) - row.created)
    return RunRecord(
        row.id, row.flow, str(row.status), result, told.error, tuple(steps), row.created, took, crashes, waits, unused
    )


def _step(step: TimelineStep, created: float, now: float, children: Callable[[str], "RunRecord | None"]) -> StepRecord:
    child = None if step.run is None else children(step.run)
    started = step.started if child is None else child.created  # a parent that came back asks for its child anew
    ended = step.ended if step.ended is not None else now
    tried = [attempt.by or step.name for attempt in step.attempts]
    return StepRecord(
        step.id,
        step.name,
        step.status,
        len(step.attempts),
        step.input,
        step.output,
        step.error,
        tuple(attempt.error for attempt in step.attempts if attempt.error is not None),
        step.note.source,
        step.note.rung,
        tuple(dict.fromkeys(tried)),
        _rounded(ended - started),
        _rounded(started - created),
        child,
    )


def _rounded(seconds: float) -> float:
    """A difference of two times of day, without what their own precision adds."""
    return round(seconds, 6)
