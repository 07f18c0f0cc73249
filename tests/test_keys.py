"""``@flow(key=…, dedupe=…)``: turns in order, and one run for an event, whatever crashes."""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from segue import (
    Conflict,
    DeclarationError,
    Engine,
    OwnKey,
    Permanent,
    RunFailed,
    UsageError,
    ask_human,
    flow,
    repair,
    sleep,
    step,
)
from segue.testing import Env


@dataclass(frozen=True)
class Event:
    """Something that happened to a driver."""

    id: str
    driver: str
    number: int


A_WHILE = 0.5
"""Seconds of virtual time."""

log: list[tuple[str, str, int]] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    log.clear()


@pytest.fixture
def env() -> Generator[Env, None, None]:
    with Env() as env:
        yield env


@step
async def begin(driver: str, number: int) -> None:
    log.append(("begin", driver, number))
    await asyncio.sleep(A_WHILE)


@step
async def end(driver: str, number: int) -> int:
    await asyncio.sleep(A_WHILE)
    log.append(("end", driver, number))
    return number


@flow(name="keyed", key="event.driver")
async def keyed(event: Event) -> int:
    await begin(event.driver, event.number)
    await sleep(A_WHILE)
    return await end(event.driver, event.number)


@flow(name="once", dedupe="event.id", window="1h")
async def once(event: Event) -> int:
    await begin(event.driver, event.number)
    return event.number


def everything() -> str:
    return "all"


def nested(event: Any) -> str:
    return event["x"]["y"]


def misnamed(evnt: Any) -> str:
    return str(evnt)


def turns(driver: str) -> list[tuple[str, int]]:
    return [(what, number) for what, of, number in log if of == driver]


def in_turn(*numbers: int) -> list[tuple[str, int]]:
    return [(what, number) for number in numbers for what in ("begin", "end")]


def test_runs_of_one_key_go_one_at_a_time_in_the_order_of_their_start(env: Env) -> None:
    runs = [env.start(keyed, Event(str(n), "ada" if n % 3 else "bob", n)) for n in range(9)]
    assert [env.finish(run).result for run in runs] == list(range(9))
    assert turns("bob") == in_turn(0, 3, 6)
    assert turns("ada") == in_turn(1, 2, 4, 5, 7, 8)
    places = [driver for _, driver, _ in log]
    assert places[:2] in (["bob", "ada"], ["ada", "bob"]), "other keys go beside it"


@pytest.mark.parametrize("entry", range(1, 12))
@pytest.mark.parametrize("written", [False, True])
def test_a_crash_changes_nothing_of_the_order(env: Env, entry: int, written: bool) -> None:
    runs = [env.start(keyed, Event(str(n), "ada", n)) for n in range(3)]
    env.plan_crash(entry, written=written)
    assert [env.finish(run).result for run in runs] == [0, 1, 2]
    assert [number for _, number in turns("ada")] == sorted(number for _, number in turns("ada"))


def test_a_failed_run_gives_its_turn_away_and_takes_another_when_it_is_redriven(env: Env) -> None:
    broken = True

    @step
    async def fails(number: int) -> int:
        log.append(("fails", "ada", number))
        if number == 0 and broken:
            raise Permanent("no")
        return number

    @flow(name="failing", key=everything)
    async def failing(number: int) -> int:
        return await fails(number)

    first, second = env.start(failing, 0), env.start(failing, 1)
    assert env.finish(first).status == "failed"
    assert env.finish(second).result == 1
    broken = False

    async def scene(life: Any) -> None:
        await repair.redrive(first.id, by="ada", store=life.mount)
        life.engine.nudge()

    env._play(scene, None)  # pyright: ignore[reportPrivateUsage]
    assert env.finish(first).result == 0


@pytest.mark.parametrize("release", [False, True])
def test_a_run_that_waits_for_a_person_holds_its_key_or_releases_it(env: Env, release: bool) -> None:
    @flow(name=f"asks-{release}", key="driver", while_waiting="release" if release else "hold")
    async def asks(driver: str, ask: bool) -> bool:
        await begin(driver, int(ask))
        answer = await ask_human("go on?") if ask else True
        await end(driver, int(ask))
        return answer

    first, second = env.start(asks, "ada", True), env.start(asks, "ada", False)
    env.advance("10m")
    assert env.record(second.id).status == ("completed" if release else "held")
    [question] = env.questions()
    env.answer(question, True, by="bob")
    assert env.finish(first).result is True
    assert env.finish(second).result is True
    order = [("begin", 1), ("begin", 0), ("end", 0), ("end", 1)] if release else in_turn(1, 0)
    assert turns("ada") == order


def test_a_child_of_its_parents_own_key_is_refused_by_name(env: Env) -> None:
    @flow(name="inner", key="driver")
    async def inner(driver: str) -> str:
        return driver

    @flow(name="between")
    async def between(driver: str) -> str:
        return await inner(driver)

    @flow(name="outer", key="driver")
    async def outer(driver: str) -> str:
        return await inner(driver)

    assert env.run(outer, "ada").result == "ada", "another flow has keys of its own"

    @flow(name="itself", key="driver")
    async def itself(driver: str, again: str) -> str:
        return await itself(again, again) if again != driver else driver

    assert env.run(itself, "ada", "bob").result == "bob"

    @flow(name="through", key="driver")
    async def through(driver: str, deep: bool) -> str:
        return await passed(driver) if deep else driver

    @flow(name="passed")
    async def passed(driver: str) -> str:
        return await through(driver, False)

    record = env.run(through, "ada", True)
    assert record.status == "failed"
    assert "each would wait for the other" in str(record.error)


def test_a_run_without_a_key_goes_by_itself(env: Env) -> None:
    @flow(name="optional", key="driver")
    async def optional(driver: str | None) -> None:
        await begin(driver or "", 0)
        await sleep(100)

    runs = [env.start(optional, None) for _ in range(3)]
    env.advance(1)
    assert len(log) == 3
    for run in runs:
        env.finish(run)


def test_an_event_that_comes_again_is_the_run_that_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path}/runs.db"):
            event = Event("e1", "ada", 1)
            handles = await asyncio.gather(*[once.start(event) for _ in range(5)])
            assert len({handle.id for handle in handles}) == 1
            assert [await handle.result() for handle in handles] == [1] * 5
            assert await once(event) == 1
            assert (await once.start(event)).id == handles[0].id
            other = await once.start(Event("e2", "ada", 1))
            assert (other.id != handles[0].id, await other.result()) == (True, 1)
            with pytest.raises(Conflict, match=rf"event 'e1' has run {handles[0].id}") as conflict:
                await once.start(Event("e1", "bob", 1))
            assert "bob" in str(conflict.value)
        async with Engine(f"sqlite:{tmp_path}/runs.db"):  # nor after a restart
            assert (await once.start(event)).id == handles[0].id

    asyncio.run(main())
    assert len(log) == 2


def test_after_the_window_it_is_another_event(env: Env) -> None:
    event = Event("e1", "ada", 1)
    first = env.run(once, event)
    env.advance("59m")
    assert env.run(once, event).id == first.id
    env.advance("2m")
    assert env.run(once, event).id != first.id
    assert len(log) == 2


def test_a_key_that_is_not_in_the_input_is_told() -> None:
    async def body(event: dict[str, str]) -> None: ...

    missing = flow(name="missing", key="event.driver")(body)
    failing = flow(name="failing-key", key=nested)(body)

    async def main() -> None:
        async with Engine("memory:"):
            with pytest.raises(UsageError, match=r"its key 'event\.driver' is not in the input: there is no 'driver'"):
                await missing({"x": "1"})
            with pytest.raises(UsageError, match="its key could not be made: TypeError"):
                await failing({"x": "1"})

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"key": "evnt.driver"}, "'evnt' is none of its parameters (event)"),
        ({"key": "event.drivr"}, "Event has no 'drivr'; there are id, driver, number"),
        ({"dedupe": misnamed}, "takes evnt; the flow has event"),
        ({"key": 5}, "is a path over the parameters, or a function of some, not 5"),
        ({"key": "event.id", "while_waiting": "both"}, "while_waiting is 'hold' or 'release', not 'both'"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(given: dict[str, Any], problem: str) -> None:
    async def body(event: Event) -> None: ...

    with pytest.raises(DeclarationError) as refused:
        flow(name="declared-wrongly", **given)(body)
    assert problem in str(refused.value)


def test_long_keys_are_told_apart(env: Env) -> None:
    @flow(name="long-keys", key="text")
    async def long_keys(text: str) -> str:
        await sleep(60)
        return text[-1]

    a, b = (env.start(long_keys, "x" * 10_000 + end) for end in "ab")
    env.advance(1)
    assert [env.record(run.id).status for run in (a, b)] == ["waiting", "waiting"] or log == []
    assert [env.finish(run).result for run in (a, b)] == ["a", "b"]


def test_the_refusal_is_an_error_of_its_own() -> None:
    assert issubclass(OwnKey, Exception)
    assert not issubclass(OwnKey, RunFailed)
