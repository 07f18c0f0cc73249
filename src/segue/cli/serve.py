"""``segue serve``: workers, and what starts runs by itself."""

from typing import TYPE_CHECKING, Any

import click

from segue.cli.options import with_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segue.flows import Flow
    from segue.runtime.engine import Engine


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--concurrency", default=256, show_default=True, type=click.IntRange(1), help="Runs at a time.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where webhooks listen.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="Where webhooks listen.")
@with_store
def serve(targets: tuple[str, ...], concurrency: int, host: str, port: int, store: str | None) -> int:
    """Start the runs that flows' triggers ask for (on=…), and execute runs, until stopped by SIGTERM or Ctrl-C.

    TARGET is a module, a file, a pipeline or a folder. Without one, what segue.toml, or [tool.segue] in pyproject.toml,
    lists here. Any number of these may run on one store, and `segue worker` beside them: each tick is one run.
    """
    from segue.cli.session import run_loop, show_logs, stdout_kept
    from segue.cli.work import engine_for

    with stdout_kept():
        show_logs()
        engine, flows = engine_for(targets, store)
        engine.concurrency = concurrency
        return run_loop(_serve(engine, flows, host, port))


async def _serve(engine: "Engine", flows: "Sequence[Flow[..., Any]]", host: str, port: int) -> int:
    from segue.cli.text import say
    from segue.cli.work import at_work
    from segue.runtime.settings import project_root
    from segue.triggers.serving import serving

    async with at_work(engine) as stop:
        if not any(flow.spec.on for flow in flows):
            say("segue: none of these flows has a trigger (on=…): it works as segue worker does")
        async with serving(engine, flows, host=host, port=port, root=project_root()) as served:
            if served.server is not None:
                say(f"segue: requests are taken at http://{served.server.host}:{served.server.port}")
            for flow in flows:
                for trigger in flow.spec.on:
                    say(f"segue: {flow.name} is started by {trigger!r}{_next(trigger, engine.clock())}")
            await stop.wait()
    return 0


def _next(trigger: Any, now: float) -> str:
    from segue.cli.text import clock
    from segue.triggers.schedules import Cron, Every

    if not isinstance(trigger, Cron | Every):
        return ""
    following = next(trigger.after(now), None)
    return "" if following is None else f", next at {clock(following, now)}"
