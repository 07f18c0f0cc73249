"""A pipeline as data: reading its specification, and everything that can be wrong with it.

Nothing here raises for a faulty specification: problems are collected, each naming its node, so that all of them are
told together.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple, cast, get_origin

from segue.errors import DeclarationError
from segue.limits import as_breaker, as_concurrency, as_hedge, as_rate
from segue.policies import Retry, Timeout, as_retry, as_timeout, seconds

INPUT = "input"
"""The parameter and the reference that mean the pipeline's input."""

DEPS = "deps"
"""The parameter that gets the results of all dependencies, by node name."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an argument comes from: ``input``, ``deps`` or a node, and the way to a part of it."""

    source: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join((self.source, *self.path))


@dataclass(frozen=True, slots=True)
class Node:
    """One node, as its specification says.

    Attributes:
        retry, timeout: None leaves them to the model.
        when: the name of the predicate that decides whether it runs.
        input: arguments by parameter name, each a constant or a ``Reference``.
        policies: what it says besides, as ``@step`` takes it; fallbacks and checks by their names.
    """

    name: str
    depends_on: tuple[str, ...] = ()
    model: str | None = None
    retry: Retry | None = None
    timeout: Timeout | None = None
    when: str | None = None
    input: Mapping[str, Any] = field(default_factory=dict[str, Any])
    policies: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Graph(NamedTuple):
    """What a specification says, and what is wrong with it."""

    name: str | None
    nodes: dict[str, Node]
    problems: list[str]


def did_you_mean(wrong: object, names: Iterable[str]) -> str:
    """The end of a problem: the closest of the names, if one is close.

    >>> did_you_mean("modle", ["model", "retry"])
    "; did you mean 'model'?"
    """
    close = get_close_matches(wrong, list(names), 1) if isinstance(wrong, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


# Reading


def read(spec: object, check_name: Callable[[str, str], str]) -> Graph:
    """Read a specification: a mapping of nodes, or ``{"name": …, "nodes": {…}}``.

    Args:
        check_name: gives back the name of a ``"node"`` or ``"pipeline"``, or raises ``DeclarationError``.
    """
    problems: list[str] = []
    name, raw = _unwrap(spec, problems, check_name)
    nodes: dict[str, Node] = {}
    for key, value in raw.items():
        if not isinstance(key, str):
            problems.append(f"a node's name is text, not {key!r}: quote it")
            continue
        if key in (INPUT, DEPS):
            problems.append(f"node {key!r}: this name means something else to models ({INPUT}, {DEPS}); choose another")
        try:
            check_name("node", key)
        except DeclarationError as error:
            problems.append(f"node {key!r}: {error}")
        nodes[key] = _read_node(key, value, problems)
    for key, node in nodes.items():
        nodes[key] = _link(node, nodes, problems)
    problems += (f"nodes wait for each other in a circle: {' → '.join(cycle)}" for cycle in cycles(nodes))
    return Graph(name, nodes, problems)


def _unwrap(
    spec: object, problems: list[str], check_name: Callable[[str, str], str]
) -> tuple[str | None, Mapping[Any, Any]]:
    if not isinstance(spec, Mapping):
        problems.append(f"a pipeline is a mapping of nodes, not {_brief(spec)}")
        return None, {}
    raw = cast("Mapping[Any, Any]", spec)
    name: str | None = None
    if "nodes" in raw:
        name = raw.get("name")
        if name is not None:
            try:
                name = check_name("pipeline", _text(name))
            except DeclarationError as error:
                problems.append(f"name: {error}")
                name = None
        problems += (
            f"{key!r} is unknown beside 'nodes'; there is 'name'{did_you_mean(key, ('name',))}"
            for key in raw
            if key not in ("name", "nodes")
        )
        raw = raw["nodes"]
        if not isinstance(raw, Mapping):
            problems.append(f"'nodes' is a mapping of nodes, not {_brief(raw)}")
            return name, {}
        raw = cast("Mapping[Any, Any]", raw)
    if not raw:
        problems.append("it has no nodes")
    return name, raw


def _read_node(name: str, raw: object, problems: list[str]) -> Node:
    if not isinstance(raw, Mapping):
        hint = ". A pipeline with a name is written {'name': …, 'nodes': {…}}" if name == "name" else ""
        problems.append(f"node {name!r}: a node is a mapping with a 'model', not {_brief(raw)}{hint}")
        return Node(name)
    said = cast("Mapping[Any, Any]", raw)
    fields: dict[str, Any] = {}
    policies: dict[str, Any] = {}
    known = {**_READERS, **_POLICIES}
    for key, value in said.items():
        if key not in known:
            problems.append(f"node {name!r}: {key!r} is not a key of a node{_known(key, known)}")
        elif value is not None:  # a key left blank in YAML
            try:
                (fields if key in _READERS else policies)[key] = known[key](value)
            except DeclarationError as error:
                problems.append(f"node {name!r}: {key}: {error}")
    if said.get("model") is None:
        problems.append(f"node {name!r}: it has no 'model'")
    return Node(name, **fields, policies=policies)


def _known(key: object, names: Iterable[str]) -> str:
    return did_you_mean(key, names) or f"; there are {', '.join(names)}"


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise DeclarationError(f"this is a name, not {_brief(value)}")
    return value


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise DeclarationError(f"this is a list of node names, not {_brief(value)}")
    names = tuple(_text(name) for name in cast("list[object]", value))
    if twice := {name for name in names if names.count(name) > 1}:
        raise DeclarationError(f"named twice: {', '.join(sorted(twice))}")
    return names


def _arguments(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise DeclarationError(f"this is a mapping of parameter names, not {_brief(value)}")
    return {_text(name): _argument(given) for name, given in cast("Mapping[object, Any]", value).items()}


def _argument(value: object) -> object:
    """A constant, or an unresolved reference: which node it names is seen when all are read."""
    if isinstance(value, Mapping) and list(mapping := cast("Mapping[str, object]", value)) == ["from"]:
        return Reference(_text(mapping["from"]))
    return cast("object", value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "depends_on": _names,
    "model": _text,
    "retry": as_retry,
    "timeout": as_timeout,
    "when": _text,
    "input": _arguments,
}


class Value(NamedTuple):
    """A fallback that is there already: ``{"value": …}``."""

    value: Any


class Earlier(NamedTuple):
    """A fallback to an earlier result: ``"cached"``, or ``{"cached": "1h"}`` with the greatest age."""

    max_age: Any = None


def _fallbacks(value: object) -> list[Any]:
    several = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
    return [_fallback(one) for one in several]


def _fallback(value: object) -> Any:
    if value == "cached":
        return Earlier()
    if isinstance(value, Mapping):
        said = cast("Mapping[str, Any]", value)
        if list(said) == ["value"]:
            return Value(said["value"])
        if list(said) == ["cached"]:
            return Earlier(seconds(said["cached"]))
    if isinstance(value, str) and value:
        return value
    said = _brief(cast("object", value))
    raise DeclarationError(f"this is a model's name, 'cached', {{'cached': age}} or {{'value': …}}, not {said}")


def _check_names(value: object) -> tuple[str, ...]:
    return _names(cast("object", value)) if isinstance(value, list | tuple) else (_text(value),)


def _confidence(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DeclarationError(f"this is the least confidence, between 0 and 1, not {_brief(value)}")
    return value


def _parse(value: object) -> str:
    if value != "json":
        raise DeclarationError(f"this is 'json', not {_brief(value)}")
    return "json"


_POLICIES: dict[str, Callable[[Any], Any]] = {
    "parse": _parse,
    "check": _check_names,
    "confidence": _confidence,
    "fallback": _fallbacks,
    "degraded": lambda value: value,
    "memoize": seconds,
    "concurrency": as_concurrency,
    "rate": as_rate,
    "breaker": as_breaker,
    "shared": _text,
    "hedge": as_hedge,
}


def _link(node: Node, nodes: Mapping[str, Node], problems: list[str]) -> Node:
    """The node with its references resolved."""
    for dependency in node.depends_on:
        if dependency not in nodes:
            hint = did_you_mean(dependency, nodes)
            problems.append(f"node {node.name!r}: it depends on {dependency!r}, which is not a node{hint}")
    arguments: dict[str, Any] = {}
    for parameter, given in node.input.items():
        if isinstance(given, Reference):
            try:
                given = _resolve(given.source, node, nodes)
            except DeclarationError as error:
                problems.append(f"node {node.name!r}: input {parameter!r}: {error}")
        arguments[parameter] = given
    return replace(node, input=arguments)


def _resolve(text: str, node: Node, nodes: Mapping[str, Node]) -> Reference:
    parts = text.split(".")
    for upto in range(len(parts), 0, -1):  # a node's name may hold dots: the longest that fits is meant
        source, path = ".".join(parts[:upto]), tuple(parts[upto:])
        if source != INPUT and source not in nodes:
            continue
        if not all(path):
            raise DeclarationError(f"{text!r} is not of the form 'node', 'node.field' or 'input.key'")
        if source != INPUT and source not in node.depends_on:
            raise DeclarationError(f"it is taken from {source!r}, which is not in the node's depends_on")
        return Reference(source, path)
    hint = did_you_mean(parts[0], (*nodes, INPUT))
    raise DeclarationError(f"{text!r} names neither a node nor the input{hint}")


def cycles(nodes: Mapping[str, Node]) -> list[list[str]]:
    """The circles in which nodes depend on each other, none of them sharing a node; each ends where it begins.

    >>> cycles({"a": Node("a", ("b",)), "b": Node("b", ("a",))})
    [['a', 'b', 'a']]
    """
    left = {name: [d for d in node.depends_on if d in nodes] for name, node in nodes.items()}
    place = {name: i for i, name in enumerate(nodes)}
    found: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(left).prepare()
            return found
        except CycleError as error:
            circle = cast("list[str]", error.args[1])[:0:-1]  # it gives predecessors first, and one node twice
            first = circle.index(min(circle, key=place.__getitem__))
            found.append([*circle[first:], *circle[: first + 1]])
            gone = set(circle)
            left = {name: [d for d in deps if d not in gone] for name, deps in left.items() if name not in gone}


# What fills a model's parameters


class Plan(NamedTuple):
    """Where the arguments of a call come from.

    Attributes:
        sources: by parameter, a ``Reference`` or a constant.
        keys: parameters that are keys of the input, if it has them; True where nothing else could fill them.
    """

    sources: dict[str, Any]
    keys: dict[str, bool]


def plan(node: Node, parameters: Mapping[str, bool], keys: Collection[str] | None) -> tuple[Plan, list[str]]:
    """Decide what fills each parameter: what the node says, else the input, ``deps`` or a dependency of that name,
    else a key of the input, else its default.

    Args:
        parameters: by name, whether it has no default.
        keys: those of the input, or None if only a run will show.

    Returns:
        The plan, and the names of those that nothing fills.
    """
    sources: dict[str, Any] = {}
    loose: dict[str, bool] = {}
    unfilled: list[str] = []
    for name, needed in parameters.items():
        if name in node.input:
            sources[name] = node.input[name]
        elif name in (INPUT, DEPS) or name in node.depends_on:
            sources[name] = Reference(name)
        elif keys is None:
            loose[name] = needed
        elif name in keys:
            sources[name] = Reference(INPUT, (name,))
        elif needed:
            unfilled.append(name)
    return Plan(sources, loose), unfilled


def lacking(plan: Plan, keys: Collection[str]) -> list[str]:
    """What of an input with these keys a call would miss: parameters that nothing fills."""
    return [name for name, needed in plan.keys.items() if needed and name not in keys]


def part_of_input(plan: Plan) -> list[tuple[str, str]]:
    """The parameters that are taken from a key of the input, with that key."""
    return [
        (name, source.path[0])
        for name, source in plan.sources.items()
        if isinstance(source, Reference) and source.source == INPUT and source.path
    ]


def keys_of(thing: Any) -> tuple[str, ...] | None:
    """The keys of a mapping, or the fields of a dataclass, msgspec Struct, pydantic model, named tuple or TypedDict,
    or of such a type; None if it has none to go by.

    >>> keys_of({"url": "clip.mp4"}), keys_of(3)
    (('url',), None)
    """
    if isinstance(thing, Mapping):
        return tuple(key for key in cast("Mapping[Any, Any]", thing) if isinstance(key, str))
    kind = _class_of(thing)
    if dataclasses.is_dataclass(kind):
        return tuple(f.name for f in dataclasses.fields(kind))
    if hasattr(kind, "__total__"):  # a TypedDict
        return tuple(kind.__annotations__)
    for names in ("__struct_fields__", "model_fields", "_fields"):
        if isinstance(fields := getattr(kind, names, None), Mapping | tuple):
            return tuple(cast("Iterable[str]", fields))
    return None


def _class_of(thing: Any) -> Any:
    kind: object = get_origin(thing) or thing
    return kind if isinstance(kind, type) else type(kind)


def pick(value: Any, path: Iterable[str]) -> Any:
    """The part of a value that a reference names.

    Raises:
        LookupError: there is no such part; the message says what there is.

    >>> pick({"pages": {"first": 1}}, ["pages", "first"])
    1
    """
    for key in path:
        keys = keys_of(value)
        if keys is None or key not in keys:
            there = f"there are {', '.join(keys)}" if keys else f"{_brief(value)} has no fields"
            raise LookupError(f"there is no {key!r}; {there}")
        value = cast("Mapping[str, Any]", value)[key] if isinstance(value, Mapping) else getattr(value, key)
    return value
