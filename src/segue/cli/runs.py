"""``segue runs``: which runs there are, and how they stand."""

from typing import TYPE_CHECKING, Any

import click

from segue.cli.options import json_output, with_store

if TYPE_CHECKING:
    from segue.cli.archive import Archive
    from segue.cli.lines import Text
    from segue.stores.base import Row

STATUSES = ["queued", "held", "running", "waiting", "completed", "failed", "cancelled", "merged", "expired"]


@click.command()
@click.option("--flow", metavar="NAME", help="Only runs of this flow.")
@click.option("--status", multiple=True, type=click.Choice(STATUSES), help="Only runs that stand so; may be repeated.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most so many, newest first.")
@json_output
@with_store
def runs(flow: str | None, status: tuple[str, ...], limit: int, as_json: bool, store: str | None) -> None:
    """List runs, newest first."""
    from segue.cli.archive import at_once

    at_once(_list(flow, status, limit, as_json, store))


async def _list(flow: str | None, status: tuple[str, ...], limit: int, as_json: bool, url: str | None) -> None:
    from segue.cli.archive import NoStore, archive
    from segue.cli.text import as_text, say
    from segue.core.lifecycle import Status
    from segue.stores.base import Query

    try:
        async with archive(url) as store:
            rows = await store.store.find(Query(flow=flow, status=tuple(Status(s) for s in status), limit=limit))
            described = [_described(row, store, orphans) for orphans in [await store.orphans()] for row in rows]
            now, nothing = store.now(), ""
            if not rows:
                like = " like that" if flow or status else ""
                nothing = await store.misnamed(flow) or f"no runs{like} in {store.store.url}"
    except NoStore as error:
        described, now, nothing = [], 0.0, ""
        say(str(error))
    if as_json:
        click.echo(as_text(described))
    elif described:
        _print(described, now)
        if len(described) == limit:
            say(f"the newest {limit}; more with --limit")
    elif nothing:
        say(nothing)


def _described(row: "Row", store: "Archive", orphans: set[str]) -> dict[str, Any]:
    reason = None if row.status.terminal else _reason(row, store.now(), orphaned=row.id in orphans)
    return {
        "id": row.id,
        "flow": row.flow,
        "version": row.version,
        "status": str(row.status),
        "degraded": row.fallbacks > 0,
        "reason": reason,
        "created": row.created,
        "started": row.started,
        "ended": row.ended,
        "parent": row.parent,
        "worker": row.worker,
    }


def _reason(row: "Row", now: float, *, orphaned: bool) -> str | None:
    from segue.inspection import reason_of, until_of

    reason = "its worker died; to go on: segue resume" if orphaned else reason_of(row, now)
    if (until := until_of(row)) is not None:
        from segue.cli.text import clock

        reason = f"{reason}, until {clock(until)}"
    return reason


def _print(described: list[dict[str, Any]], now: float) -> None:
    from segue.cli.lines import Text, out

    console = out()
    lines = [_columns(run, now) for run in described]
    flow = max(len(columns[1]) for columns in lines)
    id = max(len(columns[0]) for columns in lines)
    flow = max(4, min(flow, console.width - id - 42))
    console.print(Text(f"{'run':<{id}}  {'flow':<{flow}}  {'status':<11}  {'started':<12}  {'took':>9}", style="dim"))
    for run, columns in zip(described, lines, strict=True):
        for line in _laid_out(run, columns, id, flow, console.width):
            console.print(line)


def _columns(run: dict[str, Any], now: float) -> tuple[str, str, str, str]:
    from segue.cli.text import day, duration, one_line

    began: float | None = run["started"] and max(run["started"], run["created"])  # a fork's past began before it did
    idle = run["status"] in ("waiting", "queued")
    took = "" if began is None or idle else duration((run["ended"] or now) - began)
    return (
        short_id(one_line(run["id"]), run["parent"]),
        one_line(run["flow"]),
        "" if began is None else day(began),
        took,
    )


def short_id(id: str, parent: str | None) -> str:
    """A run's id; of a child run only the end, which is enough to name it."""
    own = id.rpartition(".")[2]
    return f"└ {own}" if parent is not None and own != id and len(own) >= 4 else id


def _laid_out(run: dict[str, Any], columns: tuple[str, str, str, str], id: int, flow: int, width: int) -> "list[Text]":
    from segue.cli.lines import Text
    from segue.cli.look import STATUS_STYLES, symbol
    from segue.cli.text import one_line, shorten

    own, name, started, took = columns
    line = Text(f"{own:<{id}}  {shorten(name, flow):<{flow}}  ")
    line.append(f"{symbol(run['status'])} {run['status']:<9}", style=STATUS_STYLES[run["status"]])
    line.append(f"  {started:<12}  {took:>9}")
    reason = one_line(run["reason"] or ("degraded: a fallback was used" if run["degraded"] else ""))
    if not reason:
        return [line]
    if len(line) + 2 + len(reason) <= width:
        return [line.append(f"  {reason}", style="dim")]
    return [line, Text(f"    {reason}", style="dim")]
