"""What the journal holds: one row for each thing that happened in a run, in order, never changed."""

from enum import IntEnum
from typing import NamedTuple

from segue.types import StepId


class Kind(IntEnum):
    """What an entry records. The numbers are stored: never reuse one."""

    OK = 1
    """A step or child run ended well; ``output`` is its result."""
    ERROR = 2
    """It failed for good; ``output`` is the failure."""
    CANCELLED = 3
    """The flow cancelled it, and it has stopped."""
    ATTEMPT = 4
    """An attempt failed and another follows; ``output`` is the failure."""
    TIMER = 5
    """A timer of the flow fired: sleep, timeout, wait_for."""
    START = 6
    """A body is about to run. Written only where a crash must leave a trace of it."""
    CLAIM = 7
    """Another worker took the run over; ``output`` says which, and from whom."""

    NOTED = 8
    """As ``OK``, with something to say about the result: ``output`` is a note and the result."""
    ASKED = 9
    """A person was asked, or reminded; ``output`` is the question's id."""
    SIGNAL = 10
    """A signal came for the run; ``output`` is its value. ``step`` says which."""
    CANCEL = 11
    """The run is to be cancelled; ``output`` says by whom and why."""
    UNDO = 12
    """The run ends in failure, and what its steps did is undone first; ``output`` is that end."""
    REDRIVE = 13
    """A person let the run go on after its end; ``output`` says from where, with which changes."""
    FORKED = 14
    """What precedes was recorded by another run; ``output`` says which."""
    DISCARD = 15
    """A person decided that nothing more is done about the failed run; ``output`` says who and why."""
    EVENTS = 16
    """The run took events of its key along, which had come before it began; ``output`` holds them and its own."""


OUTCOMES = frozenset({Kind.OK, Kind.NOTED, Kind.ERROR, Kind.CANCELLED, Kind.TIMER})
"""The kinds that the flow's code gets to see when it asks."""

UNASKED = frozenset({Kind.CANCEL, Kind.UNDO})
"""The kinds that reach it at their place in the order, whether it asks or not."""

GOOD = frozenset({Kind.OK, Kind.NOTED})
"""The kinds that hold a result."""


class Entry(NamedTuple):
    """One row of a run's journal.

    Attributes:
        seq: its place in the run, from 0.
        kind: what it records.
        step: whose it is.
        attempt: from 1; 0 where there are none.
        started: wall clock, seconds since the epoch.
        ended: likewise. Never before the entry that precedes it.
        input: the step's encoded arguments, in the first entry that the step has.
        output: the encoded result or failure.
    """

    seq: int
    kind: Kind
    step: StepId
    attempt: int
    started: float
    ended: float
    input: bytes | None
    output: bytes | None
