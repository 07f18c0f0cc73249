"""``segue doctor``: whether this machine and its store are well."""

from typing import TYPE_CHECKING

import click

from segue.cli.options import json_output, with_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from segue.stores.checkup import Finding

_MARKS = {"ok": ("✓", "+", "green"), "warn": ("!", "!", "yellow"), "fail": ("✗", "x", "bold red")}


@click.command(short_help="Check the store, its disk and its runs.")
@json_output
@with_store
def doctor(as_json: bool, store: str | None) -> int:
    """Check the store, its disk, this Python, and whether runs are stuck. Exits with 1 if something is broken."""
    from segue.errors import SegueError
    from segue.runtime.settings import default_store
    from segue.stores.checkup import Finding, examine

    findings = list(_surroundings())
    try:
        findings += examine(store or default_store())
    except SegueError as error:
        findings.append(Finding("fail", "store", str(error)))
    if as_json:
        from segue.cli.text import as_text

        click.echo(as_text([finding._asdict() for finding in findings]))
    else:
        _print(findings)
    return 1 if any(finding.level == "fail" for finding in findings) else 0


def _surroundings() -> "Iterator[Finding]":
    import platform
    from importlib.util import find_spec

    from segue.stores.checkup import Finding

    version = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    yield Finding("ok", "Python", version)
    if find_spec("uvloop") is not None:
        yield Finding("ok", "event loop", "uvloop")
    else:
        yield Finding("warn", "event loop", "asyncio's own; uvloop is faster: pip install uvloop")


def _print(findings: "list[Finding]") -> None:
    import sys

    from rich.table import Table
    from rich.text import Text

    from segue.cli.look import in_unicode, out
    from segue.cli.text import visible

    plain = not in_unicode(sys.stdout)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        pretty, ascii, style = _MARKS[finding.level]
        mark = Text(f"{ascii if plain else pretty} {finding.level}", style=style)
        table.add_row(mark, Text(finding.what), Text(visible(finding.said)))
    out().print(table)
