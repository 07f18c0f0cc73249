"""Each of our stores keeps the promises of a store."""

import asyncio
from pathlib import Path

import pytest

from segue.errors import CorruptRecord, StoreFull
from segue.stores.base import Query, Reject, Store
from segue.stores.sqlite import SqliteStore
from segue.testing.rejects import RejectPromises
from segue.testing.turns import KeyPromises


class TestInMemory(KeyPromises, RejectPromises):
    def make_store(self) -> Store:
        return SqliteStore(None, clock=self.clock)


class TestInAFile(KeyPromises, RejectPromises):
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


def test_a_reject_that_was_damaged_is_told(tmp_path: Path) -> None:
    async def whole() -> None:
        store = SqliteStore(tmp_path / "runs.db", blocking=True)
        await store.open()
        number = await store.reject(Reject(0, "webhook /a", 0.0, "it is not JSON", None, b"{", 1))
        store.db.execute("update rejects set body = x'00'")
        with pytest.raises(CorruptRecord, match=f"reject {number}"):
            await store.rejects(10)
        await store.close()

    asyncio.run(whole())


def test_rejects_that_were_dealt_with_make_room_and_others_never() -> None:
    async def whole() -> None:
        store = SqliteStore(None)
        store.most_rejects = 3
        await store.open()

        async def reject(once: str) -> int:
            return await store.reject(Reject(0, "a", 0.0, "no", None, b"", 0, once=once))

        numbers = [await reject(str(n)) for n in range(3)]
        with pytest.raises(StoreFull, match="segue rejects"):
            await reject("3")
        assert await reject("2") == numbers[2]
        assert [one.number for one in await store.rejects(10, open=False)] == numbers[::-1]
        assert await store.deal(numbers[1], "done")
        fourth = await reject("3")
        assert [one.number for one in await store.rejects(10, open=False)] == [fourth, numbers[2], numbers[0]]
        await store.close()

    asyncio.run(whole())
