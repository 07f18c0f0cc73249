"""What a flow's body uses besides steps: outside it does what its name says, in a flow it replays."""

import asyncio
import logging
import random
import time
import uuid
from typing import Any

import pytest

import segue
from segue import Retry, RunInfo, StepFailed, UsageError, current_run, flow, gather, idempotency_key, log, step

from . import processing
from .stage import asynchronous, stage

keys: list[str] = []
infos: list[RunInfo] = []
stopped: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    keys.clear()
    infos.clear()
    stopped.clear()


@step
async def echo(text: str) -> str:
    return text


@step
async def fails(text: str) -> str:
    raise ValueError(text)


@step
async def slow() -> str:
    try:
        await asyncio.Event().wait()
    finally:
        stopped.append("slow")
    return "never"


# gather


@flow
async def gathers() -> tuple[str, str, str]:
    return await gather(echo("a"), echo("b"), echo("c"))


@flow
async def gathers_a_failure() -> str:
    try:
        await gather(slow(), fails("b"), echo("c"))
    except StepFailed as failed:
        return f"{failed}; stopped {await echo('after')}"
    return "no failure"


@flow
async def gathers_nothing() -> list[str]:
    found: tuple[str, ...] = await gather()
    return list(found)


@asynchronous
async def test_gather_gives_the_results_in_order_live_and_replayed() -> None:
    async with stage() as on:
        assert await on.play(gathers) == ("a", "b", "c")
        assert await on.again(gathers) == ("a", "b", "c")
        assert on.attempts() == []


@asynchronous
async def test_when_one_of_gather_fails_the_others_are_cancelled_and_that_is_recorded() -> None:
    async with stage() as on:
        found = await on.play(gathers_a_failure)
        assert found == "step '2/fails' failed: ValueError: b; stopped after"
        assert stopped == ["slow"]
        assert {str(entry.step): entry.kind.name for entry in await on.journal()} == {
            "1/slow": "CANCELLED", "2/fails": "ERROR", "3/echo": "OK", "echo": "OK",
        }  # fmt: skip
        assert await on.again(gathers_a_failure) == found
        assert on.attempts() == []


@asynchronous
async def test_gather_of_nothing_is_nothing() -> None:
    assert await gather() == ()
    async with stage() as on:
        assert await on.play(gathers_nothing) == []


@asynchronous
async def test_outside_flows_gather_runs_calls_together_and_cancels_after_a_failure() -> None:
    assert await gather(echo("a"), asyncio.sleep(0, 1)) == ("a", 1)
    with pytest.raises(ValueError, match="b"):
        await gather(slow(), fails("b"))
    assert stopped == ["slow"]


# Time, randomness, ids


@flow
async def draws(pauses: int) -> list[Any]:
    found: list[Any] = [segue.now(), segue.random(), segue.uuid4()]
    for _ in range(pauses):
        await segue.sleep(0.001)
        found += [segue.now(), segue.random(), str(segue.uuid4())]
    return [str(part) for part in found]


@asynchronous
async def test_time_and_randomness_are_the_same_at_each_replay() -> None:
    async with stage() as on:
        first = await on.play(draws, 3)
        assert len(set(first)) == len(first)
        assert await on.again(draws) == first
        assert (await on.again(draws, upto=2))[:9] == first[:9]
        other = await draws(3)
    assert set(other[1::3]).isdisjoint(first[1::3])


@flow
async def reads_the_clock() -> list[float]:
    before = segue.now()
    await segue.sleep("10ms")
    return [before, segue.now(), asyncio.get_running_loop().time()]


@asynchronous
async def test_a_flows_time_moves_with_its_journal() -> None:
    async with stage() as on:
        began = time.time()
        before, after, of_loop = await on.play(reads_the_clock)
    assert began - 1 <= before <= after - 0.01
    assert after == of_loop


@asynchronous
async def test_outside_flows_each_does_what_its_name_says() -> None:
    assert abs(segue.now() - time.time()) < 1
    assert 0 <= segue.random() < 1
    assert segue.uuid4().version == 4
    assert segue.uuid4() != segue.uuid4()
    await segue.sleep(0)
    with pytest.raises(TimeoutError):
        async with segue.timeout("1ms"):
            await asyncio.Event().wait()
    async with segue.timeout(None):
        await segue.sleep("0s")


@flow
async def gives_ids() -> list[uuid.UUID]:
    return [segue.uuid4() for _ in range(3)]


@asynchronous
async def test_an_id_in_a_flow_is_a_random_uuid_by_its_form() -> None:
    async with stage() as on:
        ids = await on.play(gives_ids)
    assert {(id.version, id.variant) for id in ids} == {(4, uuid.RFC_4122)}
    assert len(set(ids)) == 3


@flow
async def limits() -> str:
    try:
        async with segue.timeout("10ms"):
            return await slow()
    except TimeoutError:
        return await echo("instead")


@asynchronous
async def test_a_timeout_in_a_flow_is_durable() -> None:
    async with stage() as on:
        assert await on.play(limits) == "instead"
        assert await on.again(limits) == "instead"
        assert on.attempts() == []


# Which run, and its keys


@step(retry=Retry(2, backoff=0))
async def pays(amount: int) -> str:
    infos.append(current_run())
    keys.append(idempotency_key())
    if len(keys) % 3:
        raise ConnectionError("again")
    return keys[-1]


@flow
async def pays_twice() -> list[str]:
    return [await pays(1), await pays(1)]


@asynchronous
async def test_an_idempotency_key_is_one_for_all_attempts_and_replays_of_a_step_and_no_other() -> None:
    async with stage() as on:
        first, second = await on.play(pays_twice)
        assert keys == [first] * 3 + [second] * 3
        assert first != second
        keys.clear()
        assert await on.again(pays_twice, upto=0) == [first, second]
        assert len(keys) == 6
        assert set(await pays_twice()).isdisjoint({first, second})


@asynchronous
async def test_a_step_knows_its_run_itself_and_its_attempt() -> None:
    async with stage() as on:
        await on.play(pays_twice)
    assert infos[0] == RunInfo("main", "tests.test_inside.pays_twice", "pays", 1)
    assert [(info.step, info.attempt) for info in infos[2:4]] == [("pays", 3), ("pays#2", 1)]


@step(retry=0)
def thread_knows() -> list[str]:
    return [current_run().id, idempotency_key()]


@flow
async def knows() -> list[Any]:
    in_flow = current_run()
    return [in_flow.id, in_flow.flow, in_flow.step, await thread_knows()]


@asynchronous
async def test_a_flow_and_a_step_in_a_thread_know_their_run() -> None:
    async with stage() as on:
        id, name, in_step, (from_thread, key) = await on.play(knows)
    assert (id, name, in_step, from_thread) == ("main", "tests.test_inside.knows", None, "main")
    assert len(key) == 32


@flow
async def process_knows() -> list[str]:
    return await processing.knows()


@asynchronous
async def test_a_step_in_a_process_knows_its_run_too() -> None:
    async with stage() as on:
        run, name, in_step, attempt, key = await on.play(process_knows)
    assert (run, name, in_step, attempt) == ("main", "tests.test_inside.process_knows", "knows", "1")
    assert len(key) == 32


@flow
async def replays() -> list[bool]:
    found = [current_run().replaying]
    await echo("a")
    found.append(current_run().replaying)
    await echo("b")
    infos.append(current_run())
    return found


@asynchronous
async def test_a_flow_knows_whether_it_is_replayed() -> None:
    async with stage() as on:
        assert await on.play(replays) == [False, False]
        assert await on.again(replays, upto=1) == [True, False]


@flow
async def wants_a_key() -> str:
    return idempotency_key()


@asynchronous
async def test_a_key_belongs_in_a_step() -> None:
    with pytest.raises(UsageError, match="belongs in a step that a flow has called"):
        idempotency_key()
    with pytest.raises(UsageError, match=r"current_run\(\) belongs in a flow"):
        current_run()
    async with stage() as on:
        with pytest.raises(segue.RunFailed, match="belongs in a step that a flow has called"):
            await on.play(wants_a_key)


# Logging


@step
async def logs_in_step() -> None:
    log.info("in the step")


@flow
async def logs() -> None:
    log.info("begins")
    await logs_in_step()
    log.warning("after %s", "the step", extra={"more": 1})
    await logs_in_step()
    log.info("ends")


@asynchronous
async def test_a_log_says_each_thing_once_however_often_the_flow_is_replayed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "segue.flow")
    async with stage() as on:
        await on.play(logs)
        said = [record.getMessage() for record in caplog.records if record.name == "segue.flow"]
        assert said == ["begins", "in the step", "after the step", "in the step", "ends"]
        record: Any = next(record for record in caplog.records if record.getMessage() == "after the step")
        assert (record.run, record.flow, record.more) == ("main", "tests.test_inside.logs", 1)
        caplog.clear()
        await on.again(logs, upto=1)
        said = [record.getMessage() for record in caplog.records if record.name == "segue.flow"]
        assert said == ["after the step", "in the step", "ends"]


def test_a_log_works_outside_flows(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "segue.flow")
    log.info("plainly")
    assert caplog.messages == ["plainly"]


@asynchronous
async def test_plain_randomness_and_clocks_are_left_alone() -> None:
    random.seed(1)
    first = random.random()
    random.seed(1)
    async with stage() as on:
        await on.play(draws, 1)
    assert random.random() == first
