"""What a store does for the engine: one small contract, in which a commit is data and not a method for each verb."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol
from zlib import crc32

from segue.core.entries import Entry
from segue.core.lifecycle import Status
from segue.core.ticks import Progress
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
        key: runs of its flow with this key go one at a time, in the order of their creation. It is ``held`` until its
            turn, and must not be ``running``. None: it goes by itself.
        frees: another run of its key may go while it waits.
        merges: ``MERGES`` if the first of its key that begins takes the others that have not along, and it is such.
        expires: if it has not begun by then, it never does.
        once: the event that it is for. A run that is created for the same one within the window is not: see ``seen``.
        window: seconds for which an event counts as the same.
        quiet: the first of its key that has not begun does not, for so many seconds from now, …
        patience: … but for no more than so many from its own creation.
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
    key: str | None = None
    frees: bool = False
    merges: int = 0
    expires: float | None = None
    once: str | None = None
    window: float = 0.0
    quiet: float | None = None
    patience: float = 0.0

    @property
    def lane(self) -> "Lane | None":
        return (self.flow, self.key) if self.key is not None else None


MERGES, TOOK = 1, 2
"""Of a run that has not begun: it is taken along with others of its key. Of one that has: it took some along, and its
input is still the first one's alone."""


class Change(NamedTuple):
    """What becomes of a run: its end, or its leaving memory.

    Attributes:
        reason: what it waits for, by name, when it parks.
        due: when to wake it, when it parks.
        result: the encoded result or failure, when it ends.
        waits: child runs that it waits for: if one has ended by now, it is queued and not parked. The same if there is
            mail that it has not taken.
        parent: the run that called it, which is queued if it is parked and this is the end.
        fallbacks: how many results the flow was given that did not come from the step itself.
        asked: it has asked people something; what is still open is withdrawn if this is the end.
        fault: of a failure, the name of the step that it came from, if one did, and the error's class.
        lane: its flow and key, if it has one: the next one may have its turn.
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
    asked: bool = False
    fault: tuple[str | None, str] | None = None
    lane: "Lane | None" = None


Lane = tuple[str, str]
"""A flow and a key: runs that go one at a time, in order."""


class Question(NamedTuple):
    """Something that a run asks people, for as long as it is kept.

    Attributes:
        id: names the run, the step, the attempt and what is shown; an answer to it can be used for nothing else.
        assignee: whose it is; None for anybody's.
        due: an answer is waited for until then, if not for ever.
        body: what is shown, encoded.
        decided: when it was; None while it is open.
        by: who answered; None where nobody did.
        decision: what was decided; None where the run withdrew it.
    """

    id: str
    run: str
    flow: str
    step: str
    attempt: int
    assignee: str | None
    asked: float
    due: float | None
    body: bytes
    decided: float | None = None
    by: str | None = None
    decision: bytes | None = None


class Mail(NamedTuple):
    """Something sent to a run from outside: an answer, a signal, the wish that it be cancelled.

    Attributes:
        once: the first mail of this name is the only one that a run gets.
        name: what it is for.
        closes: the question that it decides; if that is not open, the mail is refused.
        by: who decides it.
        sent, number: when, and its place among all mail, once it is stored.
    """

    run: str
    once: str
    name: str
    body: bytes
    sent: float = 0.0
    closes: str | None = None
    by: str | None = None
    number: int = 0


class Receipt(NamedTuple):
    """What became of mail.

    Attributes:
        ok: the run will get it, or has ended by it.
        status: how the run stands; None if there is none.
        first: the mail of that name which came before.
    """

    ok: bool
    status: Status | None
    first: Mail | None = None


class Took(NamedTuple):
    """Mail that a run takes, with the entry that it becomes; None for mail that nobody waits for any more."""

    run: str
    mail: int
    seq: int | None


class Amend(NamedTuple):
    """What a person changes about a run that no worker owns.

    Attributes:
        status: as the person saw it.
        length: of the journal, likewise. If either has changed since, nothing is written.
        to: its status from now on: queued again, or as it was.
        reason: of a failed run that stays as it is, that it was dealt with.
    """

    run: str
    status: Status
    length: int
    entries: Sequence[Entry]
    to: Status
    reason: str | None = None


class Fault(NamedTuple):
    """Failed runs that are alike.

    Attributes:
        step: the name of the step that ended them; None for the flow's own code.
        error: the error's class.
        newest: the id of the last one.
    """

    flow: str
    step: str | None
    error: str | None
    runs: int
    newest: str
    ended: float


class Cell(NamedTuple):
    """A value that is kept under a name, until the next one: a step's last good result.

    Attributes:
        at: when it was made, seconds since the epoch.
    """

    name: str
    at: float
    body: bytes


REJECTS, KEPT = 100_000, 64 << 10
"""How many rejects are kept, and how many bytes of each."""


class Reject(NamedTuple):
    """Something that came from outside, and no run could be started for.

    Attributes:
        number: its place among all of them, once it is stored.
        source: where it came from: ``webhook /traffic``, ``file inbox/a.pdf``.
        at: when it was stored, seconds since the epoch.
        reason: why it could not be taken.
        flow: for which flow it was meant.
        body: what came; of more than ``KEPT`` bytes, the beginning.
        size: bytes of all that came.
        dealt: what was done about it; None: nothing yet.
        once: a name for it. Under one name there is only the first.
    """

    number: int
    source: str
    at: float
    reason: str
    flow: str | None
    body: bytes
    size: int
    dealt: str | None = None
    once: str | None = None


class Batch(NamedTuple):
    """Everything that one group commit writes, for any number of runs.

    Attributes:
        cells: kept values, each with the run that made it.
        inputs: of runs that took others along, the input that came of it.
        questions: each with its entry, which says that it is asked.
        took: mail that its run takes.
    """

    creates: Sequence[NewRun]
    entries: Sequence[tuple[str, Entry]]
    changes: Sequence[Change]
    cells: Sequence[tuple[str, Cell]] = ()
    questions: Sequence[Question] = ()
    took: Sequence[Took] = ()
    inputs: Sequence[tuple[str, bytes]] = ()


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
    step: str | None = None
    error: str | None = None
    key: str | None = None
    frees: bool = False
    merges: int = 0
    expires: float | None = None

    @property
    def lane(self) -> Lane | None:
        return (self.flow, self.key) if self.key is not None else None


class Claimed(NamedTuple):
    """A run that a worker has taken, with all that it goes on from.

    Attributes:
        entries: its journal.
        mail: what was sent to it, and is not taken.
        problem: why it cannot go on: stored bytes are not what was written.
    """

    row: Row
    entries: list[Entry]
    mail: list[Mail]
    problem: CorruptRecord | None = None


def check_input(row: Row) -> None:
    """Raise ``CorruptRecord`` if the run's input is not what was written."""
    if crc32(row.input) != row.checksum:
        raise CorruptRecord(f"run {row.id}: its input is not what was written")


def check_result(row: Row) -> None:
    """Raise ``CorruptRecord`` if the run's result is not what was written."""
    if row.seal is not None and crc32(row.result or b"") != row.seal:
        raise CorruptRecord(f"run {row.id}: its result is not what was written")


CANCELLING = "to cancel it"
"""The reason of a queued run that was cancelled, and needs a worker to end."""


class Query(NamedTuple):
    """Which runs to list, newest first."""

    flow: str | None = None
    status: tuple[Status, ...] = ()
    text: str | None = None
    """An id, or the beginning or end of one."""
    id: str | None = None
    parent: str | None = None
    limit: int = 50
    dead: bool = False
    """Only runs that failed, and that nobody has dealt with."""
    step: str | None = None
    """Only failed runs that a step of this name ended; of ``""``, those that the flow's own code did."""
    error: str | None = None
    """Only failed runs whose error is of this class."""


class Asked(NamedTuple):
    """Which questions to list, oldest first."""

    id: str | None = None
    """An id, or the beginning of one."""
    run: str | None = None
    flow: str | None = None
    assignee: str | None = None
    open: bool = True
    """Only those that wait for an answer."""
    limit: int = 50


class Busy(NamedTuple):
    """A key with runs that have not ended.

    Attributes:
        run: the one whose turn it is; None while all wait with the key free.
        status, reason: how that one stands.
        since: when it was created.
        held: how many wait for their turn.
    """

    flow: str
    key: str
    run: str | None
    status: Status | None
    reason: str | None
    since: float | None
    held: int


class Aged(NamedTuple):
    """Runs of a flow that nobody has taken up yet.

    Attributes:
        runs: how many.
        run: the id of the one that has waited longest.
        since: since when it could have been taken up.
    """

    flow: str
    runs: int
    run: str
    since: float


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
        key=new.key, frees=new.frees, merges=new.merges, expires=new.expires,
    )  # fmt: skip


class Known(NamedTuple):
    """The run that an event has already.

    Attributes:
        same: it was made with the very input that the new one has. Where that run is gone, there is nothing to compare.
    """

    run: str
    same: bool


class Written(NamedTuple):
    """What became of a batch, where there is more to say than that it is durable.

    Attributes:
        rejected: runs that could not be written, and why.
        known: new runs that were not written, since their events have one.
    """

    rejected: Mapping[str, str] = MappingProxyType({})
    known: Mapping[str, Known] = MappingProxyType({})


WRITTEN = Written()
"""All of it is durable."""

Commit = Awaitable[Written]
"""A batch on its way."""


class Store(Protocol):
    """One place where runs live. Safe to use from several tasks; not bound to one event loop.

    Promises that the conformance suite (``segue.testing.stores``) checks:

    - A batch is written whole or not at all, durably, and only while its worker is registered (else ``Fenced``).
    - An entry's place (run, seq) is written once. A run that has ended changes no more.
    - Ownership changes by the owner's commit, by ``claim``, or by ``sweep``; nothing else.
    - Of mail to one run with one ``once``, the first is stored and the others are refused. A run that parks while there
      is mail that it has not taken is queued; mail to a parked run queues it.
    - A question is decided once, by mail, or withdrawn at the end of its run.
    - Of the runs of one flow with one key, at most one is queued, running, or waiting without freeing its key; the rest
      are held, and take their turns in the order of their creation. While one is held, another has its turn.
    - Of the runs that are created for one event within its window, one is written.
    - A run that ``merges`` and is claimed for the first time takes those of its key along that are held, merge, are due
      and have not begun, the earliest first: they end as ``merged``, and their inputs stand in its journal.
    - Of several that let a schedule come further from where it was, one does.
    - A run that has not begun by the time when it ``expires`` is never claimed: it ends as ``expired``.
    - A reject is written once by its name, and is kept until it was dealt with.
    """

    url: str
    clock: Callable[[], float]
    """Gives seconds since the epoch."""

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

    async def create(self, run: NewRun, entries: Sequence[Entry] = ()) -> Row | None:
        """Create a run under an id that may be taken, with the beginning of its journal.

        Gives the run that has the id already, else None.

        Raises:
            OwnKey: it would wait for its turn behind the run that calls it, or one that calls that.
        """
        ...

    async def seen(self, flow: str, events: Sequence[str]) -> dict[str, str]:
        """Which run was the first for each of these events, as long as that is known."""
        ...

    async def lanes(self, flow: str | None = None, limit: int = 50) -> list[Busy]:
        """The keys that are busy, those with the longest queues first."""
        ...

    async def send(self, mail: Mail, *, unbegun: bytes | None = None, owner: str | None = None) -> Receipt:
        """Store mail for a run that has not ended, durably, and queue the run if it is parked.

        Args:
            unbegun: a run that was never claimed ends with this instead, as cancelled.
            owner: refuse it unless this worker executes the run.
        """
        ...

    async def mail(self, *, run: str | None = None, worker: str | None = None) -> list[Mail]:
        """Mail that was not taken yet, oldest first: of one run, or of all that a worker executes."""
        ...

    async def questions(self, which: Asked) -> list[Question]:
        """What runs ask people.

        Raises:
            CorruptRecord: stored bytes are not what was written.
        """
        ...

    async def schedules(self, names: Sequence[str]) -> dict[str, Progress]:
        """How far these schedules have come, by name; those that were seen before."""
        ...

    async def progress(self, name: str, was: Progress | None, to: Progress) -> bool:
        """Let a schedule come further, durably. False: it is not as it was, and stays as it is.

        Args:
            was: None if it was never seen.
        """
        ...

    async def reject(self, reject: Reject) -> int:
        """Store what could not be taken, durably. Gives its number, or that of the one that has its name already.

        There are ``REJECTS`` at most: beyond that, those that were dealt with make room, the oldest first.

        Raises:
            StoreFull: none of them was dealt with. Nothing was written.
        """
        ...

    async def rejects(self, limit: int, number: int | None = None, open: bool = True) -> list[Reject]:
        """What could not be taken, newest first.

        Args:
            number: only this one, whether it was dealt with or not.
            open: only those that nobody dealt with.

        Raises:
            CorruptRecord: stored bytes are not what was written.
        """
        ...

    async def deal(self, number: int, how: str) -> bool:
        """Note what was done about a reject. False: there is none that is open."""
        ...

    async def amend(self, change: Amend) -> bool:
        """Append to the journal of a run that no worker owns, and queue it, if it is still as it was. False: it is not.

        A cancellation that was sent to it is dealt with; signals and answers are still to be taken.
        """
        ...

    async def faults(self, flow: str | None = None) -> list[Fault]:
        """Failed runs that nobody has dealt with, by what they failed of, the most frequent first."""
        ...

    def commit(self, worker: str, batch: Batch) -> Commit:
        """Begin to write a batch: it is on its way when this returns.

        Raises:
            Fenced: the worker is not registered any more. Nothing was written.
            StoreError: nothing was written; it may be tried again.
        """
        ...

    def commit_now(self, worker: str, batch: Batch) -> Written | None:
        """The same on the calling thread, where that is quicker. None: not now, or not here."""
        ...

    async def claim(
        self, worker: str, flows: Collection[str] | None, limit: int, origin: str | None, suspects: bool
    ) -> list[Claimed]:
        """Take queued and due runs, most urgent first, and load them.

        Args:
            flows: the flows that the worker knows.
            origin: only runs that this worker created.
            suspects: only runs that have twice cost a worker its life; else only the others.
        """
        ...

    async def queued(self, flow: str, limit: int) -> int:
        """How many runs of this flow wait for a worker; not counted beyond the limit."""
        ...

    async def aged(self, before: float, limit: int = 10_000) -> list[Aged]:
        """Runs that have waited for their first worker since before this time, flow by flow, the oldest first.

        One that was handed back or woken, or whose turn came after another's, does not count: nobody knows since when
        it waits.

        Args:
            limit: so many runs are looked at, at most.
        """
        ...

    async def cell(self, name: str) -> Cell | None:
        """What is kept under this name, if anything is."""
        ...

    async def cells(self, prefix: str) -> list[Cell]:
        """All that is kept under names that begin so, in the order of the names."""
        ...

    async def keep(self, cell: Cell, was: Cell | None) -> bool:
        """Keep a value, durably, if what is there is still what was seen there. False: it is not."""
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

    async def flows(self) -> list[str]:
        """The names of all flows that have runs, in order."""
        ...

    async def ended(self, runs: Collection[str]) -> list[Row]:
        """Those of these runs that have ended."""
        ...

    async def unfinished(self, flows: Collection[str] | None, limit: int = 1_000_000) -> list[Row]:
        """Runs that wait for a worker: queued, due, or left by a worker whose process is dead."""
        ...

    async def orphans(self) -> set[str]:
        """Runs that were left by a worker whose process is dead."""
        ...

    def stirred(self) -> int | None:
        """A file descriptor that is readable once somebody may have written since it was read; it is read until empty.

        The caller closes it. None: there is no such thing here, and whoever wants to know has to look.
        """
        ...

    async def changed(self) -> bool:
        """Whether anyone else wrote since the last call: cheap enough to ask often."""
        ...
