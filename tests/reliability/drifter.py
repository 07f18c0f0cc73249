"""A worker with a model that drifts: it says what it has noticed, and goes on until it is killed."""

import asyncio
import random
import sys

from segue import Drift, Engine, flow, step
from segue.runtime.engine import Told

chance = random.Random(11)
mean = 50.0


def usual(n: int) -> float:
    return 45.0


@step(drift=Drift(lambda speed: speed, then="fallback", probe=1_000_000), fallback=usual)
async def speed(n: int) -> float:
    return chance.gauss(mean, 5)


@flow(name="drive")
async def drive(calls: int) -> list[str]:
    return [(await speed.outcome(n)).source for n in range(calls)]


async def main(url: str, drifts: bool) -> None:
    global mean

    def tell(told: Told) -> None:
        if told.what == "drift":
            print(told.data["change"].what, flush=True)

    async with Engine(url) as engine:
        engine.watchers.append(tell)
        if drifts:
            await drive(250)
            mean = 65.0
            while True:
                await drive(1)
        print(*await drive(20), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] == "drifts"))
