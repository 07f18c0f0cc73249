"""Large values and files, by the hash of their content: written once, shared by all who hold the same bytes."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from segue.errors import CorruptRecord, StoreError, StoreFull
from segue.runtime import crashpoints

SPILL = 256 * 1024
"""Values longer than this, in bytes, leave the journal."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MARK = b"\xc7\x20\x01"  # MessagePack: an extension of type 1 and length 32, which no codec of ours produces


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
        if not self.path(digest).exists():
            self._place(digest, lambda target: target.write_bytes(data))
        return digest

    def put_file(self, source: Path) -> str:
        """Keep a copy of this file: a reflink or hard link would change with the original."""
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not self.path(digest).exists():
            self._place(digest, lambda target: shutil.copyfile(source, target))
        return digest

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

    def _place(self, digest: str, write: Callable[[Path], object]) -> None:
        target = self.path(digest)
        temporary: Path | None = None
        try:
            if not target.parent.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _sync(self.root)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix="new-")
            os.close(handle)
            temporary = Path(name)
            crashpoints.reach("before-artifact")
            write(temporary)
            temporary.chmod(0o444)
            _sync(temporary)
            temporary.rename(target)
            _sync(target.parent)
            crashpoints.reach("after-artifact")
        except OSError as error:
            kind = StoreFull if error.errno in _FULL else StoreError
            raise kind(f"artifact {target} could not be written: {error}") from error
        finally:
            if temporary is not None:
                with suppress(OSError):
                    temporary.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
