"""Gates: a check between two steps, in the record."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from segue import CheckFailed, DeclarationError, RunFailed, StepFailed, UsageError, confident, flow, step
from segue.core.entries import Kind
from segue.gates import gate
from segue.runtime.failures import read_failure

from .stage import asynchronous, stage

asked: list[Any] = []
acting: dict[str, Callable[[], Awaitable[Any]]] = {}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    asked.clear()


def positive(value: int) -> bool | str:
    asked.append(value)
    return value > 0 or f"{value} is not positive"


def small(value: int) -> bool:
    asked.append(value)
    return value < 10


def negative(value: int) -> int:
    return -value


async def negative_soon(value: int) -> int:
    return -value


@step
async def negate(value: int) -> int:
    return -value


@flow
async def negated(value: int) -> int:
    return await negate(value)


@flow
async def gated() -> Any:
    return await acting["body"]()


async def played(body: Callable[[], Awaitable[Any]]) -> tuple[Any, list[tuple[Kind, str]]]:
    """What a flow of this body gives, and its journal; replayed, it asks no check again."""
    acting["body"] = body
    async with stage() as on:
        found = await _result(on.play(gated))
        entries = [(e.kind, str(e.step)) for e in await on.journal()]
        before = list(asked)
        assert str(await _result(on.again(gated))) == str(found)
        assert asked == before, "a replay asks no check again"
    return found, entries


async def _result(run: Awaitable[Any]) -> Any:
    try:
        return await run
    except RunFailed as failed:
        return failed.__cause__ or failed


@asynchronous
async def test_a_value_that_passes_is_given_back() -> None:
    assert await played(lambda: gate(5, positive, small)) == (5, [(Kind.OK, "gate")])
    assert asked == [5, 5]


INSTEAD: list[tuple[Any, Any, list[Any]]] = [
    (0, 0, []),
    (None, None, []),
    ([[]], [[]], []),
    (negative, 5, []),
    (negative_soon, 5, []),
    (negate, 5, [(Kind.OK, "negate")]),
    (negated, 5, [(Kind.OK, "tests.test_gates.negated")]),
]


@pytest.mark.parametrize(("otherwise", "given", "entries"), INSTEAD)
@asynchronous
async def test_otherwise_takes_the_place_of_a_value_that_does_not_pass(
    otherwise: Any, given: Any, entries: list[Any]
) -> None:
    found, journal = await played(lambda: gate(-5, positive, otherwise=otherwise))
    assert (found, journal) == (given, [(Kind.NOTED, "gate"), *entries])


@asynchronous
async def test_without_otherwise_the_step_fails_by_its_check() -> None:
    acting["body"] = lambda: gate(-5, small, positive, name="income")
    async with stage() as on:
        with pytest.raises(RunFailed) as failed:
            await on.play(gated)
        assert isinstance(failed.value.__cause__, StepFailed)
        assert failed.value.__cause__.step == "income"
        (entry,) = await on.journal()
    failure = read_failure(entry.output)
    assert failure.is_a(CheckFailed)
    assert "what came to 'income' does not pass positive: -5 is not positive" in failure.message
    assert (entry.kind, failure.raw) == (Kind.ERROR, "-5")


@asynchronous
async def test_every_reason_is_recorded() -> None:
    acting["body"] = lambda: gate(50, small, odd, otherwise=1)
    async with stage() as on:
        assert await on.play(gated) == 1
        (entry,) = await on.journal()
    assert b"small: it is not so" in (entry.output or b"")
    assert b"odd: odd" in (entry.output or b"")


@asynchronous
async def test_gates_of_one_name_and_in_branches_are_told_apart() -> None:
    async def both() -> list[int]:
        first = await gate(1, positive)
        second = await gate(-2, positive, otherwise=0)
        more = await asyncio.gather(*[gate(x, positive, otherwise=0) for x in (3, -4, 5)])
        return [first, second, *more]

    found, entries = await played(both)
    assert found == [1, 0, 3, 0, 5]
    assert sorted(name for _, name in entries) == ["1/gate", "2/gate", "3/gate", "gate", "gate#2"]


@asynchronous
async def test_a_flow_that_crashed_at_a_gate_asks_once_more_and_goes_on() -> None:
    acting["body"] = lambda: gate(-5, positive, otherwise=negate)
    async with stage() as on:
        assert await on.play(gated) == 5
        assert await on.again(gated, upto=1) == 5
        assert asked == [-5]
        assert await on.again(gated, upto=0) == 5
        assert asked == [-5, -5]


@asynchronous
async def test_outside_flows_a_gate_is_a_plain_check() -> None:
    assert await gate(5, positive) == 5
    assert await gate(-5, positive, otherwise=negate) == 5
    with pytest.raises(CheckFailed, match="what came to 'gate' does not pass positive") as failed:
        await gate(-5, positive)
    assert failed.value.raw == "-5"


def sorts(value: list[int]) -> None:
    value.sort()


@asynchronous
async def test_a_check_that_changes_the_value_is_named() -> None:
    found, _ = await played(lambda: gate([3, 1], sorts))
    assert "changed an argument in place" in str(found)


def odd(value: int) -> str:
    return "odd"


def longer(text: str) -> bool:
    return len(text) > 300_000


async def asks(value: int) -> bool:
    return True


def two(value: int, other: int) -> bool:
    return True


@pytest.mark.parametrize(
    ("checks", "kind", "said"),
    [
        ((), UsageError, "at least one check"),
        ((3,), DeclarationError, "a check is a function of the result, not 3"),
        ((asks,), DeclarationError, "check 'asks' is async"),
        ((negate,), DeclarationError, "check 'negate' is async"),
        ((two,), DeclarationError, "check 'two' takes other"),
    ],
    ids=["none", "number", "async", "step", "input"],
)
@asynchronous
async def test_a_bad_gate_is_refused(checks: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        await gate(1, *checks)
    found, _ = await played(lambda: gate(1, *checks))
    assert said in str(found)


@asynchronous
async def test_a_gate_takes_confidence_and_large_values() -> None:
    assert (await played(lambda: gate({"confidence": 0.2}, confident(0.7), otherwise="low")))[0] == "low"
    found, _ = await played(lambda: gate("x" * 300_000, longer, otherwise=len))
    assert found == 300_000
