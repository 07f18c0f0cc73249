"""The parts of the support router by themselves: no engine, no flow."""

import importlib
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_router"
sys.path.insert(0, str(EXAMPLE))  # its modules import each other as siblings, as they do under `segue run`

classifier: Any = importlib.import_module("support_classifier")
records: Any = importlib.import_module("support_records")
replies: Any = importlib.import_module("support_replies")


@pytest.fixture(scope="module")
def model() -> Any:
    return classifier.train()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return records.Records.build(tmp_path_factory.mktemp("records"))


class TestClassifier:
    def test_sentences_are_balanced_and_distinct(self) -> None:
        intents, sentences = classifier.labelled("sentences.tsv")
        assert len(sentences) == len({sentence.lower() for sentence in sentences})
        assert {intents.count(intent) for intent in classifier.Intent} == {len(sentences) // 3}
        assert not set(sentences) & set(classifier.labelled("unseen.tsv")[1])

    def test_is_as_good_as_the_readme_says_on_held_out_sentences(self) -> None:
        measured = classifier.held_out()
        assert measured.right == pytest.approx(0.87, abs=0.02)
        assert measured.sure == pytest.approx(0.82, abs=0.03)
        assert measured.right_when_sure == pytest.approx(0.90, abs=0.02)

    def test_is_as_good_as_the_readme_says_on_unseen_messages(self) -> None:
        measured = classifier.unseen()
        one_message = 1 / 30
        assert measured.right == pytest.approx(0.83, abs=one_message)
        assert measured.right_when_sure == pytest.approx(0.91, abs=2 * one_message)

    @pytest.mark.parametrize(
        ("text", "intent"),
        [
            ("Why was I charged twice this month?", "billing"),
            ("My upload of a large file is refused", "technical"),
            ("Please let me talk to a person", "other"),
        ],
    )
    def test_knows_what_the_readme_shows(self, model: Any, text: str, intent: str) -> None:
        guess = model.classify(text)
        assert guess.intent == intent
        assert guess.sure

    @pytest.mark.parametrize("text", ["", "zzz", "日本語"])
    def test_is_unsure_of_text_that_resembles_no_sentence(self, model: Any, text: str) -> None:
        assert not model.classify(text).sure

    def test_two_trainings_agree(self, model: Any) -> None:
        text = "The invoice page shows an error"
        assert classifier.train().classify(text) == model.classify(text)


class TestRecords:
    def test_account_with_its_invoices_newest_first(self, known: Any) -> None:
        account = known.account("ada@example.com")
        assert (account.name, account.plan) == ("Ada", "Team")
        assert [invoice.number for invoice in account.invoices] == ["INV-2053", "INV-2052", "INV-2031"]

    def test_account_without_invoices(self, known: Any) -> None:
        assert known.account("emeka@example.com").invoices == []

    def test_nobody_has_this_address(self, known: Any) -> None:
        assert known.account("nobody@example.com") is None

    def test_billing_down_is_a_real_error_and_only_there(self, known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUPPORT_BILLING_DOWN", "1")
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            known.account("ada@example.com")
        assert known.articles("webhooks do not arrive")

    def test_reading_cannot_write(self, known: Any) -> None:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            records._rows(known._file, "DELETE FROM accounts")

    def test_error_logs_are_the_customers_own(self, known: Any) -> None:
        text = "uploading a file is refused"
        assert [log.code for log in known.error_logs("emeka@example.com", text)] == ["E507"]
        assert known.error_logs("nobody@example.com", text) == []

    def test_search_knows_endings(self, known: Any) -> None:
        assert [log.code for log in known.error_logs("bo@example.com", "syncing stops")] == ["E409"]

    @pytest.mark.parametrize(
        ("text", "title"),
        [
            ("My two-factor code is never accepted", "Two-factor codes are refused"),
            ("How do I recover a deleted file?", "Recovering a deleted file"),
            ("We get 429 too many requests from the API", "API answers 429: too many requests"),
        ],
    )
    def test_best_article_comes_first(self, known: Any, text: str, title: str) -> None:
        assert known.articles(text)[0].title == title

    def test_no_article_beats_a_wrong_one(self, known: Any) -> None:
        assert known.articles("Dark mode makes the text unreadable") == []

    @pytest.mark.parametrize(
        "text", ["", "the", '"', "NOT", "a OR", "title:x", "foo* (bar", "x NEAR/2 y", "'; DROP TABLE accounts"]
    )
    def test_what_customers_write_is_no_query_language(self, known: Any, text: str) -> None:
        assert known.articles(text) == []
        assert known.error_logs("ada@example.com", text) == []


class TestReplies:
    @pytest.mark.parametrize(
        ("email", "says"),
        [
            ("ada@example.com", "INV-2053 repeats INV-2052: $49.00 were charged twice"),
            ("bo@example.com", "INV-2071 ($12.00) failed: Mastercard ending in 0005 was declined"),
            ("chen@example.com", "INV-2055 ($98.00, Team plan) was paid on 2026-11-02 by direct debit"),
            ("dina@example.com", "refunded $12.00 for INV-2077"),
            ("emeka@example.com", "nothing has been charged so far"),
        ],
    )
    def test_billing_says_what_the_books_say(self, known: Any, email: str, says: str) -> None:
        reply = replies.billing(known.account(email))
        assert reply.desk == "billing"
        assert says in reply.text

    def test_same_price_in_two_months_is_not_a_double_charge(self) -> None:
        months = [
            records.Invoice(number=day, day=day, cents=4900, status="paid") for day in ("2026-11-01", "2026-10-01")
        ]
        assert "twice" not in replies.billing(records.Account("Ada", "Team", "Visa", months)).text

    def test_a_failed_attempt_is_not_a_double_charge(self) -> None:
        tries = [records.Invoice(number=s, day="2026-11-01", cents=4900, status=s) for s in ("paid", "failed")]
        assert "twice" not in replies.billing(records.Account("Ada", "Team", "Visa", tries)).text

    def test_technical_names_the_error_and_the_advice(self, known: Any) -> None:
        text = "My upload of a large file is refused"
        reply = replies.technical(known.error_logs("ada@example.com", text), known.articles(text))
        assert reply.desk == "technical"
        assert "(E413)" in reply.text
        assert "Uploading large files" in reply.text

    def test_technical_without_logs(self) -> None:
        reply = replies.technical([], [records.Article("Title", "Advice.")])
        assert reply.text == "Hello, this may help.\nTitle: Advice."

    def test_hand_off_apologises_and_keeps_the_reason_for_the_colleague(self) -> None:
        reply = replies.hand_off("database is on fire")
        assert (reply.desk, reply.reason) == ("human", "database is on fire")
        assert "Sorry" in reply.text
        assert "fire" not in reply.text
