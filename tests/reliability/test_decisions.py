"""Who decides: one of many who answer at once, the end of the time or an answer, in one process or several, or dead."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from segue import AlreadyDecided, Engine, InvalidAnswer, RunCancelled, RunEnded, ask_human, flow, inbox, step, wait_for
from segue.core.lifecycle import Status
from segue.stores.base import Query
from segue.stores.sqlite import SqliteStore

RACES, RIVALS, THREADS = 1000, 32, 4


@flow(name="decide")
async def decide(number: int) -> str:
    return await ask_human(f"{number}?", answer=str)


@flow(name="decide-in-time")
async def decide_in_time(number: int) -> str:
    return await ask_human(f"{number}?", answer=str, timeout=0.05 + number % 7 / 1000, default="nobody")


async def all_asked(engine: Engine, count: int) -> list[inbox.Question]:
    while len(asked := await inbox.questions(limit=count + 1, store=engine.store)) < count:
        pass  # to look gives the loop turns
    return asked


def test_a_thousand_races_of_thirty_two_answers_have_one_winner_each(tmp_path: Path) -> None:
    path = tmp_path / "races.db"
    barrier = threading.Barrier(THREADS)

    def rival(number: int, questions: list[str]) -> list[tuple[str, str | None, str | None]]:
        """One thread of answers: for each question, who it answered as, or who was first."""
        store = SqliteStore(path, durability="process", blocking=True)
        told: list[tuple[str, str | None, str | None]] = []

        async def answers() -> None:
            await store.open()
            for id in questions:
                barrier.wait()
                for n in range(RIVALS // THREADS):
                    by = f"rival-{number}-{n}"
                    try:
                        await inbox.answer(id, by, by=by, store=store)
                    except AlreadyDecided as first:
                        told.append((id, None, first.by))
                    else:
                        told.append((id, by, by))
            await store.close()

        asyncio.run(answers())
        return told

    async def main() -> None:
        async with Engine(f"sqlite:{path}?durability=process") as engine:
            handles = [await decide.options(id=f"run-{n}").start(n) for n in range(RACES)]
            asked = await all_asked(engine, RACES)
            ids = [question.id for question in asked]
            with ThreadPoolExecutor(THREADS) as threads:
                loop = asyncio.get_running_loop()
                work = [loop.run_in_executor(threads, rival, n, ids) for n in range(THREADS)]
                told = [one for part in await asyncio.gather(*work) for one in part]
            assert len(told) == RACES * RIVALS
            winners = {id: by for id, by, _ in told if by is not None}
            assert len(winners) == sum(by is not None for _, by, _ in told) == RACES, "one winner each"
            assert all(first == winners[id] for id, _, first in told), "and everybody is told who"
            for question, handle in zip(asked, handles, strict=True):
                assert question.run == handle.id
                assert await handle.result() == winners[question.id]
            decided = await inbox.questions(open=False, limit=RACES, store=engine.store)
            assert {question.id: question.by for question in decided} == winners

    asyncio.run(main())


def test_an_answer_at_the_moment_of_the_timeout_counts_for_the_run_as_it_was_told(tmp_path: Path) -> None:
    accepted: dict[str, bool] = {}

    async def answer(store: Any, question: inbox.Question) -> None:
        assert question.due is not None
        await asyncio.sleep(max(0.0, question.due - store.clock()) - 0.001)
        try:
            await inbox.answer(question.id, "in time", by="ada", store=store)
        except AlreadyDecided as late:
            assert late.by is None  # noqa: PT017
            accepted[question.run] = False
        else:
            accepted[question.run] = True

    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path / 'late.db'}?durability=process") as engine:
            handles = [await decide_in_time.start(n) for n in range(200)]
            seen: set[str] = set()
            answers: list[asyncio.Task[None]] = []
            async with asyncio.timeout(30):
                while len(seen) < 200:
                    for question in await inbox.questions(open=False, limit=1000, store=engine.store):
                        if question.id not in seen:
                            seen.add(question.id)
                            answers.append(asyncio.create_task(answer(engine.store, question)))
                await asyncio.gather(*answers)
            for handle in handles:
                assert await handle.result() == ("in time" if accepted[handle.id] else "nobody")
            assert len(set(accepted.values())) == 2, "the test would prove nothing: all were early, or all late"

    asyncio.run(main())


# Real processes that die

CODE = """
from segue import ask_human, flow, step
sent = __file__.replace("app.py", "sent")

@step
def send(what: str) -> str:
    with open(sent, "a") as file:
        file.write(what + "\\n")
    return what

@flow(name="letter")
async def letter() -> str:
    return await send("yes" if await ask_human("Send it?") else "no")
"""


class Folder:
    """A project in a folder, and commands in processes of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "app.py").write_text(CODE)
        (path / "segue.toml").write_text('main = "app.py:letter"\nflows = ["app.py"]\n')

    def __call__(self, *command: str, crash: str = "") -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SEGUE_")}
        if crash:
            environment["SEGUE_CRASH_AT"] = crash
        return subprocess.run(
            [sys.executable, "-m", "segue", *command],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    def json(self, *command: str) -> Any:
        done = self(*command, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def sent(self) -> list[str]:
        file = self.path / "sent"
        return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize("point", ["before-mail", "after-mail"])
def test_whoever_answers_may_die_at_it(tmp_path: Path, point: str) -> None:
    folder = Folder(tmp_path)
    assert folder("run", ".").returncode == 3
    (question,) = folder.json("inbox")
    died = folder("inbox", "answer", question["id"], "--value", "yes", "--by", "ada", crash=point)
    assert died.returncode == 137
    again = folder("inbox", "answer", question["id"], "--value", "no", "--by", "bob")
    assert again.returncode == (0 if point == "before-mail" else 1)
    assert ("was answered by ada" in again.stderr) == (point == "after-mail")
    assert folder("resume").returncode == 0
    assert folder.sent == (["no"] if point == "before-mail" else ["yes"])
    (decided,) = folder.json("inbox", "--all")
    assert (decided["by"], decided["status"]) == ("bob" if point == "before-mail" else "ada", "answer")


@pytest.mark.parametrize(
    "point", ["before-claim", "after-claim", "before-commit", "in-commit", "after-commit", "before-end"]
)
def test_whoever_goes_on_with_an_answer_may_die_at_it(tmp_path: Path, point: str) -> None:
    folder = Folder(tmp_path)
    assert folder("run", ".").returncode == 3
    (question,) = folder.json("inbox")
    assert folder("inbox", "answer", question["id"], "--value", "true", "--by", "ada").returncode == 0
    assert folder("resume", crash=point).returncode == 137
    assert folder("resume").returncode == 0
    (run,) = folder.json("runs")
    assert run["status"] == "completed"
    assert set(folder.sent) == {"yes"}
    assert folder("inbox", "answer", question["id"], "--value", "false", "--by", "bob").returncode == 1


@pytest.mark.parametrize("point", ["before-mail", "after-mail"])
def test_whoever_cancels_may_die_at_it(tmp_path: Path, point: str) -> None:
    folder = Folder(tmp_path)
    assert folder("run", ".").returncode == 3
    (run,) = folder.json("runs")
    assert folder("cancel", run["id"], "--by", "ada", "--why", "a mistake", crash=point).returncode == 137
    assert folder("cancel", run["id"], "--by", "bob").returncode == 0
    assert folder("resume").returncode == 1
    (run,) = folder.json("runs")
    assert (run["status"], folder.sent) == ("cancelled", [])
    by = "bob" if point == "before-mail" else "ada"
    assert f"cancelled by {by}" in folder("show", run["id"]).stdout
    (question,) = folder.json("inbox", "--all")
    assert question["status"] == "withdrawn"
    assert "is cancelled" in folder("cancel", run["id"]).stderr
    assert folder("inbox", "answer", question["id"], "--value", "yes").returncode == 1


# Odd orders, on a real store


@step
async def note(what: str) -> str:
    return what


@flow(name="signalled")
async def signalled(count: int) -> list[int]:
    return [await wait_for("number", int) for _ in range(count)]


def test_signals_from_many_senders_are_each_read_once_in_order_of_arrival(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path / 'signals.db'}?durability=process"):
            handle = await signalled.start(200)

            async def sender(first: int) -> None:
                for n in range(first, 200, 4):
                    assert await handle.send("number", n, once=f"event-{n}")
                    assert not await handle.send("number", n, once=f"event-{n}"), "the same event is delivered once"

            await asyncio.gather(*[sender(first) for first in range(4)])
            result = await handle.result()
            assert sorted(result) == list(range(200))
            for first in range(4):
                own = [n for n in result if n % 4 == first]
                assert own == sorted(own)
            with pytest.raises(RunEnded):
                await handle.send("number", 1)

    asyncio.run(main())


def test_cancel_answer_and_end_at_once_agree(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path / 'mixed.db'}?durability=process") as engine:
            handles = [await decide.start(n) for n in range(100)]
            asked = {question.run: question for question in await all_asked(engine, 100)}
            accepted: set[str] = set()

            async def answer(run: str) -> None:
                try:
                    await inbox.answer(asked[run].id, "yes", by="ada", store=engine.store)
                except AlreadyDecided:
                    return
                accepted.add(run)

            async def cancel(handle: Any) -> None:
                try:
                    await handle.cancel("no", by="bob")
                except RunEnded:
                    pass

            calls = [call for h in handles for call in (answer(h.id), cancel(h))]
            await asyncio.gather(*[call for pair in zip(calls[::2], calls[1::2][::-1], strict=True) for call in pair])
            for handle in handles:
                try:
                    assert await handle.result() == "yes"
                    assert handle.id in accepted
                except RunCancelled:
                    pass
            left = await engine.store.find(Query(status=(Status.RUNNING, Status.WAITING, Status.QUEUED)))
            assert left == []
            assert await inbox.questions(store=engine.store) == []

    asyncio.run(main())


def test_a_wrong_answer_decides_nothing_whoever_sends_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path / 'wrong.db'}?durability=process") as engine:
            handle = await decide.start(1)
            (question,) = await all_asked(engine, 1)
            for wrong in (1, None, ["x"], {"answer": "x"}, 2.5, True):
                with pytest.raises(InvalidAnswer):
                    await inbox.answer(question.id, wrong, by="mallory", store=engine.store)
            with pytest.raises(InvalidAnswer, match="1,048,576 are allowed"):
                await inbox.answer(question.id, "x" * (2 << 20), by="mallory", store=engine.store)
            await inbox.answer(question.id[:6], "right", by="ada", store=engine.store)
            assert await handle.result() == "right"

    asyncio.run(main())
