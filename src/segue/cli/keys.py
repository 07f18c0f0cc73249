"""``segue keys``: which keys are busy, with what, and how many runs wait for their turn."""

from typing import TYPE_CHECKING

import click

from segue.cli.options import json_output, with_store

if TYPE_CHECKING:
    from segue.stores.base import Busy


@click.command(short_help="See which keys are busy, and their queues.")
@click.option("--flow", metavar="NAME", help="Only keys of this flow.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most so many.")
@json_output
@with_store
def keys(flow: str | None, limit: int, as_json: bool, store: str | None) -> None:
    """List the keys that have runs which have not ended, those with the longest queues first.

    Runs of one key, @flow(key=…), go one at a time.
    """
    from segue.cli.archive import at_once

    at_once(_list(flow, limit, as_json, store))


async def _list(flow: str | None, limit: int, as_json: bool, url: str | None) -> None:
    from segue.cli.archive import NoStore, archive
    from segue.cli.text import as_text, say

    found, nothing, now = list["Busy"](), "", 0.0
    try:
        async with archive(url) as store:
            found, now = await store.store.lanes(flow, limit), store.now()
            if not found:
                nothing = await store.misnamed(flow) or f"no key is busy in {store.store.url}"
    except NoStore as error:
        say(str(error))
    if as_json:
        click.echo(as_text([one._asdict() for one in found]))
    elif found:
        _print(found, now)
        if len(found) == limit:
            say(f"the first {limit}; more with --limit")
    elif nothing:
        say(nothing)


def _print(found: "list[Busy]", now: float) -> None:
    from segue.cli.lines import Text, out
    from segue.cli.look import STATUS_STYLES, symbol
    from segue.cli.text import duration, one_line, shorten

    console = out()
    rows = [(shorten(one_line(one.key), 40), one_line(one.flow), f"{one.held:,}") for one in found]
    key, flow, held = (max(4, *(len(row[n]) for row in rows)) for n in range(3))
    console.print(Text(f"{'key':<{key}}  {'flow':<{flow}}  {'held':>{held}}  whose turn it is", style="dim"))
    for row, one in zip(rows, found, strict=True):
        line = Text(f"{row[0]:<{key}}  {row[1]:<{flow}}  {row[2]:>{held}}  ")
        if one.run is not None and one.status is not None:
            line.append(f"{symbol(one.status)} {one.status:<9}", style=STATUS_STYLES[one.status])
            line.append(f"  {one_line(one.run)}  {duration(now - (one.since or now))}")
            if one.reason:
                line.append(f"  {one_line(one.reason)}", style="dim")
        else:
            line.append("free: all of its runs wait", style="dim")
        console.print(line)
