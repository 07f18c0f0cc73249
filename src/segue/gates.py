"""``gate``: a check between two steps, as a step of its own, in the record and in the trace."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast, overload

from segue.checks import Check, Judge, compiled, verdict
from segue.declared import MISSING, make_spec
from segue.errors import CheckFailed, UsageError
from segue.naming import check_name
from segue.runtime.call import Call
from segue.runtime.context import HERE, Place
from segue.runtime.failures import clean
from segue.runtime.judging import raw_of

T = TypeVar("T")
D = TypeVar("D")


@overload
async def gate(value: T, *checks: Judge, name: str = "gate") -> T: ...
@overload
async def gate(value: T, *checks: Judge, otherwise: Callable[[T], Awaitable[D]], name: str = "gate") -> T | D: ...
@overload
async def gate(value: T, *checks: Judge, otherwise: Callable[[T], D], name: str = "gate") -> T | D: ...
@overload
async def gate(value: T, *checks: Judge, otherwise: D, name: str = "gate") -> T | D: ...
async def gate(value: Any, *checks: Judge, otherwise: Any = MISSING, name: str = "gate") -> Any:
    """Let a value through if it passes every check: the rule between two models that no model decides.

    The verdict is recorded, with its reasons; on replay the checks are not asked again.

    Args:
        checks: as of a step: ``None`` or ``True`` passes; ``False``, a reason as text, or an exception does not.
        otherwise: what to give in its place: a value, or a function, step or flow of the value that was refused.
        name: what it is called in the record.

    Raises:
        StepFailed: the value does not pass, and there is no ``otherwise``. Its error is a ``CheckFailed``.

    >>> income = await gate(await read_payslip(scan), lambda n: 0 < n < 1e6 or "out of range", otherwise=ask_again)
    """
    if not checks:
        raise UsageError("gate() takes a value and at least one check of it")
    judges = compiled(f"gate {name!r}", checks, ())
    spec = make_spec(check_name("gate", name), _verdicts)
    named = [check.name for check in judges]

    async def begin(value: Any, checks: list[str], strict: bool) -> list[str]:
        reasons = _refusals(judges, value, name if strict else None)
        call = HERE.get()
        if reasons and isinstance(call, Call):
            call.note = call.note._replace(said=f"refused: {'; '.join(reasons)}. What is given otherwise was taken")
        return reasons

    spec.origin, spec.begin, spec.owns_arguments = _GATE, begin, False
    here = HERE.get()
    strict = otherwise is MISSING
    if here is None or not here.in_flow:
        reasons = _refusals(judges, value, name if strict else None)
    else:
        place = cast("Place", here)
        call = place.run.ask(place, spec, (value, named, strict), {})
        reasons = await call.answer()
    if not reasons:
        return value
    if not callable(otherwise):
        return otherwise
    given = otherwise(value)
    return await given if inspect.isawaitable(given) else given


async def _verdicts(value: Any, checks: list[str], strict: bool) -> list[str]:
    """Why a value does not pass its checks; nothing if it does."""
    raise UsageError("gate() puts its own checks in place of this")


_GATE = make_spec("gate", _verdicts)


def _refusals(judges: tuple[Check, ...], value: Any, strict: str | None) -> list[str]:
    """The reasons against a value.

    Args:
        strict: the gate's name, if a refusal is an error.
    """
    found: list[str] = []
    for check in judges:
        if (reason := verdict(check, value, {})) is not None:
            if strict is not None:
                raise CheckFailed(f"what came to {strict!r}", check.name, reason, raw_of(value))
            found.append(clean(f"{check.name}: {reason}"))
    return found
