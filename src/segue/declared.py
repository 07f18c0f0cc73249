"""Declarations compiled: a function and its policies as a ``StepSpec``, with the rungs of its ladder."""

import inspect
import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

from segue.checks import compiled
from segue.drift import Drift
from segue.errors import DeclarationError, Unstorable
from segue.keys import misnamed
from segue.limits import Breaker, Hedge, Limits, Rate, as_breaker, as_concurrency, as_hedge, as_rate
from segue.policies import Duration, Retry, Timeout, as_retry, as_timeout, seconds
from segue.runtime.calls import in_thread
from segue.runtime.controls import declare
from segue.runtime.resources import Resource, Use
from segue.runtime.spec import Asking, Form, Keep, Rung, StepSpec
from segue.values import Unread

MISSING: Any = inspect.Parameter.empty
"""Nothing was declared; ``None`` is a value like another."""


class Cached(NamedTuple):
    """A rung of the ladder. See ``cached``."""

    max_age: float | None
    key: "str | Callable[..., Any] | None"


def cached(max_age: Duration | None = None, *, key: "str | Callable[..., Any] | None" = None) -> Cached:
    """A fallback: the last good value that the step itself gave for the same input, in any run on this store.

    Args:
        max_age: an older one is not taken.
        key: what must be the same, if it is not the whole input: a path over the parameters, or a function of some.

    >>> @step(retry=2, fallback=cached(max_age="1h", key="area.id"))
    ... async def congestion(area: Area) -> float: ...
    """
    return Cached(None if max_age is None else seconds(max_age), key)


class Declaration(NamedTuple):
    """Everything that ``@step`` takes about how its function runs."""

    retry: int | Retry | None = None
    timeout: Duration | Timeout | None = None
    version: str = ""
    process: bool = False
    parse: Literal["json"] | None = None
    check: Any = None
    fallback: Any = None
    degraded: Any = MISSING
    memoize: Duration | Cached | None = None
    concurrency: int | None = None
    rate: str | Rate | None = None
    breaker: int | Breaker | None = None
    shared: str | None = None
    hedge: bool | Duration | Hedge | None = None
    undo: Any = None
    drift: Drift | None = None


def make_spec(name: str, fn: Callable[..., Any], given: Declaration = Declaration()) -> StepSpec:  # noqa: B008 - frozen
    """Compile a step, without making its name known.

    Raises:
        DeclarationError: a policy is wrong, or does not fit the function.
    """
    what = f"step {name!r}"
    if hasattr(fn, "spec") or isinstance(fn, Resource):
        raise DeclarationError(f"{what}: it is declared a step or resource already")
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise DeclarationError(f"{what} is a generator; a step returns one value, such as a list")
    is_async = inspect.iscoroutinefunction(fn)
    if given.process and is_async:
        raise DeclarationError(f"{what}: process=True takes a plain function, not an async one")
    if given.parse not in (None, "json"):
        raise DeclarationError(f"{what}: parse is 'json' or None, not {given.parse!r}")
    signature = inspect.signature(fn)
    uses = {n: p.default.resource for n, p in signature.parameters.items() if isinstance(p.default, Use)}
    form: Form = "async" if is_async else "process" if given.process else "thread"
    spec = StepSpec(name, fn, fn, form, as_retry(given.retry), as_timeout(given.timeout), given.version, uses)
    if form == "process" and any(resource.scope == "worker" for resource in uses.values()):
        raise DeclarationError(f"{what} runs in a process of its own: its resources need scope='process'")
    spec.begin = _begin(spec)
    parameters = tuple(spec.inputs.signature.parameters)
    spec.parse = given.parse
    checks = compiled(what, given.check, parameters)
    spec.early = tuple(check for check in checks if check.early)
    spec.checks = tuple(check for check in checks if not check.early)
    spec.looks = any(check.inputs for check in spec.checks)
    feedback = signature.parameters.get("feedback")
    if feedback is not None and feedback.default is feedback.empty:
        raise DeclarationError(f"{what}: its parameter 'feedback' is None at first: write feedback: str | None = None")
    spec.feedback = feedback is not None
    _make_limits(spec, given)
    spec.direct = spec.direct and spec.limits is None and spec.hedge is None
    if given.undo is not None:
        spec.undo = _undo(what, given.undo, parameters)
    _make_ladder(spec, given, parameters)
    if given.drift is not None:
        _watch(spec, given.drift)
    spec.plain = not (spec.parse or spec.checks or spec.keep or spec.drift)
    return spec


def _begin(spec: StepSpec) -> Callable[..., Any]:
    fn = spec.fn
    if spec.form == "async":
        return fn
    if spec.form == "process":

        async def begin_process(*args: Any, **kwargs: Any) -> Any:
            from segue.runtime.processes import in_process

            return await in_process(spec, args, kwargs)

        return begin_process

    async def begin_thread(*args: Any, **kwargs: Any) -> Any:
        return await in_thread(fn, args, kwargs)

    return begin_thread


def _make_limits(spec: StepSpec, given: Declaration) -> None:
    limits = Limits(as_concurrency(given.concurrency), as_rate(given.rate), as_breaker(given.breaker))
    spec.hedge = as_hedge(given.hedge)
    if limits != Limits():
        spec.limits, spec.shared = limits, given.shared
        if given.shared is not None:
            declare(given.shared, limits)
    elif given.shared is not None:
        raise DeclarationError(f"step {spec.name!r} shares {given.shared!r}, and has no concurrency, rate or breaker")


def _watch(spec: StepSpec, drift: Drift) -> None:
    what = f"step {spec.name!r}"
    if not isinstance(drift, Drift):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{what}: drift is a Drift(on=…), not {drift!r:.80}")
    if drift.then == "fallback" and len(spec.rungs) < 2:
        raise DeclarationError(f"{what}: drift then='fallback' needs fallbacks to go to: fallback=, or degraded=")
    if drift.then == "fallback" and spec.undo is not None:
        raise DeclarationError(f"{what}: drift then='fallback' calls it now and then only to look; it has undo=")
    if lacking := drift.lacking():
        raise DeclarationError(f"{what}: drift= needs {lacking}, which is not installed: pip install 'segue[drift]'")
    for one in drift.signals():
        if one.path and (problem := misnamed(spec, ["return", *one.path.split(".")], ["return"])):
            raise DeclarationError(f"{what}: drift on={one.path!r}: {problem}")
    spec.drift = drift


def _make_ladder(spec: StepSpec, given: Declaration, parameters: tuple[str, ...]) -> None:
    what = f"step {spec.name!r}"
    rungs = [Rung(spec.name, "model", spec)]
    several = _listed(given.fallback)
    keys: list[Cached] = []
    for fallback in several:
        if fallback is cached:
            fallback = cached()
        if isinstance(fallback, Cached):
            keys.append(fallback)
            rungs.append(Rung("cached", "cached", max_age=fallback.max_age, instant=True))
        elif isinstance(fallback, Asking):
            name = " or ".join(name for name in fallback.assignees if name is not None) or "a person"
            rungs.append(Rung(name, "human", ask=fallback, instant=True))
        elif isinstance(other := getattr(fallback, "spec", None), StepSpec):
            rungs += _rungs_of_another(what, other, parameters)
        elif other is not None:
            raise DeclarationError(f"{what}: its fallback {fallback!r} is a flow; a fallback is a step or a function")
        elif callable(fallback):
            rungs.append(_function(what, fallback, parameters))
        else:
            rungs.append(Rung(f"{fallback!r:.40}", "fallback", value=fallback, instant=True))
    if given.degraded is not MISSING:
        rungs.append(Rung("degraded", "degraded", value=given.degraded, instant=True))
    _refuse_unfit(spec, rungs)
    memoize = given.memoize
    if memoize is not None and not isinstance(memoize, Cached):
        memoize = cached(memoize, key=keys[0].key if keys else None)
    if memoize is not None:
        spec.memo = memoize.max_age if memoize.max_age is not None else float("inf")
        keys.append(memoize)
    if len({id(key.key) if callable(key.key) else key.key for key in keys}) > 1:
        raise DeclarationError(f"{what}: cached() and memoize must have the same key")
    if keys:
        spec.keep = Keep(*_key(what, keys[0].key, parameters))
    spec.rungs = tuple(rungs)
    spec.instant = tuple(rung.instant for rung in rungs)
    spec.human = any(rung.ask is not None for rung in rungs)
    spec.reversible = any(rung.spec is not None and rung.spec.undo is not None for rung in rungs)
    spec.bounded = any(rung.spec is not None and rung.spec.limited for rung in rungs)


def _refuse_unfit(spec: StepSpec, rungs: list[Rung]) -> None:
    """Raise if a constant is not of the declared type, as far as that can be known yet."""
    for rung in rungs:
        if rung.spec is None and rung.source not in ("cached", "human"):
            try:
                spec.output.encode(rung.value)
            except Unstorable as error:
                which = "degraded" if rung.source == "degraded" else "fallback"
                raise DeclarationError(f"step {spec.name!r}: {which}={rung.value!r:.80}: {error.problem}") from None
            except DeclarationError:  # an annotation names what is defined further down
                return


def _undo(what: str, undo: Any, parameters: tuple[str, ...]) -> tuple[StepSpec, int]:
    """What undoes the step, and how many of the step's inputs it takes after the result."""
    made = getattr(undo, "spec", None)
    if not isinstance(made, StepSpec):
        if made is not None or not callable(undo):
            raise DeclarationError(f"{what}: undo is a step, or a function, not {undo!r:.80}")
        made = make_spec(getattr(undo, "__name__", "undo"), undo)
        made.output = Unread(f"what undo {made.name!r} returned")
    theirs = list(made.inputs.signature.parameters.values())
    several = any(p.kind is p.VAR_POSITIONAL for p in theirs)
    places = [p for p in theirs if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in theirs if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not (places or several) or len(needed) > len(parameters) + 1 or any(p not in places for p in needed):
        raise DeclarationError(
            f"{what}: undo {made.name!r} is called with the step's result, then its inputs "
            f"({', '.join(('result', *parameters))}), and takes {made.inputs.signature}"
        )
    return made, sys.maxsize if several else len(places) - 1


def _listed(declared: Any) -> list[Any]:
    if declared is None:
        return []
    if isinstance(declared, list | tuple) and not isinstance(declared, Cached | Asking):
        return list(cast("list[Any]", declared))
    return [declared]


def _rungs_of_another(what: str, other: StepSpec, parameters: tuple[str, ...]) -> list[Rung]:
    """The rungs that a step brings as a fallback: itself, and its own fallbacks, called with its own arguments."""
    signature = other.inputs.signature
    taken = _taken(what, other.name, signature, parameters)
    defaults = {
        name: p.default for name, p in signature.parameters.items() if name not in taken and p.default is not p.empty
    }
    made: list[Rung] = []
    for rung in other.rungs:
        if rung.source == "cached":
            continue
        if rung.spec is other:
            made.append(rung._replace(source="fallback", taken=taken))
        else:
            theirs = rung.taken or ()
            more = {name: defaults[name] for name in theirs if name in defaults}
            made.append(rung._replace(taken=tuple(n for n in theirs if n in taken), defaults={**rung.defaults, **more}))
    return made


def _function(what: str, fn: Callable[..., Any], parameters: tuple[str, ...]) -> Rung:
    name = getattr(fn, "__name__", type(fn).__name__)
    name = "fallback" if name == "<lambda>" else name
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        raise DeclarationError(
            f"{what}: fallback {name!r} does not tell its parameters; wrap it in a function"
        ) from None
    return Rung(name, "fallback", make_spec(name, fn), taken=_taken(what, name, signature, parameters))


def _taken(what: str, name: str, signature: inspect.Signature, parameters: tuple[str, ...]) -> tuple[str, ...]:
    """The step's parameters that a fallback takes, by name."""
    theirs = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return parameters
    lacking = [p.name for p in theirs if p.default is p.empty and p.name not in parameters]
    if lacking:
        raise DeclarationError(
            f"{what}: fallback {name!r} takes {', '.join(lacking)}, which the step does not "
            f"({', '.join(parameters) or 'it takes nothing'}). Parameters are passed by name"
        )
    return tuple(p.name for p in theirs if p.name in parameters)


def _key(
    what: str, key: "str | Callable[..., Any] | None", parameters: tuple[str, ...]
) -> "tuple[str | Callable[..., Any] | None, tuple[str, ...]]":
    if isinstance(key, str) and key.split(".")[0] not in parameters:
        raise DeclarationError(f"{what}: key {key!r} begins with none of its parameters ({', '.join(parameters)})")
    if callable(key):
        if inspect.iscoroutinefunction(key):
            raise DeclarationError(f"{what}: the key is an async function; it only looks at the parameters")
        return key, _taken(what, "key", inspect.signature(key), parameters)
    return key, ()
