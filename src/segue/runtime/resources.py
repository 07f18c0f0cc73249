"""What steps share: a model or a connection pool, loaded once."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any, Generic, Literal, TypeVar
from weakref import WeakKeyDictionary

from segue.errors import UsageError

log = logging.getLogger("segue")

T = TypeVar("T")
Scope = Literal["worker", "process"]


class Resource(Generic[T]):
    """An async generator function that yields once: what it yields is shared, what follows the yield cleans up."""

    def __init__(self, make: Callable[[], AsyncGenerator[T, None]], scope: Scope) -> None:
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
        self._loaded: dict[Resource[Any], asyncio.Future[Any]] = {}
        self._open: list[tuple[Resource[Any], AsyncGenerator[Any, None]]] = []

    async def get(self, resource: Resource[T]) -> T:
        """The shared value; loaded by whoever asks first, while the others wait."""
        future = self._loaded.get(resource)
        if future is None:
            future = self._loaded[resource] = asyncio.get_running_loop().create_future()
            generator = resource.make()
            try:
                future.set_result(await anext(generator))
            except BaseException as error:
                del self._loaded[resource]  # the next step tries again
                if isinstance(error, StopAsyncIteration):
                    error = UsageError(f"resource {resource.name!r} yielded nothing")
                if not future.done():
                    future.set_exception(error)
                    future.exception()
                raise error from None
            self._open.append((resource, generator))
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Run what follows each yield, last loaded first."""
        while self._open:
            resource, generator = self._open.pop()
            try:
                await anext(generator, None)
                await generator.aclose()
            except Exception:
                log.exception("resource %r could not be closed", resource.name)
        self._loaded.clear()


_shelves: WeakKeyDictionary[asyncio.AbstractEventLoop, Shelf] = WeakKeyDictionary()


def shelf_of_process() -> Shelf:
    """The resources of this process, on the running loop."""
    return _shelves.setdefault(asyncio.get_running_loop(), Shelf())
