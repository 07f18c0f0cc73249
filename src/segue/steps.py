"""``@step``: a function as a step, and ``@resource``: what steps share."""

import asyncio
import copy
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from functools import partial, update_wrapper
from typing import Any, Generic, Literal, ParamSpec, Self, TypeVar, cast, overload

from segue.declared import MISSING, Cached, Declaration, make_spec
from segue.drift import Drift
from segue.errors import DeclarationError, UnawaitedCall
from segue.limits import Breaker, Hedge, Rate
from segue.naming import check_name
from segue.outcomes import Outcome
from segue.policies import Duration, Retry, Timeout
from segue.runtime.context import HERE, Place
from segue.runtime.default import run_sync
from segue.runtime.outside import outcome_outside, outside
from segue.runtime.registry import add_step
from segue.runtime.resources import Resource, Scope, Use
from segue.runtime.spec import StepSpec
from segue.together import CONCURRENCY, map_over

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_UNSET: Any = object()


class Step(Generic[P, R]):
    """A function with a policy; calling it gives a coroutine.

    In a flow, what it returns is recorded, and not run again when the flow is resumed. Outside flows it is the plain
    function with its policy, so that it can be tested without an engine.

    Attributes:
        fn: the function as it was written.
        name: what it is called in records.
        declared: its policies.
    """

    def __init__(self, spec: StepSpec, declared: Declaration) -> None:
        self.spec = spec
        self.fn: Callable[..., Any] = spec.fn
        self.name = spec.name
        self.declared = declared
        self._at_once = CONCURRENCY
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

    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Outcome[R]]:
        """Call it for its outcome: a value and how it came about, or why there is none. It does not raise.

        >>> found = await congestion.outcome(area)
        >>> found.value_or(0.5), found.source
        (0.5, 'missing')
        """
        return self._outcome(args, kwargs)

    async def _outcome(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome[R]:
        here = HERE.get()
        if here is None or not here.in_flow:
            _refuse_coroutines(self.spec.name, args, kwargs)
            return await outcome_outside(self.spec, args, kwargs)
        place = cast("Place", here)
        call = place.run.ask(place, self.spec, args, kwargs)
        call.wanted = True
        return await call.answer()

    @overload
    def map(
        self, items: Iterable[Any], *, partial: Literal[False] = False, deadline: None = None, min_ok: int = 0
    ) -> Coroutine[Any, Any, list[R]]: ...
    @overload
    def map(
        self, items: Iterable[Any], *, partial: Literal[True], deadline: Duration | None = None, min_ok: int = 0
    ) -> Coroutine[Any, Any, list[Outcome[R]]]: ...
    def map(
        self, items: Iterable[Any], *, partial: bool = False, deadline: Duration | None = None, min_ok: int = 0
    ) -> Any:
        """Call it once for each item, some at a time, and give the results in the order of the items.

        ``options(concurrency=32)`` says how many at a time; 32 unless said.

        Args:
            items: taken one by one as there is room; ten thousand of them do not make ten thousand tasks.
            partial, deadline, min_ok: as in ``gather``.

        >>> embeddings = await embed.options(concurrency=8).map(chunks)
        """
        call = cast("Callable[[Any], Coroutine[Any, Any, Any]]", self)
        return map_over(
            call, items, name=self.name, concurrency=self._at_once, partial=partial, deadline=deadline, min_ok=min_ok
        )

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it and wait for the result, from code that is not async."""
        return run_sync(self._call(args, kwargs), f"{self.name}.run()")

    def options(
        self,
        *,
        retry: int | Retry | None = _UNSET,
        timeout: Duration | Timeout | None = _UNSET,
        check: Any = _UNSET,
        fallback: Any = _UNSET,
        degraded: Any = _UNSET,
        memoize: Duration | Cached | None = _UNSET,
        concurrency: int = _UNSET,
    ) -> Self:
        """The same step, with policies of its own for the calls that are made through it.

        Args:
            retry, timeout, check, fallback, degraded, memoize: as ``@step`` takes them.
            concurrency: how many calls ``map`` makes at a time.

        >>> await congestion.options(timeout="5s", retry=0)(area)
        """
        given = {"retry": retry, "timeout": timeout, "check": check, "fallback": fallback, "degraded": degraded}
        given = {name: value for name, value in {**given, "memoize": memoize}.items() if value is not _UNSET}
        declared = self.declared._replace(**given)
        spec = make_spec(self.spec.name, self.fn, declared)
        spec.origin, spec.owns_arguments = self.spec.origin, self.spec.owns_arguments
        spec.latency = self.spec.latency
        changed = copy.copy(self)
        changed.spec, changed.declared = spec, declared
        if concurrency is not _UNSET:
            changed._at_once = concurrency
        return changed

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
    parse: Literal["json"] | None = None,
    check: Any = None,
    fallback: Any = None,
    degraded: Any = MISSING,
    memoize: Duration | Cached | None = None,
    concurrency: int | None = None,
    rate: str | Rate | None = None,
    breaker: int | Breaker | None = None,
    shared: str | None = None,
    hedge: bool | Duration | Hedge | None = None,
    undo: Any = None,
    drift: Drift | None = None,
    name: str | None = None,
    version: str = "",
    process: bool = False,
) -> "_Decorator": ...
def step(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    **policies: Any,
) -> Any:
    """Make a function a step: a unit of work that is recorded, and recovered as declared.

    An async function runs on the event loop; a plain one in a thread, or in a process of its own. When an attempt
    fails, or what it gives is not good, the step climbs its ladder: retries, then fallbacks in order, then the
    ``degraded`` value; else it fails.

    Args:
        retry: retries after the first attempt, or a ``Retry``; none unless asked for.
        timeout: for each attempt; ``Timeout(attempt=, total=, minimum=)`` to bound all of them together.
        parse: ``"json"``: text that the function returns is read as JSON, and held to the return annotation.
        check: one or several functions of the result (and of inputs, by name): ``None`` or ``True`` passes; ``False``,
            a reason, or an exception does not. ``confident()`` and ``fresh()`` make such checks.
        fallback: what to take instead, one or a list in order: ``cached()``, another step, a function (of the same
            parameters, by name), a person (``escalate()``), a constant.
        degraded: a value of the declared type, for when all else has failed.
        memoize: take a good value that the step gave for the same input within this time, instead of calling it.
        concurrency: so many attempts at a time in this process.
        rate: so many may start in a time, such as ``"100/m"``.
        breaker: when to leave a failing service alone: a number of failures, or a ``Breaker``. While its circuit is
            open the step goes straight to its fallback.
        shared: a name: steps that give the same one share concurrency, rate and breaker.
        hedge: send a second request when the first takes long: after this time, or, for ``True``, after what 95 % of
            the last ones took. The first to succeed wins, the other is cancelled.
        undo: what undoes the step's effect, a step or function: called with the result, then the step's inputs, when
            the run fails or is cancelled afterwards. Effects are undone in reverse order, each with its own retries.
        drift: what to watch of its results, and what to do when they no longer look as they used to: ``Drift``.
        name: what it is called in records; by default the function's name.
        version: noted with the step, for your own use; kept values are those of the same version.
        process: run the plain function in a process, which a timeout can really end.

    A parameter named ``feedback`` with a default is given the reason for the last failure, so that a model can repair
    its answer.

    Raises:
        DeclarationError: a policy or name is not valid, or the name is taken.

    >>> @step(retry=2, timeout="30s", check=confident(0.7), fallback=[cached("1h"), 0.5])
    ... async def congestion(area: str) -> float: ...
    """
    declare = partial(_declare, name=name, declared=_declaration(policies))
    return declare if fn is None else declare(fn)


def _declaration(policies: dict[str, Any]) -> Declaration:
    if unknown := [name for name in policies if name not in Declaration._fields]:
        import difflib

        near = difflib.get_close_matches(unknown[0], Declaration._fields, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(('name', *Declaration._fields))}"
        raise TypeError(f"@step does not take {unknown[0]!r}{hint}")
    return Declaration(**policies)


class _Decorator:
    """What ``@step(...)`` is to a type checker: it keeps the function's parameters and result."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...
    def __call__(self, fn: Any, /) -> Any: ...


def _declare(fn: Callable[..., Any], *, name: str | None, declared: Declaration) -> Step[Any, Any]:
    spec = make_spec(check_name("step", name if name is not None else fn.__name__), fn, declared)
    made: Step[Any, Any] = Step(spec, declared)
    add_step(spec, explicit=name is not None)
    return made


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
