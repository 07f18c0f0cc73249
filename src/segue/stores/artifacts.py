"""Large values and files, by the hash of their content: written once, shared by all who hold the same bytes.

Nothing counts who holds them. A prune looks for those that nothing refers to (``segue.stores.pruning``), and removes
them by their age: ``put`` makes what is there already as young as what it writes.
"""

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from segue.errors import CorruptRecord, StoreBusy, StoreError, StoreFull
from segue.runtime import crashpoints

SPILL = 256 * 1024
"""Values longer than this, in bytes, leave the journal."""

GRACE = 3600.0
"""Seconds for which an artifact stays, whether anything refers to it or not: whoever wrote it is about to say so."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MARK = b"\xc7\x20\x01"  # MessagePack: an extension of type 1 and length 32, which no codec of ours produces
_HEX = bytes.maketrans(bytes(range(256)), bytes(ord("x" if chr(c) in "0123456789abcdef" else ".") for c in range(256)))
_RUN = b"x" * 64
_MARKED = re.compile(re.escape(_MARK) + rb"(?=[\x00-\xff]{32})")
_PIECE = 256 * 1024
_AT_ONCE = 32  # files that are removed while everybody who puts one waits
_BUSY_AFTER = 5.0


class Found(NamedTuple):
    """What some bytes refer to.

    Attributes:
        spilled: values that they stand for, or hold: their content may refer to more.
        named: anything that could be the hash of a file.
    """

    spilled: AbstractSet[str]
    named: AbstractSet[str]


_NOTHING = Found(frozenset(), frozenset())


def references(data: bytes) -> Found:
    """What these bytes may refer to. Rather too much than too little: what is found need not exist.

    >>> references(b"\\xa9see " + b"c0ffee00" * 8).named == {"c0ffee00" * 8}
    True
    """
    marks = data.find(_MARK) >= 0
    digits = data.translate(_HEX) if len(data) >= 64 else b""  # a regex alone takes 100 times as long
    at = digits.find(_RUN)
    if not marks and at < 0:
        return _NOTHING
    named: set[str] = set()
    while at >= 0:
        end = digits.find(b".", at)
        text = data[at : end if end >= 0 else len(data)].decode()
        named.update(text[start : start + 64] for start in range(len(text) - 63))
        at = digits.find(_RUN, at + len(text))
    return Found({data[found.end() : found.end() + 32].hex() for found in _MARKED.finditer(data)}, named)


class Artifacts:
    """A folder of files named by the SHA-256 of what they hold.

    Args:
        root: the folder; made when the first artifact is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def beside(cls, database: Path) -> "Artifacts":
        """The folder that belongs to a database file."""
        return cls(database.with_name(f"{database.stem}.artifacts"))

    def path(self, digest: str) -> Path:
        """Where the bytes of this hash are."""
        if len(digest) != 64 or not all(c in "0123456789abcdef" for c in digest):
            raise StoreError(f"{digest!r} is not the hash of an artifact")
        return self.root / digest[:2] / digest[2:]

    def put(self, data: bytes) -> str:
        """Keep these bytes. On disk, durably, when this returns."""
        digest = hashlib.sha256(data).hexdigest()
        if not self._renew(digest):
            self._place(digest, lambda target: target.write_bytes(data))
        return digest

    def put_file(self, source: Path) -> str:
        """Keep a copy of this file: a reflink or hard link would change with the original."""
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not self._renew(digest):
            from shutil import copyfile  # who only reads artifacts starts quicker

            self._place(digest, lambda target: copyfile(source, target))
        return digest

    def put_open(self, source: BinaryIO) -> str:
        """Keep what an open file holds. It is hashed as it is copied: somebody may write to it meanwhile.

        Raises:
            OSError: it cannot be read.
            StoreError: it cannot be written.
        """
        from tempfile import mkstemp

        digest = hashlib.sha256()
        with self._translated(folder := self.root / "00"):
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = mkstemp(dir=folder, prefix="new-")
        copy = Path(name)
        try:
            with open(handle, "wb") as file:
                while data := source.read(_PIECE):
                    digest.update(data)
                    with self._translated(copy):
                        file.write(data)
                with self._translated(copy):
                    file.flush()
            if not self._renew(found := digest.hexdigest()):
                self._place(found, copy.replace)
            return found
        finally:
            copy.unlink(missing_ok=True)

    @staticmethod
    @contextmanager
    def _translated(target: Path) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            kind = StoreFull if error.errno in _FULL else StoreError
            raise kind(f"artifact {target} could not be written: {error}") from error

    def get(self, digest: str) -> bytes:
        """The bytes of this hash.

        Raises:
            CorruptRecord: they are gone, or not what was written.
        """
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            raise CorruptRecord(f"artifact {digest} is missing from {self.root}") from None
        except OSError as error:
            raise CorruptRecord(f"artifact {digest} cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise CorruptRecord(f"artifact {self.path(digest)} does not hold what was written")
        return data

    def spill(self, data: bytes | None) -> bytes | None:
        """The data, or a reference to it if it is long."""
        if data is None or len(data) <= SPILL:
            return data
        return _MARK + bytes.fromhex(self.put(data))

    def reference(self, data: bytes) -> bytes:
        """What ``spill`` would give, without writing anything."""
        return data if len(data) <= SPILL else _MARK + hashlib.sha256(data).digest()

    def fetch(self, data: bytes | None) -> bytes | None:
        """The data that ``spill`` took."""
        if data is not None and len(data) == 35 and data.startswith(_MARK):
            return self.get(data[3:].hex())
        return data

    def renew(self, data: bytes | None) -> bool:
        """Let all that a value refers to count as written now. False: it refers to nothing.

        Whoever hands a value on from one run to another does this, and then looks whether the run that it comes from is
        still there: it may be pruned at any moment, and only what is in the store or young is safe.
        """
        found = references(data or b"")
        for digest in found.spilled:
            self._renew(digest)
            for piece in self.pieces(digest):
                self.renew(piece)
        for digest in found.named:
            self._renew(digest)
        return found is not _NOTHING

    def _renew(self, digest: str) -> bool:
        """Whether it is there. From now on no sweep takes it for old."""
        path = f"{self.root}/{digest[:2]}/{digest[2:]}"
        try:
            lock = self._lock(fcntl.LOCK_SH)
            try:
                os.utime(path)
            finally:
                os.close(lock)
        except (FileNotFoundError, PermissionError):  # somebody else's file: one of our own takes its place
            return False
        except OSError as error:
            kind = StoreFull if error.errno in _FULL else StoreError
            raise kind(f"artifact {path} could not be kept: {error}") from error
        return True

    def _lock(self, how: int) -> int:
        """The lock between those who renew a file (shared) and who removes it for its age (exclusive), until closed.

        It is on the folder, by a descriptor of its own each time: threads that share one would share its lock too.
        """
        descriptor = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC)
        deadline = 0.0
        while True:
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                deadline = deadline or time.monotonic() + _BUSY_AFTER
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise StoreBusy(f"another process holds {self.root} for more than {_BUSY_AFTER:g} s") from None
            time.sleep(0.0005)

    # Removing

    def older(self, than: float) -> Iterator[tuple[str, int]]:
        """The hash and size of each file that was last put before this time."""
        for file in self._files():
            if len(file.name) == 62 and (found := _stat(file)) is not None and found.st_mtime < than:
                yield Path(file.path).parent.name + file.name, found.st_size

    def remove(self, digests: Sequence[str], than: float) -> Iterator[tuple[str, int]]:
        """Remove those of these files that are still older than this time. Gives them, with their sizes.

        Under the lock they are only renamed: to free a large file takes long.
        """
        for start in range(0, len(digests), _AT_ONCE):
            gone: list[tuple[str, int]] = []
            lock = self._lock(fcntl.LOCK_EX)
            try:
                for digest in digests[start : start + _AT_ONCE]:
                    path = self.path(digest)
                    with suppress(FileNotFoundError):
                        found = path.stat()
                        if found.st_mtime < than:
                            path.rename(self._condemned(digest))
                            gone.append((digest, found.st_size))
            finally:
                os.close(lock)
            for digest, size in gone:
                self._condemned(digest).unlink(missing_ok=True)
                yield digest, size

    def clear(self, than: float) -> Iterator[int]:
        """Remove what was left half-written or half-removed before this time. Gives the sizes."""
        for file in self._files():
            if file.name.startswith(("new-", "old-")) and (found := _stat(file)) and found.st_mtime < than:
                Path(file.path).unlink(missing_ok=True)
                yield found.st_size

    def pieces(self, digest: str) -> Iterator[bytes]:
        """The content of a file, in pieces that overlap, so that every reference is whole in one of them."""
        with suppress(FileNotFoundError), self.path(digest).open("rb") as file:
            rest = b""
            while data := file.read(_PIECE):
                yield rest + data
                rest = data[-63:]

    def _condemned(self, digest: str) -> Path:
        return self.root / digest[:2] / f"old-{digest[2:]}"

    def _files(self) -> Iterator[os.DirEntry[str]]:
        for folder in _listed(self.root):
            if len(folder.name) == 2 and folder.is_dir():
                yield from _listed(folder.path)

    def _place(self, digest: str, write: Callable[[Path], object]) -> None:
        from tempfile import mkstemp

        target = self.path(digest)
        temporary: Path | None = None
        try:
            with self._translated(target):
                if not target.parent.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _sync(self.root)
                handle, name = mkstemp(dir=target.parent, prefix="new-")
                os.close(handle)
                temporary = Path(name)
                crashpoints.reach("before-artifact")
                write(temporary)
                temporary.chmod(0o444)
                _sync(temporary)
                temporary.rename(target)
                _sync(target.parent)
                crashpoints.reach("after-artifact")
        finally:
            if temporary is not None:
                with suppress(OSError):
                    temporary.unlink()


def _listed(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as files:
            return list(files)
    except FileNotFoundError:
        return []


def _stat(file: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
