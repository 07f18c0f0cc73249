"""Questions to people: asked once, answered once, held to their type, and waited for without a worker's memory."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from segue import (
    AlreadyDecided,
    DeclarationError,
    InvalidAnswer,
    StepTimedOut,
    UnknownQuestion,
    UsageError,
    ask_human,
    current_run,
    escalate,
    flow,
    gather,
    sleep,
    step,
)
from segue.cli.inbox import read_answer
from segue.core.entries import Kind
from segue.inbox import Question
from segue.testing import Env


@pytest.fixture
def env() -> Generator[Env, None, None]:
    with Env() as env:
        yield env


@dataclass(frozen=True)
class Plan:
    stops: list[str]
    hours: float = 1.0


log: list[Any] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


@step
async def dispatch(what: str) -> str:
    log.append(what)
    return f"sent {what}"


@flow(name="refund")
async def refund(amount: int) -> str:
    await dispatch("a look")
    if await ask_human(f"Refund {amount} €?", about={"amount": amount}, assignee="ada"):
        return await dispatch("money")
    return "refused"


# Asking and answering


def test_a_flow_waits_for_a_person_and_goes_on_with_the_answer(env: Env) -> None:
    record = env.run(refund, 900)
    (question,) = env.questions()
    assert (record.status, record.waits) == ("waiting", (f"waits for ada to answer question {question.id}",))
    assert (question.text, question.about, question.assignee, question.wanted) == (
        "Refund 900 €?",
        {"amount": 900},
        "ada",
        "true or false",
    )
    assert (question.run, question.flow, question.step, question.fate) == (record.id, "refund", "ask_human", "open")
    env.advance("30d")
    env.answer(record, True, by="ada")
    record = env.record(record)
    assert (record.status, record.result, log) == ("completed", "sent money", ["a look", "money"])
    (question,) = env.questions(open=False)
    assert (question.by, question.value, question.fate) == ("ada", True, "answer")
    assert question.decided is not None
    assert question.decided - question.asked == pytest.approx(30 * 86400)
    assert env.questions() == []


def test_the_answer_is_in_the_record_with_who_gave_it(env: Env) -> None:
    record = env.run(refund, 1)
    env.answer(record, False, by="bob")
    step = env.record(record).step("ask_human")
    assert (step.output, step.source, step.status) == (False, "human", "completed")
    assert env.record(record).result == "refused"


def test_only_the_first_answer_counts_and_the_second_is_told_whose(env: Env) -> None:
    record = env.run(refund, 900)
    (question,) = env.questions()
    env.answer(question, True, by="ada")
    with pytest.raises(AlreadyDecided, match="was answered by ada at") as told:
        env.answer(question, False, by="bob")
    assert (told.value.by, told.value.question) == ("ada", question.id)
    assert env.record(record).result == "sent money"


TYPED: list[tuple[Any, Any, Any, str]] = [
    (bool, True, "yes", "true or false"),
    (int, 3, 3.5, "a whole number"),
    (str, "so", 3, "text"),
    (Plan, {"stops": ["a"], "hours": 2}, {"stops": "a"}, "{stops: a list of text, hours?: a number}"),
    (Plan, Plan(["a"]), {"hours": 1}, "{stops: a list of text, hours?: a number}"),
    (list[Plan], [{"stops": []}], [{"stops": [1]}], "a list of {stops: a list of text, hours?: a number}"),
    (Literal["now", "never"], "now", "later", '"never" or "now"'),
    (int | None, None, "x", "a whole number or null"),
]


@pytest.mark.parametrize(("answer", "good", "bad", "wanted"), TYPED)
def test_an_answer_is_held_to_its_type_before_anything_is_decided(
    env: Env, answer: Any, good: Any, bad: Any, wanted: str
) -> None:
    @flow(name="typed")
    async def typed() -> str:
        return type(await ask_human("What?", answer=answer)).__name__

    record = env.run(typed)
    (question,) = env.questions()
    with pytest.raises(InvalidAnswer, match="the answer does not fit") as told:
        env.answer(record, bad)
    assert wanted in str(told.value)
    assert env.questions() == [question]
    env.answer(record, good)
    record = env.record(record)
    assert record.status == "completed", record.error
    assert record.result == ("Plan" if answer is Plan else type(good).__name__)


def test_choices_are_the_only_answers(env: Env) -> None:
    @flow(name="choice")
    async def choice() -> str:
        return await ask_human("Which way?", choices=["left", "right"])

    record = env.run(choice)
    with pytest.raises(InvalidAnswer, match='It has to be "left" or "right"'):
        env.answer(record, "up")
    env.answer(record, "left")
    assert env.record(record).result == "left"


def test_an_answer_that_slips_through_is_refused_by_the_run_and_asked_for_again(env: Env) -> None:
    class Even:
        def __init__(self, number: int) -> None:
            if number % 2:
                raise ValueError(f"{number} is odd")
            self.number = number

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Even) and other.number == self.number

        __hash__ = None  # type: ignore[assignment]

    from segue import register_codec

    register_codec(Even, lambda even: even.number, Even)

    @flow(name="even")
    async def even() -> int:
        return (await ask_human("An even number?", answer=Even)).number

    record = env.run(even)
    env.answer(record, 3, by="ada")  # no schema knows what is even
    record = env.record(record)
    assert record.status != "completed"
    (question,) = env.questions()
    assert "the answer of ada does not fit" in question.shown["refused"]
    assert "3 is odd" in question.shown["refused"]
    env.answer(question, 4)
    assert env.record(record).result == 4


def test_questions_of_one_run_are_told_apart(env: Env) -> None:
    @flow(name="two")
    async def two() -> list[bool]:
        return list(await gather(ask_human("first?"), ask_human("second?")))

    record = env.run(two)
    first, second = env.questions()
    assert (first.text, second.text) == ("first?", "second?")
    with pytest.raises(UsageError, match="asks 2 questions"):
        env.answer(record, True)
    env.answer(second, False)
    env.answer(first, True)
    assert env.record(record).result == [True, False]


def test_the_same_question_twice_needs_two_answers(env: Env) -> None:
    @flow(name="again")
    async def again() -> list[bool]:
        return [await ask_human("sure?"), await ask_human("sure?")]

    record = env.run(again)
    (first,) = env.questions()
    env.answer(first, True)
    (second,) = env.questions()
    assert second.id != first.id
    with pytest.raises(AlreadyDecided):
        env.answer(first, True)
    env.answer(second, False)
    assert env.record(record).result == [True, False]


def test_a_question_that_is_not_there(env: Env) -> None:
    with pytest.raises(UnknownQuestion, match="there is no question 'zzz'"):
        env.answer("zzz", True)
    with pytest.raises(UnknownQuestion):
        env.answer("", True)


def test_who_answers_has_a_name(env: Env) -> None:
    record = env.run(refund, 1)
    for by in ("", "  ", "a\nb", "x" * 201):
        with pytest.raises(UsageError, match="by="):
            env.answer(record, True, by=by)
    assert len(env.questions()) == 1


def test_outside_a_flow_nobody_can_be_asked(env: Env) -> None:
    @step
    async def asks() -> bool:
        return await ask_human("from a step?")

    @flow(name="wrong")
    async def wrong() -> bool:
        return await asks()

    record = env.run(wrong)
    assert record.error is not None
    assert "ask_human() belongs in the body of a flow" in record.error.message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"default": True}, "give timeout= too"),
        ({"assignee": ["ada", "bob"]}, "needs a timeout"),
        ({"assignee": []}, "an assignee is a name"),
        ({"assignee": " "}, "an assignee is a name"),
        ({"timeout": 0}, "more than 0"),
        ({"choices": []}, "choices are a list"),
        ({"choices": "yes"}, "choices are a list"),
        ({"choices": [1.5, "a"]}, "several types need answer="),
        ({"timeout": "1h", "default": "no"}, "cannot be stored"),
        ({"name": "a/b"}, "a question's name is"),
    ],
)
def test_a_question_that_cannot_be_asked_says_so(env: Env, given: dict[str, Any], said: str) -> None:
    @flow(name="odd")
    async def odd() -> Any:
        return await ask_human("?", **given)

    record = env.run(odd)
    assert record.error is not None
    assert said in record.error.message
    assert env.questions(open=False) == []


# Time


def test_the_default_is_taken_when_nobody_answers(env: Env) -> None:
    @flow(name="slow")
    async def slow() -> str:
        return await ask_human("quick?", choices=["yes", "no"], timeout="2h", default="no")

    record = env.run(slow)
    assert (record.result, record.took) == ("no", 7200)
    assert (record.step("ask_human").source, record.step("ask_human").status) == ("degraded", "completed")
    (question,) = env.questions(open=False)
    assert (question.fate, question.by) == ("nobody", None)
    with pytest.raises(AlreadyDecided, match="nobody had answered in time"):
        env.answer(question, "yes")


def test_without_a_default_it_is_a_timeout(env: Env) -> None:
    @flow(name="strict")
    async def strict() -> str:
        try:
            await ask_human("quick?", timeout="2h", assignee="ada")
        except TimeoutError as late:
            return f"{type(late) is StepTimedOut} {late}"
        return "?"

    assert env.run(strict).result.startswith("True")
    assert "ada gave no answer within 2h" in env.run(strict).result


def test_it_goes_from_one_to_the_next(env: Env) -> None:
    @flow(name="chain")
    async def chain() -> str:
        return await ask_human("who?", answer=str, assignee=["ada", "bob", "cy"], timeout="1d")

    record = env.start(chain)
    assert [q.assignee for q in env.questions()] == ["ada"]
    (first,) = env.questions()
    env.advance("25h")
    assert [q.assignee for q in env.questions()] == ["bob"]
    with pytest.raises(AlreadyDecided, match="nobody had answered in time"):
        env.answer(first, "me")
    env.advance("25h")
    env.answer(record, "cy it is", by="cy")
    record = env.record(record)
    assert record.result == "cy it is"
    assert [str(f) for f in record.step("ask_human").failures] == [
        "NoAnswer: ada gave no answer within 1d",
        "NoAnswer: bob gave no answer within 1d",
    ]


def test_it_is_told_of_again(env: Env) -> None:
    @flow(name="remind")
    async def remind() -> bool:
        return await ask_human("well?", remind="1d", timeout="10d")

    record = env.start(remind)
    env.advance("3d12h")
    (question,) = env.questions()
    assert question.reminded(env.now) == 3
    loaded = env._world.disk._load(record.id)  # pyright: ignore[reportPrivateUsage]
    assert loaded is not None
    asked = [entry for entry in loaded[1] if entry.kind is Kind.ASKED]
    assert [round((entry.ended - asked[0].ended) / 86400, 3) for entry in asked] == [0, 1, 2, 3]
    env.answer(record, True)
    assert env.record(record).result is True


def test_a_flow_that_gives_up_withdraws_its_question(env: Env) -> None:
    import asyncio

    @flow(name="impatient")
    async def impatient() -> str:
        try:
            async with asyncio.timeout(60):
                await ask_human("now?")
        except TimeoutError:
            return await dispatch("without")
        return "?"

    record = env.run(impatient)
    assert (record.result, log) == ("sent without", ["without"])
    (question,) = env.questions(open=False)
    assert question.fate == "withdrawn"
    with pytest.raises(AlreadyDecided, match="withdrawn by its run"):
        env.answer(question, True)


def test_a_run_that_ends_withdraws_what_it_asked(env: Env) -> None:
    record = env.run(refund, 3)
    env.cancel(record, "no need", by="boss")
    record = env.record(record)
    assert (record.status, str(record.error)) == ("cancelled", "RunCancelled: cancelled by boss: no need")
    (question,) = env.questions(open=False)
    assert question.fate == "withdrawn"
    with pytest.raises(AlreadyDecided):
        env.answer(question, True)


# Crashes


def answer_through_a_crash(env: Env, question: Question, value: Any, by: str) -> None:
    """Answer; if the process dies after the answer got through, whoever asks again is told so."""
    try:
        env.answer(question, value, by=by)
    except AlreadyDecided as told:
        if told.by != by:
            raise


@pytest.mark.parametrize("point", ["before-mail", "after-mail", "before-commit", "in-commit", "after-commit"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_crash_around_the_answer_loses_and_doubles_nothing(env: Env, point: str, nth: int) -> None:
    record = env.run(refund, 900)
    world = env._world  # pyright: ignore[reportPrivateUsage]
    from segue.testing.world import Trap

    world.traps.append(Trap(point, nth, optional=True))
    answer_through_a_crash(env, env.questions(open=False)[0], True, by="ada")
    world.traps.clear()
    record = env.finish(record)
    assert (record.status, record.result) == ("completed", "sent money")
    twice = (point, nth) in (("before-commit", 2), ("in-commit", 2))  # it is sent, and that is not written yet
    assert log == (["a look", "money", "money"] if twice else ["a look", "money"])
    assert [q.by for q in env.questions(open=False)] == ["ada"]


@pytest.mark.parametrize("entry", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("written", [False, True])
def test_a_crash_at_each_entry_of_a_question_asks_once(env: Env, entry: int, written: bool) -> None:
    @flow(name="chained")
    async def chained() -> str:
        await dispatch("first")
        who = await ask_human("who?", answer=str, assignee=["ada", "bob"], timeout="1d")
        return await dispatch(who)

    env.plan_crash(entry, written=written)
    record = env.start(chained)
    env.advance("25h")
    (question,) = env.questions()
    assert question.assignee == "bob"
    answer_through_a_crash(env, question, "me", by="bob")
    record = env.finish(record)
    assert (record.status, record.result) == ("completed", "sent me")
    assert [q.assignee for q in env.questions(open=False)] == ["ada", "bob"]
    assert set(log) == {"first", "me"}


# The last rung but one of a ladder


def in_range(income: int) -> bool | str:
    return 0 < income < 100_000 or "out of range"


@step(check=in_range, fallback=[escalate("What is it?", assignee="clerk")])
async def read(page: str) -> int:
    log.append(page)
    return len(page) * (1000 if current_run().attempt == 1 else 1_000_000)


@flow(name="reading")
async def reading(page: str) -> int:
    return await read(page)


def test_a_person_sees_what_was_refused_and_why(env: Env) -> None:
    env.run(reading, "x" * 500)
    (question,) = env.questions()
    assert (question.text, question.assignee, question.choices) == (
        "What is it?",
        "clerk",
        ("retry", "accept", "reject"),
    )
    assert question.shown["input"] == {"page": "x" * 500}
    assert question.shown["raw"] == "500000"
    assert "out of range" in question.shown["failure"]
    assert question.shown["step"] == "read"


@pytest.mark.parametrize(
    ("answer", "status", "result", "bodies"),
    [
        ("accept", "completed", 500_000, 1),
        ({"edit": 4200}, "completed", 4200, 1),
        ("reject", "failed", None, 1),
        ({"reject": "not a payslip"}, "failed", None, 1),
        ("retry", "waiting", None, 2),
    ],
)
def test_what_a_person_may_decide(env: Env, answer: Any, status: str, result: Any, bodies: int) -> None:
    record = env.run(reading, "x" * 500)
    env.answer(record, answer, by="cy")
    record = env.record(record) if status != "waiting" else env.finish(record)
    assert (record.status, record.result, len(log)) == (status, result, bodies)
    if status == "completed":
        assert (record.step("read").source, record.step("read").rungs) == ("human", ("read", "cy"))
    if status == "failed":
        assert record.error is not None
        assert "cy rejected it" in record.error.message
    if status == "waiting":
        (question,) = env.questions()
        assert question.shown["raw"] == "500000000"


def test_an_edited_value_is_held_to_the_steps_type(env: Env) -> None:
    record = env.run(reading, "x" * 500)
    for wrong in ({"edit": "many"}, "maybe", {"edit": 1, "reject": "?"}, None, 7):
        with pytest.raises(InvalidAnswer):
            env.answer(record, wrong)
    assert len(env.questions()) == 1


def test_without_a_value_that_fits_there_is_nothing_to_accept(env: Env) -> None:
    @step(fallback=escalate("Broken: what now?"))
    async def broken() -> int:
        raise ConnectionError("no scanner")

    @flow(name="broken-flow")
    async def whole() -> int:
        return await broken()

    record = env.run(whole)
    (question,) = env.questions()
    assert question.choices == ("retry", "reject")
    with pytest.raises(InvalidAnswer):
        env.answer(record, "accept")
    env.answer(record, {"edit": 7})
    assert env.record(record).result == 7


def test_after_a_person_comes_the_next_rung(env: Env) -> None:
    def enough(n: int) -> bool | str:
        return n > 5 or "too few"

    @step(check=enough, fallback=[escalate("ok?", timeout="1h")], degraded=-1)
    async def count() -> int:
        return 1

    @flow(name="counting")
    async def counting() -> int:
        return await count()

    record = env.run(counting)
    assert (record.result, record.took, record.step("count").rungs) == (-1, 3600, ("count", "a person", "degraded"))
    second = env.start(counting)
    env.answer(second, "reject")
    assert env.record(second).result == -1


@pytest.mark.parametrize("entry", range(1, 8))
@pytest.mark.parametrize("written", [False, True])
def test_a_ladder_with_a_person_survives_a_crash_at_each_entry(env: Env, entry: int, written: bool) -> None:
    env.plan_crash(entry, written=written)
    record = env.run(reading, "x" * 500)
    answer_through_a_crash(env, env.questions()[0], "retry", by="cy")
    record = env.finish(record)
    answer_through_a_crash(env, env.questions()[0], {"edit": 9}, by="di")
    record = env.finish(record)
    assert (record.status, record.result) == ("completed", 9)
    assert [q.by for q in env.questions(open=False)] == ["cy", "di"]


def test_outside_a_flow_the_person_is_left_out() -> None:
    with pytest.raises(Exception, match="nobody can be asked 'What is it\\?' outside a flow"):
        read.run("x" * 500)


@pytest.mark.parametrize("given", ["", "  ", 7])
def test_escalate_takes_a_question(given: Any) -> None:
    with pytest.raises(DeclarationError, match="a question is text"):
        escalate(given)


# Memory


def test_a_run_that_waits_for_a_person_leaves_memory_and_new_code_answers(env: Env) -> None:
    @flow(name="moved")
    async def moved() -> str:
        return await dispatch(str(await ask_human("?")))

    record = env.run(moved)

    @flow(name="moved")
    async def moved_again() -> str:
        answer = await ask_human("?")
        await sleep("1s")
        return await dispatch(f"new {answer}")

    env.answer(record, True)
    assert env.finish(record).result == "sent new True"
    assert moved_again.name == "moved"


# What is shown


def test_a_long_value_is_shown_and_one_that_is_too_long_is_refused(env: Env) -> None:
    @flow(name="long")
    async def long(size: int) -> bool:
        return await ask_human("all of this?", about="x" * size)

    record = env.run(long, 500_000)
    (question,) = env.questions()
    assert len(question.about) == 500_000
    env.crash_at("before-claim")
    answer_through_a_crash(env, question, True, by="ada")
    assert env.finish(record).result is True
    record = env.run(long, 2_000_000)
    assert record.error is not None
    assert "1,048,576 are allowed: show less" in record.error.message
    assert len(env.questions(open=False)) == 1


def test_a_step_with_a_long_input_names_it(env: Env) -> None:
    @step(fallback=escalate("what is it?"))
    async def broken(text: str) -> str:
        raise ConnectionError("no")

    @flow(name="long-input")
    async def whole(size: int) -> str:
        return await broken("y" * size)

    for size in (70_000, 400_000):
        record = env.run(whole, size)
        (question,) = env.questions(record)
        assert question.shown["input"].endswith(f"bytes: segue show {record.id} --step broken")
        env.answer(record, {"edit": "z"})
        assert env.record(record).result == "z"


def test_a_step_that_gives_an_object_can_be_edited_and_is_held_to_it(env: Env) -> None:
    @step(fallback=escalate("?"))
    async def plan() -> Plan:
        raise ConnectionError("no")

    @flow(name="planned")
    async def planned() -> list[str]:
        return (await plan()).stops

    record = env.run(planned)
    (question,) = env.questions()
    assert "{edit: {stops: a list of text, hours?: a number}}" in question.wanted
    with pytest.raises(InvalidAnswer):
        env.answer(record, {"edit": {"stops": "many"}})
    assert read_answer(question, '{"edit": {"stops": ["a"]}}') == {"edit": {"stops": ["a"]}}
    assert read_answer(question, "retry") == read_answer(question, '"retry"') == "retry"
    env.answer(record, {"edit": {"stops": ["a"]}})
    assert env.record(record).result == ["a"]


def test_bounds_are_told(env: Env) -> None:
    @flow(name="bounded")
    async def bounded() -> int:
        return await ask_human("how many?", answer=Annotated[int, Meta(ge=1, le=9)])  # type: ignore[arg-type]

    record = env.run(bounded)
    with pytest.raises(InvalidAnswer, match=r"a whole number \(at least 1, at most 9\)"):
        env.answer(record, 10)
    env.answer(record, 9)
    assert env.record(record).result == 9


def test_a_misspelt_key_is_no_answer(env: Env) -> None:
    @flow(name="spelled")
    async def spelled() -> float:
        return (await ask_human("?", answer=Plan)).hours

    record = env.run(spelled)
    with pytest.raises(InvalidAnswer, match="huors"):
        env.answer(record, {"stops": [], "huors": 3})
    env.answer(record, {"stops": [], "hours": 3})
    assert env.record(record).result == 3
