"""Steps in processes of their own, which a timeout can really end.

The child is told where the function is defined, in the code that this process runs itself, and gets its arguments by
Segue's codecs; so no object is pickled in either direction.
"""

import asyncio
import functools
import importlib
import importlib.util
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from segue.errors import SegueError
from segue.runtime.call import Call
from segue.runtime.calls import worth_it
from segue.runtime.context import HERE, Beside, Identity
from segue.runtime.failures import StepProcessError, failure_of, read_failure
from segue.runtime.judging import fitted
from segue.runtime.registry import step_of
from segue.runtime.resources import shelf_of_process
from segue.runtime.spec import Location, StepSpec
from segue.stores.artifacts import Artifacts
from segue.values import encode

if TYPE_CHECKING:
    from pebble import ProcessPool

_pool: "ProcessPool | None" = None


class ProcessDied(SegueError):
    """A step's process ended without an answer: out of memory, a crash in native code, an exit."""


def _shared_pool() -> "ProcessPool":
    global _pool
    if _pool is None or not _pool.active:
        from pebble import ProcessPool

        # spawn: a fork would copy the locks of our threads in whatever state they are
        context = multiprocessing.get_context("spawn")
        _pool = ProcessPool(max_workers=max(2, os.cpu_count() or 2), context=cast("Any", context))
    return _pool


def source_of(fn: Any) -> Location:
    """Where a function is defined."""
    module = sys.modules.get(fn.__module__)
    return Location(fn.__module__, getattr(module, "__file__", None) or "", fn.__qualname__)


async def in_process(spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run the step's function in a process; cancelling ends that process."""
    here = HERE.get()
    root = str(here.artifacts.root) if here is not None else ""
    input = spec.inputs.encode_typed(args, kwargs)
    identity = None
    if isinstance(here, Call):
        run = here.run
        left = here.remaining()
        until = None if left is None else time.time() + left
        key = run.idempotency_key(here.step, here.rung)
        identity = (run.id, run.spec.name, here.step, here.attempt, key, until)
    future = _shared_pool().schedule(_serve, args=(tuple(source_of(spec.fn)), input, root, identity))
    try:
        good, data, again = await asyncio.wrap_future(cast("Any", future))
    except asyncio.CancelledError:
        future.cancel()  # pebble ends the process
        raise
    except Exception as error:
        if type(error).__name__ in ("ProcessExpired", "BrokenProcessPool"):
            code = getattr(error, "exitcode", None)
            raise ProcessDied(f"the process of step {spec.name!r} died (exit code {code})") from None
        raise
    if good:
        if again and isinstance(here, Call):
            here.note = here.note._replace(lenient=tuple(again))
        return spec.output.decode(data)
    raise StepProcessError(read_failure(data), again)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """In the child: one loop for its lifetime, on which its resources live."""
    return asyncio.new_event_loop()


def _serve(
    source: tuple[str, str, str], input: bytes, root: str, identity: tuple[str, str, str, int, str, float | None] | None
) -> tuple[bool, bytes, Any]:
    """In the child: find the function, call it, answer in bytes.

    Returns:
        Whether it went well; the result or the failure; what was overlooked in its text, or whether to try again.
    """
    spec = None
    try:
        spec = _find(Location(*source))
        args, kwargs = spec.inputs.decode(input)
        known = Identity(*identity) if identity is not None else None
        HERE.set(Beside(Artifacts(Path(root)), known) if root else None)
        data, lenient = _loop().run_until_complete(_call(spec, args, kwargs))
        return True, data, lenient
    except BaseException as error:
        return False, encode(failure_of(error), "failure"), spec is not None and worth_it(spec.retry, error)


async def _call(spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, tuple[str, ...]]:
    value = spec.fn(*args, **{**await shelf_of_process().all(spec.uses), **kwargs})
    if asyncio.iscoroutine(value):
        value = await value
    data, _, lenient = fitted(spec, spec, value)
    return data, lenient


def _find(source: Location) -> StepSpec:
    name = source.module
    if name == "__main__":
        module = sys.modules.get("__mp_main__") or sys.modules["__main__"]
    elif name in sys.modules:
        module = sys.modules[name]
    else:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            folder = os.path.dirname(source.file)
            if folder not in sys.path:
                sys.path.insert(0, folder)
            found = importlib.util.spec_from_file_location(name, source.file)
            if found is None or found.loader is None:
                raise
            module = importlib.util.module_from_spec(found)
            sys.modules[name] = module
            found.loader.exec_module(module)
    step: Any = module
    for part in source.name.split("."):
        step = getattr(step, part)
    return step.spec if hasattr(step, "spec") else step_of(step)
