"""All that flows say in ``on=``, at work beside an engine."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from segue.flows import Flow
from segue.runtime.engine import Engine
from segue.triggers.files import Files, watching
from segue.triggers.scheduler import Scheduler
from segue.triggers.webhooks import Listening, Webhook, listening


class Serving(NamedTuple):
    """What is at work.

    Attributes:
        server: where requests are taken, if a flow has a webhook.
    """

    scheduler: Scheduler
    server: Listening | None


@asynccontextmanager
async def serving(
    engine: Engine, flows: Sequence[Flow[..., Any]], *, host: str = "127.0.0.1", port: int = 8787, root: Path
) -> AsyncGenerator[Serving, None]:
    """Let the triggers of these flows start runs, on this event loop, until it is left.

    Args:
        engine: an open one.
        host, port: where requests are listened for, if there is a webhook.
        root: the folder that paths of watched files begin at.

    Raises:
        DeclarationError, UsageError: as ``listening``.
    """
    triggers = [trigger for flow in flows for trigger in flow.spec.on]
    server = None
    async with AsyncExitStack() as stack:
        if any(isinstance(trigger, Webhook) for trigger in triggers):
            server = await stack.enter_async_context(listening(engine, flows, host, port))
        if any(isinstance(trigger, Files) for trigger in triggers):
            await stack.enter_async_context(watching(engine, flows, root))
        scheduler = Scheduler(engine, flows)
        ticking = asyncio.create_task(scheduler.run())
        try:
            yield Serving(scheduler, server)
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
