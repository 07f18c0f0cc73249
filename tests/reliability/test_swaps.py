"""Two branches that ask for the same step with the same input: each gets its own answers, however often it crashes."""

import asyncio
import random
from collections import defaultdict
from typing import Any

from segue import Engine, current_run, flow, gather, step
from segue.core.entries import Kind
from segue.stores.sqlite import SqliteStore
from tests.simulation.worlds import Trial, cut

chance = random.Random()
seen: dict[str, list[str]] = {}
ran: list[tuple[str, str]] = []


@step
async def fetch() -> str:
    """Says which call it answers, and what no other answer says."""
    run = current_run()
    ran.append((run.id, str(run.step)))
    for _ in range(chance.randrange(12)):
        await asyncio.sleep(0)
    return f"{run.step}:{chance.random():.12f}"


async def branch(name: str) -> None:
    seen[name] = []
    for _ in range(2):
        seen[name].append(await fetch())


@flow(name="swap")
async def swap() -> list[list[str]]:
    await gather(branch("left"), branch("right"))
    return [seen["left"], seen["right"]]


async def trial(runs: list[tuple[Any, ...]], entries: list[tuple[Any, ...]]) -> Trial:
    store, done = SqliteStore(None), Trial()
    ran.clear()
    async with asyncio.timeout(20), Engine(store, execute=False) as engine:
        for table, rows in (("runs", runs), ("entries", entries)):
            for row in rows:
                store.db.execute(f"insert into {table} values({','.join('?' * len(row))})", row)
        engine.execute = True
        handle = await swap.handle("main") if runs else await swap.options(id="main").start()
        done.outcome = await handle.result()
        done.runs = list(store.db.execute("select * from runs"))
        done.entries = list(store.db.execute("select * from entries order by run, seq"))
    done.ran = list(ran)
    return done


def swaps(done: Trial) -> int:
    """Answers that reached another call than the one that asked."""
    asked = [f"{branch}/fetch{nth}" for branch in (1, 2) for nth in ("", "#2")]
    answers = [answer for branch in done.outcome for answer in branch]
    return sum(answer.partition(":")[0] != call for answer, call in zip(answers, asked, strict=True))


def test_300_crashes_of_a_gather_swap_nothing() -> None:
    winners: defaultdict[str, int] = defaultdict(int)

    async def rounds() -> None:
        for seed in range(300):
            chance.seed(seed)
            live = await trial([], [])
            runs, entries = cut(live, chance.randrange(len(live.entries)))
            resumed = await trial(runs, entries)
            again = await trial(*cut(resumed, len(resumed.entries)))
            assert (swaps(live), swaps(resumed), swaps(again)) == (0, 0, 0), f"seed {seed}"
            kept = {row[3]: row[7] for row in entries if row[2] == Kind.OK}
            assert all(row[7] == kept.get(row[3], row[7]) for row in resumed.entries), f"seed {seed}"
            assert not {step for _, step in resumed.ran} & set(kept), f"seed {seed}: a recorded step ran again"
            assert (again.outcome, again.ran) == (resumed.outcome, [])
            winners[live.entries[0][3]] += 1

    asyncio.run(rounds())
    assert min(winners["1/fetch"], winners["2/fetch"]) > 50, f"the branches' latencies did not differ: {winners}"
