"""Each of our stores keeps the promises of a store."""

from pathlib import Path

import pytest

from segue.stores.base import Store
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
