"""What came from outside and could not be taken, in an SQLite store."""

from zlib import crc32

from segue.errors import CorruptRecord, StoreFull
from segue.stores.base import KEPT, REJECTS, Reject
from segue.stores.sqlite_file import Database, SqliteFile

_COLUMNS = "number, source, at, reason, flow, body, size, dealt, once"


class SqliteRejects(SqliteFile):
    """Keeping what no run could be started for, until somebody has dealt with it."""

    most_rejects = REJECTS

    async def reject(self, reject: Reject) -> int:
        return await self._write(self._reject, reject)

    def _reject(self, reject: Reject) -> int:
        with self._transaction() as db:
            for (number,) in db.execute("select number from rejects where once = ?", (reject.once,)):
                return number
            self._make_room(db)
            body = reject.body[:KEPT]
            values = (reject.source, self.clock(), reject.reason, reject.flow, body, reject.size, crc32(body))
            written = db.execute(
                "insert into rejects(source, at, reason, flow, body, size, checksum, once)"
                " values(?, ?, ?, ?, ?, ?, ?, ?) returning number",
                (*values, reject.once),
            )
            return next(iter(list(written)))[0]

    def _make_room(self, db: Database) -> None:
        (found,) = next(iter(db.execute("select count(*) from rejects")))
        if (over := found + 1 - self.most_rejects) <= 0:
            return
        query = "select number from rejects where dealt is not null order by number limit ?"
        db.execute(f"delete from rejects where number in ({query})", (over,))
        if db.changes() < over:
            raise StoreFull(f"{found:,} rejects wait in {self.url}; no more are kept: deal with some (segue rejects)")

    async def rejects(self, limit: int, number: int | None = None, open: bool = True) -> list[Reject]:
        return await self._read(self._rejects, limit, number, open)

    def _rejects(self, limit: int, number: int | None, open: bool) -> list[Reject]:
        where = "number = ?1" if number is not None else "?1 is null" + " and dealt is null" * open
        query = f"select {_COLUMNS}, checksum from rejects where {where} order by number desc limit ?2"
        found: list[Reject] = []
        for *values, checksum in self.reader.execute(query, (number, limit)):
            reject = Reject._make(values)
            if crc32(reject.body) != checksum:
                raise CorruptRecord(f"reject {reject.number}: its body is not what was written")
            found.append(reject)
        return found

    async def deal(self, number: int, how: str) -> bool:
        return await self._write(self._deal, number, how)

    def _deal(self, number: int, how: str) -> bool:
        with self._transaction() as db:
            db.execute("update rejects set dealt = ? where number = ? and dealt is null", (how, number))
            return db.changes() > 0
