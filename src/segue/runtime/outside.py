"""A step outside any flow: the plain function with its policies. Nothing is recorded."""

import asyncio
import inspect
import random
import time
from functools import partial
from typing import Any

from segue.core.ladder import Again, Climb, GiveUp, decide
from segue.errors import CheckFailed, DeadlineTooClose, UnawaitedCall, Unstorable
from segue.outcomes import Outcome, missing
from segue.runtime.calls import UnwantedResult, refuse_unwanted, worth_it
from segue.runtime.controlled import controlled
from segue.runtime.controls import BreakerOpen
from segue.runtime.failures import wait_asked
from segue.runtime.judging import Good, judge, refuse_stale
from segue.runtime.keeping import NothingKept
from segue.runtime.resources import Resource, shelf_of_process
from segue.runtime.spec import Rung, StepSpec


async def outside(spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a step outside flows. Errors come as they are.

    Raises:
        Exception: what the last rung of its ladder raised.
    """
    return (await outcome_outside(spec, args, kwargs)).unwrap()


async def outcome_outside(spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome[Any]:
    """The same, as an outcome. A kept value is not to be had here: it is in a store."""
    began, attempts, tries, at = time.monotonic(), 0, 0, 0
    last: Exception | None = None
    while True:
        rung = spec.rungs[at]
        attempts, tries = attempts + 1, tries + 1
        lead = rung.spec or spec
        try:
            good = await _attempt(spec, rung, at, args, kwargs, began, last)
            return Outcome(True, good.value, rung.source, at, attempts, good.confidence, None, last if at else None)
        except Exception as error:
            last = error
        verdict = decide(
            lead.retry,
            tries,
            worth_it=rung.spec is not None and _worth_it(lead, last, last=at + 1 == len(spec.rungs)),
            left=_left(spec, began),
            chance=random.random(),
            retry_after=wait_asked(last),
            rung=at,
            instant=spec.instant,
        )
        if isinstance(verdict, GiveUp):
            return missing(last, attempts)
        if isinstance(verdict, Again):
            await asyncio.sleep(verdict.delay)
        if isinstance(verdict, Climb):
            at, tries = verdict.rung, 0


def _worth_it(spec: StepSpec, error: Exception, *, last: bool) -> bool:
    if (isinstance(error, CheckFailed) and error.early) or (isinstance(error, BreakerOpen) and not last):
        return False
    if isinstance(error, Unstorable | UnawaitedCall | DeadlineTooClose | NothingKept):
        return False
    return isinstance(error, UnwantedResult) or worth_it(spec.retry, error)


def _left(spec: StepSpec, began: float) -> float | None:
    total = spec.timeout.total
    return None if total is None else max(0.0, total - (time.monotonic() - began))


async def _attempt(
    spec: StepSpec,
    rung: Rung,
    at: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    began: float,
    last: Exception | None,
) -> Good:
    inputs = spec.inputs.named(args, kwargs) if at or spec.looks else {}
    if rung.spec is not None:
        _refuse_late(rung.spec, _left(spec, began))
    if rung.source == "cached":
        raise NothingKept("a step called outside a flow has no store to take an earlier result from")
    if rung.ask is not None:
        raise NothingKept(f"nobody can be asked {rung.ask.question!r:.100} outside a flow") from last
    if rung.spec is None:
        return judge(spec, None, rung.value, {})
    called = rung.spec
    if at:
        given = {name: inputs[name] for name in rung.taken or () if name in inputs}
        args, kwargs = called.inputs.arranged({**rung.defaults, **given})
        inputs = called.inputs.named(args, kwargs)
    if called.early:
        refuse_stale(called, called.inputs.named(args, kwargs), time.time())
    if called.feedback and last is not None:
        args, kwargs = called.inputs.replaced(args, kwargs, feedback=f"{type(last).__name__}: {last}")
    uses = _unfilled(called, args, kwargs) if called.uses and called.form != "process" else {}
    if uses:
        kwargs = {**kwargs, **await shelf_of_process().all(uses)}
    left = _left(spec, began)
    limit = called.timeout.attempt if left is None else min(left, called.timeout.attempt or left)
    if called.limits is None and called.hedge is None:
        async with asyncio.timeout(limit):
            value = await called.begin(*args, **kwargs)
    else:
        async with asyncio.timeout(left) as clock:
            begin, let_in = partial(called.begin, *args, **kwargs), partial(_start, clock, limit)
            value, _ = await controlled(called, begin, let_in, lambda: _over(clock))
    if called.retry.if_result is not None:
        refuse_unwanted(called.retry, value)
    if spec.ordinary:  # nothing but the function: what it returns is not even looked at
        return Good(b"", value, None, ())
    return judge(spec, called, value, inputs)


def _refuse_late(spec: StepSpec, left: float | None) -> None:
    minimum = spec.timeout.minimum
    if left is not None and minimum is not None and left < minimum:
        raise DeadlineTooClose(f"the attempt was not begun: {left:.3g} s remain; {spec.name!r} needs {minimum:g} s")


def _start(clock: asyncio.Timeout, limit: float | None) -> None:
    """The attempt has been let in: its time begins."""
    clock.reschedule(None if limit is None else asyncio.get_running_loop().time() + limit)


def _over(clock: asyncio.Timeout) -> bool:
    until = clock.when()
    return until is not None and until <= asyncio.get_running_loop().time()


def _unfilled(spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Resource[Any]]:
    """The resources that the step uses, but those that the caller gave: a test's fake must not load the real one."""
    given = {*kwargs, *list(inspect.signature(spec.fn).parameters)[: len(args)]}
    return {name: resource for name, resource in spec.uses.items() if name not in given}
