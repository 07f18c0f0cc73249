"""``python -m freightcore.submitter STORE DESK ROUNDS SEED KEYED``: submits the rounds of the race, as a process.

It executes nothing. Both signals of a round are started at the same moment, in an order that a seed decides.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path
from random import Random

import msgspec

from freightcore.contest import Signal, update_anybody, update_driver
from segue import Engine

DRIVERS = 150


async def submit(store: str, desk: str, rounds: int, seed: int, keyed: bool) -> None:
    """Start two runs for each round, and note what was started."""
    flow, random, numbers = update_driver if keyed else update_anybody, Random(seed), count(1)
    async with Engine(store, execute=False):
        with (Path(desk) / "submitted.log").open("ab") as log:
            for shift in range(1, rounds // DRIVERS + 2):
                signals: list[Signal] = []
                for driver in range(min(DRIVERS, rounds - (shift - 1) * DRIVERS)):
                    number, name = next(numbers), f"driver-{driver + 1:03}"
                    both = [
                        Signal(f"{number}-out", desk, name, shift),
                        Signal(f"{number}-in", desk, name, shift, f"delivery-{number}"),
                    ]
                    random.shuffle(both)
                    signals += both
                await asyncio.gather(*(flow.start(signal) for signal in signals))
                log.writelines(msgspec.json.encode(signal) + b"\n" for signal in signals)
                log.flush()


if __name__ == "__main__":
    store, desk, rounds, seed, keyed = sys.argv[1:]
    asyncio.run(submit(store, desk, int(rounds), int(seed), keyed == "keyed"))
