"""``segue redrive``, ``discard``, ``fork``, ``cancel`` and ``signal``: what people do to runs."""

from typing import TYPE_CHECKING, Any, cast

import click

from segue.cli.options import json_output, name_of_user, why_option, with_name, with_store, with_store_argument

if TYPE_CHECKING:
    from segue.inspection import RunRecord
    from segue.repair import Repaired

FAILED = 1


@click.command(short_help="Let runs that failed or were cancelled go on.")
@click.argument("run", required=False)
@click.option("--flow", metavar="NAME", help="Instead of a RUN: all dead letters of this flow.")
@click.option("--step", metavar="NAME", help="Of these only those that this step failed; '': the flow's own code.")
@click.option("--error", metavar="CLASS", help="Of these only those with an error of this class.")
@click.option("--limit", type=click.IntRange(1), default=1_000_000, help="At most so many, the newest.")
@click.option("--from", "start", metavar="STEP", help="The step to go on from, by name or id, or: start.")
@click.option(
    "--edit-input",
    "edited",
    metavar="JSON",
    help="Run that step with these arguments; @FILE reads a file.",
)
@click.option("--set", "given", metavar="STEP=JSON", multiple=True, help="Give a step this result; may be repeated.")
@with_name
@why_option
@json_output
@with_store
def redrive(
    run: str | None,
    flow: str | None,
    step: str | None,
    error: str | None,
    limit: int,
    start: str | None,
    edited: str | None,
    given: tuple[str, ...],
    by: str | None,
    why: str,
    as_json: bool,
    store: str | None,
) -> int:
    """Let a run go on: from the step that failed, or from an earlier one. What is recorded before is not run again.

    The runs are queued; a worker, or segue resume, executes them. Who did it, and what was changed, is recorded.
    """
    import asyncio

    if (run is None) == (flow is None):
        raise click.UsageError("name a RUN, or --flow for all dead letters of it, and not both")
    if run is not None and (step is not None or error is not None):
        raise click.UsageError("--step and --error choose among the dead letters of a --flow; a RUN is one already")
    changes = {"start": start, "input": _edited(edited), "results": dict(map(_result, given)), "why": why}
    changes["by"] = name_of_user(by)
    if run is not None:
        return asyncio.run(_redrive_one(run, changes, as_json, store))
    return asyncio.run(
        _redrive_all({"flow": flow, "step": step, "error": error, "limit": limit}, changes, as_json, store)
    )


def _edited(given: str | None) -> dict[str, Any] | None:
    from segue.cli.given import parse, read_input

    if given is None:
        return None
    value = parse(read_input(given, "--edit-input"), "--edit-input")
    if not isinstance(value, dict):
        raise click.UsageError("--edit-input takes an object: the step's arguments by name")
    return value  # pyright: ignore[reportUnknownVariableType]


def _result(given: str) -> tuple[str, Any]:
    from segue.cli.given import parse, read_input

    step, equals, value = given.partition("=")
    if not equals or not step:
        raise click.UsageError(f"--set takes STEP=JSON, not {given!r}")
    return step, parse(read_input(value, f"--set {step}"), f"--set {step}")


async def _redrive_one(run: str, changes: dict[str, Any], as_json: bool, url: str | None) -> int:
    from segue import repair
    from segue.cli.archive import archive
    from segue.cli.text import as_text, say

    async with archive(url) as store:
        row = await store.row(run)
        if changes["input"]:
            _say_if_misspelt(await store.record(row.id, whole=True), changes["start"], changes["input"])
        repaired = await repair.redrive(row.id, **changes, store=store.store)
    if row.status == "failed" and row.reason is not None:
        say(f"run {row.id} had been {row.reason}: it is a run like any other again")
    if as_json:
        click.echo(as_text([one._asdict() for one in repaired]))
    else:
        for one in repaired:
            say(_said(one))
        _say_how(url, row.flow)
    return 0


def _say_if_misspelt(record: "RunRecord", start: str | None, edited: dict[str, Any]) -> None:
    """The code is not here, and only it knows the parameters; but whoever mistypes one wants to know before it runs."""
    from segue.cli.text import say

    wanted = start or (record.error.step if record.error is not None else "")
    step = next((step for step in record.steps if wanted in (step.id, step.name)), None)
    given: Any = step.input if step is not None else None
    if step is None or not isinstance(given, dict):
        return
    known = list(cast("dict[str, Any]", given))
    for name in [name for name in edited if name not in known]:
        say(f"step {step.id} was not called with {name!r} before, but with {', '.join(known)}: is that its name?")


def _said(one: "Repaired") -> str:
    return f"run {one.run} of {one.flow!r} goes on" + (f" from {one.step}" if one.step else "")


def _say_how(url: str | None, flow: str | None) -> None:
    from segue.cli.text import say

    file = f"the file or module of flow {flow!r}" if flow is not None else "the file or module of its flow"
    say(f"a worker executes it, or: segue resume FILE{with_store_argument(url)}   # {file}")


async def _redrive_all(which: dict[str, Any], changes: dict[str, Any], as_json: bool, url: str | None) -> int:
    import sys

    from segue import repair
    from segue.cli.archive import archive
    from segue.cli.text import as_text, say

    done: list[str] = []
    refused: dict[str, str] = {}
    async with archive(url) as store:
        async for run, repaired in repair.redrive_all(**which, **changes, store=store.store):
            if isinstance(repaired, list):
                done += [one.run for one in repaired]
            else:
                refused[run] = str(repaired)
            if sys.stderr.isatty() and (len(done) + len(refused)) % 50 == 0:
                print(f"\r{len(done):,} redriven", end="", file=sys.stderr, flush=True)
        nothing = await store.misnamed(which["flow"]) or "no dead letter is like that; see which there are: segue dead"
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    if as_json:
        click.echo(as_text({"redriven": done, "refused": refused}))
    else:
        many = f"{len(done):,} run{'s go' if len(done) != 1 else ' goes'} on"
        say(many if done or refused else nothing)
        for run, problem in list(refused.items())[:20]:
            say(f"not {run}: {problem}")
        if done:
            _say_how(url, which["flow"])
    return FAILED if refused or not done else 0


@click.command(short_help="Set failed runs aside: nothing more is done about them.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@with_name
@why_option
@with_store
def discard(runs: tuple[str, ...], by: str | None, why: str, store: str | None) -> None:
    """Decide that nothing more is done about runs that failed. They keep their record, and leave the dead letters."""
    import asyncio

    async def work() -> None:
        from segue import repair
        from segue.cli.archive import archive
        from segue.cli.text import say

        async with archive(store) as opened:
            for run in runs:
                row = await opened.row(run)
                await repair.discard(row.id, by=name_of_user(by), why=why, store=opened.store)
                say(f"run {row.id} of {row.flow!r} is discarded")

    asyncio.run(work())


@click.command(short_help="Run a run's past again, as a new run, with today's code.")
@click.argument("run")
@click.option("--from", "start", metavar="STEP", help="From this step on everything runs anew; or: start.")
@click.option("--version", metavar="TEXT", help="What to note as the flow's version.")
@click.option("--id", metavar="ID", help="The new run's id.")
@with_name
@why_option
@json_output
@with_store
def fork(
    run: str,
    start: str | None,
    version: str | None,
    id: str | None,
    by: str | None,
    why: str,
    as_json: bool,
    store: str | None,
) -> None:
    """Make a new run of a run's past: on its recorded results up to a point, and anew from there. Prints its id.

    Then compare them: segue diff RUN RUN.
    """
    import asyncio

    async def work() -> tuple[str, str]:
        from segue import repair
        from segue.cli.archive import archive

        async with archive(store) as opened:
            row = await opened.row(run)
            given: dict[str, Any] = {"start": start, "version": version, "id": id, "why": why}
            return await repair.fork(row.id, by=name_of_user(by), **given, store=opened.store), row.flow

    from segue.cli.text import as_text, say

    new, flow = asyncio.run(work())
    click.echo(as_text({"id": new}) if as_json else new)
    if not as_json:
        say("queued")
        _say_how(store, flow)


@click.command(short_help="Cancel a run: its steps clean up, its effects are undone.")
@click.argument("run")
@with_name
@why_option
@with_store
def cancel(run: str, by: str | None, why: str, store: str | None) -> None:
    """Have a run cancelled, wherever it executes: child runs, queued ones and waits too.

    Steps that run get to clean up, and what was done is undone. A run that has not begun ends at once.
    """
    import asyncio

    async def work() -> None:
        from segue import repair
        from segue.cli.archive import archive
        from segue.cli.text import say

        async with archive(store) as opened:
            row = await opened.row(run)
            status = await repair.cancel(row.id, by=name_of_user(by), why=why, store=opened.store)
            if status == "cancelled":
                say(f"run {row.id} is cancelled")
                return
            orphans = await opened.orphans()
        say(f"run {row.id} is to be cancelled; its code gets to clean up")
        if status != "running" or row.id in orphans:
            _say_how(store, row.flow)

    asyncio.run(work())


@click.command(short_help="Send a signal to a run that waits for one.")
@click.argument("run")
@click.argument("name")
@click.option("--value", metavar="JSON", required=True, help="What to send, as JSON; @FILE reads a file, - stdin.")
@click.option("--once", metavar="ID", help="An id of your own: sent again under it, it is not delivered twice.")
@with_store
def signal(run: str, name: str, value: str, once: str | None, store: str | None) -> None:
    """Send a signal to a run, which its flow reads with wait_for(NAME, ...)."""
    import asyncio

    async def work() -> None:
        from segue.cli.archive import archive
        from segue.cli.given import parse, read_input
        from segue.cli.text import say
        from segue.sending import send_signal

        data = parse(read_input(value, "--value"), "--value")
        async with archive(store) as opened:
            row = await opened.row(run)
            new = await send_signal(opened.store, row.id, name, data, once=once)
        say(f"signal {name!r} is sent to run {row.id}" if new else f"signal {name!r} was sent before under {once!r}")

    asyncio.run(work())
