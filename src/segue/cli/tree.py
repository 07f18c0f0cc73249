"""The tree of runs and steps, as lines of a terminal."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from rich.text import Text

from segue.cli.look import STATUS_STYLES, symbol
from segue.cli.progress import Fold, Progress, RunLine, StepLine, again_in, told_failure
from segue.cli.text import duration, one_line, shorten

_TIME = 9
"""Columns for a length of time."""


@dataclass(slots=True)
class Line:
    """One line, before it is known how wide the columns are."""

    depth: int
    status: str
    name: str
    took: str
    detail: str = ""
    style: str = "dim"
    branch: str = ""
    settled: bool = False
    """It may be left out, where there is no room for all."""


def draw(progress: Progress, now: float, width: int, height: int | None, stream: TextIO) -> list[Text]:
    """The tree as it stands, in lines of this width; no more of them than ``height``."""
    lines = [line for run in progress.roots() for line in _run_lines(progress, run, 0, now)]
    if height is not None and len(lines) > height:
        lines = _squeezed(lines, height)
    widest = max((2 * line.depth + len(line.name) + len(line.branch) for line in lines), default=0)
    column = max(12, min(widest, width // 2 - _TIME))
    return [_laid_out(line, column, width, stream) for line in lines]


def _squeezed(lines: list[Line], height: int) -> list[Line]:
    """Leave out what went well, oldest first; then what is below the edge."""
    excess = len(lines) - height + 1
    left_out = {id(line) for line in [line for line in lines if line.settled][:excess]}
    kept = [line for line in lines if id(line) not in left_out]
    if left_out:
        kept.insert(1, Line(1, "completed", f"… {len(left_out)} more that went well", "", settled=True))
    if len(kept) > height:
        more = len(kept) - height + 1
        kept = [*kept[: height - 1], Line(0, "running", f"… and {more} lines more", "")]
    return kept


def _laid_out(line: Line, column: int, width: int, stream: TextIO) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("  " * line.depth)
    text.append(f"{symbol(line.status, stream)} ", style=STATUS_STYLES[line.status])
    room = max(4, column - 2 * line.depth - len(line.branch))
    text.append(shorten(line.name, room), style="bold" if line.depth == 0 else "")
    text.append(line.branch, style="dim")
    text.pad_right(max(0, column + 2 - len(text)))
    text.append(f"{line.took:>{_TIME}}", style="cyan" if line.status == "running" else "dim")
    left = width - len(text) - 3
    if line.detail and left > 4:
        text.append("  ")
        text.append(shorten(line.detail, left), style=line.style)
    return text


def _run_lines(progress: Progress, run: RunLine, depth: int, now: float) -> Iterator[Line]:
    detail, style = _state(run, now)
    id = one_line(run.id.rpartition(".")[2] if depth else run.id)
    detail = f"{detail}  {id}" if detail else id
    yield Line(depth, run.status, one_line(run.flow), duration((run.ended or now) - run.started), detail, style)
    yield from _step_lines(progress, run, depth + 1, now)


def _state(run: RunLine, now: float) -> tuple[str, str]:
    """What is to be said of a run beside its steps, and in which colour."""
    if run.failure is not None and not any(step.status == "failed" for step in run.steps.values()):
        return told_failure(run.failure), "red"
    if run.reason:
        return run.reason, "blue"
    if sleep := _sleep(run, now):
        return sleep, "blue"
    return ("carried on" if run.resumed and run.status == "running" else ""), "dim"


def _sleep(run: RunLine, now: float) -> str:
    """A timer that the run waits for, if it waits for nothing else."""
    if (
        not run.timers
        or run.status != "running"
        or any(s.status in ("running", "retrying") for s in run.steps.values())
    ):
        return ""
    return f"sleeps for {duration(min(run.timers.values()) - now)}"


def _step_lines(progress: Progress, run: RunLine, depth: int, now: float) -> Iterator[Line]:
    items: list[tuple[float, StepLine | None, str]] = [(s.started, s, "") for s in run.steps.values()]
    items += [(fold.started, None, name) for name, fold in run.folds.items()]
    for _, step, name in sorted(items, key=lambda item: item[0]):
        if name and not run.folds[name].count:
            continue
        if step is None:
            yield _fold_line(run.folds[name], name, depth)
        elif step.child is not None and step.child in progress.runs:
            yield from _run_lines(progress, progress.runs[step.child], depth, now)
        else:
            yield _step_line(step, depth, now)


def _fold_line(fold: Fold, name: str, depth: int) -> Line:
    detail = f"{fold.count} calls; the longest took {duration(fold.longest)}"
    return Line(depth, "completed", f"{one_line(name)} ×{fold.count}", duration(fold.ended - fold.started), detail)


def _step_line(step: StepLine, depth: int, now: float) -> Line:
    took = duration((step.ended or now) - step.started)
    line = Line(depth, step.status, one_line(step.name), took, step.detail, branch=_branch(step))
    line.settled = step.status == "completed"
    tries = f"{step.attempt} attempts" if step.attempt > 1 else ""
    if step.status == "failed":
        line.detail = told_failure(step.failure) + (f" ({tries})" if tries else "")
        line.style = "red"
    elif step.status == "retrying":
        line.detail, line.style = f"{again_in(step, now)}: {told_failure(step.failure)}", "yellow"
    elif step.status == "asking":
        line.style = "magenta"
    elif step.status == "running" and tries:
        line.detail, line.style = f"attempt {step.attempt}, after {told_failure(step.failure)}", "yellow"
    elif step.status == "completed":
        parts = ["recorded" if step.recorded else "", tries, f"→ {step.detail}" if step.detail else ""]
        line.detail = "  ".join(part for part in parts if part)
        line.style = "yellow" if tries else "dim"
    return line


def _branch(step: StepLine) -> str:
    """What tells this call from others of the same name: which of them it is, in which task of the flow."""
    path, _, rest = step.id.rpartition("/")
    number = rest.partition("#")[2]
    return (f" #{number}" if number else "") + (f" ·{path}" if path else "")
