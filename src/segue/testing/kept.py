"""Resources that outlive the worlds of a test: a model that takes long to load is loaded once for all runs."""

import asyncio
import threading
import time
from types import TracebackType
from typing import Any

from segue.runtime.resources import Resource, Shelf

SLOW = 0.05
"""Seconds. What loads faster, such as a client that belongs to one event loop, is loaded in each world anew."""


class Kept:
    """The slow resources of several worlds, on a loop and thread of their own.

    They are made and closed there; the steps that use them run elsewhere, as they do with a shared model.
    """

    def __init__(self) -> None:
        self._slow: set[Resource[Any]] = set()
        self._values: dict[Resource[Any], tuple[Any]] = {}
        self._shelf = Shelf()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def watch(self, shelf: Shelf) -> None:
        """See which of this shelf's resources are slow."""
        load = shelf._load  # pyright: ignore[reportPrivateUsage]

        async def timed(resource: Resource[Any]) -> Any:
            began = time.monotonic()
            value = await load(resource)
            if time.monotonic() - began > SLOW:
                self._slow.add(resource)
            return value

        shelf._load = timed  # pyright: ignore[reportPrivateUsage]

    def stand_in(self, resource: Resource[Any]) -> tuple[Any] | None:
        """The value to use, if the resource is slow. The first time, the caller waits while it is loaded."""
        if resource not in self._slow:
            return None
        if resource not in self._values:
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=loop.run_forever, name="segue-kept", daemon=True)
                self._thread.start()
            loading = asyncio.run_coroutine_threadsafe(self._shelf.get(resource), self._loop)
            self._values[resource] = (loading.result(),)
        return self._values[resource]

    def __enter__(self) -> "Kept":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._shelf.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
