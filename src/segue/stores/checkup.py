"""What can be found out about a store from outside: for ``segue doctor``."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple, Protocol, cast

import apsw

from segue.stores.sqlite import SqliteStore, birth, machine
from segue.stores.sqlite_file import FORMAT
from segue.stores.urls import open_url

Level = Literal["ok", "warn", "fail"]

_LITTLE, _TOO_LITTLE = 1 << 30, 100 << 20
_SLOW_FSYNC = 0.02
_REMOTE = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "glusterfs", "ceph", "lustre")
_SQLITE = (3, 51, 3)


class Finding(NamedTuple):
    """One line of the examination."""

    level: Level
    what: str
    said: str


def examine(url: str) -> Iterator[Finding]:
    """Everything that is worth knowing about this store, broken or not."""
    yield _sqlite_version()
    store = open_url(url)
    if not isinstance(store, SqliteStore) or store.path is None:
        yield Finding("warn", "store", f"{store.url} is gone when its process ends; name a file to keep runs")
        return
    path = store.path
    if not path.exists():
        yield from _not_there_yet(path, store)
        return
    yield from _files(path, store)
    db = None
    try:
        db = _connected(path)
        yield from _inside(db, path)
    except apsw.Error as error:
        yield Finding(
            "fail", "store", f"{path} cannot be read: {error}. Restore a backup, or move it away to begin anew"
        )
    finally:
        if db is not None:
            db.close()


def _sqlite_version() -> Finding:
    found = apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")) < _SQLITE:
        return Finding("fail", "SQLite", f"{found} can corrupt a shared log; install an apsw that brings 3.51.3")
    return Finding("ok", "SQLite", f"{found}, apsw {apsw.apsw_version()}")


def _not_there_yet(path: Path, store: SqliteStore) -> Iterator[Finding]:
    folder = next(parent for parent in path.parents if parent.exists())
    if os.access(folder, os.W_OK):
        yield Finding("ok", "store", f"{path} is not there yet; the first run makes it")
        yield _durability(store)
        yield from _disk(folder)
    else:
        yield Finding("fail", "store", f"{path} cannot be made: {folder} is not writable. Choose another with --store")


def _files(path: Path, store: SqliteStore) -> Iterator[Finding]:
    for file in (path, path.parent):
        if not os.access(file, os.R_OK | os.W_OK):
            yield Finding(
                "fail", "store", f"{file} is not readable and writable for this user: change its owner or mode"
            )
            return
    yield Finding("ok", "store", f"{path}, {_size(path)}")
    yield _durability(store)
    yield from _disk(path.parent)


def _durability(store: SqliteStore) -> Finding:
    if store.durability == "disk":
        return Finding("ok", "durability", "disk: each commit is on the disk before it counts")
    return Finding("warn", "durability", "process: a power cut can lose the last commits; for more, durability=disk")


def _disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    level: Level = "fail" if free < _TOO_LITTLE else "warn" if free < _LITTLE else "ok"
    yield Finding(level, "free space", f"{_bytes(free)}{'' if level == 'ok' else ': make room before it runs out'}")
    if (kind := _file_system(folder)).startswith(_REMOTE):
        yield Finding("fail", "file system", f"{kind}: SQLite's log needs a local disk. Put the store on one")
    try:
        took = _fsync_time(folder)
    except OSError as error:
        yield Finding("fail", "fsync", f"{folder} cannot be written: {error}")
    else:
        slow = "; each commit waits for it: a faster disk, or durability=process" if took > _SLOW_FSYNC else ""
        yield Finding("warn" if slow else "ok", "fsync", f"{took * 1000:.2f} ms{slow}")


def _fsync_time(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as file:
        times: list[float] = []
        for _ in range(7):
            file.write(b"\0" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return median(times)


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder is on, where the system says."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    fitting = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(fitting, default=(0, ""))[1]


def _size(path: Path) -> str:
    return _bytes(sum(file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists()))


def _bytes(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


# Inside


class Database(Protocol):
    """What is used of a connection; apsw's own types are only partly known."""

    def execute(self, statements: str) -> Iterator[tuple[Any, ...]]: ...

    def pragma(self, name: str) -> Any: ...

    def close(self) -> None: ...


def _connected(path: Path) -> Database:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    db.set_busy_timeout(2000)
    return cast("Database", db)


def _inside(db: Database, path: Path) -> Iterator[Finding]:
    mode = db.pragma("journal_mode")
    if mode == "wal":
        yield Finding("ok", "journal mode", "wal")
    else:
        yield Finding("warn", "journal mode", f"{mode}; it becomes wal when a run opens the store")
    yield _integrity(db, path)
    yield _writable(db)
    tables = {name for (name,) in db.execute("select name from sqlite_schema where type = 'table'")}
    if not {"runs", "entries", "workers"} <= tables:
        yield Finding("fail", "format", f"{path} is no store of Segue's: it lacks its tables. Name another file")
        return
    yield _format(db)
    yield _workers(db)
    yield _unfinished(db)


def _integrity(db: Database, path: Path) -> Finding:
    said = [str(row[0]) for row in db.execute("pragma quick_check(3)")]
    if said == ["ok"]:
        return Finding("ok", "integrity", "quick check passed")
    return Finding("fail", "integrity", f"{path} is damaged: {'; '.join(said)}. Stop all workers and restore a backup")


def _writable(db: Database) -> Finding:
    try:
        db.execute("begin immediate; rollback")
    except apsw.BusyError:
        return Finding("warn", "writing", "another process has held the store for 2 s; if that lasts, end it")
    except apsw.Error as error:
        return Finding("fail", "writing", f"nothing can be written: {error}")
    return Finding("ok", "writing", "a transaction can be begun")


def _format(db: Database) -> Finding:
    number = db.pragma("user_version")
    if 1 <= number <= FORMAT:
        return Finding("ok", "format", str(number))
    return Finding("fail", "format", f"{number}; this Segue reads format {FORMAT}: install the version that wrote it")


def _workers(db: Database) -> Finding:
    now, here = time.time(), machine()
    dead = sorted(_dead_workers(db))
    rows = list(db.execute("select id, host, pid, birth, expires from workers"))
    alive = {worker for worker, host, pid, born, _ in rows if here and host == here and birth(pid) == born}
    stuck = [worker for worker, *_, expires in rows if expires < now and worker in alive]
    dead = [worker for worker in dead if worker not in stuck]
    if stuck:
        return Finding(
            "warn", "workers", f"{', '.join(stuck)} lives but does not renew its lease: stopped or hung? End it"
        )
    if dead:
        return Finding(
            "warn", "workers", f"{', '.join(dead)} died; the next worker or segue resume takes its runs over"
        )
    return Finding("ok", "workers", f"{len(rows)} live")


def _unfinished(db: Database) -> Finding:
    running = _count(db, "runs where worker is not null")
    waiting = _count(db, "runs where status = 'waiting'")
    idle = _count(db, f"runs where status = 'queued' and due <= {time.time()!r}")
    orphaned = _orphaned(db)
    said = f"{running - orphaned} running, {waiting} waiting, {idle} queued"
    if idle + orphaned and not _live_workers(db):
        return Finding("warn", "unfinished runs", f"{said}, {orphaned} left by dead workers; to go on: segue resume")
    if orphaned:
        return Finding("warn", "unfinished runs", f"{said}, {orphaned} left by dead workers, soon taken over")
    return Finding("ok", "unfinished runs", said)


def _orphaned(db: Database) -> int:
    dead = _dead_workers(db)
    rows = db.execute("select worker from runs where worker is not null")
    return sum(worker in dead for (worker,) in rows)


def _dead_workers(db: Database) -> set[str]:
    now, here = time.time(), machine()
    rows = db.execute("select id, host, pid, birth, expires from workers")
    return {
        worker
        for worker, host, pid, born, expires in rows
        if expires < now or (here and host == here and birth(pid) != born)
    }


def _live_workers(db: Database) -> int:
    return _count(db, "workers") - len(_dead_workers(db))


def _count(db: Database, what: str) -> int:
    return next(iter(db.execute(f"select count(*) from {what}")))[0]
