"""What ``segue run`` shows after a day."""

from freightcore.books import Report
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SHOWN = 10
"""Violations that are listed; the result, on standard output, has all."""


def report(result: Report) -> None:
    console = Console(stderr=True)  # stdout is for the JSON result
    table = Table(
        title=f"{result.deliveries:,} deliveries, {result.drivers} drivers", title_justify="left", show_header=False
    )
    for what, value in _rows(result):
        table.add_row(what, escape(value))
    console.print(table)
    style = "red" if result.violations else "green"
    console.print(f"[bold {style}]{len(result.violations)} constraint violations[/] in all that was dispatched")
    for violation in result.violations[:SHOWN]:
        console.print(f"  {escape(violation)}")
    console.print(f"The routes, before and after: {escape(result.map)}", soft_wrap=True)


def _rows(result: Report) -> list[tuple[str, str]]:
    median, worst = result.latency
    return [
        ("events", f"{sum(result.events.values()):,}: {_counted(result.events)}"),
        ("runs", f"{result.runs:,}" + (f", {result.failed} events failed" if result.failed else "")),
        ("traffic forecasts", _counted(result.sources)),
        ("new routes", f"{result.reroutes:,}"),
        ("escalations", f"{result.escalations:,} decided by a person"),
        ("from event to dispatch", f"p50 {median:.2f} s, p99 {worst:.2f} s"),
        ("delivered", f"{result.delivered:,}; {result.cancelled} cancelled, {result.rebooked} rebooked, "
                      f"{result.subcontracted} subcontracted"),
        ("driven", f"{result.driven:,.0f} km, {result.planned:,.0f} planned in the morning"),
        ("at work", f"{result.hours:,.0f} hours"),
        ("late", f"{result.late} by {result.late_minutes:,.0f} minutes in all; {result.missed} of them promised"),
        ("ETA", f"{result.error:.1f} minutes off, on average"),
    ]  # fmt: skip


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in counts.items())
