"""``@step``: a function as a step, and ``@resource``: what steps share."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from segue.errors import DeclarationError, UnawaitedCall
from segue.policies import Duration, Retry, Timeout, as_retry, as_timeout
from segue.runtime.calls import in_thread, outside
from segue.runtime.context import HERE, Place
from segue.runtime.default import run_sync
from segue.runtime.registry import add_step
from segue.runtime.resources import Resource, Scope, Use
from segue.runtime.spec import Form, StepSpec

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Step(Generic[P, R]):
    """A function with a policy; calling it gives a coroutine.

    In a flow, what it returns is recorded, and not run again when the flow is resumed. Outside flows it is the plain
    function with its policy, so that it can be tested without an engine.

    Attributes:
        fn: the function as it was written.
        name: what it is called in records.
    """

    def __init__(self, spec: StepSpec) -> None:
        self.spec = spec
        self.fn: Callable[..., Any] = spec.fn
        self.name = spec.name
        update_wrapper(self, spec.fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        return self._call(args, kwargs)

    async def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        here = HERE.get()
        if here is None or not here.in_flow:
            _refuse_coroutines(self.spec.name, args, kwargs)
            return await outside(self.spec, args, kwargs)
        place = cast("Place", here)
        call = place.run.ask(place, self.spec, args, kwargs)
        try:
            return await call.future
        except asyncio.CancelledError:
            await place.run.abandon(call)

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it and wait for the result, from code that is not async."""
        return run_sync(self._call(args, kwargs), f"{self.name}.run()")

    def __repr__(self) -> str:
        return f"<step {self.name}>"


def _refuse_coroutines(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if inspect.iscoroutine(value):
            value.close()
            raise UnawaitedCall(f"the input of step {name!r} holds a call that was not awaited: write await before it")


@overload
def step(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
@overload
def step(fn: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    retry: int | Retry | None = None,
    timeout: Duration | Timeout | None = None,
    name: str | None = None,
    version: str = "",
    process: bool = False,
) -> "_Decorator": ...
def step(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    retry: int | Retry | None = None,
    timeout: Duration | Timeout | None = None,
    name: str | None = None,
    version: str = "",
    process: bool = False,
) -> Any:
    """Make a function a step: a unit of work that is recorded, retried and bounded as declared.

    An async function runs on the event loop; a plain one in a thread, or in a process of its own.

    Args:
        retry: retries after the first attempt, or a ``Retry``; none unless asked for.
        timeout: for each attempt; ``Timeout(attempt=, total=)`` to bound all of them together.
        name: what it is called in records; by default the function's name.
        version: noted with the step, for your own use.
        process: run the plain function in a process, which a timeout can really end.

    Raises:
        DeclarationError: a policy or name is not valid, or the name is taken.

    >>> @step(retry=2, timeout="30s")
    ... async def fetch(url: str) -> str:
    ...     return f"page at {url}"
    """
    declare = partial(_declare, retry=retry, timeout=timeout, name=name, version=version, process=process)
    return declare if fn is None else declare(fn)


class _Decorator:
    """What ``@step(...)`` is to a type checker: it keeps the function's parameters and result."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...
    def __call__(self, fn: Any, /) -> Any: ...


def _declare(
    fn: Callable[..., Any],
    *,
    retry: int | Retry | None,
    timeout: Duration | Timeout | None,
    name: str | None,
    version: str,
    process: bool,
) -> Step[Any, Any]:
    checked_name = check_name("step", name if name is not None else fn.__name__)
    spec = make_spec(checked_name, fn, retry=retry, timeout=timeout, version=version, process=process)
    made: Step[Any, Any] = Step(spec)
    add_step(spec, explicit=name is not None)
    return made


def make_spec(
    name: str,
    fn: Callable[..., Any],
    *,
    retry: int | Retry | None,
    timeout: Duration | Timeout | None,
    version: str = "",
    process: bool = False,
) -> StepSpec:
    """Compile a step, without making its name known."""
    if isinstance(fn, Step | Resource):
        raise DeclarationError(f"step {name!r}: it is declared a step or resource already")
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise DeclarationError(f"step {name!r} is a generator; a step returns one value, such as a list")
    is_async = inspect.iscoroutinefunction(fn)
    if process and is_async:
        raise DeclarationError(f"step {name!r}: process=True takes a plain function, not an async one")
    uses = {n: p.default.resource for n, p in inspect.signature(fn).parameters.items() if isinstance(p.default, Use)}
    form: Form = "async" if is_async else "process" if process else "thread"
    spec = StepSpec(name, fn, fn, form, as_retry(retry), as_timeout(timeout), version, uses)
    if process:
        if any(resource.scope == "worker" for resource in uses.values()):
            raise DeclarationError(f"step {name!r} runs in a process of its own: its resources need scope='process'")

        async def begin_process(*args: Any, **kwargs: Any) -> Any:
            from segue.runtime.processes import in_process

            return await in_process(spec, args, kwargs)

        spec.begin = begin_process
        return spec
    if not is_async:

        async def begin_thread(*args: Any, **kwargs: Any) -> Any:
            return await in_thread(fn, args, kwargs)

        spec.begin = begin_thread
    return spec


def check_name(kind: str, name: str) -> str:
    """The name, if it can be part of an identity.

    Raises:
        DeclarationError: it cannot.
    """
    if not name or len(name) > 100 or not name.isprintable() or any(c in name for c in "/#@") or name != name.strip():
        raise DeclarationError(
            f"a {kind}'s name is 1 to 100 printable characters without '/', '#' and '@', not {name!r:.120}"
        )
    return name


@overload
def resource(make: Callable[[], AsyncIterator[T]], /) -> Resource[T]: ...
@overload
def resource(*, scope: Scope = "worker") -> Callable[[Callable[[], AsyncIterator[T]]], Resource[T]]: ...
def resource(make: Any = None, /, *, scope: Scope = "worker") -> Any:
    """Something that steps share, such as a model or a connection pool: loaded once, when a step first needs it.

    Args:
        scope: ``"worker"`` is closed with the engine; ``"process"`` lives as long as the process, and may be used by
            ``process=True`` steps, once in each of their processes.

    >>> @resource
    ... async def model():
    ...     yield "weights"
    ...     print("closed")
    >>> @step
    ... async def classify(text: str, weights: str = use(model)) -> str: ...
    """

    def declare(make: Callable[[], AsyncIterator[T]]) -> Resource[T]:
        if not inspect.isasyncgenfunction(make):
            raise DeclarationError(f"a resource is an async generator function that yields once, not {make!r}")
        if inspect.signature(make).parameters:
            raise DeclarationError(f"resource {make.__name__!r} takes no parameters")
        if scope not in ("worker", "process"):
            raise DeclarationError(f"resource {make.__name__!r}: scope is 'worker' or 'process', not {scope!r}")
        return Resource(make, scope)

    return declare if make is None else declare(make)


def use(source: Resource[T]) -> T:
    """As a parameter's default: the engine fills it with the resource's value.

    >>> @step
    ... async def classify(text: str, weights: str = use(model)) -> str: ...
    """
    if not isinstance(source, Resource):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"use() takes a @resource, not {source!r}")
    return cast("T", Use(source))
