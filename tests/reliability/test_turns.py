"""Keys and events on several workers that are killed: judged by what was submitted and what was seen outside, alone."""

import asyncio
import random
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from segue import Engine

from .looking import until
from .processes import Process, process
from .verifier import lines
from .worker import turn

EVENTS, KEYS, KILLS = 150, 5, 3


def broken(submitted: list[dict[str, Any]], seen: list[dict[str, Any]]) -> list[str]:
    """What is not as promised. Knows neither engine nor store.

    Args:
        submitted: each start that was acknowledged, in order: its event, key, number and run.
        seen: each effect, in the order in which they came: a line as it begins, and one as it ends.
    """
    found: list[str] = []
    runs: dict[str, set[str]] = defaultdict(set)
    asked: dict[str, list[int]] = defaultdict(list)
    for start in submitted:
        if not runs[start["event"]]:
            asked[start["key"]].append(start["number"])
        runs[start["event"]].add(start["run"])
    found += [f"event {event} has runs {ids}" for event, ids in runs.items() if len(ids) != 1]
    for key, numbers in asked.items():
        lived = [(line["number"], line["what"]) for line in seen if line["key"] == key]
        order = list(dict.fromkeys(number for number, _ in lived))
        if order != numbers:
            found.append(f"key {key}: asked for {numbers}, and they came in the order {order}")
        places = [order.index(number) for number, _ in lived]
        if places != sorted(places):
            found.append(f"key {key}: two were at work at a time: {lived}")
        for number in numbers:
            steps = [what for other, what in lived if other == number]
            if list(dict.fromkeys(steps)) != ["begin", "end"]:
                found.append(f"key {key}: run {number} did {steps}")
    for number in {line["number"] for line in seen}:
        if len({line["run"] for line in seen if line["number"] == number}) != 1:
            found.append(f"number {number} was worked on by several runs")
    return found


@pytest.mark.parametrize("seed", range(4))
def test_turns_and_events_hold_while_workers_are_killed(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    url, sink = f"sqlite:{tmp_path / 'a.db'}", tmp_path / "turns"
    submitted: list[dict[str, Any]] = []

    async def submit(number: int) -> None:
        event, key = f"e{number}", f"k{chance.randrange(KEYS) if chance.random() < 0.5 else 0}"
        for _ in range(chance.choice((1, 1, 2))):  # some come twice
            handle = await turn.start(event, key, number)
            submitted.append({"event": event, "key": key, "number": number, "run": handle.id})

    def started(stack: ExitStack) -> Process:
        worker = stack.enter_context(process("worker", url, str(tmp_path / "sink"), env={"TURNS": str(sink)}))
        worker.until("open")
        return worker

    async def main() -> None:
        async with asyncio.timeout(120), Engine(url, execute=False) as engine:
            with ExitStack() as stack:
                workers = [started(stack) for _ in range(1 + seed)]
                kills = sorted(chance.sample(range(10, EVENTS), KILLS))
                for number in range(EVENTS):
                    await submit(number)
                    if number in kills:
                        begun = len(lines(sink))
                        await until(lambda begun=begun: len(lines(sink)) > begun)  # it is in the middle of something
                        workers.pop(chance.randrange(len(workers))).kill()
                        workers.append(started(stack))
                for start in submitted:
                    assert await (await turn.handle(start["run"])).result() == start["number"]
                assert await engine.store.lanes() == []

    asyncio.run(main())
    assert broken(submitted, lines(sink)) == []


def test_the_judge_sees_what_is_wrong() -> None:
    started = [{"event": f"e{n}", "key": "k", "number": n, "run": f"r{n}"} for n in (1, 2)]
    good = [{"key": "k", "number": n, "what": what, "run": f"r{n}"} for n in (1, 2) for what in ("begin", "end")]
    assert broken(started, good) == []
    assert broken(started, good[:1] + good) == [], "what is done again after a crash is no overlap"
    assert broken(started, [good[0], good[2], good[1], good[3]])
    assert broken(started, good[2:] + good[:2])
    assert broken(started, good[:3])
    assert broken([*started, {**started[0], "run": "r3"}], good)
    assert broken(started, [*good, {**good[0], "run": "r9"}])
