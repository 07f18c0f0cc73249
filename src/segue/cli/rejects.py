"""``segue rejects``: what came from outside, and no run could be started for."""

from typing import TYPE_CHECKING, Any

import click

from segue.cli.options import json_output, name_of_user, why_option, with_name, with_store, with_store_argument

if TYPE_CHECKING:
    from segue.cli.archive import Archive
    from segue.runtime.spec import FlowSpec
    from segue.stores.base import Reject

_number = click.argument("number", type=click.IntRange(1, (1 << 63) - 1), metavar="N")


@click.group(invoke_without_command=True, short_help="See what came from outside and could not be taken.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most so many.")
@click.option("--all", "every", is_flag=True, help="Those too that were dealt with.")
@json_output
@with_store
@click.pass_context
def rejects(context: click.Context, limit: int, every: bool, as_json: bool, store: str | None) -> None:
    """List what webhooks and files brought and no run could be started for, newest first.

    Each is kept with its reason until somebody deals with it: segue rejects retry N TARGET, or discard N.
    """
    if context.invoked_subcommand is not None:
        return
    from segue.cli.archive import at_once

    at_once(_list(limit, every, as_json, store))


async def _list(limit: int, every: bool, as_json: bool, url: str | None) -> None:
    from segue.cli.archive import NoStore, archive
    from segue.cli.text import as_text, say

    found, nothing = list["Reject"](), ""
    try:
        async with archive(url) as store:
            found = await store.store.rejects(limit, open=not every)
            nothing = f"nothing was rejected in {store.store.url}, or it was all dealt with"
    except NoStore as error:
        say(str(error))
    if as_json:
        click.echo(as_text([_record(one, whole=False) for one in found]))
    elif found:
        _print(found)
        say(f"what one is: segue rejects show {found[0].number}{with_store_argument(url)}")
    elif nothing:
        say(nothing)


def _record(one: "Reject", *, whole: bool) -> dict[str, Any]:
    record = one._asdict()
    body = record.pop("body")
    del record["once"]
    return {**record, "body": body.decode("utf-8", "backslashreplace")} if whole else record


def _print(found: "list[Reject]") -> None:
    from segue.cli.lines import Text, out
    from segue.cli.text import day, one_line, shorten

    console = out()
    rows = [
        (str(r.number), day(r.at), shorten(one_line(r.source), 40), shorten(one_line(r.flow or ""), 40)) for r in found
    ]
    number, at, source, flow = (max(4, *(len(row[n]) for row in rows)) for n in range(4))
    head = f"{'n':>{number}}  {'at':<{at}}  {'source':<{source}}  {'flow':<{flow}}  reason"
    console.print(Text(head, style="dim"))
    for row, one in zip(rows, found, strict=True):
        line = Text(f"{row[0]:>{number}}  {row[1]:<{at}}  {row[2]:<{source}}  {row[3]:<{flow}}  ")
        line.append(shorten(one_line(one.reason), 200), style="dim" if one.dealt else "red")
        if one.dealt:
            line.append(f"  {one_line(one.dealt)}", style="dim")
        console.print(line)


async def _one(store: "Archive", number: int) -> "Reject":
    from segue.errors import UsageError

    for found in await store.store.rejects(1, number):
        return found
    raise UsageError(f"no reject has the number {number} in {store.store.url}: see segue rejects")


@rejects.command(short_help="See one, with its body.")
@_number
@json_output
@with_store
def show(number: int, as_json: bool, store: str | None) -> None:
    """Show a reject: where it came from, why it was not taken, and what it is."""
    from segue.cli.archive import at_once

    at_once(_show(number, as_json, store))


async def _show(number: int, as_json: bool, url: str | None) -> None:
    from segue.cli.archive import archive
    from segue.cli.lines import Text, out
    from segue.cli.text import as_text, clock, one_line, visible

    async with archive(url) as store:
        one = await _one(store, number)
    if as_json:
        click.echo(as_text(_record(one, whole=True)))
        return
    console = out()
    cut = "" if len(one.body) == one.size else f", of which {len(one.body):,} are kept"
    about = {
        "source": one.source, "at": clock(one.at), "flow": one.flow or "-", "reason": one.reason,
        "size": f"{one.size:,} bytes{cut}", "dealt": one.dealt or "not yet",
    }  # fmt: skip
    for name, value in about.items():
        console.print(Text(f"{name:<8}{one_line(value)}"))
    if one.body:
        console.print(Text(visible(one.body.decode("utf-8", "backslashreplace"))))


@rejects.command(short_help="Start a run for one after all, with today's code.")
@_number
@click.argument("target")
@with_store
def retry(number: int, target: str, store: str | None) -> int:
    """Start a run of the flow TARGET for what was rejected; workers execute it.

    That the reject is dealt with is written when the run is durable. Done twice, there is one run.
    """
    from segue.cli.run import store_of
    from segue.cli.session import run_loop, show_logs
    from segue.loading import find_flow

    found = find_flow(target)
    show_logs()
    return run_loop(_retry(number, found.flow.spec, store_of(store, found.settings)))


async def _retry(number: int, spec: "FlowSpec", url: str) -> int:
    from segue.cli.archive import archive
    from segue.cli.text import say
    from segue.runtime.engine import Engine
    from segue.triggers.again import start_again

    async with archive(url) as store:
        one = await _one(store, number)
        async with Engine(url, execute=False) as engine:
            run = await start_again(engine, spec, one)
            await store.store.deal(number, f"run {run}")
    say(f"reject {number} is run {run} of {spec.name!r}")
    return 0


@rejects.command(short_help="Decide that nothing is done about one.")
@_number
@with_name
@why_option
@with_store
def discard(number: int, by: str | None, why: str, store: str | None) -> None:
    """Set a reject aside. It keeps its record until room is needed for others."""
    from segue.cli.archive import at_once

    at_once(_discard(number, name_of_user(by), why, store))


async def _discard(number: int, by: str, why: str, url: str | None) -> None:
    from segue.cli.archive import archive
    from segue.cli.text import say
    from segue.errors import UsageError

    async with archive(url) as store:
        one = await _one(store, number)
        if not await store.store.deal(number, f"discarded by {by}" + (f": {why}" if why else "")):
            raise UsageError(f"reject {number} was dealt with before: {one.dealt or 'by somebody else, just now'}")
    say(f"reject {number} is discarded")
