"""What every store promises of keys and events, beside all else: tests to subclass like ``StorePromises``."""

import asyncio
import random
from typing import Any

from segue.core.entries import Kind
from segue.core.lifecycle import TERMINAL, Status
from segue.core.ticks import Progress
from segue.errors import OwnKey
from segue.runtime.failures import failure_of
from segue.runtime.mailbox import events_of
from segue.stores.base import MERGES, TOOK, Amend, Batch, Busy, Change, Mail, Query, Row, Store, Took
from segue.testing.stores import LEASE, StorePromises
from segue.values import encode, plain

SEEDS = 60
TURN = (Status.QUEUED, Status.RUNNING)


class KeyPromises(StorePromises):
    """``StorePromises``, and one test for each promise about keys and events."""

    def keyed(self, id: str, key: str = "k", **fields: Any) -> Any:
        """A run with a key."""
        return self.new(id, key=key, **fields)

    async def standing(self, store: Store, *ids: str) -> list[str]:
        """How these runs stand."""
        return [str((await self.row(store, id)).status) for id in ids]

    @staticmethod
    def ended(row: Row, status: Status = Status.COMPLETED) -> Change:
        """The end of a run."""
        return Change(row.id, status, result=encode(failure_of(OSError("no")), "it"), ended=1.0, lane=row.lane)

    async def end(self, store: Store, id: str, status: Status = Status.COMPLETED) -> None:
        """Let a run end that is claimed."""
        await self.write(store, changes=[self.ended(await self.row(store, id), status)])

    def test_runs_of_a_key_take_turns_in_the_order_of_their_creation(self) -> None:
        async def scene(store: Store) -> None:
            await self.write(store, creates=[self.keyed("a"), self.keyed("b"), self.keyed("x", "other"), self.new("u")])
            await store.create(self.keyed("c"))
            assert await self.standing(store, *"abcxu") == ["queued", "held", "held", "queued", "queued"]
            assert sorted(await self.claims(store)) == ["a", "u", "x"]
            assert await self.claims(store) == []
            await self.end(store, "a")
            assert await self.standing(store, "b", "c") == ["queued", "held"]
            assert await self.claims(store) == ["b"]
            await self.end(store, "b", Status.FAILED)
            assert await self.claims(store) == ["c"]

        self.play(scene)

    def test_keys_are_of_their_flow(self) -> None:
        async def scene(store: Store) -> None:
            await self.write(store, creates=[self.keyed("a"), self.keyed("b", flow="other")])
            assert await self.standing(store, "a", "b") == ["queued", "queued"]

        self.play(scene)

    def test_a_run_that_waits_keeps_its_turn_unless_it_frees_its_key(self) -> None:
        async def scene(store: Store) -> None:
            for key, frees in (("keeps", False), ("frees", True)):
                first, second = f"{key}1", f"{key}2"
                await self.write(store, creates=[self.keyed(id, key, frees=frees) for id in (first, second)])
                assert await self.claims(store) == [first]
                row = await self.row(store, first)
                await self.write(store, changes=[Change(first, Status.WAITING, "asks", 1e15, lane=row.lane)])
                assert await self.standing(store, second) == (["queued"] if frees else ["held"])
                assert await self.claims(store) == ([second] if frees else [])
                await self.post(store, first, "signal-1")
                assert await self.standing(store, first) == (["held"] if frees else ["queued"])
                if frees:
                    await store.create(self.keyed("later", key, frees=True))
                    await self.end(store, second)
                    assert await self.standing(store, first, "later") == ["queued", "held"], "it came first"
                assert await self.claims(store) == [first]

        self.play(scene)

    # Schedules

    def test_a_schedule_comes_further_from_where_it_is(self) -> None:
        async def scene(store: Store) -> None:
            assert await store.schedules(["f 1s", "f 2s"]) == {}
            assert await store.schedules([]) == {}
            first, planned = Progress(10.5, 10.5), Progress(10.5, 12.25)
            assert not await store.progress("f 1s", first, planned), "it was never seen"
            assert await store.progress("f 1s", None, first)
            assert not await store.progress("f 1s", None, planned), "it was seen"
            assert await store.progress("f 1s", first, planned)
            assert not await store.progress("f 1s", first, Progress(10.5, 13.0)), "it has come further"
            assert await store.schedules(["f 2s", "f 1s"]) == {"f 1s": planned}
            assert await store.progress("f 2s", None, first)
            assert await store.progress("f 1s", planned, planned.done)
            assert await store.schedules(["f 2s", "f 1s"]) == {"f 1s": planned.done, "f 2s": first}

        self.play(scene)

    def test_of_several_that_let_a_schedule_come_further_one_does(self) -> None:
        async def scene(store: Store) -> None:
            was = None
            for round in range(5):
                told = [store.progress("f", was, Progress(round, round + n / 8)) for n in range(8)]
                done = await asyncio.gather(*told)
                assert done.count(True) == 1
                was = (await store.schedules(["f"]))["f"]

        self.play(scene)

    # Mailboxes

    def boxed(self, id: str, **fields: Any) -> Any:
        """A run with a key that is taken along with others."""
        return self.keyed(id, merges=MERGES, **fields)

    def test_a_run_that_begins_takes_those_along_that_came_since(self) -> None:
        async def scene(store: Store) -> None:
            late = self.boxed("late", due=self.clock() + 60)
            many = [self.boxed(id, input=id.encode(), created=float(n)) for n, id in enumerate("abc")]
            await self.write(store, creates=[*many, late, self.keyed("alone"), self.boxed("x", key="other")])
            (a,) = [claimed for claimed in await store.claim("w", None, 10, None, False) if claimed.row.id == "a"]
            assert (a.row.input, a.row.merges, a.row.status) == (b"a", TOOK, Status.RUNNING)
            (entry,) = a.entries
            assert (entry.seq, entry.kind) == (0, Kind.EVENTS)
            assert events_of(entry) == [("a", 0.0, b"a"), ("b", 1.0, b"b"), ("c", 2.0, b"c")]
            assert await self.standing(store, "b", "c", "late", "alone") == ["merged", "merged", "held", "held"]
            b = await self.row(store, "b")
            assert (b.reason, plain(b.result), b.ended) == ("taken along by run a", "a", self.clock())
            assert await self.write(store, entries=[("a", self.entry(1))]) == {}, "its journal goes on behind that"

            await self.dies(store)
            await store.join("v", LEASE)
            (again,) = [c for c in await store.claim("v", None, 10, None, False) if c.row.id == "a"]
            assert [entry.kind for entry in again.entries] == [Kind.EVENTS, Kind.OK, Kind.CLAIM]
            assert again.row.merges == TOOK, "what became of them is not written yet"
            await self.write(store, inputs=[("a", b"abc")], worker="v")
            row = await self.row(store, "a")
            assert (row.input, row.merges) == (b"abc", 0)
            await self.write(store, inputs=[("a", b"no"), ("b", b"no")], worker="v")
            assert [(await self.row(store, id)).input for id in "ab"] == [b"abc", b"b"], (
                "once, and where some were taken"
            )

        self.play(scene)

    def test_one_that_has_begun_is_not_taken_along(self) -> None:
        async def scene(store: Store) -> None:
            await self.write(store, creates=[self.boxed("a"), self.keyed("p", frees=True, merges=MERGES)])
            assert await self.claims(store) == ["a"]  # it took p
            assert await self.standing(store, "p") == ["merged"]
            await self.write(store, creates=[self.boxed("b", frees=True)])
            await self.end(store, "a")
            assert await self.claims(store) == ["b"]
            row = await self.row(store, "b")
            await self.write(store, changes=[Change("b", Status.WAITING, "asks", 1e15, lane=row.lane)])
            await self.write(store, creates=[self.boxed("c")])
            assert await self.claims(store) == ["c"]
            await self.post(store, "b", "signal-1")
            await self.write(store, creates=[self.boxed("d")])
            assert await self.standing(store, "b", "d") == ["held", "held"]
            await self.end(store, "c")
            assert await self.claims(store) == ["b"], "its journal goes on"
            assert await self.standing(store, "d") == ["held"], "and it takes nothing more along"
            await self.end(store, "b")
            assert await self.claims(store) == ["d"]

        self.play(scene)

    def test_one_takes_only_so_many_along(self) -> None:
        async def scene(store: Store) -> None:
            ids = [f"{n:04}" for n in range(1200)]
            await self.write(store, creates=[self.boxed(id) for id in ids])
            (first, *_), entries, *_ = (await store.claim("w", None, 10, None, False))[0]
            taken = len(events_of(entries[0]))
            assert 100 < taken < len(ids)
            await self.end(store, first)
            (second, *_), entries, *_ = (await store.claim("w", None, 10, None, False))[0]
            assert (second, taken + len(events_of(entries[0]))) == (ids[taken], len(ids))

        self.play(scene)

    def test_what_has_not_begun_in_time_expires(self) -> None:
        async def scene(store: Store) -> None:
            soon, later = self.clock() + 5, self.clock() + 50
            many = [self.keyed("a", expires=soon), self.keyed("b", expires=soon), self.keyed("c", expires=later)]
            await self.write(store, creates=[self.new("u", expires=soon), *many, self.keyed("d", "x", expires=soon)])
            await self.running(store, "parent")
            await store.create(self.new("child", parent="parent", expires=soon))
            park = Change("parent", Status.WAITING, "waits", 1e15, waits=("child",))
            await self.write(store, changes=[park])
            assert await self.claims(store, limit=1) == ["u"]
            self.clock.now += 6
            assert sorted(await self.claims(store)) == ["c", "parent"], "the others give their turns away"
            assert await self.standing(store, "a", "b", "d", "child") == ["expired"] * 4
            assert await self.standing(store, "u") == ["running"], "it had begun in time"
            child = await self.row(store, "child")
            assert (child.status, child.error, child.ended) == ("expired", "RunExpired", self.clock())

        self.play(scene)

    def test_a_run_waits_until_it_is_quiet_but_not_for_ever(self) -> None:
        async def scene(store: Store) -> None:
            began = self.clock()
            quiet: dict[str, Any] = {"quiet": 5.0, "patience": 12.0}
            for n in range(3):
                await store.create(self.boxed(f"{n}", created=self.clock(), **quiet))
                assert await self.claims(store) == []
                self.clock.now += 4
            await store.create(self.boxed("3", created=self.clock(), **quiet))
            assert (await self.row(store, "0")).due == began + 12
            assert await self.claims(store) == ["0"]
            assert await self.standing(store, "1", "2", "3") == ["merged"] * 3
            await self.write(store, creates=[self.boxed("4", created=self.clock(), **quiet)])
            await self.end(store, "0")
            assert await self.claims(store) == [], "also where it had to wait for its turn"
            self.clock.now += 6
            assert await self.claims(store) == ["4"]

        self.play(scene)

    def test_what_waits_lends_its_priority_to_what_it_waits_for(self) -> None:
        async def scene(store: Store) -> None:
            await self.write(store, creates=[self.new("u", priority=1), self.keyed("a"), self.keyed("b", priority=2)])
            assert await self.claims(store) == ["a", "u"]

        self.play(scene)

    # Parking with the key free

    def test_one_that_slept_with_its_key_free_takes_its_turn_as_the_next(self) -> None:
        async def scene(store: Store) -> None:
            await self.write(store, creates=[self.keyed(id, frees=True) for id in "abc"])
            assert await self.claims(store) == ["a"]
            lane = (await self.row(store, "a")).lane
            await self.write(store, changes=[Change("a", Status.WAITING, "sleeps", self.clock() + 5, lane=lane)])
            assert await self.claims(store) == ["b"]
            self.clock.now += 6
            assert await self.claims(store) == []
            assert await self.standing(store, "a", "c") == ["held", "held"]
            await self.end(store, "b")
            assert await self.claims(store) == ["a"]

        self.play(scene)

    def test_a_lost_worker_and_one_that_leaves_keep_the_order(self) -> None:
        async def scene(store: Store) -> None:
            await self.write(store, creates=[self.keyed("a"), self.keyed("b")])
            assert await self.claims(store) == ["a"]
            await self.dies(store)
            await store.join("v", LEASE)
            assert await self.standing(store, "a", "b") == ["queued", "held"]
            assert await self.claims(store, "v") == ["a"]
            await store.leave("v")
            assert await self.standing(store, "a", "b") == ["queued", "held"]

        self.play(scene)

    def test_a_cancelled_run_gives_its_turn_away(self) -> None:
        async def scene(store: Store) -> None:
            await self.write(store, creates=[self.keyed(id) for id in "abc"])
            for id in "ba":
                receipt = await store.send(Mail(id, "cancel", "cancel", b"\x80"), unbegun=b"\x80")
                assert (receipt.ok, receipt.status) == (True, Status.CANCELLED)
            assert await self.claims(store) == ["c"]

        self.play(scene)

    def test_a_run_that_goes_on_after_its_end_takes_a_turn(self) -> None:
        async def scene(store: Store) -> None:
            await self.write(store, creates=[self.keyed(id) for id in "abc"])
            await self.claims(store)
            await self.end(store, "a", Status.FAILED)
            assert await self.claims(store) == ["b"]
            assert await store.amend(Amend("a", Status.FAILED, 0, [self.entry(0, Kind.REDRIVE)], Status.QUEUED))
            assert await self.standing(store, "a", "b", "c") == ["held", "running", "held"]
            await self.end(store, "b")
            assert await self.claims(store) == ["a"], "it was created first"

        self.play(scene)

    def test_a_run_is_not_called_by_one_whose_turn_it_would_wait_for(self) -> None:
        async def scene(store: Store) -> None:
            await self.write(store, creates=[self.keyed("a")])
            await self.claims(store)
            await store.create(self.new("between", parent="a"))
            for parent in ("a", "between"):
                try:
                    await store.create(self.keyed("b", parent=parent))
                except OwnKey:
                    continue
                raise AssertionError("a run waits for itself")
            assert await store.create(self.keyed("b", "other", parent="between")) is None

        self.play(scene)

    def test_of_the_runs_for_one_event_the_first_is_written(self) -> None:
        async def scene(store: Store) -> None:
            first, again, late = (self.new(id, once="e1", window=60.0) for id in ("a", "b", "c"))
            await self.write(store, creates=[first, again, self.new("x", once="e2", window=60.0), self.new("y")])
            assert await store.seen("flow", ["e1", "e2", "e3"]) == {"e1": "a", "e2": "x"}
            assert await store.load("b") is None
            found = await store.create(again)
            assert found is not None
            assert found.id == "a"
            self.clock.now += 61
            assert await store.create(late) is None
            assert await store.seen("flow", ["e1"]) == {"e1": "c"}
            assert await store.create(self.new("o", flow="other", once="e1", window=60.0)) is None

        self.play(scene)

    def test_what_is_busy_is_told_with_its_queue(self) -> None:
        async def scene(store: Store) -> None:
            assert await store.lanes() == []
            await self.write(
                store, creates=[self.keyed("a"), self.keyed("x", "other"), self.keyed("b"), self.keyed("c")]
            )
            await self.claims(store, limit=1)
            now = self.clock()
            assert await store.lanes() == [
                Busy("flow", "k", "a", Status.RUNNING, None, now, 2),
                Busy("flow", "other", "x", Status.QUEUED, None, now, 0),
            ]
            assert await store.lanes("another") == []
            assert await store.queued("flow", 10) == 3

        self.play(scene)

    def test_whatever_happens_one_at_a_time_has_the_turn_and_none_is_forgotten(self) -> None:
        async def scene(store: Store) -> None:
            worker = "w"
            for seed in range(SEEDS):
                story = _Story(self, store, worker, seed)
                await story.play()
                worker = story.worker

        self.play(scene)


class _Story:
    """Random things that happen to runs of few keys, and what must hold after each."""

    def __init__(self, promises: KeyPromises, store: Store, worker: str, seed: int) -> None:
        self.promises, self.store, self.worker = promises, store, worker
        self.flow, self.chance = f"flow{seed}", random.Random(seed)
        self.made = seed * 10_000
        self.frees = self.chance.random() < 0.5
        self.merges = MERGES if self.chance.random() < 0.5 else 0
        self.begun: dict[str, list[int]] = {}
        self.taken: list[str] = []
        self.late: set[str] = set()
        """Runs that ended before they began, and go on since: they begin when others have."""

    async def play(self) -> None:
        deeds = [self.create, self.create, self.claim, self.claim, self.end, self.park, self.wake, self.cancel]
        deeds += [self.redrive, self.die, self.pass_time]
        for _ in range(60):
            await self.chance.choice(deeds)()
            await self.look()
        for _ in range(300):  # and all of them end
            self.promises.clock.now += 4
            assert await self.store.renew(self.worker, LEASE)
            if all(row.status in TERMINAL for row in await self.rows()):
                break
            await self.claim()
            for row in await self.rows(Status.RUNNING):
                await self.promises.write(self.store, changes=[self.promises.ended(row)], worker=self.worker)
            for row in await self.rows(Status.WAITING):
                await self.post(row.id)
        assert all(row.status in TERMINAL for row in await self.rows()), [row[:6] for row in await self.rows()]
        merged = [row.id for row in await self.rows(Status.MERGED)]
        assert sorted(merged) == sorted(self.taken), "each was taken along by one"

    async def rows(self, *status: Status) -> list[Row]:
        return await self.store.find(Query(flow=self.flow, status=status, limit=1000))

    async def one(self, *status: Status) -> Row | None:
        rows = await self.rows(*status)
        return self.chance.choice(rows) if rows else None

    async def create(self) -> None:
        many = [
            self.promises.keyed(
                str(self.made + n),
                self.chance.choice("kl"),
                frees=self.frees,
                flow=self.flow,
                merges=self.merges,
                expires=self.promises.clock() + self.chance.choice((1, 9)) if self.chance.random() < 0.2 else None,
            )
            for n in range(3)
        ]
        self.made += 3
        await self.promises.write(self.store, creates=many, worker=self.worker)

    async def claim(self) -> None:
        limit = self.chance.randint(1, 4)
        for row, entries, *_ in await self.store.claim(self.worker, [self.flow], limit, None, False):
            if row.claims == 1:
                assert row.expires is None or row.expires > self.promises.clock()
                taken = [event.run for entry in entries if entry.kind is Kind.EVENTS for event in events_of(entry)]
                assert self.merges or not taken
                self.taken += taken[1:]
                begun = [int(id) for id in taken or [row.id] if id not in self.late]
                self.begun.setdefault(row.key or "", []).extend(begun)

    async def end(self) -> None:
        if (row := await self.one(Status.RUNNING)) is not None:
            status = self.chance.choice((Status.COMPLETED, Status.FAILED, Status.CANCELLED))
            await self.promises.write(self.store, changes=[self.promises.ended(row, status)], worker=self.worker)

    async def park(self) -> None:
        if (row := await self.one(Status.RUNNING)) is not None:
            due = self.chance.choice((1e15, self.promises.clock() + 3))
            lane = row.lane if row.frees else None
            change = Change(row.id, Status.WAITING, "waits", due, lane=lane)
            await self.promises.write(self.store, changes=[change], worker=self.worker)

    async def post(self, id: str) -> None:
        self.made += 1
        await self.store.send(Mail(id, f"mail {self.made}", "signal/x", b"\x80"))
        took = [Took(id, mail.number, None) for mail in await self.store.mail(run=id)]
        await self.store.commit(self.worker, Batch([], [], [], (), (), took))

    async def wake(self) -> None:
        if (row := await self.one(Status.WAITING)) is not None:
            await self.post(row.id)

    async def cancel(self) -> None:
        if (row := await self.one(Status.QUEUED, Status.HELD)) is not None and not row.claims:
            await self.store.send(Mail(row.id, "cancel", "cancel", b"\x80"), unbegun=b"\x80")

    async def redrive(self) -> None:
        if (row := await self.one(Status.FAILED, Status.CANCELLED)) is not None:
            loaded = await self.store.load(row.id)
            assert loaded is not None
            length = len(loaded[1])
            entry = self.promises.entry(length, Kind.REDRIVE)
            self.late.add(row.id)
            assert await self.store.amend(Amend(row.id, row.status, length, [entry], Status.QUEUED))

    async def die(self) -> None:
        self.promises.clock.now += LEASE + 1
        await self.store.sweep()
        self.made += 1
        self.worker = f"w{self.made}"
        await self.store.join(self.worker, LEASE)

    async def pass_time(self) -> None:
        self.promises.clock.now += 4
        assert await self.store.renew(self.worker, LEASE)

    async def look(self) -> None:
        keys: dict[str, list[Row]] = {}
        for row in await self.rows():
            keys.setdefault(row.key or "", []).append(row)
        for key, rows in keys.items():
            turn = [row for row in rows if row.status in TURN or (row.status is Status.WAITING and not row.frees)]
            held = [row for row in rows if row.status is Status.HELD]
            assert len(turn) <= 1, f"key {key}: {turn}"
            assert turn or not held, f"key {key}: nobody has the turn, and {held} are held"
        for key, begun in self.begun.items():
            assert begun == sorted(set(begun)), f"key {key}: {begun}"
