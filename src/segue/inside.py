"""What a flow's body uses besides steps. Outside flows each does what its name says, without a record."""

import asyncio
import hashlib
import logging
import random as _random
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from segue.errors import UsageError
from segue.policies import Duration, seconds
from segue.runtime.call import Call
from segue.runtime.context import HERE, Beside, Place, place
from segue.runtime.run import Fallback


def sleep(duration: Duration) -> Coroutine[Any, Any, None]:
    """Wait. In a flow the wait is durable: a long one costs no memory, and goes on after a crash.

    >>> await sleep("2h")
    """
    return asyncio.sleep(seconds(duration))


class Limit:
    """An ``asyncio.timeout`` that is also a deadline for what is called within. See ``timeout``."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._timeout = asyncio.timeout(limit)
        self._place: Place | None = None
        self._before: tuple[float | None, int] = None, -1

    def expired(self) -> bool:
        """Whether the time is up."""
        return self._timeout.expired()

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._place = here = place()
        if here is not None and self._limit is not None:
            until = here.run.loop.now + self._limit
            self._before = here.deadline, here.since
            if here.deadline is None or until < here.until:
                here.deadline, here.since = until, here.run.at
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._place is not None and self._limit is not None:
            self._place.deadline, self._place.since = self._before
        return await self._timeout.__aexit__(kind, error, trace)


def timeout(duration: Duration | None) -> Limit:
    """``asyncio.timeout`` that takes any duration, and is a deadline for the steps and child runs called within.

    They see what remains (``remaining``), do not retry beyond it, and are not begun with less than their ``minimum``.

    >>> async with timeout("30s"):
    ...     await optimise(plan)
    """
    return Limit(None if duration is None else seconds(duration))


def remaining() -> float | None:
    """Seconds that are left before the deadline of the step or flow that the code is in; None if it has none."""
    here = HERE.get()
    if isinstance(here, Call):
        return here.remaining()
    if isinstance(here, Beside) and here.identity is not None and here.identity.until is not None:
        return max(0.0, here.identity.until - time.time())
    inside = place()
    if inside is None or inside.deadline is None:
        return None
    return max(0.0, inside.until - inside.run.loop.now)


def now() -> float:
    """The time, in seconds since the epoch. In a flow: when its last entry was recorded, the same at each replay."""
    here = place()
    return time.time() if here is None else here.run.loop.now


def _seed(what: str) -> bytes | None:
    here = place()
    if here is None:
        return None
    key = f"{here.run.origin}\0{here.identify(what)}"
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
        return here.run.idempotency_key(here.step, here.rung)
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
        fallbacks: in a flow: the results that it has been given so far and that did not come from the step itself.
    """

    id: str
    flow: str
    step: str | None = None
    attempt: int | None = None
    replaying: bool = False
    fallbacks: tuple[Fallback, ...] = ()


def current_run() -> RunInfo:
    """Which run the code belongs to, in a flow or a step.

    Raises:
        UsageError: in neither.
    """
    here = HERE.get()
    if isinstance(here, Call):
        return RunInfo(here.run.id, here.run.spec.name, here.step, here.attempt)
    if isinstance(here, Beside) and here.identity is not None:
        return RunInfo(*here.identity[:4])
    inside = place()
    if inside is None:
        raise UsageError("current_run() belongs in a flow, or in a step that a flow has called")
    run = inside.run
    return RunInfo(run.id, run.spec.name, replaying=run.tape.replaying, fallbacks=tuple(run.fallbacks))


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
