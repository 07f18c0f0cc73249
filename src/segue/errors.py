"""Every error that Segue raises, in one tree.

    SegueError
    ├── DeclarationError      a step, flow or policy is declared wrongly; raised at import
    │   └── PipelineError     a pipeline's specification is wrong: all its problems together
    ├── UsageError            a call in a place or a form that cannot work
    │   ├── UnawaitedCall     a step or flow was called without await, and the coroutine passed on
    │   ├── NotInFlow         something a flow's body cannot do and replay, such as I/O
    │   ├── InvalidAnswer     what a person answers is not what was asked for
    │   └── CannotRedrive     a run that is not at its end, or has no such step to go on from
    ├── Unstorable            a value that would not come back from the store as it went in
    ├── InvalidResult         a result is not what its step declares
    ├── CheckFailed           a result, or an input, does not pass a check that its step declares
    ├── DeadlineTooClose      an attempt was not begun: less time remains than it needs
    ├── StepFailed            a step ended in failure, its ladder climbed
    │   └── StepTimedOut      … because it ran out of time (also a ``TimeoutError``)
    ├── RunFailed             a run ended in failure
    │   ├── RunTimedOut       … because it ran out of time (also a ``TimeoutError``)
    │   ├── RunCancelled      … because it was cancelled
    │   └── RunExpired        … because it had not begun in time
    ├── Divergence            the code asks for something else than what the run recorded
    ├── Conflict              this id, or event, belongs to a run with another input
    ├── OwnKey                a run calls a run of its own flow and key: each would wait for the other
    ├── UnknownRun            no run has this id
    │   └── UnknownQuestion   no question has this id
    ├── RunEnded              the run has ended: it takes no signal, answer or cancellation any more
    ├── AlreadyDecided        somebody has answered this question before, or nobody needs to any more
    ├── QueueFull             too many runs of this flow wait already
    └── StoreError            the store cannot do it now
        ├── StoreFull         no room left on the disk
        ├── StoreBusy         another process holds the store too long
        └── CorruptRecord     stored bytes are not what was written
    Permanent                 raised by *users*: this failure will not go away, do not retry

Internal signals derive from BaseException, so that a user's ``except Exception`` cannot swallow them.
"""

import builtins
from typing import NamedTuple


class SegueError(Exception):
    """Anything that Segue raises by itself."""


class DeclarationError(SegueError):
    """A step, flow or policy is declared wrongly."""


class PipelineError(DeclarationError):
    """A pipeline's specification is wrong.

    Attributes:
        problems: all of them, each naming its node.
    """

    def __init__(self, pipeline: str, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(f"pipeline {pipeline!r} cannot run:\n" + "\n".join(f"  - {p}" for p in problems))


class UsageError(SegueError):
    """A call in a place or a form that cannot work."""


class UnawaitedCall(UsageError):
    """The result of a step was wanted, its coroutine was passed."""


class NotInFlow(UsageError):
    """Something that a flow's body cannot do and replay."""


class InvalidAnswer(UsageError):
    """What a person answers is not what was asked for. Nothing was decided: answer again."""


class CannotRedrive(UsageError):
    """The run is not at its end, or has no such step to go on from."""


class Unstorable(SegueError):
    """A value that would not come back from the store as it went in.

    Attributes:
        where: what the value belongs to, such as ``"the result of step 'ocr'"``.
        path: to the offending part, as in ``"$.pages[3].box"``.
    """

    mismatch = False
    """It is not what the annotation says: another try may give something else."""

    def __init__(self, where: str, path: str, problem: str) -> None:
        self.where, self.path, self.problem = where, path, problem
        super().__init__(f"{where} cannot be stored: at {path}, {problem}")


class InvalidResult(SegueError):
    """What a step returned is not what it declares: a list for a dict, text that is not JSON.

    Attributes:
        path: to the offending part, as in ``"$.pages[3].box"``.
        problem: what was expected there, and what came.
        raw: what the step returned, as text.
    """

    def __init__(self, where: str, path: str, problem: str, raw: str) -> None:
        self.path, self.problem, self.raw = path, problem, raw
        at = "" if path == "$" else f" at {path}"
        super().__init__(f"{where} is not what it declares:{at} {problem}. It was {shortened(raw)}")


class CheckFailed(SegueError):
    """A result, or an input, does not pass a check that its step declares.

    Attributes:
        check: the check's name.
        reason: why it does not pass.
        raw: the value, as text.
        early: it was an input that did not pass, so another try would not help.
        confidence: what the result says of itself, if it does.
        value: the result; None for an input.
    """

    def __init__(
        self,
        where: str,
        check: str,
        reason: str,
        raw: str = "",
        *,
        early: bool = False,
        confidence: float | None = None,
        value: object = None,
    ) -> None:
        self.check, self.reason, self.raw, self.early = check, reason, raw, early
        self.confidence, self.value = confidence, value
        super().__init__(f"{where} does not pass {check}: {reason}" + (f". It was {shortened(raw)}" if raw else ""))


class DeadlineTooClose(SegueError):
    """An attempt was not begun: less time remains than it needs."""


def shortened(text: str, longest: int = 200) -> str:
    """The text, or its beginning and how long it is.

    >>> shortened("a" * 300, 5)
    'aaaaa… (300 characters)'
    """
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"


class Failure(NamedTuple):
    """An error as it is recorded: text only, so that reading it back runs no code.

    Attributes:
        type: the class's name.
        message: what ``str()`` gave, cut at 16 KiB.
        traceback: the user's part of it, as text.
        kinds: the qualified names of the class and its bases, most special first.
        retry_after: seconds to wait before another try, if the error said so.
        note: what the engine has to add, such as a thread that is still running.
        rung: on which rung of the step's ladder: 0 for the step itself.
        by: that rung's name, where it is not the step itself.
        then: the rung that followed.
        raw: the value that was refused, as text, cut at 64 KiB.
        step: of a run's failure, the identity of the step that it came from, if it came from one.
    """

    type: str
    message: str
    traceback: str = ""
    kinds: tuple[str, ...] = ()
    retry_after: float | None = None
    note: str = ""
    rung: int = 0
    by: str = ""
    then: int = 0
    raw: str = ""
    step: str = ""

    def is_a(self, kind: "builtins.type[BaseException]") -> bool:
        """Whether the recorded error was an instance of this class."""
        return f"{kind.__module__}.{kind.__qualname__}" in self.kinds

    def __str__(self) -> str:
        text = f"{self.type}: {self.message}" if self.message else self.type
        return f"{text} ({self.note})" if self.note else text


class StepFailed(SegueError):
    """A step ended in failure: its retries and fallbacks are spent.

    The same class live and replayed; the step's own exception is not imported back by name. Ask for it with
    ``failed.error.is_a(ValueError)``.

    Attributes:
        step: its identity in the run.
        attempts: how many there were.
        error: what happened in the last one.
    """

    def __init__(self, step: str, attempts: int, error: Failure) -> None:
        self.step, self.attempts, self.error = step, attempts, error
        tries = f" after {attempts} attempts" if attempts > 1 else ""
        last = f", the last on {error.by!r}" if error.by else ""
        super().__init__(f"step {step!r} failed{tries}{last}: {error}")


class StepTimedOut(StepFailed, TimeoutError):
    """A step ran out of time."""


class RunFailed(SegueError):
    """A run ended in failure.

    Attributes:
        run: its id.
        flow: the flow's name.
        error: what happened.
    """

    verb = "failed"
    step = ""
    """In the flow that called it: the child's identity among the steps there."""

    def __init__(self, run: str, flow: str, error: Failure) -> None:
        self.run, self.flow, self.error = run, flow, error
        super().__init__(f"run {run} of {flow!r} {self.verb}: {error}")
        self.add_note(f"See all of it: segue show {run}")


class RunTimedOut(RunFailed, TimeoutError):
    """A run ran out of time."""

    verb = "ran out of time"


class RunCancelled(RunFailed):
    """A run was cancelled."""

    verb = "was cancelled"


class RunExpired(RunFailed):
    """A run did not begin in time: ``@flow(expire=…)``."""

    verb = "expired"


class Divergence(SegueError):
    """The code asks for something else than what the run recorded."""


class Conflict(SegueError):
    """This id belongs to a run with another flow or input."""


class OwnKey(SegueError):
    """A run calls a run of its own flow and key, whose turn would come when it has ended itself."""


class UnknownRun(SegueError):
    """No run has this id."""


class UnknownQuestion(UnknownRun):
    """No question has this id."""


class RunEnded(SegueError):
    """The run has ended: it takes no signal, answer or cancellation any more."""


class AlreadyDecided(SegueError):
    """Somebody has answered this question before, or nobody needs to any more.

    Attributes:
        question: its id.
        by: who answered; None if nobody did.
        at: when it was decided, seconds since the epoch.
    """

    def __init__(self, question: str, why: str, by: str | None, at: float) -> None:
        self.question, self.by, self.at = question, by, at
        super().__init__(f"question {question} {why}")


class QueueFull(SegueError):
    """Too many runs of this flow wait already; nothing was started.

    Attributes:
        flow: its name.
        allowed: how many may wait: the flow's ``max_queued``.
    """

    def __init__(self, flow: str, allowed: int) -> None:
        self.flow, self.allowed = flow, allowed
        super().__init__(
            f"flow {flow!r} takes no more runs now: {allowed:,} wait for a worker, and no more may (max_queued). "
            "Nothing was started: try again later, or start more workers"
        )


class StoreError(SegueError):
    """The store cannot do it now."""


class StoreFull(StoreError):
    """No room left on the disk."""


class StoreBusy(StoreError):
    """Another process holds the store too long."""


class CorruptRecord(StoreError):
    """Stored bytes are not what was written."""


class Permanent(Exception):
    """Raise it, or derive from it, in a step: this failure will not go away, do not retry.

    >>> raise Permanent("card 4242 was reported stolen")
    Traceback (most recent call last):
    segue.errors.Permanent: card 4242 was reported stolen
    """


class Fenced(BaseException):
    """Internal: this worker lost its lease and writes nothing more."""
