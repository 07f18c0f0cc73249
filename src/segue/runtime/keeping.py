"""Under which name a step's good values are kept, for ``cached()`` and ``memoize=``."""

from collections.abc import Mapping
from typing import Any

from segue.checks import read
from segue.errors import SegueError
from segue.runtime.registry import module_of
from segue.runtime.spec import StepSpec
from segue.values import digest


class NothingKept(SegueError):
    """There is no kept value, or none that is young enough."""


def cell_name(spec: StepSpec, inputs: Mapping[str, Any]) -> str:
    """The cell of a step's good values for these inputs: the same in every run, process and version of the flow."""
    key: Any = {"inputs": dict(inputs)}
    declared, taken = spec.keep if spec.keep is not None else (None, ())
    if isinstance(declared, str):
        key = {declared: read(inputs, declared)}
    elif declared is not None:
        key = {"key": declared(**{name: inputs[name] for name in taken})}
    return f"kept/{module_of(spec.fn)}.{spec.name}/{spec.version}/{digest(key)}"
