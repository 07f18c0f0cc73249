"""Schedules in the SQLite store: how far each has been dealt with."""

from collections.abc import Collection

from segue.stores.sqlite_file import SqliteFile


class SqliteSchedules(SqliteFile):
    """What a store knows of schedules."""

    async def schedules(self, names: Collection[str]) -> dict[str, float]:
        return await self._read(self._schedules, list(names))

    def _schedules(self, names: list[str]) -> dict[str, float]:
        query = f"select name, upto from schedules where name in ({','.join('?' * len(names))})"
        return dict(self.reader.execute(query, names))  # pyright: ignore[reportArgumentType, reportCallIssue]

    async def advance(self, schedule: str, upto: float) -> None:
        await self._write(self._advance, schedule, upto)

    def _advance(self, schedule: str, upto: float) -> None:
        with self._one_process():
            self.db.execute(
                "insert into schedules values(?, ?, ?) on conflict(name) do update set upto = max(upto, excluded.upto)",
                (schedule, upto, self.clock()),
            )
