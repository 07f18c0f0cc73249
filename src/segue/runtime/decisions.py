"""What was decided about a question, as it travels by mail."""

from typing import Any, NamedTuple

import msgspec

from segue.values import encode, plain


class Decision(NamedTuple):
    """What was decided.

    Attributes:
        kind: ``answer``; ``nobody`` when the time was up; ``withdrawn`` when the flow no longer wants to know.
        value: the answer, as plain data.
        by: who gave it.
    """

    kind: str
    value: Any = None
    by: str = ""


def pack_decision(decision: Decision) -> bytes:
    """The body of the mail that brings it."""
    return encode(tuple(decision), "the answer")


def read_decision(body: bytes) -> Decision:
    """The decision in such mail. What cannot be read is an answer that fits nothing."""
    try:
        found = plain(body)
    except msgspec.DecodeError:
        found = body
    match found:
        case [str() as kind, value, str() as by]:
            return Decision(kind, value, by)
        case other:
            return Decision("answer", {"unreadable": repr(other)[:200]})
