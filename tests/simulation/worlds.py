"""A store cut off at a point of its journal, as a crash there would leave it."""

import asyncio
from typing import Any

from segue.core.entries import Kind
from segue.errors import RunFailed
from segue.runtime.engine import Engine
from segue.runtime.tickets import Options, Ticket
from segue.stores.sqlite import SqliteStore

from . import programs
from .programs import Tree, program

OVER = (Kind.OK, Kind.ERROR, Kind.CANCELLED)


class Trial:
    """One execution of a program on a store, to its end.

    Attributes:
        outcome: its result or failure.
        seen: what its flow got to see, in order.
        ran: the steps whose bodies ran, of all its runs.
        runs, entries: the store's content afterwards.
    """

    def __init__(self) -> None:
        self.outcome: Any = None
        self.seen: list[Any] = []
        self.ran: list[tuple[str, str]] = []
        self.runs: list[tuple[Any, ...]] = []
        self.entries: list[tuple[Any, ...]] = []


async def trial(tree: Tree, steady: bool, runs: list[tuple[Any, ...]], entries: list[tuple[Any, ...]]) -> Trial:
    """Run a program, or go on with what a store holds of it."""
    store = SqliteStore(None)
    done = Trial()
    programs.ran.clear()
    programs.seen.clear()
    async with Engine(store, execute=False) as engine:
        for row in runs:
            store.db.execute(f"insert into runs values({','.join('?' * len(row))})", row)
        for row in entries:
            store.db.execute(f"insert into entries values({','.join('?' * len(row))})", row)
        engine.execute = True
        async with asyncio.timeout(20):
            if runs:
                ticket = Ticket(engine, program.spec, "main", 0.0)
            else:
                ticket = await engine.launch(program.spec, (tree, steady), {}, Options(id="main"), wait=True)
            try:
                done.outcome = await ticket.result()
            except RunFailed as failed:
                done.outcome = f"{failed.error.type}: {failed.error.message}"
        done.runs = list(store.db.execute("select * from runs order by number"))
        done.entries = list(store.db.execute("select * from entries order by run, seq"))
    done.seen = list(programs.seen.get("main", []))
    done.ran = list(programs.ran)
    return done


def cut(done: Trial, at: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The store as a crash would have left it after so many entries, in the order in which they were recorded."""
    kept = sorted(done.entries, key=lambda row: (row[6], row[0] == "main", row[1]))[:at]
    # an entry is kept only with all that precede it in its run
    counts: dict[str, int] = {}
    whole: list[tuple[Any, ...]] = []
    for row in sorted(kept, key=lambda row: (row[0], row[1])):
        if row[1] == counts.get(row[0], 0):
            counts[row[0]] = row[1] + 1
            whole.append(row)
    last = max((row[6] for row in whole), default=0.0)
    runs = [
        row if row[1] != "main" and row[16] is not None and row[16] <= last else as_queued(row)
        for row in done.runs
        if row[1] == "main" or row[14] <= last
    ]
    return runs, sorted(whole, key=lambda row: (row[0], row[1]))


def as_queued(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A run's row, with its end undone."""
    fields = list(row)
    fields[5], fields[6], fields[7], fields[16], fields[21] = "queued", None, None, None, None
    fields[19] = 0
    fields[23] = None
    return tuple(fields)


def recorded(entries: list[tuple[Any, ...]]) -> set[tuple[str, str]]:
    """The steps whose end is recorded."""
    return {(row[0], row[3]) for row in entries if row[2] in OVER}
