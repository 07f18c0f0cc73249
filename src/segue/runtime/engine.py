"""The engine: the runs in memory, the claim on more, and the one journal that they all write to."""

import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, copy_context
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from segue.core.entries import Entry
from segue.core.lifecycle import Status
from segue.errors import Conflict, CorruptRecord, Fenced, QueueFull, StoreError, UnknownRun, UsageError
from segue.runtime import crashpoints
from segue.runtime.children import Children
from segue.runtime.claims import AGAIN_AFTER, Claims
from segue.runtime.context import HERE
from segue.runtime.drifting import Drifts
from segue.runtime.failures import failure_of
from segue.runtime.identity import About
from segue.runtime.ids import checked, new_id, worker_id
from segue.runtime.journal import Journal, Submission
from segue.runtime.lease import LEASE, Lease, Stopwatch
from segue.runtime.mailbox import own_input
from segue.runtime.resources import Shelf
from segue.runtime.run import Run
from segue.runtime.settings import default_store
from segue.runtime.spec import FlowSpec
from segue.runtime.threads import Pool
from segue.runtime.tickets import Ended, Options, Ticket
from segue.stores.artifacts import Artifacts
from segue.stores.base import MERGES, Known, Lost, Mail, NewRun, Row, Store, check_result, row_of
from segue.stores.sqlite import SqliteStore
from segue.stores.urls import open_url
from segue.values import encode

if TYPE_CHECKING:
    from segue.runtime.call import Call

log = logging.getLogger("segue")

STILL_FULL = 0.02
"""Seconds for which a queue that was full is taken to be so."""

POLL = 0.1
"""Seconds between looks at what other processes wrote, where nothing tells that they did."""

STIR = 0.002
"""Seconds between two looks that something told to take: ours are among the writes."""

SETTLED = 0.05
"""Seconds after the first bytes of a write within which it can be seen: once it is on the disk, and only then."""

SWITCH_INTERVAL = 0.0002
"""Seconds after which a busy thread hands over Python's lock, while an engine is open. The default, ten times as long,
lets one CPU-bound step hold up the event loop and the journal at each of their turns."""


Around = Callable[["Call", Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Given the call and a function that makes the real attempt, gives what the attempt returns or raises."""


class Told(NamedTuple):
    """Something that happened, for whoever watches: a terminal, a log, a test."""

    what: str
    run: str
    flow: str
    time: float
    data: dict[str, Any]


class Engine:
    """Executes runs, on the event loop that opens it.

    Args:
        store: a URL (``"sqlite:runs.db"``, ``"memory:"``), or a store; by default ``SEGUE_STORE``, else what the
            project's ``segue.toml`` says, else ``.segue/segue.db`` in the project's root.
        execute: False for a program that only starts runs, and leaves them to workers.
        concurrency: how many runs it executes at a time.

    An engine claims every queued run of a flow that this process knows, also those that a dead worker left.

    >>> async def main():
    ...     async with Engine("memory:"):
    ...         return await my_flow(42)
    """

    def __init__(
        self,
        store: str | Store | None = None,
        *,
        execute: bool = True,
        concurrency: int = 256,
        _adopts: bool = True,
        _clock: Callable[[], float] = time.time,
        _lease: float = LEASE,
    ) -> None:
        if isinstance(concurrency, bool) or concurrency < 1:
            raise UsageError(f"concurrency is 1 or more, not {concurrency!r}")
        self.store: Store = (
            open_url(default_store()) if store is None else open_url(store) if isinstance(store, str) else store
        )
        self.execute, self.concurrency, self.clock = execute, concurrency, _clock
        self.adopts, self.lease_seconds = _adopts, _lease
        self.flows: frozenset[str] | None = None
        """The flows to claim runs of; None for all that this process knows."""
        self.origins: list[str] = []
        """Earlier workers whose runs are claimed too, where it does not claim everybody's."""
        self.chance = random.Random().random
        self.around: Around | None = None
        """Called in place of each attempt of a step, with what makes it: how tests and chaos get between."""
        self.watchers: list[Callable[[Told], None]] = []
        self.runs: dict[str, Run] = {}
        self.aside = Pool("segue-aside", 4)
        self.shelf = Shelf()
        self.watch = Stopwatch()
        self.claims, self.children = Claims(self), Children(self)
        self.drifts = Drifts(self)
        self.worker = ""
        self.ambient: asyncio.AbstractEventLoop
        self.context: Context
        """Where steps start from: never in the context of whichever step or caller came just before."""
        self.artifacts: Artifacts
        self.journal: Journal
        self._lease: Lease | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._waiting: dict[str, list[Ended]] = {}
        self._full: dict[str, float] = {}  # when the queue of a flow was last seen to be full
        self._post = False  # mail may have come for runs that are in memory
        self._arriving: dict[str, int] = {}  # runs of each flow that are being written as queued
        self._dirty: dict[Run, None] = {}
        self._ticking = False
        self._open = False
        self._nudged = False
        self._wake: asyncio.Event
        self._stir: int | None = None  # readable when another process may have written
        self._stirred_at = float("-inf")
        self._joined: asyncio.Event  # cleared from the loss of the lease until there is another
        self._tasks: set[asyncio.Task[Any]] = set()
        self._switch: float | None = None

    # Opening and closing

    async def open(self) -> "Engine":
        """Connect to the store and begin to work. Also by ``async with``."""
        if self._open:
            raise UsageError("this engine is open already")
        self.ambient = asyncio.get_running_loop()
        self.context = copy_context()
        self.context.run(HERE.set, None)
        self._wake, self._joined = asyncio.Event(), asyncio.Event()
        await self.store.open()
        if isinstance(self.store, SqliteStore) and self.store.path is not None:
            self.artifacts = Artifacts.beside(self.store.path)
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="segue-")
            self.artifacts = Artifacts(Path(self._temporary.name))
        self._open = True
        if sys.getswitchinterval() == 0.005:
            self._switch = 0.005
            sys.setswitchinterval(SWITCH_INTERVAL)
        await self._join()
        self.spawn(self._work())
        if self.adopts:
            _entered.append(self)
        return self

    async def _join(self) -> None:
        worker = worker_id()
        await self.store.join(worker, self.lease_seconds)
        self.worker = worker
        self.journal = Journal(self.store, self.worker, lambda: self._fenced(worker))
        ambient = self.ambient
        self._lease = Lease(
            self.store.sibling(),
            self.worker,
            lost=lambda: self._from_thread(self._fenced, worker),
            swept=lambda lost: self._from_thread(self._swept, lost),
            alive=lambda: not ambient.is_closed(),
            watch=self.watch,
            length=self.lease_seconds,
            sweeps=self.execute and self.adopts,
        )
        self._lease.start()
        self._joined.set()

    def _from_thread(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            self.ambient.call_soon_threadsafe(call, *args)
        except RuntimeError:
            pass  # the loop is gone, and the engine with it

    async def close(self) -> None:
        """Hand unfinished runs back to the queue, and let go of the store."""
        if not self._open:
            return
        self._open = False
        if self in _entered:
            _entered.remove(self)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.journal.drained()
        await self.drifts.close()
        for run in list(self.runs.values()):
            run.close()
        self.runs.clear()
        self.journal.close()
        await self.journal.ended()
        for ended in [ended for callbacks in self._waiting.values() for ended in callbacks]:
            if isinstance(owner := getattr(ended, "__self__", None), Ticket):
                owner.left()
        self._waiting.clear()
        if self._lease is not None:
            self._lease.stop()
        try:
            await self.store.leave(self.worker)
        except StoreError as error:
            log.warning("worker %s could not leave, and will lapse: %s", self.worker, error)
        await self.shelf.close()
        await self.store.close()
        if self._stir is not None:
            os.close(self._stir)
            self._stir = None
        self.aside.close()
        if self._temporary is not None:
            self._temporary.cleanup()
        if self._switch is not None:
            sys.setswitchinterval(self._switch)

    async def __aenter__(self) -> "Engine":
        await self.open()
        if self not in _entered:
            _entered.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def is_open(self) -> bool:
        return self._open and self.ambient.is_running()  # a loop that stands still would never answer

    def spawn(self, coro: Any) -> None:
        """Run it beside the runs, until the engine is closed."""
        task = self.ambient.create_task(coro)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Starting runs

    async def launch(
        self, spec: FlowSpec, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, *, wait: bool
    ) -> "Ticket":
        """Create a run, or find the one that has its id already.

        Args:
            wait: return only when it is durable. The result is durable in any case.
        """
        self._check_open()
        input = spec.inputs.encode_typed(args, kwargs)
        about = spec.about(args, kwargs)
        if self.artifacts.reference(input) is input:
            self.artifacts.renew(input)  # it may name files of a run that is pruned now
        else:
            input = await self.kept(input)
        await self._joined.wait()
        new = self.new_run(spec, input, options, about, None)
        if spec.max_queued is not None and new.status is Status.QUEUED:
            await self._admit(new, spec.max_queued, options)
        if crashpoints.armed:
            crashpoints.reach("before-create")
        if options.id is not None:
            try:
                existing = await self.store.create(new)
            except Fenced:  # nothing was written: again, under the worker's next name
                self._fenced(new.origin)
                return await self.launch(spec, args, kwargs, options, wait=wait)
            if existing is not None:
                return await self.first(spec, new, Known(existing.id, same=False))
            ticket = Ticket(self, spec, new.id, new.created)
            if new.status is Status.RUNNING and new.worker == self.worker:  # else it is swept, and claimed by someone
                ticket.follow()
                run = self.take_up(spec, row_of(new), [], new=True)
                self.wake(run)
        elif new.status is Status.RUNNING:
            ticket = Ticket(self, spec, new.id, new.created)
            if not wait:
                ticket.follow()
            run = self.take_up(spec, row_of(new), [], new=True)
            run.creator = ticket
            self.journal.create(run, new)
            self.wake(run)
            if wait:
                await run.durable()
                if ticket.refusal is not None or not run.stored:
                    raise ticket.refusal or StoreError(f"run {new.id} was not written: its worker lost its lease")
        else:
            known = (await self.submit([new])).get(new.id)
            ticket = Ticket(self, spec, new.id, new.created) if known is None else await self.first(spec, new, known)
        if crashpoints.armed:
            crashpoints.reach("after-create")
        if new.status is Status.QUEUED:
            self.queued(options)
        return ticket

    async def ready(self) -> None:
        """Wait until runs can be started.

        Raises:
            StoreError: the store takes none at the moment.
        """
        self._check_open()
        await self._joined.wait()

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError("this engine is closed; open it with: async with Engine(): …")
        if self.journal.trouble is not None:
            raise self.journal.trouble

    def queued(self, options: Options) -> None:
        """Runs were written that this engine may execute."""
        if not options.delay and options.concurrency is None:
            self.claims.queued()
        self.nudge()

    async def submit(self, new: Sequence[NewRun]) -> Mapping[str, Known]:
        """Write runs of one flow for whoever claims them; those that were not, since their events have runs."""
        done: asyncio.Future[None] = self.ambient.create_future()
        submission, flow = Submission(new[0].id, done), new[0].flow
        self.journal.create(submission, *new)
        self.flush_soon()
        self._arriving[flow] = self._arriving.get(flow, 0) + len(new)
        try:
            await done
        finally:
            self._arriving[flow] -= len(new)
        return submission.known

    async def first(self, spec: FlowSpec, new: NewRun, known: Known) -> "Ticket":
        """The run that was made for the event of this new one before.

        Raises:
            Conflict: it was made with another input.
        """
        if known.same or (loaded := await self.store.load(known.run)) is None:
            row = new._replace(id=known.run)
        else:
            row, entries = loaded
            self.check_same(row._replace(input=own_input(row, entries)), new, spec)
        ticket = Ticket(self, spec, row.id, row.created)
        ticket.found = True
        return ticket

    async def kept(self, input: bytes) -> bytes:
        """A long input as a reference to it, once it is on disk."""
        return await self.aside.submit(lambda: self._kept(input))

    def _kept(self, input: bytes) -> bytes:
        self.artifacts.renew(input)
        return self.artifacts.spill(input) or input

    async def room(self, spec: FlowSpec, wanted: int) -> int:
        """How many more runs of a flow may wait, of so many."""
        if spec.max_queued is None:
            return wanted
        waiting = await self.store.queued(spec.name, spec.max_queued) + self._arriving.get(spec.name, 0)
        return max(0, min(wanted, spec.max_queued - waiting))

    async def _admit(self, new: NewRun, allowed: int, options: Options) -> None:
        """Refuse a run that would wait behind too many others, unless it is there already."""
        now = self.clock()
        full = self._full.get(new.flow, 0.0) + STILL_FULL > now  # a spike is refused without asking the store each time
        if not full:
            full = await self.store.queued(new.flow, allowed) + self._arriving.get(new.flow, 0) >= allowed
            if full:
                self._full[new.flow] = now
        if full and (options.id is None or await self.store.load(new.id) is None):
            raise QueueFull(new.flow, allowed)

    def new_run(
        self, spec: FlowSpec, input: bytes, options: Options, about: About, parent: str | None, *, here: bool = True
    ) -> NewRun:
        """A run as it is to be created: executed here at once, if there is room, and no turn to wait for.

        Args:
            here: False: it is for whoever claims it.
        """
        now = self.clock()
        box, merges = spec.mailbox, spec.mailbox is not None and about.key is not None and parent is None
        here = here and self.execute and not options.delay and options.concurrency is None
        here = here and about.key is None and about.event is None
        here = here and (parent is not None or not (self.claims.backlog or self.claims.full()))
        return NewRun(  # by position, which takes half as long
            checked(options.id) if options.id is not None else new_id(),
            spec.name,
            spec.version,
            spec.code,
            Status.RUNNING if here else Status.QUEUED,
            self.worker if here else None,
            self.worker,
            parent,
            about.priority if options.priority is None else options.priority,
            options.concurrency,
            options.timeout if options.timeout is not None else spec.timeout,
            now + options.delay,
            now,
            now if here else None,
            input,
            crc32(input),
            about.key,
            spec.frees,
            MERGES if merges else 0,
            None if spec.expire is None else now + options.delay + spec.expire,
            about.event,
            spec.window,
            box.quiet if box is not None and merges else None,
            box.patience if box is not None else 0.0,
        )

    def check_same(self, existing: Row, new: NewRun, spec: FlowSpec) -> None:
        """Refuse an id that belongs to another run.

        Raises:
            Conflict: the run that has it is of another flow, or has another input.
        """
        if existing.flow != new.flow:
            raise Conflict(f"id {new.id!r} belongs to a run of {existing.flow!r}, not of {new.flow!r}")
        recorded = self.artifacts.fetch(existing.input) or b""
        asked = self.artifacts.fetch(new.input) or b""
        if not spec.inputs.same(recorded, asked):
            from segue.runtime.run import show

            whose = f"id {new.id!r} belongs to a run of {existing.flow!r}"
            if existing.id != new.id:
                whose = f"event {new.once!r} has run {existing.id} of {existing.flow!r} already,"
            raise Conflict(f"{whose} with input {show(recorded)}; this input is {show(asked)}")

    def take_up(self, spec: FlowSpec, row: Row, entries: list[Entry], *, new: bool, mail: Sequence[Mail] = ()) -> Run:
        """Bring a run into memory, with what was sent to it; ``wake`` it to begin."""
        run = self.runs[row.id] = Run(self, spec, row, entries, new=new)
        if self.watchers:
            self.tell("run", run, resumed=not new, entries=len(entries), parent=row.parent, journal=entries)
        run.begin()
        for letter in mail:
            run.take(letter)
        if self.children.cancelled(row.id):
            run.cancel("cancelled by its parent")
        return run

    async def spilled(self, data: bytes) -> bytes:
        """The data, or a reference to it once it is on disk, however long the disk needs to recover."""
        while True:
            try:
                return await self.aside.submit(lambda: self.artifacts.spill(data)) or data
            except StoreError as error:
                log.warning("a long value cannot be written yet: %s", error)
                await asyncio.sleep(AGAIN_AFTER)

    def is_local(self, id: str) -> bool:
        """Whether the run executes here, or may in a moment."""
        return id in self.runs or self.children.sought(id)

    # Ends of runs, here and elsewhere

    def follow(self, id: str, ended: Ended) -> None:
        """Call back when the run has ended, wherever it executes."""
        self._waiting.setdefault(id, []).append(ended)

    def unwatch(self, id: str, ended: Ended) -> None:
        """Do not call back."""
        callbacks = self._waiting.get(id, [])
        if ended in callbacks:
            callbacks.remove(ended)
            if not callbacks:
                del self._waiting[id]

    def finished(self, run: Run, status: Status, result: bytes) -> None:
        """A run of ours has ended, durably."""
        if crashpoints.armed:
            crashpoints.reach("after-end")
        self.runs.pop(run.id, None)
        if self.watchers:
            self.tell("end", run, status=status, result=result)
        self._call_back(run.id, status, result, run.error)
        if (
            self.claims.backlog
            or len(self.runs) >= self.concurrency - 1
            or run.row.concurrency is not None
            or run.row.losses
            or run.row.key is not None
        ):
            self.nudge()  # one that is queued may have waited for this end

    def _call_back(self, id: str, status: Status, result: bytes | None, cause: BaseException | None = None) -> None:
        for ended in self._waiting.pop(id, ()):
            owner = getattr(ended, "__self__", None)
            if isinstance(owner, Ticket):
                owner.cause = cause
            ended(status, result)

    def ended_elsewhere(self, row: Row) -> None:
        """A run that someone here waits for has ended, and another process executed it."""
        try:
            check_result(row)
        except CorruptRecord as error:
            self._call_back(row.id, Status.FAILED, encode(failure_of(error), "failure"), error)
        else:
            self._call_back(row.id, row.status, row.result)

    def refused(self, run: Run, error: BaseException) -> None:
        """A run of ours could not be created."""
        self.runs.pop(run.id, None)
        if run.creator is not None:
            run.creator.refuse(error)
        self._call_back(run.id, Status.FAILED, encode(failure_of(error), "failure"))

    def dropped(self, run: Run) -> None:
        """A run has left memory, and has not ended."""
        self.runs.pop(run.id, None)
        if self.watchers:
            self.tell("left", run)
        self.nudge()

    # The tick: everything that happened since the last one, and one commit for it

    def wake(self, run: Run) -> None:
        """Pump this run at the next tick."""
        self._dirty[run] = None
        if not self._ticking:
            self.flush_soon()

    def nudge(self) -> None:
        """Look for work at once."""
        self._nudged = True
        self._wake.set()

    def look_for_mail(self) -> None:
        """Something was sent to a run that may execute here."""
        self._post = True
        self.nudge()

    def flush_soon(self) -> None:
        """Tick soon."""
        if not self._ticking:
            self._ticking = True
            self.ambient.call_soon(self._tick, context=self.context)

    def _tick(self) -> None:
        self._ticking = False
        dirty = self._dirty
        if dirty:
            self._dirty = {}
            for run in dirty:
                self._pump(run)
        self.journal.flush()

    def _pump(self, run: Run) -> None:
        self.watch.start()
        try:
            run.pump()
        except Exception as error:  # one run's trouble must not stop the others' tick
            log.exception("run %s of %r ends by an error outside its code", run.id, run.spec.name)
            run.fail(error)
        finally:
            self.watch.stop()

    # Work: claims, and news from other processes

    async def _work(self) -> None:
        claim_at, trouble = 0.0, ""
        self._stir = self.store.stirred()
        while True:
            worker = self.worker
            try:
                now = self.clock()
                changed = await self.store.changed()
                if changed or now >= claim_at or self._nudged:
                    self._post = self._post or changed
                    self._nudged = False
                    claim_at = now + 1.0
                    await self._look(now)
                trouble = ""
            except Fenced:
                self._fenced(worker)
            except StoreError as error:
                if str(error) != trouble:  # said once, however long it lasts
                    trouble = str(error)
                    log.warning("the store cannot be read yet: %s", error)
            except Exception:
                log.exception("a defect in Segue: the engine could not look for work")
            await self._rest()

    async def _rest(self) -> None:
        """Wait until there may be something to look for: at once if we know, soon if others may have written."""
        loop, stir, began = self.ambient, self._stir, self.ambient.time()
        if stir is not None and not self._wake.is_set():
            loop.add_reader(stir, self._stirred, stir)
        just_stirred = began - self._stirred_at < SETTLED
        try:
            async with asyncio.timeout(STIR if just_stirred else POLL):
                await self._wake.wait()
        except TimeoutError:
            pass
        finally:
            if stir is not None:
                loop.remove_reader(stir)
        self._wake.clear()
        if not self._nudged and (early := began + STIR - loop.time()) > 0:  # our own writes stir, too
            await asyncio.sleep(early)

    def _stirred(self, stir: int) -> None:
        self.ambient.remove_reader(stir)
        self._stirred_at = self.ambient.time()
        try:
            while os.read(stir, 4096):
                pass
        except BlockingIOError:
            pass
        self._wake.set()

    async def _look(self, now: float) -> None:
        elsewhere = {id: waiting for id, waiting in self._waiting.items() if id not in self.runs}
        if elsewhere:
            for row in await self.store.ended(list(elsewhere)):
                if self._waiting.get(row.id) is elsewhere[row.id]:  # else they heard of it meanwhile, and others came
                    self.ended_elsewhere(row)
        if self._post and self.runs:
            self._post = False
            for mail in await self.store.mail(worker=self.worker):
                if (run := self.runs.get(mail.run)) is not None:
                    run.take(mail)
                else:
                    self._post = True  # it is about to come into memory
        for run in list(self.runs.values()):
            if (parked := run.parkable(now)) is not None:
                run.park(*parked)
                if self.watchers:
                    self.tell("park", run, reason=parked[0], due=parked[1])
                del self.runs[run.id]
                self.flush_soon()
                if self.claims.backlog:
                    self.nudge()  # one that is queued may have its place
        if self.execute:
            await self.claims.take(now)
        if self.drifts:
            await self.drifts.tick(now)

    def _swept(self, lost: list[Lost]) -> None:
        for run in lost:
            if run.status is Status.FAILED:
                log.error("run %s of %r ends: step %r took down its worker too often", run.run, run.flow, run.step)
            else:
                log.warning("run %s of %r is taken over from a worker that died", run.run, run.flow)
        self.nudge()

    def _fenced(self, worker: str) -> None:
        """The lease is lost: others may own our runs by now. Drop them, and begin again under another name."""
        if not self._open or not worker or worker != self.worker:  # we know
            return
        log.error("worker %s lost its lease; %d runs are left to others", self.worker, len(self.runs))
        self.worker = ""
        self._joined.clear()
        self.journal.close()
        for run in list(self.runs.values()):
            run.close()
        self.runs.clear()
        self._dirty.clear()
        self.spawn(self._rejoin())

    async def _rejoin(self) -> None:
        if self._lease is not None:
            lease = self._lease
            await self.aside.submit(lease.stop)
        while True:
            try:
                return await self._join()
            except StoreError as error:
                log.warning("the store cannot be joined yet: %s", error)
                await asyncio.sleep(1)

    # For whoever watches

    def tell(self, what: str, run: Run, **data: Any) -> None:
        """Tell the watchers. Callers check that there are any."""
        self.announce(what, run.id, run.spec.name, **data)

    def announce(self, what: str, id: str, flow: str, /, **data: Any) -> None:
        """The same, of a run that may have left memory."""
        told = Told(what, id, flow, self.clock(), data)
        for watcher in list(self.watchers):
            try:
                watcher(told)
            except Exception:
                log.exception("a watcher failed")

    async def row(self, id: str) -> Row:
        """The run as the store has it.

        Raises:
            UnknownRun: there is none.
        """
        try:
            loaded = await self.store.load(id)
        except CorruptRecord:  # how the run ended can be read, whatever its journal holds
            for row in await self.store.ended([id]):
                check_result(row)
                return row
            raise
        if loaded is None:
            raise UnknownRun(f"no run has the id {id!r} in {self.store.url}")
        return loaded[0]


_entered: list[Engine] = []
"""Engines that the program opened, the newest last: calls made outside of runs go to that one."""
