"""What every store promises, as tests to subclass: the contract of ``segue.stores.base`` in a form that runs.

>>> class TestMyStore(StorePromises):
...     def make_store(self):
...         return MyStore(fresh_place(), clock=self.clock)

pytest finds the ``test_…`` methods; they need nothing of it. Each begins with an empty store.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any
from zlib import crc32

from segue.core.entries import Entry, Kind
from segue.core.lifecycle import LOSSES_ALLOWED, LOSSES_IN_DOUBT, TERMINAL, Status
from segue.errors import Fenced
from segue.stores.base import (
    CANCELLING,
    Amend,
    Asked,
    Batch,
    Cell,
    Change,
    Mail,
    NewRun,
    Query,
    Question,
    Receipt,
    Row,
    Store,
    Took,
)
from segue.types import StepId

LEASE = 10.0


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class StorePromises(ABC):
    """One test for each promise. Subclass it and say how a store is made."""

    clock: Clock

    @abstractmethod
    def make_store(self) -> Store:
        """A new, empty store that takes its time from ``self.clock``."""

    def setup_method(self) -> None:
        """Begin with a clock of its own."""
        self.clock = Clock()

    def play(self, scene: Callable[[Store], Awaitable[None]]) -> None:
        """Open a store with a worker ``"w"``, and play a scene on it."""

        async def whole() -> None:
            store = self.make_store()
            await store.open()
            try:
                await store.join("w", LEASE)
                await scene(store)
            finally:
                await store.close()

        asyncio.run(whole())

    # What is written

    def new(self, id: str, status: Status = Status.QUEUED, **fields: Any) -> NewRun:
        """A run to create."""
        worker = "w" if status is Status.RUNNING else None
        run = NewRun(
            id, "flow", "1", "code", status, worker, "w", None, 0, None, None, 0.0, self.clock(), None, b"\x80", 0
        )
        run = run._replace(**fields)
        return run._replace(checksum=crc32(run.input))

    def entry(self, seq: int, kind: Kind = Kind.OK, step: str = "step", attempt: int = 1) -> Entry:
        """An entry to write."""
        now = self.clock()
        return Entry(seq, kind, StepId(step), attempt, now, now, b"\x91\x01", b"\xc3")

    @staticmethod
    async def write(
        store: Store, *, creates: Any = (), entries: Any = (), changes: Any = (), inputs: Any = (), worker: str = "w"
    ) -> dict[str, str]:
        """Commit."""
        batch = Batch(list(creates), list(entries), list(changes), inputs=list(inputs))
        return dict((await store.commit(worker, batch)).rejected)

    async def running(self, store: Store, *ids: str, **fields: Any) -> None:
        """Create runs that the worker executes."""
        await self.write(store, creates=[self.new(id, Status.RUNNING, **fields) for id in ids])

    async def dies(self, store: Store, worker: str = "w") -> None:
        """Let a worker's lease lapse, and sweep."""
        self.clock.now += LEASE + 1
        await store.sweep()
        assert not await store.renew(worker, LEASE)

    @staticmethod
    async def row(store: Store, id: str) -> Row:
        """A run, which is there."""
        loaded = await store.load(id)
        assert loaded is not None, f"no run {id!r}"
        return loaded[0]

    @staticmethod
    async def fenced(writing: Awaitable[Any]) -> None:
        """This is refused, since the worker is not registered."""
        try:
            await writing
        except Fenced:
            return
        raise AssertionError("a worker that is not registered has written")

    @staticmethod
    async def claims(store: Store, worker: str = "w", **given: Any) -> list[str]:
        """The ids of the runs that a claim gives."""
        asked: dict[str, Any] = {"flows": ["flow"], "limit": 10, "origin": None, "suspects": False, **given}
        return [claimed.row.id for claimed in await store.claim(worker, **asked)]

    # Runs and entries

    def test_what_was_created_can_be_loaded(self) -> None:
        async def scene(store: Store) -> None:
            new = self.new("a", priority=3, input=b"\x81\xa1x\x01", timeout=2.5, concurrency=4, parent="p", due=5.0)
            assert await self.write(store, creates=[new]) == {}
            row = await self.row(store, "a")
            kept = [name for name in NewRun._fields if name in Row._fields]
            assert {name: getattr(row, name) for name in kept} == {name: getattr(new, name) for name in kept}
            assert isinstance(row.status, Status)
            assert (row.reason, row.ended, row.result, row.claims, row.losses) == (None, None, None, 0, 0)

        self.play(scene)

    def test_a_run_that_is_not_there_is_none(self) -> None:
        async def scene(store: Store) -> None:
            assert await store.load("nowhere") is None

        self.play(scene)

    def test_entries_come_back_as_written_and_in_order(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b")
            entries = [self.entry(n, kind, f"1.2/é#{n}", n) for n, kind in enumerate(Kind)]
            entries[1] = entries[1]._replace(input=None, output=None)
            entries[2] = entries[2]._replace(input=b"", output=bytes(range(256)) * 400)
            await self.write(store, entries=[("a", entry) for entry in entries[:3]] + [("b", self.entry(0))])
            await self.write(store, entries=[("a", entry) for entry in entries[3:]])
            loaded = await store.load("a")
            assert loaded is not None
            assert loaded[1] == entries
            assert all(isinstance(entry.kind, Kind) for entry in loaded[1])

        self.play(scene)

    def test_a_batch_of_any_size_is_written_whole(self) -> None:
        async def scene(store: Store) -> None:
            for size in (1, 2, 3, 64, 65, 700):
                ids = [f"{size}.{n}" for n in range(size)]
                entries = [(id, self.entry(seq)) for id in ids for seq in range(2)]
                ends = [Change(id, Status.COMPLETED, result=b"\x01", ended=self.clock()) for id in ids]
                creates = [self.new(id, Status.RUNNING) for id in ids]
                assert await self.write(store, creates=creates, entries=entries, changes=ends) == {}
                assert len(await store.ended(ids)) == size

        self.play(scene)

    def test_create_gives_the_run_that_has_the_id_already(self) -> None:
        async def scene(store: Store) -> None:
            assert await store.create(self.new("a")) is None
            existing = await store.create(self.new("a", flow="other", input=b"\x01"))
            assert existing is not None
            assert (existing.flow, existing.input) == ("flow", b"\x80")
            assert await self.row(store, "a") == existing

        self.play(scene)

    def test_an_entrys_place_is_written_once(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b")
            first = self.entry(0, step="first")
            await self.write(store, entries=[("a", first)])
            rejected = await self.write(store, entries=[("a", self.entry(0, step="second")), ("b", self.entry(0))])
            assert list(rejected) == ["a"], "the bad one alone is rejected"
            loaded, other = await store.load("a"), await store.load("b")
            assert loaded is not None
            assert other is not None
            assert (loaded[1], len(other[1])) == ([first], 1)

        self.play(scene)

    def test_a_run_is_written_whole_or_not_at_all(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await self.write(store, entries=[("a", self.entry(0))])
            end = Change("a", Status.COMPLETED, result=b"\x01", ended=self.clock())
            rejected = await self.write(store, entries=[("a", self.entry(1)), ("a", self.entry(0))], changes=[end])
            assert list(rejected) == ["a"]
            loaded = await store.load("a")
            assert loaded is not None
            assert (loaded[0].status, len(loaded[1])) == (Status.RUNNING, 1)

        self.play(scene)

    def test_a_run_that_has_ended_changes_no_more(self) -> None:
        async def scene(store: Store) -> None:
            for status in sorted(TERMINAL):
                await self.running(store, status)
                assert await self.write(store, changes=[Change(status, status, result=b"\x01", ended=7.0)]) == {}
                row = await self.row(store, status)
                assert (row.status, row.result, row.ended, row.worker) == (status, b"\x01", 7.0, None)
                for other in sorted(TERMINAL):
                    assert list(await self.write(store, changes=[Change(status, other, result=b"\x02")])) == [status]
                assert await self.row(store, status) == row
            assert await self.claims(store) == []

        self.play(scene)

    def test_commit_now_does_the_same_or_says_not_now(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            if store.commit_now("w", Batch([], [("a", self.entry(0))], [])) is None:
                await self.write(store, entries=[("a", self.entry(0))])
            loaded = await store.load("a")
            assert loaded is not None
            assert len(loaded[1]) == 1

        self.play(scene)

    # Fencing

    def test_a_worker_that_is_not_registered_writes_nothing(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await self.dies(store)
            end = Change("a", Status.COMPLETED, result=b"\x01", ended=self.clock())
            await self.fenced(self.write(store, entries=[("a", self.entry(0))]))
            await self.fenced(self.write(store, entries=[("a", self.entry(0))], changes=[end]))
            await self.fenced(self.write(store, changes=[end]))
            await self.fenced(self.write(store, changes=[Change("a", Status.WAITING, "sleeps", 5.0)]))
            await self.fenced(self.write(store, creates=[self.new("b")]))
            await self.fenced(store.create(self.new("c", Status.RUNNING)))
            await self.fenced(self.claims(store))
            loaded = await store.load("a")
            assert loaded is not None
            assert (loaded[0].status, loaded[1]) == (Status.QUEUED, [])
            assert await store.load("b") is None
            assert await store.load("c") is None

        self.play(scene)

    def test_a_worker_may_not_join_under_a_name_that_is_taken(self) -> None:
        async def scene(store: Store) -> None:
            try:
                await store.join("w", LEASE)
            except Exception:
                return
            raise AssertionError("two workers of one name would share one fence")

        self.play(scene)

    # Workers

    def test_a_worker_that_renews_is_not_swept(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            for _ in range(5):
                self.clock.now += LEASE - 1
                assert await store.renew("w", LEASE)
                assert await store.sweep() == []
            assert (await self.row(store, "a")).worker == "w"

        self.play(scene)

    def test_a_sweep_queues_the_runs_of_workers_that_lapsed_and_no_others(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b", "done")
            await self.write(store, changes=[Change("done", Status.COMPLETED, result=b"\x01", ended=1.0)])
            self.clock.now += LEASE - 1
            await store.join("v", LEASE)
            await store.create(self.new("c", Status.RUNNING, worker="v"))
            self.clock.now += 2
            lost = await store.sweep()
            assert {(run.run, run.flow, run.status) for run in lost} == {
                ("a", "flow", Status.QUEUED),
                ("b", "flow", Status.QUEUED),
            }
            assert await store.sweep() == []
            rows = [await self.row(store, id) for id in ("a", "c", "done")]
            assert [row.status for row in rows] == [Status.QUEUED, Status.RUNNING, Status.COMPLETED]
            assert [row.worker for row in rows] == [None, "v", None]

        self.play(scene)

    def test_a_worker_that_leaves_hands_its_runs_back_and_none_counts_as_lost(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await store.leave("w")
            row = await self.row(store, "a")
            assert (row.status, row.worker, row.losses) == (Status.QUEUED, None, 0)
            assert not await store.renew("w", LEASE)
            await store.leave("w")

        self.play(scene)

    def test_a_run_whose_step_takes_down_its_workers_ends_and_names_the_step(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await self.dies(store)
            for loss in range(1, LOSSES_IN_DOUBT):  # where it is certain that the worker is dead, fewer will do
                worker = f"w{loss}"
                await store.join(worker, LEASE)
                assert await self.claims(store, worker, suspects=loss > 1) == ["a"]
                loaded = await store.load("a")
                assert loaded is not None
                assert loaded[0].losses == loss
                start = self.entry(len(loaded[1]), Kind.START, "poison")
                await self.write(store, entries=[("a", start)], worker=worker)
                self.clock.now += LEASE + 1
                (lost,) = await store.sweep()
                assert lost.step == "poison"
                if lost.status is Status.FAILED:
                    break
            row = await self.row(store, "a")
            assert row.status is Status.FAILED
            assert row.losses in (LOSSES_ALLOWED, LOSSES_IN_DOUBT)
            assert row.result is not None
            assert b"poison" in row.result

        self.play(scene)

    def test_a_run_that_progresses_survives_its_workers(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await self.dies(store)
            for n in range(2 * LOSSES_ALLOWED):
                worker = f"w{n}"
                await store.join(worker, LEASE)
                assert await self.claims(store, worker) == ["a"]
                loaded = await store.load("a")
                assert loaded is not None
                seq = len(loaded[1])
                entries = [self.entry(seq, step=f"s{n}"), self.entry(seq + 1, Kind.START, "next")]
                await self.write(store, entries=[("a", entry) for entry in entries], worker=worker)
                await self.dies(store, worker)
            assert (await self.row(store, "a")).status is Status.QUEUED

        self.play(scene)

    # Mail, and who decides

    async def post(self, store: Store, run: str, once: str, name: str = "signal:x", **more: Any) -> Receipt:
        """Send something."""
        return await store.send(Mail(run, once, name, b"\x01", **more))

    def question(self, id: str, run: str = "a", **more: Any) -> Question:
        """A question to put."""
        return Question(id, run, "flow", "ask", 1, None, self.clock(), None, b"\x81\xa1q\x01")._replace(**more)

    async def ask(self, store: Store, *questions: Question) -> None:
        """Put questions, each with its entry."""
        for question in questions:
            loaded = await store.load(question.run)
            assert loaded is not None
            entry = self.entry(len(loaded[1]), Kind.ASKED, "ask")
            await store.commit("w", Batch([], [(question.run, entry)], [], (), [question]))

    def test_of_mail_of_one_name_the_first_is_kept_and_the_others_are_told(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b")
            assert (await self.post(store, "a", "event-1")).ok
            self.clock.now += 5
            second = await self.post(store, "a", "event-1", "signal:y")
            assert (second.ok, second.status) == (False, Status.RUNNING)
            assert second.first is not None
            assert (second.first.name, second.first.sent) == ("signal:x", self.clock.now - 5)
            assert (await self.post(store, "b", "event-1")).ok, "another run has names of its own"
            (mail,) = await store.mail(run="a")
            assert (mail.run, mail.once, mail.name, mail.body) == ("a", "event-1", "signal:x", b"\x01")

        self.play(scene)

    def test_mail_for_nobody_and_for_a_run_that_has_ended_is_refused(self) -> None:
        async def scene(store: Store) -> None:
            assert await self.post(store, "nowhere", "1") == Receipt(False, None)
            for status in sorted(TERMINAL):
                await self.running(store, status)
                await self.write(store, changes=[Change(status, status, result=b"\x01", ended=1.0)])
                assert await self.post(store, status, "1") == Receipt(False, status)
                assert await store.mail(run=status) == []

        self.play(scene)

    def test_mail_is_read_in_the_order_in_which_it_came_until_it_is_taken(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b")
            for n in range(5):
                await self.post(store, "a" if n % 2 == 0 else "b", f"{n}")
            found = await store.mail(worker="w")
            assert [mail.once for mail in found] == ["0", "1", "2", "3", "4"]
            assert [mail.once for mail in await store.mail(run="a")] == ["0", "2", "4"]
            took = [Took("a", found[0].number, 0), Took("a", found[2].number, 1)]
            entries = [("a", self.entry(0, Kind.SIGNAL)), ("a", self.entry(1, Kind.SIGNAL))]
            await store.commit("w", Batch([], entries, [], (), (), took))
            assert [mail.once for mail in await store.mail(run="a")] == ["4"]
            assert await store.mail(worker="another") == []

        self.play(scene)

    def test_mail_is_not_taken_by_a_worker_that_is_fenced(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await self.post(store, "a", "1")
            (mail,) = await store.mail(run="a")
            await self.dies(store)
            took = [Took("a", mail.number, 0)]
            await self.fenced(store.commit("w", Batch([], [("a", self.entry(0, Kind.SIGNAL))], [], (), (), took)))
            assert await store.mail(run="a") == [mail]

        self.play(scene)

    def test_mail_wakes_a_run_that_is_parked_and_keeps_one_from_parking(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "parked", "late")
            await self.write(store, changes=[Change("parked", Status.WAITING, "asks", 1e15)])
            assert await self.claims(store) == []
            assert (await self.post(store, "parked", "1")).status is Status.WAITING
            assert await self.claims(store) == ["parked"]
            await self.post(store, "late", "1")
            await self.write(store, changes=[Change("late", Status.WAITING, "asks", 1e15)])
            assert (await self.row(store, "late")).status is Status.QUEUED, "else the wake-up would be lost"
            (mail,) = await store.mail(run="late")
            assert await self.claims(store) == ["late"]
            took = [Took("late", mail.number, None)]
            await store.commit("w", Batch([], [], [Change("late", Status.WAITING, "asks", 1e15)], (), (), took))
            assert (await self.row(store, "late")).status is Status.WAITING

        self.play(scene)

    def test_a_run_that_was_never_claimed_ends_by_the_mail_that_says_so(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "parent", "begun")
            await self.write(store, creates=[self.new("child", parent="parent", due=1e12)])
            await self.write(store, changes=[Change("parent", Status.WAITING, "waits", 1e15, waits=("child",))])
            receipt = await store.send(Mail("child", "cancel", "cancel", b"\x01"), unbegun=b"\xa2no")
            assert receipt == Receipt(True, Status.CANCELLED)
            row = await self.row(store, "child")
            assert (row.status, row.result, row.ended) == (Status.CANCELLED, b"\xa2no", self.clock())
            assert await self.claims(store) == ["parent"], "whoever waited for it is woken"
            again = await store.send(Mail("child", "cancel", "cancel", b"\x01"), unbegun=b"\xa2no")
            assert (again.ok, again.status) == (False, Status.CANCELLED)
            began = await store.send(Mail("begun", "cancel", "cancel", b"\x01"), unbegun=b"\xa2no")
            assert (began.ok, began.status) == (True, Status.RUNNING)

        self.play(scene)

    def test_only_the_owner_sends_in_the_owners_name(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            refused = await store.send(Mail("a", "1", "answer", b"\x01"), owner="another")
            assert (refused.ok, refused.first) == (False, None)
            assert (await store.send(Mail("a", "1", "answer", b"\x01"), owner="w")).ok

        self.play(scene)

    def test_a_question_is_decided_once(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await self.ask(store, self.question("q1", assignee="ada", due=self.clock() + 60))
            (asked,) = await store.questions(Asked())
            assert asked == self.question("q1", assignee="ada", due=self.clock() + 60)
            self.clock.now += 7
            assert (await self.post(store, "a", "q1", "answer", closes="q1", by="ada")).ok
            lost = await self.post(store, "a", "q1", "answer", closes="q1", by="bob")
            assert not lost.ok
            assert lost.first is not None
            assert await store.questions(Asked()) == []
            (decided,) = await store.questions(Asked(open=False))
            assert (decided.by, decided.decided, decided.decision) == ("ada", self.clock(), b"\x01")

        self.play(scene)

    def test_an_answer_to_a_question_that_is_not_open_is_no_mail(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b")
            await self.ask(store, self.question("q1"))
            assert not (await self.post(store, "a", "x", "answer", closes="never-asked")).ok
            assert not (await self.post(store, "b", "q1", "answer", closes="q1")).ok, "it is another run's question"
            assert await store.mail(run="a") == await store.mail(run="b") == []
            assert len(await store.questions(Asked())) == 1

        self.play(scene)

    def test_the_end_of_a_run_withdraws_its_questions(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b")
            await self.ask(store, self.question("q1"), self.question("q2", run="b"))
            await self.write(store, changes=[Change("a", Status.FAILED, result=b"\x01", ended=9.0, asked=True)])
            (left,) = await store.questions(Asked())
            assert left.id == "q2"
            (first, _) = await store.questions(Asked(open=False))
            assert (first.decided, first.by, first.decision) == (9.0, None, None)
            assert not (await self.post(store, "a", "q1", "answer", closes="q1")).ok

        self.play(scene)

    def test_questions_are_found_oldest_first_by_what_they_are_of(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b")
            first = [self.question(f"a{n}", assignee="ada" if n % 2 else None) for n in range(4)]
            await self.ask(store, *first, self.question("b0", run="b", flow="other"))
            found = [
                Asked(),
                Asked(limit=2),
                Asked(run="b"),
                Asked(flow="other"),
                Asked(assignee="ada"),
                Asked(id="a"),
                Asked(id="a3"),
                Asked(id="%"),
            ]
            ids = [[question.id for question in await store.questions(which)] for which in found]
            every = ["a0", "a1", "a2", "a3", "b0"]
            assert ids == [every, every[:2], ["b0"], ["b0"], ["a1", "a3"], every[:4], ["a3"], []]

        self.play(scene)

    def test_a_question_that_is_put_again_stays_as_it_is(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await self.ask(store, self.question("q1"))
            await self.post(store, "a", "q1", "answer", closes="q1", by="ada")
            await self.ask(store, self.question("q1", assignee="mallory"))
            (question,) = await store.questions(Asked(open=False))
            assert (question.by, question.assignee) == ("ada", None)

        self.play(scene)

    # What people change after an end

    async def failed(self, store: Store, *ids: str, fault: tuple[str | None, str] = ("step", "Error")) -> None:
        """Runs that failed, with one entry each."""
        await self.running(store, *ids)
        for id in ids:
            end = Change(id, Status.FAILED, result=b"\x01", ended=self.clock(), fault=fault)
            await self.write(store, entries=[(id, self.entry(0, Kind.ERROR))], changes=[end])

    def test_a_run_that_failed_is_queued_again_if_it_is_still_as_it_was(self) -> None:
        async def scene(store: Store) -> None:
            await self.failed(store, "a")
            amend = Amend("a", Status.FAILED, 1, [self.entry(1, Kind.REDRIVE, "@redrive")], Status.QUEUED)
            assert not await store.amend(amend._replace(length=0))
            assert not await store.amend(amend._replace(status=Status.CANCELLED))
            assert not await store.amend(amend._replace(run="nowhere"))
            assert (await self.row(store, "a")).status is Status.FAILED
            assert await store.amend(amend)
            assert not await store.amend(amend), "somebody was faster"
            row = await self.row(store, "a")
            assert (row.status, row.result, row.ended, row.error) == (Status.QUEUED, None, None, None)
            assert await self.claims(store) == ["a"]
            loaded = await store.load("a")
            assert loaded is not None
            assert [entry.kind for entry in loaded[1]] == [Kind.ERROR, Kind.REDRIVE, Kind.CLAIM]

        self.play(scene)

    def test_the_flows_that_have_runs_are_known_in_order(self) -> None:
        async def scene(store: Store) -> None:
            assert await store.flows() == []
            for number, flow in enumerate(("b", "a", "b", "a.c")):
                await store.create(self.new(str(number), flow=flow))
            assert await store.flows() == ["a", "a.c", "b"]

        self.play(scene)

    def test_what_is_kept_is_replaced_only_by_who_has_seen_it(self) -> None:
        async def scene(store: Store) -> None:
            first, second = Cell("a/1", self.clock(), b"first"), Cell("a/1", self.clock(), b"second")
            assert await store.keep(first, None)
            assert not await store.keep(second, None), "there is something"
            assert await store.keep(second, first)
            assert not await store.keep(first, first), "it is another one now"
            assert not await store.keep(Cell("a/2", self.clock(), b""), first), "there is nothing"
            assert await store.cell("a/1") == second

        self.play(scene)

    def test_what_is_kept_is_found_by_the_beginning_of_its_name(self) -> None:
        async def scene(store: Store) -> None:
            kept = [
                Cell(name, self.clock(), name.encode()) for name in ("a", "a/", "a/1", "a/b/\U0001f600", "a0", "b/")
            ]
            for cell in reversed(kept):
                assert await store.keep(cell, None)
            assert await store.cells("a/") == kept[1:4]
            assert await store.cells("") == kept
            assert await store.cells("c") == []

        self.play(scene)

    def test_a_cancellation_that_needs_a_worker_is_the_reason_to_wait_for_one(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b")
            await self.write(store, changes=[Change("a", Status.WAITING, "sleeps", 1e15)])
            for run in "ab":
                await self.post(store, run, "cancel", "cancel")
            a, b = await self.row(store, "a"), await self.row(store, "b")
            assert (a.status, a.reason) == (Status.QUEUED, CANCELLING)
            assert (b.status, b.reason) == (Status.RUNNING, None), "its worker sees to it"
            assert await self.claims(store) == ["a"]
            assert (await self.row(store, "a")).reason is None

        self.play(scene)

    def test_a_cancellation_before_an_amendment_is_dealt_with_and_a_signal_is_kept(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await self.post(store, "a", "cancel", "cancel")
            await self.post(store, "a", "1")
            await self.write(store, changes=[Change("a", Status.CANCELLED, result=b"\x01", ended=1.0)])
            assert await store.amend(Amend("a", Status.CANCELLED, 0, [self.entry(0)], Status.QUEUED))
            assert [mail.once for mail in await store.mail(run="a")] == ["1"]
            assert (await self.post(store, "a", "cancel", "cancel")).ok, "it may be cancelled again"

        self.play(scene)

    def test_runs_that_have_waited_long_for_a_worker_are_counted_by_flow(self) -> None:
        async def scene(store: Store) -> None:
            now = self.clock()
            assert await store.aged(now) == []
            await self.write(
                store,
                creates=[
                    self.new("a", due=now - 30),
                    self.new("b", due=now - 50),
                    self.new("other", due=now - 40, flow="g", priority=5),
                    self.new("young", due=now - 10, flow="h"),
                    self.new("later", due=now + 60, flow="h"),
                    self.new("woken", due=0.0, flow="h"),
                    self.new("busy", Status.RUNNING, due=now - 90),
                ],
            )
            old = await store.aged(now - 20)
            assert [tuple(one) for one in old] == [("flow", 2, "b", now - 50), ("g", 1, "other", now - 40)]
            assert [one.runs for one in await store.aged(now - 20, limit=1)] == [1]
            await self.claims(store, flows=["flow", "g", "h"])
            assert await store.aged(now) == []
            await store.leave("w")
            assert (await self.row(store, "b")).status == "queued"
            assert await store.aged(now) == [], "they were handed back a moment ago"

        self.play(scene)

    def test_failed_runs_that_are_alike_are_counted_until_someone_deals_with_them(self) -> None:
        async def scene(store: Store) -> None:
            await self.failed(store, "a", "b", "c")
            await self.failed(store, "d", fault=(None, "Other"))
            await self.running(store, "e")
            await self.write(store, changes=[Change("e", Status.CANCELLED, result=b"\x01", ended=1.0)])
            found = [(f.flow, f.step, f.error, f.runs, f.newest) for f in await store.faults()]
            assert found == [("flow", "step", "Error", 3, "c"), ("flow", None, "Other", 1, "d")]
            assert await store.faults("another") == []
            aside = Amend("c", Status.FAILED, 1, [self.entry(1, Kind.DISCARD)], Status.FAILED, "discarded by ada")
            assert await store.amend(aside)
            assert [(f.runs, f.newest) for f in await store.faults()] == [(2, "b"), (1, "d")]
            dead = await store.find(Query(dead=True))
            assert [row.id for row in dead] == ["d", "b", "a"]
            assert [row.id for row in await store.find(Query(dead=True, step="step", error="Error"))] == ["b", "a"]
            row = await self.row(store, "c")
            assert (row.status, row.reason, row.result) == (Status.FAILED, "discarded by ada", b"\x01")

        self.play(scene)

    def test_a_run_may_be_created_with_the_beginning_of_its_journal(self) -> None:
        async def scene(store: Store) -> None:
            entries = [self.entry(0), self.entry(1, Kind.FORKED, "@fork")]
            assert await store.create(self.new("fork", started=5.0), entries) is None
            assert await store.create(self.new("fork"), [self.entry(0)]) is not None
            loaded = await store.load("fork")
            assert loaded is not None
            assert (loaded[0].started, loaded[1]) == (5.0, entries)
            assert await self.claims(store) == ["fork"]
            assert (await self.row(store, "fork")).started == 5.0

        self.play(scene)

    def test_runs_of_a_dead_worker_are_orphans(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await self.write(store, creates=[self.new("b")])
            assert await store.orphans() == set()
            self.clock.now += LEASE + 1
            assert await store.orphans() == {"a"}
            assert {row.id for row in await store.unfinished(None)} == {"a", "b"}
            assert [row.id for row in await store.unfinished(None, 1)] == ["a"]

        self.play(scene)

    # Claims

    def test_a_claim_takes_the_most_urgent_first(self) -> None:
        async def scene(store: Store) -> None:
            for id, priority, due in (("late", 0, 9.0), ("low", -1, 0.0), ("early", 0, 1.0), ("high", 5, 9.0)):
                await store.create(self.new(id, priority=priority, due=due))
            assert await self.claims(store, limit=3) == ["high", "early", "late"]
            assert await self.claims(store, limit=3) == ["low"]
            assert await self.claims(store) == []

        self.play(scene)

    def test_a_claim_owns_and_is_recorded_from_the_second_on(self) -> None:
        async def scene(store: Store) -> None:
            await store.create(self.new("a"))
            ((row, *_),) = await store.claim("w", ["flow"], 10, None, False)
            assert (row.status, row.worker, row.claims, row.started) == (Status.RUNNING, "w", 1, self.clock())
            loaded = await store.load("a")
            assert loaded == (row, [])
            await store.leave("w")
            await store.join("v", LEASE)
            self.clock.now += 1
            ((again, *_),) = await store.claim("v", ["flow"], 10, None, False)
            assert (again.claims, again.started) == (2, row.started)
            loaded = await store.load("a")
            assert loaded is not None
            assert [(entry.kind, entry.seq) for entry in loaded[1]] == [(Kind.CLAIM, 0)]

        self.play(scene)

    def test_a_claim_takes_only_what_it_is_asked_for(self) -> None:
        async def scene(store: Store) -> None:
            await store.create(self.new("a"))
            await store.create(self.new("b", flow="other"))
            await store.create(self.new("c", origin="elsewhere"))
            assert await self.claims(store, flows=["none"]) == []
            assert await self.claims(store, flows=[]) == []
            assert await self.claims(store, origin="elsewhere") == ["c"]
            assert await self.claims(store, flows=["other"]) == ["b"]
            assert await self.claims(store, flows=None) == ["a"]

        self.play(scene)

    def test_a_delayed_run_is_claimed_when_it_is_due(self) -> None:
        async def scene(store: Store) -> None:
            await store.create(self.new("a", due=self.clock() + 5))
            assert await self.claims(store) == []
            self.clock.now += 5
            assert await self.claims(store) == ["a"]

        self.play(scene)

    def test_no_run_is_claimed_twice(self) -> None:
        async def scene(store: Store) -> None:
            for n in range(40):
                await store.create(self.new(str(n)))
            await store.join("v", LEASE)
            taken = await asyncio.gather(*[self.claims(store, worker, limit=3) for worker in ("w", "v") * 10])
            ids = [id for some in taken for id in some]
            assert sorted(ids) == sorted(set(ids))
            assert len(ids) == 40

        self.play(scene)

    def test_a_flows_concurrency_is_kept_over_all_workers(self) -> None:
        async def scene(store: Store) -> None:
            for n in range(4):
                await store.create(self.new(str(n), concurrency=2))
            await store.join("v", LEASE)
            assert await self.claims(store) == ["0", "1"]
            assert await self.claims(store, "v") == []
            await self.write(store, changes=[Change("0", Status.COMPLETED, result=b"\x01", ended=1.0)])
            assert await self.claims(store, "v") == ["2"]

        self.play(scene)

    def test_runs_that_may_not_be_claimed_do_not_hold_up_those_behind_them(self) -> None:
        async def scene(store: Store) -> None:
            for n in range(5):
                await store.create(self.new(f"full {n}", concurrency=1, priority=1))
            await store.create(self.new("free", flow="other"))
            assert await self.claims(store, flows=["flow", "other"], limit=2) == ["full 0", "free"]

        self.play(scene)

    def test_runs_that_cost_workers_their_life_are_claimed_apart(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b", "c")
            await self.dies(store)
            await store.join("v", LEASE)
            assert await self.claims(store, "v", suspects=False) == ["a", "b", "c"], "one loss does not make a suspect"
            for id in "ab":
                start = self.entry(1, Kind.START, "poison")
                await self.write(store, entries=[(id, start)], worker="v")
            await self.dies(store, "v")
            await store.join("u", LEASE)
            assert await self.claims(store, "u", suspects=False) == ["c"]
            assert await self.claims(store, "u", suspects=True, limit=1) == ["a"]
            assert await self.claims(store, "u", suspects=True) == ["b"]

        self.play(scene)

    # Leaving memory, and coming back

    def test_a_parked_run_is_claimed_when_it_is_due(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a")
            await self.write(store, changes=[Change("a", Status.WAITING, "sleeps", self.clock() + 60)])
            row = await self.row(store, "a")
            assert (row.status, row.reason, row.worker) == (Status.WAITING, "sleeps", None)
            assert await self.claims(store) == []
            self.clock.now += 61
            assert await self.claims(store) == ["a"]
            assert (await self.row(store, "a")).reason is None

        self.play(scene)

    def test_a_run_whose_time_has_come_is_not_held_up_by_the_queue(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "slept")
            await self.write(store, changes=[Change("slept", Status.WAITING, "sleeps", self.clock() + 1)])
            self.clock.now += 5
            for n in range(5):
                await store.create(self.new(str(n), due=self.clock()))
            assert await self.claims(store, limit=2) == ["slept", "0"]

        self.play(scene)

    def test_the_end_of_a_child_wakes_its_parent(self) -> None:
        async def scene(store: Store) -> None:
            for status in sorted(TERMINAL):
                parent, child = f"parent {status}", f"child {status}"
                await self.running(store, parent)
                await self.running(store, child, parent=parent)
                waits = Change(parent, Status.WAITING, "waits", 1e15, waits=(child,))
                await self.write(store, changes=[waits])
                assert await self.claims(store) == []
                await self.write(store, changes=[Change(child, status, result=b"\x01", ended=1.0, parent=parent)])
                assert await self.claims(store) == [parent]

        self.play(scene)

    def test_a_wake_up_between_the_last_look_and_parking_is_not_lost(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "parent", "other")
            await self.running(store, "child", parent="parent")
            end = Change("child", Status.COMPLETED, result=b"\x01", ended=1.0, parent="parent")
            await self.write(store, changes=[end])
            await self.write(store, changes=[Change("parent", Status.WAITING, "waits", 1e15, waits=("child", "other"))])
            assert await self.claims(store) == ["parent"]

        self.play(scene)

    # Looking

    def test_find_gives_the_newest_first_and_as_asked(self) -> None:
        async def scene(store: Store) -> None:
            await store.create(self.new("alpha"))
            await self.running(store, "beta", flow="other", parent="alpha", input=b"\xa5large")
            await store.create(self.new("alphabet"))

            async def found(**asked: Any) -> list[str]:
                return [row.id for row in await store.find(Query(**asked))]

            assert await found() == ["alphabet", "beta", "alpha"]
            assert await found(limit=2) == ["alphabet", "beta"]
            assert await found(flow="other") == ["beta"]
            assert await found(status=(Status.QUEUED,)) == ["alphabet", "alpha"]
            assert await found(status=(Status.QUEUED, Status.RUNNING)) == ["alphabet", "beta", "alpha"]
            assert await found(parent="alpha") == ["beta"]
            assert await found(text="alpha") == ["alphabet", "alpha"]
            assert await found(text="eta") == ["beta"]
            assert await found(text="%") == []
            assert (await store.find(Query(flow="other")))[0].input == b""

        self.play(scene)

    def test_ended_gives_those_that_have_ended(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "a", "b")
            await self.write(store, changes=[Change("b", Status.FAILED, result=b"\x02", ended=1.0)])
            assert [(row.id, row.result) for row in await store.ended(["a", "b", "nowhere"])] == [("b", b"\x02")]
            assert await store.ended([]) == []

        self.play(scene)

    def test_unfinished_gives_what_waits_for_a_worker(self) -> None:
        async def scene(store: Store) -> None:
            await self.running(store, "held", "sleeps", "done")
            await store.create(self.new("queued"))
            await store.create(self.new("other", flow="other"))
            await store.create(self.new("delayed", due=self.clock() + 60))
            await self.write(store, changes=[Change("sleeps", Status.WAITING, "sleeps", self.clock() + 60)])
            await self.write(store, changes=[Change("done", Status.COMPLETED, result=b"\x01", ended=1.0)])
            assert [row.id for row in await store.unfinished(["flow"])] == ["queued"]
            self.clock.now += LEASE + 1
            assert {row.id for row in await store.unfinished(None)} == {"queued", "other", "held"}

        self.play(scene)

    def test_what_another_connection_writes_is_noticed_and_seen(self) -> None:
        async def scene(store: Store) -> None:
            other = store.sibling()
            await other.open()
            await store.changed()
            assert not await store.changed()
            await other.join("v", LEASE)
            assert await store.changed()
            assert await other.renew("v", LEASE)
            await other.leave("v")
            await other.close()
            assert not await store.renew("v", LEASE)

        self.play(scene)
