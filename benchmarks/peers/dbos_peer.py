"""DBOS on SQLite, its async API: runs in an environment of its own."""

import asyncio
import json
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path

from dbos import DBOS, DBOSConfig

STEPS = 10
config: DBOSConfig = {
    "name": "bench",
    "system_database_url": f"sqlite:///{Path(sys.argv[1]) / 'dbos.db'}",
    "run_admin_server": False,
    "log_level": "ERROR",
}
DBOS(config=config)


@DBOS.step()
def noop(n: int) -> int:
    return n + 1


@DBOS.workflow()
def sequence(steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = noop(value)
    return value


async def main() -> None:
    logging.disable()
    DBOS.launch()
    for _ in range(5):
        sequence(STEPS)
    times = []
    for _ in range(60):
        began = time.perf_counter()
        assert sequence(STEPS) == STEPS
        times.append((time.perf_counter() - began) / STEPS)
    stop, done = time.perf_counter() + 4, 0

    def client() -> None:
        nonlocal done
        while time.perf_counter() < stop:
            assert sequence(STEPS) == STEPS
            done += STEPS

    began = time.perf_counter()
    await asyncio.gather(*[asyncio.to_thread(client) for _ in range(64)])
    many = done / (time.perf_counter() - began)
    print(json.dumps({"version": version("dbos"), "one": sorted(times)[30], "many": many}), flush=True)
    DBOS.destroy()


asyncio.run(main())
