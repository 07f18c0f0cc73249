"""Keys and events in the SQLite store: which run of a key has its turn, and which events are known.

A run with a key is written as held. It is queued when none of its key has the turn and it is the first of those that
are held; that is looked at whenever one of the key is created, ends, or waits with the key free. So the queue that
workers claim from holds runs that may go, however many there are behind each.
"""

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import Any
from zlib import crc32

from segue.core.entries import Entry, Kind
from segue.core.lifecycle import Status
from segue.errors import Failure, OwnKey
from segue.stores.base import MERGES, TOOK, Busy, Known, Lane, NewRun, Row
from segue.stores.sqlite_file import Database
from segue.stores.sqlite_rows import insert_entry
from segue.types import StepId

_OF = "flow = ?1 and key = ?2 and ended is null"
_LANE_AT_5 = "flow = ?5 and key = ?6 and ended is null"
# By the index straight to each status: an "or" would read all that are held, which may be very many.
_TURN = f"{_OF} and status in ('queued', 'running', 'waiting') and not (status = 'waiting' and frees)"
_PROMOTE = (
    f"update runs set status = 'queued' where number = (select min(number) from runs where {_OF} and status = 'held')"
)
_FIRST = (
    f"coalesce((select number from runs where {_OF} and status = 'queued' and claims = 0 limit 1),"
    f" (select number from runs where {_OF} and status = 'held' and claims = 0 order by number limit 1))"
)
_CALM = (
    "update runs set due = case when ?3 is null then due else max(due, min(created + ?4, ?3)) end,"
    f" priority = max(priority, ?5) where number = {_FIRST}"
)
_TAKEN = f"select 1 from runs where {_TURN} limit 1"


def promote(db: Database, lanes: Iterable[Lane | None]) -> None:
    """Give the next run its turn, in each of these that nobody has."""
    for lane in {lane for lane in lanes if lane is not None}:
        if not is_taken(db, lane):  # by itself: within the update it would cost ten times as much
            db.execute(_PROMOTE, lane)


def calm(db: Database, runs: Iterable[NewRun], now: float) -> None:
    """Let what waits in the lanes of these new runs wait on until it is quiet there, and be as urgent as they are."""
    db.executemany(
        _CALM,
        [
            (*run.lane, None if run.quiet is None else now + run.quiet, run.patience, run.priority)
            for run in runs
            if run.lane is not None and (run.quiet is not None or run.priority > 0)
        ],
    )


TOGETHER = (1000, 4 << 20)
"""Events that one run takes along, and bytes of their inputs, at most."""


def take_along(db: Database, row: Row, seq: int, now: float) -> bool:
    """Let a run that begins take those of its key along that wait behind it. Tells whether there are any."""
    waiting = (
        f"select id, created, input from runs where {_OF} and status = 'held' and claims = 0 and merges = {MERGES}"
        " and due <= ?3 and (expires is null or expires > ?3) order by number limit ?4"
    )
    others: list[tuple[str, float, bytes]] = []
    size = len(row.input)
    for id, created, input in list(db.execute(waiting, (row.flow, row.key, now, TOGETHER[0]))):
        size += len(input)
        if size > TOGETHER[1]:
            break
        others.append((id, created, input))
    if not others:
        return False
    events = _encoded([(row.id, row.created, row.input), *others])
    insert_entry(db, row.id, Entry(seq, Kind.EVENTS, StepId("@events"), 0, now, now, None, events))
    end = (
        "update runs set status = 'merged', reason = ?, result = ?, seal = ?, ended = ?, started = ? where id = ?"
        " and status = 'held'"
    )
    into = _encoded(row.id)
    said = f"taken along by run {row.id}"
    db.executemany(end, [(said, into, crc32(into), now, now, id) for id, _, _ in others])
    db.execute(f"update runs set merges = {TOOK} where id = ?", (row.id,))
    return True


def expire(db: Database, row: Row, now: float) -> None:
    """End a run whose time to begin is over, and those of its key that wait behind it in the same case."""
    failure = _encoded(Failure("RunExpired", "its event was too old to act on when its turn came"))
    which = "id = ?5" if row.key is None else f"{_LANE_AT_5} and claims = 0"
    end = (
        "update runs set status = 'expired', worker = null, result = ?1, seal = ?2, ended = ?3, error = 'RunExpired'"
        f" where {which} and status in ('queued', 'held') and expires <= ?4 returning id, parent"
    )
    given = (failure, crc32(failure), now, now, *((row.id,) if row.key is None else (row.flow, row.key)))
    gone = list(db.execute(end, given))
    if called := [id for id, parent in gone if parent is not None]:
        wake_parents(db, called)
    promote(db, [row.lane])


def is_taken(db: Database, lane: Lane) -> bool:
    """Whether some run has the turn."""
    return any(True for _ in db.execute(_TAKEN, lane))


def wake(db: Database, which: str, given: Sequence[Any]) -> None:
    """Queue those of these runs that wait. One whose key was free meanwhile takes its turn again.

    Args:
        which: a condition.
    """
    waits = f"status = 'waiting' and {which}"
    db.execute(f"update runs set status = 'queued', reason = null, due = 0 where {waits} and not frees", given)
    freed = f"update runs set status = 'held', reason = null, due = 0 where {waits} and frees returning flow, key"
    promote(db, list(db.execute(freed, given)))  # pyright: ignore[reportArgumentType]


def wake_parents(db: Database, ended: Collection[str]) -> None:
    """Queue the parked runs that wait for one of these, which have ended."""
    marks = ",".join("?" * len(ended))
    wake(db, f"id in (select parent from runs where id in ({marks}) and parent is not null)", tuple(ended))


def hold(db: Database, run: str) -> None:
    """A run is queued again after its end: if it has a key, it takes its turn."""
    held = "update runs set status = 'held' where id = ? and status = 'queued' and key is not null returning flow, key"
    promote(db, list(db.execute(held, (run,))))  # pyright: ignore[reportArgumentType]


def refuse_own_key(db: Database, run: NewRun) -> None:
    """Raise if a run would wait for its turn behind one that waits for it."""
    if run.key is None or run.parent is None:
        return
    callers = (
        "with recursive callers(id) as (select ?3 union all"
        " select runs.parent from runs join callers on runs.id = callers.id where runs.parent is not null)"
        f" select id from runs where id in (select id from callers) and {_OF} and not frees"
    )
    for (caller,) in db.execute(callers, (run.flow, run.key, run.parent)):
        raise OwnKey(
            f"run {run.parent} calls flow {run.flow!r} with key {run.key!r}, whose turn run {caller} has: each would "
            "wait for the other. Call it with another key, start it from a step, or declare while_waiting='release'"
        )


def unseen(db: Database, runs: Sequence[NewRun], now: float) -> Sequence[NewRun]:
    """Those of these new runs that are the first for their event, and those that are for none."""
    events = [run for run in runs if run.once is not None]
    if not events:
        return runs
    fresh: set[str] = set()
    for start in range(0, len(events), _AT_ONCE):
        part = events[start : start + _AT_ONCE]
        values: list[Any] = []
        for run in part:
            values += (run.flow, run.once, run.id, now + run.window)
        fresh.update(id for (id,) in db.execute(_see(len(part)), (*values, now)))
    return [run for run in runs if run.once is None or run.id in fresh]


_AT_ONCE = 64


@functools.cache
def _see(count: int) -> str:
    rows = ",".join(["(?,?,?,?)"] * count)
    return (
        f"insert into seen(flow, once, run, until) values {rows} on conflict(flow, once) do update"
        " set run = excluded.run, until = excluded.until where seen.until <= ? returning run"
    )


def known(db: Database, runs: Iterable[NewRun]) -> dict[str, Known]:
    """The run that has the event of each of these, which were not written for that."""
    query = (
        "select ?, s.run, r.id is null or (r.input = ? and not exists("
        f"select 1 from entries where run = r.id and kind = {Kind.EVENTS}))"
        " from seen as s left join runs as r on r.id = s.run where s.flow = ? and s.once = ?"
    )
    found = db.executemany(query, [(run.id, run.input, run.flow, run.once) for run in runs])
    return {id: Known(first, bool(same)) for id, first, same in found}


def firsts(db: Database, flow: str, events: Sequence[str]) -> dict[str, str]:
    """Which run was the first for each of these events."""
    found: dict[str, str] = {}
    for start in range(0, len(events), 500):
        part = events[start : start + 500]
        query = f"select once, run from seen where flow = ? and once in ({','.join('?' * len(part))})"
        found.update(db.execute(query, (flow, *part)))  # pyright: ignore[reportArgumentType, reportCallIssue]
    return found


def busy(db: Database, flow: str | None, limit: int) -> list[Busy]:
    """The keys that have runs which have not ended, those with the longest queues first."""
    only, given = ("", ()) if flow is None else (" and flow = ?", (flow,))
    counts = (
        "select flow, key, sum(status = 'held') as held from runs where key is not null and ended is null"
        f"{only} group by flow, key order by held desc, flow, key limit ?"
    )
    turn = f"select id, status, reason, created from runs where {_TURN} order by number limit 1"
    found: list[Busy] = []
    for of, key, held in list(db.execute(counts, (*given, limit))):
        run, status, reason, since = next(iter(db.execute(turn, (of, key))), (None, None, None, None))
        found.append(Busy(of, key, run, Status(status) if status else None, reason, since, held))
    return found


def _encoded(record: object) -> bytes:
    from segue.values import encode  # not on top: whoever only reads needs none of it, and starts quicker

    return encode(record, "a record of the store's")
