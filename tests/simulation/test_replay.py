"""Random flows, crashed at random places and resumed: nothing recorded runs again, and every replay is the same."""

import asyncio
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .programs import KINDS, STEADY, TIMED, generate
from .worlds import cut, recorded, trial

DEEP = os.environ.get("SEGUE_DEEP") == "1"
settings.register_profile("simulation", deadline=None, suppress_health_check=list(HealthCheck), database=None)


async def crash_and_resume(seed: int, kinds: tuple[str, ...]) -> None:
    r = random.Random(seed)
    tree = generate(r, kinds)
    live = await trial(tree, False, [], [])

    again = await trial(tree, False, cut(live, len(live.entries))[0], live.entries)
    assert (again.outcome, again.seen, again.ran) == (live.outcome, live.seen, []), f"replay differs: seed {seed}"

    runs, entries = cut(live, r.randint(0, len(live.entries)))
    resumed = await trial(tree, False, runs, entries)
    assert not recorded(entries) & set(resumed.ran), f"a recorded step ran again: seed {seed}"

    runs, entries = cut(resumed, len(resumed.entries))
    last = await trial(tree, False, runs, entries)
    assert (last.outcome, last.seen, last.ran) == (resumed.outcome, resumed.seen, []), f"replay differs: seed {seed}"


async def same_result(seed: int) -> None:
    r = random.Random(seed)
    tree = generate(r, STEADY)
    live = await trial(tree, True, [], [])
    resumed = await trial(tree, True, *cut(live, r.randint(0, len(live.entries))))
    assert resumed.outcome == live.outcome


@settings(settings.get_profile("simulation"), max_examples=1600 if DEEP else 140)
@given(st.integers(0, 2**32))
def test_random_flows_replay_exactly(seed: int) -> None:
    asyncio.run(crash_and_resume(seed, KINDS + TIMED))


@settings(settings.get_profile("simulation"), max_examples=500 if DEEP else 60)
@given(st.integers(0, 2**32))
def test_a_crash_does_not_change_the_result(seed: int) -> None:
    asyncio.run(same_result(seed))


@pytest.mark.parametrize("kind", KINDS + TIMED)
def test_each_kind_replays_exactly(kind: str) -> None:
    for seed in range(60 if DEEP else 5):
        asyncio.run(crash_and_resume(seed, (kind, "chain")))
