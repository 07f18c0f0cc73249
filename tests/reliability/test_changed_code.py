"""The code of a flow changes while a run of it is in flight."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import pytest

from segue import Engine, Flow, RunFailed, flow, gather, step
from segue.stores.sqlite import SqliteStore

from .looking import until

RAN: list[str] = []
GATE: dict[str, asyncio.Event] = {}

Body = Callable[[], Coroutine[Any, Any, Any]]


@step
async def load(what: str) -> str:
    RAN.append(f"load {what}")
    return what.upper()


@step
async def save(what: str) -> str:
    RAN.append(f"save {what}")
    return f"saved {what}"


@step
async def extra(what: str) -> str:
    RAN.append(f"extra {what}")
    return what


@step
async def wait_here() -> None:
    await GATE["gate"].wait()


@step
async def sort_in_place(items: list[int]) -> int:
    items.sort()
    return len(items)


def declared(body: Body, on_divergence: Literal["fail", "rerun"] = "fail") -> Flow[[], Any]:
    """This body as the flow of one name, as a deployment would put it in another's place."""

    @flow(name="changing", on_divergence=on_divergence)
    async def changing() -> Any:
        return await body()

    return changing


def deployed_amid_a_run(old: Body, new: Body, recorded: int, on_divergence: Literal["fail", "rerun"] = "fail") -> Any:
    """Run the old code until so many steps are recorded, stop, and go on with the new."""

    async def main() -> Any:
        RAN.clear()
        GATE["gate"] = asyncio.Event()
        store = SqliteStore(None)
        async with asyncio.timeout(20), Engine(store, execute=False) as engine:
            engine.execute = True
            await declared(old).options(id="r").start()
            count = "select count(*) from entries where run = 'r'"
            await until(lambda: next(iter(store.db.execute(count))) == (recorded,))
            engine.execute = False
            engine.runs.pop("r").close()
            store.db.execute("update runs set status = 'queued', worker = null")
            RAN.clear()
            GATE["gate"].set()
            changed = declared(new, on_divergence)
            engine.execute = True
            return await (await changed.handle("r")).result()

    return asyncio.run(main())


async def original() -> list[str]:
    found = [await load("a"), await load("b")]
    await wait_here()
    return [await save(each) for each in found]


def test_the_same_code_goes_on() -> None:
    assert deployed_amid_a_run(original, original, 2) == ["saved A", "saved B"]
    assert RAN == ["save A", "save B"]


def test_steps_of_other_names_come_go_and_move_without_harm() -> None:
    async def with_more() -> list[str]:
        await extra("first")
        found = [await load("a")]
        await extra("between")
        found.append(await load("b"))
        return [await save(each) for each in found]

    assert deployed_amid_a_run(original, with_more, 2) == ["saved A", "saved B"]
    assert sorted(RAN) == ["extra between", "extra first", "save A", "save B"]

    assert deployed_amid_a_run(with_more, original, 4) == ["saved A", "saved B"]

    async def moved() -> list[str]:
        saved = await save("early")
        return [await load("a"), await load("b"), saved]

    assert deployed_amid_a_run(original, moved, 2) == ["A", "B", "saved early"]
    assert RAN == ["save early"]


def test_swapped_calls_of_one_name_diverge_and_show_both_inputs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def swapped() -> list[str]:
        return [await load("b"), await load("a")]

    with pytest.raises(RunFailed) as caught:
        deployed_amid_a_run(original, swapped, 2)
    assert caught.value.error.type == "Divergence"
    assert '{"what":"b"}' in str(caught.value)
    assert '{"what":"a"}' in str(caught.value)
    assert "'load'" in str(caught.value)
    assert RAN == []


async def hold(what: str) -> str:
    found = await load(what)
    await wait_here()
    return found


async def branches() -> Any:
    return await gather(load("a"), hold("b"))


def test_a_task_added_before_another_diverges_and_shows_both_inputs() -> None:
    async def shifted() -> Any:
        return await gather(extra("new"), load("a"), hold("b"))

    with pytest.raises(RunFailed) as caught:
        deployed_amid_a_run(branches, shifted, 2)
    assert caught.value.error.type == "Divergence"
    for said in ("2/load", '{"what":"a"}', '{"what":"b"}'):
        assert said in str(caught.value)
    assert not [ran for ran in RAN if ran.startswith("load")], "a recorded call ran a second time"


def test_a_task_added_where_inputs_do_not_tell_diverges_and_names_both_places() -> None:
    async def one() -> Any:
        return await gather(hold("a"))

    async def shifted() -> Any:
        return await gather(extra("new"), hold("a"))

    with pytest.raises(RunFailed) as caught:
        deployed_amid_a_run(one, shifted, 1)
    assert caught.value.error.type == "Divergence"
    assert "1/load" in str(caught.value)
    assert "2/load" in str(caught.value)
    assert "load a" not in RAN, "a recorded call ran a second time"


def test_divergence_may_rerun_what_changed() -> None:
    async def other_input() -> list[str]:
        return [await load("a"), await load("c")]

    assert deployed_amid_a_run(original, other_input, 2, "rerun") == ["A", "C"]
    assert RAN == ["load c"]


def test_a_divergence_cannot_be_swallowed_by_the_flow() -> None:
    async def deaf() -> list[str]:
        try:
            return [await load("b")]
        except Exception:
            return [await extra("swallowed")]

    with pytest.raises(RunFailed, match="diverged"):
        deployed_amid_a_run(original, deaf, 2)
    assert RAN == []


def test_a_flow_whose_steps_are_gone_ends_with_what_it_returns() -> None:
    async def nothing() -> str:
        return "nothing"

    assert deployed_amid_a_run(original, nothing, 2) == "nothing"


def test_a_step_that_changes_its_argument_is_told_at_once_and_not_after_a_crash() -> None:
    @flow
    async def sorts() -> list[int]:
        items = [3, 1, 2]
        await sort_in_place(items)
        return items

    async def main() -> None:
        async with Engine("memory:"):
            with pytest.raises(RunFailed, match="changed an argument in place"):
                await sorts()

    asyncio.run(main())
