"""Undo, cancel, redrive and fork where they meet: each test is a way on which they once went wrong, or might."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

import segue
from segue import (
    CannotRedrive,
    Permanent,
    Retry,
    StepFailed,
    Timeout,
    ask_human,
    current_run,
    flow,
    idempotency_key,
    now,
    remaining,
    repair,
    sleep,
    step,
    wait_for,
)
from segue.inspection import RunRecord as Timeline
from segue.inspection import timeline
from segue.runtime import calls
from segue.runtime.rehearsal import rehearse
from segue.runtime.threads import Pool
from segue.runtime.tickets import Options
from segue.stores.base import Amend, Query, Store
from segue.testing import Env
from segue.testing.records import RunRecord

effects: list[tuple[Any, ...]] = []
keys: list[str] = []
broken: set[str] = set()


@pytest.fixture
def env() -> Generator[Env, None, None]:
    effects.clear()
    keys.clear()
    broken.clear()
    with Env() as env:
        yield env


def do(what: str, *values: Any) -> None:
    """Something that the world outside sees; it may be broken after that."""
    effects.append((what, *values))
    keys.append(idempotency_key())
    if what in broken:
        raise ConnectionError(f"{what} is down")


def count(what: str) -> int:
    return sum(name == what for name, *_ in effects)


def keys_of(what: str) -> list[str]:
    return [key for (name, *_), key in zip(effects, keys, strict=True) if name == what]


def mend(env: Env, work: Callable[[Store], Awaitable[Any]]) -> Any:
    """Let a coroutine of ``repair`` work on the environment's store, and things go on."""

    async def scene(life: Any) -> Any:
        found = await work(life.mount)
        life.engine.look_for_mail()
        await life.loop.settled()
        return found

    return env._play(scene, None)  # pyright: ignore[reportPrivateUsage]


def redrive(env: Env, run: RunRecord, crash: int = 0, written: bool = False, **given: Any) -> RunRecord:
    """Let it go on, with all mended, to its end; through a crash at that entry of the journal, if it gets there."""
    broken.clear()

    async def scene(life: Any) -> None:
        await repair.redrive(run.id, by="ada", store=life.mount, **given)
        life.engine.nudge()

    env._play(scene, None)  # pyright: ignore[reportPrivateUsage]
    if crash:
        env.plan_crash(crash, written=written)
    return env.finish(run)


def fork(env: Env, run: RunRecord, **given: Any) -> RunRecord:
    """Run its past again, to the end."""
    broken.clear()
    return env.finish(mend(env, lambda store: repair.fork(run.id, by="ada", store=store, **given)))


def told(env: Env, run: RunRecord | str) -> Timeline:
    loaded = env._world.disk._load(run if isinstance(run, str) else run.id)  # pyright: ignore[reportPrivateUsage]
    assert loaded is not None
    return timeline(*loaded)


def note(record: RunRecord) -> str:
    assert record.error is not None
    return record.error.note


@step
async def refund(receipt: str, amount: int) -> None:
    do("refund", receipt, amount)


@step(undo=refund)
async def charge(amount: int) -> str:
    do("charge", amount)
    return f"r{amount}.{len(effects)}"


@step
async def ship(what: str) -> str:
    do("ship", what)
    return what


@step
async def pack(what: str) -> str:
    do("pack", what)
    return what


# Undo


@dataclass(frozen=True)
class Parcel:
    """Something that is given."""

    what: str
    weight: int


def test_an_undo_gets_the_inputs_that_its_step_had(env: Env) -> None:
    @step
    async def release(result: int, cart: list[str]) -> None:
        do("release", result, list(cart))

    @step(undo=release)
    async def reserve(cart: list[str]) -> int:
        return len(cart)

    @flow(name="cart")
    async def shop() -> None:
        cart: list[str] = []
        for item in "abc":
            cart.append(item)
            await reserve(cart)
        await ship("x")

    broken.add("ship")
    env.run(shop)
    assert effects[1:] == [("release", 3, ["a", "b", "c"]), ("release", 2, ["a", "b"]), ("release", 1, ["a"])]


def test_an_undo_gets_an_edited_input_as_it_was_run_with(env: Env) -> None:
    @step
    async def release(result: int, cart: list[str], what: str) -> None:
        do("release", result, list(cart), what)

    @step(undo=release)
    async def reserve(cart: list[str], what: str) -> int:
        do("reserve", list(cart), what)
        return len(cart)

    @flow(name="edited-cart")
    async def shop() -> None:
        cart: list[str] = ["a"]
        await reserve(cart, "x")
        cart.append("b")
        await ship("x")

    broken.add("reserve")
    record = env.run(shop)
    env.fake(ship, raises=Permanent("no"))
    redrive(env, record, input={"what": "edited"})
    assert effects[-2:] == [("reserve", ["a"], "edited"), ("release", 1, ["a"], "edited")]


def test_an_undo_gets_values_as_the_step_did_whatever_is_annotated(env: Env) -> None:
    @step
    async def release(result: int, what: Any, n: Any) -> None:
        do("release", what, n)

    @step(undo=release)
    async def reserve(what: Any, n: int) -> int:
        return 1

    @flow(name="as-they-were")
    async def reserved() -> None:
        await reserve(Parcel("a", 3), 1.5)  # type: ignore[arg-type]
        await ship("x")

    broken.add("ship")
    env.run(reserved)
    assert effects[1:] == [("release", Parcel("a", 3), 1.5)]


def test_one_function_undoes_several_steps(env: Env) -> None:
    async def release(result: str) -> None:
        do("release", result)

    @step(undo=release)
    async def first(n: int) -> str:
        return f"first {n}"

    @step(undo=release)
    async def second(n: int) -> str:
        return f"second {n}"

    @flow(name="shared-undo")
    async def shared() -> None:
        await first(1)
        await second(2)
        await first.options(timeout="5s")(3)
        await ship("x")

    broken.add("ship")
    record = env.run(shared)
    assert note(record) == "undone: first#2, second, first"
    assert [result for what, result in effects if what == "release"] == ["first 3", "second 2", "first 1"]


def test_two_lambdas_undo_two_steps(env: Env) -> None:
    @step(undo=lambda result: do("one", result))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    async def first() -> str:
        return "a"

    @step(undo=lambda result: do("other", result))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    async def second() -> str:
        return "b"

    @flow(name="lambdas")
    async def lambdas() -> None:
        await first()
        await second()
        await ship("x")

    broken.add("ship")
    assert note(env.run(lambdas)) == "undone: second, first"
    assert effects[1:] == [("other", "b"), ("one", "a")]


def test_an_undo_may_return_anything(env: Env) -> None:
    async def release(result: str) -> object:
        do("release", result)
        return object()

    @step(undo=release)
    async def reserve() -> str:
        return "a"

    @flow(name="any-undo")
    async def reserved() -> None:
        await reserve()
        await ship("x")

    broken.add("ship")
    assert note(env.run(reserved)) == "undone: reserve"


def test_an_undo_gets_several_inputs_as_several(env: Env) -> None:
    async def release(result: int, *items: str) -> None:
        do("release", result, *items)

    @step(undo=release)
    async def reserve(*items: str) -> int:
        return len(items)

    @flow(name="several")
    async def several() -> None:
        await reserve("a", "b")
        await ship("x")

    broken.add("ship")
    env.run(several)
    assert effects[-1] == ("release", 2, "a", "b")


def test_a_flow_that_leaves_by_exit_is_undone(env: Env) -> None:
    @flow(name="exits")
    async def exits() -> None:
        await charge(5)
        raise SystemExit(3)

    record = env.run(exits)
    assert (record.status, note(record)) == ("failed", "undone: charge")


def test_the_effect_of_a_fallback_alone_is_not_unknown(env: Env) -> None:
    @step(fallback=charge)
    async def find(amount: int) -> str:
        raise Permanent("no")

    @flow(name="fallback-effect")
    async def found() -> None:
        await find(3)
        await ship("x")

    broken.add("ship")
    assert note(env.run(found)) == "undone: find"


def test_dead_letters_are_alike_whether_a_crash_came_between_or_not(env: Env) -> None:
    @flow(name="alike")
    async def alike() -> None:
        await charge(1)
        await ship("x")

    broken.add("ship")
    env.run(alike)
    env.crash_after(4)
    assert env.run(alike).crashes == 1
    faults = mend(env, lambda store: repair.dead(store=store))
    assert [(fault.step, fault.error, fault.runs) for fault in faults] == [("ship", "ConnectionError", 2)]


def test_a_step_that_is_cancelled_before_its_thread_begins_does_nothing(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Pool("late", 0)  # nobody serves it
    monkeypatch.setattr(calls, "THREADS", threads)

    @step
    def late() -> None:
        do("late")

    @flow(name="thread-later")
    async def later() -> None:
        with suppress(asyncio.CancelledError):
            await late()

    async def scene(life: Any) -> None:
        await life.engine.launch(later.spec, (), {}, Options(id="thread-later"), wait=True)
        for _ in range(20):
            await asyncio.sleep(0)
        life.engine.runs["thread-later"].cancel("too late")
        for _ in range(20):
            await asyncio.sleep(0)
        assert threads.abandoned == 1  # which makes room for a thread that serves it
        await threads.submit(lambda: None)  # it has had its turn before this
        await life.loop.settled()

    env._play(scene, None)  # pyright: ignore[reportPrivateUsage]
    assert env.record("thread-later").status == "completed"
    assert effects == []


@pytest.mark.parametrize("entry", range(1, 8))
def test_large_values_are_undone_and_redriven_through_crashes(env: Env, entry: int) -> None:
    @step
    async def unstore(result: str, data: str) -> None:
        do("unstore", len(result), len(data))

    @step(undo=unstore)
    async def store(data: str) -> str:
        do("store", len(data))
        return data + "y"

    @flow(name="large")
    async def large(data: str) -> int:
        found = await store(data)
        await ship("x")
        return len(found)

    broken.add("ship")
    env.plan_crash(entry, written=entry % 2 == 0)
    record = env.run(large, "x" * 300_000)
    assert note(record) == "undone: store"
    assert effects[-1] == ("unstore", 300_001, 300_000)
    record = redrive(env, record, entry, entry % 2 == 1, start="store", input={"data": "z" * 400_000})
    assert (record.status, record.result) == ("completed", 400_001)
    assert len(set(keys_of("store"))) == 2


# Redrive: from where


def deaf(what: str, seconds: float) -> Any:
    """A step that ends well although it is cancelled."""

    @step(undo=refund, name=what)
    async def late(amount: int) -> str:
        do(what, amount)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(seconds)
        return f"late {len(effects)}"

    return late


def test_what_failed_runs_again_though_what_was_undone_ended_later(env: Env) -> None:
    late = deaf("late-charge", 100)

    @step
    async def soon() -> str:
        await sleep("1s")
        do("soon")
        return "soon"

    @flow(name="late-effect")
    async def both() -> list[str]:
        return list(await segue.gather(soon(), late(1)))

    broken.add("soon")
    record = env.run(both)
    assert note(record) == "undone: 2/late-charge"
    record = redrive(env, record)
    assert record.status == "completed", record.error
    assert (count("soon"), count("late-charge")) == (2, 2)
    assert len(set(keys_of("late-charge"))) == 2


@pytest.mark.parametrize("way", ["from", "set"])
def test_what_was_undone_runs_again_wherever_it_goes_on(env: Env, way: str) -> None:
    late = deaf(f"late-{way}", 100)

    @step
    async def soon() -> str:
        await sleep("1s")
        do("soon")
        return "soon"

    @flow(name=f"late-effect-{way}")
    async def both() -> list[str]:
        return list(await segue.gather(soon(), late(1)))

    broken.add("soon")
    record = env.run(both)
    given: dict[str, Any] = {"start": "soon"} if way == "from" else {"results": {"soon": "by hand"}}
    record = redrive(env, record, **given)
    assert record.status == "completed", record.error
    assert count(f"late-{way}") == 2, "its first effect was undone"


def test_a_second_life_is_undone_under_other_keys(env: Env) -> None:
    @flow(name="two-lives")
    async def lives() -> None:
        await charge(1)
        await ship("x")

    broken.add("ship")
    record = env.run(lives)
    env.fake(ship, raises=Permanent("no"))
    record = redrive(env, record)
    assert (record.status, note(record)) == ("failed", "undone: charge")
    assert len(set(keys_of("charge"))) == len(set(keys_of("refund"))) == 2


def test_a_step_that_the_handler_called_too_is_no_divergence(env: Env) -> None:
    @step
    async def tell(who: str) -> str:
        do("tell", who)
        await sleep("1s")
        return who

    @flow(name="handler")
    async def handled() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ship("x"))
                group.create_task(tell("ada"))
        except* Exception:
            await tell("ada")
            raise
        return "shipped"

    broken.add("ship")
    record = env.run(handled)
    record = redrive(env, record)
    assert record.result == "shipped", record.error


def test_what_the_handler_did_is_not_taken_for_what_the_flow_does_now(env: Env) -> None:
    replaying: list[bool] = []

    @flow(name="other-way")
    async def other_way() -> str:
        try:
            await pack("x")
        except StepFailed:
            await ship("an apology")
            raise
        found = await ship("the parcel")
        replaying.append(current_run().replaying)
        return found

    broken.add("pack")
    record = env.run(other_way)
    record = redrive(env, record)
    assert record.result == "the parcel", record.error
    assert replaying == [False]
    assert [value for what, value in effects if what == "ship"] == ["an apology", "the parcel"]
    assert len(set(keys_of("ship"))) == 2


@pytest.mark.parametrize("entry", range(1, 8))
@pytest.mark.parametrize("written", [False, True])
def test_nor_is_it_after_a_crash(env: Env, entry: int, written: bool) -> None:
    @step(retry=Retry(2, backoff="1s"), undo=refund)
    async def send(what: str) -> str:
        do(f"send {what}")
        return what

    @flow(name="other-way-crashed")
    async def other_way() -> str:
        try:
            await pack("x")
        except StepFailed:
            await send("an apology")
            raise
        return await send("the parcel")

    broken.update(("pack", "refund"))
    record = env.run(other_way)
    env.fake(send, sequence=[ConnectionError("busy"), *["the parcel"] * 3])
    record = redrive(env, record, entry, written)
    assert record.result == "the parcel", record.error


def test_a_cancellation_that_the_flow_has_dealt_with_stays(env: Env) -> None:
    @flow(name="dealt-with")
    async def dealt_with() -> str:
        try:
            await sleep("1h")
            await pack("the long way")
        except asyncio.CancelledError:
            await pack("the short way")
        return await ship("x")

    broken.add("ship")
    record = env.start(dealt_with)
    env.cancel(record)
    record = env.finish(record)
    assert record.status == "failed"
    record = redrive(env, record)
    assert record.result == "x", record.error
    assert [value for what, value in effects if what == "pack"] == ["the short way"]
    assert record.took < 60


def test_a_fork_sees_it_too(env: Env) -> None:
    @flow(name="dealt-with-fork")
    async def dealt_with() -> str:
        try:
            await sleep("1h")
            await pack("the long way")
        except asyncio.CancelledError:
            await pack("the short way")
        return await ship("x")

    record = env.start(dealt_with)
    env.cancel(record)
    record = env.finish(record)
    assert record.status == "completed"
    forked = fork(env, record, start="ship")
    assert (forked.result, count("pack"), count("ship")) == ("x", 1, 2)
    loaded = env._world.disk._load(forked.id)  # pyright: ignore[reportPrivateUsage]
    assert loaded is not None
    assert rehearse(dealt_with.spec, *loaded, env._world.artifacts).same  # pyright: ignore[reportPrivateUsage]


def test_a_cancelled_run_goes_on_from_before_its_clean_up(env: Env) -> None:
    @flow(name="cleans-up")
    async def cleans_up() -> str:
        try:
            await sleep("1h")
            return "slept"
        finally:
            await charge(1)

    record = env.start(cleans_up)
    env.cancel(record)
    record = env.finish(record)
    assert (record.status, note(record)) == ("cancelled", "undone: charge")
    record = redrive(env, record)
    assert record.result == "slept", record.error
    assert len(set(keys_of("charge"))) == 2


def test_a_run_out_of_time_goes_on_from_before_its_late_effect(env: Env) -> None:
    slow = [True]

    @step(undo=refund)
    async def late(amount: int) -> str:
        do("late", amount)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(30 if slow else 1)
        return "late"

    @flow(name="late-and-out-of-time")
    async def out_of_time() -> str:
        async with asyncio.timeout(5):
            return await late(1)

    record = env.run(out_of_time)
    assert (record.status, note(record)) == ("failed", "undone: late")
    slow.clear()
    assert redrive(env, record).result == "late"


def test_an_earlier_step_has_the_time_that_it_had(env: Env) -> None:
    @flow(name="earlier-in-time")
    async def earlier() -> str:
        async with segue.timeout("5s"):
            await pack("x")
            await sleep("4s")
            return await ship("x")

    broken.add("ship")
    record = env.run(earlier)
    env.advance("1h")
    record = redrive(env, record, start="pack")
    assert record.result == "x", record.error


def test_an_input_that_changes_changes_the_key(env: Env) -> None:
    @step
    async def read(page: str) -> str:
        do("read", page)
        return page.upper()

    @flow(name="changed-input")
    async def changed() -> str:
        return await ship(await read("abc"))

    broken.add("ship")
    record = env.run(changed)
    record = redrive(env, record, start="read", input={"page": "xyz"})
    assert [value for what, value in effects if what == "ship"] == ["ABC", "XYZ"]
    assert len(set(keys_of("ship"))) == 2, "what honours the key would give the receipt for ABC"


def test_the_same_input_keeps_the_key(env: Env) -> None:
    @flow(name="kept-key")
    async def kept() -> str:
        await pack("x")
        return await ship("x")

    broken.add("ship")
    record = redrive(env, env.run(kept), start="pack")
    assert record.status == "completed"
    assert len(set(keys_of("ship"))) == len(set(keys_of("pack"))) == 1


def test_a_result_that_stays_is_shown_as_what_it_is(env: Env) -> None:
    @step(retry=Retry(2, backoff="1s"), undo=refund)
    async def again(amount: int) -> str:
        do("again", amount)
        if count("again") < 2:
            raise ConnectionError("busy")
        await sleep("3s")
        return "r"

    @step
    async def fails() -> str:
        await sleep("2s")
        do("fails")
        return "ok"

    @flow(name="stays")
    async def stays() -> str:
        one = asyncio.create_task(again(1))
        try:
            return await fails()
        finally:
            await one

    broken.update(("fails", "refund"))
    record = env.run(stays)
    record = redrive(env, record, 1, True)
    assert record.status == "completed", record.error
    (kept,) = [one for one in told(env, record).steps if one.name == "again"]
    assert (kept.status, [attempt.status for attempt in kept.attempts]) == ("completed", ["failed", "completed"])
    assert count("again") == 2


def test_a_step_that_ran_anew_is_not_given_its_old_result_after_a_crash(env: Env) -> None:
    @step(retry=Retry(3, backoff="1s"))
    async def act(n: int) -> int:
        do("act", n)
        if n == 2 and count("act") < 4:
            raise ConnectionError("busy")
        return n

    def declare(n: int) -> Any:
        @flow(name="runs-anew", on_divergence="rerun")
        async def runs_anew() -> int:
            found = await act(n)
            await sleep("1h")
            return found

        return runs_anew

    record = env.start(declare(1))
    env.advance("1m")
    declare(2)
    env.crash_after(1)
    env.advance("59m")
    assert env.finish(record).result == 2


# Time


def test_a_child_has_the_time_that_its_parent_has(env: Env) -> None:
    @flow(name="slow-child")
    async def child() -> float | None:
        await sleep("10s")
        return remaining()

    @flow(name="timed-parent", timeout="1h")
    async def parent() -> float | None:
        await ship("x")
        return await child()

    broken.add("ship")
    record = env.run(parent)
    env.advance("3d")
    record = redrive(env, record)
    assert record.status == "completed", record.error
    assert record.result == pytest.approx(3590)


def test_a_limit_within_a_limit_counts_after_a_pause(env: Env) -> None:
    @flow(name="limits")
    async def limits() -> list[float | None]:
        async with segue.timeout("1h"):
            await ship("x")
            outer = remaining()
            async with segue.timeout("5m"):
                return [outer, remaining()]

    broken.add("ship")
    record = env.run(limits)
    env.advance("3d")
    assert redrive(env, record).result == pytest.approx([3600, 300])


def test_timers_are_not_late_after_a_pause(env: Env) -> None:
    @flow(name="timers")
    async def timers() -> list[float]:
        found: list[float] = []
        for what in ("x", "y"):
            await ship(what)
            began = now()
            await sleep("1h")
            found.append(now() - began)
        return found

    broken.add("ship")
    record = env.run(timers)
    env.advance("3d")
    record = redrive(env, record)
    assert record.result == [3600, 3600]
    env.advance("3d")
    assert fork(env, record, start="ship#2").result == [3600, 3600]


def test_a_ladder_goes_on_with_the_time_that_was_left(env: Env) -> None:
    @step(retry=Retry(5, backoff="10s"), timeout=Timeout(total="1m"))
    async def shaky() -> str:
        do("shaky")
        return "ok"

    @flow(name="shaky-flow")
    async def both() -> list[str]:
        async def other() -> str:
            await sleep("1s")
            return await ship("x")

        return list(await segue.gather(shaky(), other()))

    broken.update(("shaky", "ship"))
    record = env.run(both)
    env.advance("1d")
    record = redrive(env, record)
    assert record.result == ["ok", "x"], record.error


def test_a_question_that_is_asked_anew_runs_out_of_time(env: Env) -> None:
    @flow(name="asked-anew")
    async def asked() -> list[Any]:
        async def other() -> str:
            await sleep("1h")
            return await ship("x")

        return list(await segue.gather(ask_human("ok?", timeout="1d", default=True), other()))

    broken.add("ship")
    record = env.run(asked)
    assert record.status == "failed"
    record = redrive(env, record)
    env.advance("2d")
    assert env.record(record).result == [True, "x"]


@pytest.mark.parametrize("how", ["flow", "limit", "asyncio"])
def test_a_fork_of_a_run_that_ran_out_of_time_has_it_again(env: Env, how: str) -> None:
    slow = [True]

    @step
    async def dawdle() -> str:
        await asyncio.sleep(30 if slow else 1)
        return "done"

    async def body() -> str:
        if how == "flow":
            return await dawdle()
        async with segue.timeout("10s") if how == "limit" else asyncio.timeout(10):
            return await dawdle()

    @flow(name=f"forked-{how}", timeout="10s" if how == "flow" else None)
    async def timed() -> str:
        return await body()

    record = env.run(timed)
    assert record.status == "failed"
    slow.clear()
    env.advance("1d")
    assert fork(env, record).result == "done"
    assert redrive(env, record).result == "done"


# Children


@flow(name="parcel")
async def parcel(seconds: int) -> int:
    """A child run."""
    await sleep(seconds)
    await ship(f"parcel {seconds}")
    return seconds


@flow(name="parcels")
async def parcels() -> list[int]:
    """Its parent."""
    return list(await segue.gather(parcel(100), parcel(200)))


def test_children_that_were_cancelled_for_another_go_on(env: Env) -> None:
    broken.add("ship")
    record = redrive(env, env.run(parcels))
    assert record.result == [100, 200], record.error
    assert count("ship") == 3


def test_children_that_were_cancelled_with_their_parent_go_on(env: Env) -> None:
    record = env.start(parcels)
    env.advance("50s")
    env.cancel(record)
    record = redrive(env, env.finish(record))
    assert record.result == [100, 200], record.error
    assert [child.status for child in env._world.disk._find(Query(parent=record.id))] == ["completed"] * 2  # pyright: ignore[reportPrivateUsage]


def test_a_child_that_has_gone_on_by_itself_is_no_obstacle(env: Env) -> None:
    @flow(name="one-parcel")
    async def one() -> int:
        return await parcel(1)

    broken.add("ship")
    record = env.run(one)

    async def dies_between(store: Any) -> None:
        amend, left = store.amend, [1]

        async def once(change: Amend) -> bool:
            if not left:
                raise OSError("the command was killed")
            left.clear()
            return await amend(change)

        store.amend = once
        try:
            with suppress(OSError):
                await repair.redrive(record.id, by="ada", store=store)
        finally:
            del store.amend

    broken.clear()
    mend(env, dies_between)
    env.advance("1h")
    assert redrive(env, record).result == 1


def test_a_child_that_was_discarded_is_no_obstacle(env: Env) -> None:
    @flow(name="one-parcel-discarded")
    async def one() -> int:
        return await parcel(1)

    broken.add("ship")
    record = env.run(one)
    child = record.steps[0].child
    assert child is not None
    mend(env, lambda store: repair.discard(child.id, by="bob", store=store))
    assert redrive(env, record, start="start").result == 1


def test_a_result_can_be_given_for_a_child(env: Env) -> None:
    @flow(name="one-parcel-given")
    async def one() -> int:
        return await parcel(1)

    broken.add("ship")
    assert redrive(env, env.run(one), results={"parcel": 7}).result == 7


def test_a_result_can_be_given_for_a_wait(env: Env) -> None:
    @flow(name="given-signal")
    async def waits() -> Any:
        return await asyncio.create_task(wait_for("go", timeout="1h"))

    record = env.run(waits)
    assert record.status == "failed"
    try:
        record = redrive(env, record, results={"1/@wait.go": "by hand"})
    except CannotRedrive:
        return  # it may well be refused
    assert record.result == "by hand"
