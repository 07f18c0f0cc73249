"""The parts of CrediFlow by themselves: real OCR, real HTTP, real training; no engine, no flow."""

import asyncio
import importlib
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from segue import Permanent
from segue.model_text import read_json
from segue.models import AnswerCutOff, ChatModel, ModelUnavailable

EXAMPLE = Path(__file__).parents[2] / "examples" / "crediflow"
sys.path.insert(0, str(EXAMPLE))  # its package is importable there, as it is under `segue run`

applicants: Any = importlib.import_module("crediflow.applicants")
credit: Any = importlib.import_module("crediflow.credit")
fraud: Any = importlib.import_module("crediflow.fraud")
gates: Any = importlib.import_module("crediflow.gates")
llm: Any = importlib.import_module("crediflow.llm")
payslips: Any = importlib.import_module("crediflow.payslips")
readers: Any = importlib.import_module("crediflow.readers")
scripted: Any = importlib.import_module("crediflow.scripted_llm")
Image: Any = importlib.import_module("PIL.Image")
Kind, Mood = payslips.Kind, scripted.Mood


@pytest.fixture(scope="module")
def rapid() -> Any:
    return readers.Rapid()


@pytest.fixture(scope="module")
def detector() -> Any:
    return fraud.train()


@pytest.fixture(scope="module")
def scorer() -> Any:
    return credit.train()


@pytest.fixture(scope="module")
def endpoint() -> Generator[Any, None, None]:
    with scripted.serving() as running:
        yield running


def slip_of(kind: Any, folder: Path, number: int = 0, restored: bool = False) -> tuple[Any, Path]:
    """What is printed on a slip of this kind, and its picture."""
    slip = applicants.applicant(1, number, kind).payslip
    file = payslips.write(slip, Random(number), folder)
    if restored:
        with Image.open(file) as picture:
            readers.restored(picture).save(file)
    return slip, file


class TestPayslips:
    def test_the_same_numbers_make_the_same_picture(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
        (_, one), (_, other) = (slip_of(Kind.NOISY, tmp_path / folder) for folder in ("a", "b"))
        assert one.read_bytes() == other.read_bytes()
        assert one.read_bytes() != slip_of(Kind.NOISY, tmp_path, number=1)[1].read_bytes()

    def test_only_an_absurd_one_says_what_nobody_earns(self) -> None:
        for kind in Kind:
            slips = [applicants.applicant(1, number, kind).payslip for number in range(40)]
            assert all(gates.LEAST <= slip.earned <= gates.MOST for slip in slips)
            realistic = [gates.LEAST <= slip.income <= gates.MOST for slip in slips]
            assert not any(realistic) if kind is Kind.ABSURD else all(realistic)


class TestReaders:
    def test_both_read_all_fields_of_a_clean_slip(self, rapid: Any, tmp_path: Path) -> None:
        slip, file = slip_of(Kind.CLEAN, tmp_path)
        for reading in (readers.tesseract(file), rapid.read(file)):
            assert (reading.name, reading.employer) == (slip.name, slip.employer)
            assert (reading.period, reading.income) == (slip.period, slip.income)

    def test_a_skewed_slip_sets_them_at_odds_and_is_read_when_straightened(self, rapid: Any, tmp_path: Path) -> None:
        slip, file = slip_of(Kind.SKEWED, tmp_path)
        scanned = gates.Readings(readers.tesseract(file), rapid.read(file))
        assert scanned.rapidocr.income not in (None, slip.income), (
            "it takes the amount of another line, and is sure of it"
        )
        assert "rapidocr" in gates.readers_agree(scanned)
        slip, file = slip_of(Kind.SKEWED, tmp_path, restored=True)
        assert readers.tesseract(file).income == rapid.read(file).income == slip.income

    def test_noise_is_taken_off(self, rapid: Any, tmp_path: Path) -> None:
        slip, file = slip_of(Kind.NOISY, tmp_path, number=1, restored=True)
        assert readers.tesseract(file).income == rapid.read(file).income == slip.income

    def test_an_absurd_income_is_read_as_it_is_printed(self, rapid: Any, tmp_path: Path) -> None:
        negative = next(n for n in range(20) if applicants.applicant(1, n, Kind.ABSURD).payslip.income < 0)
        slip, file = slip_of(Kind.ABSURD, tmp_path, negative, restored=True)
        read = gates.Readings(readers.tesseract(file), rapid.read(file))
        assert gates.readers_agree(read) is None
        assert read.monthly == slip.income < 0, "taking off specks leaves the minus"
        assert gates.is_realistic(read) == f"nobody earns -${-slip.income:,.2f} a month"

    def test_an_unreadable_slip_is_not_guessed_at(self, rapid: Any, tmp_path: Path) -> None:
        _, file = slip_of(Kind.UNREADABLE, tmp_path, restored=True)
        read = gates.Readings(readers.tesseract(file), rapid.read(file))
        assert gates.readers_agree(read) == "neither reader finds an income"

    def test_a_picture_is_turned_back_by_as_much_as_it_was_turned(self, tmp_path: Path) -> None:
        _, file = slip_of(Kind.CLEAN, tmp_path)
        with Image.open(file) as picture:
            turned = picture.rotate(-4.6, expand=True, fillcolor=payslips.PAPER)
        assert readers.slope(turned) == pytest.approx(4.6, abs=0.3)

    @pytest.mark.parametrize(
        ("line", "income"),
        [
            ("Gross monthly pay 3,060.00", 3060.0),
            ("Gross monthly pay 3060.00", 3060.0),
            ("Gross monthly pay —3,060.00", -3060.0),
            ("Gross monthly pay 30.60", 30.6),
            ("Gross monthly pay 3,06.00", None),
            ("Gross monthly pay 3 060.00", None),
            ("Gross monthly pay 1 2,060.00", None),
            ("Gross monthly pay 3,060:00", None),
            ("Gross monthly pay 3,060.00 2,512.00", None),
            ("Gross monthly pay", None),
        ],
    )
    def test_an_amount_is_an_amount_or_nothing(self, line: str, income: float | None) -> None:
        assert readers.fields("any", ["Employer Ltd May 2026", line, "Net pay 99.00"]).income == income


class TestGatesOfIncome:
    def test_the_slip_of_somebody_else_is_told_and_a_misread_letter_is_not_somebody_else(self) -> None:
        def read(name: str | None) -> Any:
            return gates.Readings(*(readers.Reading(one, name, None, None, 3000.0, "") for one in ("a", "b")))

        assert gates.reasons(read("Maria Keller"), gates.of_income("Maria Keller")) == []
        assert gates.reasons(read("Mana Keller"), gates.of_income("Maria Keller")) == []
        assert gates.reasons(read(None), gates.of_income("Maria Keller")) == []
        assert gates.reasons(read("Jonas Brandt"), gates.of_income("Maria Keller")) == [
            "it is a payslip of Jonas Brandt"
        ]

    def test_each_rule_that_refuses_says_why(self) -> None:
        read = gates.Readings(
            readers.Reading("tesseract", None, None, None, 900_000.0, ""), readers.nothing("rapidocr")
        )
        assert gates.reasons(read, gates.of_income("Ada")) == [
            "tesseract reads $900,000.00, rapidocr nothing",
            "nobody earns $900,000.00 a month",
        ]


def story_in(mood: Any) -> Any:
    """An applicant whose story the script takes in this mood, and who gives the model no commands."""
    found = (applicants.applicant(1, number) for number in range(1000))
    return next(a for a in found if scripted.mood_of(a.story) is mood and applicants.COMMAND not in a.story)


def ask(endpoint: Any, story: str, *, stream: bool, feedback: str | None = None) -> str:
    model = ChatModel("scripted", base_url=endpoint.url, api_key="", stream=stream, system=llm.SYSTEM)
    return asyncio.run(model.ask(story, feedback=feedback))


def refused(text: str, applicant: Any) -> str | None:
    """Why the step would not take this answer."""
    summary = llm.Summary(**read_json(text)[0])
    wrong_loan: str | None = llm.names_the_loan(summary, applicant.amount, applicant.purpose)
    return wrong_loan or llm.invents_no_number(summary, applicant.story)


@pytest.mark.parametrize("stream", [False, True])
class TestScriptedEndpoint:
    @pytest.mark.parametrize("mood", [Mood.PLAIN, Mood.CHATTY])
    def test_a_good_answer_passes_the_checks(self, endpoint: Any, mood: Any, stream: bool) -> None:
        applicant = story_in(mood)
        text = ask(endpoint, applicant.story, stream=stream)
        assert refused(text, applicant) is None
        assert read_json(text)[0]["dependants"] == applicant.dependants
        assert text.startswith("{") is (mood is Mood.PLAIN)

    @pytest.mark.parametrize("mood", [Mood.INVENTIVE, Mood.STUBBORN])
    def test_an_invented_number_is_found_and_feedback_helps_some(self, endpoint: Any, mood: Any, stream: bool) -> None:
        applicant = story_in(mood)
        reason = refused(ask(endpoint, applicant.story, stream=stream), applicant)
        assert reason is not None
        assert "not in the story: 3," in reason
        again = ask(endpoint, applicant.story, stream=stream, feedback=f"CheckFailed: {reason}")
        assert (refused(again, applicant) is None) is (mood is Mood.INVENTIVE)

    def test_malformed_json_until_it_is_told(self, endpoint: Any, stream: bool) -> None:
        applicant = story_in(Mood.MALFORMED)
        with pytest.raises(ValueError, match="cut off"):
            read_json(ask(endpoint, applicant.story, stream=stream))
        text = ask(endpoint, applicant.story, stream=stream, feedback="InvalidResult: it is not JSON")
        assert refused(text, applicant) is None

    @pytest.mark.parametrize(
        ("mood", "error", "status", "wait"),
        [
            (Mood.BUSY, ModelUnavailable, 429, scripted.RETRY_AFTER),
            (Mood.BROKEN, ModelUnavailable, 500, None),
            (Mood.CUT_OFF, ModelUnavailable, None, None),
        ],
    )
    def test_trouble_comes_once(
        self, endpoint: Any, stream: bool, mood: Any, error: Any, status: int | None, wait: float | None
    ) -> None:
        applicant = story_in(mood)
        endpoint.asked.clear()
        with pytest.raises(error) as told:
            ask(endpoint, applicant.story, stream=stream)
        assert (told.value.status, told.value.retry_after) == (status, wait)
        if mood is Mood.CUT_OFF and stream:
            assert isinstance(told.value, AnswerCutOff)
            assert told.value.raw.startswith('{"amount"')
        assert refused(ask(endpoint, applicant.story, stream=stream), applicant) is None

    def test_a_story_that_commands_the_model_is_obeyed_and_refused(self, endpoint: Any, stream: bool) -> None:
        applicant = story_in(Mood.PLAIN)
        text = ask(endpoint, f"{applicant.story} {applicants.COMMAND}", stream=stream)
        reason = refused(text, applicant)
        assert reason is not None
        assert reason.startswith("it says $500 for a ")

    def test_another_request_is_refused_for_good(self, endpoint: Any, stream: bool) -> None:
        elsewhere = ChatModel("scripted", base_url=f"{endpoint.url}/elsewhere", api_key="", stream=stream)
        with pytest.raises(Permanent, match="HTTP 404"):
            asyncio.run(elsewhere.ask("Hello"))


def test_the_endpoint_speaks_plain_http_with_usage(endpoint: Any) -> None:
    story = story_in(Mood.PLAIN).story
    body = {"model": "m", "messages": [{"role": "user", "content": story}]}
    request = urllib.request.Request(f"{endpoint.url}/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request) as response:
        said = json.load(response)
    assert said["choices"][0]["finish_reason"] == "stop"
    assert said["usage"]["prompt_tokens"] == len(story.split())
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(f"{endpoint.url}/chat/completions", b"no JSON"))


class TestChecksOfTheSummary:
    def summary(self, **other: Any) -> Any:
        facts = {"amount": 9000, "purpose": "roof", "dependants": 2, "text": "Wants $9,000 for a roof."}
        return llm.Summary(**{**facts, **other})

    @pytest.mark.parametrize(
        "other", [{"amount": 500}, {"purpose": "car"}, {"text": "Wants $500 for a roof."}, {"text": "Wants $9,000."}]
    )
    def test_it_has_to_be_about_the_loan_on_the_form(self, other: dict[str, Any]) -> None:
        assert llm.names_the_loan(self.summary(), 9000, "roof") is None
        assert llm.names_the_loan(self.summary(**other), 9000, "roof")

    def test_numbers_come_from_the_story(self) -> None:
        story = "I need $9,000 for the roof. 2 people depend on me."
        assert llm.invents_no_number(self.summary(), story) is None
        assert llm.invents_no_number(self.summary(dependants=0), story) is None
        assert llm.invents_no_number(self.summary(dependants=3), story) == "not in the story: 3"
        text = "Wants $9,000 for a roof, and earns $3,100.50."
        assert llm.invents_no_number(self.summary(text=text), story) == "not in the story: 3,100.5"


class TestFraud:
    def test_is_as_good_as_the_readme_says_on_people_it_was_not_trained_on(self) -> None:
        assert importlib.import_module("measure").fraud_auc() == pytest.approx(0.96, abs=0.02)

    def test_ring_members_are_told_from_honest_people(self, detector: Any) -> None:
        random = Random(5)
        honest = [detector.score(fraud.honest(random)) for _ in range(50)]
        assert max(risk.score for risk in honest) < gates.SUSPICIOUS
        shared = fraud.known_rings()[0]
        member = detector.score(fraud.Identity(shared[0].phone, shared[0].address, shared[0].device, "Meridian Foods"))
        assert member.score > gates.SUSPICIOUS
        assert member.features.to_fraud == 2
        assert f"device {shared[0].device}" in member.shares_with_fraud
        assert len(gates.reasons(member, gates.OF_FRAUD)) == 2

    def test_two_trainings_agree(self, detector: Any) -> None:
        identity = fraud.honest(Random(1))
        assert fraud.train().score(identity) == detector.score(identity)

    def test_to_share_an_address_with_somebody_honest_is_no_crime(self, detector: Any) -> None:
        known, frauds = fraud.people()
        neighbour = next(identity for person, identity in known.items() if person not in frauds)
        own = fraud.honest(Random(9))
        risk = detector.score(fraud.Identity(own.phone, neighbour.address, own.device, own.employer))
        assert risk.features.at_address >= 1
        assert gates.reasons(risk, gates.OF_FRAUD) == []


class TestCredit:
    def test_is_as_good_as_the_readme_says_on_borrowers_it_was_not_trained_on(self) -> None:
        assert importlib.import_module("measure").credit_auc() == pytest.approx(0.78, abs=0.02)

    def test_more_income_is_better_and_missed_payments_are_worse(self, scorer: Any) -> None:
        def score(**other: float) -> float:
            usual = {"income": 3300, "amount": 9000, "burden": 0.12, "years_in_job": 5, "dependants": 1}
            return scorer.score(credit.Facts(**{**usual, "missed_payments": 0, **other})).score

        assert score() > score(missed_payments=3)
        assert score() > score(burden=0.5)
        assert score(income=6000) > score(income=1500, burden=0.3)

    def test_a_refusal_names_what_spoke_against_it_worst_first(self, scorer: Any) -> None:
        refusal = scorer.score(credit.Facts(3000, 9000, 0.2, 2, 1, 4))
        assert refusal.score < gates.REJECT
        assert refusal.against[0] == "missed payments: 4"

    def test_an_instalment_is_what_a_bank_would_say(self) -> None:
        assert credit.instalment(10_000) == pytest.approx(244.13, abs=0.01)

    @pytest.mark.parametrize(
        ("score", "burden", "reason"),
        [
            (0.9, 0.1, None),
            (0.1, 0.9, None),
            (0.55, 0.1, "credit score 0.55, neither good nor bad"),
            (0.9, 0.5, "score 0.90, though instalments would take 50% of the income"),
            (-1.0, 0.0, "the score is -1.0, not between 0 and 1"),
            (float("nan"), 0.0, "the score is nan, not between 0 and 1"),
        ],
    )
    def test_what_its_gate_lets_through(self, score: float, burden: float, reason: str | None) -> None:
        assert gates.reasons(credit.CreditScore(score, burden, []), gates.OF_CREDIT) == ([reason] if reason else [])


def test_no_score_passes_no_gate() -> None:
    assert gates.reasons(fraud.NO_SCORE, gates.OF_FRAUD)
    assert gates.reasons(credit.NO_SCORE, gates.OF_CREDIT)


def test_applicants_are_the_same_for_the_same_seed_and_as_mixed_as_the_readme_says() -> None:
    assert applicants.applicant(7, 3) == applicants.applicant(7, 3) != applicants.applicant(8, 3)
    kinds = [applicants.applicant(7, number).payslip.kind for number in range(1, 201)]
    shares = {kind: kinds.count(kind) for kind in Kind}
    assert shares == {Kind.CLEAN: 120, Kind.SKEWED: 39, Kind.NOISY: 27, Kind.ABSURD: 8, Kind.UNREADABLE: 6}
