"""``segue dead``: runs that failed for good, and what did it."""

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from segue.cli.options import json_output, with_store, with_store_argument

if TYPE_CHECKING:
    from segue.inspection import RunRecord, StepRecord
    from segue.stores.base import Fault


@click.group(invoke_without_command=True, short_help="See runs that failed for good, by what they failed of.")
@click.option("--flow", metavar="NAME", help="Only runs of this flow.")
@json_output
@with_store
@click.pass_context
def dead(context: click.Context, flow: str | None, as_json: bool, store: str | None) -> None:
    """List dead letters: runs that failed for good, those that are alike together.

    They keep everything. Let them go on with segue redrive; set them aside with segue discard.
    """
    if context.invoked_subcommand is not None:
        return
    from segue.cli.archive import at_once

    at_once(_list(flow, as_json, store))


async def _list(flow: str | None, as_json: bool, url: str | None) -> None:
    from segue import repair
    from segue.cli.archive import NoStore, archive
    from segue.cli.text import as_text, say

    faults, nothing = list["Fault"](), ""
    try:
        async with archive(url) as store:
            faults = await repair.dead(flow=flow, store=store.store)
            if not faults:
                nothing = await store.misnamed(flow) or f"no run has failed for good in {store.store.url}"
    except NoStore as error:
        say(str(error))
    if as_json:
        click.echo(as_text([fault._asdict() for fault in faults]))
    elif faults:
        _print(faults)
        say(f"what one failed of: segue dead show {faults[0].newest}{with_store_argument(url)}")
    elif nothing:
        say(nothing)


def _print(faults: "list[Fault]") -> None:
    from segue.cli.lines import Text, out
    from segue.cli.text import day, one_line

    console = out()
    rows = [
        (f"{f.runs:,}", one_line(f.flow), one_line(f.step or "its own code"), one_line(f.error or ""), day(f.ended))
        for f in faults
    ]
    runs, flow, step, error = (max(4, *(len(row[n]) for row in rows)) for n in range(4))
    head = f"{'runs':>{runs}}  {'flow':<{flow}}  {'failed in':<{step}}  {'of':<{error}}  {'last':<12}  newest"
    console.print(Text(head, style="dim"))
    for row, fault in zip(rows, faults, strict=True):
        line = Text(f"{row[0]:>{runs}}  {row[1]:<{flow}}  {row[2]:<{step}}  ")
        line.append(f"{row[3]:<{error}}", style="red")
        line.append(f"  {row[4]:<12}  {one_line(fault.newest)}")
        console.print(line)


class _Letter(NamedTuple):
    record: "RunRecord"
    step: "StepRecord | None"
    alike: int
    store: str


@dead.command(short_help="Show what a run failed of, and what can be done.")
@click.argument("run")
@click.option("--full", is_flag=True, help="Cut nothing.")
@json_output
@with_store
def show(run: str, full: bool, as_json: bool, store: str | None) -> None:
    """Show what a run failed of: the step, the ladder it climbed, the input that did it, and how many others did.

    RUN is an id, at least four characters of its beginning or end, or the word last: the newest dead letter.
    """
    from segue.cli.archive import at_once

    letter = at_once(_load(run, store))
    if as_json:
        from segue.cli.text import as_text

        click.echo(as_text(_as_data(letter)))
    else:
        _print_letter(letter, full)


async def _load(wanted: str, url: str | None) -> _Letter:
    from segue.cli.archive import archive
    from segue.errors import CannotRedrive
    from segue.stores.base import Query

    async with archive(url) as store:
        newest = await store.store.find(Query(dead=True, limit=1)) if wanted == "last" else []
        row = newest[0] if newest else await store.row(wanted)
        record = await store.record(row.id, whole=True)
        if record.error is None:
            raise CannotRedrive(f"run {row.id} is {row.status}: it has not failed. To see it: segue show {row.id}")
        step = next((step for step in record.steps if step.id == (record.error.step or None)), None)
        faults = await store.store.faults(row.flow)
        alike = next((f.runs for f in faults if (f.step, f.error) == (record.row.step, record.row.error)), 0)
        return _Letter(record, step, alike, with_store_argument(url))


def _as_data(letter: _Letter) -> dict[str, Any]:
    from segue.inspection import as_data

    run = as_data(letter.record)
    id = letter.step.id if letter.step is not None else None
    return {**run, "failed": next((step for step in run["steps"] if step["id"] == id), None), "alike": letter.alike}


def _print_letter(letter: _Letter, full: bool) -> None:
    from segue.cli.inbox import print_value
    from segue.cli.lines import Text, out
    from segue.cli.text import clock, one_line, visible

    record, step, console = letter.record, letter.step, out()
    error = record.error
    assert error is not None
    row = record.row
    console.print(Text(f"{row.status}: {one_line(row.flow)}  {one_line(row.id)}", style="bold red"))
    for one in record.interventions:
        who = f"{one_line(one.by)} " if one.by else ""
        console.print(Text(f"  {clock(one.time)}  {who}{one_line(one.said)}", style="yellow"))
    if row.reason:
        console.print(Text(f"  {one_line(row.reason)}", style="yellow"))
    if step is None:
        where = "the flow's own code"
    else:
        where = f"step {one_line(step.id)}" if step.run is None else f"child run {one_line(step.run)}"
    console.print(Text(f"  failed in {where}, {clock(row.ended or 0.0)}"))
    _print_ladder(console, step, full)
    console.print(Text(f"  {visible(str(error))}", style="red"))
    trace = step.error.traceback if step is not None and step.error is not None else error.traceback
    for line in visible(trace.rstrip()).split("\n")[0 if full else -12 :] if trace else ():
        console.print(Text(f"      {line}", style="dim"))
    if step is not None:
        print_value(console, "input", step.input)
    else:
        print_value(console, "input", record.input)
    for other in record.steps:
        if other.undo is not None:
            style = "green" if other.undo == "undone" else "red"
            console.print(Text(f"  {other.undo}: the effect of {one_line(other.id)}", style=style))
    _print_hints(console, letter)


def _print_ladder(console: Any, step: "StepRecord | None", full: bool) -> None:
    from segue.cli.lines import Text
    from segue.cli.text import clock, duration, one_line, shorten

    if step is None or step.run is not None:
        return
    for attempt in step.attempts:
        took = f" after {duration(attempt.ended - attempt.started)}" if attempt.ended is not None else ""
        by = f" ({one_line(attempt.by)})" if attempt.by else ""
        why = one_line(str(attempt.error)) if attempt.error is not None else ""
        line = f"    attempt {attempt.number}{by}  {clock(attempt.started)}  {attempt.status}{took}  {why}"
        console.print(Text(line if full else shorten(line, 2 * console.width), style="red"))
        if attempt.error is not None and attempt.error.raw:
            raw = one_line(attempt.error.raw)
            console.print(Text(f"      it was {raw if full else shorten(raw, console.width)}", style="dim"))


def _print_hints(console: Any, letter: _Letter) -> None:
    import shlex

    from segue.cli.lines import Text
    from segue.cli.text import one_line

    row = letter.record.row
    lines = [f"segue redrive {row.id}"]
    if letter.step is not None:
        lines.append(f"segue redrive {row.id} --edit-input '{{…}}'   # with another input of that step")
    if letter.alike > 1:
        error = f" --error {shlex.quote(row.error)}" if row.error else ""
        step = f" --step {shlex.quote(row.step or '')}"
        lines.append(
            f"segue redrive --flow {shlex.quote(row.flow)}{step}{error}   # all {letter.alike:,} like this one"
        )
    lines.append(f"segue discard {row.id} --why …")
    console.print(Text("to go on:", style="dim"))
    for line in lines:
        command, _, comment = line.partition("   #")
        comment = f"   #{comment}" if comment else ""
        console.print(Text(f"  {one_line(command)}{letter.store}{comment}", style="dim"))
