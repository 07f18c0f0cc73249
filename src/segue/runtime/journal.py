"""The group committer: every write of every run goes through here.

All that the runs wrote during one tick of the engine is one batch, so that durability costs one fsync for many steps.
As long as the store commits within a millisecond or two, the batch is written on the spot: the hop to another thread
and back, and the turns for Python's lock, would cost more (64 runs: 18,700 steps a second against 26,000). With a
slower disk the store's thread writes, and while one batch is on its way the next gathers.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from segue.core.entries import Entry
from segue.errors import Fenced, StoreError
from segue.stores.base import Batch, Cell, Change, Commit, Known, NewRun, Question, Store, Took, Written

log = logging.getLogger("segue")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Writer(Protocol):
    """A run, as the journal sees it."""

    id: str
    submitted: int

    def written(self, upto: int) -> None:
        """So many of its writes are durable."""
        ...

    def refused(self, error: BaseException) -> None:
        """It could not be created."""
        ...

    def rejected(self, why: str) -> None:
        """The store says that its journal is not where we thought."""
        ...


class Submission:
    """Runs that are written for others to execute.

    Args:
        id: of one of them. They are written together, so what happens to it happens to all.
        done: tells when they are written, or why they can't be.

    Attributes:
        known: those that were not, since their events have a run already.
    """

    def __init__(self, id: str, done: "asyncio.Future[None]") -> None:
        self.id, self.done, self.submitted = id, done, 0
        self.known: Mapping[str, Known] = {}

    def written(self, upto: int) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def refused(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def rejected(self, why: str) -> None:
        self.refused(StoreError(f"run {self.id} could not be written: {why}"))


class Journal:
    """Gathers writes and commits them, a batch at a time.

    Args:
        worker: whose lease fences the writes.
        fenced: called once when the lease is lost.
    """

    def __init__(self, store: Store, worker: str, fenced: Callable[[], None]) -> None:
        self.store, self.worker = store, worker
        self.trouble: StoreError | None = None
        """Why the store takes nothing at the moment."""
        self._fenced = fenced
        self._creates: list[NewRun] = []
        self._entries: list[tuple[str, Entry]] = []
        self._changes: list[Change] = []
        self._cells: list[tuple[str, Cell]] = []
        self._questions: list[Question] = []
        self._took: list[Took] = []
        self._inputs: list[tuple[str, bytes]] = []
        self._writers: dict[Writer, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._open = True

    def create(self, run: Writer, *new: NewRun) -> None:
        """The run begins; or these are written for others to execute."""
        self._creates += new
        self._sign(run)

    def write(self, run: Writer, entry: Entry) -> None:
        """Something happened in the run."""
        self._entries.append((run.id, entry))
        self._sign(run)

    def change(self, run: Writer, change: Change) -> None:
        """The run ends or leaves memory."""
        self._changes.append(change)
        self._sign(run)

    def keep(self, run: Writer, cell: Cell) -> None:
        """A value to keep, with the entry of this run that was written just before."""
        self._cells.append((run.id, cell))

    def ask(self, question: Question) -> None:
        """Something to ask people, with the entry of its run that was written just before."""
        self._questions.append(question)

    def took(self, took: Took) -> None:
        """Mail that a run took, with the entry or change that was written just before."""
        self._took.append(took)

    def rewrite(self, run: Writer, input: bytes) -> None:
        """The run took events along: its input is what became of them."""
        self._inputs.append((run.id, input))
        self._sign(run)

    def _sign(self, run: Writer) -> None:
        run.submitted += 1
        self._writers[run] = None

    def flush(self) -> None:
        """Commit what has gathered, unless a batch is on its way: then that one's end takes it along."""
        if self._task is not None or not self._writers or not self._open:
            return
        batch, writers = self._take()
        try:
            written = self.store.commit_now(self.worker, batch)
        except (Fenced, StoreError):
            written = None  # the slow path says what to do
        if written is not None:
            self._settle(writers, written)
            return
        on_its_way = self.store.commit(self.worker, batch)
        self._task = asyncio.get_running_loop().create_task(self._commit(on_its_way, batch, writers))

    async def drained(self) -> None:
        """Wait until all that was written is durable, or can't be."""
        while self._task is not None and self.trouble is None:
            await asyncio.wait([self._task], timeout=_LONGEST_PAUSE)

    async def ended(self) -> None:
        """Wait until the batch that was on its way when the journal was closed has arrived, or is given up."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def close(self) -> None:
        """Write nothing more. Runs that are not written yet never were."""
        self._open = False
        batch, writers = self._take()
        self._refuse(
            batch.creates, writers, StoreError("this worker ended, or lost its lease, before the run was written")
        )

    def _take(self) -> tuple[Batch, dict[Writer, int]]:
        batch = Batch(
            self._creates, self._entries, self._changes, self._cells, self._questions, self._took, self._inputs
        )
        writers = {run: run.submitted for run in self._writers}
        self._creates, self._entries, self._changes, self._writers = [], [], [], {}
        self._cells, self._questions, self._took, self._inputs = [], [], [], []
        return batch, writers

    async def _commit(self, on_its_way: Commit, batch: Batch, writers: dict[Writer, int]) -> None:
        try:
            while True:
                written = await self._arrived(on_its_way, batch, writers)
                before = writers
                more = bool(self._writers) and self._open
                if more:  # the writer's thread goes on while the loop deals with what has arrived
                    batch, writers = self._take()
                    on_its_way = self.store.commit(self.worker, batch)
                self._settle(before, written)
                if not more:
                    return
        except Fenced:
            self._refuse(batch.creates, writers, StoreError("this worker lost its lease before the run was written"))
            self.close()
            self._fenced()
        finally:
            self._task = None

    async def _arrived(self, on_its_way: Commit, batch: Batch, writers: dict[Writer, int]) -> Written:
        """Wait until a batch is written, however long that takes; runs not yet acknowledged are refused meanwhile."""
        pause = _FIRST_PAUSE
        while True:
            try:
                written = await on_its_way
            except StoreError as error:
                if self.trouble is None:
                    log.error("the journal cannot be written, and waits: %s", error)
                self.trouble = error
                fresh = [new for new in batch.creates if new.parent is None]  # a child waits, as its parent does
                batch = self._without(batch, self._refuse(fresh, writers, error))
                if not self._open:
                    raise Fenced from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                on_its_way = self.store.commit(self.worker, batch)
            else:
                if self.trouble is not None:
                    log.warning("the journal is written again")
                    self.trouble = None
                return written

    @staticmethod
    def _refuse(creates: Sequence[NewRun], writers: dict[Writer, int], error: StoreError) -> set[str]:
        refused = {new.id for new in creates}
        for run in [run for run in writers if run.id in refused]:
            del writers[run]
            run.refused(error)
        return refused

    @staticmethod
    def _without(batch: Batch, refused: set[str]) -> Batch:
        return Batch(
            [new for new in batch.creates if new.id not in refused],
            [entry for entry in batch.entries if entry[0] not in refused],
            [change for change in batch.changes if change.run not in refused],
            [cell for cell in batch.cells if cell[0] not in refused],
            [question for question in batch.questions if question.run not in refused],
            [took for took in batch.took if took.run not in refused],
            batch.inputs,  # of runs that were created long ago
        )

    @staticmethod
    def _settle(writers: dict[Writer, int], written: Written) -> None:
        rejected = written.rejected
        for run, upto in writers.items():
            if run.id in rejected:
                run.rejected(rejected[run.id])
            else:
                if written.known and isinstance(run, Submission):
                    run.known = written.known
                run.written(upto)
