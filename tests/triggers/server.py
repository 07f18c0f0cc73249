"""A process that serves one webhook and watches one folder, until it is killed."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from segue import File, flow, step
from segue.runtime.engine import Engine
from segue.triggers import env, files, webhook
from segue.triggers.files import watching
from segue.triggers.webhooks import listening


@step
def note(place: str) -> str:
    with Path(place).open("a") as file:
        file.write("x")
    return place


@flow(name="served", on=[webhook("/traffic", secret=env("TRAFFIC_SECRET"))])
async def served(event: dict[str, Any]) -> str:
    return await note(event["place"])


@flow(name="filed", on=[files("inbox/*.txt", every=0.01)])
async def filed(document: File) -> str:
    return await note(document.read_bytes().decode())


async def main(store: str, root: str) -> None:
    async with (
        Engine(store) as engine,
        listening(engine, [served]) as server,
        watching(engine, [filed], Path(root)),
    ):
        engine.watchers.append(lambda told: print("end", flush=True) if told.what == "end" else None)
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
