"""Calling a step's function: on the loop, in a thread, or in a process; and a step outside any flow."""

import asyncio
import inspect
import random
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from itertools import count
from typing import Any

from segue.core.ladder import Again, decide
from segue.errors import Permanent
from segue.policies import Retry
from segue.runtime.failures import StepProcessError, wait_asked
from segue.runtime.resources import Resource, shelf_of_process
from segue.runtime.spec import StepSpec
from segue.runtime.threads import Pool

THREADS = Pool("segue-step", 64)
"""Where blocking steps run. One for the process: threads are the process's to spend."""


async def in_thread(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a blocking function. Cancelling gives up the wait; the thread itself cannot be stopped."""
    alone = False

    def work() -> Any:
        try:
            return context.run(partial(fn, *args, **kwargs))
        finally:
            if alone:
                THREADS.recover()

    context = copy_context()
    try:
        return await THREADS.submit(work)
    except asyncio.CancelledError:
        alone = True
        THREADS.abandon()
        raise


def worth_it(retry: Retry, error: BaseException) -> bool:
    """Whether the policy wants another try after this error. A policy that itself fails does not."""
    if isinstance(error, StepProcessError):
        return error.worth_it
    if isinstance(error, Permanent):
        return False
    try:
        return retry.wants(error)
    except Exception:
        return False


class UnwantedResult(Exception):
    """The policy's ``if_result`` asks for another try."""


def refuse_unwanted(retry: Retry, value: Any) -> None:
    """Raise if this result is one that the policy retries."""
    if retry.if_result is not None and retry.if_result(value):
        raise UnwantedResult(f"if_result asks to retry {str(value)[:200]}")


def _unfilled(spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Resource[Any]]:
    """The resources that the step uses, but those that the caller gave: a test's fake must not load the real one."""
    given = {*kwargs, *list(inspect.signature(spec.fn).parameters)[: len(args)]}
    return {name: resource for name, resource in spec.uses.items() if name not in given}


async def outside(spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A step outside any flow: the plain function with its policy. Nothing is recorded; errors come as they are."""
    began = time.monotonic()
    uses = _unfilled(spec, args, kwargs) if spec.uses and spec.form != "process" else {}
    for attempt in count(1):
        try:
            if uses:
                kwargs = {**kwargs, **await shelf_of_process().all(uses)}
            async with asyncio.timeout(spec.timeout.left(time.monotonic() - began)):
                value = await spec.begin(*args, **kwargs)
            refuse_unwanted(spec.retry, value)
            return value
        except Exception as error:
            if isinstance(error, UnwantedResult) or worth_it(spec.retry, error):
                verdict = decide(
                    spec.retry,
                    attempt,
                    worth_it=True,
                    elapsed=time.monotonic() - began,
                    total=spec.timeout.total,
                    chance=random.random(),
                    retry_after=wait_asked(error),
                )
                if isinstance(verdict, Again):
                    await asyncio.sleep(verdict.delay)
                    continue
            raise
    raise AssertionError("unreachable")
