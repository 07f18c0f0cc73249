"""Deadlines: how they flow down from flows and timeouts to steps, children, retries and fallbacks."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

import pytest

import segue
from segue import DeadlineTooClose, Retry, RunFailed, RunTimedOut, StepTimedOut, Timeout, flow, remaining, step
from segue.core.entries import Kind
from segue.runtime.engine import Engine
from segue.runtime.failures import read_failure
from segue.stores.sqlite import SqliteStore
from segue.testing.clock import VirtualLoop, run_virtual

from .stage import Stage

P = ParamSpec("P")


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """An async test in virtual time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(test(*args, **kwargs))

    return run


@contextlib.asynccontextmanager
async def virtual_stage() -> AsyncGenerator[Stage, None]:
    """A stage whose clock is the virtual loop's."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    store = SqliteStore(None, clock=loop.wall)
    async with Engine(store, _clock=loop.wall, _lease=1e12) as engine:
        yield Stage(engine, store)


def now() -> float:
    return asyncio.get_running_loop().time()


seen: list[Any] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    seen.clear()


def note(what: Any) -> None:
    seen.append(round(what, 3) if isinstance(what, float) else what)


@step
async def left() -> float | None:
    return remaining()


@step
def left_in_thread() -> float | None:
    return remaining()


@step(timeout=Timeout(total=2))
async def left_of_two() -> float | None:
    return remaining()


@flow
async def unlimited_child() -> float | None:
    return await left()


@flow(timeout=100)
async def long_child() -> float | None:
    return await left()


@flow(timeout=1)
async def short_child() -> float | None:
    return await left()


@flow(timeout=10)
async def nested() -> str:
    note(remaining())
    await segue.sleep(4)
    note(await left())
    note(await left_in_thread())
    note(await left_of_two())
    async with segue.timeout(3):
        note(remaining())
        async with segue.timeout("1h"):
            note(await left())
        async with segue.timeout(1):
            note(await left())
            note(await left_of_two())
        note(await asyncio.create_task(left()))
        note(await long_child())
    note(remaining())
    for child in (unlimited_child, long_child, short_child):
        note(await child())
    return "done"


@virtual
async def test_everything_sees_what_remains_and_a_replay_the_same() -> None:
    async with virtual_stage() as on:
        await on.play(nested)
        live = list(seen)
        assert live == [10, 6, 6, 2, 3, 3, 1, 1, 3, 3, 6, 6, 6, 1]
        seen.clear()
        await on.again(nested)
        assert seen == live


def test_outside_a_flow_there_is_no_deadline() -> None:
    assert remaining() is None
    assert left.run() is None


@flow
async def without() -> list[float | None]:
    async with segue.timeout(None):
        return [remaining(), await left(), await left_in_thread(), await unlimited_child()]


@virtual
async def test_without_a_deadline_nothing_remains_to_be_told() -> None:
    async with virtual_stage() as on:
        assert await on.play(without) == [None] * 4


@step(timeout=Timeout(minimum=8), retry=3)
async def thorough() -> str:
    note("thorough")
    return "thorough"


@step(timeout=Timeout(minimum=2))
async def quick() -> str:
    note("quick")
    return "quick"


@flow(timeout=20)
async def late(wait: float, ladder: str) -> str:
    await segue.sleep(wait)
    fallbacks: dict[str, Any] = {"none": None, "quick": quick, "both": [thorough, quick, "constant"]}
    found = await thorough.options(fallback=fallbacks[ladder]).outcome()
    return f"{found.value_or('-')} {found.source} {found.rung} {found.attempts} {type(found.error).__name__}"


@pytest.mark.parametrize(
    ("wait", "ladder", "said", "ran"),
    [
        (11.9, "none", "thorough model 0 1 NoneType", ["thorough"]),
        (12.1, "none", "- missing 0 1 StepFailed", []),
        (12.1, "quick", "quick fallback 1 2 StepFailed", ["quick"]),
        (12.1, "both", "quick fallback 2 3 StepFailed", ["quick"]),
        (18.1, "quick", "- missing 0 2 StepFailed", []),
        (18.1, "both", "constant fallback 3 4 StepFailed", []),
    ],
)
@virtual
async def test_what_needs_more_time_than_is_left_is_not_begun(wait: float, ladder: str, said: str, ran: Any) -> None:
    async with virtual_stage() as on:
        assert await on.play(late, wait, ladder) == said
        assert seen == ran
        refused = [e for e in await on.journal() if e.kind in (Kind.ATTEMPT, Kind.ERROR)]
        assert all(read_failure(e.output).is_a(DeadlineTooClose) for e in refused)
        assert await on.again(late) == said
        assert seen == ran


@step(retry=Retry(5, backoff=4, factor=1, jitter=0))
async def fails() -> str:
    note("fails")
    raise ConnectionError("no route")


async def an_hour() -> str:
    await asyncio.sleep(3600)
    return "after an hour"


@flow
async def within(limit: float, constant: bool) -> str:
    started = segue.now()
    try:
        async with segue.timeout(limit):
            found = await fails.options(fallback="constant" if constant else None).outcome()
            return f"{found.value_or('-')} {found.rung} {found.attempts} {segue.now() - started:g}"
    except TimeoutError:
        return f"timeout {segue.now() - started:g}"


@pytest.mark.parametrize(
    ("limit", "constant", "said"),
    [(9, True, "constant 1 4 8"), (9, False, "- 0 3 8"), (100, True, "constant 1 7 20"), (3, True, "constant 1 2 0")],
)
@virtual
async def test_no_retry_is_scheduled_beyond_the_deadline(limit: float, constant: bool, said: str) -> None:
    async with virtual_stage() as on:
        assert await on.play(within, limit, constant) == said
        assert await on.again(within) == said


@step(timeout=Timeout(attempt=5, total=12), retry=Retry(9, backoff=0))
async def hangs() -> str:
    note("hangs")
    await asyncio.sleep(3600)
    return "never"


@flow
async def in_all(ladder: str) -> str:
    started = segue.now()
    fallbacks: dict[str, Any] = {"none": None, "slow": an_hour, "constant": [an_hour, "constant"]}
    found = await hangs.options(fallback=fallbacks[ladder]).outcome()
    assert found.error is None or isinstance(found.error, StepTimedOut | segue.StepFailed)
    return f"{found.value_or('-')} {found.source} {found.attempts} {segue.now() - started:g}"


@pytest.mark.parametrize(
    ("ladder", "said"),
    [("none", "- missing 3 12"), ("slow", "- missing 3 12"), ("constant", "constant fallback 4 12")],
)
@virtual
async def test_the_total_bounds_the_whole_ladder(ladder: str, said: str) -> None:
    async with virtual_stage() as on:
        assert await on.play(in_all, ladder) == said
        assert seen == ["hangs"] * 3
        assert await on.again(in_all) == said


@flow(timeout=7)
async def runs_out() -> str:
    return await hangs.options(timeout=None, retry=0, degraded="constant")()


@virtual
async def test_a_flow_that_runs_out_of_time_ends_then() -> None:
    async with virtual_stage() as on:
        started = now()
        with pytest.raises(RunTimedOut, match="no result within 7 s"):
            await on.play(runs_out)
        assert now() - started == pytest.approx(7, abs=0.2)


@flow
async def sleeper() -> str:
    await segue.sleep(20)
    return "slept"


@flow(timeout=5)
async def parent() -> str:
    return await sleeper()


@virtual
async def test_a_child_ends_with_its_parents_time() -> None:
    async with virtual_stage() as on:
        started = now()
        with pytest.raises(RunFailed):
            await on.play(parent)
        assert now() - started == pytest.approx(5, abs=0.5)
