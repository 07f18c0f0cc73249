"""Engines under virtual time that can die, and what they leave behind.

A ``World`` is what outlives a process: a store in memory, a folder for large values, the time. A ``Life`` is one
process in it: a loop and an engine. It ends by ``close``, or at a *trap*: a named crash point, or a place of the
journal. There it is torn down within the call that got so far, and from then on nothing of it reaches the store.
Nothing that it was at goes on either, not even a ``finally``; but a plain step's body, on a thread that cannot be
killed, runs to its end before the next life begins.
"""

import asyncio
import logging
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from weakref import WeakSet

from segue.core.entries import Kind
from segue.core.lifecycle import Status
from segue.errors import UsageError
from segue.runtime import crashpoints, resources
from segue.runtime import engine as engines
from segue.runtime.context import HERE
from segue.runtime.engine import Around, Engine, Told
from segue.runtime.ids import worker_id
from segue.runtime.journal import Journal
from segue.runtime.lease import Stopwatch
from segue.runtime.resources import Resource, Shelf
from segue.runtime.run import PARK_AFTER, Run
from segue.stores.artifacts import Artifacts
from segue.stores.base import Batch, Lost, Written
from segue.stores.sqlite import SqliteStore
from segue.stores.sqlite_file import Database
from segue.testing.clock import VirtualLoop, keep_for_ever

log = logging.getLogger("segue")

T = TypeVar("T")

_FOR_EVER = 1e12
_SECOND_LOOKS = 10  # at what is queued and cannot be claimed yet, a second apart


class Crash(BaseException):
    """The simulated process is dead."""


@dataclass(slots=True)
class Trap:
    """Where the next life ends.

    Attributes:
        at: a crash point's name; or ``after``: when that many entries are on disk; or ``before``: when the entry of
            that number is about to be.
        left: how many more times it is to be reached.
        what: the same, as text.
        optional: it is no matter if it is not reached.
    """

    at: str
    left: int
    what: str = ""
    optional: bool = False

    def kept(self, batch: Batch) -> int | None:
        """How many of these entries are still written, if this is where it ends."""
        if self.at not in ("before", "after"):
            return None
        for place, (_, entry) in enumerate(batch.entries):
            if entry.kind is not Kind.START:  # whether that is written depends on crashes before
                self.left -= 1
                if self.left == 0:
                    return place + (self.at == "after")
        return None


class Disk(SqliteStore):
    """What is on disk: a store in memory that no engine closes, and a folder for large values, made when one comes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(None, blocking=True, clock=clock)
        self.folder = Path(tempfile.gettempdir()) / f"segue-{secrets.token_hex(16)}"
        self._open()

    async def open(self) -> None:
        """It is."""

    async def close(self) -> None:
        """Not yet: see ``discard``."""

    def discard(self) -> None:
        """Let go of it."""
        self._close()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def bury(self, worker: str) -> list[Lost]:
        """Take over from a worker whose process is dead, as another one's sweep would."""
        with self._lock:
            self.db.execute("update workers set expires = 0, pid = 0 where id = ?", (worker,))
            return self._sweep(by="")

    def next_due(self) -> float | None:
        """When something is due next."""
        query = "select min(due) from runs where status in ('queued', 'waiting') and due > ? and due < 1e15"
        return next(iter(self.db.execute(query, (self.clock(),))))[0]

    def overdue(self) -> bool:
        """Whether something is due that nobody has claimed."""
        query = "select 1 from runs where status in ('queued', 'waiting') and due <= ? limit 1"
        return any(True for _ in self.db.execute(query, (self.clock(),)))

    def written(self) -> int:
        """The entries that traps count."""
        query = "select count(*) from entries where kind not in (?, ?)"
        return next(iter(self.db.execute(query, (int(Kind.START), int(Kind.CLAIM)))))[0]


class Mount(SqliteStore):
    """A life's way to the disk, which ends with it.

    Args:
        die: called where a trap is; does not return.
    """

    def __init__(self, disk: Disk, die: Callable[[], NoReturn]) -> None:
        super().__init__(None, blocking=True, clock=disk.clock)
        self.path = disk.folder / "runs.db"  # never written: beside it an engine keeps its artifacts
        self._disk, self._die = disk, die
        self._lock = self._read_lock = disk._lock
        self.dead = False
        self.trap: Trap | None = None

    @property
    def db(self) -> Database:
        if self.dead:
            raise Crash
        return self._disk.db

    @property
    def reader(self) -> Database:
        return self.db

    async def open(self) -> None:
        """It is."""

    async def close(self) -> None:
        """The disk stays."""

    def commit_now(self, worker: str, batch: Batch) -> Written:
        with self._lock:
            return self._commit(worker, batch)

    def _commit(self, worker: str, batch: Batch) -> Written:
        if self.dead:
            raise Crash
        kept = None if self.trap is None else self.trap.kept(batch)
        if kept is None:
            return super()._commit(worker, batch)
        super()._commit(worker, _cut(batch, kept))
        return self._die()


def _cut(batch: Batch, kept: int) -> Batch:
    """So many entries of a batch, with what belongs to them, as if the others had been in a later one."""
    entries = batch.entries[:kept]
    places = {(run, entry.seq) for run, entry in entries}
    asked = {(run, entry.step, entry.attempt) for run, entry in entries if entry.kind is Kind.ASKED}
    return batch._replace(
        entries=entries,
        changes=(),
        cells=batch.cells if kept == len(batch.entries) else (),
        questions=[q for q in batch.questions if (q.run, q.step, q.attempt) in asked],
        took=[took for took in batch.took if (took.run, took.seq) in places],
    )


class _Shelf(Shelf):
    """Resources, but for those that a test stands in for.

    Args:
        stand_in: gives the value to use instead, if there is one.
    """

    def __init__(self, stand_in: Callable[[Resource[Any]], tuple[Any] | None]) -> None:
        super().__init__()
        self._stand_in = stand_in

    async def get(self, resource: Resource[T]) -> T:
        found = self._stand_in(resource)
        return await super().get(resource) if found is None else found[0]


class VirtualEngine(Engine):
    """An engine that looks for work when there can be some, and not ten times a second. Its lease does not lapse."""

    def __init__(self, mount: Mount, disk: Disk, loop: VirtualLoop) -> None:
        super().__init__(mount, _clock=loop.wall)
        self._disk = disk
        self._alarm: asyncio.TimerHandle | None = None
        self._looks = 0
        self._parked = False
        loop.before_jump.append(self._before_time_passes)

    async def _join(self) -> None:
        worker = self.worker = worker_id()
        await self.store.join(worker, _FOR_EVER)
        self.journal = Journal(self.store, worker, lambda: None)
        _watch_over(self.watch)
        self._joined.set()

    def finished(self, run: Run, status: Status, result: bytes) -> None:
        super().finished(run, status, result)
        self.nudge()

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            self._post = True
            try:
                await self._look(self.clock())
            except Exception:
                log.exception("a defect in Segue: the engine could not look for work")
            await self._wake.wait()

    def _before_time_passes(self, to: float) -> bool:
        """Let runs leave memory that would have by then, and see to it that somebody wakes them."""
        now = self.clock()
        if to - now > PARK_AFTER and any(run.parkable(now) is not None for run in self.runs.values()):
            self._parked = True
            self.nudge()
            return True
        if self._parked:  # others may have their place now
            self._parked = False
            if self._disk.overdue():
                self.nudge()
                return True
        due = self._next_look(now)
        if self._alarm is not None and due is not None and self._alarm.when() <= due:
            return False  # a second look is not put off by whoever wakes more often than each second
        if self._alarm is not None:
            self._alarm.cancel()
        set_before, self._alarm = self._alarm, None if due is None else self.ambient.call_at(due, self._ring)
        return set_before is not None or self._alarm is not None

    def _next_look(self, now: float) -> float | None:
        if self._looks < _SECOND_LOOKS and self._disk.overdue():
            return now + 1
        return self._disk.next_due()

    def _ring(self) -> None:
        self._alarm = None
        self._looks = self._looks + 1 if self._disk.overdue() else 0
        self.nudge()

    def vanish(self) -> None:
        """As if its process had died. Nothing is written, and nothing handed back."""
        self._open = False
        if self in engines._entered:  # pyright: ignore[reportPrivateUsage]
            engines._entered.remove(self)  # pyright: ignore[reportPrivateUsage]
        for run in self.runs.values():
            run.close()
        asyncio._set_running_loop(None)  # pyright: ignore[reportPrivateUsage] - its loop, they think, which stands still
        self.aside.close()
        if self._switch is not None:
            sys.setswitchinterval(self._switch)


_watches: WeakSet[Stopwatch] = WeakSet()
_watching = threading.Lock()
_watcher: threading.Thread | None = None


def _watch_over(watch: Stopwatch) -> None:
    """See to it that a flow whose code never gives the loop back ends, and its test with it."""
    global _watcher
    with _watching:
        _watches.add(watch)
        if _watcher is None:
            _watcher = threading.Thread(target=_watch_all, name="segue-watch", daemon=True)
            _watcher.start()


def _watch_all() -> None:
    global _watcher
    while True:
        time.sleep(0.5)
        with _watching:
            if not _watches:
                _watcher = None
                return
            for watch in _watches:
                watch.check()


class Life:
    """One process: a loop and an engine on it, from when it is made until ``close`` or a trap."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.loop = VirtualLoop(world.now)
        self.loop.set_exception_handler(self._report)
        self.mount = Mount(world.disk, self.die)
        self.engine = VirtualEngine(self.mount, world.disk, self.loop)
        self.engine.shelf = _Shelf(world.stand_in)
        resources._shelves[self.loop] = self.engine.shelf  # pyright: ignore[reportPrivateUsage]
        self.engine.around = world.around
        self.engine.watchers.append(world.heard)
        self.engine.chance = random.Random(f"{world.seed}:{world.lives}").random
        self._thread, self._aside = threading.get_ident(), self.engine.aside
        self._runner = asyncio.Runner(loop_factory=lambda: self.loop)
        self._runner.run(self.engine.open())

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self.mount.dead and not isinstance(context.get("exception"), Crash):
            loop.default_exception_handler(context)

    def run(self, main: Coroutine[Any, Any, T], trap: Trap | None) -> T:
        """Run a coroutine on its loop.

        Raises:
            Crash: the life has ended at the trap.
        """
        self.loop.jumps = 0
        self.mount.trap = trap
        self._thread = threading.get_ident()
        trapped = trap is not None and trap.at in crashpoints.POINTS
        if trapped:
            crashpoints.listen(self._reach)
        try:
            result = self._runner.run(main)
        except BaseException as error:
            if self.mount.dead:
                raise Crash from error
            raise
        finally:
            if trapped:
                crashpoints.unlisten(self._reach)
            self.world.now = self.loop.wall()
        if self.mount.dead:  # by what ran beside it, in the moment of its end
            raise Crash
        return result

    def _reach(self, point: str) -> bool:
        if not self._is_own():
            return False
        if self.mount.dead:
            raise Crash
        trap = self.mount.trap
        if trap is not None and trap.at == point:
            trap.left -= 1
            if trap.left == 0:
                self.die()
        return True

    def _is_own(self) -> bool:
        """Whether what this thread does is part of this life: other engines of the process get to crash points too."""
        thread = threading.get_ident()
        if thread == self._thread or thread in self._aside.busy:
            return True
        return getattr(HERE.get(), "artifacts", None) is self.engine.artifacts  # a step's thread

    def die(self) -> NoReturn:
        """End here and now. From any thread of this life."""
        self.mount.dead = True
        self.loop.halt()
        raise Crash

    def bury(self) -> None:
        """It is dead: let its loop and engine be forgotten, and others take over what it was at."""
        worker, runs = self.engine.worker, list(self.engine.runs.values())
        self.engine.vanish()
        self.loop.kill()
        for dead in (*runs, self.engine):  # what is kept for ever must not keep these
            vars(dead).clear()
        self.world.disk.bury(worker)

    def close(self) -> None:
        """End in an orderly way: what is unfinished is handed back."""
        try:
            self._runner.run(self._end())
        finally:
            self._runner.close()

    async def _end(self) -> None:
        self.loop.jumps = 0
        await self.engine.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            _, deaf = await asyncio.wait(left, timeout=3600)
            for task in deaf:
                keep_for_ever(task)


@dataclass
class World:
    """What outlives its processes.

    Attributes:
        around: what stands between an engine and each attempt of a step.
        stand_in: gives a value instead of a resource, if there is one.
        began: the steps and child runs of each run (run, identity), in the order in which they began.
        traps: where the next lives end, in order.
        crashes: how many have.
    """

    seed: int
    now: float
    around: Around
    stand_in: Callable[[Resource[Any]], tuple[Any] | None]
    began: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    traps: list[Trap] = field(default_factory=list[Trap])
    crashes: int = 0
    lives: int = 0
    life: Life | None = None

    def __post_init__(self) -> None:
        self.disk = Disk(self.clock)
        self.artifacts = Artifacts.beside(self.disk.folder / "runs.db")

    def clock(self) -> float:
        """Seconds since the epoch, in virtual time."""
        return self.now if self.life is None else self.life.loop.wall()

    def heard(self, told: Told) -> None:
        """Note what an engine tells."""
        if told.what in ("attempt", "child"):
            self.began.setdefault((told.run, told.data["step"]), len(self.began))

    def live(self) -> Life:
        """The present life; a new one, if there is none."""
        if self.life is None:
            self.life = life = Life(self)
            self.lives += 1
            return life
        return self.life

    def play(self, scene: Callable[[Life], Coroutine[Any, Any, T]]) -> T:
        """Play a scene to its end, from its beginning in each life that it takes."""
        _refuse_a_running_loop()
        while True:
            life = self.live()
            try:
                return life.run(scene(life), self.traps[0] if self.traps else None)
            except Crash:
                self.crashes += 1
                self.traps.pop(0)
                self.life = None
                life.bury()

    def close(self) -> None:
        """End the present life, and leave nothing behind."""
        try:
            if self.life is not None:
                self.life.close()
        finally:
            self.life = None
            self.disk.discard()


def _refuse_a_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        "virtual time has an event loop of its own, and one is running here: call it from a plain test function, "
        "def test_…, not async def"
    )
