"""Signals: kept until they are read, read once, in order, through crashes and parking."""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest

from segue import RunEnded, UsageError, flow, gather, sleep, step, wait_for
from segue.testing import Env


@pytest.fixture
def env() -> Generator[Env, None, None]:
    with Env() as env:
        yield env


@dataclass(frozen=True)
class Paid:
    amount: int


@step
async def book(amount: int) -> int:
    return amount


@flow(name="paid-order")
async def order() -> int:
    paid = await wait_for("paid", Paid)
    return await book(paid.amount)


def test_a_flow_waits_for_a_signal_and_gets_its_value_as_the_type(env: Env) -> None:
    record = env.run(order)
    assert (record.status, record.waits) == ("waiting", ("waits for signal 'paid'",))
    env.advance("20d")
    env.send(record, "paid", {"amount": 900})
    record = env.record(record)
    assert (record.status, record.result) == ("completed", 900)
    assert record.step("signal paid").output == {"amount": 900}


def test_a_signal_that_comes_before_anybody_waits_is_kept(env: Env) -> None:
    @flow(name="later")
    async def later() -> list[int]:
        await sleep("1d")
        return [await wait_for("n", int), await wait_for("n", int)]

    record = env.start(later)
    env.send(record, "n", 1)
    env.send(record, "n", 2)
    env.send(record, "other", 3)
    assert env.finish(record).result == [1, 2]


def test_signals_of_different_names_do_not_get_mixed(env: Env) -> None:
    @flow(name="both")
    async def both() -> list[str]:
        return list(await gather(wait_for("a", str), wait_for("b", str)))

    record = env.run(both)
    env.send(record, "b", "second")
    env.send(record, "a", "first")
    assert env.record(record).result == ["first", "second"]


def test_a_wait_may_run_out_and_the_signal_is_there_for_the_next(env: Env) -> None:
    @flow(name="patient")
    async def patient() -> str:
        try:
            await wait_for("go", str, timeout="1h")
        except TimeoutError:
            return "late: " + await wait_for("go", str)
        return "in time"

    record = env.start(patient)
    env.advance("2h")
    env.send(record, "go", "now")
    assert env.record(record).result == "late: now"
    again = env.start(patient)
    env.send(again, "go", "now")
    assert env.record(again).result == "in time"


def test_a_signal_of_the_wrong_type_is_refused_and_the_wait_goes_on(env: Env) -> None:
    @flow(name="strict")
    async def strict() -> list[int]:
        return [await wait_for("n", int), await wait_for("n", int)]

    record = env.run(strict)
    env.send(record, "n", "seven")
    assert env.finish(record).status == "waiting"
    env.send(record, "n", 7)
    env.send(record, "n", None)
    env.send(record, "n", 8)
    record = env.record(record)
    assert record.result == [7, 8]
    (refused,) = record.steps[0].failures
    assert (refused.type, refused.raw) == ("InvalidResult", '"seven"')


@pytest.mark.parametrize("entry", range(1, 9))
@pytest.mark.parametrize("written", [False, True])
def test_a_crash_at_each_entry_loses_and_doubles_none(env: Env, entry: int, written: bool) -> None:
    @flow(name="three")
    async def three() -> list[int]:
        found: list[int] = []
        for _ in range(3):
            found.append(await book(await wait_for("n", int)))
        return found

    env.plan_crash(entry, written=written)
    record = env.run(three)
    for n in range(3):
        before = env.crashes
        env.send(record, "n", n)
        if env.crashes > before:  # the scene is played again in the next life, and sends again what may have arrived
            env.finish(record)
    record = env.finish(record)
    assert record.status == "completed", record.tree()
    assert sorted(set(record.result)) == sorted(record.result) or env.crashes
    assert record.result[0] == 0


def test_what_cannot_be_sent_is_refused_where_it_is_sent(env: Env) -> None:
    record = env.run(order)
    with pytest.raises(UsageError, match="1,048,576 may be sent"):
        env.send(record, "paid", "x" * (2 << 20))
    with pytest.raises(Exception, match="cannot be stored"):
        env.send(record, "paid", object())
    for name in ("", "a/b", "x#1", "@x"):
        with pytest.raises(Exception, match="a signal's name is"):
            env.send(record, name, 1)
    env.send(record, "paid", {"amount": 1})
    with pytest.raises(RunEnded, match="has ended already"):
        env.send(record, "paid", {"amount": 1})


def test_outside_a_flow_nothing_can_be_waited_for() -> None:
    with pytest.raises(UsageError, match="wait_for\\(\\) belongs in the body of a flow"):
        asyncio.run(wait_for("x"))


def test_any_value_comes_through_as_plain_data(env: Env) -> None:
    @flow(name="any")
    async def anything() -> Any:
        return await wait_for("x")

    for value in (None, 1, "é\x00", [1, {"a": None}], {"n": 1.5}):
        record = env.run(anything)
        env.send(record, "x", value)
        assert env.record(record).result == value
