"""Segue: durable pipelines of models, data sources and actions.

What is named here is all that a program needs; it is imported when it is first asked for, so that the command line
starts quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segue import inbox, repair
    from segue.checks import confident, fresh
    from segue.declared import cached
    from segue.drift import Drift
    from segue.errors import (
        AlreadyDecided,
        CannotRedrive,
        CheckFailed,
        Conflict,
        CorruptRecord,
        DeadlineTooClose,
        DeclarationError,
        Divergence,
        Failure,
        InvalidAnswer,
        InvalidResult,
        NotInFlow,
        OwnKey,
        Permanent,
        PipelineError,
        QueueFull,
        RunCancelled,
        RunEnded,
        RunExpired,
        RunFailed,
        RunTimedOut,
        SegueError,
        StepFailed,
        StepTimedOut,
        StoreBusy,
        StoreError,
        StoreFull,
        UnawaitedCall,
        UnknownQuestion,
        UnknownRun,
        Unstorable,
        UsageError,
    )
    from segue.files import File
    from segue.flows import Flow, Handle, flow, wait
    from segue.gates import gate
    from segue.inside import RunInfo, current_run, idempotency_key, log, now, random, remaining, sleep, timeout, uuid4
    from segue.limits import Breaker, Hedge, Rate
    from segue.outcomes import Outcome
    from segue.people import ask_human, escalate, wait_for
    from segue.pipelines import Pipeline
    from segue.policies import Duration, Retry, Timeout, transient
    from segue.retention import Retention
    from segue.runtime.controls import BreakerOpen, controls
    from segue.runtime.drifting import Drifted
    from segue.runtime.engine import Engine
    from segue.runtime.run import Fallback
    from segue.steps import Step, resource, step, use
    from segue.together import TooFewOk, gather
    from segue.values import register_codec

__all__ = [
    "AlreadyDecided",
    "Breaker",
    "BreakerOpen",
    "CannotRedrive",
    "CheckFailed",
    "Conflict",
    "CorruptRecord",
    "DeadlineTooClose",
    "DeclarationError",
    "Divergence",
    "Drift",
    "Drifted",
    "Duration",
    "Engine",
    "Failure",
    "Fallback",
    "File",
    "Flow",
    "Handle",
    "Hedge",
    "InvalidAnswer",
    "InvalidResult",
    "NotInFlow",
    "Outcome",
    "OwnKey",
    "Permanent",
    "Pipeline",
    "PipelineError",
    "QueueFull",
    "Rate",
    "Retention",
    "Retry",
    "RunCancelled",
    "RunEnded",
    "RunExpired",
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
    "TooFewOk",
    "UnawaitedCall",
    "UnknownQuestion",
    "UnknownRun",
    "Unstorable",
    "UsageError",
    "ask_human",
    "cached",
    "confident",
    "controls",
    "current_run",
    "escalate",
    "flow",
    "fresh",
    "gate",
    "gather",
    "idempotency_key",
    "inbox",
    "log",
    "now",
    "random",
    "register_codec",
    "remaining",
    "repair",
    "resource",
    "sleep",
    "step",
    "timeout",
    "transient",
    "use",
    "uuid4",
    "wait",
    "wait_for",
]

_ELSEWHERE = {
    "segue.files": ("File",),
    "segue.flows": ("Flow", "Handle", "flow", "wait"),
    "segue.inside": (
        "RunInfo", "current_run", "idempotency_key", "log", "now", "random", "remaining", "sleep", "timeout", "uuid4",
    ),
    "segue.outcomes": ("Outcome",),
    "segue.people": ("ask_human", "escalate", "wait_for"),
    "segue.pipelines": ("Pipeline",),
    "segue.policies": ("Duration", "Retry", "Timeout", "transient",),
    "segue.retention": ("Retention",),
    "segue.runtime.engine": ("Engine",),
    "segue.steps": ("Step", "resource", "step", "use"),
    "segue.together": ("TooFewOk", "gather"),
    "segue.values": ("register_codec",),
    "segue.checks": ("confident", "fresh",),
    "segue.declared": ("cached",),
    "segue.drift": ("Drift",),
    "segue.limits": ("Breaker", "Hedge", "Rate",),
    "segue.runtime.controls": ("BreakerOpen", "controls",),
    "segue.runtime.drifting": ("Drifted",),
    "segue.gates": ("gate",),
    "segue.runtime.run": ("Fallback",),
}  # fmt: skip
_MODULES = ("inbox", "repair")
_HOME = {name: module for module, names in _ELSEWHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'segue' has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"segue.{name}")
    value = globals()[name] = getattr(import_module(_HOME.get(name, "segue.errors")), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
