"""``Retention``: how long a store keeps runs that have ended, and the loop in a worker that keeps to it."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from segue.errors import DeclarationError, StoreError, UsageError
from segue.policies import Duration, seconds
from segue.runtime.threads import Pool
from segue.stores.artifacts import Artifacts
from segue.stores.base import Store
from segue.stores.pruning import STATUSES, USUAL, Order, Pruned, Pruner
from segue.stores.sqlite import SqliteStore

log = logging.getLogger("segue")

SHORTEST = 60.0
"""Seconds for which a run stays at least after its end: whoever waits for that may look a little later."""

SHARE = 0.01
"""The part of the time that may go into looking for artifacts that nothing refers to."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long to keep runs that have ended. A worker that has it deletes older ones, with all that belongs to them.

    Args:
        older_than: runs that ended longer ago than this go.
        statuses: of these only: ``completed``, ``cancelled``, ``merged``, ``expired``, ``discarded`` (failed, and
            dealt with), ``failed``.
        every: how often to look.

    >>> Retention("30d")
    Retention(older_than=2592000.0, statuses=('completed', 'cancelled', 'merged', 'expired', 'discarded'), every=3600.0)
    """

    older_than: float
    statuses: tuple[str, ...]
    every: float

    def __init__(self, older_than: Duration, statuses: Sequence[str] = USUAL, every: Duration = "1h") -> None:
        object.__setattr__(self, "older_than", _at_least(SHORTEST, "older_than", older_than))
        object.__setattr__(self, "every", _at_least(1.0, "every", every))
        object.__setattr__(self, "statuses", checked_statuses(statuses))

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> "Retention":
        """What ``[retention]`` in a project's settings says.

        Raises:
            DeclarationError: it says something unknown, or not how old runs may get.
        """
        known = {"older_than": "older_than", "status": "statuses", "every": "every"}
        if unknown := [key for key in table if key not in known]:
            raise DeclarationError(f"{', '.join(unknown)}: there are {', '.join(known)} in [retention]")
        if "older_than" not in table:
            raise DeclarationError('[retention] needs older_than, such as older_than = "30d"')
        return cls(**{known[key]: value for key, value in table.items()})

    async def keep(self, store: Store, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Prune the store again and again, until cancelled: ``engine.spawn(retention.keep(engine.store))``.

        Any number of workers may do this to one store: those whose turn it is not leave it alone.

        Raises:
            UsageError: such a store cannot be pruned.
        """
        keeper = Keeper(self, store)
        while True:
            await keeper.tick()
            await sleep(self.every)


class Keeper:
    """Keeps one store to a retention, a tick at a time."""

    def __init__(self, retention: Retention, store: Store) -> None:
        if not isinstance(store, SqliteStore):
            raise UsageError(f"{store.url} cannot be pruned: it is no SQLite store")
        self.retention, self.store = retention, store
        self.artifacts = Artifacts.beside(store.path) if store.path is not None else None
        self._known: dict[str, AbstractSet[str]] = {}
        self._sweep_at = 0.0
        self._pool = Pool("segue-retention", 1)

    async def tick(self) -> Pruned | None:
        """Prune once, on a thread. None: another worker does it or did, or the store cannot do it now."""
        stop = threading.Event()
        pruning = self._pool.submit(lambda: self._prune(stop))
        try:
            return await asyncio.shield(pruning)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([pruning])
            raise
        except StoreError as error:
            log.warning("old runs cannot be pruned yet: %s", error)
            return None

    def _prune(self, stop: threading.Event) -> Pruned | None:
        pruner = Pruner(self.store, self.artifacts, stopped=stop.is_set, pause=stop.wait, known=self._known)
        with pruner.opened():
            # a little less, or a worker whose sleep ends a little early would wait for twice as long
            if not pruner.take_turn(0.9 * self.retention.every):
                return None
            pruner.prune(Order(self.store.clock() - self.retention.older_than, self.retention.statuses))
            began = time.monotonic()
            if began >= self._sweep_at and not stop.is_set():
                pruner.sweep()
                ended = time.monotonic()
                self._sweep_at = ended + (ended - began) / SHARE
        if pruner.pruned.runs or pruner.pruned.artifacts:
            log.info("pruned %s", described(pruner.pruned))
        return pruner.pruned


def _at_least(least: float, what: str, given: Duration) -> float:
    if (value := seconds(given)) < least:
        raise DeclarationError(f"{what} is {least:g} s or more, not {given!r}")
    return value


def checked_statuses(statuses: Sequence[str]) -> tuple[str, ...]:
    """How runs to be pruned have ended.

    Raises:
        DeclarationError: they cannot end like that, or none is named.
    """
    wrong = [status for status in statuses if status not in STATUSES] if not isinstance(statuses, str) else [statuses]
    if wrong or not statuses:
        raise DeclarationError(f"statuses are some of {', '.join(STATUSES)}, not {statuses!r}")
    return tuple(dict.fromkeys(statuses))


def described(pruned: Pruned) -> str:
    """What was pruned, in words.

    >>> described(Pruned(runs=1, entries=1200, bytes=2048))
    '1 run with 1,200 entries (2.0 KiB)'
    """
    parts = [f"{_counted(pruned.runs, 'run')} with {_counted(pruned.entries, 'entry', 'entries')}"]
    if pruned.values:
        parts.append(_counted(pruned.values, "kept value"))
    parts[-1] += f" ({size(pruned.bytes)})"
    if pruned.artifacts:
        parts.append(f"{_counted(pruned.artifacts, 'artifact')} ({size(pruned.artifact_bytes)})")
    return ", ".join(parts)


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size(count: float) -> str:
    """A number of bytes, in words.

    >>> size(512), size(3 << 20)
    ('512 bytes', '3.0 MiB')
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
