"""CrediFlow: loans. Between every two models stands a gate: a rule that no model decides.

two OCR readers → gate → [picture restored, read again → gate] → language model → gate → fraud → gate → credit → gate

Whatever a gate refuses goes to a person, and the run waits for the answer: days if need be, in no memory.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from crediflow import applicants, credit, fraud, gates, llm, payslips, readers, scripted_llm
from crediflow.applicants import Application
from crediflow.batches import Outcome, Report, Row
from crediflow.credit import CreditScore, Facts
from crediflow.fraud import FraudScore, Identity
from crediflow.gates import Readings
from crediflow.llm import Summary
from crediflow.readers import Reading
from msgspec import Meta
from PIL import Image

from segue import File, ask_human, current_run, escalate, flow, gate, gather, inbox, resource, step, use
from segue.models import ChatModel


@dataclass(frozen=True)
class Income:
    """What a person answers. It is held to its type: more than a gate lets through cannot be entered."""

    monthly: Annotated[float, Meta(ge=0, le=gates.MOST)]
    """0 says that it cannot be known."""


@dataclass(frozen=True)
class Decision:
    status: Literal["accepted", "rejected"]
    reasons: list[str]
    by: str = "rules and models"


@flow
async def loan(application: Application) -> Decision:
    """One application. No model sees what another one gave before a gate has let it through."""
    read = await read_twice(application.payslip)
    rules = gates.of_income(application.name)
    read = await gate(read, *rules, otherwise=lambda _: read_restored(application.payslip), name="income as scanned")
    income = await gate(read, *rules, otherwise=partial(ask_income, application), name="income restored")
    if not income.monthly:
        return Decision("rejected", ["nobody could tell what the income is"], "underwriter")

    story = await summarise.outcome(application.story, application.amount, application.purpose)  # its gates are check=
    if not story.ok:
        return Decision("rejected", ["the story is not about the loan on the form"], "underwriter")

    risk = await score_fraud(application.identity)
    risk = await gate(risk, *gates.OF_FRAUD, otherwise=partial(ask_investigator, application), name="fraud")
    if risk == "decline":
        return Decision("rejected", ["declined for what is shared with others"], "investigator")

    score = await score_credit(facts_of(application, income.monthly, story.value))
    verdict = await gate(score, *gates.OF_CREDIT, otherwise=partial(ask_underwriter, application), name="credit")
    return decide(score, verdict)


def facts_of(application: Application, monthly: float, summary: Summary) -> Facts:
    burden = (credit.instalment(application.amount) + application.instalments) / monthly
    years, missed = application.years_in_job, application.missed_payments
    return Facts(monthly, application.amount, burden, years, summary.dependants, missed)


def decide(score: CreditScore, verdict: CreditScore | str) -> Decision:
    """Either a person had to, or the score is clear."""
    if isinstance(verdict, str):
        status = "accepted" if verdict == "approve" else "rejected"
        return Decision(status, [f"{verdict}d at a credit score of {score.score:.2f}"], "underwriter")
    likely = f"paid back with a likelihood of {score.score:.0%}"
    if score.score >= gates.ACCEPT:
        return Decision("accepted", [likely, f"instalments take {score.burden:.0%} of the income"])
    return Decision("rejected", [likely, *score.against[:3]])


# Where a person decides. A second one is asked when the first has not answered in three days.

UNDERWRITERS = ("underwriter", "head of credit")


async def ask_income(application: Application, read: Readings) -> Income:
    about = _about(application, gates.reasons(read, gates.of_income(application.name)))
    return await ask_human(
        "What is the monthly income on this payslip?",
        about=about,
        answer=Income,
        assignee=UNDERWRITERS,
        timeout="3d",
        remind="1d",
        default=Income(0),
    )


async def ask_investigator(application: Application, risk: FraudScore) -> str:
    return await ask_human(
        "Is this applicant who they say they are?",
        about=_about(application, gates.reasons(risk, gates.OF_FRAUD)),
        choices=["approve", "decline"],
        assignee="investigator",
        timeout="7d",
        remind="1d",
        default="decline",
    )


async def ask_underwriter(application: Application, score: CreditScore) -> str:
    return await ask_human(
        "Shall this loan be paid out?",
        about=_about(application, [*gates.reasons(score, gates.OF_CREDIT), *score.against]),
        choices=["approve", "decline"],
        assignee=UNDERWRITERS,
        timeout="3d",
        remind="1d",
        default="decline",
    )


def _about(application: Application, because: list[str]) -> dict[str, object]:
    return {
        "applicant": application.name,
        "amount": application.amount,
        "payslip": application.payslip.name,
        "because": because,
    }


# Reading the payslip. A reader that fails has read nothing: the other one disagrees with it, and so the gate shuts.


async def read_twice(slip: File) -> Readings:
    return Readings(*await gather(read_with_tesseract(slip), read_with_rapidocr(slip)))


async def read_restored(slip: File) -> Readings:
    return await read_twice(await restore(slip))


@resource(scope="worker")
async def rapid() -> AsyncGenerator[readers.Rapid, None]:
    yield await asyncio.to_thread(readers.Rapid)


# On two cores: one for each reader. Waiting for a place is not part of a timeout.


@step(timeout="20s", retry=1, concurrency=1, degraded=readers.nothing("tesseract"))
def read_with_tesseract(slip: File) -> Reading:
    return readers.tesseract(slip.path)


@step(timeout="20s", retry=1, concurrency=1, degraded=readers.nothing("rapidocr"))
def read_with_rapidocr(slip: File, reader: readers.Rapid = use(rapid)) -> Reading:
    return reader.read(slip.path)


def as_it_is(slip: File) -> File:
    return slip


@step(timeout="20s", retry=2, fallback=as_it_is)  # found by `segue chaos`: who cannot be restored is read as scanned
def restore(slip: File) -> File:
    """Without specks and level, for both readers."""
    with TemporaryDirectory() as folder, Image.open(slip.path) as picture:
        readers.restored(picture).save(file := Path(folder) / f"restored-{slip.name}")
        return File.save(file)


# The story. A summary that is not faithful is refused, the model is told why, and asked again; then a person.


@resource(scope="worker")
async def model() -> AsyncGenerator[ChatModel, None]:
    """Any endpoint that speaks OpenAI's protocol; without one, a local one whose answers are scripted."""
    if url := os.environ.get("CREDIFLOW_LLM"):
        name = os.environ.get("CREDIFLOW_MODEL", "scripted")
        yield ChatModel(name, base_url=url, stream=True, system=llm.SYSTEM, temperature=0)
    else:
        with scripted_llm.serving() as endpoint:
            yield ChatModel("scripted", base_url=endpoint.url, api_key="", stream=True, system=llm.SYSTEM)


@step(
    timeout="30s",
    retry=2,
    parse="json",
    check=[llm.names_the_loan, llm.invents_no_number],
    concurrency=8,
    fallback=escalate("What does this story say?", assignee=UNDERWRITERS, timeout="3d", remind="1d"),
)
async def summarise(
    story: str, amount: int, purpose: str, feedback: str | None = None, model: ChatModel = use(model)
) -> Summary:
    return await model.ask(story, feedback=feedback)  # pyright: ignore[reportReturnType] - text, which parse= reads


# Scores. A model that fails gives a score that no gate lets through.


@resource(scope="worker")
async def detector() -> AsyncGenerator[fraud.Detector, None]:
    yield await asyncio.to_thread(fraud.train)


@resource(scope="worker")
async def scorer() -> AsyncGenerator[credit.Scorer, None]:
    yield await asyncio.to_thread(credit.train)


@step(timeout="5s", retry=1, degraded=fraud.NO_SCORE)
def score_fraud(identity: Identity, detector: fraud.Detector = use(detector)) -> FraudScore:
    return detector.score(identity)


@step(timeout="5s", retry=1, degraded=credit.NO_SCORE)
def score_credit(facts: Facts, scorer: credit.Scorer = use(scorer)) -> CreditScore:
    return scorer.score(facts)


# Many at once: each application is a run of its own, which goes on when the batch has ended and a person answers.


@flow
async def batch(count: int = 200, seed: int = 7) -> Report:
    """So many applications. It ends when each has been decided or waits for a person."""
    applications = await receive(count, seed)
    return await settle(applications, await submit(applications))


@flow
async def one(number: int = 1, seed: int = 7) -> Decision:
    """One of these applications by itself, to watch."""
    (application,) = await receive(1, seed, number)
    return await loan(application)


# `segue chaos` said that these need more than one try, too.


@step(timeout="5m", retry=3)
def receive(count: int, seed: int, first: int = 1) -> list[Application]:
    """Applicants as a seed has them, and the payslips that they send."""
    with TemporaryDirectory() as folder:
        found: list[Application] = []
        for number in range(first, first + count):
            one = applicants.applicant(seed, number)
            picture = payslips.write(one.payslip, Random(number), Path(folder))
            found.append(one.application(number, File.save(picture, f"{number:03}-{picture.name}")))
        return found


@step(timeout="5m", retry=3)
async def submit(applications: list[Application]) -> list[str]:
    """Start their runs. The ids follow from the batch's: whoever starts them again finds those that are there."""
    batch = current_run().id
    ids = [f"{batch}-loan-{one.number:03}" for one in applications]
    for id, one in zip(ids, applications, strict=True):
        await loan.options(id=id).start(one)
    return ids


@step(retry=3)
async def settle(applications: list[Application], runs: list[str]) -> Report:
    """Wait until nothing more happens without a person."""
    rows: dict[str, Row] = {}
    while len(rows) < len(runs):
        asked = {question.run: question for question in await inbox.questions(flow=loan.name, limit=100_000)}
        for run, one in zip(runs, applications, strict=True):
            if run not in rows and (found := await outcome_of(run, asked.get(run))):
                rows[run] = Row(one.number, one.name, one.amount, one.payslip, run, *found)
        await asyncio.sleep(0 if len(rows) == len(runs) else 0.5)
    return Report([rows[run] for run in runs])


async def outcome_of(run: str, question: inbox.Question | None) -> tuple[Outcome, list[str], str, str] | None:
    """How an application stands; None while models are at it."""
    if question is not None:
        return "escalated", because(question), question.text, command(question)
    handle = await loan.handle(run)
    match await handle.status():
        case "completed":
            decision = await handle.result()
            return decision.status, decision.reasons, "", ""
        case "failed" | "cancelled" as status:
            return "failed", [f"the run {status}: segue show {run}"], "", ""
        case _:
            return None


def because(question: inbox.Question) -> list[str]:
    """Why a person is asked: what a gate said, or what was wrong with the model's last answer."""
    if isinstance(question.about, dict):
        return question.about["because"]
    failure = str(question.shown.get("failure", ""))
    return [failure.partition(" does not pass ")[2].partition(". It was ")[0] or failure]


def command(question: inbox.Question) -> str:
    """The command that gives the most careful answer."""
    value = question.choices[-1] if question.choices else """'{"monthly": 0}'"""
    return f"segue inbox answer {question.id} --value {value}"
