"""What a store does for the engine: one small contract, in which a commit is data and not a method for each verb."""

from collections.abc import Awaitable, Collection, Sequence
from typing import NamedTuple, Protocol
from zlib import crc32

from segue.core.entries import Entry
from segue.core.lifecycle import Status
from segue.errors import CorruptRecord


class NewRun(NamedTuple):
    """A run as it is created.

    Attributes:
        status: ``running`` when its creator executes it at once, else ``queued``.
        worker: who owns it, when it is running.
        origin: the worker that created it.
        parent: the run that called it, if one did.
        input: the encoded arguments.
        due: not before, seconds since the epoch.
        concurrency: at most so many runs of its flow at a time.
        timeout: seconds that it may take, from its first claim.
    """

    id: str
    flow: str
    version: str
    code: str
    status: Status
    worker: str | None
    origin: str
    parent: str | None
    priority: int
    concurrency: int | None
    timeout: float | None
    due: float
    created: float
    started: float | None
    input: bytes
    checksum: int


class Change(NamedTuple):
    """What becomes of a run: its end, or its leaving memory.

    Attributes:
        reason: what it waits for, by name, when it parks.
        due: when to wake it, when it parks.
        result: the encoded result or failure, when it ends.
        waits: child runs that it waits for: if one has ended by now, it is queued and not parked.
        parent: the run that called it, which is queued if it is parked and this is the end.
        fallbacks: how many results the flow was given that did not come from the step itself.
    """

    run: str
    status: Status
    reason: str | None = None
    due: float | None = None
    result: bytes | None = None
    ended: float | None = None
    waits: tuple[str, ...] = ()
    parent: str | None = None
    fallbacks: int = 0


class Cell(NamedTuple):
    """A value that is kept under a name, until the next one: a step's last good result.

    Attributes:
        at: when it was made, seconds since the epoch.
    """

    name: str
    at: float
    body: bytes


class Batch(NamedTuple):
    """Everything that one group commit writes, for any number of runs.

    Attributes:
        cells: kept values, each with the run that made it.
    """

    creates: Sequence[NewRun]
    entries: Sequence[tuple[str, Entry]]
    changes: Sequence[Change]
    cells: Sequence[tuple[str, Cell]] = ()


class Row(NamedTuple):
    """A run as the store shows it."""

    id: str
    flow: str
    version: str
    code: str
    status: Status
    reason: str | None
    worker: str | None
    origin: str
    parent: str | None
    priority: int
    concurrency: int | None
    timeout: float | None
    due: float
    created: float
    started: float | None
    ended: float | None
    claims: int
    losses: int
    input: bytes
    result: bytes | None
    checksum: int
    seal: int | None = None
    fallbacks: int = 0


def check_result(row: Row) -> None:
    """Raise ``CorruptRecord`` if the run's result is not what was written."""
    if row.seal is not None and crc32(row.result or b"") != row.seal:
        raise CorruptRecord(f"run {row.id}: its result is not what was written")


class Query(NamedTuple):
    """Which runs to list, newest first."""

    flow: str | None = None
    status: tuple[Status, ...] = ()
    text: str | None = None
    """An id, or the beginning or end of one."""
    parent: str | None = None
    limit: int = 50


class Lost(NamedTuple):
    """A run taken from a dead worker."""

    run: str
    flow: str
    status: Status
    step: str | None
    """The step that it is blamed on, when its run ended for it."""


def row_of(new: NewRun) -> Row:
    """The run as a store shows it right after its creation by the worker that executes it."""
    return Row(
        new.id, new.flow, new.version, new.code, new.status, None, new.worker, new.origin, new.parent, new.priority,
        new.concurrency, new.timeout, new.due, new.created, new.started, None, 1, 0, new.input, None, new.checksum,
    )  # fmt: skip


Commit = Awaitable[dict[str, str]]
"""A batch on its way: in the end, the runs that could not be written, and why."""


class Store(Protocol):
    """One place where runs live. Safe to use from several tasks; not bound to one event loop.

    Promises that the conformance suite (``segue.testing.stores``) checks:

    - A batch is written whole or not at all, durably, and only while its worker is registered (else ``Fenced``).
    - An entry's place (run, seq) is written once. A run that has ended changes no more.
    - Ownership changes by the owner's commit, by ``claim``, or by ``sweep``; nothing else.
    """

    url: str

    async def open(self) -> None:
        """Connect; create what is missing."""
        ...

    async def close(self) -> None:
        """Let go. Registered workers stay, until ``leave``."""
        ...

    def sibling(self) -> "Store":
        """A second connection to the same place, for the thread that keeps the lease. It may block its caller."""
        ...

    async def join(self, worker: str, lease: float) -> None:
        """Register a worker, with a lease of so many seconds."""
        ...

    async def renew(self, worker: str, lease: float) -> bool:
        """Extend the lease. False: it was swept, and the worker is no more."""
        ...

    async def leave(self, worker: str) -> None:
        """Deregister; runs that it still owns are queued again."""
        ...

    async def sweep(self, by: str = "") -> list[Lost]:
        """Deregister workers whose lease lapsed, and queue their runs again, all in one transaction.

        Args:
            by: the worker that asks. It is alive: its own lease only seems to have lapsed, if the clock jumped.
        """
        ...

    async def create(self, run: NewRun) -> Row | None:
        """Create a run under an id that may be taken. Gives the run that has it already, else None."""
        ...

    def commit(self, worker: str, batch: Batch) -> Commit:
        """Begin to write a batch: it is on its way when this returns.

        The awaitable gives the runs that could not be written, and why.

        Raises:
            Fenced: the worker is not registered any more. Nothing was written.
            StoreError: nothing was written; it may be tried again.
        """
        ...

    def commit_now(self, worker: str, batch: Batch) -> dict[str, str] | None:
        """The same on the calling thread, where that is quicker. None: not now, or not here."""
        ...

    async def claim(
        self, worker: str, flows: Collection[str] | None, limit: int, origin: str | None, suspects: bool
    ) -> list[Row]:
        """Take queued and due runs, most urgent first.

        Args:
            flows: the flows that the worker knows.
            origin: only runs that this worker created.
            suspects: only runs that have twice cost a worker its life; else only the others.
        """
        ...

    async def queued(self, flow: str, limit: int) -> int:
        """How many runs of this flow wait for a worker; not counted beyond the limit."""
        ...

    async def cell(self, name: str) -> Cell | None:
        """What is kept under this name, if anything is."""
        ...

    async def load(self, run: str) -> tuple[Row, list[Entry]] | None:
        """A run with its journal.

        Raises:
            CorruptRecord: stored bytes are not what was written.
        """
        ...

    async def find(self, query: Query) -> list[Row]:
        """Runs, without journals; inputs and results are left out."""
        ...

    async def ended(self, runs: Collection[str]) -> list[Row]:
        """Those of these runs that have ended."""
        ...

    async def unfinished(self, flows: Collection[str] | None) -> list[Row]:
        """Runs that wait for a worker: queued, due, or left by a worker whose process is dead."""
        ...

    async def changed(self) -> bool:
        """Whether anyone else wrote since the last call: cheap enough to ask often."""
        ...
