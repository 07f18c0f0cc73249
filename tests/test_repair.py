"""Redrive, discard, fork, cancel: nothing recorded runs again, and what was changed is on record with who did it."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

import segue
from segue import (
    CannotRedrive,
    RunEnded,
    UnknownRun,
    UsageError,
    ask_human,
    cached,
    flow,
    gather,
    idempotency_key,
    now,
    repair,
    sleep,
    step,
    wait_for,
)
from segue.inspection import RunRecord as Timeline
from segue.inspection import timeline
from segue.stores.base import Query, Store
from segue.testing import Env
from segue.testing.records import RunRecord


class Sink:
    """The outside world: what it gets to see, with which key, and what is broken in it."""

    def __init__(self) -> None:
        self.effects: list[tuple[str, Any]] = []
        self.keys: dict[str, list[str]] = {}
        self.broken: set[str] = set()

    def __call__(self, what: str, value: Any) -> None:
        self.effects.append((what, value))
        self.keys.setdefault(what, []).append(idempotency_key())
        if what in self.broken:
            raise ConnectionError(f"{what} is down")

    def count(self, what: str) -> int:
        return sum(name == what for name, _ in self.effects)


sink = Sink()


@pytest.fixture(autouse=True)
def fresh_sink() -> None:
    sink.__init__()


@pytest.fixture
def env() -> Generator[Env, None, None]:
    with Env() as env:
        yield env


def mend(env: Env, work: Callable[[Store], Awaitable[Any]]) -> Any:
    """Let a coroutine of ``repair`` work on the environment's store, and things go on."""

    async def scene(life: Any) -> Any:
        found = await work(life.mount)
        life.engine.look_for_mail()
        await life.loop.settled()
        return found

    return env._play(scene, None)  # pyright: ignore[reportPrivateUsage]


def redrive(env: Env, run: RunRecord | str, **given: Any) -> list[repair.Repaired]:
    id = run if isinstance(run, str) else run.id
    return mend(env, lambda store: repair.redrive(id, by="ada", store=store, **given))


def told(env: Env, run: RunRecord | str) -> Timeline:
    """The run as its journal tells it."""
    loaded = env._world.disk._load(run if isinstance(run, str) else run.id)  # pyright: ignore[reportPrivateUsage]
    assert loaded is not None
    return timeline(*loaded)


@step
async def read(page: str) -> int:
    sink("read", page)
    return len(page)


@step
async def score(income: int, bonus: int = 0) -> int:
    sink("score", income + bonus)
    return income + bonus


@step
async def decide(points: int) -> str:
    sink("decide", points)
    return f"{points} points"


@flow(name="loan")
async def loan(page: str) -> str:
    return await decide(await score(await read(page)))


# Redrive


def test_a_redrive_goes_on_from_the_step_that_failed(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    assert record.status == "failed"
    sink.broken.clear()
    assert redrive(env, record) == [repair.Repaired(record.id, "loan", "score")]
    record = env.finish(record)
    assert (record.status, record.result) == ("completed", "3 points")
    assert (sink.count("read"), sink.count("score"), sink.count("decide")) == (1, 2, 1)
    assert len(set(sink.keys["score"])) == 1, "it is the same effect, which the first try may have had"


def test_the_audit_shows_both_lives(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    sink.broken.clear()
    env.advance("2d")
    redrive(env, record, input={"bonus": 7}, why="the scanner was replaced")
    record = env.finish(record)
    (intervention,) = told(env, record).interventions
    assert (intervention.kind, intervention.by) == ("redrive", "ada")
    assert intervention.said == "let it go on from score, with an edited input of score: the scanner was replaced"
    assert intervention.data["inputs"] == {"score": {"bonus": 7}}
    assert intervention.data["error"]["message"].startswith("step 'score' failed: ConnectionError: score is down")
    step = next(step for step in told(env, record).steps if step.name == "score")
    assert (step.input, step.edited, step.output) == ({"income": 3, "bonus": 7}, True, 10)


def test_an_edited_input_is_what_the_step_runs_with_and_its_effect_is_another_one(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    sink.broken.clear()
    redrive(env, record, input={"income": 40})
    record = env.finish(record)
    assert record.result == "40 points"
    assert sink.effects == [("read", "abc"), ("score", 3), ("score", 40), ("decide", 40)]
    assert len(set(sink.keys["score"])) == 2


@pytest.mark.parametrize("entry", range(1, 6))
@pytest.mark.parametrize("written", [False, True])
def test_a_crash_anywhere_after_a_redrive_changes_nothing(env: Env, entry: int, written: bool) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    sink.broken.clear()
    redrive(env, record, input={"income": 40})
    env.plan_crash(entry, written=written)
    record = env.finish(record)
    assert (record.status, record.result, sink.count("read")) == ("completed", "40 points", 1)
    assert len(set(sink.keys["score"])) == 2


def test_an_edited_input_that_does_not_fit_fails_the_step_by_name(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    sink.broken.clear()
    redrive(env, record, input={"income": "lots"})
    record = env.finish(record)
    assert record.error is not None
    assert "parameter 'income' of step 'score'" in str(record.error)
    redrive(env, record, start="score", input={"income": 5})
    assert env.finish(record).result == "5 points"


def test_a_redrive_from_an_earlier_step_runs_all_that_followed(env: Env) -> None:
    sink.broken.add("decide")
    record = env.run(loan, "abc")
    sink.broken.clear()
    redrive(env, record, start="score")
    assert env.finish(record).result == "3 points"
    assert (sink.count("read"), sink.count("score"), sink.count("decide")) == (1, 2, 2)


def test_a_redrive_from_the_start_runs_everything(env: Env) -> None:
    sink.broken.add("decide")
    record = env.run(loan, "abc")
    sink.broken.clear()
    redrive(env, record, start="start")
    assert env.finish(record).result == "3 points"
    assert sink.count("read") == 2


def test_a_given_result_stands_in_for_a_step(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    redrive(env, record, results={"score": 99})
    record = env.finish(record)
    assert (record.result, record.step("score").source, sink.count("score")) == ("99 points", "human", 1)


def test_a_given_result_of_an_earlier_step_changes_what_follows(env: Env) -> None:
    sink.broken.add("decide")
    record = env.run(loan, "abc")
    sink.broken.clear()
    redrive(env, record, results={"read": 50})
    record = env.finish(record)
    assert (record.result, sink.count("read"), sink.count("score")) == ("50 points", 1, 2)
    assert told(env, record).interventions[0].data["results"] == ["read"]


def test_a_given_result_of_the_wrong_type_fails_the_flow_and_says_so(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    redrive(env, record, results={"score": "many"})
    record = env.finish(record)
    assert record.error is not None
    assert "the result that a person gave for step 'score' is not what it declares" in record.error.message
    redrive(env, record, results={"score": 4})
    sink.broken.clear()
    assert env.finish(record).result == "4 points"


@flow(name="buggy")
async def buggy(page: str) -> str:
    income = await read(page)
    return await decide(10 // (income - 3))


def test_after_a_code_fix_a_flow_that_failed_by_itself_goes_on(env: Env) -> None:
    record = env.run(buggy, "abc")
    assert (record.status, sink.count("read")) == ("failed", 1)

    @flow(name="buggy")
    async def mended(page: str) -> str:
        income = await read(page)
        return await decide(10 // max(1, income - 3))

    assert mended.name == "buggy"
    assert redrive(env, record) == [repair.Repaired(record.id, "buggy", "")]
    assert env.finish(record).result == "10 points"
    assert sink.count("read") == 1


def test_siblings_that_were_cancelled_run_again_and_those_that_ended_well_do_not(env: Env) -> None:
    @step
    async def slow(n: int) -> int:
        sink("slow", n)
        await asyncio.sleep(n)
        return n

    @step
    async def late(n: int) -> int:
        sink("late", n)
        try:
            await sleep("5s")
        except asyncio.CancelledError:
            pass
        return n

    @step
    async def breaks() -> int:
        await sleep("1s")
        sink("breaks", 0)
        return 1

    @flow(name="branches")
    async def branches() -> list[int]:
        return list(await gather(slow(0), slow(10), late(3), breaks()))

    sink.broken.add("breaks")
    record = env.run(branches)
    sink.broken.clear()
    redrive(env, record)
    assert env.finish(record).result == [0, 10, 3, 1]
    assert [n for what, n in sink.effects if what == "slow"] == [0, 10, 10]
    assert sink.count("late") == 1, "its result came late, and is on record"


def test_a_failed_child_goes_on_with_its_parent(env: Env) -> None:
    @flow(name="parent")
    async def parent() -> str:
        await read("before")
        return await loan("abc")

    sink.broken.add("score")
    record = env.run(parent)
    child = record.step("loan").child
    assert child is not None
    sink.broken.clear()
    repaired = redrive(env, record)
    assert [one.run for one in repaired] == [child.id, record.id]
    record = env.finish(record)
    assert (record.status, record.result) == ("completed", "3 points")
    assert [page for what, page in sink.effects if what == "read"] == ["before", "abc"]


def test_a_child_takes_its_parent_along(env: Env) -> None:
    @flow(name="outer")
    async def outer() -> str:
        return await loan("abc")

    @flow(name="outermost")
    async def outermost() -> str:
        return await outer()

    sink.broken.add("score")
    record = env.run(outermost)
    middle = record.step("outer").child
    assert middle is not None
    inner = middle.step("loan").child
    assert inner is not None
    sink.broken.clear()
    repaired = redrive(env, inner.id, input={"income": 8})
    assert [one.run for one in repaired] == [inner.id, middle.id, record.id]
    assert env.finish(record).result == "8 points"


def test_from_before_a_child_run_it_is_another_child_run(env: Env) -> None:
    @flow(name="early")
    async def early() -> str:
        income = await read("abc")
        return await loan("x" * income)

    sink.broken.add("score")
    record = env.run(early)
    sink.broken.clear()
    redrive(env, record, start="start")
    record = env.finish(record)
    assert record.result == "3 points"
    children = env._world.disk._find(Query(parent=record.id))  # pyright: ignore[reportPrivateUsage]
    assert [child.status for child in children] == ["completed", "failed"]
    assert children[1].reason is not None, "the other one is nobody's dead letter any more"


def test_a_deadline_begins_anew_with_the_pause_left_out(env: Env) -> None:
    @step
    async def slow(n: int) -> int:
        sink("slow", n)
        await asyncio.sleep(30 if "slow" in sink.broken else 1)
        return n

    @flow(name="timed", timeout="1m")
    async def timed() -> int:
        async with segue.timeout("20s"):
            return await slow(1)

    sink.broken.add("slow")
    record = env.run(timed)
    assert record.status == "failed"
    sink.broken.clear()
    env.advance("3d")
    redrive(env, record)
    record = env.finish(record)
    assert (record.status, record.result) == ("completed", 1), record.error


def test_a_cancelled_run_can_go_on(env: Env) -> None:
    @flow(name="nap")
    async def nap() -> str:
        income = await read("abc")
        await sleep("1h")
        return await decide(income)

    record = env.start(nap)
    env.cancel(record, by="bob")
    assert env.record(record).status == "cancelled"
    env.advance("5h")
    redrive(env, record)
    env.advance("59m")
    assert env.record(record).status == "waiting"
    assert env.finish(record).result == "3 points"
    assert sink.count("read") == 1
    env_record = env.record(record)
    assert env_record.status == "completed"


def test_a_redriven_run_can_be_cancelled_again(env: Env) -> None:
    record = env.run(loan_by_hand, "abc")
    env.cancel(record, by="bob")
    redrive(env, record)
    record = env.finish(record)
    assert record.status == "waiting"
    env.cancel(record, by="cy")
    assert "cancelled by cy" in str(env.record(record).error)


@flow(name="by-hand")
async def loan_by_hand(page: str) -> str:
    await read(page)
    return await decide(await ask_human("income?", answer=int))


def test_an_answered_question_stays_answered_and_one_that_failed_is_asked_anew(env: Env) -> None:
    sink.broken.add("decide")
    record = env.run(loan_by_hand, "abc")
    (first,) = env.questions()
    env.answer(first, 5, by="ada")
    assert env.record(record).status == "failed"
    sink.broken.clear()
    redrive(env, record, start="ask_human")
    (second,) = env.questions()
    assert second.id != first.id
    with pytest.raises(segue.AlreadyDecided):
        env.answer(first, 6)
    env.answer(second, 6, by="bob")
    assert env.record(record).result == "6 points"
    assert [q.value for q in env.questions(open=False)] == [5, 6]


def test_signals_that_were_read_after_the_point_can_be_read_again(env: Env) -> None:
    @flow(name="signalled-loan")
    async def signalled() -> str:
        await read("abc")
        number = await wait_for("income", int)
        return await decide(number)

    sink.broken.add("decide")
    record = env.run(signalled)
    env.send(record, "income", 12)
    assert env.record(record).status == "failed"
    sink.broken.clear()
    redrive(env, record, start="start")
    assert env.finish(record).result == "12 points"


def test_kept_values_and_retries_are_as_ever_after_a_redrive(env: Env) -> None:
    @step(retry=1, fallback=cached("1h"))
    async def rate() -> int:
        sink("rate", 0)
        return 4

    @flow(name="rated")
    async def rated() -> int:
        return await rate()

    sink.broken.add("rate")
    record = env.run(rated)
    assert record.status == "failed"
    sink.broken.clear()
    redrive(env, record)
    assert env.finish(record).result == 4


# What cannot be redriven


def test_what_is_not_at_its_end_or_completed_is_refused(env: Env) -> None:
    record = env.run(loan, "abc")
    with pytest.raises(CannotRedrive, match=r"is completed: only one that failed or was cancelled.*segue fork"):
        redrive(env, record)
    waiting = env.run(loan_by_hand, "abc")
    with pytest.raises(CannotRedrive, match="is waiting"):
        redrive(env, waiting)
    with pytest.raises(UnknownRun):
        redrive(env, "nowhere")
    with pytest.raises(UsageError, match="by="):
        mend(env, lambda store: repair.redrive(record.id, by=" ", store=store))


def test_what_does_not_exist_cannot_be_edited(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    with pytest.raises(CannotRedrive, match="there is no step 'ocr'; there are read, score"):
        redrive(env, record, start="ocr")
    with pytest.raises(CannotRedrive, match="there is no step 'ocr'"):
        redrive(env, record, results={"ocr": 1})
    with pytest.raises(CannotRedrive, match="no step of it failed, so say which"):
        redrive(env, env.run(buggy, "abc"), input={"page": "x"})
    assert env.record(record).status == "failed"


def test_two_redrives_at_once_are_one(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    sink.broken.clear()

    async def both(store: Any) -> list[Any]:
        calls = [repair.redrive(record.id, by=by, store=store) for by in ("ada", "bob")]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = mend(env, both)
    assert sorted(type(result).__name__ for result in results) == ["CannotRedrive", "list"]
    record = env.finish(record)
    assert (record.result, len(told(env, record).interventions)) == ("3 points", 1)


# Dead letters


def test_dead_letters_that_are_alike_stand_together_and_go_on_together(env: Env) -> None:
    sink.broken |= {"score"}
    failed = [env.run(loan, "x" * n) for n in range(1, 6)]
    sink.broken = {"decide"}
    other = env.run(loan, "abc")
    own = env.run(buggy, "abc")
    faults = mend(env, lambda store: repair.dead(store=store))
    assert [(f.flow, f.step, f.error, f.runs) for f in faults] == [
        ("loan", "score", "ConnectionError", 5),
        ("buggy", None, "ZeroDivisionError", 1),
        ("loan", "decide", "ConnectionError", 1),
    ]
    assert faults[0].newest == failed[-1].id
    sink.broken.clear()

    async def all_of_them(store: Any) -> list[str]:
        calls = repair.redrive_all(flow="loan", step="score", error="ConnectionError", by="ada", store=store)
        return [run async for run, _ in calls]

    assert mend(env, all_of_them) == [record.id for record in failed]
    assert [env.finish(record).status for record in failed] == ["completed"] * 5
    assert [env.record(record).status for record in (other, own)] == ["failed", "failed"]
    assert len(mend(env, lambda store: repair.dead(store=store))) == 2
    assert len(mend(env, lambda store: repair.dead(flow="buggy", store=store))) == 1


def test_a_discarded_run_is_no_dead_letter_and_can_still_be_redriven(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    mend(env, lambda store: repair.discard(record.id, by="ada", why="a test", store=store))
    assert mend(env, lambda store: repair.dead(store=store)) == []
    assert told(env, record).row.reason == "discarded by ada: a test"
    with pytest.raises(CannotRedrive, match="failed, discarded by ada"):
        mend(env, lambda store: repair.discard(record.id, by="bob", store=store))
    sink.broken.clear()
    redrive(env, record)
    record = env.finish(record)
    assert (record.status, [one.kind for one in told(env, record).interventions]) == (
        "completed",
        ["discard", "redrive"],
    )
    with pytest.raises(CannotRedrive, match="is completed"):
        mend(env, lambda store: repair.discard(record.id, by="ada", store=store))


def test_the_step_that_ended_a_run_is_found_behind_other_errors(env: Env) -> None:
    @flow(name="wrapped")
    async def wrapped() -> str:
        try:
            return await loan_steps("abc")
        except Exception as error:
            raise RuntimeError("the loan went wrong") from error

    async def loan_steps(page: str) -> str:
        async with asyncio.TaskGroup() as group:
            found = group.create_task(score(len(page)))
        return str(found.result())

    sink.broken.add("score")
    record = env.run(wrapped)
    (fault,) = mend(env, lambda store: repair.dead(store=store))
    assert (fault.step, fault.error) == ("score", "ConnectionError")
    sink.broken.clear()
    redrive(env, record)
    assert env.finish(record).result == "3"


# Fork


def fork(env: Env, run: RunRecord, **given: Any) -> str:
    return mend(env, lambda store: repair.fork(run.id, by="ada", store=store, **given))


def test_a_fork_takes_recorded_results_and_runs_the_rest_anew(env: Env) -> None:
    record = env.run(loan, "abc")
    new = fork(env, record, start="score", version="2")
    forked = env.finish(new)
    assert (forked.status, forked.result) == ("completed", "3 points")
    assert (sink.count("read"), sink.count("score"), sink.count("decide")) == (1, 2, 2)
    assert len(set(sink.keys["score"])) == 2, "to the outside it is another run"
    assert env.record(record).status == "completed"
    (intervention,) = told(env, new).interventions
    assert (intervention.kind, intervention.said) == ("fork", f"forked run {record.id} from score")
    assert told(env, new).row.version == "2"


def test_a_fork_of_a_completed_run_is_repeated_and_does_nothing(env: Env) -> None:
    record = env.run(loan, "abc")
    assert env.finish(fork(env, record)).result == "3 points"
    assert len(sink.effects) == 3


def test_a_fork_of_a_failed_run_runs_the_failed_step(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    sink.broken.clear()
    assert env.finish(fork(env, record)).result == "3 points"
    assert env.record(record).status == "failed"
    assert sink.count("read") == 1


def test_a_fork_sees_the_time_and_chance_of_the_past(env: Env) -> None:
    @step
    async def stamp(when: float, chance: float, name: str) -> str:
        sink("stamp", when)
        return f"{when} {chance} {name}"

    @flow(name="stamped")
    async def stamped() -> str:
        first = await stamp(now(), segue.random(), str(segue.uuid4()))
        done, _ = await asyncio.wait([asyncio.create_task(read(str(n))) for n in range(5)])
        return await stamp(now(), segue.random(), first + "".join(str(task.result()) for task in done))

    record = env.run(stamped)
    env.advance("9d")
    new = fork(env, record)
    assert env.finish(new).result == record.result
    assert sink.count("stamp") == 2
    again = fork(env, env.record(new))
    assert env.finish(again).result == record.result


def test_a_fork_of_what_waits_asks_for_itself(env: Env) -> None:
    record = env.run(loan_by_hand, "abc")
    new = fork(env, record)
    env.finish(new)
    assert {question.run for question in env.questions()} == {record.id, new}
    for question in env.questions():
        env.answer(question, 3 if question.run == new else 4)
    assert (env.record(new).result, env.record(record).result) == ("3 points", "4 points")


def test_a_fork_that_cannot_be(env: Env) -> None:
    record = env.run(loan, "abc")
    with pytest.raises(CannotRedrive, match="cannot be forked from there: there is no step 'x'"):
        fork(env, record, start="x")
    with pytest.raises(segue.Conflict):
        fork(env, record, id=record.id)


# Cancel


def test_a_queued_run_ends_at_once(env: Env) -> None:
    async def work(store: Any) -> Any:
        return await repair.cancel("later", by="ada", why="a mistake", store=store)

    record = env.start(loan.options(id="later", delay="1d"), "abc")
    assert record.status == "queued"
    assert mend(env, work) == "cancelled"
    record = env.record(record)
    assert (record.status, str(record.error)) == ("cancelled", "RunCancelled: cancelled by ada: a mistake")
    assert sink.effects == []
    env.advance("2d")
    assert env.record(record).status == "cancelled"


def test_a_parent_takes_its_children_along_wherever_they_are(env: Env) -> None:
    cleaned: list[str] = []

    @step
    async def hold(what: str) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            cleaned.append(what)

    @flow(name="holding")
    async def holding(what: str) -> None:
        await hold(what)

    @flow(name="sleeping")
    async def sleeping() -> None:
        await sleep("30d")

    @flow(name="asking")
    async def asking() -> None:
        await ask_human("?")

    @flow(name="family")
    async def family() -> None:
        later = holding.options(delay="20d")
        await asyncio.gather(holding("now"), sleeping(), asking(), later("later"), hold("own"))

    record = env.start(family)
    env.cancel(record, by="ada")
    record = env.finish(record)
    assert (record.status, sorted(cleaned)) == ("cancelled", ["now", "own"])
    assert [step.child.status for step in record.steps if step.child is not None] == ["cancelled"] * 4
    assert env.questions() == []


def test_a_run_that_ended_is_not_cancelled(env: Env) -> None:
    record = env.run(loan, "abc")
    with pytest.raises(RunEnded, match="has ended already \\(completed\\)"):
        env.cancel(record)
    with pytest.raises(UnknownRun):
        env.cancel("nowhere")


def test_a_cancelled_step_gets_to_clean_up_with_steps_of_its_own(env: Env) -> None:
    @flow(name="tidy")
    async def tidy() -> None:
        try:
            await sleep("1d")
        finally:
            await decide(0)

    record = env.start(tidy)
    env.cancel(record)
    assert (env.record(record).status, sink.count("decide")) == ("cancelled", 1)


def test_a_cancellation_is_replayed_where_it_was(env: Env) -> None:
    @flow(name="stubborn")
    async def stubborn() -> str:
        income = await read("abc")
        try:
            await sleep("1d")
        except asyncio.CancelledError:
            return await decide(income + 1)
        return "?"

    for entry in range(1, 6):
        record = env.start(stubborn)
        env.plan_crash(entry, written=True)
        env.cancel(record)
        record = env.finish(record)
        assert (record.status, record.result) == ("completed", "4 points"), "it did not want to be cancelled"


# What a new user ran into


@step
async def release(receipt: str) -> None:
    sink("release", receipt)


@step(undo=release)
async def reserve(page: str) -> str:
    sink("reserve", page)
    return f"receipt {sink.count('reserve')}"


@step
async def pay(receipt: str, iban: str = "DE") -> str:
    sink("pay", (receipt, iban))
    return f"paid {receipt} to {iban}"


@flow(name="paying")
async def paying(page: str) -> str:
    return await pay(await reserve(page))


def test_an_edited_input_lies_over_what_the_flow_gives_then(env: Env) -> None:
    sink.broken.add("pay")
    record = env.run(paying, "x")
    sink.broken.clear()
    redrive(env, record, input={"iban": "FR"})
    assert env.finish(record).result == "paid receipt 2 to FR", "the first one was given back"


def test_a_given_result_stands_whatever_the_step_is_asked_for_then(env: Env) -> None:
    sink.broken.add("pay")
    record = env.run(paying, "x")
    redrive(env, record, results={"pay": "by hand"})
    assert env.finish(record).result == "by hand"


def test_an_effect_that_is_undone_twice_is_undone_under_two_keys(env: Env) -> None:
    sink.broken.add("pay")
    record = env.run(paying, "x")
    redrive(env, record)
    record = env.finish(record)
    assert (record.status, sink.count("release")) == ("failed", 2)
    assert len(set(sink.keys["release"])) == len(set(sink.keys["reserve"])) == 2


def test_a_fork_undoes_only_what_it_did_itself(env: Env) -> None:
    record = env.run(paying, "x")
    sink.broken.add("pay")
    forked = env.finish(fork(env, record, start="pay"))
    assert (forked.status, sink.count("release")) == ("failed", 0)
    assert env.record(record).status == "completed"


def test_a_misspelt_parameter_fails_the_step_before_its_body(env: Env) -> None:
    sink.broken.add("score")
    record = env.run(loan, "abc")
    redrive(env, record, input={"bonsu": 1})
    record = env.finish(record)
    assert "it has no parameter 'bonsu'; there are income, bonus" in str(record.error)
    assert sink.count("score") == 1


def test_a_question_that_the_runs_end_left_open_is_asked_anew(env: Env) -> None:
    record = env.run(loan_by_hand, "abc")
    (first,) = env.questions()
    env.cancel(record)
    redrive(env, record)
    (second,) = env.questions()
    assert second.id != first.id
    env.answer(second, 5)
    assert env.record(record).result == "5 points"


def test_the_input_of_a_question_cannot_be_edited(env: Env) -> None:
    sink.broken.add("decide")
    record = env.run(loan_by_hand, "abc")
    env.answer(record, 5)
    with pytest.raises(CannotRedrive, match="is a question to a person"):
        redrive(env, record, start="ask_human", input={"question": "x"})


def test_a_run_that_ran_out_of_time_has_all_of_it_again(env: Env) -> None:
    @flow(name="hasty", timeout="20s")
    async def hasty() -> str:
        if await ask_human("?"):
            await sleep("15s")
        return "done"

    record = env.run(hasty)
    assert record.status == "failed"
    redrive(env, record)
    env.answer(record, True)
    assert env.finish(record).result == "done"
