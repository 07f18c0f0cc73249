"""``segue diff``: where two runs part, and all that differs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from segue.cli.options import json_output, with_store

if TYPE_CHECKING:
    from rich.console import Console

    from segue.comparison import Comparison, Fact, Part, Parts, StepChange
    from segue.inspection import RunRecord

WIDE = 60
"""Characters of a value that are shown of each side."""

LINES = 20
"""Lines that are shown of how two texts differ."""

LONGEST = 100_000
"""Texts longer than this are not compared line by line: that would take long."""


@click.command(short_help="Compare two runs: where they part, and all that differs.")
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@click.option("--full", is_flag=True, help="Show every differing part, uncut.")
@json_output
@with_store
def diff(first: str, second: str, full: bool, as_json: bool, store: str | None) -> int:
    """Compare two runs: where they part first, then each step that differs. Timings do not count.

    RUN is an id, at least four characters of its beginning or end, or the word last.

    \b
    Exit codes: 0 they are the same, 1 they differ, 2 wrong use.
    """
    import asyncio

    from segue.comparison import MOST, compare

    found = compare(*asyncio.run(_load(first, second, store)), most=None if full else MOST)
    if as_json:
        from segue.cli.text import as_text
        from segue.comparison import as_data

        click.echo(as_text(as_data(found)))
    else:
        _Page(found, full).print()
    return 0 if found.same else 1


async def _load(first: str, second: str, url: str | None) -> "tuple[RunRecord, RunRecord]":
    from segue.cli.archive import archive

    async with archive(url) as store:
        rows = [await store.row(run) for run in (first, second)]
        one, other = [await store.record(row.id, whole=True) for row in rows]
        return one, other


class _Page:
    """The comparison on a terminal.

    Args:
        full: cut nothing.
    """

    def __init__(self, found: "Comparison", full: bool) -> None:
        from segue.cli.look import out

        self.found, self.full = found, full
        self.console: Console = out()

    def print(self) -> None:
        """Both runs, where they part, then all that differs."""
        found = self.found
        self._run("first ", found.first)
        self._run("second", found.second)
        self._changed_code()
        if found.same:
            steps = sum(step.kind != "timer" for step in found.first.steps)
            self._line("", f"the same: input, {steps} step{'s' * (steps != 1)}, end", style="green")
            return
        if (parted := found.parted) is not None:
            self._line("", f"they part at {self._where(parted)}", style="bold yellow")
        if found.input.total:
            self._line("", "input of the run", style="bold")
            self._parts("", found.input)
        for step in found.steps:
            self._step(step)
        if found.result.total or found.facts:
            self._line("", "end of the run", style="bold")
            for fact in found.facts:
                self._fact(fact)
            self._parts("result", found.result)

    def _run(self, which: str, record: "RunRecord") -> None:
        from rich.text import Text

        from segue.cli.look import STATUS_STYLES, symbol
        from segue.cli.text import one_line

        row = record.row
        line = Text(f"{which}  ", style="dim")
        line.append(f"{symbol(row.status)} {row.status:<9}", style=STATUS_STYLES[row.status])
        line.append(f"  {one_line(row.flow)}", style="bold not dim")
        self.console.print(line.append(f"  {one_line(row.id)}"), soft_wrap=True)

    def _changed_code(self) -> None:
        first, second = self.found.first.row, self.found.second.row
        if first.flow != second.flow:
            self._line("", "they are runs of two flows; their steps are compared by name", style="yellow")
        elif first.version != second.version:
            self._line("", f"the flow's version changed between them: {first.version!r} -> {second.version!r}")
        elif first.code != second.code:
            self._line("", "the flow's code changed between them")

    def _where(self, step: "StepChange") -> str:
        name = repr(step.id)
        if step.only is not None:
            return f"step {name}: only the {step.only} run has it"
        for what, parts in (("input", step.input), ("output", step.output)):
            if parts.total:
                return f"step {name}: {what} at {self._part(parts.shown[0], WIDE)}"
        fact = next(fact for fact in step.facts if fact.what in ("status", "error", "kind"))
        return f"step {name}: {fact.what} {_bare(fact.first, WIDE)} -> {_bare(fact.second, WIDE)}"

    def _step(self, step: "StepChange") -> None:
        other = f" (in the second run {step.other!r})" if step.other is not None else ""
        alone = f"  only in the {step.only} run" if step.only is not None else ""
        self._line("", f"step {step.id!r}{other}{alone}", style="bold")
        self._parts("input", step.input)
        self._parts("output", step.output)
        for fact in step.facts:
            self._fact(fact)
        if step.runs is not None:
            self._line("  ", f"runs of their own: segue diff {' '.join(step.runs)}", style="dim")

    def _fact(self, fact: "Fact") -> None:
        room = None if self.full else 4 * WIDE if fact.what in ("error", "failures") else WIDE
        self._line("  ", f"{fact.what}: {_bare(fact.first, room)} -> {_bare(fact.second, room)}")

    # Values

    def _parts(self, what: str, parts: "Parts") -> None:
        for part in parts.shown:
            self._line("  ", f"{what} {self._part(part, None if self.full else WIDE)}".lstrip())
            for line in self._text(part):
                self._line("      ", line, style={"+": "green", "-": "red"}.get(line[:1], "dim"))
        if more := parts.total - len(parts.shown):
            self._line("  ", f"{what} differs in {more:,} more parts: --full".lstrip(), style="dim")

    def _part(self, part: "Part", room: int | None) -> str:
        if part.only is not None:
            value = part.first if part.only == "first" else part.second
            return f"{part.path}: only in the {part.only} run: {_value(value, room)}"
        return f"{part.path}: {self._sides(part.first, part.second, room)}"

    def _sides(self, first: Any, second: Any, room: int | None) -> str:
        if isinstance(first, str) and isinstance(second, str) and room is not None:
            start = _parting(first, second)
            return f"{_excerpt(first, start, room)} -> {_excerpt(second, start, room)}"
        return f"{_value(first, room)} -> {_value(second, room)}"

    def _text(self, part: "Part") -> Iterator[str]:
        """How two texts of several lines differ."""
        first, second = part.first, part.second
        if not (isinstance(first, str) and isinstance(second, str) and ("\n" in first or "\n" in second)):
            return
        if len(first) + len(second) > LONGEST:
            return
        from difflib import unified_diff

        lines = list(unified_diff(first.splitlines(), second.splitlines(), n=1, lineterm=""))[2:]
        shown = lines if self.full else lines[:LINES]
        yield from shown
        if len(lines) > len(shown):
            yield f"… {len(lines) - len(shown)} lines more: --full"

    def _line(self, indent: str, text: str, style: str = "") -> None:
        from rich.text import Text

        from segue.cli.text import one_line

        self.console.print(Text(f"{indent}{one_line(text)}", style=style), soft_wrap=True)


def _value(value: Any, room: int | None) -> str:
    """A value as JSON, cut to so many characters."""
    from segue.cli.text import as_text, shorten

    text = as_text(value)
    return text if room is None else shorten(text, room)


def _bare(value: Any, room: int | None) -> str:
    """What is known of a step: words as they are, all else as JSON."""
    from segue.cli.text import shorten

    if value is None or value in ("", (), []):
        return "none"
    if isinstance(value, str):
        return value if room is None else shorten(value, room)
    return _value(value, room)


def _parting(first: str, second: str) -> int:
    """Where two texts begin to differ."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))


def _excerpt(text: str, place: int, room: int) -> str:
    """So many characters of a text around a place, as JSON.

    >>> _excerpt("the income is 100 a month", 14, 12)
    '…"me is 100 a "…'
    """
    start = max(0, min(place - room // 2, len(text) - room))
    cut = text[start : start + room]
    return f"{'…' * (start > 0)}{_value(cut, None)}{'…' * (start + room < len(text))}"
