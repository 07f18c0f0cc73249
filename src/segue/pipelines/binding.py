"""What a node is bound to: any callable as a step of the node's name, and what fills its parameters."""

import copy
import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import takewhile
from typing import Any, Literal, NamedTuple, cast

from segue.core.graph import (
    DEPS,
    INPUT,
    Node,
    Plan,
    Reference,
    did_you_mean,
    keys_of,
    lacking,
    part_of_input,
    pick,
    plan,
)
from segue.declared import Declaration, make_spec
from segue.errors import DeclarationError, SegueError
from segue.flows import Flow
from segue.policies import NO_TIMEOUT
from segue.steps import Step
from segue.values import encode, hints_of

Model = Callable[..., Any]
"""A function, any other callable, a step, or a flow."""

Target = Step[..., Any] | Flow[..., Any]


class Bound(NamedTuple):
    """A callable and how a node calls it.

    Attributes:
        nodes: all nodes of the pipeline.
        step: what it is called in records.
        what: it, for errors, such as ``"model 'yolov8'"``.
    """

    node: Node
    nodes: Collection[str]
    step: str
    what: str
    target: Target
    plan: Plan

    def arguments(self, values: Mapping[str, Any], skipped: Collection[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of this call.

        Args:
            values: the input, and the results of the node's dependencies.
            skipped: the nodes that did not run.

        Raises:
            LookupError: a reference leads nowhere; the message says which.
        """
        filled: dict[str, Any] = {}
        for name, source in self.plan.sources.items():
            filled[name] = self._follow(name, source, values, skipped) if isinstance(source, Reference) else source
        if self.plan.keys:
            given = values[INPUT]
            keys = keys_of(given) or ()
            if unfilled := lacking(self.plan, keys):
                raise LookupError(f"nothing fills {', '.join(map(repr, unfilled))} of {self.what}")
            filled |= {name: pick(given, (name,)) for name in self.plan.keys if name in keys}
        # Each node gets its own copy: the others must not see, at a moment that no replay repeats, what it changes.
        with suppress(Exception):  # a type of the user's that cannot be copied is shared
            filled = copy.deepcopy(filled) if filled else filled
        return self._arranged(filled)

    def _follow(self, name: str, reference: Reference, values: Mapping[str, Any], skipped: Collection[str]) -> Any:
        if reference.source == DEPS:
            return {dependency: values[dependency] for dependency in self.node.depends_on}
        if reference.source in skipped:
            return None
        try:
            return pick(values[reference.source], reference.path)
        except LookupError as error:
            raise LookupError(f"{name!r} of {self.what} is taken from '{reference}': {error}") from None

    def _arranged(self, filled: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.target.spec.inputs.simple:
            return (), filled
        only = [n for n, p in self.target.spec.inputs.signature.parameters.items() if p.kind is p.POSITIONAL_ONLY]
        args = tuple(filled.pop(name) for name in list(takewhile(filled.__contains__, only)))
        return args, filled

    def unfit(self, keys: Collection[str]) -> list[str]:
        """What is wrong with an input that has these keys, each problem naming the node."""
        problems = [self.unfilled(name, keys) for name in lacking(self.plan, keys)]
        return problems + [
            f"node {self.node.name!r}: {name!r} of {self.what} is taken from {INPUT}.{key}, "
            f"which the input does not have{did_you_mean(key, keys)}"
            for name, key in part_of_input(self.plan)
            if key not in keys
        ]

    def unfilled(self, parameter: str, keys: Collection[str]) -> str:
        """The problem that nothing fills a parameter."""
        there = (*self.node.depends_on, *keys)
        hint = did_you_mean(parameter, there) or f"; by name there are {', '.join((INPUT, DEPS, *there))}"
        if parameter in self.nodes:
            hint = f": {parameter!r} is a node that is not in its depends_on"
        return f"node {self.node.name!r}: nothing fills parameter {parameter!r} of {self.what}{hint}"


def bind(
    node: Node,
    kind: Literal["model", "predicate"],
    name: str,
    model: Any,
    keys: Collection[str] | None,
    nodes: Collection[str],
    policies: Mapping[str, Any],
) -> tuple[Bound | None, list[str]]:
    """Bind a node's model or predicate.

    Args:
        name: what the specification calls it.
        keys: those of the pipeline's input, if they are known.
        nodes: all nodes of the pipeline.
        policies: what the node declares besides retry and timeout, as ``@step`` takes it.

    Returns:
        What it is bound to, and what is wrong with that.
    """
    what = f"{kind} {name!r}"
    try:
        if kind == "model":
            step, target = node.name, as_target(node.name, model, node.retry, node.timeout, policies)
        else:  # no node's name holds an @: none is mistaken for another's decision
            step = f"{node.name}@when"
            target = as_target(step, model, node.retry, None, {})  # it may fail as well as the model
        parameters = target.spec.inputs.signature.parameters
    except (DeclarationError, TypeError, ValueError) as error:
        return None, [f"node {node.name!r}: {what}: {error}"]
    named = {n: p.default is p.empty for n, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    others = [n for n in node.input if n not in named]
    problems: list[str] = []
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        named |= dict.fromkeys(others, True)
    elif kind == "model":
        called = f"; it is called as {target.spec.inputs.signature}"
        problems += (
            f"node {node.name!r}: input {n!r} is no parameter of {what}{did_you_mean(n, named) or called}"
            for n in others
        )
    planned, nothing = plan(node, named, keys)
    bound = Bound(node, nodes, step, what, target, planned)
    problems += (bound.unfilled(n, keys or ()) for n in nothing)
    if keys is not None:
        problems += bound.unfit(keys)
    return bound, problems + _unstorable(node, what, target)


def _unstorable(node: Node, what: str, target: Target) -> list[str]:
    """Constants and results that could not be recorded."""
    problems: list[str] = []
    for name, value in node.input.items():
        if not isinstance(value, Reference):
            try:
                encode(value, f"input {name!r}")
            except SegueError as error:
                problems.append(f"node {node.name!r}: {error}")
    try:
        _ = target.spec.output
    except DeclarationError as error:
        if not isinstance(error.__cause__, NameError):  # which may be defined further down
            problems.append(f"node {node.name!r}: {what}: {error}")
    return problems


def fields_of_result(bound: Bound) -> tuple[str, ...] | None:
    """The fields of what it returns, if its annotation tells them."""
    try:
        return keys_of(bound.target.spec.output.kind)
    except DeclarationError:
        return None


def as_target(name: str, model: Any, retry: Any, timeout: Any, policies: Mapping[str, Any]) -> Target:
    """A step of this name that calls the model, or the flow that it is.

    Raises:
        DeclarationError: it is neither, or cannot be bounded as asked.
    """
    if isinstance(model, Flow):
        if policies:
            raise DeclarationError(f"it is a flow, which has no {', '.join(policies)}: declare it on its steps")
        return _as_child(model, retry, timeout)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(model, Step):
        fn, declared = model.fn, model.declared  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        declared = declared._replace(
            **{"retry": retry or declared.retry, "timeout": timeout or declared.timeout, **policies}
        )
    elif callable(model):
        fn, declared = as_function(model), Declaration(**{"retry": retry, "timeout": timeout, **policies})
    else:
        raise DeclarationError(f"it is bound to {model!r}, which cannot be called")
    spec = make_spec(name, fn, declared)
    spec.owns_arguments = True  # they are copied: see _Execution
    return Step(spec, declared)


def _as_child(model: Flow[..., Any], retry: Any, timeout: Any) -> Flow[..., Any]:
    if retry is not None and retry.retries:
        raise DeclarationError("it is a flow, which has no retry: declare it on its steps")
    if timeout is None or timeout == NO_TIMEOUT:
        return model
    limit = min(given for given in (timeout.attempt, timeout.total) if given is not None)
    options = model._options._replace(timeout=limit)  # pyright: ignore[reportPrivateUsage]
    return Flow(model.spec, options)


def as_function(model: Callable[..., Any]) -> Callable[..., Any]:
    """A function for a callable that is none: a class, a ``partial``, an object with ``__call__``."""
    if inspect.isroutine(model):
        return model
    inner, hints = _inner(model)

    def call_plain(*args: Any, **kwargs: Any) -> Any:
        return model(*args, **kwargs)

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        return await model(*args, **kwargs)

    call = cast("Any", call_async if inspect.iscoroutinefunction(inner) else call_plain)
    call.__name__ = getattr(inner, "__name__", "call")
    call.__annotations__ = hints
    call.__signature__ = inspect.signature(model)
    return call


def _inner(model: Any) -> tuple[Any, dict[str, Any]]:
    """The function that a callable calls in the end, and its annotations."""
    if isinstance(model, functools.partial):
        return _inner(model.func)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    if isinstance(model, type):
        hints = hints_of(model.__init__, repr(model)) if inspect.isfunction(model.__init__) else {}
        return model, {**hints, "return": model}
    inner = model if inspect.isroutine(model) else type(model).__call__
    return inner, hints_of(inner, repr(model))
