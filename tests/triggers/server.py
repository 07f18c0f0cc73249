"""A process that serves one webhook, until it is killed."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from segue import flow, step
from segue.runtime.engine import Engine
from segue.triggers import env, webhook
from segue.triggers.webhooks import listening


@step
def note(place: str) -> str:
    with Path(place).open("a") as file:
        file.write("x")
    return place


@flow(name="served", on=[webhook("/traffic", secret=env("TRAFFIC_SECRET"))])
async def served(event: dict[str, Any]) -> str:
    return await note(event["place"])


async def main(store: str) -> None:
    async with Engine(store) as engine, listening(engine, [served]) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
