"""``segue alerts``: what was told, and whether the way to whoever is told works."""

from typing import TYPE_CHECKING, Any

import click

from segue.cli.options import json_output, with_store

if TYPE_CHECKING:
    from segue.alerts import Alert, Alerts
    from segue.stores.base import Row


@click.group(invoke_without_command=True, short_help="See which alerts went out, and try whether they arrive.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most so many, newest first.")
@json_output
@with_store
@click.pass_context
def alerts(context: click.Context, limit: int, as_json: bool, store: str | None) -> None:
    """List the alerts that workers sent, by [alerts] in the project's segue.toml. Each is a run of segue.alert."""
    if context.invoked_subcommand is not None:
        return
    from segue.cli.archive import at_once

    at_once(_list(limit, as_json, store))


async def _list(limit: int, as_json: bool, url: str | None) -> None:
    from segue.alerts.alert import FLOW, payload
    from segue.alerts.watch import told
    from segue.cli.archive import NoStore, archive
    from segue.cli.text import as_text, say
    from segue.stores.artifacts import Artifacts
    from segue.stores.base import Query
    from segue.stores.sqlite import SqliteStore

    found, nothing = list[tuple["Row", "Alert | None"]](), ""
    try:
        async with archive(url) as opened:
            store = opened.store
            assert isinstance(store, SqliteStore)
            assert store.path is not None
            artifacts = Artifacts.beside(store.path)
            rows = await store.find(Query(flow=FLOW, limit=limit))
            found = [(row, await told(store, artifacts, row.id)) for row in rows]
            nothing = f"no alert was sent from {store.url}"
    except NoStore as error:
        say(str(error))
    if as_json:
        click.echo(as_text([{**payload(alert, row.id), "status": row.status} for row, alert in found if alert]))
    elif found:
        _print(found)
    elif nothing:
        say(nothing)


def _print(found: "list[tuple[Row, Alert | None]]") -> None:
    from segue.cli.lines import Text, out
    from segue.cli.look import STATUS_STYLES, symbol
    from segue.cli.text import day, one_line

    console = out()
    for row, alert in found:
        line = Text(f"{day(row.created):<12}  ")
        line.append(f"{symbol(row.status)} {row.status:<9}", style=STATUS_STYLES[row.status])
        console.print(line.append(f"  {one_line(alert.title if alert is not None else row.id)}"))


@alerts.command(short_help="Send a test alert now, and say what came of it.")
def test() -> int:
    """Send a test alert by each way that [alerts] in segue.toml names, once, and say what came of it.

    Nothing is recorded. Exits with 1 if it did not arrive.
    """
    from segue.cli.session import run_loop
    from segue.cli.work import project_alerts
    from segue.errors import DeclarationError

    if (found := project_alerts()) is None:
        raise DeclarationError(
            "this project tells nobody. Write into its segue.toml:\n\n"
            '    [alerts]\n    webhook = "https://…"   # or: command = ["program", "argument"]'
        )
    return run_loop(_try(found))


async def _try(found: "Alerts") -> int:
    import asyncio
    import time

    from segue.alerts.alert import Alert
    from segue.alerts.channels import execute, post
    from segue.runtime.ids import new_id

    title = "this is a test of Segue's alerts, and nothing is wrong; see: segue alerts"
    alert, key, failed = Alert("test", title, "test", 1, time.time(), "segue alerts"), f"test-{new_id()}", 0
    if found.webhook is not None:
        url = found.url()
        failed += await _tried("webhook", asyncio.to_thread(post, url, alert, key))
    if found.command is not None:
        failed += await _tried("command", execute(found.command, alert, key))
    return 1 if failed else 0


async def _tried(way: str, trying: Any) -> int:
    import asyncio

    from segue.alerts.channels import NotDelivered
    from segue.alerts.delivery import LONGEST
    from segue.cli.text import say

    try:
        async with asyncio.timeout(LONGEST):
            said = await trying
    except (NotDelivered, TimeoutError) as error:
        say(f"{way}: not delivered: {error if str(error) else f'it took more than {LONGEST:.0f} s'}")
        return 1
    say(f"{way}: delivered" + (f": {said}" if said else ""))
    return 0
