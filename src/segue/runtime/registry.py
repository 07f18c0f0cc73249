"""The flows and steps that this process knows, by name. Code is found here and never imported by a stored name."""

import ast
import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segue.errors import DeclarationError
from segue.runtime.spec import FlowSpec, StepSpec

FLOWS: dict[str, FlowSpec] = {}
_steps: dict[str, StepSpec] = {}


def module_of(fn: Callable[..., Any]) -> str:
    """The module that a function belongs to; for a script, its file's stem, as if it had been imported."""
    if fn.__module__ != "__main__":
        return fn.__module__
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(file).stem if file else "__main__"


def _clash(known: Callable[..., Any], fn: Callable[..., Any]) -> bool:
    """Whether two functions of one name are two things, and not one that was defined anew (a reload, a cell)."""
    if "<locals>" in fn.__qualname__:
        return False
    if (module_of(known), known.__qualname__) != (module_of(fn), fn.__qualname__):
        return True
    lines = linecache.getlines(fn.__code__.co_filename)
    try:
        body = ast.parse("".join(lines)).body
    except SyntaxError:
        return False
    return sum(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == fn.__name__ for n in body) > 1


def _refuse(kind: str, name: str, known: Callable[..., Any], fn: Callable[..., Any]) -> None:
    there, here = (f"{module_of(f)}.{f.__qualname__} (line {f.__code__.co_firstlineno})" for f in (known, fn))
    raise DeclarationError(f"two {kind}s are named {name!r}: {there} and {here}. Name one: @{kind}(name='…')")


def add_flow(spec: FlowSpec) -> None:
    """Make a flow known.

    Raises:
        DeclarationError: another one has its name.
    """
    known = FLOWS.get(spec.name)
    if known is not None and _clash(known.fn, spec.fn):
        _refuse("flow", spec.name, known.fn, spec.fn)
    FLOWS[spec.name] = spec


def add_step(spec: StepSpec, *, explicit: bool) -> None:
    """Make a step known. A name left to default must be unique in its module; a given one, everywhere.

    Raises:
        DeclarationError: another one has its name.
    """
    name = spec.name if explicit else f"{module_of(spec.fn)}.{spec.name}"
    known = _steps.get(name)
    if known is not None and _clash(known.fn, spec.fn):
        _refuse("step", spec.name, known.fn, spec.fn)
    _steps[name] = spec


def step_of(fn: Callable[..., Any]) -> StepSpec:
    """The step that was made of a function whose own name still means the function, as ``step(...)(fn)`` leaves it.

    Raises:
        LookupError: there is none.
    """
    for spec in _steps.values():
        if spec.fn is fn:
            return spec
    raise LookupError(f"no step was made of {fn.__module__}.{fn.__qualname__}")
