"""One run under chaos in virtual time: a world of its own, and as many workers as it costs.

Being alone is what makes it replay exactly: nothing that another run does reaches it.
"""

import asyncio
import math
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, TypeVar

from segue.core.branches import name_of
from segue.core.entries import Entry
from segue.core.lifecycle import Status
from segue.errors import RunFailed
from segue.inspection import timeline
from segue.runtime.engine import Engine
from segue.runtime.spec import FlowSpec
from segue.runtime.tickets import Options, Ticket
from segue.stores.artifacts import Artifacts
from segue.stores.base import Query, Row, Store
from segue.testing.chaos import Chaos, Faults
from segue.testing.clock import START, Deadlock
from segue.testing.kept import Kept
from segue.testing.records import RunRecord, record_of
from segue.testing.report import Facts, Ran
from segue.testing.world import Life, Trap, World

T = TypeVar("T")

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
Cells = Sequence[tuple[Any, ...]]
Began = Mapping[tuple[str, str], int]

PATIENCE = 60.0
"""Real seconds that a run may take."""

_OFTEN = ("before", "after", "before-commit", "after-commit", "before-body", "after-body")
_ONCE = ("before-create", "after-create", "before-claim", "after-claim", "in-commit", "before-end", "after-end")
_MOST_DEATHS = 20  # of one run's workers: at a rate of 1 none would ever get on


def traps_of(faults: Faults, run: str) -> list[Trap]:
    """Where the workers of a run die: at each entry with the same chance, and so at what comes once in a run."""
    if not faults.kill:
        return []
    traps: list[Trap] = []
    for life in range(_MOST_DEATHS):
        chance = faults.chance("kill", run, life)
        entry = 1 if faults.kill == 1 else 1 + int(math.log(1 - chance.random()) / math.log(1 - faults.kill))
        trap = Trap(chance.choice(_OFTEN), entry)
        if once := [point for point in _ONCE if chance.random() < faults.kill]:
            trap = Trap(chance.choice(once), 1)
        traps.append(trap)
    return traps


class Trial:
    """One run, from its start to where nothing moves it any more.

    Args:
        number: 0 for the clean run, which comes first.
        kept: the slow resources that all runs share.
        cells: the kept values that the clean run has left.
        now: when it begins.

    Attributes:
        left: the kept values that it has left itself.
    """

    def __init__(
        self,
        spec: FlowSpec,
        arguments: Arguments,
        faults: Faults,
        number: int,
        kept: Kept,
        cells: Cells = (),
        now: float = START,
    ) -> None:
        self.spec, self.arguments, self.faults, self.number = spec, arguments, faults, number
        self.kept = kept
        self.id = faults.run_id(number)
        self.chaos = Chaos(faults)
        self.world = World(
            faults.chance("jitter", self.id).getrandbits(62),
            now,
            self.chaos.around,
            kept.stand_in,
            traps=traps_of(faults, self.id),
        )
        self.world.disk.db.executemany("insert into cells values(?, ?, ?, ?)", cells)
        self.acknowledged = False
        self.twice = self.stuck = ""
        self.duplicates = 0
        self.left: Cells = ()
        self._again = faults.hits("duplicate", self.id)
        self._again_after = faults.chance("again", self.id).randrange(0, 6)

    def run(self) -> Facts:
        """Run it, and say what became of it."""
        try:
            try:
                self.world.play(self._scene)
            except Deadlock as error:
                self.stuck = str(error)
                if self.world.life is not None:
                    life, self.world.life = self.world.life, None
                    life.bury()
            self.left = list(self.world.disk.db.execute("select * from cells"))
            return _at_once(self._facts())
        finally:
            self.world.close()

    # One worker's life

    async def _scene(self, life: Life) -> None:
        began, late = time.monotonic(), asyncio.Event()

        def too_late(_: float) -> bool:
            if time.monotonic() - began < PATIENCE or late.is_set():
                return False
            late.set()
            return True

        if not self.number:
            self.kept.watch(life.engine.shelf)
        life.loop.before_jump.append(too_late)
        still = life.loop.stillness()
        work, waits = asyncio.ensure_future(self._work(life.engine)), asyncio.ensure_future(late.wait())
        try:
            await asyncio.wait((work, still, waits), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            else:
                self.stuck = _pending(life.engine) + (f", after {PATIENCE:g} s" if late.is_set() else "")
        finally:
            for future in (work, still, waits):
                future.cancel()

    async def _work(self, engine: Engine) -> None:
        """Start the run, perhaps twice, and wait for its end."""
        if self.acknowledged:
            ticket = Ticket(engine, self.spec, self.id, 0.0)
        else:
            ticket = await self._start(engine)
            self.acknowledged = True
        if not self._again:
            await _end_of(ticket)
            return
        told, due = 0, asyncio.Event()

        def count(_: object) -> None:
            nonlocal told
            told += 1
            if told > self._again_after:
                due.set()

        engine.watchers.append(count)
        end = asyncio.ensure_future(_end_of(ticket))
        waits = asyncio.ensure_future(due.wait())
        try:
            await asyncio.wait((end, waits), return_when=asyncio.FIRST_COMPLETED)
            again = await self._start(engine)
            self.duplicates = 1
            second = await _end_of(again)
            if second != (first := await end):
                self.twice = f"started twice, it ended as {first:.200} and as {second:.200}"
        finally:
            end.cancel()
            waits.cancel()

    async def _start(self, engine: Engine) -> Ticket:
        args, kwargs = self.arguments
        return await engine.launch(self.spec, args, dict(kwargs), Options(id=self.id), wait=True)

    # What became of it

    async def _facts(self) -> Facts:
        store, artifacts, deaths = self.world.disk, self.world.artifacts, self.world.crashes
        loaded = await store.load(self.id)
        row, entries = loaded if loaded is not None else (None, [])
        for (_, step, attempt), count in self.chaos.bodies.items():
            if count > 1 + deaths and not self.twice:
                self.twice = f"attempt {attempt} of step {step!r} began {count} times, and {deaths} workers died"
        facts = Facts(
            self.number,
            self.id,
            row,
            entries,
            acknowledged=self.acknowledged,
            stuck=self.stuck,
            twice=self.twice,
            deaths=deaths,
            duplicates=self.duplicates,
            struck=tuple(self.chaos.struck),
        )
        if row is None:
            return facts
        return await facts_of(facts, store, row, self.spec, artifacts, self.world.now, self.world.began)


def _at_once(coro: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that never waits, since its store does everything on the spot."""
    try:
        coro.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


async def _end_of(ticket: Ticket) -> str:
    """How a run ended, as text to compare."""
    try:
        return repr(await ticket.result())
    except RunFailed as failed:
        return str(failed)


def _pending(engine: Engine) -> str:
    """What the runs in memory wait for."""
    waiting = [step for run in engine.runs.values() for step in run._waiting]  # pyright: ignore[reportPrivateUsage]
    steps = ", ".join(dict.fromkeys(repr(name_of(step)) for step in waiting if "@timer" not in step))
    return f"waits for {steps}" if steps else "waits"


# For both kinds of time


async def facts_of(
    facts: Facts, store: Store, row: Row, spec: FlowSpec, artifacts: Artifacts, now: float, began: Began | None = None
) -> Facts:
    """The facts, with the run as the store tells it.

    Args:
        began: the order in which steps began, for those that began at the same moment.
    """
    record = await _record(store, row, facts.entries, artifacts, now, began or {})
    input = None
    with suppress(Exception):  # what cannot be read is what the run failed for
        args, kwargs = spec.inputs.decode(artifacts.fetch(row.input) or b"")
        input = dict(spec.inputs.signature.bind(*args, **kwargs).arguments)
    result = record.result
    if row.status is Status.COMPLETED:
        result = spec.output.decode(artifacts.fetch(row.result) or b"")
    known = {field.name: getattr(record, field.name) for field in fields(record)}
    known |= {"result": result, "crashes": facts.deaths}
    return replace(facts, ran=Ran(**known, input=input, duplicates=facts.duplicates))


async def _record(
    store: Store, row: Row, entries: Sequence[Entry], artifacts: Artifacts, now: float, began: Began
) -> RunRecord:
    """A run with the runs that it called."""
    rows = list(reversed(await store.find(Query(parent=row.id, limit=100_000))))
    told = timeline(row, entries, rows, artifacts.fetch)
    children: dict[str, RunRecord] = {}
    for child in rows:
        loaded = await store.load(child.id)
        if loaded is not None:
            children[child.id] = await _record(store, *loaded, artifacts, now, began)
    return record_of(
        told,
        result=told.result,
        now=now,
        children=children.get,
        order=lambda step: began.get((row.id, step), math.inf),
        crashes=0,
        waits=(),
        unused=(),
    )
