"""The loan pipeline: first on its real models, then in virtual time where days pass and models fail."""

import asyncio
import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from segue import Engine, File, InvalidAnswer, inbox
from segue.testing import Env, RunRecord

EXAMPLE = Path(__file__).parents[2] / "examples" / "crediflow"
sys.path.insert(0, str(EXAMPLE))


def load_app() -> Any:
    """Under a name of its own: other examples have an app.py too."""
    spec = importlib.util.spec_from_file_location("crediflow_app", EXAMPLE / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


app = load_app()
applicants: Any = importlib.import_module("crediflow.applicants")
credit: Any = importlib.import_module("crediflow.credit")
fraud: Any = importlib.import_module("crediflow.fraud")
payslips: Any = importlib.import_module("crediflow.payslips")
readers: Any = importlib.import_module("crediflow.readers")
scripted: Any = importlib.import_module("crediflow.scripted_llm")
Kind = payslips.Kind


# On real models


def somebody(kind: Any, income: float = 4200.0, mood: Any = scripted.Mood.PLAIN) -> Any:
    """An honest applicant with such an income and slip, whose story the script takes in this mood."""
    found = (applicants.applicant(3, number, kind) for number in range(1000))
    one = next(a for a in found if scripted.mood_of(a.story) is mood and applicants.COMMAND not in a.story)
    slip = payslips.make(one.name, one.identity.employer, income, kind, Random(1))
    return replace(
        one, identity=fraud.honest(Random(2)), payslip=slip, years_in_job=9, missed_payments=0, instalments=0
    )


def of_a_ring(one: Any) -> Any:
    return replace(one, identity=fraud.known_rings()[0][0])


PEOPLE = {
    "clean": somebody(Kind.CLEAN),
    "skewed": somebody(Kind.SKEWED),
    "absurd": somebody(Kind.ABSURD),
    "ring": of_a_ring(somebody(Kind.CLEAN)),
    "stubborn": somebody(Kind.CLEAN, mood=scripted.Mood.STUBBORN),
}
ANSWERS: dict[str, Any] = {"absurd": {"monthly": 4200}, "ring": "decline", "stubborn": "accept"}


@dataclass
class Seen:
    """What became of an application.

    Attributes:
        row: how it stood before anybody had answered.
        steps: the names of the steps that its run took, in order.
    """

    row: Any
    question: inbox.Question | None
    decision: Any
    steps: list[str]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """All of them at the same time, until each is decided or waits; then the answers, and their ends."""
    folder = tmp_path_factory.mktemp("crediflow")
    store = f"sqlite:{folder / 'segue.db'}"

    async def scene() -> dict[str, tuple[Any, inbox.Question | None, Any]]:
        async with Engine(store):
            sent = {
                name: one.application(number, File.save(payslips.write(one.payslip, Random(number), folder)))
                for number, (name, one) in enumerate(PEOPLE.items())
            }
            handles = {name: await app.loan.options(id=name).start(sent[name]) for name in sent}
            report = await app.settle(list(sent.values()), list(sent))
            asked = {question.run: question for question in await inbox.questions()}
            for name, value in ANSWERS.items():
                await inbox.answer(asked[name].id, value, by="ada")
            return {row.run: (row, asked.get(row.run), await handles[row.run].result()) for row in report.rows}

    return {name: Seen(*what, steps_of(name, store)) for name, what in asyncio.run(scene()).items()}


def steps_of(run: str, store: str) -> list[str]:
    return [step["name"] for step in json.loads(segue("show", run, "--json", store=store).stdout)["steps"]]


def segue(*arguments: str, store: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "segue", *arguments],
        env={"SEGUE_STORE": store, "PYTHONPATH": ":".join(filter(None, sys.path)), "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


READ = ["read_with_tesseract", "read_with_rapidocr", "income as scanned"]
AGAIN = ["restore", "read_with_tesseract", "read_with_rapidocr", "income restored"]
REST = ["summarise", "score_fraud", "fraud", "score_credit", "credit"]


class TestOnRealModels:
    def test_a_good_applicant_is_accepted_and_told_why(self, seen: dict[str, Seen]) -> None:
        clean = seen["clean"]
        assert (clean.row.outcome, clean.decision.status, clean.decision.by) == (
            "accepted",
            "accepted",
            "rules and models",
        )
        assert clean.decision.reasons == clean.row.reasons
        assert clean.decision.reasons[0].startswith("paid back with a likelihood of ")
        assert clean.question is None
        assert clean.steps == [*READ, "income restored", *REST]

    def test_a_skewed_slip_is_restored_and_read_again_and_nobody_is_asked(self, seen: dict[str, Seen]) -> None:
        assert seen["skewed"].steps == [*READ, *AGAIN, *REST]
        assert seen["skewed"].decision == seen["clean"].decision

    def test_an_absurd_income_is_read_again_then_a_person_says_what_it_is(self, seen: dict[str, Seen]) -> None:
        absurd = seen["absurd"]
        assert absurd.steps == [*READ, *AGAIN, "ask_human", *REST]
        assert absurd.question is not None
        assert absurd.question.assignee == "underwriter"
        assert absurd.question.wanted == "{monthly: a number (at least 0, at most 25000)}"
        assert PEOPLE["absurd"].payslip.income == 42.0
        assert absurd.question.about["because"] == ["nobody earns $42.00 a month"]
        assert absurd.row.answer == f"""segue inbox answer {absurd.question.id} --value '{{"monthly": 0}}'"""
        assert absurd.decision == seen["clean"].decision, "with the answer it goes on as any other"

    def test_a_ring_is_shown_to_an_investigator(self, seen: dict[str, Seen]) -> None:
        ring = seen["ring"]
        assert ring.question is not None
        assert ring.question.choices == ("approve", "decline")
        assert ring.question.about["because"][0].startswith("shared with people known for fraud: ")
        assert (ring.decision.status, ring.decision.by) == ("rejected", "investigator")
        assert "score_credit" not in ring.steps

    def test_a_model_that_invents_numbers_is_told_twice_then_a_person_decides(self, seen: dict[str, Seen]) -> None:
        stubborn = seen["stubborn"]
        assert stubborn.question is not None
        assert stubborn.question.choices == ("retry", "accept", "reject")
        assert stubborn.row.reasons[0].startswith("invents_no_number: not in the story: 3,")
        assert stubborn.decision.status == "accepted"


def test_the_command_of_the_readme_and_an_answer(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'segue.db'}"
    ran = segue("run", str(EXAMPLE), "--input", '{"count": 5, "seed": 217}', store=store)
    rows = json.loads(ran.stdout)["rows"]
    assert [row["number"] for row in rows] == list(range(1, 6))
    counts = {
        outcome: sum(row["outcome"] == outcome for row in rows) for outcome in ("accepted", "rejected", "escalated")
    }
    assert sum(counts.values()) == 5
    assert min(counts.values()) > 0
    shown = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    assert f"5 applications: {shown}" in ran.stderr

    waiting = [row for row in rows if row["outcome"] == "escalated"]
    assert all(row["answer"] in ran.stderr for row in waiting)
    assert all(len(row["reasons"]) > 1 for row in rows if row["outcome"] == "rejected"), (
        "whoever is rejected is told why"
    )
    listed = json.loads(segue("inbox", "--json", store=store).stdout)
    assert {question["run"] for question in listed} == {row["run"] for row in waiting}

    one = next(row for row in waiting if "monthly" in row["answer"])
    id = one["answer"].split()[3]
    segue("inbox", "answer", id, "--value", '{"monthly": 0}', "--by", "ada", store=store)
    segue("resume", str(EXAMPLE), store=store, code=3)  # others still wait
    ended = json.loads(segue("show", one["run"], "--json", store=store).stdout)
    assert (ended["status"], ended["result"]["reasons"]) == ("completed", ["nobody could tell what the income is"])
    left = json.loads(segue("inbox", "--json", store=store).stdout)
    assert id not in {question["id"] for question in left}
    assert len(left) == len(waiting) - 1


# In virtual time, where days pass and models fail. The readers and the language model are fakes here.

APPLICATION = somebody(Kind.CLEAN).application(1, File("0" * 64, "slip.png", 1))
RING = of_a_ring(somebody(Kind.CLEAN)).application(1, File("0" * 64, "slip.png", 1))


def reading(reader: str, income: float | None) -> Any:
    return readers.Reading(reader, APPLICATION.name, "Ashford Rail", "May 2026", income, "")


@pytest.fixture
def env(segue_env: Env) -> Env:
    segue_env.fake(app.read_with_tesseract, returns=reading("tesseract", 4200.0))
    segue_env.fake(app.read_with_rapidocr, returns=reading("rapidocr", 4200.0))
    segue_env.fake(app.restore, returns=APPLICATION.payslip)
    facts = json.dumps({"amount": APPLICATION.amount, "purpose": APPLICATION.purpose, "dependants": 0, "text": _text()})
    segue_env.fake(app.summarise, returns=facts)
    return segue_env


def _text() -> str:
    return f"Wants ${APPLICATION.amount:,} for a {APPLICATION.purpose}."


def some_minutes_of(env: Env) -> RunRecord:
    """A run for as long as retries take, and not until everybody has been asked in vain."""
    record = env.start(app.loan, APPLICATION)
    env.advance("5m")
    return env.record(record)


class TestInVirtualTime:
    def test_when_nobody_says_what_the_income_is_a_second_one_is_asked_and_then_it_is_rejected(self, env: Env) -> None:
        env.fake(app.read_with_rapidocr, returns=reading("rapidocr", 4700.0))
        record = env.start(app.loan, APPLICATION)
        assert env.questions()[0].assignee == "underwriter"
        assert env.questions()[0].about["because"] == ["tesseract reads $4,200.00, rapidocr $4,700.00"]
        env.advance("3d1h")
        assert env.questions()[0].assignee == "head of credit"
        env.advance("3d")
        assert env.questions() == []
        decision = env.record(record).result
        assert (decision.status, decision.reasons) == ("rejected", ["nobody could tell what the income is"])

    @pytest.mark.parametrize("wrong", [{"monthly": 900_000}, {"monthly": -1}, {"monthly": "much"}, 4200, "approve"])
    def test_what_no_gate_would_let_through_nobody_can_enter(self, env: Env, wrong: Any) -> None:
        env.fake(app.read_with_rapidocr, returns=reading("rapidocr", None))
        record = some_minutes_of(env)
        with pytest.raises(InvalidAnswer):
            env.answer(record, wrong)
        env.answer(record, {"monthly": 4200})
        assert env.record(record).result.status == "accepted"

    def test_a_reader_that_fails_shuts_the_gate(self, env: Env) -> None:
        env.fake(app.read_with_tesseract, raises=OSError("tesseract is not installed"))
        record = some_minutes_of(env)
        assert record.status == "waiting"
        assert env.questions()[0].about["because"] == ["tesseract reads nothing, rapidocr $4,200.00"]

    @pytest.mark.parametrize("answer", ["approve", "decline"])
    @pytest.mark.parametrize(("model", "assignee"), [("score_fraud", "investigator"), ("score_credit", "underwriter")])
    def test_a_model_that_fails_leaves_it_to_a_person(self, env: Env, model: str, assignee: str, answer: str) -> None:
        env.fake(getattr(app, model), raises=ValueError("not fitted"))
        record = some_minutes_of(env)
        (question,) = env.questions()
        assert question.assignee == assignee
        assert question.about["because"] == ["the score is -1.0, not between 0 and 1"]
        env.answer(question, answer)
        assert env.record(record).result.status == ("accepted" if answer == "approve" else "rejected")

    def test_an_unclear_score_is_for_an_underwriter(self, env: Env) -> None:
        env.fake(app.score_credit, returns=credit.CreditScore(0.55, 0.1, ["dependants: 4"]))
        record = some_minutes_of(env)
        assert env.questions()[0].about["because"] == ["credit score 0.55, neither good nor bad", "dependants: 4"]
        env.answer(record, "approve", by="ada")
        decision = env.record(record).result
        assert (decision.status, decision.by) == ("accepted", "underwriter")

    def test_a_ring_nobody_looks_at_is_declined_after_a_week(self, env: Env) -> None:
        record = env.start(app.loan, RING)
        env.advance("6d23h")
        assert len(env.questions()) == 1
        env.advance("2h")
        decision = env.record(record).result
        assert (decision.status, decision.by) == ("rejected", "investigator")

    def test_a_story_that_a_person_rejects_ends_it(self, env: Env) -> None:
        env.fake(app.summarise, returns="I am a model, and I have no time.")
        record = some_minutes_of(env)
        env.answer(record, "reject")
        decision = env.record(record).result
        assert (decision.status, decision.reasons) == ("rejected", ["the story is not about the loan on the form"])
        assert env.record(record).step("summarise").attempts == 4

    def test_a_person_may_write_the_summary(self, env: Env) -> None:
        env.fake(app.summarise, returns="I am a model, and I have no time.")
        record = some_minutes_of(env)
        own = {"amount": APPLICATION.amount, "purpose": APPLICATION.purpose, "dependants": 2, "text": _text()}
        env.answer(record, {"edit": own})
        assert env.record(record).step("score_credit").input["facts"]["dependants"] == 2

    def test_a_batch_that_crashes_while_it_starts_runs_starts_none_twice(self, env: Env) -> None:
        env.fake(app.receive, returns=[replace(APPLICATION, number=number) for number in (1, 2, 3)])
        env.crash_at("after-body", nth=2)
        record = env.run(app.batch, 3)
        assert record.crashes == 1
        assert [(row.number, row.outcome) for row in record.result.rows] == [(n, "accepted") for n in (1, 2, 3)]
        assert len(env.calls(app.submit)) == 2
        assert len(env.calls(app.score_credit)) == 3
