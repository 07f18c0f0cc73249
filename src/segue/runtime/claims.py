"""What an engine takes from the queue, and how a run comes into memory.

A run that twice cost its worker its life is a *suspect*. It is taken by itself, and for a while nothing else is taken
beside it: if the worker dies again, there is no doubt which run did it.
"""

import asyncio
import logging
from typing import TYPE_CHECKING
from zlib import crc32

from segue.core.lifecycle import Status
from segue.errors import CorruptRecord
from segue.runtime.failures import failure_of
from segue.runtime.journal import Submission
from segue.runtime.mailbox import merged
from segue.runtime.registry import FLOWS
from segue.runtime.spec import FlowSpec
from segue.stores.base import TOOK, Change, Claimed, Row
from segue.values import encode

if TYPE_CHECKING:
    from segue.runtime.engine import Engine

log = logging.getLogger("segue")

AGAIN_AFTER = 0.5
"""Seconds after which what the store did not take, or give, is tried again."""

QUARANTINE = 5.0
"""Seconds for which a suspect keeps others out of a worker at most, and others a suspect."""

_AT_A_TIME = 64


class Claims:
    """Claims for one engine."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self._loading = 0
        self._asked = 0  # runs that are being claimed just now, at most
        self._empty_at = (
            0.0  # when nothing was in memory last: a worker that is never empty takes suspects all the same
        )
        self._apart_until = 0.0
        self._queued = 0
        self.backlog = False
        """Runs may wait that this engine could execute: a new one must not go before them."""

    async def take(self, now: float) -> None:
        """Claim what there is room for, and bring it into memory."""
        engine = self.engine
        room = engine.concurrency - len(engine.runs) - self._loading
        known = [name for name in FLOWS if engine.flows is None or name in engine.flows]
        if room <= 0 or not known:
            return
        if empty := not engine.runs and not self._loading:
            self._empty_at = now
        suspects = [run for run in engine.runs.values() if run.suspect]
        if now < self._apart_until and (self._loading or any(not run.progressed for run in suspects)):
            return
        alone = not suspects or now >= self._apart_until  # one may wait for another, which only we would execute
        for_a_suspect = alone and (empty or now - self._empty_at > QUARANTINE)
        if for_a_suspect and await self._claim(known, 1, suspects=True) > 0:
            self._apart_until = now + QUARANTINE
            return
        room = engine.concurrency - len(engine.runs) - self._loading  # others may have begun meanwhile
        if room <= 0:
            return
        limit, heard = min(room, _AT_A_TIME), self._queued
        self.backlog = await self._claim(known, limit, suspects=False) == limit or self._queued > heard
        if self.backlog and not self.full():
            engine.nudge()

    def full(self) -> bool:
        """Whether there is no room for one more run, those counted that are on their way here."""
        engine = self.engine
        return len(engine.runs) + self._loading + self._asked >= engine.concurrency

    def queued(self) -> None:
        """A run was queued that this engine may execute."""
        self._queued += 1
        self.backlog = True

    async def _claim(self, known: list[str], limit: int, *, suspects: bool) -> int:
        engine = self.engine
        found: list[Claimed] = []
        self._asked = limit
        try:
            for origin in (None,) if engine.adopts else (engine.worker, *engine.origins):
                if len(found) < limit:
                    found += await engine.store.claim(engine.worker, known, limit - len(found), origin, suspects)
        finally:
            self._asked = 0
        for claimed in found:
            self._bring_in(claimed)
        return len(found)

    def _bring_in(self, claimed: Claimed) -> None:
        engine, row = self.engine, claimed.row
        if row.worker != engine.worker or not engine.is_open:
            return  # the lease was lost meanwhile
        spec = FLOWS[row.flow]
        try:
            if claimed.problem is not None:
                raise claimed.problem
            if row.merges == TOOK:
                self._loading += 1
                engine.spawn(self._merge(spec, claimed))
                return
            engine.wake(engine.take_up(spec, row, claimed.entries, new=False, mail=claimed.mail))
        except CorruptRecord as error:
            log.error("run %s of %r ends: %s", row.id, row.flow, error)
            engine.runs.pop(row.id, None)
            self._end_unloaded(row, error)

    async def _merge(self, spec: FlowSpec, claimed: Claimed) -> None:
        """Make one input of all the events that a run took along, and begin with that."""
        engine, row = self.engine, claimed.row
        try:
            try:
                input = await engine.spilled(merged(spec, claimed.entries, engine.artifacts))
            except Exception as error:
                log.error("run %s of %r ends: its events cannot be taken together: %s", row.id, row.flow, error)
                self._end_unloaded(row, error)
                return
            if row.worker == engine.worker and engine.is_open:
                row = row._replace(input=input, checksum=crc32(input), merges=0)
                run = engine.take_up(spec, row, claimed.entries, new=False, mail=claimed.mail)
                engine.journal.rewrite(run, input)
                engine.wake(run)
        finally:
            self._loading -= 1

    def _end_unloaded(self, row: Row, error: BaseException) -> None:
        engine = self.engine
        done: asyncio.Future[None] = engine.ambient.create_future()
        done.add_done_callback(lambda done: done.cancelled() or done.exception())
        result = encode(failure_of(error), "failure")
        end = Change(row.id, Status.FAILED, None, None, result, engine.clock(), parent=row.parent)
        end = end._replace(asked=True, fault=(None, type(error).__name__), lane=row.lane)
        engine.journal.change(Submission(row.id, done), end)
        engine.flush_soon()
