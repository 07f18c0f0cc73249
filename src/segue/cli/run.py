"""``segue run``: one run of one flow, watched to its end."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from segue.cli.options import json_output, with_store

if TYPE_CHECKING:
    from segue.cli.given import Arguments
    from segue.cli.session import Stop
    from segue.cli.view import View
    from segue.errors import RunFailed
    from segue.loading import Found
    from segue.runtime.engine import Engine, Ticket
    from segue.runtime.settings import Settings
    from segue.stores.base import Row

COMPLETED, FAILED, WAITING, INTERRUPTED = 0, 1, 3, 130

Report = Callable[[Any], None]


@click.command(short_help="Run a flow, show its steps, print its result.")
@click.argument("target")
@click.option(
    "--input", "given", metavar="JSON", help="The flow's parameters by name, as JSON; @FILE reads a file, - stdin."
)
@click.option("--id", metavar="ID", help="The run's id. A run that has it already is carried on, and not made again.")
@click.option("--detach", is_flag=True, help="Only queue the run, durably, and print its id; a worker executes it.")
@json_output
@with_store
def run(target: str, given: str | None, id: str | None, detach: bool, as_json: bool, store: str | None) -> int:
    """Run a flow: print its result as JSON, and show its steps meanwhile.

    TARGET is module:flow, file.py:flow, a pipeline (.yaml or .json), or a folder whose segue.toml names its main flow.

    \b
    Exit codes: 0 completed, 1 failed, 2 wrong use, 3 waiting for something that takes long, 130 interrupted.
    With --json nothing but errors is written beside the result.
    """
    from segue.cli.session import run_loop, show_logs, stdout_kept

    with stdout_kept() as write:
        show_logs()
        task = _prepare(target, given, id, store, quiet=as_json)
        work = _queue(task) if detach else _execute(task)
        answer: list[Any] = []
        code = run_loop(work(answer))
        if code == COMPLETED:
            _publish(task, answer[0], detach, as_json, write)
    return code


class Task(NamedTuple):
    """What is to be run, and how."""

    target: str
    found: "Found"
    arguments: "Arguments"
    id: str | None
    store: str
    report: Report | None
    quiet: bool
    terminal: bool
    """A person sits in front of it, who can be asked."""


Work = Callable[[list[Any]], Any]


def _prepare(target: str, given: str | None, id: str | None, store: str | None, *, quiet: bool) -> Task:
    import sys

    from segue.cli.given import arguments_of, parse, read_input
    from segue.loading import find_flow
    from segue.runtime.ids import checked

    if id is not None:
        checked(id)
    found = find_flow(target)
    data = parse(read_input(given)) if given is not None else dict(found.settings.input) if found.settings else {}
    arguments = arguments_of(found.flow.spec, data)
    url = store_of(store, found.settings)
    report = None if quiet or found.settings is None else _report_of(found.settings, url)
    terminal = not quiet and sys.stdin.isatty() and sys.stderr.isatty()
    return Task(target, found, arguments, id, url, report, quiet, terminal)


def store_of(store: str | None, settings: "Settings | None") -> str:
    """The store: what was asked for, what the flow's own project says, what this folder's project says."""
    import os

    from segue.runtime.settings import default_store

    if store is not None:
        return store
    if settings is not None and settings.store is not None and not os.environ.get("SEGUE_STORE"):
        return default_store(settings.folder)
    return default_store()


def _report_of(settings: "Settings", store: str) -> Report | None:
    """The project's report, as a function of the run's result."""
    if settings.report is None:
        return None
    from segue.loading import find_function
    from segue.runtime.context import HERE, Beside
    from segue.stores.artifacts import Artifacts
    from segue.stores.sqlite import SqliteStore
    from segue.stores.urls import open_url
    from segue.values import Inputs, encode, plain

    function = find_function(settings.report, settings.folder)
    inputs = Inputs(function, f"report {settings.report!r}")
    first = next(iter(inputs.signature.parameters), "")

    def report(result: Any) -> None:
        from segue.cli.text import say

        where = open_url(store)
        if isinstance(where, SqliteStore) and where.path is not None:  # where the result's files are
            HERE.set(Beside(Artifacts.beside(where.path)))
        data = plain(encode(result, "the result"))
        # A report that annotates its parameter gets the type that it asks for; one that does not, plain data.
        text = function(inputs.convert({first: data})[first])
        if text is not None:
            say(str(text))

    return report


# Queueing


def _queue(task: Task) -> Work:
    async def work(answer: list[Any]) -> int:
        from segue.runtime.engine import Engine, Options

        async with Engine(task.store, execute=False) as engine:
            args, kwargs = task.arguments
            ticket = await engine.launch(task.found.flow.spec, args, kwargs, Options(id=task.id), wait=True)
        answer.append(ticket.id)
        return COMPLETED

    return work


# Executing


def _execute(task: Task) -> Work:
    async def work(answer: list[Any]) -> int:
        from segue.cli.session import watched
        from segue.cli.view import view_for
        from segue.runtime.engine import Engine

        engine = Engine(task.store, _adopts=False)
        view = view_for(quiet=task.quiet)
        notes: list[str] = []
        async with watched(engine, view) as stop:
            code = await _follow(engine, task, view, stop, answer, notes)
        _say_all(notes)
        return code

    return work


async def _follow(engine: "Engine", task: Task, view: "View", stop: "Stop", answer: list[Any], notes: list[str]) -> int:
    import asyncio

    from segue.cli.asking import Prompt
    from segue.errors import RunFailed
    from segue.runtime.engine import Options

    spec = task.found.flow.spec
    args, kwargs = task.arguments
    ticket = await engine.launch(spec, args, kwargs, Options(id=task.id), wait=False)
    if not engine.is_local(ticket.id):
        await _take_over(engine, ticket.id)
    prompt = Prompt(engine, ticket.id) if task.terminal else None
    end = asyncio.ensure_future(ticket.result())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while True:
            await asyncio.wait((end, stopping), timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                answer.append(end.result())
                return COMPLETED
            if stop.asked:
                notes.append(_handed_back(task, ticket, view))
                return 128 + stop.signal
            if prompt is not None and (question := await prompt.next()) is not None:
                await prompt.put(question, view, stop)
            elif not engine.is_local(ticket.id) and (reason := await _asleep(engine, ticket.id)) is not None:
                notes.append(f"run {ticket.id} {reason}. {await _how_to_answer(engine, task, ticket)}")
                return WAITING
    except RunFailed as failed:
        if failed.run != ticket.id:
            raise
        notes.append(await _explain(engine, task, failed))
        return FAILED
    finally:
        end.cancel()
        stopping.cancel()


async def _take_over(engine: "Engine", id: str) -> None:
    """The run exists. If the program that made it is gone, carry it on here."""
    row = await engine.row(id)
    if not row.status.terminal:
        await engine.store.sweep()
        engine.origins.append(row.origin)


async def _asleep(engine: "Engine", id: str) -> str | None:
    """What the run waits for, if nothing happens in it now, nor in the runs that it waits for."""
    from segue.cli.archive import EVERY
    from segue.cli.text import clock
    from segue.inspection import until_of
    from segue.stores.base import Query

    row, now = await engine.row(id), engine.clock()
    if row.status == "queued":
        return f"is delayed, until {clock(row.due)}" if row.due > now else None
    if row.status == "held":
        return await _behind(engine, row)
    if row.status != "waiting" or row.due <= now:
        return None
    children = await engine.store.find(Query(parent=id, limit=EVERY))
    reason = row.reason or "waits for something"
    for child in children:
        if not child.status.terminal:
            if (deeper := await _asleep(engine, child.id)) is None:
                return None
            reason = f"{row.reason}; run {child.id}: {deeper}"
    until = until_of(row)
    return reason if until is None else f"{reason}, until {clock(until)}"


async def _behind(engine: "Engine", row: "Row") -> str | None:
    """What a run waits for whose turn has not come, if the one that has it waits itself."""
    from segue.cli.archive import EVERY

    lanes = await engine.store.lanes(row.flow, EVERY)
    turn = next((lane for lane in lanes if lane.key == row.key), None)
    if turn is None or turn.status != "waiting":
        return None
    return f"waits for its turn: run {turn.run} has key {row.key!r}, and {turn.reason}"


def _handed_back(task: Task, ticket: "Ticket", view: "View") -> str:
    run = view.progress.runs.get(ticket.id)
    done = f" after {run.done} step{'s' * (run.done != 1)}" if run is not None else ""
    return (
        f"run {ticket.id} is handed back{done}; nothing that is recorded will run again. {_how_to_go_on(task, ticket)}"
    )


def _how_to_go_on(task: Task, ticket: "Ticket") -> str:
    import shlex

    store = _store_argument(task.store)
    return f"To go on:\n  segue resume {shlex.quote(task.target)}{store}\nTo see it:\n  segue show {ticket.id}{store}"


async def _how_to_answer(engine: "Engine", task: Task, ticket: "Ticket") -> str:
    """What to do about a run that waits: answer its question, if it asks one, and go on."""
    from segue.cli.asking import Prompt

    question = await Prompt(engine, ticket.id).next()
    how = _how_to_go_on(task, ticket)
    if question is None:
        return how
    return f"To answer:\n  segue inbox answer {question.id} --value JSON{_store_argument(task.store)}\n{how}"


def _store_argument(url: str) -> str:
    """What to add to a command so that it finds this store."""
    import shlex

    from segue.runtime.settings import default_store

    return "" if url == default_store() else f" --store {shlex.quote(url)}"


# When it failed


async def _explain(engine: "Engine", task: Task, failed: "RunFailed") -> str:
    """What happened, where, and where to look."""
    step = await _failed_step(engine, failed.run)
    error = failed.error
    where = ""
    if step is not None and step.error is not None and error.type in ("StepFailed", "StepTimedOut"):
        error, where = step.error, f" in step {step.id}, attempt {len(step.attempts)}"
    trace = f"\n\n{error.traceback.rstrip()}\n" if error.traceback else ""
    return (
        f"run {failed.run} {failed.verb}{where}: {error}{trace}\n"
        f"To see all of it: segue show {failed.run}{_store_argument(task.store)}"
    )


async def _failed_step(engine: "Engine", id: str) -> Any:
    from segue.inspection import timeline

    loaded = await engine.store.load(id)
    if loaded is None:
        return None
    record = timeline(*loaded)
    named = record.error.step if record.error is not None else ""
    failed = [step for step in record.steps if step.status == "failed" and step.undoes is None]
    failed = [step for step in failed if step.id == named] or failed
    return max(failed, key=lambda step: step.ended or 0, default=None)


# What is printed


def _publish(task: Task, answer: Any, detach: bool, as_json: bool, write: Callable[[str], None]) -> None:
    import sys

    from segue.cli.text import as_text

    if detach:
        write(as_text({"id": answer}) if as_json else answer)
        if not as_json:
            _say_all([f"queued; to execute it: segue worker {task.target}{_store_argument(task.store)}"])
        return
    write(as_text(answer, 0 if as_json or not sys.stdout.isatty() else 2))
    if task.report is not None:
        try:
            task.report(answer)
        except Exception as error:
            from segue.runtime.failures import traceback_of

            _say_all([f"the run completed, but its report failed:\n{traceback_of(error).rstrip()}"])


def _say_all(notes: list[str]) -> None:
    from segue.cli.text import say

    for note in notes:
        say(f"segue: {note}")
