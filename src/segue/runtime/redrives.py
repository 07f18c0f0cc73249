"""What people do to runs, as it is recorded: who, why, and what it changes."""

from typing import Any, NamedTuple, cast

import msgspec

from segue.core.entries import Entry
from segue.core.redrive import Redrive
from segue.errors import CorruptRecord
from segue.values import encode, plain


class Deed(NamedTuple):
    """Who did something to a run, and why."""

    by: str
    why: str = ""


class Redriven(NamedTuple):
    """The content of an entry of kind ``REDRIVE``, or ``FORKED``.

    Attributes:
        redrive: what it changes.
        end: the failure (encoded) that the run had ended with, which the redrive took back; empty for a fork.
        results: steps whose results the person gave; they stand in the entries that follow.
    """

    deed: Deed
    redrive: Redrive
    end: bytes = b""
    results: tuple[str, ...] = ()


def pack_redriven(redriven: Redriven) -> bytes:
    """The output of the entry."""
    redrive = redriven.redrive._replace(edits=dict(redriven.redrive.edits))
    return msgspec.msgpack.encode(redriven._replace(redrive=redrive))


_Changes = tuple[str, int, bool, tuple[str, ...], dict[str, bytes], tuple[str, ...], float, str, tuple[str, ...]]
_redriven = msgspec.msgpack.Decoder(tuple[Deed, _Changes, bytes, tuple[str, ...]])


def read_redriven(entry: Entry) -> Redriven:
    """The content of the entry.

    Raises:
        CorruptRecord: it cannot be read.
    """
    try:
        deed, redrive, end, results = _redriven.decode(entry.output or b"")
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptRecord(f"the record of a redrive (entry {entry.seq}) cannot be read: {error}") from None
    return Redriven(deed, Redrive(*redrive), end, results)


def read_redrive(entry: Entry) -> Redrive:
    """What the entry changes."""
    return read_redriven(entry).redrive


def pack_deed(deed: Deed, **more: Any) -> bytes:
    """Who did it and why, with whatever else there is to say, as an entry's output or the body of mail."""
    return encode({**deed._asdict(), **more}, "a record of who did it")


def read_deed(data: bytes | None) -> dict[str, Any]:
    """The same again."""
    found = plain(data)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def why_cancelled(entry: Entry) -> str:
    """What a run that was cancelled says of it."""
    deed = read_deed(entry.output)
    by, why = deed.get("by") or "", deed.get("why") or ""
    said = f"cancelled by {by}" if by else str(why) if why else "cancelled"
    return f"{said}: {why}" if by and why else said
