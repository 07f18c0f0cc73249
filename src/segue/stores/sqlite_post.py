"""What reaches the runs of an SQLite store from outside: mail, and the changes that people make after an end."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

from segue.core.lifecycle import TERMINAL, Event, Status, move
from segue.runtime import crashpoints
from segue.stores.base import CANCELLING, Amend, Mail, Question, Receipt, Took
from segue.stores.sqlite_file import Database, SqliteFile
from segue.stores.sqlite_lanes import hold, promote, wake, wake_parents
from segue.stores.sqlite_rows import insert_entry, status_from


class SqlitePost(SqliteFile):
    """Writing to runs that somebody else owns, or nobody."""

    async def send(self, mail: Mail, *, unbegun: bytes | None = None, owner: str | None = None) -> Receipt:
        return await self._write(self._send, mail, unbegun, owner)

    def _send(self, mail: Mail, unbegun: bytes | None, owner: str | None) -> Receipt:
        if crashpoints.armed:
            crashpoints.reach("before-mail")
        with self._transaction() as db:
            receipt = self._deliver(db, mail, unbegun, owner)
        if crashpoints.armed:
            crashpoints.reach("after-mail")
        return receipt

    def _deliver(self, db: Database, mail: Mail, unbegun: bytes | None, owner: str | None) -> Receipt:
        query = "select status, claims, worker, flow, key from runs where id = ?"
        for found, claims, worker, flow, key in list(db.execute(query, (mail.run,))):
            status, mail = status_from(mail.run, found), mail._replace(sent=self.clock())
            if (first := _first(db, mail)) is not None or status in TERMINAL or owner not in (None, worker):
                return Receipt(False, status, first)
            if mail.closes is not None and not _close(db, mail):
                return Receipt(False, status)
            if unbegun is not None and status in (Status.QUEUED, Status.HELD) and not claims:
                end = move(status, Event.CANCEL)
                db.execute(
                    "update runs set status = ?, reason = null, result = ?, seal = ?, ended = ? where id = ?",
                    (end, unbegun, crc32(unbegun), self.clock(), mail.run),
                )
                wake_parents(db, [mail.run])
                promote(db, [(flow, key) if key is not None else None])
                return Receipt(True, end)
            db.execute(
                "insert into mail(run, once, name, body, sent, checksum) values(?, ?, ?, ?, ?, ?)",
                (mail.run, mail.once, mail.name, mail.body, mail.sent, crc32(mail.body)),
            )
            wake(db, "id = ?", (mail.run,))
            if mail.name == "cancel":
                cancelling = "update runs set reason = ? where id = ? and status in ('queued', 'held')"
                db.execute(cancelling, (CANCELLING, mail.run))
            return Receipt(True, status)
        return Receipt(False, None)

    async def amend(self, change: Amend) -> bool:
        return await self._write(self._amend, change)

    def _amend(self, change: Amend) -> bool:
        with self._transaction() as db:
            query = "select status, worker, (select count(*) from entries where run = id) from runs where id = ?"
            if list(db.execute(query, (change.run,))) != [(change.status, None, change.length)]:
                return False
            for entry in change.entries:
                insert_entry(db, change.run, entry)
            if change.to is Status.QUEUED:
                db.execute(
                    "update runs set status = ?, reason = null, due = ?, ended = null, result = null, seal = null,"
                    " losses = 0, fallbacks = 0, step = null, error = null where id = ?",
                    (move(change.status, Event.REDRIVE), self.clock(), change.run),
                )
                db.execute("delete from mail where run = ? and name = 'cancel'", (change.run,))
                hold(db, change.run)
            else:
                db.execute("update runs set reason = ? where id = ?", (change.reason, change.run))
        return True


def _first(db: Database, mail: Mail) -> Mail | None:
    query = "select run, once, name, body, sent, null, null, number from mail where run = ? and once = ?"
    return next((Mail._make(row) for row in db.execute(query, (mail.run, mail.once))), None)


def _close(db: Database, mail: Mail) -> bool:
    db.execute(
        "update questions set decided = ?, by = ?, decision = ? where id = ? and run = ? and decided is null",
        (mail.sent, mail.by, mail.body, mail.closes, mail.run),
    )
    return db.changes() > 0


def ask(db: Database, questions: Sequence[Question]) -> None:
    """Put questions to people, whose entries are written in the same transaction."""
    db.executemany(
        "insert or ignore into questions(id, run, flow, step, attempt, assignee, asked, due, body, checksum)"
        " values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(*question[:9], crc32(question.body)) for question in questions],
    )


def take(db: Database, taken: Sequence[Took]) -> None:
    """Mark mail as taken by its run, in the transaction of the entries that it becomes."""
    db.executemany("update mail set taken = 1 where number = ?", [(took.mail,) for took in taken])


def withdraw(db: Database, runs: Sequence[str], at: float | None) -> None:
    """These runs have ended: nobody needs to answer what they asked, and what was sent to them is for nobody."""
    marks = ",".join("?" * len(runs))
    values: tuple[Any, ...] = (at, *runs)
    db.execute(f"update questions set decided = coalesce(?, asked) where run in ({marks}) and decided is null", values)
