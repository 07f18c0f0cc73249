"""The embedded store: one SQLite file, shared by any number of processes on one machine.

A batch is one statement where it can be: each call into SQLite takes Python's interpreter lock again, which beside a
busy loop costs more than the statement. The fence is part of that statement. Writers take an ``flock`` beside the
file first, since SQLite's own waiting polls (measured with four processes: p99 11 ms against 34).
"""

import functools
import os
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

import apsw

from segue.core.branches import name_of
from segue.core.entries import OUTCOMES, Entry, Kind
from segue.core.lifecycle import TERMINAL, Status, after_loss
from segue.errors import CorruptRecord, Failure, Fenced
from segue.runtime import crashpoints
from segue.stores.base import (
    MERGES,
    TOOK,
    WRITTEN,
    Batch,
    Cell,
    Change,
    Claimed,
    Commit,
    Known,
    Lost,
    NewRun,
    Row,
    Written,
    check_input,
    check_result,
)
from segue.stores.machine import birth, machine
from segue.stores.sqlite_file import Database, translate
from segue.stores.sqlite_lanes import (
    calm,
    expire,
    firsts,
    is_taken,
    known,
    promote,
    refuse_own_key,
    take_along,
    unseen,
    wake_parents,
)
from segue.stores.sqlite_post import SqlitePost, ask, take, withdraw
from segue.stores.sqlite_reading import SqliteReading, lapsed_workers
from segue.stores.sqlite_rejects import SqliteRejects
from segue.stores.sqlite_rows import ENDED, ENTRY, ROW, checksum_of, fence, insert_entry, row_from
from segue.stores.sqlite_schedules import SqliteSchedules
from segue.types import StepId

T = TypeVar("T")

_ELSEWHERE = 4  # the last fields of a new run: its event, which is in a table of its own, and how it waits
_STATUS = NewRun._fields.index("status")
_CREATE = (*NewRun._fields[:-_ELSEWHERE], "claims", "claim_seq", "losses")
_CHUNK = 64
_INLINE_BELOW = 0.002  # a commit that takes longer than this, in seconds, would be felt by the caller's loop


_FENCE = "exists(select 1 from workers where id = ?)"
_END = "status = {}, result = {}, seal = {}, ended = {}, fallbacks = {}, worker = null, reason = null"
_END_ONE = f"update runs set {_END.format('?', '?', '?', '?', '?')} where id = ? and status = 'running' and {_FENCE}"


def _values(columns: int, rows: int) -> str:
    row = f"({','.join('?' * columns)})"
    return ",".join([row] * rows)


def _chunks(rows: Sequence[T]) -> Sequence[Sequence[T]]:
    """The rows in parts: for each number of them there is a statement, which stays prepared."""
    if len(rows) <= _CHUNK:
        return (rows,) if rows else ()
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]


def _padded(count: int) -> int:
    """The next power of two: few distinct statements, so that each stays prepared."""
    return 1 << (count - 1).bit_length()


@functools.cache
def _insert(table: str, columns: tuple[str, ...], rows: int) -> str:
    """An insert of so many rows, which fails as a whole when the worker is gone: the first row's key is null then.

    The second binding is the worker. (``insert … select … where exists`` takes twice as long.)
    """
    first = f"((select ? where {_FENCE}),{','.join('?' * (len(columns) - 1))})"
    more = f",{_values(len(columns), rows - 1)}" if rows > 1 else ""
    return f"insert into {table}({','.join(columns)}) values {first}{more}"


@functools.cache
def _end(rows: int) -> str:
    """The ends of so many runs: each a row of status, result, its checksum, time and id."""
    if rows == 1:
        return _END_ONE
    return (
        f"update runs set {_END.format(*(f'v.column{n}' for n in range(1, 6)))} from (values {_values(6, rows)}) as v"
        f" where runs.id = v.column6 and runs.status = 'running' and {_FENCE}"
    )


@functools.cache
def _begin(rows: int) -> str:
    """The claims of so many runs by the worker that is bound first: each a row of id, journal's length and begin."""
    return (
        "update runs set status = 'running', reason = null, worker = ?, claims = claims + 1, claim_seq = v.column2,"
        f" started = v.column3 from (values {_values(3, rows)}) as v where runs.id = v.column1"
    )


class _Since(NamedTuple):
    """What a run did under the worker that it is taken from: whether it got on, and what it was at."""

    progressed: bool
    step: str | None


class SqliteStore(SqliteReading, SqlitePost, SqliteRejects, SqliteSchedules):
    """Runs in one SQLite file.

    Args:
        path: the file; None for a store in memory.
        durability: ``disk`` survives a power cut (an fsync a commit); ``process`` survives the process's death.
        blocking: do everything on the calling thread.
        clock: gives seconds since the epoch.
    """

    _pace = 0.0  # seconds that a commit takes, smoothed

    def sibling(self) -> "SqliteStore":
        if self.path is None:
            return _Shared(self)
        return SqliteStore(self.path, durability=self.durability, blocking=True, clock=self.clock)

    # Workers

    async def join(self, worker: str, lease: float) -> None:
        await self._write(self._join, worker, lease)

    def _join(self, worker: str, lease: float) -> None:
        pid = os.getpid()
        row = (worker, machine(), pid, birth(pid), self.clock() + lease)
        with self._one_process():
            self.db.execute("insert into workers values(?, ?, ?, ?, ?)", row)

    async def renew(self, worker: str, lease: float) -> bool:
        return await self._write(self._renew, worker, lease)

    def _renew(self, worker: str, lease: float) -> bool:
        with self._one_process():
            self.db.execute("update workers set expires = ? where id = ?", (self.clock() + lease, worker))
            return self.db.changes() > 0

    async def leave(self, worker: str) -> None:
        await self._write(self._leave, worker)

    def _leave(self, worker: str) -> None:
        with self._transaction() as db:
            db.execute("delete from workers where id = ?", (worker,))
            db.execute("update runs set status = 'queued', worker = null where worker = ?", (worker,))

    async def sweep(self, by: str = "") -> list[Lost]:
        return await self._write(self._sweep, by)

    def _sweep(self, by: str) -> list[Lost]:
        if not lapsed_workers(self.db, self.clock()).keys() - {by}:
            return []
        with self._transaction() as db:
            lapsed = lapsed_workers(db, self.clock())  # one of them may have renewed while we waited
            lapsed.pop(by, None)
            lost = [run for worker, alive in lapsed.items() for run in self._take_all(db, worker, alive)]
            db.executemany("delete from workers where id = ?", [(worker,) for worker in lapsed])
        return lost

    def _take_all(self, db: Database, worker: str, alive: bool) -> list[Lost]:
        """Take the runs of a worker that died. The more of them were executing a step, the less is it clear which."""
        query = "select id, flow, losses, claim_seq from runs where worker = ?"
        owned = [
            (run, flow, losses, self._since(db, run, seq)) for run, flow, losses, seq in db.execute(query, (worker,))
        ]
        doubt = alive or sum(losses == 0 or since.step is not None for _, _, losses, since in owned) > 1
        return [self._take(db, *run, doubt) for run in owned]

    @staticmethod
    def _since(db: Database, run: str, claim_seq: int) -> _Since:
        since = list(db.execute("select kind, step, attempt from entries where run = ? and seq >= ?", (run, claim_seq)))
        begun = {(step, attempt) for kind, step, attempt in since if kind == Kind.START}
        over = {(step, attempt) for kind, step, attempt in since if kind != Kind.START}
        step = next((step for step, _ in sorted(begun - over)), None)
        return _Since(any(kind in OUTCOMES or kind == Kind.ATTEMPT for kind, _, _ in since), step)

    def _take(self, db: Database, run: str, flow: str, losses: int, since: _Since, doubt: bool) -> Lost:
        step = since.step
        status, losses = after_loss(losses, progressed=since.progressed, suspect=step is not None, doubt=doubt)
        if status is Status.FAILED:
            failure = Failure("WorkerLost", f"its worker died {losses} times in a row while step {step!r} was running")
            result = _encoded(failure)
            end = (
                "update runs set status = 'failed', worker = null, losses = ?, result = ?, seal = ?, ended = ?,"
                " step = ?, error = ? where id = ? returning flow, key"
            )
            given = (losses, result, crc32(result), self.clock(), name_of(step or ""), failure.type, run)
            promote(db, [(of, key) for of, key in list(db.execute(end, given)) if key is not None])
            withdraw(db, [run], self.clock())
            wake_parents(db, [run])
        else:
            db.execute("update runs set status = 'queued', worker = null, losses = ? where id = ?", (losses, run))
        return Lost(run, flow, status, step)

    # Runs

    async def create(self, run: NewRun, entries: Sequence[Entry] = ()) -> Row | None:
        return await self._write(self._create, run, entries)

    def _create(self, run: NewRun, entries: Sequence[Entry]) -> Row | None:
        with self._transaction() as db:
            for row in db.execute(f"select {ROW} from runs where id = ?", (run.id,)):
                return row_from(row)
            if not unseen(db, [run], self.clock()):
                first = firsts(db, run.flow, [run.once or ""]).get(run.once or "", "")
                for row in db.execute(f"select {ROW} from runs where id = ?", (first,)):
                    return row_from(row)  # else that one was pruned, and this one takes its place
            if run.status is Status.RUNNING and not self._alive(db, run.worker or ""):
                raise Fenced
            refuse_own_key(db, run)
            marks = ",".join("?" * len(_CREATE))
            db.execute(f"insert into runs({','.join(_CREATE)}) values({marks})", _created(run))
            for entry in entries:
                insert_entry(db, run.id, entry)
            promote(db, [run.lane])
            calm(db, [run], self.clock())
        return None

    def commit(self, worker: str, batch: Batch) -> Commit:
        return self._write(self._commit, worker, batch)

    def commit_now(self, worker: str, batch: Batch) -> Written | None:
        if self._pace > _INLINE_BELOW or len(batch.creates) > _CHUNK or not self._lock.acquire(blocking=False):
            return None
        try:
            if not self._try_flock():
                return None
            try:
                return self._commit(worker, batch)
            except apsw.Error as error:
                raise translate(error, self.path) from error
            finally:
                self._let_flock()
        finally:
            self._lock.release()

    def _commit(self, worker: str, batch: Batch) -> Written:
        began = time.perf_counter()
        if crashpoints.armed:
            crashpoints.reach("before-commit")
        try:
            written = self._apply(worker, batch)
        except apsw.ConstraintError:
            written = self._one_by_one(worker, batch)
        if crashpoints.armed:
            crashpoints.reach("after-commit")
        if len(batch.creates) <= _CHUNK:  # else it says nothing about other commits
            self._pace = 0.9 * self._pace + 0.1 * (time.perf_counter() - began)
        return written

    def _apply(self, worker: str, batch: Batch) -> Written:
        small = len(batch.entries) <= _CHUNK and len(batch.creates) <= _CHUNK
        more = batch.changes or batch.cells or batch.questions or batch.took or batch.inputs
        more = more or (batch.creates and batch.entries)
        more = more or any(new.key is not None or new.once is not None for new in batch.creates)
        if small and not more:
            # one statement is a transaction by itself
            with self._one_process():
                if batch.entries:
                    self._insert_entries(self.db, worker, batch.entries)
                if batch.creates:
                    self._insert_runs(self.db, worker, batch.creates)
            return WRITTEN
        with self._transaction() as db:
            written = self._create_all(db, worker, batch.creates) if batch.creates else WRITTEN
            for entries in _chunks(batch.entries):
                self._insert_entries(db, worker, entries)
            if crashpoints.armed:
                crashpoints.reach("in-commit")
            if batch.inputs:
                self._rewrite(db, worker, batch.inputs)
            if batch.questions:
                ask(db, batch.questions)
            if batch.took:  # before runs park: they look whether there is mail that they have not taken
                take(db, batch.took)
            for changes in _chunks(batch.changes):
                self._change_runs(db, worker, changes)
            if batch.cells:
                self._keep(db, batch.cells)
        return written

    def _create_all(self, db: Database, worker: str, creates: Sequence[NewRun]) -> Written:
        now = self.clock()
        fresh = unseen(db, creates, now)
        for part in _chunks(fresh):
            self._insert_runs(db, worker, part)
        promote(db, (new.lane for new in fresh))
        calm(db, fresh, now)
        if len(fresh) == len(creates):
            return WRITTEN
        written = {new.id for new in fresh}
        return Written(known=known(db, [new for new in creates if new.id not in written]))

    @staticmethod
    def _rewrite(db: Database, worker: str, inputs: Sequence[tuple[str, bytes]]) -> None:
        db.executemany(
            f"update runs set input = ?, checksum = ?, merges = 0 where id = ? and worker = ? and merges = {TOOK}"
            f" and {_FENCE}",
            [(input, crc32(input), run, worker, worker) for run, input in inputs],
        )

    @staticmethod
    def _keep(db: Database, cells: Sequence[tuple[str, Cell]]) -> None:
        db.executemany(
            "insert into cells values(?, ?, ?, ?) on conflict(name) do update"
            " set at = excluded.at, body = excluded.body, checksum = excluded.checksum where excluded.at >= at",
            [(*cell, crc32(cell.body)) for _, cell in cells],
        )

    def _one_by_one(self, worker: str, batch: Batch) -> Written:
        """Redo a batch that holds a bad commit, run by run, so that it harms that run alone."""
        rejected: dict[str, str] = {}
        found: dict[str, Known] = {}
        runs = [run.id for run in batch.creates] + [run for run, _ in batch.entries] + [c.run for c in batch.changes]
        # cells, questions and mail come with an entry of their run, or with a change
        for run in dict.fromkeys(runs):
            part = Batch(
                [new for new in batch.creates if new.id == run],
                [entry for entry in batch.entries if entry[0] == run],
                [change for change in batch.changes if change.run == run],
                [cell for cell in batch.cells if cell[0] == run],
                [question for question in batch.questions if question.run == run],
                [took for took in batch.took if took.run == run],
                [input for input in batch.inputs if input[0] == run],
            )
            try:
                found.update(self._apply(worker, part).known)
            except apsw.ConstraintError as error:
                if not self._alive(self.db, worker):
                    raise Fenced from error
                rejected[run] = str(error)
        return Written(rejected, found)

    @staticmethod
    def _insert_entries(db: Database, worker: str, entries: Sequence[tuple[str, Entry]]) -> None:
        values: list[Any] = []
        for run, (seq, kind, step, attempt, started, ended, input, output) in entries:
            checksum = checksum_of(step, input, output)
            values += (run, seq, kind, step, attempt, started, ended, input, output, checksum)
        values.insert(1, worker)
        db.execute(_insert("entries", ENTRY, len(entries)), values)

    @staticmethod
    def _insert_runs(db: Database, worker: str, creates: Sequence[NewRun]) -> None:
        values: list[Any] = []
        for run in creates:
            values += _created(run)
        values.insert(1, worker)
        db.execute(_insert("runs", _CREATE, len(creates)), values)

    def _change_runs(self, db: Database, worker: str, changes: Sequence[Change]) -> None:
        ends = [change for change in changes if change.status in TERMINAL]
        if ends:
            rows = _padded(len(ends))
            values: list[Any] = []
            for end in ends:
                values += (end.status, end.result, crc32(end.result or b""), end.ended, end.fallbacks, end.run)
            values += (None,) * (6 * (rows - len(ends)))
            values.append(worker)
            db.execute(_end(rows), values)
            if db.changes() != len(ends):
                raise Fenced if not self._alive(db, worker) else apsw.ConstraintError("the run has ended already")
            if children := [change.run for change in ends if change.parent is not None]:
                wake_parents(db, children)
            if asked := [change.run for change in ends if change.asked]:
                withdraw(db, asked, ends[0].ended)
            if faults := [(*change.fault, change.run) for change in ends if change.fault is not None]:
                db.executemany("update runs set step = ?, error = ? where id = ?", faults)
        for change in changes:
            if change.status not in TERMINAL:
                self._leave_memory(db, worker, change)
        promote(db, (change.lane for change in changes))

    def _leave_memory(self, db: Database, worker: str, change: Change) -> None:
        status, reason, due = change.status, change.reason, change.due
        if status is Status.WAITING and (self._any_ended(db, change.waits) or self._has_mail(db, change.run)):
            # else the wake-up between our last look and this write would be lost
            status, reason, due = Status.QUEUED, None, 0.0
        db.execute(
            "update runs set status = ?, reason = ?, due = coalesce(?, due), worker = null where id = ?"
            " and status = 'running' and exists(select 1 from workers where id = ?)",
            (status, reason, due, change.run, worker),
        )
        fence(db, 1)

    @staticmethod
    def _any_ended(db: Database, runs: Collection[str]) -> bool:
        if not runs:
            return False
        marks = ",".join("?" * len(runs))
        query = f"select 1 from runs where id in ({marks}) and status in ({ENDED}) limit 1"
        return any(True for _ in db.execute(query, tuple(runs)))

    @staticmethod
    def _has_mail(db: Database, run: str) -> bool:
        query = "select 1 from mail where run = ? and taken = 0 limit 1"
        return any(True for _ in db.execute(query, (run,)))

    @staticmethod
    def _alive(db: Database, worker: str) -> bool:
        return any(True for _ in db.execute("select 1 from workers where id = ?", (worker,)))

    async def keep(self, cell: Cell, was: Cell | None) -> bool:
        return await self._write(self._replace, cell, was)

    def _replace(self, cell: Cell, was: Cell | None) -> bool:
        with self._transaction() as db:
            if was is None:
                new = (*cell, crc32(cell.body))
                db.execute("insert into cells values(?, ?, ?, ?) on conflict(name) do nothing", new)
            else:
                change = "update cells set at = ?, body = ?, checksum = ? where name = ? and at = ? and body = ?"
                db.execute(change, (cell.at, cell.body, crc32(cell.body), cell.name, was.at, was.body))
            return db.changes() == 1

    async def claim(
        self, worker: str, flows: Collection[str] | None, limit: int, origin: str | None, suspects: bool
    ) -> list[Claimed]:
        return await self._write(self._claim, worker, flows, limit, origin, suspects)

    def _claim(
        self, worker: str, flows: Collection[str] | None, limit: int, origin: str | None, suspects: bool
    ) -> list[Claimed]:
        crashpoints.reach("before-claim")
        if not self._claimable(self.db, flows, 1, origin, suspects):
            return []
        with self._transaction() as db:
            if not self._alive(db, worker):
                raise Fenced
            now = self.clock()
            found: list[Row] = []
            full: set[str] = set()
            passed_over = True
            while passed_over and len(found) < limit:  # what may not be claimed must not hold up what is behind it
                passed_over = False
                taken: list[Row] = []
                for row in self._claimable(db, flows, limit - len(found), origin, suspects, full):
                    if row.expires is not None and not row.claims and row.expires <= now:
                        expire(db, row, now)
                    elif row.concurrency is not None and self._running(db, row.flow, taken) >= row.concurrency:
                        full.add(row.flow)
                    elif row.status is Status.WAITING and row.frees and row.lane and self._is_taken(db, row, taken):
                        db.execute("update runs set status = 'held', reason = null, due = 0 where id = ?", (row.id,))
                    else:
                        taken.append(row)
                        continue
                    passed_over = True
                found += self._own(db, worker, taken, now)
            claimed = [self._with_journal(db, row) for row in found]
        crashpoints.reach("after-claim")
        return claimed

    def _claimable(
        self,
        db: Database,
        flows: Collection[str] | None,
        limit: int,
        origin: str | None,
        suspects: bool,
        full: Collection[str] = (),
    ) -> list[Row]:
        known = "" if flows is None else f" and +flow in ({','.join('?' * len(flows))})"
        # The plus keeps SQLite from the index by flow, by which it would read all runs that the flow ever had.
        mine = "" if origin is None else " and origin = ?"
        free = f" and (concurrency is null or flow not in ({','.join('?' * len(full))}))" if full else ""
        part = f" and losses {'>' if suspects else '<='} 1"
        given = (self.clock(), *(flows or ()), *(() if origin is None else (origin,)), *full, limit)
        rest = f"due <= ?{known}{mine}{free}{part}"
        queued = (
            f"select {ROW} from runs where status = 'queued' and {rest} order by priority desc, due, number limit ?"
        )
        waiting = f"select {ROW} from runs where status = 'waiting' and {rest} order by due limit ?"
        rows = [row_from(row) for query in (queued, waiting) for row in db.execute(query, given)]
        return sorted(rows, key=lambda row: (-row.priority, row.due))[:limit]

    @staticmethod
    def _running(db: Database, flow: str, taken: Sequence[Row]) -> int:
        query = "select count(*) from runs indexed by runs_owned where flow = ? and worker is not null"
        return next(iter(db.execute(query, (flow,))))[0] + sum(row.flow == flow for row in taken)

    @staticmethod
    def _is_taken(db: Database, row: Row, taken: Sequence[Row]) -> bool:
        return any(other.lane == row.lane for other in taken) or (row.lane is not None and is_taken(db, row.lane))

    def _own(self, db: Database, worker: str, rows: Sequence[Row], now: float) -> list[Row]:
        """Make these runs the worker's, all at once: a statement for each would cost more than the runs do."""
        if not rows:
            return []
        marks = ",".join("?" * len(rows))
        lengths = f"select run, max(seq) + 1 from entries where run in ({marks}) group by run"
        length: dict[str, int] = dict(db.execute(lengths, tuple(row.id for row in rows)))  # pyright: ignore
        owned: list[Row] = []
        for row in rows:
            seq, merges = length.get(row.id, 0), row.merges
            if row.claims:
                claim = _encoded({"worker": worker, "losses": row.losses})
                insert_entry(db, row.id, Entry(seq, Kind.CLAIM, StepId("@claim"), 0, now, now, None, claim))
                length[row.id] = seq + 1
            elif merges == MERGES and take_along(db, row, seq, now):
                length[row.id], merges = seq + 1, TOOK
            owned.append(
                row._replace(
                    status=Status.RUNNING,
                    reason=None,
                    worker=worker,
                    started=now if row.started is None else row.started,
                    claims=row.claims + 1,
                    merges=merges,
                )
            )
        for part in _chunks(owned):
            values: list[Any] = [worker]
            for row in part:
                values += (row.id, length.get(row.id, 0), row.started)
            values += (None,) * (3 * (_padded(len(part)) - len(part)))
            db.execute(_begin(_padded(len(part))), values)
        return owned

    def _with_journal(self, db: Database, row: Row) -> Claimed:
        """A claimed run with its journal and mail. One that has never begun, and got no mail, has neither."""
        try:
            check_input(row)
            check_result(row)
            return Claimed(row, self._entries(db, row.id), self._new_mail(db, "mail where run = ?", row.id))
        except CorruptRecord as problem:
            return Claimed(row, [], [], problem)


class _Shared(SqliteStore):
    """The sibling of a store in memory: the same database, for another thread."""

    def __init__(self, owner: SqliteStore) -> None:
        super().__init__(None, blocking=True, clock=owner.clock)
        self._lock = self._read_lock = owner._lock
        self._owner = owner

    @property
    def db(self) -> Database:
        return self._owner.db

    @property
    def reader(self) -> Database:
        return self._owner.reader

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _created(run: NewRun) -> tuple[Any, ...]:
    status = Status.HELD if run.key is not None and run.status is Status.QUEUED else run.status
    return (*run[:_STATUS], status, *run[_STATUS + 1 : -_ELSEWHERE], 1 if run.status is Status.RUNNING else 0, 0, 0)


def _encoded(record: object) -> bytes:
    from segue.values import encode  # not on top: whoever only reads needs none of it, and starts quicker

    return encode(record, "a record of the store's")
