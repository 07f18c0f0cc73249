"""Where tests play flows: an engine in memory, what happened on it, and the same run once more."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from segue import Flow
from segue.core.entries import Entry
from segue.runtime.engine import Engine, Told
from segue.runtime.tickets import Options, Ticket
from segue.stores.sqlite import SqliteStore

P = ParamSpec("P")
R = TypeVar("R")


def asynchronous(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """An async test: on a loop of its own, for 20 seconds at most."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 20))

    return run


class Stage:
    """An engine on a store in memory.

    Attributes:
        heard: what the engine told, in order.
    """

    def __init__(self, engine: Engine, store: SqliteStore) -> None:
        self.engine, self.store = engine, store
        self.heard: list[Told] = []
        engine.watchers.append(self.heard.append)

    async def play(self, flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a flow as the run ``main``."""
        ticket = await self.engine.launch(flow.spec, args, kwargs, Options(id="main"), wait=True)
        return await ticket.result()

    async def again(self, flow: Flow[..., R], *, upto: int | None = None) -> R:
        """Run it once more from its journal, or the journal's beginning, as after a crash of its worker."""
        self.heard.clear()
        with self.store._lock:  # pyright: ignore[reportPrivateUsage]
            if upto is not None:
                self.store.db.execute("delete from entries where run = 'main' and seq >= ?", (upto,))
            self.store.db.execute(
                "update runs set status = 'queued', worker = null, reason = null, result = null, seal = null,"
                " ended = null"
                " where id = 'main'"
            )
        self.engine.nudge()
        return await Ticket(self.engine, flow.spec, "main", 0.0).result()

    async def journal(self, run: str = "main") -> list[Entry]:
        """What is recorded of a run."""
        loaded = await self.store.load(run)
        assert loaded is not None
        return loaded[1]

    def attempts(self) -> list[tuple[str, int]]:
        """The bodies that ran: their steps and attempts."""
        return [(told.data["step"], told.data["attempt"]) for told in self.heard if told.what == "attempt"]


@contextlib.asynccontextmanager
async def stage(**options: Any) -> AsyncGenerator[Stage, None]:
    """An engine on a store in memory, entered: calls in this block use it."""
    store = SqliteStore(None)
    async with Engine(store, **options) as engine:
        yield Stage(engine, store)
