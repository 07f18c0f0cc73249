"""Real processes, killed at random moments and at every named point, and what the next one makes of it."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.runtime.crashpoints import POINTS

from .jobs import BLOB, expected
from .processes import Process, process
from .verifier import Snapshot, problems

DEEP = os.environ.get("SEGUE_DEEP") == "1"
KILLS = 2000 if DEEP else 200
CHUNKS = 10
SUBMITS = 20


@pytest.fixture(scope="module")
def zygote() -> Iterator[Process]:
    with process("zygote") as started:
        yield started


def result_of(number: int) -> Any:
    return b"x" * (BLOB + number) + b"!" if number % 10 == 9 else expected(number)


def killed_twice(zygote: Process, folder: Path, seed: int) -> int:
    """Kill one life, kill the next, let the third finish, and verify. Gives the number of kills that struck."""
    r = random.Random(seed)
    moments: list[Snapshot] = []
    for life in range(2):
        order = {"folder": str(folder), "numbers": [life * SUBMITS, (life + 1) * SUBMITS], "seed": r.random()}
        answer = zygote.ask({**order, "kill": r.randint(0, 200)})
        assert answer["code"] in (-9, 0)
        if answer["code"] == -9:
            moments.append(Snapshot(folder))
    assert zygote.ask({"folder": str(folder), "numbers": [40, 41]}) == {"code": 0}
    assert problems(folder, {n: result_of(n) for n in range(41)}, moments) == [], f"seed {seed}"
    return len(moments)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_killed_at_random_moments_nothing_is_lost_and_nothing_recorded_runs_again(
    zygote: Process, tmp_path: Path, chunk: int
) -> None:
    killed = round = 0
    while killed < KILLS // CHUNKS:
        folder = tmp_path / str(round)
        folder.mkdir()
        killed += killed_twice(zygote, folder, seed=chunk * 100_000 + round)
        round += 1
        assert round < KILLS


MAIL = {"before-mail", "after-mail"}
"""Reached where something is sent to a run: tests/reliability/test_decisions.py."""


@pytest.mark.parametrize(
    ("point", "count"),
    [(point, count) for point in sorted(POINTS - MAIL) for count in ((1,) if "claim" in point else (1, 2, 5))],
)
def test_killed_at_every_named_point(zygote: Process, tmp_path: Path, point: str, count: int) -> None:
    first = {"folder": str(tmp_path), "numbers": [0, SUBMITS]}
    if point in ("before-claim", "after-claim"):  # something must be there to claim
        assert zygote.ask({**first, "kill": 30, "seed": 0}) == {"code": -9}
    answer = zygote.ask({**first, "crash": f"{point}:{count}"})
    assert answer == {"code": 137}, f"{point} was never reached {count} times"
    moment = Snapshot(tmp_path)
    assert zygote.ask({"folder": str(tmp_path), "numbers": [40, 41]}) == {"code": 0}
    assert problems(tmp_path, {n: result_of(n) for n in range(41)}, [moment]) == []
