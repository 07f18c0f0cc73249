"""One SQLite file: opened once for writing and once for reading, and the ways in through threads and locks."""

import ctypes
import fcntl
import os
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import apsw

from segue.errors import CorruptRecord, StoreBusy, StoreError, StoreFull
from segue.runtime.threads import Pool
from segue.stores.inotify import watch

T = TypeVar("T")

_OLDEST_SQLITE = (3, 51, 3)  # before it, two writers could corrupt the log: sqlite.org/wal.html#walresetbug
FORMAT = 6
"""Of the tables: ``user_version`` of the file."""

_BUSY_AFTER = 5.0
_LOG_PAGES = 1000  # of the write-ahead log, between two checkpoints
_LOG_BYTES = 32 + _LOG_PAGES * (24 + 4096)


class Database(Protocol):
    """What we use of ``apsw.Connection``, whose own types leave much open."""

    in_transaction: bool

    def execute(self, statements: str, bindings: Sequence[Any] = ..., /) -> Iterator[tuple[Any, ...]]: ...
    def executemany(self, statements: str, bindings: Iterable[Sequence[Any]], /) -> Iterator[tuple[Any, ...]]: ...
    def pragma(self, name: str, value: Any = ..., /) -> Any: ...
    def changes(self) -> int: ...
    def total_changes(self) -> int: ...
    def file_control(self, name: str, operation: int, pointer: int, /) -> bool: ...
    def set_busy_timeout(self, milliseconds: int, /) -> None: ...
    def close(self) -> None: ...


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in apsw.sqlite_lib_version().split("."))


class SqliteFile:
    """One SQLite file, or a database in memory.

    Args:
        path: the file; None for a store in memory.
        durability: ``disk`` survives a power cut (an fsync a commit); ``process`` survives the process's death.
        blocking: do everything on the calling thread.
        clock: gives seconds since the epoch.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        durability: str = "disk",
        blocking: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path, self.durability, self.blocking, self.clock = path, durability, blocking, clock
        self.url = "memory:" if path is None else f"sqlite:{path}"
        if durability not in ("disk", "process"):
            raise StoreError(f"durability is 'disk' or 'process', not {durability!r}")
        self._db: Database | None = None
        self._reader: Database | None = None
        self._lock = threading.Lock()
        self._read_lock = threading.Lock() if path is not None else self._lock
        self._flock = -1
        self._flocked = False
        self._writers = Pool("segue-writer", 1)
        self._readers = Pool("segue-reader", 1)

    # Opening and closing

    async def open(self) -> None:
        await self._write(self._open)

    def _open(self) -> None:
        if self.path is None:
            self._db = self._reader = self._connect(":memory:")
        else:
            if _version() < _OLDEST_SQLITE:
                raise StoreError(f"SQLite {apsw.sqlite_lib_version()} can corrupt a shared log; apsw must bring 3.51.3")
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._flock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreError(f"the store {self.path} cannot be opened: {error}") from error
            with self._one_process():
                self._db = self._connect(str(self.path))
                self._db.pragma("journal_mode", "wal")
                self._db.pragma("wal_autocheckpoint", _LOG_PAGES)
                self._schema(self._db)
                if self.durability == "disk":
                    self._allot_log(self.path)
            self._reader = self._connect(str(self.path))
        if self.path is None:
            self._schema(self._db)

    def _connect(self, name: str) -> Database:
        db = cast("Database", apsw.Connection(name, statementcachesize=200))
        db.set_busy_timeout(int(_BUSY_AFTER * 1000))
        db.pragma("synchronous", "full" if self.durability == "disk" else "normal")
        db.pragma("cache_size", -32000)
        db.pragma("trusted_schema", False)
        if self.path is not None:
            keep = ctypes.c_int(1)  # the log's file, which the last to close would delete
            db.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(keep))
        return db

    @staticmethod
    def _allot_log(path: Path) -> None:
        """Give the log its whole size at once: a commit that makes the file grow takes twice as long as another.

        What is appended are zeros, which SQLite takes for the log's end (sqlite.org/walformat.html).
        """
        log = os.open(f"{path}-wal", os.O_WRONLY | os.O_APPEND)
        try:
            missing = _LOG_BYTES - os.fstat(log).st_size
            if missing > 0 and _free(path) > 16 * _LOG_BYTES:
                os.write(log, bytes(missing))
                os.fdatasync(log)
        except OSError:
            pass  # it grows as it goes, then
        finally:
            os.close(log)

    @staticmethod
    def _schema(db: Database) -> None:
        found = db.pragma("user_version")
        if found == FORMAT:
            return
        if found > FORMAT:
            raise StoreError(f"the store was written by a newer Segue (format {found}); this one reads format {FORMAT}")
        from importlib.resources import files

        db.execute("begin immediate")
        if found == 1:
            db.execute("alter table runs add column fallbacks integer not null default 0")
        if 1 <= found <= 2:
            db.execute("alter table runs add column step text; alter table runs add column error text")
        if 1 <= found <= 3:
            db.execute("alter table runs add column key text")
            db.execute("alter table runs add column frees integer not null default 0")
        if 1 <= found <= 4:
            db.execute("alter table runs add column merges integer not null default 0")
            db.execute("alter table runs add column expires real")
        if found == 5:
            db.execute("alter table rejects add column once text")
        db.execute(files("segue.stores").joinpath("sqlite.sql").read_text())
        db.execute(f"pragma user_version = {FORMAT}; commit")

    async def close(self) -> None:
        await self._write(self._close)
        self._writers.close()
        self._readers.close()

    def _close(self) -> None:
        if self._reader is not None and self._reader is not self._db:
            with self._read_lock:
                self._reader.close()
        self._reader = None
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._flock >= 0:
            os.close(self._flock)
            self._flock = -1

    def stirred(self) -> int | None:
        return None if self.path is None else watch(Path(f"{self.path}-wal"))

    # Ways in

    def _write(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        return self._on(self._writers, self._lock, work, args)

    def _read(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        return self._on(self._readers, self._read_lock, work, args)

    def _on(self, pool: Pool, lock: threading.Lock, work: Callable[..., T], args: tuple[Any, ...]) -> Awaitable[T]:
        def locked() -> T:
            with lock:
                try:
                    return work(*args)
                except apsw.Error as error:
                    raise translate(error, self.path) from error

        return _done(locked) if self.blocking else pool.submit(locked)

    @property
    def db(self) -> Database:
        if self._db is None:
            raise StoreError(f"the store {self.url} is closed")
        return self._db

    @property
    def reader(self) -> Database:
        if self._reader is None:
            raise StoreError(f"the store {self.url} is closed")
        return self._reader

    def _try_flock(self) -> bool:
        """Take the lock between processes, if that is possible at once."""
        if self._flock < 0:
            return True
        try:
            fcntl.flock(self._flock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._flocked = True
        return True

    def _let_flock(self) -> None:
        if self._flock >= 0:
            self._flocked = False
            fcntl.flock(self._flock, fcntl.LOCK_UN)

    @contextmanager
    def _one_process(self) -> Generator[None, None, None]:
        if self._flock < 0 or self._flocked:  # the caller has it
            yield
            return
        deadline = time.monotonic() + _BUSY_AFTER
        while not self._try_flock():
            if time.monotonic() > deadline:
                raise StoreBusy(f"another process holds {self.path} for more than {_BUSY_AFTER:g} s")
            time.sleep(0.0005)
        try:
            yield
        finally:
            self._let_flock()

    @contextmanager
    def _transaction(self) -> Generator[Database, None, None]:
        db = self.db
        with self._one_process():
            db.execute("begin immediate")
            try:
                yield db
                db.execute("commit")
            except BaseException:
                if db.in_transaction:
                    db.execute("rollback")
                raise


def _free(path: Path) -> int:
    """The room that is left on a file's disk, in bytes."""
    disk = os.statvfs(path.parent)
    return disk.f_bavail * disk.f_frsize


async def _done(work: Callable[[], T]) -> T:
    return work()


def translate(error: apsw.Error, path: Path | None) -> StoreError:
    """SQLite's error as ours, saying what to do."""
    full = f"no room left on the disk of {path}; free some, and what waits goes on by itself"
    if isinstance(error, apsw.BusyError):
        return StoreBusy(f"another process holds {path} for more than {_BUSY_AFTER:g} s")
    if isinstance(error, apsw.FullError):
        return StoreFull(full)
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return CorruptRecord(f"{path} is damaged ({error}); check it with: segue doctor")
    if path is not None and isinstance(error, apsw.IOError) and _free(path) < 1 << 20:
        return StoreFull(full)
    return StoreError(f"{path}: {error}")
