"""What a caller asks for, and holds while the run goes on."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from segue.core.lifecycle import Status
from segue.errors import UsageError
from segue.runtime.asked import run_error
from segue.runtime.failures import read_failure
from segue.runtime.spec import FlowSpec
from segue.values import plain

if TYPE_CHECKING:
    from segue.runtime.engine import Engine

Ended = Callable[[Status, bytes | None], None]
"""Called with how a run ended."""


class Options(NamedTuple):
    """What a caller may say about one run, apart from the flow's own parameters."""

    id: str | None = None
    timeout: float | None = None
    priority: int | None = None
    delay: float = 0.0
    concurrency: int | None = None


class Ticket:
    """One run, for whoever started it: its end, as a value or an error."""

    def __init__(self, engine: "Engine", spec: FlowSpec | None, id: str, created: float) -> None:
        self.engine, self.spec, self.id, self.created = engine, spec, id, created
        self.cause: BaseException | None = None
        self.refusal: BaseException | None = None
        self.found = False
        self._end: asyncio.Future[tuple[Status, bytes | None]] | None = None

    def follow(self) -> None:
        """Register for the run's end, if that is not done."""
        if self._end is None:
            self._end = self.engine.ambient.create_future()
            self.engine.follow(self.id, self._ended)

    def _ended(self, status: Status, result: bytes | None) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result((status, result))

    def left(self) -> None:
        """The engine is closed: the run's end will not be heard of here."""
        if self._end is not None and not self._end.done():
            said = f"the engine was closed before run {self.id} ended; it goes on in the next one that knows its flow"
            self._end.set_exception(UsageError(said))
            self._end.exception()  # nobody has to wait for it

    def refuse(self, error: BaseException) -> None:
        """The run could not be created."""
        self.refusal = error

    async def result(self) -> Any:
        """The run's result, when it has ended.

        Raises:
            RunFailed: it ended otherwise.
        """
        engine = self.engine
        if self._end is None:
            self.follow()
            if not engine.is_local(self.id):
                row = await engine.row(self.id)
                if row.status.terminal:
                    engine.artifacts.renew(row.result)  # it may be pruned now
                    self._ended(row.status, row.result)
        assert self._end is not None
        status, data = await asyncio.shield(self._end)
        if self.refusal is not None:
            raise self.refusal
        data = engine.artifacts.fetch(data)
        if status is Status.MERGED:  # the run that took its event along has its result
            return await Ticket(engine, self.spec, str(plain(data)), self.created).result()
        if status is Status.COMPLETED:
            return self.spec.output.decode(data or b"") if self.spec is not None else plain(data)
        failure = read_failure(data)
        flow = self.spec.name if self.spec is not None else (await engine.row(self.id)).flow
        raise run_error(self.id, flow, failure) from self.cause
