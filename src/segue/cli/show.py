"""``segue show``: what happened in a run."""

from typing import TYPE_CHECKING, Any

import click

from segue.cli.options import json_output, with_store

if TYPE_CHECKING:
    from segue.cli.lines import Console, Text
    from segue.inspection import AttemptRecord, RunRecord, StepRecord
    from segue.runtime.notes import Note


@click.command(short_help="Show what happened in a run, as a timeline.")
@click.argument("run")
@click.option("--input", "inputs", is_flag=True, help="Show what each step was given.")
@click.option("--output", "outputs", is_flag=True, help="Show what each step returned.")
@click.option("--full", is_flag=True, help="Show inputs, outputs and tracebacks, uncut.")
@click.option("--step", metavar="NAME", help="Show only the steps of this name or id, with input and output.")
@json_output
@with_store
def show(run: str, inputs: bool, outputs: bool, full: bool, step: str | None, as_json: bool, store: str | None) -> None:
    """Show a run: its steps in time, with every attempt.

    RUN is an id, at least four characters of its beginning or end, or the word last.
    """
    from segue.cli.archive import at_once

    record, now, where = at_once(_load(run, store, whole=as_json or full or inputs or outputs or step is not None))
    if step is not None:
        record = _only(record, step)
    if as_json:
        from segue.cli.text import as_text
        from segue.inspection import as_data

        click.echo(as_text(as_data(record)))
        return
    _Page(record, now, inputs or full or step is not None, outputs or full or step is not None, full, where).print()


async def _load(run: str, url: str | None, *, whole: bool) -> "tuple[RunRecord, float, str]":
    from segue.cli.archive import archive

    async with archive(url) as store:
        row = await store.row(run)
        record = await store.record(row.id, whole=whole)
        orphan = row.id in await store.orphans()
        return record, store.now(), "its worker died; to go on: segue resume" if orphan else ""


def _only(record: "RunRecord", wanted: str) -> "RunRecord":
    from dataclasses import replace

    from segue.errors import UsageError

    steps = tuple(step for step in record.steps if wanted in (step.name, step.id, step.run))
    if not steps:
        names = list(dict.fromkeys(step.name for step in record.steps))
        there = f"its steps are {', '.join(names[:20])}{' …' * (len(names) > 20)}" if names else "it has no steps yet"
        raise UsageError(f"run {record.id} has no step {wanted!r}; {there}")
    return replace(record, steps=steps)


def _said(note: "Note") -> str:
    """What there is to say of a result."""
    from segue.cli.text import duration

    facts = [
        note.said,
        f"the value is {_SOURCES.get(note.source, note.source)}{f': {note.by}' if note.by else ''}"
        if note.source != "model"
        else "",
        f"{duration(note.age)} old" if note.age is not None else "",
        f"confidence {note.confidence:.3g}" if note.confidence is not None else "",
        f"read in spite of {' and '.join(note.lenient)}" if note.lenient else "",
        f"{note.requests} requests" if note.requests > 1 else "",
    ]
    return ", ".join(fact for fact in facts if fact)


_SOURCES = {"cached": "an earlier one", "fallback": "a fallback", "human": "a person's", "degraded": "the degraded one"}


_UNDO = {
    "undone": "its effect was undone",
    "not undone": "its effect was NOT undone",
    "unknown": "its effect is unknown: it gave no result, but may have done something",
}


class _Page:
    """One run on a terminal.

    Args:
        inputs, outputs: show the values of steps.
        full: cut nothing.
        trouble: what is wrong with the run as a whole.
    """

    def __init__(self, record: "RunRecord", now: float, inputs: bool, outputs: bool, full: bool, trouble: str) -> None:
        from segue.cli.lines import out

        self.record, self.now, self.inputs, self.outputs, self.full = record, now, inputs, outputs, full
        self.trouble = trouble
        self.console: Console = out()
        row = record.row
        self.began = max(row.started or row.created, row.created)  # a fork's past began before it did
        times = [attempt.ended or now for step in record.steps for attempt in step.attempts]
        self.ended = row.ended or max([self.began, *times])
        self.span = max(self.ended - self.began, 1e-6)

    def print(self) -> None:
        """The run, its steps as bars, its result or failure."""
        self._head()
        if self.record.steps:
            self.console.print()
            self._steps()
        self._tail()

    # The run as a whole

    def _head(self) -> None:
        from segue.cli.lines import Text
        from segue.cli.look import STATUS_STYLES, symbol
        from segue.cli.text import clock, duration, one_line
        from segue.inspection import reason_of, until_of

        row = self.record.row
        title = Text(f"{symbol(row.status)} ", style=STATUS_STYLES[row.status])
        title.append(one_line(row.flow), style="bold")
        title.append(f"  {one_line(row.id)}", style="dim")
        self.console.print(title)
        took = f" in {duration((row.ended or self.now) - self.began)}" if row.ended else ""
        degraded = f", degraded by {row.fallbacks} fallback{'s' * (row.fallbacks > 1)}" if row.fallbacks else ""
        line = Text(f"  {row.status}{took}{degraded}", style=STATUS_STYLES[row.status])
        reason = self.trouble or reason_of(row, self.now)
        facts = [
            reason or "",
            f"until {clock(until)}" if (until := until_of(row)) is not None else "",
            f"started {clock(self.began)}" if row.started else f"created {clock(row.created)}",
            f"version {row.version}" if row.version else "",
            f"child of {row.parent}" if row.parent else "",
            f"by {row.worker}" if row.worker else "",
        ]
        line.append("".join(f"  {one_line(fact)}" for fact in facts if fact), style="dim")
        self.console.print(line)
        for takeover in self.record.takeovers:
            self.console.print(
                Text(f"  taken over {clock(takeover.time)} by {one_line(takeover.worker)}", style="yellow")
            )
        for one in self.record.interventions:
            who = f"{one_line(one.by)} " if one.by else ""
            self.console.print(Text(f"  {clock(one.time)} {who}{one_line(one.said)}", style="yellow"))
            if one.data is not None and (self.inputs or self.full):
                self._value(one.kind, one.data, 4)
        if row.status == "failed" and row.reason:
            self.console.print(Text(f"  {one_line(row.reason)}", style="yellow"))
        if self.inputs or self.full:
            self._value("input", self.record.input, 2)

    def _tail(self) -> None:
        from segue.cli.lines import Text
        from segue.cli.text import visible

        error = self.record.error
        if error is not None:
            self.console.print()
            self.console.print(Text(visible(str(error)), style="red"))
            if error.traceback and (self.full or not self._failed_steps()):
                self.console.print(Text(visible(error.traceback.rstrip()), style="dim"))
        elif self.record.status == "completed" and (self.outputs or self.full):
            self.console.print()
            self._value("result", self.record.result, 0)

    def _failed_steps(self) -> bool:
        return any(step.status == "failed" for step in self.record.steps)

    # Steps

    def _steps(self) -> None:
        widths = [len(self._name(step)) for step in self.record.steps]
        name = max(8, min(max(widths), self.console.width // 3))
        bar = max(10, min(60, self.console.width - name - 16))
        for step in self.record.steps:
            self._step(step, name, bar)

    def _name(self, step: "StepRecord") -> str:
        from segue.cli.text import one_line

        if step.kind == "timer":
            return "timer"
        if step.undoes is not None:
            return one_line(f"undo {step.undoes}: {step.name}")
        path, _, rest = step.id.rpartition("/")
        number = rest.partition("#")[2]
        return one_line(step.name) + (f" #{number}" if number else "") + (f" ·{path}" if path else "")

    def _step(self, step: "StepRecord", name: int, bar: int) -> None:
        from segue.cli.lines import Text
        from segue.cli.look import STATUS_STYLES, symbol
        from segue.cli.text import duration, shorten

        line = Text()
        line.append(f"{symbol(step.status)} ", style=STATUS_STYLES[step.status])
        line.append(f"{shorten(self._name(step), name):<{name}}  ", style="dim" if step.kind == "timer" else "")
        line.append_text(self._bar(step, bar))
        if step.kind != "timer":
            took = duration((step.ended or self.now) - step.started)
            line.append(f" {took:>9}", style="dim")
        self.console.print(line)
        if step.run is not None:
            self._note(f"a run of its own: segue show {step.run.rpartition('.')[2]}", "dim")
        if step.kind != "timer" and (len(step.attempts) > 1 or step.error is not None):
            last = step.attempts[-1] if step.attempts else None
            for attempt in step.attempts:
                self._attempt(attempt, last=attempt is last)
            if step.error is not None and last is not None and step.error is not last.error:
                self._note(str(step.error), "red")
        for question in step.asked[-1:] if step.status == "asking" else ():
            self._note(f"a person is asked: segue inbox show {question}", "magenta")
        if step.edited:
            self._note("with an input that a person has edited", "yellow")
        if step.undo is not None:
            self._note(_UNDO[step.undo], "green" if step.undo == "undone" else "red")
        if said := _said(step.note):
            self._note(said, "yellow" if step.note.source != "model" or step.note.said else "dim")
        if self.inputs and step.input is not None:
            self._value("input", step.input, 4)
        if self.outputs and step.status == "completed" and step.kind != "timer":
            self._value("output", step.output, 4)

    def _bar(self, step: "StepRecord", width: int) -> "Text":
        """Each attempt where it lies in the run's time; pauses between them as dots."""
        from segue.cli.lines import Text
        from segue.cli.look import STATUS_STYLES, in_unicode

        solid, pause, edge = ("█", "┈", "▏") if in_unicode(self.console.file) else ("#", ".", "|")  # pyright: ignore
        cells: list[tuple[str, str]] = [(" ", "")] * width
        previous: int | None = None
        for attempt in step.attempts:
            first = self._column(attempt.started, width)
            last = self._column(attempt.ended if attempt.ended is not None else self.now, width)
            if previous is not None:
                for column in range(previous + 1, first):
                    cells[column] = (pause, "dim")
            mark = edge if step.kind == "timer" else solid
            for column in range(first, last + 1):
                cells[column] = (mark, STATUS_STYLES[attempt.status].removeprefix("bold "))
            previous = last
        bar = Text()
        for text, style in cells:
            bar.append(text, style=style)
        return bar

    def _column(self, time: float, width: int) -> int:
        share = (time - self.began) / self.span
        return max(0, min(width - 1, int(share * width)))

    def _attempt(self, attempt: "AttemptRecord", *, last: bool) -> None:
        from segue.cli.look import STATUS_STYLES, symbol
        from segue.cli.text import clock, duration, one_line

        took = f" after {duration(attempt.ended - attempt.started)}" if attempt.ended is not None else ""
        by = f" ({one_line(attempt.by)})" if attempt.by else ""
        what = f"attempt {attempt.number}{by}  {clock(attempt.started)}  {attempt.status}{took}"
        if attempt.status == "lost":
            what += ": its worker died"
        why = f"  {attempt.error}" if attempt.error is not None else ""
        self._note(f"{symbol(attempt.status)} {what}{why}", STATUS_STYLES[attempt.status].removeprefix("bold "))
        trace = attempt.error.traceback if attempt.error is not None else ""
        if trace and (self.full or (last and not self.inputs and not self.outputs)):
            self._block(trace.rstrip(), 6)

    def _note(self, text: str, style: str) -> None:
        from segue.cli.lines import Text
        from segue.cli.text import one_line, shorten

        shown = one_line(text) if self.full else shorten(one_line(text), 3 * self.console.width)
        self.console.print(Text(shown, style=style), indent=4)

    def _block(self, text: str, indent: int) -> None:
        from segue.cli.lines import Text
        from segue.cli.text import visible

        lines = visible(text).split("\n")
        if not self.full and len(lines) > 12:
            lines = [*lines[:2], f"… {len(lines) - 11} lines more: --full", *lines[-9:]]
        for line in lines:
            self.console.print(Text(f"{' ' * indent}{line}", style="dim"))

    def _value(self, what: str, value: Any, indent: int) -> None:
        """A value as JSON; a long one is cut, unless all is wanted."""
        from segue.cli.lines import Text
        from segue.cli.text import as_text

        text = as_text(value)
        room = self.console.width - indent - len(what) - 3
        if len(text) > room:
            text = as_text(value, 2)
        lines = text.split("\n")
        if not self.full and len(lines) > 40:
            lines = [*lines[:38], f"… {len(lines) - 38} lines more: --full"]
        if not self.full:
            lines = [
                line if len(line) < 2000 else f"{line[:2000]}… ({len(line):,} characters: --full)" for line in lines
            ]
        first, *rest = lines
        head = Text(f"{' ' * indent}{what}  ", style="cyan")
        head.append(first, style="default")
        self.console.print(head)
        for line in rest:
            self.console.print(Text(f"{' ' * (indent + len(what) + 2)}{line}"))
