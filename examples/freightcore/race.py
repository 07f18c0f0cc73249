"""Drill 2, the race: ``segue run examples/freightcore/race.py``.

So many times a driver clocks out as a delivery arrives for him, on four worker processes. No driver may ever have
conflicting instructions, and no delivery may be lost. With ``{"keyed": false}`` there is no queue for each driver: so
it broke at FreightCore.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from freightcore.contest import Signal, Verdict, told, verify

from segue import flow, log, step

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Race:
    """How it went.

    Attributes:
        runs: those started, two for each round.
        seconds: from the first submission until every signal was handled.
    """

    verdict: Verdict
    runs: int
    seconds: float


@flow
async def race(rounds: int = 10_000, workers: int = 4, seed: int = 7, keyed: bool = True, patience: int = 600) -> Race:
    done = await hold_race(rounds, workers, seed, keyed, patience)
    found = done.verdict
    log.info(
        "%d rounds on %d workers in %.0f s, %.0f runs/s: %d deliveries came too late, %d conflicts",
        found.rounds, len(found.shares), done.seconds, done.runs / done.seconds, found.too_late, len(found.conflicts),
    )  # fmt: skip
    return done


@step
async def hold_race(rounds: int, workers: int, seed: int, keyed: bool, patience: int) -> Race:
    """On a store of its own, which nobody else's runs slow down."""
    with TemporaryDirectory(prefix="freightcore-") as folder:
        store, desk = f"sqlite:{Path(folder) / 'race.db'}", Path(folder) / "desk"
        desk.mkdir()
        began = time.monotonic()
        with at_work(workers, store):
            arguments = [store, str(desk), str(rounds), str(seed), "keyed" if keyed else "anybody"]
            submitter = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "freightcore.submitter", *arguments, cwd=HERE
            )
            if await submitter.wait():
                raise RuntimeError("the submitter failed")
            submitted = msgspec.json.Decoder(Signal).decode_lines((desk / "submitted.log").read_bytes())
            async with asyncio.timeout(patience):
                while (handled := await asyncio.to_thread(_handled, submitted)) < len(submitted):
                    log.info("%d of %d signals are handled", handled, len(submitted))
                    await asyncio.sleep(1)
            took = time.monotonic() - began
        return Race(await asyncio.to_thread(verify, submitted), len(submitted), round(took, 1))


def _handled(submitted: list[Signal]) -> int:
    drivers = {signal.driver_id for signal in submitted}
    return sum(line.what == "end" for driver in drivers for line in told(submitted[0].desk, driver))


@contextmanager
def at_work(workers: int, store: str) -> Generator[None, None, None]:
    """So many ``segue worker`` processes."""
    command = [sys.executable, "-m", "segue", "worker", str(HERE / "freightcore" / "contest.py"), "--store", store]
    with (Path(store.removeprefix("sqlite:")).parent / "workers.log").open("ab") as output:
        started = [subprocess.Popen(command, stdout=output, stderr=output) for _ in range(workers)]
        try:
            yield
        finally:
            for worker in started:
                worker.terminate()
            for worker in started:
                worker.wait()
