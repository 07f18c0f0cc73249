"""``key=`` and ``dedupe=`` of a flow, checked where they are declared."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, cast, get_origin, get_type_hints, is_typeddict

import msgspec

from segue.errors import DeclarationError
from segue.runtime.identity import Identity
from segue.runtime.spec import FlowSpec, StepSpec
from segue.values import hints_of


def identity(spec: FlowSpec, what: str, of: Any) -> Identity | None:
    """Where a flow's parameters say what a run is about.

    Args:
        what: ``"key"`` or ``"dedupe"``.
        of: a path over the parameters, a function of some of them, or None.

    Raises:
        DeclarationError: it is neither, or names what is not there.
    """
    if of is None:
        return None
    declared, parameters = f"flow {spec.name!r}: {what}", list(spec.inputs.signature.parameters)
    if isinstance(of, str):
        if problem := misnamed(spec, of.split("."), parameters):
            raise DeclarationError(f"{declared}={of!r}: {problem}")
        return Identity(what, of)
    if not callable(of):
        raise DeclarationError(f"{declared} is a path over the parameters, or a function of some, not {of!r:.80}")
    return Identity(what, of, _taken(of, declared, parameters))


def _taken(of: Callable[..., Any], declared: str, parameters: list[str]) -> tuple[str, ...]:
    if inspect.iscoroutinefunction(of):
        raise DeclarationError(f"{declared} is an async function; it only looks at the parameters")
    theirs = inspect.signature(of).parameters.values()
    if lacking := [p.name for p in theirs if p.name not in parameters and p.default is p.empty]:
        raise DeclarationError(
            f"{declared} takes {', '.join(lacking)}; the flow has {', '.join(parameters) or 'no parameters'}, "
            "which are passed by name"
        )
    return tuple(p.name for p in theirs if p.name in parameters)


def misnamed(spec: FlowSpec | StepSpec, path: list[str], parameters: list[str]) -> str:
    """What is wrong with a path over these parameters, or what is ``"return"``ed, as far as the annotations tell."""
    if path[0] not in parameters:
        return f"{path[0]!r} is none of its parameters ({', '.join(parameters) or 'it has none'})"
    try:
        kind: Any = hints_of(spec.fn, spec.name).get(path[0], Any)
    except (DeclarationError, ValueError):  # an annotation, or the body, names what is defined further down
        return ""
    for name in path[1:]:
        fields = _fields(kind)
        if fields is None:
            return ""
        if name not in fields:
            return f"{kind.__name__} has no {name!r}; there are {', '.join(fields)}"
        kind = fields[name]
    return ""


def _fields(kind: Any) -> dict[str, Any] | None:
    """The fields of a class that has no others, and their types; None where that is open."""
    if get_origin(kind) is not None or not isinstance(kind, type):
        return None
    closed: Any = dataclasses.is_dataclass(cast("Any", kind)) or is_typeddict(cast("Any", kind))
    if not (closed or issubclass(kind, msgspec.Struct) or hasattr(cast("Any", kind), "model_fields")):
        return None
    try:
        hints = get_type_hints(cast("Any", kind))
    except NameError:
        return None
    more = [name for name in dir(cast("Any", kind)) if not name.startswith("_") and name not in hints]
    return {**hints, **dict.fromkeys(more, Any)}
