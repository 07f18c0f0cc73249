"""``segue replay``: today's code of a flow against what its runs recorded. Runs nothing, and writes nothing."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from segue.cli.options import json_output, with_store
from segue.cli.runs import STATUSES

if TYPE_CHECKING:
    from rich.console import Console

    from segue.cli.archive import Archive
    from segue.runtime.rehearsal import Difference, Rehearsal
    from segue.runtime.spec import FlowSpec
    from segue.stores.base import Query, Row

PATIENT = 3
"""So many runs of one flow whose code does not settle are waited for; the others would take as long."""

SHOWN = 5
"""Differences of a run, and differing parts of a value, that are shown."""

GROUPS = 20
"""Ways to diverge that are shown."""


@click.command(short_help="See whether runs would replay with today's code. Runs nothing.")
@click.argument("words", nargs=-1, metavar="[RUN] [TARGET]...")
@click.option("--flow", metavar="NAME", help="Instead of a RUN: the last runs of this flow.")
@click.option("--last", metavar="NUMBER", type=click.IntRange(1), help="Instead of a RUN: so many, the newest. [100]")
@click.option("--status", multiple=True, type=click.Choice(STATUSES), help="Of these only those that stand so.")
@click.option("--full", is_flag=True, help="Show every run that diverges, and all differences, uncut.")
@json_output
@with_store
def replay(
    words: tuple[str, ...],
    flow: str | None,
    last: int | None,
    status: tuple[str, ...],
    full: bool,
    as_json: bool,
    store: str | None,
) -> int:
    """Put today's code of flows to all that their runs recorded, and see whether it would still do the same.

    RUN is an id, at least four characters of its beginning or end, or the word last. TARGET is a module, a file, a
    pipeline or a folder; without one, the flows that segue.toml, or [tool.segue] in pyproject.toml, lists here. No step
    runs, no child run starts, nothing is written.

    \b
    Exit codes: 0 all would replay, 1 some would not, 2 wrong use.
    """
    import asyncio

    from segue.cli.session import stdin_closed, stdout_kept
    from segue.loading import find_flows

    one = flow is None and last is None and not status
    if one and not words:
        raise click.UsageError("name a RUN, or say which runs with --flow, --last or --status")
    if one and len(words) == 1 and (words[0].endswith((".py", ".yaml", ".yml", ".json")) or "/" in words[0]):
        raise click.UsageError(f"{words[0]} is a TARGET; name a RUN before it, or say which runs with --last or --flow")
    with stdout_kept():
        targets = words[1:] if one else words
        specs = {found.name: found.spec for found in find_flows(targets)}
        stdin_closed()
        wanted = words[0] if one else _query(flow, last or 100, status, specs)
        tried = asyncio.run(_rehearse(wanted, specs, store))
    if as_json:
        from segue.cli.text import as_text

        click.echo(as_text(as_data(tried)))
    else:
        _Page(tried, full, one).print()
    return 0 if all(rehearsal.same for rehearsal in tried.rehearsals) else 1


class Tried(NamedTuple):
    """What came of all that was rehearsed.

    Attributes:
        unknown: how many runs are of flows whose code is not here, by flow.
        left: how many were left out, since their flow's code does not settle, by flow.
    """

    rehearsals: "list[Rehearsal]"
    unknown: dict[str, int]
    left: dict[str, int]


def _query(flow: str | None, last: int, status: tuple[str, ...], specs: "Mapping[str, FlowSpec]") -> "Query":
    from segue.core.lifecycle import Status
    from segue.errors import UsageError
    from segue.stores.base import Query

    if flow is not None and flow not in specs:
        raise UsageError(f"flow {flow!r} is in none of these targets; they have {_names(specs)}")
    return Query(flow=flow, status=tuple(Status(one) for one in status), limit=last)


def _names(specs: "Mapping[str, FlowSpec]") -> str:
    return ", ".join(sorted(specs)[:10]) + (", …" if len(specs) > 10 else "")


# Rehearsing


async def _rehearse(wanted: "str | Query", specs: "Mapping[str, FlowSpec]", url: str | None) -> Tried:
    from segue.cli.archive import archive
    from segue.errors import UsageError

    async with archive(url) as store:
        if isinstance(wanted, str):
            row = await store.row(wanted)
            if row.flow not in specs:
                raise UsageError(
                    f"run {row.id} is of flow {row.flow!r}, whose code is in none of these targets; "
                    f"they have {_names(specs)}"
                )
            return Tried([await _one(store, row, specs[row.flow])], {}, {})
        rows = await store.store.find(wanted)
        with _shown(len(rows)) as tell:
            return await _all(store, rows, specs, tell)


async def _all(
    store: "Archive", rows: "Sequence[Row]", specs: "Mapping[str, FlowSpec]", tell: Callable[[int], None]
) -> Tried:
    import asyncio

    tried, stuck = Tried([], {}, {}), dict[str, int]()
    for number, row in enumerate(rows, 1):
        spec = specs.get(row.flow)
        if spec is None:
            tried.unknown[row.flow] = tried.unknown.get(row.flow, 0) + 1
        elif stuck.get(row.flow, 0) >= PATIENT:
            tried.left[row.flow] = tried.left.get(row.flow, 0) + 1
        else:
            rehearsal = await _one(store, row, spec)
            tried.rehearsals.append(rehearsal)
            if any(found.what == "unsettled" for found in rehearsal.differences):
                stuck[row.flow] = stuck.get(row.flow, 0) + 1
        tell(number)
        await asyncio.sleep(0)  # where Ctrl-C gets through
    return tried


async def _one(store: "Archive", row: "Row", spec: "FlowSpec") -> "Rehearsal":
    from segue.cli.archive import artifacts_of
    from segue.errors import CorruptRecord
    from segue.runtime.rehearsal import rehearse, unreadable
    from segue.stores.sqlite import SqliteStore

    assert isinstance(store.store, SqliteStore)
    try:
        row, entries = await store.load(row.id)
    except CorruptRecord as error:
        return unreadable(row, error)
    return rehearse(spec, row, entries, artifacts_of(store.store))


@contextmanager
def _shown(runs: int) -> Generator[Callable[[int], None], None, None]:
    """Somebody to tell how far it is: on a terminal a line that says so."""
    import sys

    if runs < 2 or not sys.stderr.isatty():
        yield lambda _: None
        return
    from segue.cli.look import err

    with err().status(f"replaying {runs:,} runs …") as status:
        yield lambda number: status.update(f"{number:,} of {runs:,} runs …")


# For programs


def as_data(tried: Tried) -> dict[str, Any]:
    """All verdicts as plain data: what ``--json`` prints."""
    same = sum(rehearsal.same for rehearsal in tried.rehearsals)
    return {
        "same": same,
        "diverge": len(tried.rehearsals) - same,
        "unknown": tried.unknown,
        "left_out": tried.left,
        "runs": [_run_data(rehearsal) for rehearsal in tried.rehearsals],
    }


def _run_data(rehearsal: "Rehearsal") -> dict[str, Any]:
    return {
        "id": rehearsal.run,
        "flow": rehearsal.flow,
        "status": str(rehearsal.status),
        "verdict": "same" if rehearsal.same else "diverges",
        "code_changed": rehearsal.changed,
        "outcomes": rehearsal.outcomes,
        "met": rehearsal.met,
        "differences": [found._asdict() for found in rehearsal.differences],
        "next": list(rehearsal.next),
    }


# For a person


class _Page:
    """All verdicts on a terminal: those alike together.

    Args:
        full: cut nothing, and put nothing together.
        one: a single run was asked for.
    """

    def __init__(self, tried: Tried, full: bool, one: bool) -> None:
        from segue.cli.look import out

        self.tried, self.full, self.one = tried, full, one
        self.console: Console = out()

    def print(self) -> None:
        """What diverges and where, then the sum."""
        groups = self._groups()
        for group in groups if self.full else groups[:GROUPS]:
            self._group(group)
        if not self.full and len(groups) > GROUPS:
            self._line("", f"… and {len(groups) - GROUPS} other ways to diverge: --full", "dim")
        self._sum()

    def _groups(self) -> "list[list[Rehearsal]]":
        """The runs that diverge, those together that do so at one place."""
        groups: dict[object, list[Rehearsal]] = {}
        for rehearsal in self.tried.rehearsals:
            if not rehearsal.same:
                first = rehearsal.differences[0]
                key = rehearsal.run if self.full else (rehearsal.flow, first.what, first.step)
                groups.setdefault(key, []).append(rehearsal)
        return sorted(groups.values(), key=len, reverse=True)

    def _group(self, group: "list[Rehearsal]") -> None:
        first, *others = group
        self._head("✗", "x", first, "bold red", "diverges")
        if others:
            ids = ", ".join(rehearsal.run for rehearsal in others[:3]) + (", …" if len(others) > 3 else "")
            self._line("    ", f"so do {len(others):,} more: {ids}", "dim")
        shown = first.differences if self.full else first.differences[:SHOWN]
        for found in shown:
            self._difference(found)
        if len(first.differences) > len(shown):
            self._line("    ", f"… and {len(first.differences) - len(shown):,} more differences: --full", "dim")
        if not first.changed and first.differences[0].what not in ("unreadable", "unsettled"):
            self._line("    ", "the flow's own source is as it was: look at what it calls, or reads", "dim")

    def _head(self, mark: str, plain: str, rehearsal: "Rehearsal", style: str, said: str) -> None:
        from rich.text import Text

        from segue.cli.look import in_unicode
        from segue.cli.text import one_line

        line = Text(f"{mark if in_unicode(self.console.file) else plain} ", style=style)  # pyright: ignore[reportArgumentType]
        line.append(one_line(rehearsal.flow), style="bold not red not green")
        line.append(f"  {one_line(rehearsal.run)}", style="default not bold")
        line.append(f"  {said}")
        line.append(f"  {rehearsal.status}, {rehearsal.met} of {rehearsal.outcomes} outcomes met", style="dim not bold")
        self.console.print(line, soft_wrap=True)

    def _difference(self, found: "Difference") -> None:
        self._line("    ", found.said)
        for line in self._details(found):
            self._line("        ", line, "dim")

    def _details(self, found: "Difference") -> Iterator[str]:
        from segue.cli.text import as_text, shorten
        from segue.comparison import differing

        if found.what in ("input", "again", "result"):
            parts = differing(found.recorded, found.today, most=None if self.full else SHOWN)
            for part in parts.shown:
                sides = [as_text(side) for side in (part.first, part.second)]
                sides = sides if self.full else [shorten(side, 60) for side in sides]
                only = {"first": f"only recorded: {sides[0]}", "second": f"only now: {sides[1]}"}
                yield f"{part.path}: {only[part.only] if part.only is not None else ' -> '.join(sides)}"
            if parts.total > len(parts.shown):
                yield f"… and {parts.total - len(parts.shown):,} more parts: --full"
        elif found.what == "end" and found.today is not None:
            lines = found.today["traceback"].rstrip().splitlines()
            yield from lines if self.full else lines[-6:]

    def _sum(self) -> None:
        runs = self.tried.rehearsals
        same = sum(rehearsal.same for rehearsal in runs)
        if self.one and same:
            self._head("✓", "+", runs[0], "green", "would replay")
            for name in runs[0].next:
                self._line("    ", f"next: {name}", "dim")
        elif not self.one:
            said = f"{same:,} of {len(runs):,} runs would replay" if runs else "no run was replayed"
            self._line("", said, "green" if same == len(runs) else "bold red")
        for why, counts in (("its code is in none of the targets", self.tried.unknown), (_SLOW, self.tried.left)):
            for flow, count in sorted(counts.items()):
                self._line("", f"left out: {count:,} of {flow!r}, since {why}", "yellow")

    def _line(self, indent: str, text: str, style: str = "") -> None:
        from rich.text import Text

        from segue.cli.text import one_line

        self.console.print(Text(f"{indent}{one_line(text)}", style=style), soft_wrap=True)


_SLOW = f"{PATIENT} runs of it have shown that its code does not settle"
