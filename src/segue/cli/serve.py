"""``segue serve``: a worker, and what starts runs: schedules."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from segue.cli.options import with_store

if TYPE_CHECKING:
    from segue.runtime.engine import Engine


@click.command(short_help="Execute runs, and start those that are on a schedule.")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--concurrency", default=256, show_default=True, type=click.IntRange(1), help="Runs at a time.")
@with_store
def serve(targets: tuple[str, ...], concurrency: int, store: str | None) -> int:
    """Execute runs, and start those that @flow(on=…) asks for, until stopped by SIGTERM or Ctrl-C.

    TARGET is a module, a file, a pipeline or a folder. Without one, the flows that segue.toml, or [tool.segue] in
    pyproject.toml, lists here. Any number of them may serve one store: each tick is one run.
    """
    from segue.cli.session import run_loop, show_logs, stdout_kept
    from segue.cli.work import engine_for, work

    with stdout_kept():
        show_logs()
        engine = engine_for(targets, store)
        engine.concurrency = concurrency
        return run_loop(work(engine, _triggers))


@asynccontextmanager
async def _triggers(engine: "Engine") -> AsyncGenerator[Sequence[str], None]:
    from segue.cli.text import clock
    from segue.runtime.registry import FLOWS
    from segue.triggers.scheduler import Scheduler

    scheduler = Scheduler(engine, [FLOWS[name] for name in sorted(engine.flows or ())])
    said = [
        f"{table.spec.name}: {table.schedule}, next {clock(next(iter(table.schedule.after(engine.clock()))))}"
        for table in scheduler.tables
    ]
    if scheduler.tables:
        engine.spawn(scheduler.run())
    yield said or ["no flow here is started by anything: @flow(on=[…]) says what by"]
