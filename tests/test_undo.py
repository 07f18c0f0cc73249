"""Compensation: what a run did is undone when it fails or is cancelled, the last first, durably, and told."""

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from segue import (
    DeclarationError,
    Permanent,
    Retry,
    StepFailed,
    ask_human,
    flow,
    gather,
    idempotency_key,
    repair,
    sleep,
    step,
)
from segue.inspection import RunRecord as Timeline
from segue.inspection import timeline
from segue.testing import Env
from segue.testing.records import RunRecord


@pytest.fixture
def env() -> Generator[Env, None, None]:
    with Env() as env:
        yield env


effects: list[tuple[str, Any]] = []
keys: list[str] = []
broken: set[str] = set()


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()
    keys.clear()
    broken.clear()


def do(what: str, *values: Any) -> None:
    effects.append((what, *values))  # type: ignore[arg-type]
    keys.append(idempotency_key())
    if what in broken:
        raise ConnectionError(f"{what} is down")


@step(retry=Retry(2, backoff="1s"))
async def refund(receipt: str, amount: int, card: str) -> None:
    do("refund", receipt, amount, card)


@step(undo=refund)
async def charge(amount: int, card: str = "visa") -> str:
    do("charge", amount)
    return f"r{amount}"


@step
def free(room: str) -> None:  # takes the result alone; runs in a thread
    do("free", room)


@step(undo=free)
def book(nights: int) -> str:
    do("book", nights)
    return f"room {nights}"


@step
async def ship(what: str) -> str:
    do("ship", what)
    return what


@flow(name="trip")
async def trip(nights: int) -> str:
    await charge(nights * 100)
    await book(nights)
    await charge(5, card="amex")
    return await ship("tickets")


def told(env: Env, run: RunRecord) -> Timeline:
    loaded = env._world.disk._load(run.id)  # pyright: ignore[reportPrivateUsage]
    assert loaded is not None
    return timeline(*loaded)


DONE = [("charge", 300), ("book", 3), ("charge", 5), ("ship", "tickets")]
UNDONE = [("refund", "r5", 5, "amex"), ("free", "room 3"), ("refund", "r300", 300, "visa")]


def test_what_succeeded_is_undone_the_last_first_with_its_result_and_inputs(env: Env) -> None:
    broken.add("ship")
    record = env.run(trip, 3)
    assert record.status == "failed"
    assert effects == DONE + UNDONE
    assert record.error is not None
    assert "ship is down" in str(record.error)
    assert record.error.note == "undone: charge#2, book, charge"
    fates = {step.id: step.undo for step in told(env, record).steps if step.undoes is None}
    assert fates == {"charge": "undone", "book": "undone", "charge#2": "undone", "ship": None}
    assert [s.undoes for s in told(env, record).steps if s.undoes is not None] == ["charge#2", "book", "charge"]
    assert [one.kind for one in told(env, record).interventions] == ["undo"]


def test_a_run_that_completes_undoes_nothing(env: Env) -> None:
    record = env.run(trip, 3)
    assert (record.result, effects) == ("tickets", DONE)
    assert {step.undo for step in told(env, record).steps} == {None}


def test_each_undo_has_its_own_key_and_retries(env: Env) -> None:
    broken.add("ship")

    @step(retry=Retry(3, backoff="1s"))
    async def unreliable(result: str) -> None:
        do("unreliable", result)
        if len([1 for what, *_ in effects if what == "unreliable"]) < 3:
            raise ConnectionError("again")

    @step(undo=unreliable)
    async def act(n: int) -> str:
        do("act", n)
        return f"act {n}"

    @flow(name="act-twice")
    async def twice() -> None:
        await act(1)
        await ship("x")

    record = env.run(twice)
    assert [what for what, *_ in effects] == ["act", "ship", "unreliable", "unreliable", "unreliable"]
    assert record.error is not None
    assert record.error.note == "undone: act"
    assert len(set(keys[-3:])) == 1
    assert len(set(keys)) == 3


def test_what_cannot_be_undone_is_told_and_does_not_keep_the_rest(env: Env) -> None:
    broken.update(("ship", "free"))
    record = env.run(trip, 3)
    assert [what for what, *_ in effects[4:]] == ["refund", "free", "refund"]
    assert record.error is not None
    assert record.error.note.startswith("undone: charge#2, charge; NOT undone: book (step '@undo(book)/free' failed")
    assert "free is down" in record.error.note
    assert {step.id: step.undo for step in told(env, record).steps if step.undo} == {
        "charge": "undone",
        "charge#2": "undone",
        "book": "not undone",
    }


def test_a_step_that_failed_half_way_is_of_unknown_outcome(env: Env) -> None:
    broken.add("book")
    record = env.run(trip, 3)
    assert effects == [("charge", 300), ("book", 3), ("refund", "r300", 300, "visa")]
    assert record.error is not None
    assert record.error.note == "undone: charge; outcome unknown: book"
    assert {step.id: step.undo for step in told(env, record).steps if step.undo} == {
        "charge": "undone",
        "book": "unknown",
    }


def test_without_anything_to_undo_the_unknown_is_told_all_the_same(env: Env) -> None:
    broken.add("charge")
    record = env.run(trip, 3)
    assert record.error is not None
    assert record.error.note == "outcome unknown: charge"


def test_a_step_whose_body_never_ran_is_not_unknown(env: Env) -> None:
    @flow(name="early")
    async def early() -> None:
        call = asyncio.create_task(charge(1))
        call.cancel()
        raise ValueError("no")

    record = env.run(early)
    assert record.error is not None
    assert (record.error.note, effects) == ("", [])


def test_a_failure_that_the_flow_deals_with_undoes_nothing(env: Env) -> None:
    @flow(name="careful")
    async def careful() -> str:
        await charge(1)
        try:
            return await ship("x")
        except StepFailed:
            return "by hand"

    broken.add("ship")
    assert env.run(careful).result == "by hand"
    assert [what for what, *_ in effects] == ["charge", "ship"]


def test_a_cancelled_run_is_undone_and_so_are_late_results(env: Env) -> None:
    @step(undo=refund)
    async def deaf(amount: int, card: str = "deaf") -> str:
        do("deaf", amount)
        try:
            await sleep("3s")
        except asyncio.CancelledError:
            pass
        return f"d{amount}"

    @flow(name="cancelled-trip")
    async def cancelled() -> None:
        await charge(1)
        await gather(deaf(2), sleep("1h"))

    record = env.start(cancelled)
    env.cancel(record, "changed my mind", by="ada")
    record = env.finish(record)
    assert record.status == "cancelled"
    assert effects[2:] == [("refund", "d2", 2, "deaf"), ("refund", "r1", 1, "visa")]
    assert record.error is not None
    assert str(record.error) == "RunCancelled: cancelled by ada: changed my mind (undone: 1/deaf, charge)"


def test_a_cancelled_body_is_of_unknown_outcome(env: Env) -> None:
    @step(undo=refund)
    async def slow(amount: int, card: str = "") -> str:
        do("slow", amount)
        await asyncio.sleep(100)
        return "never"

    @flow(name="slow-trip")
    async def slow_trip() -> None:
        await slow(1)

    record = env.start(slow_trip)
    env.cancel(record)
    record = env.record(record)
    assert record.error is not None
    assert (record.status, record.error.note) == ("cancelled", "outcome unknown: slow")


def test_a_flow_out_of_time_is_undone_without_a_deadline(env: Env) -> None:
    @step
    async def slowly(result: str) -> None:
        await asyncio.sleep(3600)
        do("slowly", result)

    @step(undo=slowly)
    async def act() -> str:
        do("act")
        return "acted"

    @flow(name="short", timeout="10s")
    async def short() -> None:
        await act()
        await sleep("1m")

    record = env.run(short)
    assert record.error is not None
    assert (record.status, record.error.type, record.error.note) == ("failed", "RunTimedOut", "undone: act")
    assert effects == [("act",), ("slowly", "acted")]


def test_nothing_disturbs_the_undoing(env: Env) -> None:
    @step
    async def slowly(result: str) -> None:
        await asyncio.sleep(60)
        do("slowly", result)

    @step(undo=slowly)
    async def act(n: int) -> str:
        do("act", n)
        return f"{n}"

    @flow(name="disturbed")
    async def disturbed() -> None:
        await act(1)
        await act(2)
        await ship("x")

    broken.add("ship")
    record = env.start(disturbed)
    env.advance("30s")
    env.cancel(record, by="ada")
    record = env.finish(record)
    assert (record.status, effects[-2:]) == ("failed", [("slowly", "2"), ("slowly", "1")])


@pytest.mark.parametrize("entry", range(1, 14))
@pytest.mark.parametrize("written", [False, True])
def test_a_crash_anywhere_undoes_each_effect_all_the_same(env: Env, entry: int, written: bool) -> None:
    broken.add("ship")
    env.plan_crash(entry, written=written)
    record = env.run(trip, 3)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.note == "undone: charge#2, book, charge"
    first: list[Any] = list(dict.fromkeys(zip(effects, keys, strict=True)))
    assert [effect for effect, _ in first] == DONE + UNDONE, "a body may run again, under the key that it had"


def test_code_that_changed_does_not_go_on_with_a_run_that_is_being_undone(env: Env) -> None:
    @flow(name="changing-trip")
    async def changing(nights: int) -> str:
        await charge(nights * 100)
        await book(nights)
        await charge(5, card="amex")
        return await ship("tickets")

    broken.add("ship")
    env.crash_after(9)  # the first undo is recorded, the run has not ended
    record = env.start(changing, 3)
    broken.clear()

    @flow(name="changing-trip")
    async def mended(nights: int) -> str:
        await charge(nights * 100)
        await book(nights)
        await charge(5, card="amex")
        return "no ship needed"

    assert mended.name == "changing-trip"
    record = env.finish(record)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.note == "undone: charge#2, book, charge"


def test_the_fallbacks_own_undo_is_called_and_the_steps_attempt_is_unknown(env: Env) -> None:
    @step
    async def unspare(result: str, amount: int) -> None:
        do("unspare", result, amount)

    @step(undo=unspare)
    async def spare(amount: int) -> str:
        do("spare", amount)
        return f"s{amount}"

    @step(undo=refund, fallback=spare)
    async def first(amount: int, card: str = "x") -> str:
        do("first", amount)
        raise Permanent("no")

    @flow(name="spared")
    async def spared() -> None:
        await first(7)
        await ship("x")

    broken.add("ship")
    record = env.run(spared)
    assert effects[-1] == ("unspare", "s7", 7)
    assert record.error is not None
    assert record.error.note == "undone: first; outcome unknown: first"


def test_a_redrive_after_an_undo_does_it_again_as_another_effect(env: Env) -> None:
    broken.add("ship")
    record = env.run(trip, 3)
    before = list(keys)
    broken.clear()

    async def scene(life: Any) -> Any:
        found = await repair.redrive(record.id, by="ada", store=life.mount)
        await life.loop.settled()
        return found

    (repaired,) = env._play(scene, None)  # pyright: ignore[reportPrivateUsage]
    assert repaired.step == "charge", "the first effect that was undone"
    record = env.finish(record)
    assert (record.status, record.result) == ("completed", "tickets")
    assert effects[7:] == DONE
    assert not set(keys[7:10]) & set(before), "the bank has refunded the first ones: these are others"


def test_questions_and_undo_go_together(env: Env) -> None:
    @flow(name="approved")
    async def approved() -> str:
        await charge(9)
        if not await ask_human("ok?"):
            raise Permanent("declined")
        return "done"

    record = env.run(approved)
    env.answer(record, False, by="ada")
    record = env.record(record)
    assert (record.status, effects) == ("failed", [("charge", 9), ("refund", "r9", 9, "visa")])


def takes_nothing() -> None: ...


def takes_three(a: int, b: int, c: int) -> None: ...


def by_name_only(*, result: str) -> None: ...


UNFIT: list[tuple[Any, str]] = [
    (takes_nothing, "is called with the step's result, then its inputs (result, n), and takes ()"),
    (takes_three, "takes (a: int, b: int, c: int)"),
    (by_name_only, "takes (*, result: str)"),
    ("refund", "undo is a step, or a function, not 'refund'"),
    (trip, "undo is a step, or a function"),
]


@pytest.mark.parametrize(("undo", "said"), UNFIT)
def test_an_undo_that_does_not_fit_is_refused_at_declaration(undo: Any, said: str) -> None:
    with pytest.raises(DeclarationError) as told:

        @step(undo=undo)
        async def act(n: int) -> str:
            return str(n)

    assert said in str(told.value)


def test_an_undo_gets_the_inputs_as_they_were(env: Env) -> None:
    @step
    async def take_back(result: int, basket: list[str]) -> None:
        do("take back", tuple(basket))

    @step(undo=take_back)
    async def put(basket: list[str]) -> int:
        do("put", tuple(basket))
        return len(basket)

    @flow(name="shopping")
    async def shopping() -> None:
        basket = ["tea"]
        await put(basket)
        basket.append("rice")  # the flow's own list is its own
        await ship("x")

    broken.add("ship")
    env.run(shopping)
    assert effects[-1] == ("take back", ("tea",))
