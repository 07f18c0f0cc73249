"""What ``segue run`` shows after a batch: who waits for a person, some of the others, and how many of each."""

from itertools import groupby
from pathlib import Path

from crediflow.batches import Outcome, Report, Row
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SHOWN = 4
"""Rows of each kind; the result, on standard output, has all."""


def report(result: Report) -> None:
    console = Console(stderr=True)  # stdout is for the JSON result
    waiting = [row for row in result.rows if row.outcome == "escalated"]
    for question, rows in groupby(sorted(waiting, key=lambda row: row.question), lambda row: row.question):
        console.print(_asked(question, list(rows)))
    console.print(_decided(result.rows))
    counts = result.count()
    shown = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("accepted", "rejected", "escalated"))
    many = "application" if len(result.rows) == 1 else "applications"
    console.print(f"[bold]{len(result.rows)} {many}: {shown}[/bold]")
    if waiting:
        console.print(
            "All that wait: [bold]segue inbox[/bold]. The commands above give the most careful answer; then "
            f"[bold]segue resume examples/crediflow[/bold] goes on. Their payslips: {_linked(waiting)}"
        )


def _asked(question: str, rows: list[Row]) -> Table:
    table = Table("applicant", "because", title=f"{question} ({len(rows)})", title_justify="left")
    for row in rows[:SHOWN]:
        why = escape("; ".join(row.reasons))
        table.add_row(f"{row.number} {escape(row.name)}", f"{why}\n[dim]{escape(row.answer)}[/dim]")
    return _cut(table, rows)


def _decided(rows: list[Row]) -> Table:
    table = Table("applicant", "asks for", "", "because", title="Decided", title_justify="left")
    outcomes: tuple[Outcome, ...] = ("accepted", "rejected", "failed")
    for outcome in outcomes:
        those = [row for row in rows if row.outcome == outcome]
        for row in those[:SHOWN]:
            why = escape("; ".join(row.reasons))
            table.add_row(f"{row.number} {escape(row.name)}", f"${row.amount:,}", outcome, why)
        _cut(table, those)
    return table


def _cut(table: Table, rows: list[Row]) -> Table:
    if len(rows) > SHOWN:
        table.add_row(f"… {len(rows) - SHOWN} more")
    return table


def _linked(rows: list[Row]) -> Path:
    """A folder with the payslips, under names that programs understand: the store calls files by their hash."""
    folder = rows[0].payslip.path.parents[2] / "crediflow"
    folder.mkdir(exist_ok=True)
    for row in rows:
        link = folder / row.payslip.name
        link.unlink(missing_ok=True)
        link.symlink_to(row.payslip.path)
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
