"""How far the schedules of an SQLite store have come."""

from collections.abc import Sequence

from segue.core.ticks import Progress
from segue.stores.sqlite_file import SqliteFile


class SqliteSchedules(SqliteFile):
    """Progress by the schedule's name, which only whoever knows how it stands can change."""

    async def schedules(self, names: Sequence[str]) -> dict[str, Progress]:
        return await self._read(self._schedules, names)

    def _schedules(self, names: Sequence[str]) -> dict[str, Progress]:
        marks = ",".join("?" * len(names))
        query = f"select name, upto, planned from schedules where name in ({marks})"
        return {name: Progress(upto, planned) for name, upto, planned in self.reader.execute(query, tuple(names))}

    async def progress(self, name: str, was: Progress | None, to: Progress) -> bool:
        return await self._write(self._progress, name, was, to)

    def _progress(self, name: str, was: Progress | None, to: Progress) -> bool:
        with self._transaction() as db:
            if was is None:
                db.execute("insert or ignore into schedules(name, upto, planned) values(?, ?, ?)", (name, *to))
            else:
                db.execute(
                    "update schedules set upto = ?, planned = ? where name = ? and upto = ? and planned = ?",
                    (*to, name, *was),
                )
            return db.changes() > 0
