"""Reading the SQLite store: runs, journals, kept values, and what people are asked."""

from collections.abc import Collection, Sequence
from typing import Any
from zlib import crc32

from segue.core.entries import Entry
from segue.core.lifecycle import CLAIMABLE, Status
from segue.errors import CorruptRecord
from segue.stores.base import Aged, Asked, Busy, Cell, Fault, Mail, Query, Question, Row, check_input, check_result
from segue.stores.machine import birth, machine
from segue.stores.sqlite_file import Database, SqliteFile
from segue.stores.sqlite_lanes import busy, firsts
from segue.stores.sqlite_rows import ENDED, ENTRY, ROW, SUMMARY, entry_from, row_from

_QUESTION = ", ".join(Question._fields)
# Ids are in order by their beginning. For the end of one all are read, but only they.
_NAMED = "select number from runs where id >= ? and id < ? union select number from runs where substr(id, -?) = ?"
# From one to the next by the index: as quick among a million runs as among a hundred.
_FLOWS = (
    "with recursive named(flow) as (select min(flow) from runs"
    " union all select (select min(flow) from runs where flow > named.flow) from named where named.flow is not null)"
    " select flow from named where flow is not null"
)
_MAIL = "run, once, name, body, sent, null, null, number"


class SqliteReading(SqliteFile):
    """What a store can be asked."""

    _seen = (0, 0)

    async def queued(self, flow: str, limit: int) -> int:
        return await self._read(self._queued, flow, limit)

    def _queued(self, flow: str, limit: int) -> int:
        queued = "select 1 from runs indexed by runs_queued where status = 'queued' and flow = ? and due <= ?"
        held = "select 1 from runs where key is not null and ended is null and status = 'held' and flow = ?"
        query = f"select count(*) from (select * from ({queued}) union all select * from ({held}) limit ?)"
        return next(iter(self.reader.execute(query, (flow, self.clock(), flow, limit))))[0]

    async def aged(self, before: float, limit: int = 10_000) -> list[Aged]:
        return await self._read(self._aged, before, limit)

    def _aged(self, before: float, limit: int) -> list[Aged]:
        due = "select flow, id, due from runs where status = 'queued' and due > 0 and due < ? and claims = 0 limit ?"
        # with min(), SQLite takes the other columns from the row that has the least
        query = f"select flow, count(*), id, min(due) as since from ({due}) group by flow order by since, flow"
        return [Aged._make(row) for row in self.reader.execute(query, (before, limit))]

    async def seen(self, flow: str, events: Sequence[str]) -> dict[str, str]:
        return await self._read(firsts, self.reader, flow, events)

    async def lanes(self, flow: str | None = None, limit: int = 50) -> list[Busy]:
        return await self._read(busy, self.reader, flow, limit)

    async def cell(self, name: str) -> Cell | None:
        return await self._read(self._cell, name)

    def _cell(self, name: str) -> Cell | None:
        return next(iter(self._cells("name = ?", (name,))), None)

    async def cells(self, prefix: str) -> list[Cell]:
        return await self._read(self._cells, "name >= ? and name < ?", (prefix, prefix + "\U0010ffff"))

    def _cells(self, which: str, values: tuple[str, ...]) -> list[Cell]:
        found: list[Cell] = []
        query = f"select name, at, body, checksum from cells where {which} order by name"
        for *cell, checksum in list(self.reader.execute(query, values)):
            found.append(kept := Cell._make(cell))
            if crc32(kept.body) != checksum:
                raise CorruptRecord(f"the kept value {kept.name!r} is not what was written")
        return found

    async def load(self, run: str) -> tuple[Row, list[Entry]] | None:
        return await self._read(self._load, run)

    def _load(self, run: str) -> tuple[Row, list[Entry]] | None:
        db = self.reader
        for found in db.execute(f"select {ROW} from runs where id = ?", (run,)):
            row = row_from(found)
            check_input(row)
            check_result(row)
            return row, self._entries(db, run)
        return None

    @staticmethod
    def _entries(db: Database, run: str) -> list[Entry]:
        query = f"select {','.join(ENTRY[1:])} from entries where run = ? order by seq"
        rows = list(
            db.execute(query, (run,))
        )  # to the end: a statement left half-way would keep an old view of the store
        return [entry_from(run, expected, row) for expected, row in enumerate(rows)]

    async def find(self, query: Query) -> list[Row]:
        return await self._read(self._find, query)

    def _find(self, query: Query) -> list[Row]:
        where: list[str] = ["1"]
        values: list[Any] = []
        if query.flow is not None:
            where.append("flow = ?")
            values.append(query.flow)
        if query.status:
            where.append(_standing(query.status))
        if query.parent is not None:
            where.append("parent = ?")
            values.append(query.parent)
        if query.dead:
            where.append("status = 'failed' and reason is null")
        for column, value in (("step", query.step), ("error", query.error)):
            if value is not None:
                where.append(f"coalesce({column}, '') = ?" if value == "" else f"{column} = ?")
                values.append(value)
        if query.id is not None:
            where.append("id = ?")
            values.append(query.id)
        if (text := query.text) is not None:
            where.append(f"number in ({_NAMED})")
            values += (text, text + "\x7f", len(text), text)
        statement = f"select {SUMMARY} from runs where {' and '.join(where)} order by number desc limit ?"
        return [row_from(row) for row in self.reader.execute(statement, (*values, query.limit))]

    async def ended(self, runs: Collection[str]) -> list[Row]:
        return await self._read(self._ended, runs)

    def _ended(self, runs: Collection[str]) -> list[Row]:
        found: list[Row] = []
        ids = list(runs)
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"select {ROW} from runs where id in ({marks}) and status in ({ENDED})"
            found += [row_from(row) for row in self.reader.execute(query, part)]
        return found

    async def unfinished(self, flows: Collection[str] | None, limit: int = 1_000_000) -> list[Row]:
        return await self._read(self._unfinished, flows, limit)

    def _unfinished(self, flows: Collection[str] | None, limit: int) -> list[Row]:
        lapsed = tuple(lapsed_workers(self.reader, self.clock()))
        known = "" if flows is None else f" and flow in ({','.join('?' * len(flows))})"
        query = (
            f"select {SUMMARY} from runs where {_standing(CLAIMABLE)}{known} and"
            f" ((worker is null and due <= ?) or worker in ({','.join('?' * len(lapsed))})) order by number limit ?"
        )
        values = (*(flows or ()), self.clock(), *lapsed, limit)
        return [row_from(row) for row in self.reader.execute(query, values)]

    async def flows(self) -> list[str]:
        return await self._read(self._flows)

    def _flows(self) -> list[str]:
        return [flow for (flow,) in self.reader.execute(_FLOWS)]

    async def orphans(self) -> set[str]:
        return await self._read(self._orphans)

    def _orphans(self) -> set[str]:
        lapsed = tuple(lapsed_workers(self.reader, self.clock()))
        query = f"select id from runs where worker in ({','.join('?' * len(lapsed))})"
        return {id for (id,) in self.reader.execute(query, lapsed)}

    async def changed(self) -> bool:
        return await self._read(self._changed)

    def _changed(self) -> bool:
        seen = (self.reader.pragma("data_version"), self.reader.total_changes())
        if seen == self._seen:
            return False
        self._seen = seen
        return True

    # Mail, questions, dead letters

    async def mail(self, *, run: str | None = None, worker: str | None = None) -> list[Mail]:
        return await self._read(self._mail, run, worker)

    def _mail(self, run: str | None, worker: str | None) -> list[Mail]:
        if run is not None:
            of, given = "mail where run = ?", run
        else:  # from the runs that it executes, which are few, to the mail of each
            of, given = "mail where run in (select id from runs where worker = ?)", worker
        return self._new_mail(self.reader, of, given)

    @staticmethod
    def _new_mail(db: Database, of: str, given: str | None) -> list[Mail]:
        query = f"select {_MAIL}, checksum from {of} and taken = 0 order by number"
        found: list[Mail] = []
        for *values, checksum in list(db.execute(query, (given,))):
            mail = Mail._make(values)
            if crc32(mail.body) != checksum:
                raise CorruptRecord(f"mail {mail.number} for run {mail.run} is not what was sent")
            found.append(mail)
        return found

    async def questions(self, which: Asked) -> list[Question]:
        return await self._read(self._questions, which)

    def _questions(self, which: Asked) -> list[Question]:
        where, values = ["1"], list[Any]()
        for column, value in (("run", which.run), ("flow", which.flow), ("assignee", which.assignee)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if which.id is not None:
            where.append("id >= ? and id < ?")
            values += (which.id, which.id + "\U0010ffff")
        if which.open:
            where.append("decided is null")
        query = f"select {_QUESTION}, checksum from questions where {' and '.join(where)} order by number limit ?"
        found: list[Question] = []
        for *fields, checksum in list(self.reader.execute(query, (*values, which.limit))):
            question = Question._make(fields)
            if crc32(question.body) != checksum:
                raise CorruptRecord(f"question {question.id} of run {question.run} is not what was asked")
            found.append(question)
        return found

    async def faults(self, flow: str | None = None) -> list[Fault]:
        return await self._read(self._faults, flow)

    def _faults(self, flow: str | None) -> list[Fault]:
        only, given = ("", ()) if flow is None else (" and flow = ?", (flow,))
        groups = (
            "select flow, step, error, count(*) as count, max(number) as number from runs"
            f" where status = 'failed' and reason is null{only} group by flow, step, error"
        )
        query = (
            "select g.flow, g.step, g.error, g.count, r.id, r.ended"
            f" from ({groups}) as g join runs as r on r.number = g.number order by g.count desc, g.number desc"
        )
        return [Fault._make(row) for row in self.reader.execute(query, given)]


def lapsed_workers(db: Database, now: float) -> dict[str, bool]:
    """The workers to take from, and whether they may be alive: suspended, or cut off."""
    here = machine()
    found: dict[str, bool] = {}
    for worker, host, pid, born, expires in db.execute("select id, host, pid, birth, expires from workers"):
        local = bool(here) and host == here
        alive = local and birth(pid) == born
        if expires < now or (local and not alive):
            found[worker] = alive
    return found


def _standing(statuses: Collection[Status]) -> str:
    """The condition for runs in one of these states, by each one's index; completed and merged ones have none."""
    if Status.COMPLETED in statuses or Status.MERGED in statuses:
        return f"status in ({','.join(repr(str(status)) for status in statuses)})"
    owned = "worker is not null"
    each = [owned if status is Status.RUNNING else f"status = '{status}'" for status in statuses]
    return f"number in ({' union all '.join(f'select number from runs where {part}' for part in each)})"
