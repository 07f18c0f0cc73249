"""An attempt under a step's limits: let in when there is room, left alone while the circuit is open, hedged if slow."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from segue.core.percentile import hedge_after
from segue.runtime.controls import control, hedged
from segue.runtime.spec import StepSpec


async def controlled(
    spec: StepSpec, begin: Callable[[], Awaitable[Any]], let_in: Callable[[], None], late: Callable[[], bool]
) -> tuple[Any, int]:
    """What an attempt gives, and how many requests it took.

    Args:
        begin: makes a request.
        let_in: called when the attempt may begin; the wait before is not its time.
        late: whether it is cancelled because its time is up, which is a failure of what it calls.

    Raises:
        BreakerOpen: it may not begin at all.
    """
    if spec.limits is None:
        return await _requested(spec, begin)
    gate = control(spec.shared or spec.origin, spec.limits, spec.name)
    era = await gate.enter()
    ok: bool | None = False
    try:
        let_in()
        found = await _requested(spec, begin)
        ok = True
        return found
    except asyncio.CancelledError:
        ok = False if late() else None
        raise
    finally:
        gate.leave(ok, era)


async def _requested(spec: StepSpec, begin: Callable[[], Awaitable[Any]]) -> tuple[Any, int]:
    if spec.hedge is None:
        return await begin(), 1
    clock = asyncio.get_running_loop().time
    began, after = clock(), hedge_after(spec.hedge, spec.latency)
    value, requests = (await begin(), 1) if after is None else await hedged(begin, after)
    spec.latency.add(clock() - began)
    return value, requests
