"""Segue: durable pipelines of models, data sources and actions.

What is named here is all that a program needs; it is imported when it is first asked for, so that the command line
starts quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segue.errors import (
        Conflict,
        CorruptRecord,
        DeclarationError,
        Divergence,
        Failure,
        NotInFlow,
        Permanent,
        PipelineError,
        RunCancelled,
        RunFailed,
        RunTimedOut,
        SegueError,
        StepFailed,
        StepTimedOut,
        StoreBusy,
        StoreError,
        StoreFull,
        UnawaitedCall,
        UnknownRun,
        Unstorable,
        UsageError,
    )
    from segue.files import File
    from segue.flows import Flow, Handle, flow, wait
    from segue.inside import (
        RunInfo,
        current_run,
        gather,
        idempotency_key,
        log,
        now,
        random,
        sleep,
        timeout,
        uuid4,
    )
    from segue.pipelines import Pipeline
    from segue.policies import Duration, Retry, Timeout
    from segue.runtime.engine import Engine
    from segue.steps import Step, resource, step, use
    from segue.values import register_codec

__all__ = [
    "Conflict",
    "CorruptRecord",
    "DeclarationError",
    "Divergence",
    "Duration",
    "Engine",
    "Failure",
    "File",
    "Flow",
    "Handle",
    "NotInFlow",
    "Permanent",
    "Pipeline",
    "PipelineError",
    "Retry",
    "RunCancelled",
    "RunFailed",
    "RunInfo",
    "RunTimedOut",
    "SegueError",
    "Step",
    "StepFailed",
    "StepTimedOut",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "Timeout",
    "UnawaitedCall",
    "UnknownRun",
    "Unstorable",
    "UsageError",
    "current_run",
    "flow",
    "gather",
    "idempotency_key",
    "log",
    "now",
    "random",
    "register_codec",
    "resource",
    "sleep",
    "step",
    "timeout",
    "use",
    "uuid4",
    "wait",
]

_ELSEWHERE = {
    "segue.files": ("File",),
    "segue.flows": ("Flow", "Handle", "flow", "wait"),
    "segue.inside": (
        "RunInfo", "current_run", "gather", "idempotency_key", "log", "now", "random", "sleep", "timeout", "uuid4",
    ),
    "segue.pipelines": ("Pipeline",),
    "segue.policies": ("Duration", "Retry", "Timeout"),
    "segue.runtime.engine": ("Engine",),
    "segue.steps": ("Step", "resource", "step", "use"),
    "segue.values": ("register_codec",),
}  # fmt: skip
_HOME = {name: module for module, names in _ELSEWHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'segue' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME.get(name, "segue.errors")), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
