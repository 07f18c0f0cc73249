"""``@flow(coalesce=…, debounce=…, priority=…, expire=…)``: what becomes of events that come while their key is busy."""

import asyncio
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import DeclarationError, Engine, RunExpired, RunFailed, flow, repair, step
from segue.inspection import timeline
from segue.testing import Env


@dataclass(frozen=True)
class Move:
    """Where a driver is."""

    driver: str
    at: int
    urgent: int | None = None


A_WHILE = 2.0
"""Seconds of virtual time that a run takes."""

seen: list[tuple[str, Any]] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    seen.clear()


@pytest.fixture
def env() -> Generator[Env, None, None]:
    with Env() as env:
        yield env


@step
async def act(driver: str, at: list[int]) -> list[int]:
    seen.append((driver, at))
    await asyncio.sleep(A_WHILE)
    return at


def farther(earlier: Move, later: Move) -> Move:
    return later if later.at >= earlier.at else earlier


@flow(name="last", key="move.driver", coalesce="latest")
async def last(move: Move) -> list[int]:
    return await act(move.driver, [move.at])


@flow(name="every", key="moves.0.driver", coalesce="all")
async def every(moves: list[Move]) -> list[int]:
    return await act(moves[0].driver, [move.at for move in moves])


@flow(name="farthest", key="move.driver", coalesce=farther)
async def farthest(move: Move) -> list[int]:
    return await act(move.driver, [move.at])


def alone(one: Move) -> Move:
    return one


FLOWS: dict[str, Any] = {"last": last, "every": every, "farthest": farthest}


def given_to(name: str, move: Move) -> Any:
    return [move] if name == "every" else move


@pytest.mark.parametrize(
    ("name", "together"), [("last", [1]), ("every", [3, 2, 1]), ("farthest", [3])], ids=["last", "every", "farthest"]
)
def test_events_that_come_while_their_key_is_busy_are_taken_together(env: Env, name: str, together: list[int]) -> None:
    taken = FLOWS[name]
    first = env.start(taken, given_to(name, Move("ada", 4)))
    env.advance(0.5)
    rest = [env.start(taken, given_to(name, Move("ada", at))) for at in (3, 2, 1)]
    other = env.start(taken, given_to(name, Move("bob", 9)))
    assert env.finish(first).result == [4]
    assert env.finish(rest[0]).result == together
    assert env.finish(other).result == [9]
    assert [at for driver, at in seen if driver == "ada"] == [[4], together]
    assert [env.record(run).status for run in rest] == ["completed", "merged", "merged"]


@pytest.mark.parametrize("entry", range(8))
@pytest.mark.parametrize("written", [False, True])
def test_a_crash_loses_no_event_and_takes_none_twice(env: Env, entry: int, written: bool) -> None:
    first = env.start(every, [Move("ada", 0)])
    env.advance(0.5)
    env.plan_crash(entry, written=written)
    rest = [env.start(every, [Move("ada", n)]) for n in (1, 2, 3)]
    env.finish(first)
    assert env.finish(rest[0]).result == [1, 2, 3]


def test_whoever_started_an_event_gets_the_result_of_the_run_that_took_it_along(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path}/runs.db", execute=False):
            handles = [await farthest.start(Move("ada", at)) for at in (1, 5, 2)]
        async with Engine(f"sqlite:{tmp_path}/runs.db"):
            handles = [await farthest.handle(handle.id) for handle in handles]
            assert [await handle.result() for handle in handles] == [[5]] * 3
            assert [await handle.status() for handle in handles] == ["completed", "merged", "merged"]
            assert await handles[2].reason() == f"taken along by run {handles[0].id}"
            waiting = [asyncio.create_task(farthest(Move("bob", at))) for at in (1, 5, 2)]
            assert [max(result) for result in await asyncio.gather(*waiting)] in ([1, 5, 5], [5, 5, 5])

    asyncio.run(main())


def test_what_was_dropped_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path}/runs.db", execute=False):
            handles = [await last.start(Move("ada", at)) for at in (1, 2, 3)]
        async with Engine(f"sqlite:{tmp_path}/runs.db") as engine:
            assert await (await last.handle(handles[2].id)).result() == [3]
            loaded = await engine.store.load(handles[0].id)
            assert loaded is not None
            record = timeline(*loaded)
            assert record.input == {"move": {"driver": "ada", "at": 3, "urgent": None}}, "what it acted on"
            (told,) = record.interventions
            said = "took 2 events along that came before it began; it acts on the last one, and 2 are dropped"
            assert told.said == said
            events = [(event["run"], event["input"]["move"]["at"]) for event in told.data]
            assert events == [(handle.id, at) for at, handle in enumerate(handles, 1)]

    asyncio.run(main())


def test_a_function_that_fails_fails_the_run_and_a_redrive_takes_the_events_again(tmp_path: Path) -> None:
    broken = True

    def fails(earlier: Move, later: Move) -> Move:
        if broken:
            raise ValueError("they cannot be one")
        return later

    @flow(name="fails", key="move.driver", coalesce=fails)
    async def failing(move: Move) -> int:
        return move.at

    async def main() -> None:
        nonlocal broken
        async with Engine(f"sqlite:{tmp_path}/runs.db", execute=False):
            handles = [await failing.start(Move("ada", at)) for at in (1, 2)]
        async with Engine(f"sqlite:{tmp_path}/runs.db") as engine:
            first, second = [await failing.handle(handle.id) for handle in handles]
            for handle in (first, second):
                with pytest.raises(RunFailed, match="they cannot be one"):
                    await handle.result()
            broken = False
            await repair.redrive(first.id, by="ada", store=engine.store)
            assert await (await failing.handle(first.id)).result() == 2
            assert await (await failing.handle(second.id)).result() == 2

    asyncio.run(main())


def test_a_run_begins_when_it_has_been_quiet(env: Env) -> None:
    @flow(name="calm", key="move.0.driver", coalesce="all", debounce="5s", debounce_max="12s")
    async def calm(move: list[Move]) -> list[int]:
        seen.append((move[0].driver, env.now))
        return [one.at for one in move]

    began = env.now
    runs = [env.start(calm, [Move("ada", 0)])]
    for n in (1, 2):
        env.advance("4s")
        assert not seen
        runs.append(env.start(calm, [Move("ada", n)]))
    assert env.finish(runs[0]).result == [0, 1, 2]
    assert seen[0][1] - began == pytest.approx(12, abs=1.2), "no later than that, though the last came at 8"
    began = env.now
    assert env.finish(env.start(calm, [Move("ada", 3)])).result == [3]
    assert seen[1][1] - began == pytest.approx(5, abs=1.2)


def test_an_event_that_is_too_old_is_not_run(env: Env) -> None:
    @flow(name="brief", key="move.driver", expire="1s")
    async def brief(move: Move) -> list[int]:
        return await act(move.driver, [move.at])

    first, second, other = (env.start(brief, Move(who, n)) for n, who in enumerate(("ada", "ada", "bob")))
    assert [env.finish(run).status for run in (first, second, other)] == ["completed", "expired", "completed"]
    assert sorted(seen) == [("ada", [0]), ("bob", [2])]
    with pytest.raises(RunExpired, match=r"expired: .*too old to act on"):
        env.record(second).unwrap()


def test_urgent_events_go_first_and_take_what_is_before_them_along(tmp_path: Path) -> None:
    order: list[int] = []

    @flow(name="urgent", key="move.driver", priority="move.urgent")
    async def urgent(move: Move) -> None:
        order.append(move.at)

    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path}/runs.db", execute=False):
            for at, (driver, urgency) in enumerate([("a", None), ("b", 0), ("c", 3), ("d", -2), ("b", 9), ("b", 1)]):
                await urgent.start(Move(driver, at, urgency))
        async with Engine(f"sqlite:{tmp_path}/runs.db", concurrency=1):
            await (await urgent.start(Move("e", 6, -3))).result()

    asyncio.run(main())
    assert order == [1, 4, 2, 5, 0, 3, 6], "1 and 4 are of one driver: 1 goes before 4, as urgent as that is"


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"coalesce": "latest"}, "merges events of one key: declare key= too"),
        ({"coalesce": "newest", "key": "move.driver"}, "it is 'latest', 'all', or a function of two events"),
        ({"coalesce": "all", "key": "move.driver"}, "needs a parameter of type list"),
        ({"coalesce": alone, "key": "move.driver"}, "is called with an earlier and a later event"),
        ({"debounce": "5s", "key": "move.driver"}, "debounce= merges events: say how, with coalesce="),
        ({"debounce": "5s", "debounce_max": "1s", "key": "move.driver", "coalesce": "latest"}, "bounds a shorter"),
        ({"debounce_max": "1s", "key": "move.driver", "coalesce": "latest"}, "bounds a shorter"),
        ({"key": "more.driver"}, "before 'driver' stands a list; of its first item: 'more.0.driver'"),
        ({"key": "more.0.drivr"}, "Move has no 'drivr'; there are driver, at, urgent"),
        ({"priority": "move.urgency"}, "Move has no 'urgency'; there are driver, at, urgent"),
        ({"priority": 1e3}, "is a path over the parameters, or a function of some, not 1000.0"),
        ({"priority": True}, "priority is a whole number up to 1,000,000, not True"),
        ({"priority": None}, "priority is a number, a path or a function, not None"),
        ({"expire": "soon"}, "soon"),
        ({"expire": -1}, "-1"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(how: dict[str, Any], problem: str) -> None:
    async def body(move: Move) -> None: ...

    async def listed(more: list[Move]) -> None: ...

    fn: Any = listed if str(how.get("key")).startswith("more") else body
    with pytest.raises(DeclarationError, match=re.escape(problem)):
        flow(name="wrong", **how)(fn)


def test_a_child_call_is_never_taken_along(env: Env) -> None:
    @flow(name="parent of mailboxes")
    async def parent(n: int) -> list[int]:
        return await last(Move("ada", n))

    runs = [env.start(parent, n) for n in range(4)]
    assert [env.finish(run).result for run in runs] == [[n] for n in range(4)]


@settings(max_examples=40, deadline=None)
@given(
    events=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.3, 1.9, 2.5])), min_size=1, max_size=12),
    crash=st.integers(0, 25),
    written=st.booleans(),
)
def test_every_event_is_acted_on_once_and_in_order(events: list[tuple[str, float]], crash: int, written: bool) -> None:
    seen.clear()
    with Env() as env:
        env.plan_crash(crash, written=written)
        runs: list[Any] = []
        for n, (driver, pause) in enumerate(events):
            runs.append(env.start(every, [Move(driver, n)]))
            env.advance(pause)
        results = [env.finish(run) for run in runs]
    for driver in "ab":
        own = [record.result for record, (of, _) in zip(results, events, strict=True) if of == driver]
        acted = [at for result in own if result is not None for at in result]
        assert acted == [n for n, (of, _) in enumerate(events) if of == driver]


def test_a_run_that_took_others_along_can_be_forked(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path}/runs.db", execute=False):
            handles = [await every.start([Move("ada", at)]) for at in (1, 2)]
        async with Engine(f"sqlite:{tmp_path}/runs.db") as engine:
            assert await (await every.handle(handles[0].id)).result() == [1, 2]
            fork = await repair.fork(handles[0].id, by="ada", start="start", store=engine.store)
            assert await (await every.handle(fork)).result() == [1, 2]

    asyncio.run(main())
