"""``segue serve``: a worker, and what starts runs: schedules, requests, files."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import click

from segue.cli.options import with_store

if TYPE_CHECKING:
    from segue.runtime.engine import Engine


@click.command(short_help="Execute runs, and start them on schedules, requests and files.")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--concurrency", default=256, show_default=True, type=click.IntRange(1), help="Runs at a time.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where webhooks are listened for.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@with_store
def serve(targets: tuple[str, ...], concurrency: int, host: str, port: int, store: str | None) -> int:
    """Execute runs, and start those that @flow(on=…) asks for, until stopped by SIGTERM or Ctrl-C.

    TARGET is a module, a file, a pipeline or a folder. Without one, the flows that segue.toml, or [tool.segue] in
    pyproject.toml, lists here. Any number of them may serve one store: each tick is one run. Where a flow has
    a webhook, requests are listened for; GET /healthz says whether they are.
    """
    from segue.cli.session import run_loop, show_logs, stdout_kept
    from segue.cli.work import engine_for, work

    with stdout_kept():
        show_logs()
        engine = engine_for(targets, store)
        engine.concurrency = concurrency
        return run_loop(work(engine, partial(_triggers, host=host, port=port)))


@asynccontextmanager
async def _triggers(engine: "Engine", *, host: str, port: int) -> AsyncGenerator[Sequence[str], None]:
    from segue.cli.text import clock
    from segue.runtime.registry import FLOWS
    from segue.runtime.settings import project_root
    from segue.triggers.files import Files, watching
    from segue.triggers.scheduler import Scheduler
    from segue.triggers.webhooks import Webhook, listening

    specs = [FLOWS[name] for name in sorted(engine.flows or ())]
    scheduler = Scheduler(engine, specs)
    said = [
        f"{table.spec.name}: {table.schedule}, next {clock(next(iter(table.schedule.after(engine.clock()))))}"
        for table in scheduler.tables
    ]
    if scheduler.tables:
        engine.spawn(scheduler.run())
    async with AsyncExitStack() as stack:
        if any(isinstance(on, Webhook) for spec in specs for on in spec.on):
            server = await stack.enter_async_context(listening(engine, specs, host, port))
            said += [f"webhook http://{server.host}:{server.port}{path}" for path in server.paths]
        if any(isinstance(on, Files) for spec in specs for on in spec.on):
            folders = await stack.enter_async_context(watching(engine, specs, project_root()))
            said += [f"{folder.spec.name}: files {folder.trigger.pattern} in {folder.root}" for folder in folders]
        yield said or ["no flow here is started by anything: @flow(on=[…]) says what by"]
