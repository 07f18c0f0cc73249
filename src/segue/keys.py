"""``key=``, ``dedupe=`` and what else says how a flow takes events, checked where it is declared."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Protocol, cast, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

from segue.errors import DeclarationError
from segue.policies import Duration, seconds
from segue.runtime.identity import HIGHEST, Identity
from segue.runtime.mailbox import ALL, LATEST, Mailbox
from segue.runtime.spec import FlowSpec, StepSpec
from segue.values import hints_of


class Trigger(Protocol):
    """What starts runs of a flow by itself: a schedule, a webhook, files. Frozen, checked where it is made."""

    def problem(self, spec: FlowSpec) -> str:
        """Why it cannot start this flow; nothing if it can."""
        ...


def triggers(spec: FlowSpec, on: Any) -> tuple[Trigger, ...]:
    """What starts runs of a flow.

    Raises:
        DeclarationError: it is no trigger, or does not fit the flow's parameters.
    """
    found: Any = (on,) if callable(getattr(on, "problem", None)) else on
    if not isinstance(found, list | tuple):
        raise DeclarationError(
            f"flow {spec.name!r}: on is a list of triggers, such as [cron('0 3 * * *')], not {on!r:.80}"
        )
    for trigger in cast("list[Any]", found):
        if not callable(getattr(trigger, "problem", None)):
            raise DeclarationError(f"flow {spec.name!r}: on={trigger!r:.80} is no trigger: see segue.triggers")
        if said := trigger.problem(spec):
            raise DeclarationError(f"flow {spec.name!r}: on={trigger!r:.80}: {said}")
    return tuple(cast("list[Any]", found))


def identity(spec: FlowSpec, what: str, of: Any) -> Identity | None:
    """Where a flow's parameters say what a run is about.

    Args:
        what: ``"key"``, ``"dedupe"`` or ``"priority"``.
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


def priority_of(spec: FlowSpec, of: Any) -> Identity | int:
    """How urgent runs of a flow are: a number, or where their parameters say it.

    Raises:
        DeclarationError: it is neither.
    """
    if isinstance(of, int):
        if isinstance(of, bool) or abs(of) > HIGHEST:
            raise DeclarationError(f"flow {spec.name!r}: priority is a whole number up to {HIGHEST:,}, not {of!r}")
        return of
    found = identity(spec, "priority", of)
    if found is None:
        raise DeclarationError(f"flow {spec.name!r}: priority is a number, a path or a function, not None")
    return found


def mailbox(spec: FlowSpec, merge: Any, quiet: Duration | None, patience: Duration | None) -> Mailbox | None:
    """How events that come while their key is busy are taken together.

    Args:
        merge: ``"latest"``, ``"all"``, a function of two events that gives one, or None.
        quiet, patience: as ``debounce`` and ``debounce_max`` of a flow.

    Raises:
        DeclarationError: the flow cannot take them so.
    """
    if merge is None:
        if quiet is not None or patience is not None:
            raise DeclarationError(f"flow {spec.name!r}: debounce= merges events: say how, with coalesce=")
        return None
    declared = f"flow {spec.name!r}: coalesce={merge!r:.80}"
    if spec.key is None:
        raise DeclarationError(f"{declared} merges events of one key: declare key= too")
    if merge not in (LATEST, ALL) and not callable(merge):
        raise DeclarationError(f"{declared}: it is 'latest', 'all', or a function of two events that gives one")
    if patience is not None and (quiet is None or seconds(patience) < seconds(quiet)):
        raise DeclarationError(f"flow {spec.name!r}: debounce_max={patience!r} bounds a shorter debounce=")
    box = Mailbox(merge, quiet=None if quiet is None else seconds(quiet))
    if patience is not None:
        box = box._replace(patience=seconds(patience))
    return box if merge == LATEST else box._replace(parameter=_only_parameter(spec, merge, declared))


def _only_parameter(spec: FlowSpec, merge: Any, declared: str) -> str:
    names = list(spec.inputs.signature.parameters)
    if not spec.inputs.simple or len(names) != 1:
        raise DeclarationError(f"{declared} needs a flow with one parameter, not {len(names)} ({', '.join(names)})")
    if merge == ALL:
        try:
            kind = hints_of(spec.fn, spec.name).get(names[0], Any)
        except (DeclarationError, ValueError):  # an annotation names what is defined further down
            kind = list
        if (get_origin(kind) or kind) is not list:
            raise DeclarationError(f"{declared} needs a parameter of type list[…]; {names[0]!r} is {kind!r:.60}")
        return names[0]
    if inspect.iscoroutinefunction(merge):
        raise DeclarationError(f"{declared} is an async function; it only makes one event of two")
    try:
        inspect.signature(merge).bind(None, None)
    except TypeError as error:
        raise DeclarationError(f"{declared} is called with an earlier and a later event: {error}") from None
    except ValueError:  # a builtin without a signature
        pass
    return names[0]


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
    for place, name in enumerate(path[1:], 1):
        if get_origin(kind) is list:
            if not name.isdigit():
                first = ".".join([*path[:place], "0", *path[place:]])
                return f"before {name!r} stands a list; of its first item: {first!r}"
            (kind,) = get_args(kind)
            continue
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
