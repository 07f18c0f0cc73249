"""``segue runs``: which runs there are, and how they stand."""

from typing import TYPE_CHECKING, Any

import click

from segue.cli.options import json_output, with_store

if TYPE_CHECKING:
    from segue.cli.archive import Archive
    from segue.stores.base import Row

STATUSES = ["queued", "running", "waiting", "completed", "failed", "cancelled"]


@click.command()
@click.option("--flow", metavar="NAME", help="Only runs of this flow.")
@click.option("--status", multiple=True, type=click.Choice(STATUSES), help="Only runs that stand so; may be repeated.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most so many, newest first.")
@json_output
@with_store
def runs(flow: str | None, status: tuple[str, ...], limit: int, as_json: bool, store: str | None) -> None:
    """List runs, newest first."""
    import asyncio

    asyncio.run(_list(flow, status, limit, as_json, store))


async def _list(flow: str | None, status: tuple[str, ...], limit: int, as_json: bool, url: str | None) -> None:
    from segue.cli.archive import NoStore, archive
    from segue.cli.text import as_text, say
    from segue.core.lifecycle import Status
    from segue.stores.base import Query

    try:
        async with archive(url) as store:
            rows = await store.store.find(Query(flow=flow, status=tuple(Status(s) for s in status), limit=limit))
            described = [_described(row, store, orphans) for orphans in [await store.orphans()] for row in rows]
            now, where = store.now(), store.store.url
    except NoStore as error:
        described, now, where = [], 0.0, ""
        say(str(error))
    if as_json:
        click.echo(as_text(described))
    elif described:
        _print(described, now)
        if len(described) == limit:
            say(f"the newest {limit}; more with --limit")
    elif where:
        say(f"no runs{' like that' if flow or status else ''} in {where}")


def _described(row: "Row", store: "Archive", orphans: set[str]) -> dict[str, Any]:
    from segue.inspection import reason_of

    reason = "its worker died; to go on: segue resume" if row.id in orphans else reason_of(row, store.now())
    if row.status == "waiting" and row.due < 1e14:
        from segue.cli.text import clock

        reason = f"{reason}, until {clock(row.due)}"
    return {
        "id": row.id,
        "flow": row.flow,
        "version": row.version,
        "status": str(row.status),
        "reason": reason,
        "created": row.created,
        "started": row.started,
        "ended": row.ended,
        "parent": row.parent,
        "worker": row.worker,
    }


def _print(described: list[dict[str, Any]], now: float) -> None:
    from rich.table import Table
    from rich.text import Text

    from segue.cli.look import STATUS_STYLES, out, symbol
    from segue.cli.text import clock, duration, one_line

    console = out()
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("run", no_wrap=True)
    table.add_column("flow", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("status", overflow="fold", ratio=2)
    table.add_column("started", no_wrap=True)
    table.add_column("took", no_wrap=True, justify="right")
    for run in described:
        status = Text(f"{symbol(run['status'])} {run['status']}", style=STATUS_STYLES[run["status"]])
        if run["reason"]:
            status.append(f" {one_line(run['reason'])}", style="dim")
        began = run["started"]
        took = "" if began is None else duration((run["ended"] or now) - began)
        if run["status"] in ("waiting", "queued"):
            took = ""
        started = "" if began is None else clock(began)
        table.add_row(Text(one_line(run["id"])), Text(one_line(run["flow"])), status, started, took)
    console.print(table)
