"""A store for commands that execute nothing: read, and written to, without joining it as a worker."""

import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from segue.core.entries import Entry
from segue.errors import UnknownRun, UsageError
from segue.runtime.settings import default_store
from segue.stores.artifacts import Artifacts
from segue.stores.base import Query, Row, Store
from segue.stores.sqlite import SqliteStore
from segue.stores.urls import open_url

if TYPE_CHECKING:
    from segue.inspection import Fetch, RunRecord

T = TypeVar("T")

EVERY = 1_000_000
"""A limit that is none."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A store that is open for reading."""

    store: Store
    fetch: "Fetch"

    async def row(self, wanted: str) -> Row:
        """The run that an id, its beginning or end, or ``last`` names.

        Raises:
            UnknownRun: there is none, or more than one.
        """
        rows = await (self._last() if wanted == "last" else self._matching(wanted))
        if not rows:
            some = "it has no run yet" if wanted == "last" else "see which there are with: segue runs"
            raise UnknownRun(f"no run {wanted!r} in {self.store.url}: {some}")
        if len(rows) > 1:
            some = ", ".join(row.id for row in rows[:5]) + (", …" if len(rows) > 5 else "")
            raise UnknownRun(f"{wanted!r} fits {len(rows)} runs: {some}. Give more of the id")
        return rows[0]

    async def _last(self) -> list[Row]:
        """The newest run that no other run has called."""
        limit = 10
        while True:
            rows = await self.store.find(Query(limit=limit))
            found = [row for row in rows if row.parent is None][:1]
            if found or len(rows) < limit:
                return found
            limit *= 10

    async def _matching(self, wanted: str) -> list[Row]:
        if exact := await self.store.find(Query(id=wanted)):
            return exact
        if len(wanted) < 4:
            raise UnknownRun(f"{wanted!r} is too short for a part of an id: give at least 4 characters, or: last")
        rows = await self.store.find(Query(text=wanted, limit=100))
        found = {row.id for row in rows}
        return [row for row in rows if row.parent not in found]  # child runs begin as the run does that called them

    async def load(self, id: str) -> tuple[Row, list[Entry]]:
        """A run with its journal.

        Raises:
            UnknownRun: there is none.
        """
        loaded = await self.store.load(id)
        if loaded is None:
            raise UnknownRun(f"no run has the id {id!r} in {self.store.url}")
        return loaded

    async def record(self, id: str, *, whole: bool) -> "RunRecord":
        """A run with its steps.

        Args:
            whole: load large values too.
        """
        from segue.inspection import timeline

        row, entries = await self.load(id)
        children = await self.store.find(Query(parent=id, limit=EVERY))
        return timeline(row, entries, children[::-1], self.fetch if whole else None)

    async def orphans(self) -> set[str]:
        """Runs that count as running, and whose worker is dead."""
        return await self.store.orphans()

    async def misnamed(self, flow: str | None) -> str:
        """What to say where nothing was found of a flow that has no runs at all; otherwise nothing."""
        if flow is None or flow in (flows := await self.store.flows()):
            return ""
        from difflib import get_close_matches

        near = get_close_matches(flow, flows, 3, 0.5) or flows[:5]
        there = f"; there are runs of {', '.join(near)}{' …' * (len(near) < len(flows))}" if near else ""
        return f"no run of a flow {flow!r} is in {self.store.url}{there}"

    def now(self) -> float:
        """The time by which this store's runs are dated."""
        return time.time()


def at_once(reading: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing but an archive, whose store blocks. No loop: to import it alone
    takes as long as to read."""
    try:
        reading.send(None)
    except StopIteration as done:
        return done.value
    reading.close()
    raise RuntimeError("it waits for something")


@asynccontextmanager
async def archive(url: str | None) -> AsyncGenerator[Archive, None]:
    """Open a store to read it. One that does not exist is not made.

    Raises:
        UnknownRun: there is no such store.
    """
    store = open_url(url or default_store())
    if not isinstance(store, SqliteStore) or store.path is None:
        raise UsageError(f"{store.url} lives in one process, and cannot be read from another: name one with --store")
    if not store.path.exists():
        raise NoStore(store.url)
    reader = store.sibling()
    await reader.open()
    try:
        yield Archive(reader, artifacts_of(store).fetch)
    finally:
        await reader.close()


def artifacts_of(store: SqliteStore) -> Artifacts:
    """Where an SQLite store keeps its large values."""
    assert store.path is not None
    return Artifacts.beside(store.path)


class NoStore(UnknownRun):
    """Nothing has run there yet."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"there is no store {url}: nothing has run yet, or --store names another place than the runs did"
        )
