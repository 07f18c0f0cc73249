"""Deleting runs that ended long ago, with all that belongs to them, and the artifacts that nothing refers to.

A run that no other run called goes with all the runs that it called, directly or not, and only when each of them may
go: a parent may still read how they ended, and one that is redriven needs them. They go in small transactions, children
first. Each deletion states its conditions again, so that a run which was redriven meanwhile stays, and a prune that is
killed half-way leaves less to do and nothing broken.

An artifact is removed when nothing in the store refers to it and it is old enough. Old enough means that nobody can
hold a reference that is not in the store yet: it was last put more than ``GRACE`` before any run that executes now was
taken up. Whoever puts or hands on what exists already makes it young again (``Artifacts.put``, ``Artifacts.renew``).
"""

import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, NamedTuple

import apsw

from segue.core.entries import Kind
from segue.core.lifecycle import TERMINAL
from segue.errors import StoreError
from segue.stores.artifacts import GRACE, Artifacts, references
from segue.stores.sqlite_file import Database, SqliteFile, translate

STATUSES = ("completed", "cancelled", "merged", "expired", "discarded", "failed")
"""What can be pruned. ``discarded``: failed, and somebody decided that nothing more is done about it."""

USUAL = STATUSES[:5]
"""What is pruned if nothing else is said."""

AT_ONCE = 200
"""Runs in a transaction, at most."""

_A_VALUE = "not (name >= 'drift/' and name < 'drift0')"
"""What is kept of a step's drift is state, and not a value that grows old."""

HEAVY = (5_000, 8 << 20)
"""Entries, and bytes in them, in a transaction, at most."""

LONGEST = 0.004
"""Seconds that a transaction is meant to take: as long as it lasts, nobody else writes."""

BEING_PRUNED = "being pruned"
"""The reason of a run whose journal is so long that it goes in parts."""

_ENDED = ",".join(f"'{status}'" for status in sorted(TERMINAL))
_PAGE = 1000
_READ = 1 << 20  # bytes of payloads that are read at a time
_KNOWN_AT_MOST = 10_000


class Order(NamedTuple):
    """What to prune.

    Attributes:
        before: runs that ended before this time.
        statuses: how they ended.
        flow: only runs of this flow, with those that they called.
        values: also kept values that are that old.
    """

    before: float
    statuses: Sequence[str] = USUAL
    flow: str | None = None
    values: bool = False


class Pruned(NamedTuple):
    """What was pruned.

    Attributes:
        values: kept values.
        bytes: of what runs, entries and kept values held. The store uses the room again; its file does not shrink.
        artifact_bytes: of the artifacts. These the disk has back.
    """

    runs: int = 0
    entries: int = 0
    values: int = 0
    artifacts: int = 0
    bytes: int = 0
    artifact_bytes: int = 0


def renew(store: object, values: Iterable[bytes | None]) -> None:
    """Let all artifacts of a store that these values refer to count as written now: see ``Artifacts.renew``."""
    if isinstance(store, SqliteFile) and store.path is not None:
        artifacts = Artifacts.beside(store.path)
        for data in values:
            artifacts.renew(data)


class _Run(NamedTuple):
    """A run that is to go, as it was seen outside of the transaction that deletes it."""

    id: str
    root: str
    entries: int
    bytes: int


def _nothing(_: Pruned) -> None:
    pass


class Pruner(SqliteFile):
    """Prunes one store, on the calling thread and over a connection of its own.

    Args:
        artifacts: the folder beside it; None leaves artifacts alone.
        told: called with what was pruned so far, after each part.
        stopped: asked between parts whether to leave it at that.
        pause: sleeps so many seconds.
        known: what spilled values refer to, filled here: worth keeping for the next prune, since they never change.
    """

    def __init__(
        self,
        store: SqliteFile,
        artifacts: Artifacts | None,
        *,
        told: Callable[[Pruned], None] = _nothing,
        stopped: Callable[[], bool] = lambda: False,
        pause: Callable[[float], object] = time.sleep,
        known: dict[str, AbstractSet[str]] | None = None,
    ) -> None:
        super().__init__(store.path, durability=store.durability, blocking=True, clock=store.clock)
        self._owner = store
        if store.path is None:
            self._lock = self._read_lock = store._lock
        self.artifacts, self.pruned = artifacts, Pruned()
        self.told, self._stopped, self._pause = told, stopped, pause
        self._known: dict[str, AbstractSet[str]] = known if known is not None else {}
        self._size = AT_ONCE // 8
        self._turn = -1
        self._took = 0.0

    @property
    def db(self) -> Database:
        return super().db if self.path is not None else self._owner.db

    @property
    def reader(self) -> Database:
        return super().reader if self.path is not None else self._owner.reader

    @contextmanager
    def opened(self) -> Generator["Pruner", None, None]:
        """Connected to the store.

        Raises:
            StoreError: the store cannot do it now. What was pruned until then is in ``pruned``.
        """
        try:
            if self.path is not None:
                self._open()
                self.db.pragma("wal_autocheckpoint", 0)  # see _enough
            yield self
        except apsw.Error as error:
            raise translate(error, self.path) from error
        except OSError as error:
            raise StoreError(f"what {self.url} no longer needs cannot be removed: {error}") from error
        finally:
            if self.path is not None:
                self._close()
            if self._turn >= 0:
                os.close(self._turn)
                self._turn = -1

    def take_turn(self, every: float | None = None) -> bool:
        """Whether nobody else prunes this store now, until closed.

        Args:
            every: also, nobody who gave this has pruned it for so many seconds.
        """
        if self.path is None:
            return True
        self._turn = os.open(f"{self.path}.prune", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if every is None:
            return True
        last, now = os.fstat(self._turn), self.clock()
        if last.st_size and 0 <= now - last.st_mtime < every:
            return False
        os.pwrite(self._turn, b"\n", 0)  # else it is new, and its time says nothing
        os.utime(self._turn, (now, now))
        return True

    def prune(self, order: Order, *, dry: bool = False) -> AbstractSet[str]:
        """Delete runs, and kept values if so ordered. ``pruned`` tells how many; the ids are given only if it is dry.

        Args:
            dry: only look.
        """
        doomed: set[str] = set()
        for batch in self._batches(order):
            if dry:
                doomed.update(run.id for run in batch)
                for run in batch:
                    self._count(run)
            else:
                self._delete(batch, order)
            if self._enough():
                break
        if order.values and not self._stopped():
            self._values(order, dry)
        if not dry and not self._stopped():
            self._forget_events()
        return doomed

    def _forget_events(self) -> None:
        """Delete what was noted of events whose window is over: they would count as others by now."""
        over = "(flow, once) in (select flow, once from seen where until <= ? limit ?)"
        while True:
            size = self._size
            with self._in_turn() as db:
                db.execute(f"delete from seen where {over}", (self.clock(), size))
                left = db.changes() == size
            if not left or self._enough():
                return

    def _enough(self) -> bool:
        """Between two parts: whether to leave it at that. Others get as much time as the last part took.

        The log is moved into the file here, while they write: in a commit that would take three times as long as the
        rest of it.
        """
        self.told(self.pruned)
        took, self._took = self._took, 0.0
        if took:
            if self.path is not None:
                self._rows("pragma wal_checkpoint(passive)")
            self._pause(took)
        return self._stopped()

    def _count(self, run: _Run) -> None:
        was = self.pruned
        self.pruned = was._replace(runs=was.runs + 1, entries=was.entries + run.entries, bytes=was.bytes + run.bytes)

    # Which runs

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._read_lock:
            return list(self.reader.execute(query, values))

    def _batches(self, order: Order) -> Iterator[list[_Run]]:
        """What one transaction can delete, children before those who called them."""
        batch: list[_Run] = []
        entries = size = 0
        for root in self._roots(order):
            for run in self._family(root, order):
                if batch and (
                    len(batch) >= self._size or entries + run.entries > HEAVY[0] or size + run.bytes > HEAVY[1]
                ):
                    yield batch
                    batch, entries, size = [], 0, 0
                batch.append(run)
                entries, size = entries + run.entries, size + run.bytes
        if batch:
            yield batch

    def _roots(self, order: Order) -> Iterator[str]:
        """Runs that nobody called, and that ended long ago.

        Completed runs are in no index by status or time. Runs are numbered as they are created, so all that can have
        ended before a time stand before those that were created after it.
        """
        last = -1
        page = f"select number, created from runs where number > ? order by number limit {_PAGE}"
        due, values = _due(order)
        query = f"select r.id from runs as r where r.number > ? and r.number <= ? and {due}"
        while True:
            upto, earliest = self._rows(f"select max(number), min(created) from ({page})", (last,))[0]
            if upto is None or earliest >= order.before:
                return
            for (id,) in self._rows(query, (last, upto, *values)):
                yield id
            last = upto

    def _family(self, root: str, order: Order) -> list[_Run]:
        """A run and all that it called, the last created first; nothing if one of them has to stay."""
        rows = self._rows(
            "with recursive family(id) as"
            " (values(?) union select r.id from family as f cross join runs as r on r.parent = f.id)"
            f" select r.id, {_may_go(order)}, length(r.input) + coalesce(length(r.result), 0)"
            " from family as f cross join runs as r on r.id = f.id order by r.number desc",
            (root, order.before),
        )
        return [self._weighed(id, root, size) for id, _, size in rows] if all(may for _, may, _ in rows) else []

    def _weighed(self, id: str, root: str, size: int) -> _Run:
        query = (
            "select count(*), coalesce(sum(coalesce(length(input), 0) + coalesce(length(output), 0)), 0)"
            " from entries where run = ?"
        )
        entries, more = self._rows(query, (id,))[0]
        return _Run(id, root, entries, size + more)

    # Deleting them

    def _delete(self, batch: Sequence[_Run], order: Order) -> None:
        for run in batch:
            if run.entries > HEAVY[0] or run.bytes > HEAVY[1]:
                self._shorten(run, order)
        if self._stopped():
            return
        gone: list[_Run] = []
        with self._in_turn() as db:
            for run in batch:
                if self._delete_one(db, run, order):
                    gone.append(run)
        for run in gone:
            self._count(run)

    def _delete_one(self, db: Database, run: _Run, order: Order) -> bool:
        still, values = self._still(run, order)
        childless = "not exists(select 1 from runs as c where c.parent = r.id)"
        db.execute(f"delete from runs as r where {still} and {childless}", values)
        if not db.changes():
            return False
        for table in ("entries", "questions", "mail"):
            db.execute(f"delete from {table} where run = ?", (run.id,))
        return True

    @staticmethod
    def _still(run: _Run, order: Order) -> tuple[str, tuple[Any, ...]]:
        """The condition on which a run may go, as it has to be when it does."""
        due, values = _due(order)
        still = f"r.id = ? and {_may_go(order)} and exists(select 1 from runs as r where r.id = ? and {due})"
        return still, (run.id, order.before, run.root, *values)

    def _shorten(self, run: _Run, order: Order) -> None:
        """Delete most of a very long journal from its end, in parts: one transaction would hold up others too long.

        From the first part on the run is marked, so that nobody lets it go on.
        """
        still, values = self._still(run, order)
        for seq in self._cuts(run.id):
            with self._in_turn() as db:
                db.execute(f"update runs as r set reason = ? where {still}", (BEING_PRUNED, *values))
                if not db.changes():
                    return
                db.execute("delete from entries where run = ? and seq >= ?", (run.id, seq))
            if self._enough():
                break

    def _cuts(self, run: str) -> list[int]:
        """Where to cut a journal, from its end."""
        query = (
            "select seq, coalesce(length(input), 0) + coalesce(length(output), 0) from entries"
            " where run = ? order by seq desc"
        )
        cuts: list[int] = []
        entries = size = 0
        for seq, length in self._rows(query, (run,)):
            entries, size = entries + 1, size + length
            if entries * 4 >= HEAVY[0] or size * 4 >= HEAVY[1]:
                cuts.append(seq)
                entries = size = 0
        return cuts

    @contextmanager
    def _in_turn(self) -> Generator[Database, None, None]:
        """A transaction. How long it takes says how much the next may do."""
        with self._lock, self._transaction() as db:
            began = time.perf_counter()
            yield db
        self._took = time.perf_counter() - began
        self._size = max(1, min(AT_ONCE, int(self._size * max(0.25, min(2.0, LONGEST / self._took)))))

    # Kept values

    def _values(self, order: Order, dry: bool) -> None:
        last = ""
        while rows := self._rows(
            f"select name, length(body), at from cells where name > ? and {_A_VALUE} order by name limit ?",
            (last, AT_ONCE),
        ):
            last = rows[-1][0]
            old = [(name, size) for name, size, at in rows if at < order.before]
            gone = old if dry or not old else []
            if old and not dry:
                with self._in_turn() as db:
                    for name, size in old:
                        db.execute("delete from cells where name = ? and at < ?", (name, order.before))
                        if db.changes():
                            gone.append((name, size))
            was = self.pruned
            size = sum(size for _, size in gone)
            self.pruned = was._replace(values=was.values + len(gone), bytes=was.bytes + size)
            if self._enough():
                return

    # Artifacts

    def sweep(self, *, dry: bool = False, doomed: AbstractSet[str] = frozenset()) -> None:
        """Remove artifacts that nothing refers to. ``pruned`` tells how many.

        Args:
            dry: only look.
            doomed: runs to be taken for gone.
        """
        if self.artifacts is None:
            return
        than = self._untouched_since()
        left = dict(self.artifacts.older(than))
        self._spare_referenced(left, doomed)
        if self._stopped():
            return
        gone = iter(left.items()) if dry else self.artifacts.remove(list(left), than)
        for _, size in gone:
            was = self.pruned
            self.pruned = was._replace(artifacts=was.artifacts + 1, artifact_bytes=was.artifact_bytes + size)
            if self._enough():
                return
        for size in () if dry else self.artifacts.clear(than):
            self.pruned = self.pruned._replace(artifact_bytes=self.pruned.artifact_bytes + size)

    def _untouched_since(self) -> float:
        """The time before which nobody who executes now can have put anything that is not recorded yet."""
        claim = f"select ended from entries where run = r.id and seq = r.claim_seq - 1 and kind = {Kind.CLAIM}"
        began = "max(coalesce(r.started, 0), r.created)"  # a fork has begun when what it was forked from had
        query = f"select min(coalesce(({claim}), {began})) from runs as r where r.worker is not null"
        earliest = self._rows(query)[0][0]
        now = self.clock()
        return (now if earliest is None else min(now, earliest)) - GRACE

    def _spare_referenced(self, left: dict[str, int], doomed: AbstractSet[str]) -> None:
        """Take out of these files all that something refers to."""
        spilled: set[str] = set()
        for data in self._payloads(doomed) if left else ():
            found = references(data)
            spilled |= found.spilled
            for digest in (*found.spilled, *found.named):
                left.pop(digest, None)
        for digest in spilled:
            if not left or self._stopped():
                return
            for named in self._named_in(digest):
                left.pop(named, None)

    def _named_in(self, digest: str) -> AbstractSet[str]:
        """What a spilled value refers to."""
        if (known := self._known.get(digest)) is not None:
            return known
        assert self.artifacts is not None
        named = set[str]().union(*(references(piece).named for piece in self.artifacts.pieces(digest)))
        if len(named) < _KNOWN_AT_MOST:
            self._known[digest] = named
        return named

    def _payloads(self, doomed: AbstractSet[str]) -> Iterator[bytes]:
        """Everything in the store that can refer to something.

        It is read piece by piece, while others write. What moves meanwhile moves from mail, questions and kept values
        to journals, and from these to results, so it is read in this order.
        """
        tables = [name for (name,) in self._rows("select name from sqlite_schema where type = 'table'")]
        for table in sorted({*tables} - {"workers", "entries", "runs"}):
            yield from self._column_by_column(table, "", doomed)
        yield from self._column_by_column("entries", "input, output", doomed)
        yield from self._column_by_column("runs", "input, result", doomed)

    def _column_by_column(self, table: str, named: str, doomed: AbstractSet[str]) -> Iterator[bytes]:
        """The long values in some columns of a table, or in all."""
        info = self._rows(f"select name, pk from pragma_table_info('{table}')")
        keys = [name for name, place in sorted(info, key=lambda column: column[1]) if place] or ["rowid"]
        columns = named.split(", ") if named else [name for name, _ in info]
        owner = {"runs": "id"}.get(table, "run" if ("run", 0) in info or "run" in keys else "null")
        long = [f"length({column}) >= 35" for column in columns]
        picked = [f"iif({condition}, {column}, null)" for condition, column in zip(long, columns, strict=True)]
        after = f"({','.join(keys)}) > ({','.join('?' * len(keys))})"
        last: tuple[Any, ...] = ()
        count = _PAGE
        while not self._stopped():
            rows = self._rows(
                f"select {','.join([*keys, owner, *picked])} from {table}"
                f" where {after if last else '1'} and ({' or '.join(long)}) order by {','.join(keys)} limit {count}",
                last,
            )
            if not rows:
                return
            size = 0
            for row in rows:
                for value in row[len(keys) + 1 :] if row[len(keys)] not in doomed else ():
                    if value is not None:
                        data = value.encode() if isinstance(value, str) else value
                        size += len(data)
                        yield data
            last = rows[-1][: len(keys)]
            count = max(8, min(_PAGE, _READ * len(rows) // max(1, size)))
            self.told(self.pruned)


def _may_go(order: Order) -> str:
    """The condition on a run ``r`` of a family. The values: the time before which it has ended."""
    unsettled = "" if "failed" in order.statuses else " and not (r.status = 'failed' and r.reason is null)"
    return f"(r.status in ({_ENDED}) and r.ended < ?{unsettled})"


def _due(order: Order) -> tuple[str, tuple[Any, ...]]:
    """The condition on a run ``r`` that nobody called, and its values."""
    if unknown := [status for status in order.statuses if status not in STATUSES]:
        raise StoreError(f"{', '.join(unknown)}: runs end as {', '.join(STATUSES)}")
    plain = ",".join(f"'{status}'" for status in order.statuses if status != "discarded")
    discarded = " or (r.status = 'failed' and r.reason is not null)" if "discarded" in order.statuses else ""
    due = (
        f"r.ended < ? and (r.status in ({plain}){discarded})"
        " and (r.parent is null or not exists(select 1 from runs as p where p.id = r.parent))"
    )
    if order.flow is None:
        return due, (order.before,)
    return f"{due} and r.flow = ?", (order.before, order.flow)
