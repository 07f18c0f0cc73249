"""What steps share: a model or a connection pool, loaded once."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Generic, Literal, TypeVar, cast
from weakref import WeakKeyDictionary

from segue.errors import UsageError

log = logging.getLogger("segue")

T = TypeVar("T")
Scope = Literal["worker", "process"]


class Resource(Generic[T]):
    """An async generator function that yields once: what it yields is shared, what follows the yield cleans up."""

    def __init__(self, make: Callable[[], AsyncIterator[T]], scope: Scope) -> None:
        self.make, self.scope = make, scope
        self.name = make.__name__
        self.__doc__ = make.__doc__


class Use:
    """The default of a parameter that a resource fills."""

    def __init__(self, resource: Resource[Any]) -> None:
        self.resource = resource


class Shelf:
    """The resources of one worker, or of one process, that have been loaded."""

    def __init__(self) -> None:
        self._loading: dict[Resource[Any], asyncio.Task[Any]] = {}
        self._open: list[tuple[Resource[Any], AsyncGenerator[Any, None]]] = []

    async def get(self, resource: Resource[T]) -> T:
        """The shared value; loaded when somebody first asks, while the others wait.

        Loading goes on when the step that asked is cancelled: others may be waiting, and the next one will.
        """
        loading = self._loading.get(resource)
        if loading is None:
            loading = self._loading[resource] = asyncio.create_task(self._load(resource))
        return await asyncio.shield(loading)

    async def _load(self, resource: Resource[T]) -> T:
        generator = cast("AsyncGenerator[T, None]", resource.make())
        try:
            value = await anext(generator)
        except StopAsyncIteration:
            del self._loading[resource]
            raise UsageError(f"resource {resource.name!r} yielded nothing") from None
        except BaseException:
            del self._loading[resource]  # the next step tries again
            raise
        self._open.append((resource, generator))
        return value

    async def all(self, uses: dict[str, Resource[Any]]) -> dict[str, Any]:
        """The values for a step's parameters."""
        return {name: await self.get(used) for name, used in uses.items()}

    async def close(self) -> None:
        """Run what follows each yield, last loaded first."""
        for loading in self._loading.values():
            loading.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        while self._open:
            resource, generator = self._open.pop()
            try:
                await anext(generator, None)
                await generator.aclose()
            except Exception:
                log.exception("resource %r could not be closed", resource.name)
        self._loading.clear()


_shelves: WeakKeyDictionary[asyncio.AbstractEventLoop, Shelf] = WeakKeyDictionary()


def shelf_of_process() -> Shelf:
    """The resources of this process, on the running loop."""
    return _shelves.setdefault(asyncio.get_running_loop(), Shelf())
