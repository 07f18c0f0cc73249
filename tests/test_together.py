"""Calls at the same time: outcomes in place of the first failure, deadlines, and one call for each of many items."""

import asyncio
import gc
import random as chance
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, TypeVar, cast

import pytest

import segue
from segue import Outcome, RunFailed, TooFewOk, UsageError, flow, gather, step
from segue.core.entries import Kind
from segue.together import map_over

from .stage import Stage, asynchronous, stage

R = TypeVar("R")

DEADLINE = "20ms"
DEADLINES = 0.02

gates: dict[str, asyncio.Event] = {}
over: dict[str, asyncio.Event] = {}
ran: list[Any] = []
stopped: list[Any] = []
width = 4


@pytest.fixture(autouse=True)
def _fresh() -> None:
    fresh()


def fresh() -> None:
    for store in (gates, over, ran, stopped):
        store.clear()


@step
async def echo(text: str) -> str:
    ran.append(text)
    return text


@step
async def fails(text: str) -> str:
    raise ValueError(text)


tries = 0


@step(retry=segue.Retry(2, backoff=0))
async def stubborn(text: str) -> str:
    global tries
    tries += 1
    if tries % 3:
        raise ConnectionError("again")
    return text


@step
async def held(name: str) -> str:
    """Ends when its gate is opened."""
    done = over[name] = asyncio.Event()
    try:
        await gates.setdefault(name, asyncio.Event()).wait()
        if name.endswith("!"):
            raise ValueError(name)
        return f"late {name}"
    except asyncio.CancelledError:
        stopped.append(name)
        raise
    finally:
        done.set()


@step
async def let(name: str) -> str:
    """Opens a gate, and ends after whoever stood there."""
    gates.setdefault(name, asyncio.Event()).set()
    if name in over:
        await over[name].wait()
    return f"let {name}"


@flow
async def greet(name: str) -> str:
    if name == "nobody":
        raise ValueError("nobody there")
    return await echo(f"hello {name}")


def told(outcome: Outcome[Any]) -> list[Any]:
    error = "" if outcome.error is None else f"{type(outcome.error).__name__}: {outcome.error}"
    return [outcome.ok, outcome.value_or(None), outcome.source, outcome.attempts, error]


async def ends(on: Stage) -> dict[str, str]:
    """What is recorded to have ended, and how, in order."""
    return {entry.step: entry.kind.name for entry in await on.journal() if entry.kind is not Kind.CLAIM}


async def at_each_place(on: Stage, program: segue.Flow[..., R], *args: Any, again: Callable[[], None] = fresh) -> R:
    """Play a flow, crash it after each of its entries, and hold what is resumed to what was seen."""
    found = await on.play(program, *args)
    entries = await on.journal()
    recorded = await ends(on)
    for upto in range(len(entries), -1, -1):
        again()
        assert await on.again(program, upto=upto) == found, f"cut after {upto} entries"
        rerun = {name for name, _ in on.attempts()}
        kept = {entry.step for entry in entries[:upto] if entry.kind is not Kind.ATTEMPT}
        assert rerun.isdisjoint(kept), f"cut after {upto} entries"
        assert await ends(on) == recorded
    return found


def frozen() -> Any:
    """A stage whose time stands still: a deadline is as far off after a crash as it was before."""
    return stage(_clock=partial(float, time.time()))


# gather(partial=True)


@flow
async def some() -> list[list[Any]]:
    return [told(o) for o in await gather(echo("a"), fails("b"), stubborn("c"), greet("nobody"), partial=True)]


@asynchronous
async def test_each_call_has_its_outcome_live_and_replayed() -> None:
    async with stage() as on:
        found = await on.play(some)
        run = found[3][4].split()[2]
        assert found == [
            [True, "a", "model", 1, ""],
            [False, None, "missing", 1, "StepFailed: step '2/fails' failed: ValueError: b"],
            [True, "c", "model", 3, ""],
            [False, None, "missing", 1, f"RunFailed: run {run} of '{greet.name}' failed: ValueError: nobody there"],
        ]
        assert await on.again(some) == found
        assert on.attempts() == []


@step(degraded="no idea")
async def guesses(text: str) -> str:
    raise ValueError(text)


@flow
async def fall_back() -> list[Any]:
    async def around(text: str) -> str:
        return await guesses(text)

    found: Any = await gather(guesses("a"), around("b"), guesses.outcome("c"), partial=True)
    mapped: Any = await map_over(guesses, ["d"], name="guesses", partial=True)
    outcomes = [found[0], found[1], found[2].value, mapped[0]]
    return [[o.value, o.source, o.rung, bool(o.error)] for o in outcomes]


@asynchronous
async def test_the_outcome_of_a_step_says_where_its_value_came_from() -> None:
    async with stage() as on:
        assert await at_each_place(on, fall_back) == [
            ["no idea", "degraded", 1, True],
            ["no idea", "model", 0, False],  # a call of one's own vouches for itself
            ["no idea", "degraded", 1, True],
            ["no idea", "degraded", 1, True],
        ]


@flow
async def late() -> list[list[Any]]:
    found = await gather(echo("a"), held("b"), held("c!"), fails("d"), partial=True, deadline=DEADLINE)
    await let("b")
    await let("c!")
    return [told(o) for o in found]


@asynchronous
async def test_after_the_deadline_what_is_late_is_recorded_and_not_used(caplog: pytest.LogCaptureFixture) -> None:
    too_late = "TooLate: no result within 0.02 s; its late result is recorded and not used"
    async with frozen() as on:
        assert await at_each_place(on, late) == [
            [True, "a", "model", 1, ""],
            [False, None, "missing", 0, too_late],
            [False, None, "missing", 0, too_late],
            [False, None, "missing", 1, "StepFailed: step '4/fails' failed: ValueError: d"],
        ]
        recorded = {entry.step: entry.kind for entry in await on.journal()}
        assert recorded["2/held"] is Kind.OK
        assert recorded["3/held"] is Kind.ERROR
        assert list(recorded).index("@timer") < list(recorded).index("2/held")
    gc.collect()
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


@flow
async def returns_at_the_deadline() -> list[bool]:
    found = await gather(held("a"), echo("b"), partial=True, deadline=DEADLINE)
    return [isinstance(found[0].error, TimeoutError), found[1].ok]


@asynchronous
async def test_what_is_late_when_the_flow_returns_is_cancelled() -> None:
    async with frozen() as on:
        assert await at_each_place(on, returns_at_the_deadline) == [True, True]
        assert await ends(on) == {
            "1/held": "CANCELLED", "2/echo": "OK", "@timer": "TIMER",
        }  # fmt: skip


@flow
async def in_time() -> list[str | None]:
    found = await gather(echo("a"), echo("b"), partial=True, deadline="1h", min_ok=2)
    return [outcome.value for outcome in found]


@asynchronous
async def test_nothing_waits_for_the_deadline_when_all_are_there() -> None:
    async with stage() as on:
        assert await at_each_place(on, in_time) == ["a", "b"]
        assert await ends(on) == {"1/echo": "OK", "2/echo": "OK"}


@flow
async def too_few(deadline: bool) -> str:
    try:
        await gather(echo("a"), fails("b"), held("c"), partial=True, deadline=DEADLINE if deadline else None, min_ok=2)
    except TooFewOk as error:
        return f"{error}|{[o.ok for o in error.outcomes]}|{error.min_ok}"
    return "enough"


@asynchronous
async def test_too_few_results_are_an_error_that_says_why() -> None:
    async with frozen() as on:
        assert await at_each_place(on, too_few, True) == (
            "1 of 3 gave a result; min_ok is 2\n"
            "  - [1] StepFailed: step '2/fails' failed: ValueError: b\n"
            "  - [2] TooLate: no result within 0.02 s; its late result is recorded and not used"
            "|[True, False, False]|2"
        )


@asynchronous
async def test_an_error_of_many_shows_some() -> None:
    with pytest.raises(TooFewOk) as caught:
        await gather(*[fails(str(i)) for i in range(1500)], partial=True, min_ok=1)
    lines = str(caught.value).splitlines()
    assert lines[0] == "0 of 1500 gave a result; min_ok is 1"
    assert lines[20:] == ["  - [19] ValueError: 19", "  - … and 1,480 more: see .outcomes"]


@flow
async def nested() -> list[Any]:
    async def wrapped(name: str) -> str:
        return f"{await echo(name)} {await echo(name)}"

    inner = gather(held("x"), wrapped("y"), partial=True, deadline=DEADLINE)
    outer = await gather(inner, wrapped("z"), gather(fails("v"), partial=True, min_ok=1), partial=True)
    await let("x")
    return [[told(o) for o in outer[0].value], told(outer[1]), type(outer[2].error).__name__]


@asynchronous
async def test_gathers_nest() -> None:
    async with frozen() as on:
        first, second, third = await at_each_place(on, nested)
    assert [told[:2] for told in first] == [[False, None], [True, "y y"]]
    assert (second, third) == ([True, "z z", "model", 1, ""], "TooFewOk")


@flow
async def gives_up() -> str:
    try:
        async with segue.timeout(DEADLINE):
            await gather(held("a"), held("b"), partial=True, deadline="1h")
    except TimeoutError:
        return await echo("gave up")
    return "waited"


@asynchronous
async def test_when_gather_is_cancelled_its_calls_are_and_have_ended() -> None:
    async with frozen() as on:
        assert await at_each_place(on, gives_up) == "gave up"
        assert stopped == ["a", "b"]
        assert await ends(on) == {"@timer": "TIMER", "1/held": "CANCELLED", "2/held": "CANCELLED", "echo": "OK"}


@flow
async def is_cancelled_before_it_begins() -> str:
    async def both() -> None:
        await gather(echo("a"), echo("b"), partial=True)

    async def at_once() -> None:
        task.cancel()

    task = asyncio.create_task(both())
    other = asyncio.create_task(at_once())
    await asyncio.wait([task, other])
    return f"{task.cancelled()}"


@asynchronous
async def test_calls_that_were_cancelled_before_they_began_are_closed() -> None:
    async with stage() as on:
        assert await on.play(is_cancelled_before_it_begins) == "True"
    gc.collect()
    assert ran == []


@flow
async def of_futures() -> list[list[Any]]:
    done = asyncio.create_task(echo("a"))
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()
    return [told(o) for o in await gather(done, gone, echo("b"), partial=True)]


@asynchronous
async def test_tasks_and_futures_have_outcomes_too() -> None:
    async with stage() as on:
        assert await at_each_place(on, of_futures) == [
            [True, "a", "model", 1, ""],
            [False, None, "missing", 1, "NoResult: it was cancelled"],
            [True, "b", "model", 1, ""],
        ]


@asynchronous
async def test_outside_flows_it_does_the_same_without_a_record(caplog: pytest.LogCaptureFixture) -> None:
    found = await gather(echo("a"), held("b"), held("c!"), fails("d"), partial=True, deadline=DEADLINES, min_ok=1)
    assert [told(o)[:2] for o in found] == [[True, "a"], [False, None], [False, None], [False, None]]
    assert str(found[1].error) == "no result within 0.02 s; its late result is not used"
    gc.collect()
    await let("b")
    await let("c!")
    await asyncio.sleep(0)
    gc.collect()
    assert stopped == []
    assert caplog.records == []
    with pytest.raises(TimeoutError):
        async with segue.timeout(DEADLINE):
            await gather(held("e"), held("f"), partial=True)
    assert stopped == ["e", "f"]


@asynchronous
async def test_nothing_gives_nothing() -> None:
    assert await gather(partial=True, deadline=1) == ()
    with pytest.raises(TooFewOk, match="0 of 0 gave a result; min_ok is 1"):
        await gather(partial=True, min_ok=1)


@asynchronous
async def test_what_cannot_be_is_refused_and_leaves_no_coroutine_behind() -> None:
    wrong: Any = gather
    with pytest.raises(
        UsageError, match=r"cannot await argument 0, \[.*\]: write gather\(\*calls\), not gather\(calls\)"
    ):
        await wrong([echo("a"), echo("b")])
    with pytest.raises(UsageError, match=r"argument 0, <generator .*write gather\(\*calls\)"):
        await wrong(echo(name) for name in "ab")
    with pytest.raises(UsageError, match=r"argument 1, <step echo>: call it"):
        await wrong(echo("a"), echo, partial=True)
    with pytest.raises(UsageError, match="argument 0, 3: give it calls"):
        await wrong(3)
    with pytest.raises(UsageError, match=r"gather\(\): deadline= belongs to partial=True.*segue\.timeout"):
        await wrong(echo("a"), deadline=3)
    with pytest.raises(UsageError, match=r"gather\(\): min_ok= belongs to partial=True"):
        await wrong(echo("a"), min_ok=1)
    for min_ok in (-1, True, 1.5):
        with pytest.raises(UsageError, match="min_ok is a number of results"):
            await wrong(echo("a"), partial=True, min_ok=min_ok)
    with pytest.raises(segue.DeclarationError, match="not a duration"):
        await wrong(echo("a"), partial=True, deadline="soon")
    gc.collect()
    assert ran == []


# Random flows


@step
async def dawdle(name: str) -> str:
    """Takes a random while, and may fail."""
    for _ in range(chance.randrange(12)):
        await asyncio.sleep(chance.choice((0, 0.0005)))
    if chance.random() < 0.15:
        raise ValueError(name)
    return f"{name} {chance.random()}"


seen: list[Any] = []


@flow
async def chaotic(seed: int) -> list[Any]:
    shape = chance.Random(seed)

    async def one(depth: int) -> Any:
        kind = shape.choice(("step", "step", "gather", "map")) if depth < 3 else "step"
        if kind == "step":
            value = await dawdle(f"{shape.randrange(3)}")
            seen.append(value)
            return value
        deadline = shape.choice((None, 0.001, 0.003))
        if kind == "gather":
            calls = [one(depth + 1) for _ in range(shape.randrange(1, 5))]
            found: Any = await gather(*calls, partial=True, deadline=deadline)
        else:
            items = [f"{i}" for i in range(shape.randrange(6))]
            found = await map_over(
                dawdle, items, name="dawdle", concurrency=shape.randrange(1, 4), deadline=deadline, partial=True
            )
        seen.append([told(o) for o in found])
        return seen[-1]

    return [await one(0), await one(0), await one(0)]


@pytest.mark.parametrize("seed", range(40))
def test_random_flows_replay_exactly_however_they_were_cut(seed: int) -> None:
    @asynchronous
    async def whole() -> None:
        seen.clear()
        try:
            async with stage() as on:
                found = await result(on.play(chaotic, seed))
                entries = len(await on.journal())
                for upto in (entries, chance.Random(seed).randrange(entries + 1)):
                    before = list(seen)
                    seen.clear()
                    resumed = await result(on.again(chaotic, upto=upto))
                    if upto == entries:
                        assert (resumed, seen, on.attempts()) == (found, before, [])
                    found = resumed
                before = list(seen)
                seen.clear()
                assert (await result(on.again(chaotic)), seen, on.attempts()) == (found, before, [])
        finally:
            seen.clear()

    async def result(call: Awaitable[Any]) -> Any:
        try:
            return await call
        except RunFailed as failed:
            return failed.error.message

    whole()


# map


def mapped(call: Any, items: Any, **options: Any) -> Any:
    return map_over(call, items, name=call.name.rpartition(".")[2], **options)


running = most = 0


@step
async def double(number: int) -> int:
    global running, most
    running += 1
    most = max(most, running)
    ran.append(number)
    try:
        for _ in range(1 + number % 5):
            await asyncio.sleep(0)
    finally:
        running -= 1
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number


@flow
async def doubles(numbers: list[int]) -> list[int]:
    alive: list[int] = [0]

    def items() -> Iterator[int]:
        for number in numbers:
            alive.append(len(asyncio.all_tasks()))
            yield number

    found = await mapped(double, items(), concurrency=width)
    assert max(alive) <= width + 1
    return found


@pytest.mark.parametrize("concurrency", [1, 4, 100])
@asynchronous
async def test_results_come_in_the_order_of_the_items_with_few_under_way(concurrency: int) -> None:
    global width, most
    width, most = concurrency, 0
    numbers = list(range(50, 0, -1))
    async with stage() as on:
        assert await on.play(doubles, numbers) == [2 * number for number in numbers]
        assert most == min(width, 50)
        assert [e.step for e in await on.journal() if (e.input or b"")[-1:] == b"\x03"][:1] == ["double@map[47]/double"]
        assert await on.again(doubles) == [2 * number for number in numbers]
        assert on.attempts() == []
    most = 0
    assert await mapped(double, iter(numbers), concurrency=width) == [2 * number for number in numbers]
    assert most == min(width, 50)


@pytest.mark.parametrize(("before", "after"), [(4, 1), (4, 3), (1, 4), (2, 100)])
@asynchronous
async def test_the_concurrency_may_change_while_a_run_is_in_flight(before: int, after: int) -> None:
    global width

    def change() -> None:
        global width
        width = after

    width = before
    async with stage() as on:
        assert await at_each_place(on, doubles, [7, 5, 9, 6, 8, 3], again=change) == [14, 10, 18, 12, 16, 6]


@step
async def backwards(text: str) -> str:
    """The sooner it is called, the later it ends."""
    ran.append(text)
    for _ in range(20 - 3 * len(ran)):
        await asyncio.sleep(0)
    return text


@flow
async def repeats() -> list[str]:
    return await mapped(backwards, "ababa", concurrency=width)


@pytest.mark.parametrize(
    ("before", "after"),
    [(5, 1), (5, 2), (1, 5)],
)
@asynchronous
async def test_so_it_may_when_items_are_equal(before: int, after: int) -> None:
    global width

    def change() -> None:
        global width
        width = after
        fresh()

    width = before
    async with stage() as on:
        assert await at_each_place(on, repeats, again=change) == list("ababa")


@flow
async def drawn() -> list[Any]:
    def items() -> Iterator[str]:
        for _ in range(6):
            yield f"{segue.random()} {segue.uuid4()}"

    return [await mapped(echo, items(), concurrency=width), segue.random()]


@asynchronous
async def test_what_makes_the_items_may_draw_random_numbers() -> None:
    global width

    def change() -> None:
        global width
        width = 2

    width = 4
    async with stage() as on:
        found = await at_each_place(on, drawn, again=change)
    assert len({*found[0], found[1]}) == 7


@flow
async def maps_twice() -> list[Any]:
    async def branch(numbers: list[int]) -> list[int]:
        return await mapped(double, numbers)

    first = await mapped(double, [1, 2])
    second = await mapped(double, (number for number in first))
    both = await gather(branch(second), branch(first))
    return [first, second, *both, await double(1), await mapped(greet, ["Ada", "Bob"]), await mapped(echo, "xy")]


@asynchronous
async def test_several_maps_in_a_flow_are_kept_apart_and_shift_nothing() -> None:
    async with stage() as on:
        found = await at_each_place(on, maps_twice)
        assert found == [[2, 4], [4, 8], [8, 16], [4, 8], 2, ["hello Ada", "hello Bob"], ["x", "y"]]
        steps = [e.step for e in await on.journal()]
        for known in ("double@map[1]/double", "double@map#2[0]/double", "2/double@map[1]/double", "double"):
            assert known in steps


@flow
async def maps_the_held() -> str:
    async def call(name: str) -> str:
        return await (held(name) if name.startswith("held") else fails(name))

    try:
        await map_over(call, ["held", "held too", "b", "c", "d"], name="either", concurrency=3)
    except segue.StepFailed as failed:
        return f"{failed}|{failed.__notes__}"
    return "nothing failed"


@asynchronous
async def test_the_first_failure_ends_the_rest_and_names_its_item() -> None:
    async with stage() as on:
        assert await on.play(maps_the_held) == (
            "step 'either@map[2]/fails' failed: ValueError: b|['It was item 2 of either.map()']"
        )
        assert stopped == ["held", "held too"]
        assert {e.step for e in await on.journal()} == {
            "either@map[0]/held", "either@map[1]/held", "either@map[2]/fails",
        }  # fmt: skip
        assert await on.again(maps_the_held)
        assert on.attempts() == []
    with pytest.raises(ValueError, match="-2 is negative") as caught:
        await mapped(double, [1, -2, 3])
    assert caught.value.__notes__ == ["It was item 1 of double.map()"]


@flow
async def maps_some() -> list[Any]:
    numbers = [1, -2, 3, -4]
    return [told(o)[:4] for o in await mapped(double, numbers, partial=True, min_ok=2, concurrency=2)]


@flow
async def maps_until() -> list[Any]:
    names = ["a", "b", "c!", "d", "e"]
    found = await mapped(held, (name for name in names), partial=True, deadline=DEADLINE, concurrency=3)
    await let("b")
    await let("c!")
    return [told(o) for o in found]


@flow
async def maps_too_few() -> str:
    try:
        await mapped(held, "abc", partial=True, deadline=DEADLINE, concurrency=2, min_ok=1)
    except TooFewOk as error:
        return str(error)
    return "enough"


@asynchronous
async def test_partial_results_of_a_map() -> None:
    global width
    async with frozen() as on:
        assert await at_each_place(on, maps_some) == [
            [True, 2, "model", 1], [False, None, "missing", 1], [True, 6, "model", 1], [False, None, "missing", 1],
        ]  # fmt: skip


@asynchronous
async def test_after_the_deadline_no_further_item_is_begun(caplog: pytest.LogCaptureFixture) -> None:
    async with frozen() as on:
        late = [False, None, "missing", 0, "TooLate: no result within 0.02 s; its late result is recorded and not used"]
        never = [False, None, "missing", 0, "NoResult: not begun within 0.02 s"]
        assert await at_each_place(on, maps_until) == [late, late, late, never, never]
        assert await ends(on) == {
            "@timer": "TIMER", "let": "OK", "let#2": "OK",
            "held@map[0]/held": "CANCELLED", "held@map[1]/held": "OK", "held@map[2]/held": "ERROR",
        }  # fmt: skip
    gc.collect()
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


@asynchronous
async def test_a_map_with_too_few_results_says_why() -> None:
    async with frozen() as on:
        assert (await at_each_place(on, maps_too_few)).splitlines() == [
            "0 of 3 gave a result; min_ok is 1",
            "  - [0] TooLate: no result within 0.02 s; its late result is recorded and not used",
            "  - [1] TooLate: no result within 0.02 s; its late result is recorded and not used",
            "  - [2] NoResult: not begun within 0.02 s",
        ]


@asynchronous
async def test_outside_flows_a_map_keeps_its_deadline_too() -> None:
    def endless() -> Iterator[int]:
        while asyncio.get_running_loop().time() < until:
            yield 1

    until = asyncio.get_running_loop().time() + 3 * DEADLINES
    found = await mapped(double, endless(), partial=True, deadline=DEADLINES)
    assert found[0].value == 2
    assert str(found[-1].error) == "not begun within 0.02 s"


@flow
async def maps_from_what_breaks(at: int) -> str:
    def items() -> Iterator[str]:
        for index in range(6):
            if index == at:
                raise LookupError("no more rows")
            yield f"held{index}" if index else "a"

    async def call(name: str) -> str:
        return await (held(name) if name.startswith("held") else echo(name))

    try:
        await map_over(call, items(), name="either", concurrency=3, partial=True)
    except LookupError as error:
        return f"{error}|{getattr(error, '__notes__', [])}"
    return "nothing broke"


@pytest.mark.parametrize(("at", "begun"), [(0, 0), (2, 0), (3, 2)])
@asynchronous
async def test_when_the_items_break_off_what_runs_is_cancelled(at: int, begun: int) -> None:
    async with stage() as on:
        assert await at_each_place(on, maps_from_what_breaks, at) == "no more rows|[]"
        assert len(stopped) == begun
    gc.collect()


@flow
async def maps_and_gives_up() -> str:
    try:
        async with segue.timeout(DEADLINE):
            await mapped(held, ["a", "b", "c"], concurrency=2)
    except TimeoutError:
        return await echo("gave up")
    return "waited"


@asynchronous
async def test_when_a_map_is_cancelled_its_calls_are_and_have_ended() -> None:
    async with frozen() as on:
        assert await at_each_place(on, maps_and_gives_up) == "gave up"
        assert stopped == ["a", "b"]
        assert list((await ends(on)).values()) == ["TIMER", "CANCELLED", "CANCELLED", "OK"]


@asynchronous
async def test_a_map_of_nothing_and_what_cannot_be() -> None:
    assert await mapped(echo, []) == []
    assert await mapped(echo, iter(()), partial=True, deadline=1) == []
    with pytest.raises(UsageError, match=r"echo\.map\(\) takes an iterable of items, not 3"):
        await mapped(echo, 3)
    for concurrency in (0, -1, True):
        with pytest.raises(UsageError, match=r"echo\.map\(\): concurrency is 1 or more"):
            await mapped(echo, "a", concurrency=concurrency)
    with pytest.raises(UsageError, match=r"echo\.map\(\): deadline= belongs to partial=True"):
        await mapped(echo, "a", deadline=1)


@step
async def cancels_itself() -> str:
    raise asyncio.CancelledError


@asynchronous
async def test_an_item_that_cancels_itself_has_failed_and_its_caller_was_not_cancelled() -> None:
    async def call(_: int) -> str:
        return await cancels_itself()

    with pytest.raises(segue.SegueError, match="it was cancelled"):
        await map_over(call, [1], name="call")
    (found,) = await map_over(call, [1], name="call", partial=True)
    assert told(cast("Outcome[str]", found))[4] == "NoResult: it was cancelled"
