"""What is recorded of a result besides the result: where it came from, and how sure it is."""

from typing import NamedTuple

import msgspec

from segue.core.entries import Entry, Kind
from segue.errors import CorruptRecord
from segue.outcomes import Source


class Note(NamedTuple):
    """How a result came about, where there is something to say.

    Attributes:
        rung: of the step's ladder: 0 for the step itself.
        by: that rung's name.
        confidence: what the result says of itself.
        age: of a cached value, in seconds.
        lenient: what was overlooked when its text was parsed.
        requests: how many were made at once, where the step hedges.
        said: what else it has to say for itself, as a gate that refuses.
        given: a person gave the result after the fact, as plain data.
    """

    source: Source = "model"
    rung: int = 0
    by: str = ""
    confidence: float | None = None
    age: float | None = None
    lenient: tuple[str, ...] = ()
    requests: int = 1
    said: str = ""
    given: bool = False


PLAIN = Note()
"""The step's own result, and nothing more to say."""


def pack(note: Note, data: bytes) -> bytes:
    """The output of an entry of kind ``NOTED``."""
    return msgspec.msgpack.encode((note, msgspec.Raw(data)))


_packed = msgspec.msgpack.Decoder(tuple[Note, msgspec.Raw])


def unpack(entry: Entry) -> tuple[Note, bytes | None]:
    """What an entry says of its result, and the result.

    Raises:
        CorruptRecord: it cannot be read.
    """
    if entry.kind is not Kind.NOTED:
        return PLAIN, entry.output
    try:
        note, raw = _packed.decode(entry.output or b"")
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptRecord(f"step {entry.step!r}: the record of its result cannot be read: {error}") from None
    return note, bytes(raw)
