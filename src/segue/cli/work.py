"""``segue resume`` and ``segue worker``: executing what is in the store."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from segue.cli.options import with_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from segue.alerts import Alerts
    from segue.cli.session import Stop
    from segue.cli.view import View
    from segue.flows import Flow
    from segue.retention import Retention
    from segue.runtime.engine import Engine
    from segue.stores.base import Row

T = TypeVar("T")

OPEN = ("queued", "running", "waiting")


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@with_store
def resume(targets: tuple[str, ...], store: str | None) -> int:
    """Carry on unfinished runs until none is left.

    TARGET is a module, a file, a pipeline or a folder: its flows' runs are carried on. Without one, those of the flows
    that segue.toml, or [tool.segue] in pyproject.toml, lists here.

    \b
    Exit codes: 0 all completed, 1 one failed, 2 wrong use, 3 some wait or have code that is not here, 130 interrupted.
    """
    from segue.cli.session import run_loop, show_logs, stdout_kept

    with stdout_kept():
        show_logs()
        return run_loop(_resume(engine_for(targets, store)[0]))


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--concurrency", default=256, show_default=True, type=click.IntRange(1), help="Runs at a time.")
@with_store
def worker(targets: tuple[str, ...], concurrency: int, store: str | None) -> int:
    """Execute runs until stopped by SIGTERM or Ctrl-C.

    TARGET is a module, a file, a pipeline or a folder, whose flows it executes. Without one, those that segue.toml, or
    [tool.segue] in pyproject.toml, lists here. The first signal hands unfinished runs back; the second does not wait.
    """
    from segue.cli.session import run_loop, show_logs, stdout_kept

    with stdout_kept():
        show_logs()
        engine, _ = engine_for(targets, store)
        engine.concurrency = concurrency
        return run_loop(_work(engine))


def engine_for(targets: tuple[str, ...], store: str | None) -> "tuple[Engine, list[Flow[..., Any]]]":
    """An engine that executes the flows that the targets name, and those."""
    from segue.loading import find_flows
    from segue.runtime.engine import Engine

    flows = find_flows(targets)
    engine = Engine(store)
    engine.flows = frozenset(flow.name for flow in flows)
    return engine, flows


async def _work(engine: "Engine") -> int:
    async with at_work(engine) as stop:
        await stop.wait()
    return 0


@asynccontextmanager
async def at_work(engine: "Engine") -> "AsyncGenerator[Stop, None]":
    """A worker at work, which says what it does, and in the end what it hands back."""
    from segue.cli.session import watched
    from segue.cli.text import say
    from segue.cli.view import LineView

    retention, alerts = _retention(), project_alerts()
    if alerts is not None:
        alerts.attach(engine)
    async with watched(engine, LineView(steps=False)) as stop:
        if retention is not None:
            engine.spawn(retention.keep(engine.store))
        if alerts is not None:
            engine.spawn(alerts.keep(engine))
        say(f"segue: worker {engine.worker} executes {', '.join(sorted(engine.flows or ()))} from {engine.store.url}")
        yield stop
        unfinished = len(engine.runs)
    if unfinished:
        say(f"segue: {unfinished} run{'s' * (unfinished > 1)} handed back")


def _retention() -> "Retention | None":
    """How long this project keeps runs that have ended, if it says so."""
    from segue.retention import Retention

    return _said("retention", Retention.read)


def project_alerts() -> "Alerts | None":
    """Whom this project tells what is wrong, if anybody.

    Raises:
        DeclarationError: it says something that cannot be.
    """
    from segue.alerts import Alerts

    return _said("alerts", Alerts.read)


def _said(table: str, read: "Callable[[dict[str, Any]], T]") -> "T | None":
    from segue.errors import DeclarationError
    from segue.runtime.settings import project_root
    from segue.runtime.settings import read as read_settings

    settings = read_settings(project_root())
    said: dict[str, Any] | None = getattr(settings, table)
    if said is None:
        return None
    try:
        return read(said)
    except (DeclarationError, TypeError) as error:
        raise DeclarationError(f"{settings.folder}: [{table}]: {error}") from None


# Until nothing is left


async def _resume(engine: "Engine") -> int:
    from segue.cli.session import watched
    from segue.cli.view import view_for

    view = view_for(quiet=False)
    notes: list[str] = []
    async with watched(engine, view) as stop:
        code = await _carry_on(engine, view, stop, notes)
    from segue.cli.text import say

    for note in notes:
        say(f"segue: {note}")
    return code


async def _carry_on(engine: "Engine", view: "View", stop: "Stop", notes: list[str]) -> int:
    roots = {row.id for row in await _open(engine) if _ours(engine, row) and row.parent is None}
    told: set[str] = set()
    while True:
        ours = [row for row in await _busy(engine) if _ours(engine, row)]
        roots |= {row.id for row in ours if row.parent is None}
        if not any(_active(row, engine.clock()) for row in ours):
            break
        _tell_elsewhere(engine, ours, told)
        if await stop.wait(0.2):
            left = len([row for row in await _open(engine) if _ours(engine, row)])
            notes.append(f"{left} unfinished run{'s' * (left != 1)} handed back. To go on: segue resume")
            return 128 + stop.signal
        while engine.runs and not await stop.wait(0.1):
            pass
    return await _summary(engine, roots, await _open(engine), notes)


async def _busy(engine: "Engine") -> "list[Row]":
    """Runs that may go on without anything from outside. Those that wait for people may be very many."""
    from segue.core.lifecycle import Status
    from segue.stores.base import Query

    queued = await engine.store.find(Query(status=(Status.QUEUED, Status.RUNNING), limit=10_000))
    return queued + await engine.store.unfinished(engine.flows, 100)


def _tell_elsewhere(engine: "Engine", rows: "Iterable[Row]", told: set[str]) -> None:
    """Say, once for each worker, that we wait for runs which others execute."""
    from segue.cli.text import say

    for row in rows:
        if row.worker is not None and row.worker != engine.worker and row.worker not in told:
            told.add(row.worker)
            say(f"segue: worker {row.worker} executes run {row.id}; waiting for it, or for its lease to lapse")


async def _open(engine: "Engine") -> "list[Row]":
    from segue.cli.archive import EVERY
    from segue.core.lifecycle import Status
    from segue.stores.base import Query

    return await engine.store.find(Query(status=tuple(Status(status) for status in OPEN), limit=EVERY))


def _ours(engine: "Engine", row: "Row") -> bool:
    return engine.flows is None or row.flow in engine.flows


def _active(row: "Row", now: float) -> bool:
    """Whether the run goes on without anything from outside: it runs, or will as soon as there is room."""
    return row.status == "running" or row.due <= now


async def _summary(engine: "Engine", roots: set[str], rows: "list[Row]", notes: list[str]) -> int:
    """Say how the runs ended, and why some have not."""
    ended = await engine.store.ended(roots)
    failed = [row for row in ended if row.status != "completed"]
    completed = len(ended) - len(failed)
    if not rows and not ended:
        notes.append(f"nothing to carry on in {engine.store.url}")
    if ended:
        notes.append(f"{completed} completed" + (f", {len(failed)} failed or cancelled" if failed else ""))
    notes += [f"run {row.id} of {row.flow!r} {row.status}; see why with: segue show {row.id}" for row in failed[:20]]
    notes += [f"run {row.id} of {row.flow!r} {_why(engine, row)}" for row in rows[:20]]
    if len(rows) > 20:
        notes.append(f"and {len(rows) - 20} more; see them with: segue runs --status waiting --status queued")
    return 1 if failed else 3 if rows else 0


def _why(engine: "Engine", row: "Row") -> str:
    from segue.cli.text import clock
    from segue.inspection import reason_of, until_of

    if not _ours(engine, row):
        return f"is {row.status}, and its flow is in none of these targets: name its file or module too"
    reason = reason_of(row, engine.clock(), engine.flows) or "runs elsewhere"
    until = until_of(row)
    return f"is {row.status}: {reason}" + (f", until {clock(until)}" if until is not None else "")
