"""Calling a blocking function in a thread, and what its policy says of its result."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from segue.errors import Permanent
from segue.policies import Retry
from segue.runtime.failures import StepProcessError
from segue.runtime.threads import Pool

THREADS = Pool("segue-step", 64)
"""Where blocking steps run. One for the process: threads are the process's to spend."""


async def in_thread(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a blocking function. Cancelling gives up the wait; the thread itself cannot be stopped."""
    alone = False

    def work() -> Any:
        try:
            if alone:  # cancelled before its turn came: it has not begun, and must not
                return None
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
