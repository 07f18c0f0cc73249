"""Segue: durable pipelines of models, data sources and actions."""

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
from segue.policies import Duration, Retry, Timeout
from segue.runtime.engine import Engine
from segue.steps import Step, resource, step, use
from segue.values import register_codec
