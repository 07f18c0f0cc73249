"""Looking at a store by plain SQL, and waiting for what will be seen there."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw


def connected(path: Path) -> Any:
    """A connection of one's own; apsw's types are only partly known."""
    db: Any = apsw.Connection(str(path))
    db.set_busy_timeout(10_000)
    return db


def select(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds."""
    db = connected(path)
    try:
        return list(db.execute(query))
    finally:
        db.close()


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop turns until it holds; the caller bounds the time."""
    while not condition():  # noqa: ASYNC110 - there is no event for what another process does to a file
        await asyncio.sleep(0)
