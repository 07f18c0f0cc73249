"""The dispatch desk: every instruction that was sent, and everything that is known of orders and drivers.

It stands for the systems around an orchestrator. Of what is written under one key only the
first counts: with ``segue.idempotency_key()`` an effect that is tried again after a crash happens once.
"""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from freightcore.facts import Event, Proposal

Mark = Literal["known", "cancelled", "rebooked", "subcontracted", "off", "came"]

_TABLES = """
create table if not exists instructions (
    n integer primary key, key text unique, city text, vehicle text, at integer, event text, sent real, body blob
);
create index if not exists by_vehicle on instructions (vehicle, n);
create table if not exists marks (
    n integer primary key, key text unique, kind text, subject text, at integer, event text, sent real
);
"""

_PROPOSAL = msgspec.json.Decoder(Proposal)


class Instruction(NamedTuple):
    """A route that a van was sent on.

    Attributes:
        at: on the day's clock; ``sent`` is by the real one.
        event: which event led to it; empty for the plan of the morning.
    """

    vehicle: str
    at: int
    event: str
    sent: float
    proposal: Proposal


@contextmanager
def _desk(day: str) -> Generator[sqlite3.Connection, None, None]:
    connection = sqlite3.connect(Path(day) / "desk.db", timeout=30, isolation_level=None)
    try:
        connection.execute("pragma synchronous = normal")
        yield connection
    finally:
        connection.close()


def open_desk(day: str) -> None:
    """Set it up, if it is not."""
    with _desk(day) as desk:
        desk.execute("pragma journal_mode = wal")
        desk.executescript(_TABLES)


def send(day: str, key: str, city: str, at: int, event: str, proposals: list[Proposal]) -> None:
    """Send vans on their way.

    Args:
        key: the effect's; each van's instruction has its own beneath it.
    """
    rows = [
        (f"{key}/{p.load.vehicle}", city, p.load.vehicle, at, event, time.time(), msgspec.json.encode(p))
        for p in proposals
    ]
    with _desk(day) as desk:
        desk.execute("begin immediate")
        desk.executemany(
            "insert or ignore into instructions (key, city, vehicle, at, event, sent, body) "
            "values (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        desk.execute("commit")


def mark(day: str, key: str, kind: Mark, subjects: list[str], at: int, event: str) -> None:
    """Note something about orders or drivers."""
    rows = [(f"{key}/{kind}/{subject}", kind, subject, at, event, time.time()) for subject in subjects]
    with _desk(day) as desk:
        desk.execute("begin immediate")
        desk.executemany(
            "insert or ignore into marks (key, kind, subject, at, event, sent) values (?, ?, ?, ?, ?, ?)", rows
        )
        desk.execute("commit")


def arrived(day: str, events: list[Event]) -> None:
    """Note when events came in, by the real clock."""
    for event in events:
        mark(day, "", "came", [event.id], event.at, event.id)


def latest(day: str, *, city: str | None = None, vehicle: str | None = None) -> dict[str, Proposal]:
    """What each van was told last."""
    which, value = ("city", city) if vehicle is None else ("vehicle", vehicle)
    last = f"select max(n) from instructions where {which} = ? group by vehicle"
    query = f"select vehicle, body from instructions where n in ({last})"
    with _desk(day) as desk:
        return {vehicle: _PROPOSAL.decode(body) for vehicle, body in desk.execute(query, (value,))}


def everything(day: str) -> list[Instruction]:
    """All instructions, in the order in which they were sent."""
    query = "select vehicle, at, event, sent, body from instructions order by n"
    with _desk(day) as desk:
        rows = desk.execute(query).fetchall()
    return [Instruction(vehicle, at, event, sent, _PROPOSAL.decode(body)) for vehicle, at, event, sent, body in rows]


def marks(day: str, kind: Mark) -> dict[str, int]:
    """What or who has such a mark, and since when on the day's clock."""
    with _desk(day) as desk:
        return dict(desk.execute("select subject, min(at) from marks where kind = ? group by subject", (kind,)))


def latencies(day: str) -> list[tuple[str, float]]:
    """For each event that led to instructions: how long the first of them took to be sent, in real seconds."""
    query = """select came.subject, min(i.sent) - came.sent
        from marks came join instructions i on i.event = came.subject
        where came.kind = 'came' group by came.subject order by came.subject"""
    with _desk(day) as desk:
        return list(desk.execute(query))
