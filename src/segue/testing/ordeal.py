"""An experiment in real time: a worker process executes the runs, and is killed when the seed says so."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from segue.core.lifecycle import OPEN, Status
from segue.errors import RunFailed, SegueError, UnknownRun, UsageError
from segue.runtime.engine import Engine
from segue.runtime.tickets import Options, Ticket
from segue.stores.base import Query, Row
from segue.testing.chaos import Faults, Struck
from segue.testing.experiment import Progress, arguments_of, named, numbers_of, without
from segue.testing.report import Facts, Invariant, Report, RunReport, judge
from segue.testing.trial import Arguments, facts_of

if TYPE_CHECKING:
    from segue.flows import Flow

PATIENCE = 60.0
"""Seconds in which nothing happens, and no run waits for a moment to come: what is left is stuck."""

_MOST_FALSE_STARTS = 3


class Worker:
    """A worker process, and the next one after each death.

    Attributes:
        deaths: how many died.
        opened: the present one has begun to work.
        struck, bodies: what they said.
        news: when the last word came, by the monotonic clock.
    """

    def __init__(self, target: str, store: str, faults: Faults, concurrency: int, logs: bool) -> None:
        self.faults = faults
        order = {"target": target, "store": store, "faults": asdict(faults), "concurrency": concurrency, "logs": logs}
        self._command = [sys.executable, "-m", "segue.testing.victim", json.dumps(order)]
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.deaths = self.entries = 0
        self.opened = False
        self.struck: dict[Struck, None] = {}
        self.bodies: Counter[tuple[str, str, int]] = Counter()
        self.news = time.monotonic()

    async def __aenter__(self) -> "Worker":
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    @property
    def failed(self) -> "asyncio.Task[None]":
        """Done only when no worker can be kept."""
        assert self._task is not None
        return self._task

    async def _keep(self) -> None:
        false_starts = 0
        while True:
            pipe = asyncio.subprocess.PIPE
            # apart from the terminal, whose Ctrl-C is for us
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, start_new_session=True
            )
            try:
                opened = await self._listen(process)
            finally:
                _kill(process)
                await process.wait()
                if process.stdin is not None:
                    process.stdin.close()
            false_starts = 0 if opened else false_starts + 1
            if false_starts == _MOST_FALSE_STARTS:
                raise SegueError(f"the worker process ends by itself, with code {process.returncode}, as it begins")
            self.deaths += 1

    async def _listen(self, process: asyncio.subprocess.Process) -> bool:
        """Hear what it says until it dies. True: it had begun to work."""
        assert process.stdout is not None
        self.opened = False
        async for line in process.stdout:
            self.news = time.monotonic()
            try:
                what, *data = json.loads(line)
            except ValueError:
                continue  # it died in the middle of a word
            self.opened = True
            if what == "struck":
                self.struck[Struck(*data)] = None
            elif what == "body":
                run, step, attempt = data
                self.bodies[run, step, attempt] += 1
            elif what == "entry":
                self.entries += 1
                if self.faults.hits("kill", self.entries):
                    _kill(process)
        return self.opened


def _kill(process: asyncio.subprocess.Process) -> None:
    # process.kill() would first poll, and so take the exit status from asyncio, which then complains
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


class Ordeal:
    """One experiment in real time."""

    def __init__(
        self,
        flow: "Flow[..., Any]",
        target: str,
        arguments: Arguments,
        faults: Faults,
        checks: Mapping[str, Invariant],
        progress: Progress | None,
    ) -> None:
        self.flow, self.target, self.arguments, self.faults = flow, target, arguments, faults
        self.checks, self.progress = checks, progress
        self.concurrency, self.patience, self.logs = 64, PATIENCE, False
        self.ended = 0
        self.ends = asyncio.Condition()

    async def run(self, url: str, numbers: Sequence[int]) -> tuple[RunReport, list[RunReport], int]:
        """The clean run, the others, and how many workers died."""
        async with Engine(url, execute=False, _adopts=False) as engine:
            await self._refuse_strangers(engine)
            async with self._worker(url, without(self.faults)) as worker:
                (clean,) = await self._all(engine, worker, [0])
            async with self._worker(url, self.faults) as worker:
                reports = await self._all(engine, worker, numbers)
                return clean, reports, worker.deaths

    def _worker(self, url: str, faults: Faults) -> Worker:
        return Worker(self.target, url, faults, self.concurrency, self.logs)

    async def _refuse_strangers(self, engine: Engine) -> None:
        left = await engine.store.find(Query(status=OPEN, limit=1))
        known = await engine.store.find(Query(text=self.faults.run_id(0).rpartition("-")[0], limit=1))
        if left or known:
            what = (
                f"unfinished runs, as {left[0].id}" if left else f"runs of an experiment with seed {self.faults.seed}"
            )
            raise UsageError(f"{engine.store.url} holds {what}: chaos needs a store of its own")

    async def _all(self, engine: Engine, worker: Worker, numbers: Sequence[int]) -> list[RunReport]:
        self.ended = 0
        tasks = {number: asyncio.create_task(self._one(engine, worker, number, len(numbers))) for number in numbers}
        try:
            await self._until_over(engine, worker, tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return [
            task.result() if not task.cancelled() else await self._told(engine, worker, number)
            for number, task in tasks.items()
        ]

    async def _until_over(self, engine: Engine, worker: Worker, tasks: Iterable["asyncio.Task[RunReport]"]) -> None:
        """Wait until all runs are over, or nothing moves them any more."""
        waiting = set(tasks)
        worker.news = time.monotonic()
        while waiting:
            ended = [*waiting, worker.failed]
            done, _ = await asyncio.wait(ended, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
                worker.news = time.monotonic()
            waiting = {task for task in waiting if not task.done()}
            patience = self.patience if worker.opened else max(self.patience, PATIENCE)
            if waiting and time.monotonic() - worker.news > patience and not await self._timed(engine):
                return

    async def _timed(self, engine: Engine) -> bool:
        """Whether a run waits for a moment that will come."""
        now = engine.clock()
        rows = await engine.store.find(Query(status=OPEN, limit=100_000))
        return any(row.worker is None and now < row.due < 1e14 for row in rows)

    async def _one(self, engine: Engine, worker: Worker, number: int, of: int) -> RunReport:
        id = self.faults.run_id(number)
        end = asyncio.ensure_future(_end_of(await self._start(engine, id)))
        duplicates, twice = 0, ""
        try:
            if number and self.faults.hits("duplicate", id):
                moment = self.faults.chance("again", id).random() * of / 2
                async with self.ends:
                    await self.ends.wait_for(lambda: self.ended >= moment or end.done())
                duplicates, second = 1, await _end_of(await self._start(engine, id))
                if second != (first := await end):
                    twice = f"started twice, it ended as {first:.200} and as {second:.200}"
            await end
        finally:
            end.cancel()
        async with self.ends:
            self.ended += 1
            self.ends.notify_all()
        report = await self._told(engine, worker, number, duplicates=duplicates, twice=twice)
        if number and self.progress is not None:
            self.progress(report)
        return report

    async def _start(self, engine: Engine, id: str) -> Ticket:
        args, kwargs = self.arguments
        return await engine.launch(self.flow.spec, args, dict(kwargs), Options(id=id), wait=True)

    async def _told(
        self, engine: Engine, worker: Worker, number: int, *, duplicates: int = 0, twice: str = ""
    ) -> RunReport:
        id = self.faults.run_id(number)
        loaded = await engine.store.load(id)
        row, entries = loaded if loaded is not None else (None, [])
        family = await _family(engine, row) if row is not None else {}
        for (run, step, attempt), count in worker.bodies.items():
            if run in family and count > max(1, family[run]) and not twice:
                twice = f"attempt {attempt} of step {step!r} began {count} times, and {family[run]} workers took it"
        facts = Facts(
            number,
            id,
            row,
            entries,
            stuck="" if row is None or row.status is not Status.RUNNING else f"nothing for {self.patience:g} s",
            twice=twice,
            duplicates=duplicates,
            struck=tuple(struck for struck in worker.struck if struck.run in family),
        )
        if row is not None:
            facts = await facts_of(facts, engine.store, row, self.flow.spec, engine.artifacts, engine.clock())
        return judge(facts, self.flow.name, self.checks)


async def _family(engine: Engine, row: Row) -> dict[str, int]:
    """The run and those that it called, each with how many workers have taken it."""
    found = {row.id: row.claims}
    for child in await engine.store.find(Query(parent=row.id, limit=100_000)):
        found |= await _family(engine, child)
    return found


async def _end_of(ticket: Ticket) -> str:
    try:
        return repr(await ticket.result())
    except (RunFailed, UnknownRun) as failed:
        return str(failed)


def ordeal(
    flow: "Flow[..., Any]",
    target: str,
    input: Mapping[str, Any] | Arguments,
    runs: int,
    faults: Faults,
    *,
    invariants: Mapping[str, Invariant] | Sequence[Invariant] = (),
    only: int | None = None,
    progress: Progress | None = None,
    store: str | None = None,
    concurrency: int = 64,
    patience: float = PATIENCE,
    logs: bool = False,
) -> Report:
    """Run a flow many times in real time, in a worker process that is killed and started again.

    Args:
        target: how the worker process finds the flow.
        store: where the runs are kept; by default nowhere, when it is over.
        patience: seconds without news after which what is left is stuck.
        logs: let the workers log.

    Raises:
        SegueError: the worker process ends by itself as it begins.
        UsageError: the store holds other runs.
    """
    began = time.monotonic()
    numbers = numbers_of(runs, only)
    work = Ordeal(flow, target, arguments_of(input), faults, named(invariants), progress)
    work.concurrency, work.patience, work.logs = concurrency, patience, logs
    with TemporaryDirectory(prefix="segue-chaos-") as folder:
        url = store or f"sqlite:{Path(folder, 'runs.db')}?durability=process"
        clean, reports, deaths = asyncio.run(work.run(url, numbers))
    return Report(flow.name, faults, clean, tuple(reports), time.monotonic() - began, deaths, fake_time=False)
