"""The support router as a flow: every branch, and the three faults that it must not have."""

import asyncio
import importlib
import importlib.util
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue import Engine, Timeout

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_router"
sys.path.insert(0, str(EXAMPLE))


def load_app() -> Any:
    """Under a name of its own: other examples have an app.py too."""
    spec = importlib.util.spec_from_file_location("support_router_app", EXAMPLE / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


app = load_app()
Classifier: Any = importlib.import_module("support_classifier").Classifier
Records: Any = importlib.import_module("support_records").Records

BILLING = app.Message("ada@example.com", "Why was I charged twice this month?")
TECHNICAL = app.Message("ada@example.com", "My upload of a large file is refused")
OTHER = app.Message("ada@example.com", "Please let me talk to a person")


def answer(*messages: Any) -> list[Any]:
    """The replies to these messages, which arrive at the same time."""

    async def arrive() -> list[Any]:
        async with Engine("memory:"):
            return await asyncio.gather(*map(app.support, messages))

    return asyncio.run(arrive())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps may take as long as a loaded machine needs: what blocks here is let go by the test."""
    for step in (app.classify, app.error_logs, app.knowledge_base):
        monkeypatch.setattr(step.spec, "timeout", Timeout("1h"))


def before(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, act: Callable[[str], object]) -> None:
    """Let a part do something with its text first, such as fail or wait."""
    real = getattr(owner, method)

    def patched(self: Any, *args: Any) -> Any:
        act(args[-1])
        return real(self, *args)

    monkeypatch.setattr(owner, method, patched)


class Outage:
    """Fails as often as it is told to, and counts."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self, _: str) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise sqlite3.OperationalError("database is on fire")


class TestBranches:
    def test_billing(self) -> None:
        (reply,) = answer(BILLING)
        assert isinstance(reply, app.Reply)
        assert reply.desk == "billing"
        assert "INV-2053 repeats INV-2052" in reply.text

    def test_technical(self) -> None:
        (reply,) = answer(TECHNICAL)
        assert reply.desk == "technical"
        assert "(E413)" in reply.text
        assert "Uploading large files" in reply.text

    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            (OTHER, "classified as other, "),
            (app.Message("ada@example.com", "zzz"), "% sure"),
            (app.Message("nobody@example.com", BILLING.text), "no customer has this address"),
            (app.Message("ada@example.com", "Dark mode makes the text unreadable"), "the knowledge base has no answer"),
        ],
    )
    def test_a_person(self, message: Any, reason: str) -> None:
        (reply,) = answer(message)
        assert reply.desk == "human"
        assert reason in reply.reason

    def test_what_the_documented_switches_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUPPORT_BILLING_DOWN", "1")
        billing, technical = answer(BILLING, TECHNICAL)
        assert "OperationalError: unable to open database file" in billing.reason
        assert technical.desk == "technical"


class TestFailingLookup:
    def test_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        outage = Outage(failures=2)
        before(monkeypatch, Records, "account", outage)
        (reply,) = answer(BILLING)
        assert reply.desk == "billing"
        assert outage.calls == 3

    def test_that_stays_down_ends_with_a_person(self, monkeypatch: pytest.MonkeyPatch) -> None:
        outage = Outage(failures=99)
        before(monkeypatch, Records, "account", outage)
        (reply,) = answer(BILLING)
        assert reply.desk == "human"
        assert reply.reason == ("step 'billing_lookup' failed after 3 attempts: OperationalError: database is on fire")
        assert outage.calls == 3

    @pytest.mark.parametrize("method", ["error_logs", "articles"])
    def test_on_one_of_two_parallel_branches(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        before(monkeypatch, Records, method, Outage(failures=99))
        (reply,) = answer(TECHNICAL)
        assert reply.desk == "human"
        assert "after 3 attempts" in reply.reason


class TestSlowClassifier:
    def test_delays_nobody_else(self, patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
        stuck, release = threading.Event(), threading.Event()

        def block(text: str) -> None:
            if text == "slow":
                stuck.set()
                assert release.wait(60)

        before(monkeypatch, Classifier, "classify", block)

        async def scenario() -> None:
            async with Engine("memory:"):
                slow = await app.support.start(app.Message("ada@example.com", "slow"))
                assert await asyncio.to_thread(stuck.wait, 60)
                replies = await asyncio.gather(*(app.support(BILLING) for _ in range(50)))
                assert {reply.desk for reply in replies} == {"billing"}
                assert await slow.status() == "running"
                release.set()
                assert (await slow.result()).desk == "human"

        asyncio.run(scenario())

    def test_is_given_up_and_a_person_takes_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(app.classify.spec, "timeout", Timeout("50ms"))
        release = threading.Event()
        before(monkeypatch, Classifier, "classify", lambda text: release.wait(60))
        try:
            (reply,) = answer(BILLING)
        finally:
            release.set()
        assert reply.desk == "human"
        assert "step 'classify' failed after 2 attempts" in reply.reason


class TestUnderLoad:
    def test_requests_do_not_queue_behind_each_other(self, patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
        all_at_once = threading.Barrier(50)
        before(monkeypatch, Classifier, "classify", lambda text: all_at_once.wait(60))
        assert {reply.desk for reply in answer(*[TECHNICAL] * 50)} == {"technical"}

    def test_logs_and_knowledge_base_are_searched_side_by_side(
        self, patient: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = threading.Barrier(2)
        before(monkeypatch, Records, "error_logs", lambda text: both.wait(60))
        before(monkeypatch, Records, "articles", lambda text: both.wait(60))
        (reply,) = answer(TECHNICAL)
        assert reply.desk == "technical"


def test_the_command_of_the_readme(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "segue", "run", str(EXAMPLE)],
        env={"SEGUE_STORE": f"sqlite:{tmp_path / 'runs.db'}", "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout)["desk"] == "billing"
    assert "[billing] Hello Ada, INV-2053 repeats INV-2052" in ran.stderr
