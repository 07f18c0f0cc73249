"""``Env``: virtual time, fakes, records, crashes."""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from segue import (
    Engine,
    Pipeline,
    Retry,
    RunFailed,
    StepFailed,
    Timeout,
    UsageError,
    flow,
    gather,
    now,
    resource,
    sleep,
    step,
    use,
)
from segue.errors import DeclarationError
from segue.runtime.crashpoints import POINTS
from segue.testing import Deadlock, Env, NothingCrashed, RunRecord
from segue.testing import clock as clocks

WEEK = 604800.0


@dataclass
class Quote:
    city: str
    price: float


bodies: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    bodies.clear()
    yield
    gc.collect()  # what a crash left behind must not wake up


@step(retry=Retry(3, backoff="2h", factor=2, max_delay="1d", jitter=0))
async def quote(city: str) -> Quote:
    bodies.append(f"quote {city}")
    return Quote(city, 12.5)


@step(timeout="30s")
async def book(city: str, price: float = 0) -> str:
    bodies.append(f"book {city}")
    return f"booked {city}"


@step
def pack(things: list[str]) -> int:
    bodies.append("pack")
    return len(things)


@flow
async def trip(cities: list[str]) -> list[str]:
    quotes = await asyncio.gather(*[quote(city) for city in cities])
    await sleep("1w")
    return [await book(q.city, q.price) for q in quotes]


@flow
async def packing(things: list[str]) -> int:
    return await pack(things)


@flow
async def journey(cities: list[str]) -> int:
    booked, count = await gather(trip(cities), packing(cities))
    return len(booked) + count


@pytest.fixture
def env() -> Iterator[Env]:
    with Env() as made:
        yield made


# Time


def test_a_flow_that_sleeps_a_week_takes_milliseconds(env: Env) -> None:
    began = time.perf_counter()
    record = env.run(trip, ["Rome", "Oslo"])
    assert time.perf_counter() - began < 1
    assert record.status == "completed"
    assert record.result == ["booked Rome", "booked Oslo"]
    assert record.took == WEEK


def test_backoff_of_hours_is_waited_for_to_the_second(env: Env) -> None:
    env.fake(quote, sequence=[ConnectionError("one"), ConnectionError("two"), Quote("Rome", 1), Quote("Oslo", 2)])
    record = env.run(trip, ["Rome"])
    found = record.step("quote")
    assert (found.attempts, found.seconds, found.started) == (3, 2 * 3600 + 4 * 3600, 0)
    assert [failure.message for failure in found.failures] == ["one", "two"]
    assert [call.at - env.calls(quote)[0].at for call in env.calls(quote)] == [0, 7200, 21600]
    assert record.took == 21600 + WEEK


def test_a_timeout_fires_at_its_second(env: Env) -> None:
    env.fake(book, sleeps="30.5s", returns="late")
    record = env.run(trip, ["Rome"])
    assert record.status == "failed"
    assert record.step("book").seconds == 30
    assert record.error is not None
    assert record.error.is_a(StepFailed)
    assert record.error.is_a(TimeoutError)

    env.fake(book, sleeps="29.5s", returns="in time")
    assert env.run(trip, ["Rome"]).step("book").seconds == 29.5


def test_a_timeout_of_all_attempts(env: Env) -> None:
    @step(retry=Retry(9, backoff="1m", factor=1, jitter=0), timeout=Timeout(attempt="30s", total="5m"))
    async def slow() -> None: ...

    @flow(name="patient")
    async def patient() -> None:
        await slow()

    env.fake(slow, sleeps="1h")
    found = env.run(patient).step("slow")
    assert (found.status, found.attempts, found.seconds) == ("failed", 4, 300)


def test_timeouts_of_flows_are_in_virtual_time(env: Env) -> None:
    @flow(name="bounded", timeout="2h")
    async def bounded() -> None:
        await trip(["Rome"])

    record = env.run(bounded)
    assert (record.status, record.took) == ("failed", 7200)
    assert record.error is not None
    assert record.error.type == "RunTimedOut"


def test_now_is_virtual_in_flows(env: Env) -> None:
    @flow(name="clocked")
    async def clocked() -> tuple[float, float]:
        before = now()
        await asyncio.sleep(90)
        return before, now()

    began = env.now
    assert env.run(clocked).result == (began, began + 90)
    assert env.now == began + 90


def test_time_goes_on_from_run_to_run(env: Env) -> None:
    began = env.now
    env.run(trip, ["Rome"])
    env.advance("1h30m")
    assert env.now == began + WEEK + 5400


def test_advance_brings_what_is_due_and_nothing_more(env: Env) -> None:
    record = env.start(trip, ["Rome"])
    assert (record.status, record.took, record.waits) == ("waiting", 0, ("sleeps",))
    assert record.step("quote").output == {"city": "Rome", "price": 12.5}
    env.advance(WEEK - 1)
    assert bodies == ["quote Rome"]
    assert env.record(record).status == "waiting"
    env.advance(1)
    assert env.record(record.id).status == "completed"
    assert bodies == ["quote Rome", "book Rome"]


def test_what_was_started_can_be_finished(env: Env) -> None:
    first, second = env.start(trip, ["Rome"]), env.start(trip, ["Oslo"])
    assert env.finish(first).result == ["booked Rome"]
    assert env.finish(second.id).result == ["booked Oslo"]
    assert (first.id, second.id) == ("run-1", "run-2")


def test_many_runs_that_wait_for_their_turn(env: Env) -> None:
    @flow(name="hourly")
    async def hourly() -> None:
        await sleep("1h")

    @flow(name="all")
    async def several() -> int:
        return len(await asyncio.gather(*[hourly.options(concurrency=1)() for _ in range(5)]))

    assert env.run(several).took == 3600  # a run that sleeps gives its place to another

    @step
    async def working() -> None:
        await asyncio.sleep(3600)

    @flow(name="busy")
    async def busy() -> None:
        await working()

    @flow(name="all busy")
    async def all_busy() -> int:
        return len(await asyncio.gather(*[busy.options(concurrency=2)() for _ in range(5)]))

    assert env.run(all_busy).took == 3 * 3600


def test_delayed_runs_begin_when_they_are_due(env: Env) -> None:
    record = env.run(packing.options(delay="3d"), ["hat"])
    assert (record.result, record.took) == (1, 3 * 86400)


# Records


def test_a_record_shows_children_among_the_steps(env: Env) -> None:
    record = env.run(journey, ["Rome", "Oslo"])
    child = record.step("tests.testing.test_env.trip").child
    assert child is not None
    assert [step.name for step in child.steps] == ["quote", "quote", "book", "book"]
    assert child.step("1/quote").output == {"city": "Rome", "price": 12.5}
    assert child.step("book#2").input == {"city": "Oslo", "price": 12.5}
    assert record.unwrap() == 4
    other = record.steps[1].child
    assert other is not None
    assert record.tree().splitlines() == [
        "completed  tests.testing.test_env.journey  1w  run-1",
        f"  completed  tests.testing.test_env.trip  1w  {child.id}",
        "    completed  quote  0s  → {'city': 'Rome', 'price': 12.5}",
        "    completed  quote  0s  → {'city': 'Oslo', 'price': 12.5}",
        "    completed  book   0s  → 'booked Rome'",
        "    completed  book   0s  → 'booked Oslo'",
        f"  completed  tests.testing.test_env.packing  0s  {other.id}",
        "    completed  pack  0s  → 2",
    ]
    assert repr(record).startswith("<run\ncompleted  tests.testing.test_env.journey")


def test_asking_for_a_step_that_is_not_there_says_what_is(env: Env) -> None:
    record = env.run(trip, ["Rome", "Oslo"])
    with pytest.raises(UsageError, match=r"has no step 'boook'\. It has '1/quote', '2/quote', 'book', 'book#2'"):
        record.step("boook")
    with pytest.raises(UsageError, match=r"has 2 steps named 'quote': ask for one of '1/quote', '2/quote'"):
        record.step("quote")


def test_a_failed_run_is_a_record_and_not_an_exception(env: Env) -> None:
    env.fake(book, raises=KeyError("Rome"))
    record = env.run(trip, ["Rome"])
    assert (record.status, record.ended, record.result) == ("failed", True, None)
    found = record.step("book")
    assert found.error is not None
    assert found.error.is_a(KeyError)
    with pytest.raises(RunFailed, match="KeyError"):
        record.unwrap()
    assert "failed  book   0s  ← KeyError: 'Rome'" in record.tree()


def test_a_run_that_nothing_can_move_is_shown_as_it_stands(env: Env) -> None:
    async def for_ever(things: list[str]) -> None:
        await asyncio.Event().wait()

    env.fake(pack, calls=for_ever)
    record = env.run(packing, ["hat"])
    assert (record.status, record.ended, record.waits) == ("running", False, ("pack",))
    with pytest.raises(UsageError, match=r"has not ended:\n(.*\n)* *waits for pack"):
        record.unwrap()


def test_rungs_are_shown(env: Env) -> None:
    @step
    async def spare(city: str) -> float:
        return 0.5

    @step(retry=1, fallback=[spare], degraded=0.0)
    async def congestion(city: str) -> float:
        return 1.0

    @flow(name="rungs")
    async def rungs() -> float:
        return await congestion("Rome")

    assert env.run(rungs).degraded is False
    env.fake(congestion, raises=ConnectionError("gone"))
    found = env.run(rungs).step("congestion")
    assert (found.source, found.rung, found.rungs, found.output) == ("fallback", 1, ("congestion", "spare"), 0.5)
    env.fake(spare, raises=ConnectionError("gone too"))
    record = env.run(rungs)
    found = record.step("congestion")
    assert (found.source, found.rung, found.rungs) == ("degraded", 2, ("congestion", "spare", "degraded"))
    assert record.degraded
    assert "by degraded (degraded)" in record.tree()
    assert [call.arguments for call in env.calls(spare)] == [{"city": "Rome"}] * 2


# Fakes


def test_fakes_take_the_place_of_bodies(env: Env) -> None:
    env.fake(quote, returns=Quote("Bern", 3.0), sleeps="2s")

    def for_price(city: str, price: float) -> str:
        return f"{city} for {price}"

    env.fake(book, calls=for_price)
    record = env.run(trip, ["Rome"])
    assert (record.result, bodies) == (["Bern for 3.0"], [])
    assert record.step("quote").seconds == 2

    async def slowly(city: str, price: float) -> str:
        await asyncio.sleep(20)
        return city

    env.fake(book, calls=slowly)
    assert env.run(trip, ["Rome"]).step("book").seconds == 20


def test_plain_steps_are_faked_too_and_real_ones_run_in_threads(env: Env) -> None:
    assert env.run(packing, ["hat"]).result == 1
    env.fake(pack, returns=7)
    assert env.run(packing, ["hat"]).result == 7
    assert bodies == ["pack"]


def test_what_a_fake_returns_is_held_to_the_steps_type(env: Env) -> None:
    env.fake(pack, returns="seven")
    record = env.run(packing, ["hat"])
    assert record.status == "failed"
    assert record.error is not None
    assert "int" in record.error.message


def test_a_sequence_that_is_used_up_is_named_and_not_retried(env: Env) -> None:
    env.fake(quote, sequence=[ConnectionError("gone")])
    record = env.run(trip, ["Rome"])
    found = record.step("quote")
    assert found.attempts == 2
    assert found.error is not None
    assert found.error.type == "SequenceUsedUp"
    assert found.error.message == "step 'quote' is called for the 2nd time, and its fake has a sequence of 1"


def test_errors_may_be_classes(env: Env) -> None:
    env.fake(book, sequence=[TimeoutError])
    error = env.run(trip, ["Rome"]).error
    assert error is not None
    assert error.is_a(StepFailed)


def test_calls_are_kept_with_copies_of_their_arguments(env: Env) -> None:
    env.run(trip, ["Rome", "Oslo"])
    first, second = env.calls(book)
    assert first.arguments == {"city": "Rome", "price": 12.5}
    assert (second.step, second.attempt, second.run) == ("book#2", 1, "run-1")
    assert env.calls(pack) == []


def test_fakes_that_were_never_called_are_named(env: Env) -> None:
    env.fake(pack, returns=1)
    record = env.run(trip, ["Rome"])
    assert record.unused == ("pack",)
    assert record.tree().endswith("faked and never called: pack")


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (len, "'len' is none: it is not declared with @step"),
        (trip, "'tests.testing.test_env.trip' is a flow: fake the steps that it calls"),
        ("quote", "\"'quote'\" is none: it is no step at all"),
        (quote.fn, "'quote' is none: it is not declared with @step"),
    ],
)
def test_only_steps_can_be_faked(env: Env, thing: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        env.fake(thing, returns=1)


def test_contradictions_are_refused(env: Env) -> None:
    with pytest.raises(UsageError, match="returns and raises contradict each other"):
        env.fake(pack, returns=1, raises=ValueError())
    with pytest.raises(UsageError, match="says nothing"):
        env.fake(pack)
    with pytest.raises(DeclarationError, match="not a duration"):
        env.fake(pack, sleeps="soon")


loaded: list[str] = []


@resource
async def weights() -> AsyncIterator[str]:
    loaded.append("weights")
    yield "heavy"


@step
async def classify(text: str, model: str = use(weights)) -> str:
    return f"{text} by {model}"


@flow
async def classified(text: str) -> str:
    return await classify(text)


def test_a_faked_step_loads_no_resources_and_a_resource_can_be_faked() -> None:
    loaded.clear()
    with Env() as env:
        env.fake(classify, calls=str.upper)
        assert env.run(classified, "a").result == "A"
        assert loaded == []
    with Env() as env:
        env.fake(weights, returns="light")
        assert env.run(classified, "a").result == "a by light"
        assert env.calls(classify)[0].arguments == {"text": "a"}
        assert loaded == []
    with Env() as env:
        assert env.run(classified, "a").result == "a by heavy"
    assert loaded == ["weights"]


# Crashes


@step
def manuscript() -> str:
    bodies.append("manuscript")
    return "x" * 300_000


@flow
async def publishing(cities: list[str]) -> int:
    booked = await trip(cities)
    text = await manuscript()
    return len(booked) + len(text)


@pytest.mark.parametrize("point", sorted(POINTS - {"before-mail", "after-mail"}))
def test_a_run_goes_on_after_a_crash_at_each_point(env: Env, point: str) -> None:
    env.crash_at(point)
    record = env.run(publishing, ["Rome"])
    assert (record.status, record.result, record.crashes) == ("completed", 300_001, 1)
    assert {"quote Rome", "book Rome", "manuscript"} == set(bodies)
    twice = len(bodies) - 3
    assert twice == (point in ("after-body", "before-artifact", "after-artifact", "before-end"))


def test_a_crash_counts_from_the_nth_time(env: Env) -> None:
    env.crash_at("after-body", nth=2)
    assert env.run(trip, ["Rome"]).crashes == 1
    assert bodies == ["quote Rome", "book Rome", "book Rome"]


@pytest.mark.parametrize("entries", range(1, 6))
def test_a_crash_at_each_place_of_the_journal(env: Env, entries: int) -> None:
    env.crash_after(entries)
    record = env.run(trip, ["Rome", "Oslo"])
    assert (record.crashes, record.result) == (1, ["booked Rome", "booked Oslo"])
    assert len(bodies) == 4 + (entries == 1)  # the second quote was made, and not recorded


@pytest.mark.parametrize("entry", range(1, 6))
def test_a_crash_before_each_entry(entry: int) -> None:
    with Env() as env:
        env.crash_before(entry)
        record = env.run(trip, ["Rome", "Oslo"])
    assert (record.crashes, record.result) == (1, ["booked Rome", "booked Oslo"])
    assert len(bodies) == {1: 6, 2: 5, 3: 4, 4: 5, 5: 5}[entry]


def test_several_crashes_come_one_after_the_other(env: Env) -> None:
    env.crash_after(1)
    env.crash_at("before-body")
    env.crash_at("after-end")
    assert env.run(trip, ["Rome"]).crashes == 3
    assert env.run(trip, ["Rome"]).crashes == 0


def test_a_dead_process_runs_no_finally_and_writes_nothing(env: Env) -> None:
    cleaned: list[str] = []

    @step
    async def careful() -> int:
        try:
            bodies.append("careful")
            await asyncio.sleep(60)
        finally:
            cleaned.append("careful")
        return 1

    @step
    async def quick() -> int:
        return 1

    @flow(name="untidy")
    async def untidy() -> int:
        return sum(await gather(careful(), quick()))

    env.crash_at("after-commit")  # of quick
    record = env.run(untidy)
    assert record.result == 2
    assert (bodies, cleaned) == (["careful", "careful"], ["careful"])


def test_a_step_that_always_kills_its_worker_ends_its_run(env: Env) -> None:
    for _ in range(3):
        env.crash_at("after-body", nth=1)
    record = env.run(packing, ["hat"])
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.type == "WorkerLost"


def test_who_looks_often_does_not_put_off_what_is_queued(env: Env) -> None:
    """A run that lost two workers is executed by itself for a while, and this one waits for another run meanwhile."""

    @step
    async def work() -> str:
        return "done"

    @flow(name="awaited")
    async def awaited() -> str:
        return await work()

    @step
    async def watch() -> int:
        handle = await awaited.options(id="the-other").start()
        looks = 0
        while await handle.status() != "completed":
            if (looks := looks + 1) > 1000:
                raise AssertionError("nobody executes it")
            await asyncio.sleep(0.05)
        return looks

    @flow(name="watching")
    async def watching() -> int:
        return await watch()

    env.crash_at("before-body")  # of watch
    env.crash_at("before-body", nth=2)  # of watch, and then of work
    record = env.run(watching)
    assert record.crashes == 2
    assert record.unwrap() > 10


def test_a_suspect_may_wait_for_another_one(env: Env) -> None:
    """Both were in memory when two workers died. The one that waits must not keep the other out for ever."""

    @step
    async def work() -> str:
        return "done"

    @flow(name="sought")
    async def sought() -> str:
        return await work()

    @step
    async def seek() -> str:
        return await (await sought.options(id="the-sought").start()).result()

    @flow(name="seeking")
    async def seeking() -> str:
        return await seek()

    env.crash_at("before-body", nth=2)
    env.crash_at("before-body", nth=2)
    record = env.run(seeking)
    assert (record.crashes, record.unwrap()) == (2, "done")


def test_a_crash_that_did_not_happen_is_said(env: Env) -> None:
    env.crash_at("before-artifact")
    with pytest.raises(NothingCrashed, match=r"before-artifact was never reached in\ncompleted"):
        env.run(packing, ["hat"])
    env.crash_after(99)
    with pytest.raises(NothingCrashed, match="the 99th entry of the journal was never reached"):
        env.run(packing, ["hat"])
    assert env.run(packing, ["hat"]).crashes == 0


def test_a_worker_that_dies_just_after_a_run_has_ended(env: Env) -> None:
    @step
    async def work() -> str:
        return "done"

    @flow(name="working")
    async def working() -> str:
        return await work()

    env.crash_at("before-claim")  # it is not claimed: that is the look for more work when it has ended
    record = env.run(working)
    assert (record.unwrap(), record.crashes) == ("done", 1)


@flow(name="beside")
async def beside(city: str) -> str:
    return await book(city)


async def _runs_on_an_engine_of_its_own() -> str:
    async with asyncio.timeout(60), Engine("memory:"):
        return await beside("Bern")


@pytest.mark.parametrize(
    ("point", "nth"),
    [("before-create", 2), ("after-commit", 2), ("before-body", 2), ("after-body", 2), ("before-claim", 3)],
)
def test_an_engine_on_another_thread_sets_off_no_crash(env: Env, point: str, nth: int) -> None:
    """The trap is one time more than the run gets there by itself."""

    @step
    async def meanwhile() -> str:
        with ThreadPoolExecutor(1) as other:
            return other.submit(asyncio.run, _runs_on_an_engine_of_its_own()).result()

    @flow(name="meanwhiling")
    async def meanwhiling() -> str:
        return await meanwhile()

    env.crash_at(point, nth=nth)
    with pytest.raises(NothingCrashed):
        env.run(meanwhiling)
    assert bodies == ["book Bern"]


def test_crashes_on_two_threads_do_not_take_each_others_place() -> None:
    begun, over = threading.Event(), threading.Event()

    @step
    async def outlast() -> str:
        begun.set()
        assert over.wait(60)
        return "done"

    @step
    async def wait_for_the_other() -> str:
        assert begun.wait(60)
        return "done"

    @flow(name="outlasting")
    async def outlasting() -> str:
        return await outlast()

    @flow(name="outlasted")
    async def outlasted() -> str:
        return await wait_for_the_other()

    def crashing(of: Any) -> RunRecord:
        with Env() as env:
            env.crash_at("after-body")
            return env.run(of)

    with ThreadPoolExecutor(1) as other:
        longer = other.submit(crashing, outlasting)
        try:
            shorter = crashing(outlasted)
        finally:
            over.set()
        records = shorter, longer.result()
    assert [(record.unwrap(), record.crashes) for record in records] == [("done", 1)] * 2


def test_crashes_at_no_such_place_are_refused(env: Env) -> None:
    with pytest.raises(UsageError, match="no crash point 'after-lunch'; there are after-artifact, "):
        env.crash_at("after-lunch")
    with pytest.raises(UsageError, match="counted from 1, not 0"):
        env.crash_after(0)


def test_a_run_that_was_started_may_crash_while_time_passes(env: Env) -> None:
    record = env.start(trip, ["Rome"])
    env.crash_at("after-claim")
    env.advance("1w")
    assert env.finish(record).crashes <= 1
    assert env.record(record).result == ["booked Rome"]


# Two that are alike, and the rest


def _twice(seed: int) -> list[RunRecord]:
    records: list[RunRecord] = []
    for _ in range(2):
        with Env(seed=seed) as env:
            env.fake(quote, sequence=[ConnectionError("no"), Quote("Rome", 1), ConnectionError("no"), Quote("Oslo", 2)])
            env.crash_after(2)
            records.append(env.run(journey, ["Rome", "Oslo"]))
    return records


def test_two_runs_of_one_seed_are_alike_to_the_last_field() -> None:
    first, second = _twice(3)
    assert first == second
    assert first.crashes == 1


def test_jitter_is_drawn_from_the_seed() -> None:
    @step(retry=Retry(1, backoff="1h", max_delay="1h"))
    async def shaky() -> int:
        return 1

    @flow(name="jittery")
    async def jittery() -> int:
        return await shaky()

    took: list[float] = []
    for seed in (1, 1, 2):
        with Env(seed=seed) as env:
            env.fake(shaky, sequence=[ConnectionError("no"), 1])
            took.append(env.run(jittery).took)
    assert took[0] == took[1] != took[2]


def test_a_fresh_environment_knows_nothing_of_another() -> None:
    with Env() as first:
        first.fake(pack, returns=9)
        first.run(packing, ["hat"])
    with Env() as second:
        assert second.run(packing, ["hat"]).result == 1
        with pytest.raises(UsageError, match="no run of this environment has the id 'run-9'"):
            second.record("run-9")
    with pytest.raises(UsageError, match="closed"):
        second.run(packing, ["hat"])


def test_from_async_code_it_says_where_it_belongs(env: Env) -> None:
    async def test() -> None:
        env.run(packing, ["hat"])

    with pytest.raises(UsageError, match="call it from a plain test function"):
        asyncio.run(test())


def test_only_flows_are_run(env: Env) -> None:
    with pytest.raises(UsageError, match="take a @flow, and this is a step"):
        env.run(pack, ["hat"])  # type: ignore[arg-type]


def test_a_flow_that_never_gives_the_loop_back_ends(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    from segue.runtime import lease

    monkeypatch.setattr(lease, "PATIENCE", 0.2)

    @flow(name="endless")
    async def endless() -> None:
        while True:
            pass

    record = env.run(endless)
    assert record.error is not None
    assert record.error.type == "NeverAwaits"


def test_a_step_that_polls_for_ever_is_an_error(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "MOST_JUMPS", 1000)

    async def poll(things: list[str]) -> int:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(60)

    env.fake(pack, calls=poll)
    with pytest.raises(Deadlock, match="moved 1,000 times"):
        env.run(packing, ["hat"])


def test_memoized_and_kept_values_age_in_virtual_time(env: Env) -> None:
    @step(memoize="1h")
    async def rate(city: str) -> float:
        bodies.append("rate")
        return 1.0

    @flow(name="rated")
    async def rated() -> float:
        return await rate("Rome")

    env.run(rated)
    assert env.run(rated).step("rate").source == "cached"
    env.advance("61m")
    assert env.run(rated).step("rate").source == "model"
    assert bodies == ["rate", "rate"]


def test_a_pipeline_is_a_flow_like_another(env: Env) -> None:
    def fetch(url: str) -> str:
        return f"page at {url}"

    def count(fetch: str) -> int:
        return len(fetch)

    nodes: dict[str, Any] = {"fetch": {"model": "fetch"}, "count": {"depends_on": ["fetch"], "model": "count"}}
    words = Pipeline.from_dict(nodes, models={"fetch": fetch, "count": count}, name="words")
    env.crash_at("after-body")
    record = env.run(words, {"url": "/start"})
    assert (record.result["count"], record.crashes) == (14, 1)


def test_a_step_in_a_process_of_its_own_is_waited_for(env: Env) -> None:
    @flow(name="apart")
    async def apart() -> int:
        async with asyncio.timeout(0.001):  # virtual
            return await elsewhere(20)

    assert env.run(apart).result == 21


@step(process=True)
def elsewhere(number: int) -> int:
    return number + 1
