"""Pruning: what goes, what stays whatever happens meanwhile, and that nothing which is referred to is ever missing."""

import asyncio
import fcntl
import hashlib
import logging
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import apsw
import pytest

from benchmarks import million
from segue import DeclarationError, Engine, File, StoreBusy, UnknownRun, UsageError, flow, gather, repair, step
from segue.cli.archive import Archive
from segue.core.entries import Kind
from segue.core.lifecycle import TERMINAL
from segue.retention import Keeper, Retention, described
from segue.runtime.notes import Note, pack
from segue.stores import artifacts as artifacts_module
from segue.stores import pruning
from segue.stores.artifacts import GRACE, SPILL, Artifacts, references
from segue.stores.base import Query
from segue.stores.pruning import STATUSES, Order, Pruned, Pruner
from segue.stores.sqlite import SqliteStore
from segue.values import encode

from .stage import asynchronous

NOW = 1_700_000_000.0
DAY = 86_400.0
BEFORE = NOW - 30 * DAY
DEEP = os.environ.get("SEGUE_DEEP") == "1"


class Shelf:
    """A store with runs that never ran, and artifacts of any age.

    Args:
        path: None for a store in memory.
    """

    def __init__(self, folder: Path, *, memory: bool = False) -> None:
        self.store = SqliteStore(None if memory else folder / "runs.db", blocking=True, clock=lambda: NOW)
        self.artifacts = Artifacts(folder / "runs.artifacts")
        self.store._open()  # pyright: ignore[reportPrivateUsage]
        self.db: Any = self.store.db

    def run(
        self,
        id: str,
        status: str = "completed",
        *,
        days: float = 60.0,
        parent: str | None = None,
        flow: str = "f",
        reason: str | None = None,
        worker: str | None = None,
        input: bytes = b"\x80",
        result: bytes | None = None,
        outputs: Sequence[bytes | None] = (b"\x01", b"\x02"),
    ) -> str:
        """A run that ended so many days ago, if it has, an hour after it was created."""
        over = status in TERMINAL
        ended = NOW - days * DAY
        columns = {
            "id": id, "flow": flow, "version": "1", "code": "", "status": status, "reason": reason, "worker": worker,
            "origin": "o", "parent": parent, "priority": 0, "due": 0.0, "created": ended - 3600,
            "started": ended - 3600, "ended": ended if over else None, "claims": 1, "claim_seq": 0, "losses": 0,
            "input": input, "result": result, "checksum": crc32(input), "seal": crc32(result or b""),
        }  # fmt: skip
        marks = ",".join("?" * len(columns))
        self.db.execute(f"insert into runs({','.join(columns)}) values({marks})", tuple(columns.values()))
        for seq, output in enumerate(outputs):
            self.entry(id, seq, output)
        return id

    def entry(self, run: str, seq: int, output: bytes | None, kind: Kind = Kind.OK, at: float = NOW) -> None:
        """One entry of a run's journal."""
        checksum = crc32(output or b"", crc32(b"", crc32(b"s")))
        row = (run, seq, kind, "s", 1, at, at, None, output, checksum)
        self.db.execute("insert into entries values(?,?,?,?,?,?,?,?,?,?)", row)

    def value(self, name: str, body: bytes, *, days: float = 60.0) -> None:
        """A kept value."""
        self.db.execute("insert into cells values(?, ?, ?, ?)", (name, NOW - days * DAY, body, crc32(body)))

    def question(self, id: str, run: str, body: bytes) -> None:
        """Something that a run asked."""
        self.db.execute(
            "insert into questions(id, run, flow, step, attempt, asked, body, checksum) values(?,?,'f','s',1,0.0,?,0)",
            (id, run, body),
        )

    def mail(self, once: str, run: str, body: bytes) -> None:
        """Something that was sent to a run."""
        row = (run, once, body)
        self.db.execute("insert into mail(run, once, name, body, sent, checksum) values(?,?,'n',?,0.0,0)", row)

    def put(self, data: bytes, *, age: float = 2 * GRACE) -> str:
        """An artifact that was put so many seconds ago."""
        digest = self.artifacts.put(data)
        self.age(digest, age)
        return digest

    def age(self, digest: str, age: float = 2 * GRACE) -> None:
        os.utime(self.artifacts.path(digest), (NOW - age, NOW - age))

    def ids(self, table: str = "runs", column: str = "id") -> set[str]:
        return {id for (id,) in self.db.execute(f"select distinct {column} from {table}")}

    def kept(self) -> set[str]:
        """The hashes of all artifacts."""
        return {file.parent.name + file.name for file in self.artifacts.root.glob("??/*")}

    def pruner(self, **options: Any) -> Pruner:
        return Pruner(self.store, self.artifacts, pause=lambda _: None, **options)

    def prune(self, order: Order | None = None, *, dry: bool = False, **options: Any) -> Pruned:
        """Prune as the command does."""
        with self.pruner(**options).opened() as pruner:
            pruner.sweep(dry=dry, doomed=pruner.prune(order or Order(BEFORE), dry=dry))
        return pruner.pruned

    def close(self) -> None:
        self.store._close()  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(params=[False, True], ids=["file", "memory"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path, memory=request.param)
    yield made
    made.close()


@pytest.fixture
def on_file(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.close()


def marker(digest: str) -> bytes:
    return b"\xc7\x20\x01" + bytes.fromhex(digest)


def a_file(digest: str, name: str = "clip.mp4") -> bytes:
    return encode(File(digest, name, 3), "a file")


# Which runs go


def test_old_runs_go_with_all_that_belongs_to_them(shelf: Shelf) -> None:
    for id, days in (("old", 31), ("young", 29)):
        shelf.run(id, days=days, input=b"x" * 100, outputs=(b"y" * 50, b"z" * 50, None))
        shelf.question(f"q-{id}", id, b"\x01")
        shelf.mail(f"m-{id}", id, b"\x01")
    assert shelf.prune() == Pruned(runs=1, entries=3, bytes=200)
    assert shelf.ids() == {"young"}
    for table in ("entries", "questions", "mail"):
        assert shelf.ids(table, "run") == {"young"}, table


def test_only_what_has_ended_goes_and_of_failures_only_those_that_were_dealt_with(shelf: Shelf) -> None:
    for status in ("queued", "running", "waiting", "completed", "failed", "cancelled"):
        shelf.run(status, status)
    shelf.run("discarded", "failed", reason="discarded by ada")
    assert shelf.prune().runs == 3
    assert shelf.ids() == {"queued", "running", "waiting", "failed"}
    assert shelf.prune(Order(BEFORE, ("failed",))).runs == 1
    assert shelf.ids() == {"queued", "running", "waiting"}


@pytest.mark.parametrize("status", STATUSES)
def test_one_status_can_be_named(shelf: Shelf, status: str) -> None:
    plain = ("completed", "failed", "cancelled", "merged", "expired")
    for each in plain:
        shelf.run(each, each)
    shelf.run("discarded", "failed", reason="a duplicate")
    shelf.prune(Order(BEFORE, (status,)))
    gone = {*plain, "discarded"} - shelf.ids()
    assert gone == ({"failed", "discarded"} if status == "failed" else {status})


@pytest.mark.parametrize(
    ("parent", "child", "goes"),
    [
        (("completed", 60), ("completed", 60), True),
        (("completed", 31), ("completed", 60), True),
        (("completed", 29), ("completed", 60), False),  # it is shown with its child
        (("completed", 60), ("completed", 29), False),
        (("cancelled", 60), ("running", 60), False),  # the child goes on elsewhere
        (("waiting", 60), ("completed", 60), False),  # it may still read how the child ended
        (("running", 60), ("failed", 60), False),
        (("queued", 60), ("cancelled", 60), False),
        (("failed", 60), ("completed", 60), False),  # a redrive needs the child
        (("completed", 60), ("failed", 60), False),  # nobody has dealt with it
        (("completed", 60), ("discarded", 60), True),
        (("discarded", 60), ("cancelled", 60), True),
    ],
)
def test_a_run_goes_with_those_that_it_called_or_not_at_all(
    shelf: Shelf, parent: tuple[str, float], child: tuple[str, float], goes: bool
) -> None:
    for id, (status, days), of in (("parent", parent, None), ("child", child, "parent")):
        failed = status == "discarded"
        shelf.run(id, "failed" if failed else status, days=days, parent=of, reason="dealt with" if failed else None)
    shelf.run("grandchild", days=40, parent="child")
    assert shelf.prune().runs == (3 if goes else 0)
    assert shelf.ids("entries", "run") == shelf.ids()


def test_a_run_whose_parent_is_gone_goes_by_itself(shelf: Shelf) -> None:
    shelf.run("left", parent="gone")
    assert shelf.prune().runs == 1


def test_a_flow_is_pruned_with_what_it_called_and_nothing_else(shelf: Shelf) -> None:
    shelf.run("a", flow="mine")
    shelf.run("a.1", flow="other", parent="a")
    shelf.run("b", flow="other")
    shelf.run("b.1", flow="mine", parent="b")
    assert shelf.prune(Order(BEFORE, flow="mine")).runs == 2
    assert shelf.ids() == {"b", "b.1"}


def test_kept_values_go_when_they_are_asked_for(shelf: Shelf) -> None:
    shelf.value("old", b"\x01" * 10)
    shelf.value("young", b"\x01", days=1)
    assert shelf.prune() == Pruned()
    assert shelf.prune(Order(BEFORE, values=True)) == Pruned(values=1, bytes=10)
    assert shelf.ids("cells", "name") == {"young"}


def test_what_is_known_of_a_drift_stays_however_old_it_is(shelf: Shelf) -> None:
    for name in ("drift", "drift/app.congestion/1", "drift0", "kept/app.congestion/1/x"):
        shelf.value(name, b"\x01")
    assert shelf.prune(Order(BEFORE, values=True)).values == 3
    assert shelf.ids("cells", "name") == {"drift/app.congestion/1"}


def test_a_dry_prune_says_the_same_and_deletes_nothing(shelf: Shelf) -> None:
    digest = shelf.put(b"a" * 1000)
    shelf.run("a", result=marker(digest))
    shelf.run("a.1", parent="a")
    shelf.run("b", days=1)
    shelf.value("v", b"\x01")
    order = Order(BEFORE, values=True)
    said = shelf.prune(order, dry=True)
    assert (shelf.ids(), shelf.kept()) == ({"a", "a.1", "b"}, {digest})
    assert said.runs == 2
    assert (said.artifacts, said.artifact_bytes) == (1, 1000)
    assert shelf.prune(order) == said
    assert shelf.prune(order) == Pruned()


def test_what_is_to_go_is_looked_at_again_when_it_does(shelf: Shelf) -> None:
    """A janitor must not act on what it read a moment ago."""

    class Late(Pruner):
        def _delete(self, batch: Any, order: Order) -> None:
            for change in changes:
                shelf.db.execute(change)
            super()._delete(batch, order)

    shelf.run("a", "cancelled")
    shelf.run("b")
    shelf.run("c")
    shelf.run("c.1", parent="c")
    shelf.run("d")
    changes = [
        "update runs set status = 'queued', ended = null where id = 'a'",  # redriven
        "update runs set status = 'failed', reason = null where id = 'b'",
        "update runs set status = 'running' where id = 'c'",
    ]
    with Late(shelf.store, None).opened() as pruner:
        pruner.prune(Order(BEFORE))
    assert shelf.ids() == {"a", "b", "c", "c.1"}
    assert pruner.pruned.runs == 1


def test_a_child_that_appears_meanwhile_keeps_its_parent(shelf: Shelf) -> None:
    class Late(Pruner):
        def _delete(self, batch: Any, order: Order) -> None:
            shelf.run("a.2", "running", parent="a")
            super()._delete(batch, order)

    shelf.run("a")
    with Late(shelf.store, None).opened() as pruner:
        pruner.prune(Order(BEFORE))
    assert shelf.ids() == {"a", "a.2"}


def test_it_goes_in_parts_and_whatever_part_is_the_last_all_is_whole(shelf: Shelf) -> None:
    for number in range(300):
        shelf.run(f"r{number}")
        if number % 3 == 0:
            shelf.run(f"r{number}.1", parent=f"r{number}")
    told: list[Pruned] = []
    chance = random.Random(3)
    while shelf.ids():
        before = len(told)
        shelf.prune(told=told.append, stopped=lambda: chance.random() < 0.5)
        assert shelf.ids("entries", "run") == shelf.ids()
        assert len(told) > before
        for id in shelf.ids():
            assert id.endswith(".1") is False or id[:-2] in shelf.ids(), "a parent went before its child"
    assert max(later.runs - sooner.runs for sooner, later in pairwise(told)) <= pruning.AT_ONCE


def test_a_very_long_journal_goes_in_parts_from_its_end(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "HEAVY", (40, 1 << 20))
    shelf.run("long", "cancelled", outputs=[b"\x01"] * 500)
    shelf.run("short")
    stops = iter([False, False, True, True, True, True, True])
    shelf.prune(stopped=lambda: next(stops))
    [(reason, entries)] = shelf.db.execute(
        "select reason, (select count(*) from entries where run = id) from runs where id = 'long'"
    )
    assert reason == pruning.BEING_PRUNED
    assert 0 < entries < 500
    assert shelf.prune().runs >= 1
    assert shelf.ids() == shelf.ids("entries", "run") == set()


def test_wrong_statuses_are_refused(shelf: Shelf) -> None:
    with pytest.raises(Exception, match="runs end as completed"):
        shelf.prune(Order(BEFORE, ("gone",)))


# Which artifacts go


def test_what_bytes_refer_to_is_found_wherever_it_stands() -> None:
    one, two = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    assert references(marker(one)) == ({one}, set())
    assert references(pack(Note("fallback", 1), marker(one))).spilled == {one}
    assert references(a_file(one)) == (set(), {one})
    assert references(encode([{"at": f"see {one}, {two}."}], "a list")).named == {one, two}
    assert one in references(f"ab{one}cd".encode()).named
    assert references(one[:63].encode()) == references(one.upper().encode()) == references(b"") == (set(), set())
    assert references(marker(one)[:-1]) == (set(), set())


SOMEWHERE: dict[str, Callable[[Shelf, bytes], object]] = {
    "an input": lambda shelf, data: shelf.run("x", days=1, input=data),
    "a result": lambda shelf, data: shelf.run("x", days=1, result=data),
    "the input of a run that waits": lambda shelf, data: shelf.run("x", "waiting", input=data),
    "an output": lambda shelf, data: shelf.run("x", days=1, outputs=(b"\x01", data)),
    "an output with a note": lambda shelf, data: shelf.run("x", days=1, outputs=(pack(Note("cached"), data),)),
    "a kept value": lambda shelf, data: shelf.value("x", data),
    "a question": lambda shelf, data: shelf.question("x", "y", data),
    "mail": lambda shelf, data: shelf.mail("x", "y", data),
}


@pytest.mark.parametrize("refers", [marker, a_file], ids=["a large value", "a file"])
@pytest.mark.parametrize("where", SOMEWHERE)
def test_what_is_referred_to_stays(shelf: Shelf, where: str, refers: Callable[[str], bytes]) -> None:
    digest = shelf.put(b"a" * 1000)
    shelf.put(b"nobody's" * 1000)
    SOMEWHERE[where](shelf, refers(digest))
    assert shelf.prune() == Pruned(artifacts=1, artifact_bytes=8000)
    assert shelf.kept() == {digest}


def test_a_file_that_only_a_large_value_names_stays_as_long_as_that(shelf: Shelf) -> None:
    files = [shelf.put(bytes([n]) * 10) for n in range(40)]
    padding = "x" * 10_000
    large = encode([{"file": File(digest, padding, 10)} for digest in files], "a list")
    assert len(large) > SPILL
    value = shelf.put(large)
    shelf.run("x", days=29, outputs=(marker(value),))
    known: dict[str, Any] = {}
    for _ in range(2):
        assert shelf.prune(known=known) == Pruned()
    assert known == {value: set(files)}
    assert shelf.prune(Order(NOW - 28 * DAY)).artifacts == 41
    assert shelf.kept() == set()


def test_artifacts_go_with_the_last_run_that_refers_to_them(shelf: Shelf) -> None:
    shared, own = shelf.put(b"a" * 1000), shelf.put(b"b" * 1000)
    shelf.run("old", outputs=(marker(shared), a_file(own)))
    shelf.run("young", days=1, input=marker(shared))
    assert shelf.prune() == Pruned(runs=1, entries=2, bytes=36 + len(a_file(own)), artifacts=1, artifact_bytes=1000)
    assert shelf.kept() == {shared}


def test_what_was_put_within_the_grace_stays(shelf: Shelf) -> None:
    young, old = shelf.put(b"a", age=GRACE - 1), shelf.put(b"b", age=GRACE + 1)
    assert shelf.prune().artifacts == 1
    assert shelf.kept() == {young} != {old}


def test_what_a_run_in_memory_may_hold_stays_however_long_it_takes(shelf: Shelf) -> None:
    """A step may save a file, and end hours later: nothing in the store says so before that."""
    before, since = shelf.put(b"a", age=10 * DAY + 2 * GRACE), shelf.put(b"b", age=9 * DAY)
    shelf.run("busy", "running", days=10 - 1 / 24, worker="w")  # it began ten days ago
    assert shelf.prune().artifacts == 1
    assert shelf.kept() == {since} != {before}
    shelf.entry("busy", 2, None, Kind.CLAIM, at=NOW - 2 * DAY)  # another worker has taken it up since
    shelf.db.execute("update runs set claims = 2, claim_seq = 3")
    assert shelf.prune().artifacts == 1
    assert shelf.kept() == set()


def test_what_is_left_half_written_or_half_removed_goes(shelf: Shelf) -> None:
    shelf.put(b"a", age=0)
    folder = next(shelf.artifacts.root.glob("??"))
    for name in ("new-old", "new-young", "old-" + "0" * 62):
        (folder / name).write_bytes(b"xx")
    for name in ("new-old", "old-" + "0" * 62):
        os.utime(folder / name, (NOW - 2 * GRACE, NOW - 2 * GRACE))
    assert shelf.prune(dry=True).artifact_bytes == 0
    assert shelf.prune() == Pruned(artifact_bytes=4)
    assert {file.name for file in folder.glob("*-*")} == {"new-young"}


# What happens while a sweep looks


class Interrupted(Artifacts):
    """Artifacts where something happens between looking and removing."""

    def __init__(self, root: Path, meanwhile: Callable[[], object]) -> None:
        super().__init__(root)
        self._meanwhile = meanwhile

    def remove(self, digests: Sequence[str], than: float) -> Iterator[tuple[str, int]]:
        self._meanwhile()
        return super().remove(digests, than)


@pytest.mark.parametrize("how", ["put", "put_file", "renew a marker", "renew a file"])
def test_what_is_put_again_while_a_sweep_is_about_to_remove_it_stays(on_file: Shelf, tmp_path: Path, how: str) -> None:
    digest, other = on_file.put(b"a" * 1000), on_file.put(b"b" * 1000)
    (tmp_path / "a").write_bytes(b"a" * 1000)
    ways: dict[str, Callable[[], object]] = {
        "put": lambda: on_file.artifacts.put(b"a" * 1000),
        "put_file": lambda: on_file.artifacts.put_file(tmp_path / "a"),
        "renew a marker": lambda: on_file.artifacts.renew(marker(digest)),
        "renew a file": lambda: on_file.artifacts.renew(a_file(digest)),
    }
    pruner = Pruner(on_file.store, Interrupted(on_file.artifacts.root, ways[how]))
    with pruner.opened():
        pruner.sweep()
    assert pruner.pruned.artifacts == 1
    assert on_file.kept() == {digest} != {other}
    assert on_file.artifacts.get(digest) == b"a" * 1000


def test_a_sweep_that_is_stopped_removes_nothing(shelf: Shelf) -> None:
    """It may not have seen yet what refers to it."""
    digest, stops = shelf.put(b"a"), iter([False, False])
    shelf.run("x", days=1, outputs=(a_file(digest),))
    assert shelf.prune(stopped=lambda: next(stops, True)).artifacts == 0
    assert shelf.kept() == {digest}


def test_renewing_a_large_value_renews_what_it_names(on_file: Shelf) -> None:
    file = on_file.put(b"a")
    value = on_file.put(a_file(file))
    assert on_file.artifacts.renew(marker(value))
    assert not on_file.artifacts.renew(b"\x01")
    assert not on_file.artifacts.renew(None)
    young = time.time() - GRACE
    assert all(on_file.artifacts.path(digest).stat().st_mtime > young for digest in (file, value))


def test_a_put_waits_for_a_sweep_that_holds_the_lock_and_writes_anew(
    on_file: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, waits = on_file.put(b"a"), threading.Event()

    class Clock:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def sleep(seconds: float) -> None:
            waits.set()
            time.sleep(seconds)

    monkeypatch.setattr(artifacts_module, "time", Clock)
    artifacts = on_file.artifacts
    lock = artifacts._lock(fcntl.LOCK_EX)  # pyright: ignore[reportPrivateUsage]
    putting = threading.Thread(target=artifacts.put, args=(b"a",))
    putting.start()
    assert waits.wait(10)
    artifacts.path(digest).unlink()  # as the sweep does while it holds it
    os.close(lock)
    putting.join(10)
    assert artifacts.get(digest) == b"a"


def test_a_lock_that_is_held_too_long_is_an_error_that_says_so(on_file: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    on_file.put(b"a")
    monkeypatch.setattr(artifacts_module, "_BUSY_AFTER", 0.01)
    lock = on_file.artifacts._lock(fcntl.LOCK_EX)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StoreBusy, match="another process holds"):
        on_file.artifacts.put(b"a")
    os.close(lock)


def test_whatever_races_what_was_just_put_is_there(on_file: Shelf) -> None:
    """One thread removes what is old as often as it can; the others put, look, and let it age."""
    artifacts, over = on_file.artifacts, threading.Event()
    contents = [bytes([n]) * 100 for n in range(3)]
    digests = [artifacts.put(data) for data in contents]
    problems: list[str] = []

    def sweep() -> None:
        while not over.is_set():
            list(artifacts.remove(digests, 1000.0))

    def put(mine: int) -> None:
        for _ in range(20_000 if DEEP else 1500):
            digest = artifacts.put(contents[mine])
            if not artifacts.path(digest).exists():
                problems.append(digest)
            os.utime(artifacts.path(digest), (0, 0))

    sweeper = threading.Thread(target=sweep)
    putters = [threading.Thread(target=put, args=(mine,)) for mine in range(3)]
    for thread in (sweeper, *putters):
        thread.start()
    for thread in putters:
        thread.join()
    over.set()
    sweeper.join()
    assert problems == []


class Moved(Pruner):
    """A pruner under which something moves each time it has read a table."""

    moves: Callable[[str], object]

    def _column_by_column(self, table: str, named: str, doomed: Any) -> Iterator[bytes]:
        yield from super()._column_by_column(table, named, doomed)
        self.moves(table)


def test_what_moves_while_it_is_read_is_seen_before_or_after(on_file: Shelf) -> None:
    """Mail becomes an entry, a kept value a result."""
    digests = [on_file.put(bytes([n]) * 10) for n in range(3)]
    on_file.run("x", "running", days=0, worker="w", outputs=())
    on_file.mail("m", "x", a_file(digests[0]))
    on_file.value("v", a_file(digests[1]))
    on_file.run("y", "running", days=0, worker="w", outputs=(a_file(digests[2]),))

    def move(table: str) -> None:
        if table == "cells":
            on_file.entry("x", 0, a_file(digests[1]))
            on_file.db.execute("delete from cells")
        elif table == "mail":
            on_file.entry("x", 1, a_file(digests[0]))
            on_file.db.execute("delete from mail")
        elif table == "entries":
            on_file.db.execute("update runs set result = ? where id = 'y'", (a_file(digests[2]),))

    pruner = Moved(on_file.store, on_file.artifacts)
    pruner.moves = move
    with pruner.opened():
        pruner.sweep()
    assert on_file.kept() == set(digests)


# With an engine, and as processes


@step
async def large(number: int) -> bytes:
    return bytes([number]) * (SPILL + 10)


@step
def save(folder: str, number: int) -> File:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        path = Path(own, f"{number}.txt")
        path.write_text(f"file {number}")
        return File.save(path)


@step
async def measure(data: bytes, file: File) -> int:
    return len(data) + len(file.read_bytes())


@flow(name="kept_child")
async def kept_child(folder: str, number: int) -> File:
    return await save(folder, number)


@flow(name="keeping")
async def keeping(folder: str, number: int) -> tuple[bytes, list[File]]:
    data, file = await gather(large(number), kept_child(folder, number))
    await measure(data, file)
    return data + b"!", [file, await save(folder, number + 1)]


@step
def save_early(folder: str, number: int) -> File:
    """It goes on for longer than the grace of ``_chase`` after it has saved."""
    file = save.fn(folder, number)
    threading.Event().wait(0.15)
    return file


@flow(name="keeping_little")
async def keeping_little(folder: str, number: int) -> int:
    """It reads what it has saved, and returns nothing that is large."""
    data, file = await gather(large(number), kept_child(folder, number))
    read = await measure(data, file)
    return read + await measure(data, await save_early(folder, number + 1))


async def all_is_there(store: SqliteStore, artifacts: Artifacts) -> int:
    """Read every run, with every large value, and every file that they name."""
    archive = Archive(store, artifacts.fetch)
    rows = await store.find(Query(limit=1000))
    for row in rows:
        record = await archive.record(row.id, whole=True)
        result: Any = record.result
        for file in [result] if row.flow == "kept_child" else result[1]:
            assert artifacts.get(file["sha256"]).startswith(b"file ")
    return len(rows)


@asynchronous
async def test_after_a_prune_every_run_that_is_left_can_be_read_whole(tmp_path: Path) -> None:
    async with Engine(f"sqlite:{tmp_path}/runs.db?durability=process") as engine:
        handles = [await keeping.start(str(tmp_path), number) for number in range(6)]
        for handle in handles:
            await handle.result()
        store = engine.store
        assert isinstance(store, SqliteStore)
        artifacts = engine.artifacts
        assert sum(1 for _ in artifacts.root.glob("??/*")) == 6 + 6 + 6 + 7
        for file in artifacts.root.glob("??/*"):
            os.utime(file, (1000, 1000))
        old = ",".join(f"'{handle.id}'" for handle in handles[:3])
        store.db.execute(f"update runs set ended = 1000.0, created = 999.0 where id in ({old}) or parent in ({old})")
        async with asyncio.timeout(10):
            pruned = await Keeper(Retention("1d"), store).tick()
        assert pruned is not None
        # of the four files that the old runs saved, the next run saved one too
        assert (pruned.runs, pruned.artifacts) == (6, 3 + 3 + 3 + 3)
        assert await all_is_there(store, artifacts) == 6


@step(memoize="1h")
async def remembered(folder: str) -> File:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        path = Path(own, "kept")
        await asyncio.to_thread(path.write_text, "file kept")
        return File.save(path)


@flow(name="remembering")
async def remembering(folder: str) -> File:
    return await remembered(folder)


@flow(name="given")
async def given(file: File) -> int:
    return len(file.read_bytes())


@asynchronous
async def test_whoever_hands_a_file_on_to_another_run_makes_it_young(tmp_path: Path) -> None:
    """Its own run may be pruned at any moment."""
    async with Engine(f"sqlite:{tmp_path}/runs.db?durability=process") as engine:
        handle = await remembering.start(str(tmp_path))
        file = await handle.result()

        async def young_after(use: Any) -> bool:
            os.utime(file.path, (1000, 1000))
            await use
            return file.path.stat().st_mtime > 1000

        assert await young_after(remembering(str(tmp_path)))  # by the kept value
        assert await young_after(given(file))
        again = await remembering.handle(handle.id)
        assert await young_after(again.result())
        assert await young_after(repair.fork(handle.id, by="ada", store=engine.store))


def test_an_event_is_forgotten_when_its_window_is_over(on_file: Shelf) -> None:
    rows = [("f", f"e{n}", f"r{n}", NOW + (1 if n % 10 == 0 else -1)) for n in range(1000)]
    on_file.db.executemany("insert into seen values(?, ?, ?, ?)", rows)

    def left() -> tuple[int, int]:
        return next(iter(on_file.db.execute("select count(*), sum(until > ?) from seen", (NOW,))))

    pruner = Pruner(on_file.store, None, pause=lambda _: None)
    with pruner.opened():
        pruner.prune(Order(NOW - DAY, ("completed",)), dry=True)
        assert left() == (1000, 100)
        pruner.prune(Order(NOW - DAY, ("completed",)))
    assert left() == (100, 100)


@asynchronous
async def test_nobody_lets_a_run_go_on_that_is_half_gone(on_file: Shelf) -> None:
    on_file.run("r", "cancelled", reason=pruning.BEING_PRUNED)
    for deed in (repair.redrive, repair.fork):
        with pytest.raises(UnknownRun):
            await deed("r", by="ada", store=on_file.store)


@pytest.mark.parametrize("chunk", range(4))
def test_killed_in_the_middle_a_prune_leaves_everything_whole(tmp_path: Path, chunk: int) -> None:
    chance = random.Random(chunk)
    for round in range(50 if DEEP else 4):
        folder = tmp_path / str(round)
        folder.mkdir()
        shelf = Shelf(folder)
        referred = _populate(shelf)
        shelf.close()
        with beside("prune", folder) as lines:
            for _ in range(chance.randrange(25)):
                next(lines, None)
        shelf = Shelf(folder)
        assert list(shelf.db.execute("pragma integrity_check")) == [("ok",)]
        left = shelf.ids()
        assert {f"young{n}" for n in range(20)} <= left
        assert shelf.ids("entries", "run") == left
        assert all(id[:-2] in left for id in left if id.endswith(".1")), "a child without its parent"
        assert {digest for run in left for digest in referred[run]} <= shelf.kept()
        assert shelf.prune().runs == len(left) - 20
        assert shelf.kept() == {digest for n in range(20) for digest in referred[f"young{n}"]}
        assert not list(shelf.artifacts.root.glob("??/*-*"))
        shelf.close()


def _populate(shelf: Shelf) -> dict[str, set[str]]:
    """Runs and what they refer to; old and young ones share some of it."""
    referred: dict[str, set[str]] = {}
    shelf.db.execute("begin")
    for n in range(120):
        name = f"young{n}" if n < 20 else f"old{n}"
        digests = [shelf.put(b"v%d" % (n % 90)), shelf.put(b"f%d" % n)]
        shelf.run(name, days=1 if n < 20 else 60, outputs=(marker(digests[0]), a_file(digests[1]), b"x" * 500))
        referred[name] = set(digests)
        if n % 4 == 0 and n >= 20:
            shelf.run(f"{name}.1", parent=name)
            referred[f"{name}.1"] = set()
    shelf.db.execute("commit")
    return referred


def test_workers_write_on_while_others_prune_and_are_killed(tmp_path: Path) -> None:
    """Runs that put the same contents again and again, pruned as soon as they have ended, with hardly any grace."""
    chance, pruned = random.Random(1), Pruned()
    with beside("work", tmp_path, "3000" if DEEP else "60") as said:
        assert next(said) == "works"
        while not (tmp_path / "ended").exists():
            with beside("chase", tmp_path) as lines:
                for _ in range(chance.randrange(1, 400)):
                    line = next(lines).split()
                    pruned = Pruned(*(max(pair) for pair in zip(pruned, map(int, line), strict=True)))
        assert list(said) == ["ended well"]
    db: Any = apsw.Connection(str(tmp_path / "runs.db"))
    assert list(db.execute("pragma integrity_check")) == [("ok",)]
    db.close()
    assert pruned.runs > 0
    assert pruned.artifacts > 0


@contextmanager
def beside(what: str, folder: Path, *more: str) -> Generator[Iterator[str], None, None]:
    """This module in another process, for the lines that it prints. In the end it is killed."""
    command = [sys.executable, "-W", "error", "-m", "tests.test_retention", what, str(folder), *more]
    other = subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    try:
        yield (line.strip() for line in other.stdout)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


def _prune(folder: Path) -> None:
    """Prune, and say each part."""
    shelf = Shelf(folder)

    def told(_: Pruned) -> None:
        print("part", flush=True)

    shelf.prune(told=told)
    shelf.close()


def _chase(folder: Path) -> None:
    """Prune all the time what has only just ended."""
    pruning.GRACE = 0.05
    pruner = Pruner(SqliteStore(folder / "runs.db", durability="process"), Artifacts(folder / "runs.artifacts"))
    with pruner.opened():
        while True:
            pruner.prune(Order(time.time() - 0.2))
            pruner.sweep()
            print(*pruner.pruned, flush=True)


def _work(folder: Path, count: int) -> None:
    """Run flows that save a few contents over and over."""

    async def one(number: int) -> None:
        await keeping_little(str(folder), number % 5)

    async def main() -> None:
        async with Engine(f"sqlite:{folder}/runs.db?durability=process"):
            await one(0)
            print("works", flush=True)
            for number in range(count // 4):
                await asyncio.gather(*(one(number * 4 + more) for more in range(4)))
                await asyncio.sleep(0.05)

    try:
        asyncio.run(main())
    finally:
        (folder / "ended").touch()
    print("ended well", flush=True)


# By schedule


@asynchronous
async def test_of_several_workers_one_prunes_in_its_time(on_file: Shelf) -> None:
    for number in range(10):
        on_file.run(f"r{number}")
    now = NOW
    on_file.store.clock = lambda: now
    first, second = (Keeper(Retention("30d", every="1h"), on_file.store) for _ in range(2))
    pruned = await asyncio.gather(first.tick(), second.tick())
    assert sorted(found.runs for found in pruned if found is not None) in ([10], [0, 10])
    assert [await keeper.tick() for keeper in (first, second)] == [None, None]
    now += 3600
    on_file.run("later")
    assert [found and found.runs for found in (await second.tick(), await first.tick())] == [1, None]


def test_nobody_prunes_while_another_does(on_file: Shelf) -> None:
    with on_file.pruner().opened() as first:
        assert first.take_turn()
        for every in (None, 3600):
            with on_file.pruner().opened() as second:
                assert not second.take_turn(every)
    with on_file.pruner().opened() as third:
        assert third.take_turn(3600)  # the first did not say how often


@asynchronous
async def test_the_loop_goes_on_until_it_is_cancelled(shelf: Shelf) -> None:
    slept: list[float] = []
    again = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        shelf.run(f"r{len(slept)}")
        if len(slept) == 3:
            again.set()
            await asyncio.Event().wait()

    shelf.run("r0")
    shelf.store.clock = lambda: NOW + 7200 * len(slept)
    keeping = asyncio.create_task(Retention("30d", every="2h").keep(shelf.store, sleep=sleep))
    await again.wait()
    assert slept == [7200.0] * 3
    assert shelf.ids() == {"r3"}
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


@asynchronous
async def test_cancelled_in_the_middle_it_ends_after_the_part_that_it_is_at(
    on_file: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(500):
        on_file.run(f"r{number}")
    loop, deleted, ended = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    real = Pruner._delete  # pyright: ignore[reportPrivateUsage]

    def delete(self: Pruner, batch: Any, order: Order) -> None:
        real(self, batch, order)
        loop.call_soon_threadsafe(deleted.set)
        assert stop.wait(10)

    stop = threading.Event()
    monkeypatch.setattr(Pruner, "_delete", delete)
    ticking = asyncio.create_task(Keeper(Retention("30d"), on_file.store).tick())
    await deleted.wait()
    ticking.cancel()
    loop.call_later(0.01, stop.set)
    with pytest.raises(asyncio.CancelledError):
        await ticking
    assert not ended.is_set()
    left = on_file.ids()
    assert 0 < len(left) < 500
    assert on_file.ids("entries", "run") == left


@asynchronous
async def test_a_store_that_cannot_do_it_now_is_tried_again_later(
    on_file: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise apsw.FullError("full")

    on_file.run("r")
    monkeypatch.setattr(Pruner, "_delete", full)
    with caplog.at_level(logging.WARNING):
        assert await Keeper(Retention("30d"), on_file.store).tick() is None
    assert "old runs cannot be pruned yet: no room left on the disk" in caplog.text
    assert on_file.ids() == {"r"}


@asynchronous
async def test_a_folder_that_cannot_be_changed_is_an_error_of_the_store(
    on_file: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "not yours")

    on_file.put(b"a")
    monkeypatch.setattr(Path, "rename", refused)
    with caplog.at_level(logging.WARNING):
        assert await Keeper(Retention("30d"), on_file.store).tick() is None
    assert "old runs cannot be pruned yet" in caplog.text
    assert "not yours" in caplog.text


@asynchronous
async def test_looking_for_artifacts_takes_a_hundredth_of_the_time_at_most(
    on_file: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, swept = 0.0, list[float]()

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    def sweep(_: Pruner) -> None:
        nonlocal now
        swept.append(now)
        now += 60

    monkeypatch.setattr("segue.retention.time", Clock)
    monkeypatch.setattr(Pruner, "sweep", sweep)
    keeper = Keeper(Retention("30d", every="1s"), on_file.store)
    for hour in range(4):
        now, then = max(now, hour * 3600.0), NOW + hour * 3600.0
        on_file.store.clock = lambda then=then: then
        assert await keeper.tick() is not None
    assert swept == [0.0, 7200.0]


def test_a_retention_is_a_value_that_refuses_what_makes_no_sense() -> None:
    assert Retention("30d") == Retention(30 * DAY, every=3600) == Retention.read({"older_than": "30d"})
    assert Retention.read({"older_than": "12h", "every": "5m", "status": ["failed", "failed"]}) == Retention(
        "12h", ("failed",), "5m"
    )
    for wrong in ("10s", -1, "soon"):
        with pytest.raises(DeclarationError):
            Retention(wrong)
    for statuses in ((), ("done",), "completed", ("completed", "running")):
        with pytest.raises(DeclarationError, match="statuses are some of"):
            Retention("1d", statuses)
    with pytest.raises(DeclarationError, match="older: there are older_than, status, every"):
        Retention.read({"older": "1d"})
    with pytest.raises(DeclarationError, match="needs older_than"):
        Retention.read({"every": "1h"})


def test_only_a_store_of_ours_can_be_kept() -> None:
    class Other:
        url = "redis:"

    with pytest.raises(UsageError, match="redis: cannot be pruned"):
        Keeper(Retention("1d"), Other())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_what_was_pruned_is_said_in_words() -> None:
    assert described(Pruned()) == "0 runs with 0 entries (0 bytes)"
    said = described(Pruned(2, 1, 1, 1200, 5 << 30, 1 << 50))
    assert said == "2 runs with 1 entry, 1 kept value (5.0 GiB), 1,200 artifacts (1024.0 TiB)"


# A store of a million entries


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("million") / "segue.db"
    million.make(path, runs=2000, entries=10)
    return path


@asynchronous
async def test_the_store_that_is_measured_is_one_as_engines_write_it(made: Path) -> None:
    store = SqliteStore(made)
    await store.open()
    rows = await store.find(Query(limit=5000))
    assert len(rows) == 2000
    for row in rows[::20]:
        loaded = await store.load(row.id)
        assert loaded is not None
        assert len(loaded[1]) == 10
    share = {status: sum(row.status == status for row in rows) / 2000 for status in ("completed", "failed", "waiting")}
    assert share["completed"] == pytest.approx(0.9, abs=0.03)
    assert share["failed"] == pytest.approx(0.05, abs=0.02)
    assert share["waiting"] == pytest.approx(0.02, abs=0.01)
    assert len({(row.flow, row.step, row.error) for row in rows if row.status == "failed"}) > 30
    await store.close()


def test_no_query_of_a_prune_reads_a_whole_table(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the planner would, each family took as long as all runs take to read."""
    store = SqliteStore(made, blocking=True)
    plans: list[str] = []
    with Pruner(store, None).opened() as pruner:
        real, db = Pruner._rows, pruner.db  # pyright: ignore[reportPrivateUsage]

        def rows(self: Pruner, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            if not query.startswith("pragma"):
                plans.extend(f"{row[3]}: {query}" for row in db.execute(f"explain query plan {query}", values))
            return real(self, query, values)

        monkeypatch.setattr(Pruner, "_rows", rows)
        pruner.prune(Order(time.time() - 59 * DAY, values=True))
    assert 0 < pruner.pruned.runs < 100
    assert [plan for plan in plans if plan.startswith(("SCAN runs", "SCAN r:", "SCAN entries"))] == []


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "work":
        _work(where, int(sys.argv[3]))
    else:
        {"prune": _prune, "chase": _chase}[what](where)
