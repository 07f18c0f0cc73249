"""Each of our stores keeps the promises of a store."""

import asyncio
from pathlib import Path

import pytest

from segue.stores.base import Query, Store
from segue.stores.sqlite import SqliteStore
from segue.testing.turns import KeyPromises


class TestInMemory(KeyPromises):
    def make_store(self) -> Store:
        return SqliteStore(None, clock=self.clock)


class TestInAFile(KeyPromises):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_store(self) -> Store:
        return SqliteStore(self.folder / "runs.db", durability="process", clock=self.clock)


class TestInAFileForItsThread(TestInAFile):
    def make_store(self) -> Store:
        return SqliteStore(self.folder / "runs.db", durability="process", blocking=True, clock=self.clock)


def test_a_store_of_the_format_before_is_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    async def old() -> None:
        store = SqliteStore(path, blocking=True)
        await store.open()
        store.db.execute("drop index runs_lane; drop table seen")
        store.db.execute("alter table runs drop column key; alter table runs drop column frees")
        store.db.execute("alter table runs drop column merges; alter table runs drop column expires")
        store.db.execute("drop table rejects; drop table schedules")
        store.db.execute(
            "insert into runs(id, flow, version, code, status, origin, priority, due, created, claims,"
            " claim_seq, losses, input, checksum) values('a', 'f', '', '', 'queued', 'w', 0, 0, 0, 0, 0, 0, x'80', 0)"
        )
        store.db.execute("pragma user_version = 3")
        await store.close()

    async def new() -> None:
        store = SqliteStore(path, blocking=True)
        await store.open()
        [row] = await store.find(Query())
        assert (row.id, row.key, row.frees, row.lane) == ("a", None, False, None)
        assert await store.lanes() == []
        await store.close()

    asyncio.run(old())
    asyncio.run(new())
