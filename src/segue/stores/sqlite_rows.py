"""How runs and entries stand in the tables of the SQLite store."""

from typing import Any
from zlib import crc32

from segue.core.entries import Entry, Kind
from segue.core.lifecycle import TERMINAL, Status
from segue.errors import CorruptRecord, Fenced
from segue.stores.base import Row
from segue.stores.sqlite_file import Database

ROW = ", ".join(Row._fields)
_FREES = Row._fields.index("frees")
SUMMARY = ROW.replace(" input,", " x'' as input,").replace(" result,", " null as result,")
ENTRY = ("run", *Entry._fields, "checksum")
ENDED = ",".join(f"'{status}'" for status in sorted(TERMINAL))
_KINDS = frozenset(Kind)
_STATUS = {str(status): status for status in Status}


def checksum_of(step: str, input: bytes | None, output: bytes | None) -> int:
    """The checksum of an entry."""
    return crc32(output or b"", crc32(input or b"", crc32(step.encode())))


def row_from(values: tuple[Any, ...]) -> Row:
    """A run as it was read.

    Raises:
        CorruptRecord: it is in a state that there is not.
    """
    return Row._make(values)._replace(status=status_from(values[0], values[4]), frees=bool(values[_FREES]))


def status_from(run: str, said: str) -> Status:
    """A run's status as it was read.

    Raises:
        CorruptRecord: there is no such status.
    """
    if (status := _STATUS.get(said)) is None:
        raise CorruptRecord(f"run {run}: its status {said!r:.40} is not one that was written")
    return status


def entry_from(run: str, expected: int, row: tuple[Any, ...]) -> Entry:
    """An entry as it was read.

    Raises:
        CorruptRecord: it is not what was written, or not in its place.
    """
    seq, kind, step, attempt, started, ended, input, output, checksum = row
    if checksum != checksum_of(step, input, output) or kind not in _KINDS or seq != expected:
        raise CorruptRecord(f"run {run}: entry {expected} (step {step!r}) is not what was written")
    return Entry(seq, Kind(kind), step, attempt, started, ended, input, output)


def insert_entry(db: Database, run: str, entry: Entry) -> None:
    """Append one entry, where there is no worker to fence."""
    checksum = checksum_of(entry.step, entry.input, entry.output)
    db.execute("insert into entries values(?,?,?,?,?,?,?,?,?,?)", (run, *entry, checksum))


def fence(db: Database, expected: int) -> None:
    """Raise if a statement that a worker's registration is part of has not changed so many rows."""
    if db.changes() != expected:
        raise Fenced
