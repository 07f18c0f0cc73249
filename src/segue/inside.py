"""What a flow's body uses besides steps. Outside flows each does what its name says, without a record."""

import asyncio
import hashlib
import logging
import random as _random
import time
import uuid
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from segue.errors import UsageError
from segue.policies import Duration, seconds
from segue.runtime.asked import Call
from segue.runtime.context import HERE, Beside, place

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
T = TypeVar("T")


@overload
async def gather(a: Awaitable[A], b: Awaitable[B], /) -> tuple[A, B]: ...
@overload
async def gather(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /) -> tuple[A, B, C]: ...
@overload
async def gather(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], /) -> tuple[A, B, C, D]: ...
@overload
async def gather(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], e: Awaitable[E], /
) -> tuple[A, B, C, D, E]: ...
@overload
async def gather(*calls: Awaitable[T]) -> tuple[T, ...]: ...
async def gather(*calls: Awaitable[Any]) -> tuple[Any, ...]:
    """Run calls at the same time and wait for all. When one fails the others are cancelled, and their ends recorded.

    Unlike ``asyncio.gather``, which leaves the others running; that works in flows too.

    Raises:
        Exception: the first failure, as it came.

    >>> traffic, weather = await gather(congestion(area), forecast(area))
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return tuple(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def sleep(duration: Duration) -> Coroutine[Any, Any, None]:
    """Wait. In a flow the wait is durable: a long one costs no memory, and goes on after a crash.

    >>> await sleep("2h")
    """
    return asyncio.sleep(seconds(duration))


def timeout(duration: Duration | None) -> asyncio.Timeout:
    """``asyncio.timeout`` that takes any duration.

    >>> async with timeout("30s"):
    ...     await optimise(plan)
    """
    return asyncio.timeout(None if duration is None else seconds(duration))


def now() -> float:
    """The time, in seconds since the epoch. In a flow: when its last entry was recorded, the same at each replay."""
    here = place()
    return time.time() if here is None else here.run.loop.now


def _seed(what: str) -> bytes | None:
    here = place()
    if here is None:
        return None
    key = f"{here.run.id}\0{here.identify(what)}"
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def random() -> float:
    """A random number in [0, 1). In a flow: the same at each replay."""
    seed = _seed("@random")
    return _random.random() if seed is None else (int.from_bytes(seed[:8]) >> 11) / (1 << 53)


def uuid4() -> uuid.UUID:
    """A random UUID. In a flow: the same at each replay."""
    seed = _seed("@uuid4")
    return uuid.uuid4() if seed is None else uuid.UUID(bytes=seed, version=4)


def idempotency_key() -> str:
    """In a step: a key for outside systems, the same for every attempt and replay of this step, and for no other.

    Send it with an effect (a payment, a mail), and whoever honours it applies the effect once.

    Raises:
        UsageError: the code is not in a step of a flow.
    """
    here = HERE.get()
    if isinstance(here, Call):
        return here.run.idempotency_key(here.step)
    if isinstance(here, Beside) and here.identity is not None:
        return here.identity.key
    raise UsageError("idempotency_key() belongs in a step that a flow has called")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Which run the code belongs to.

    Attributes:
        id: the run's id.
        flow: its flow's name.
        step: the step's identity, in a step.
        attempt: the number of the attempt, from 1, in a step.
        replaying: in a flow: what is executed now was executed before.
    """

    id: str
    flow: str
    step: str | None = None
    attempt: int | None = None
    replaying: bool = False


def current_run() -> RunInfo:
    """Which run the code belongs to, in a flow or a step.

    Raises:
        UsageError: in neither.
    """
    here = HERE.get()
    if isinstance(here, Call):
        return RunInfo(here.run.id, here.run.spec.name, here.step, here.attempt)
    if isinstance(here, Beside) and here.identity is not None:
        run, flow, step, attempt, _ = here.identity
        return RunInfo(run, flow, step, attempt)
    inside = place()
    if inside is None:
        raise UsageError("current_run() belongs in a flow, or in a step that a flow has called")
    run = inside.run
    return RunInfo(run.id, run.spec.name, replaying=run.tape.replaying)


class _OncePerRun(logging.LoggerAdapter[logging.Logger]):
    """A logger that is silent while a flow's code is replayed, and notes the run."""

    def isEnabledFor(self, level: int) -> bool:
        inside = place()
        return (inside is None or not inside.run.tape.replaying) and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: Any) -> Any:
        here = HERE.get()
        run = getattr(here, "run", None)  # a step in a process of its own has none
        if run is not None:
            kwargs["extra"] = {**(kwargs.get("extra") or {}), "run": run.id, "flow": run.spec.name}
        return msg, kwargs


log = _OncePerRun(logging.getLogger("segue.flow"), {})
"""A standard logger for flows and steps: it says each thing once, however often the flow is replayed."""
