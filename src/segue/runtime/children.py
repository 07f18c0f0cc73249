"""Child runs: a flow that a flow calls is a run of its own, executed here unless it is already elsewhere."""

import asyncio
import logging
from typing import TYPE_CHECKING

from segue.core.lifecycle import Status
from segue.errors import CorruptRecord, Failure, Fenced, StoreError, UnknownRun
from segue.runtime.asked import ChildCall
from segue.runtime.claims import AGAIN_AFTER
from segue.runtime.failures import failure_of
from segue.runtime.journal import Submission
from segue.runtime.redrives import Deed, pack_deed
from segue.stores.base import Mail, row_of
from segue.values import encode

if TYPE_CHECKING:
    from segue.runtime.engine import Engine

log = logging.getLogger("segue")

_WHY = "cancelled by its parent"


class Children:
    """The child runs of one engine's runs."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self._finding: set[str] = set()
        self._unwanted: set[str] = set()

    def start(self, call: ChildCall) -> None:
        """A flow calls a flow."""
        parent = call.run
        self.engine.follow(call.id, call.ended)
        known = not parent.new or call.options.id is not None or call.about.key is not None
        if not known and self.engine.artifacts.reference(call.input) is call.input:
            self._begin(call)
        else:
            self._finding.add(call.id)
            self.engine.spawn(self._find(call))

    def cancel(self, call: ChildCall) -> None:
        """Cancel a child run, wherever it executes."""
        run = self.engine.runs.get(call.id)
        if run is not None:
            run.cancel(_WHY)
        elif call.id in self._finding:
            self._unwanted.add(call.id)
        else:
            self.engine.spawn(self._send_cancel(call))

    async def _send_cancel(self, call: ChildCall) -> None:
        body = pack_deed(Deed("", _WHY))
        unbegun = encode(Failure("RunCancelled", _WHY), "failure")
        while not call.over:
            mail = Mail(call.id, "cancel", "cancel", body)
            try:
                receipt = await self.engine.store.send(mail, unbegun=unbegun)
            except StoreError as error:
                log.warning("child run %s cannot be cancelled yet: %s", call.id, error)
            else:
                if receipt.status is not None:
                    break  # else it is on its way to the store still
            await asyncio.sleep(AGAIN_AFTER)
        self.engine.look_for_mail()

    def cancelled(self, id: str) -> bool:
        """Whether this run, which begins, was cancelled before it did. Asked once."""
        if id not in self._unwanted:
            return False
        self._unwanted.discard(id)
        return True

    def sought(self, id: str) -> bool:
        """Whether it may execute here in a moment."""
        return id in self._finding

    def _begin(self, call: ChildCall) -> None:
        engine = self.engine
        new = engine.new_run(call.spec, call.input, call.options._replace(id=call.id), call.about, call.run.id)
        if new.status is Status.RUNNING:
            run = engine.take_up(call.spec, row_of(new), [], new=True)
            engine.journal.create(run, new)
            engine.wake(run)
        else:
            done: asyncio.Future[None] = engine.ambient.create_future()
            done.add_done_callback(lambda done: done.cancelled() or done.exception())
            engine.journal.create(Submission(new.id, done), new)
            engine.flush_soon()

    async def _find(self, call: ChildCall) -> None:
        """The parent was interrupted, or names the child itself: it may exist."""
        try:
            while True:
                try:
                    return await (self._cancel_if_exists(call) if call.stopping else self._create_if_missing(call))
                except Fenced:
                    return None  # its parent has left memory, or does so in a moment
                except CorruptRecord:
                    raise
                except StoreError as error:
                    log.warning("child run %s cannot be looked up yet: %s", call.id, error)
                    await asyncio.sleep(AGAIN_AFTER)
        except Exception as error:
            call.ended(Status.FAILED, encode(failure_of(error), "failure"))
        finally:
            self._finding.discard(call.id)

    async def _create_if_missing(self, call: ChildCall) -> None:
        engine = self.engine
        input = await engine.spilled(call.input)
        new = engine.new_run(call.spec, input, call.options._replace(id=call.id), call.about, call.run.id)
        existing = await engine.store.create(new)
        if existing is not None:
            engine.check_same(existing, new, call.spec)
            if existing.status.terminal:
                engine.ended_elsewhere(existing)
            elif call.stopping:
                self._finding.discard(call.id)
                self.cancel(call)
            engine.nudge()
        elif new.status is Status.RUNNING and new.worker == engine.worker:
            engine.wake(engine.take_up(call.spec, row_of(new), [], new=True))
        elif call.stopping:
            self._finding.discard(call.id)
            self.cancel(call)
        else:
            engine.nudge()  # it is queued, and may be claimed here

    async def _cancel_if_exists(self, call: ChildCall) -> None:
        try:
            row = await self.engine.row(call.id)
        except UnknownRun:
            call.ended(Status.CANCELLED, encode("it had not begun", "note"))
        else:
            if row.status.terminal:
                self.engine.ended_elsewhere(row)
            else:
                self._finding.discard(call.id)
                self.cancel(call)
