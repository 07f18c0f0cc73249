"""The two ways to watch runs: a live tree in a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from segue.cli.progress import Progress, StepLine, again_in, told_failure
from segue.cli.text import clock, duration, one_line, say
from segue.core.lifecycle import Status
from segue.runtime.engine import Told

if TYPE_CHECKING:
    from rich.live import Live

    from segue.errors import Failure

PACE = 0.08
"""Seconds between two pictures."""


class View(Protocol):
    """Shows what the engine tells."""

    progress: Progress

    def __call__(self, told: Told) -> None:
        """Something happened."""
        ...

    def start(self) -> None:
        """Take the terminal."""
        ...

    def refresh(self) -> None:
        """Time has passed."""
        ...

    def stop(self) -> None:
        """Leave the final picture, and the terminal as it was."""
        ...


class LiveView:
    """A tree that is drawn again and again, and left as it is at the end."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.progress = Progress()
        self._now = now
        self._live: Live | None = None
        self._stream = sys.stderr

    def __call__(self, told: Told) -> None:
        self.progress(told)

    def start(self) -> None:
        from rich.live import Live

        from segue.cli.look import err

        self._live = Live(console=err(), auto_refresh=False, transient=True, vertical_overflow="crop")
        self._live.start()

    def refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._picture(full=False), refresh=True)

    def stop(self) -> None:
        if self._live is None:
            return
        live, self._live = self._live, None
        console = live.console
        live.update("", refresh=True)
        live.stop()
        self._stream = sys.stderr
        console.print(self._drawn(console.width, None))

    def _picture(self, *, full: bool) -> Any:
        assert self._live is not None
        console = self._live.console
        return self._drawn(console.width, None if full else max(4, console.height - 2))

    def _drawn(self, width: int, height: int | None) -> Any:
        from rich.console import Group

        from segue.cli.tree import draw

        return Group(*draw(self.progress, self._now(), width, height, self._stream))


class LineView:
    """A line for each thing that happened.

    Args:
        steps: tell of steps that went well, too.
    """

    def __init__(self, *, steps: bool = True) -> None:
        self.progress = Progress()
        self._steps = steps

    def __call__(self, told: Told) -> None:
        self.progress(told)
        tell = getattr(self, f"_on_{told.what}", None)
        if tell is not None and (line := tell(told, **told.data)):
            say(one_line(f"{clock(told.time)}  {line}"))
        if told.what == "end" and told.run in self.progress.runs and self.progress.runs[told.run].parent is None:
            self.progress.forget(told.run)

    def start(self) -> None: ...

    def refresh(self) -> None: ...

    def stop(self) -> None: ...

    def _on_run(self, told: Told, **_: Any) -> str:
        run = self.progress.runs[told.run]
        how = f"carried on, {run.done} step{'s' * (run.done != 1)} recorded" if run.resumed else "started"
        return f"{told.flow}  run {told.run} {how}"

    def _on_step(self, told: Told, *, step: str, **_: Any) -> str:
        run = self.progress.runs.get(told.run)
        line = run.steps.get(step) if run is not None else None
        if line is None:  # one of many, folded away
            return f"{told.flow}  {step}  completed" if self._steps else ""
        if line.status == "completed" and not self._steps:
            return ""
        return f"{told.flow}  {step}  {_ended(line)}"

    def _on_retry(self, told: Told, *, step: str, on_to: str = "", **_: Any) -> str:
        line = self.progress.runs[told.run].steps[step]
        what = f"attempt {line.attempt} failed, {f'on to {on_to}' if on_to else again_in(line, told.time)}"
        return f"{told.flow}  {step}  {what}: {told_failure(line.failure)}"

    def _on_asked(self, told: Told, *, step: str, text: str, assignee: str | None, question: str, **_: Any) -> str:
        return f"{told.flow}  {step}  asks {assignee or 'a person'}: {text}  (segue inbox answer {question})"

    def _on_reminded(self, told: Told, *, step: str, text: str, assignee: str | None, question: str, **_: Any) -> str:
        return f"{told.flow}  {step}  still asks {assignee or 'a person'}: {text}  (segue inbox answer {question})"

    def _on_park(self, told: Told, *, reason: str, due: float | None, **_: Any) -> str:
        until = f", until {clock(due)}" if due is not None and "to answer question" not in reason else ""
        return f"{told.flow}  run {told.run} {reason}{until}"

    def _on_left(self, told: Told, **_: Any) -> str:
        return f"{told.flow}  run {told.run} goes on at another worker"

    def _on_end(self, told: Told, *, status: Status, **_: Any) -> str:
        run = self.progress.runs.get(told.run)
        failure: Failure | None = run.failure if run is not None else None
        took = f" after {duration(told.time - run.started)}" if run is not None else ""
        why = f": {told_failure(failure)}" if failure is not None else ""
        return f"{told.flow}  run {told.run} {status}{took}{why}"


def _ended(line: StepLine) -> str:
    took = duration((line.ended or line.started) - line.started)
    tries = f", {line.attempt} attempts" if line.attempt > 1 else ""
    why = f": {told_failure(line.failure)}" if line.status == "failed" else ""
    return f"{line.status} after {took}{tries}{why}"


class SilentView(LineView):
    """Nothing but a memory."""

    def __call__(self, told: Told) -> None:
        self.progress(told)


def view_for(*, quiet: bool) -> View:
    """The view that suits where stderr goes."""
    if quiet:
        return SilentView()
    return LiveView() if sys.stderr.isatty() else LineView()
