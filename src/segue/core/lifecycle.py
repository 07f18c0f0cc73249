"""The states of a run, and every way from one to another: what is not in the table is refused."""

from enum import StrEnum


class Status(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    """Waits for a worker that knows its flow."""
    HELD = "held"
    """Waits for its turn: another run of its key goes first."""
    RUNNING = "running"
    """Owned by a worker with a live lease."""
    WAITING = "waiting"
    """Has left memory, for a named reason: a timer, a child run, a person, a signal."""
    COMPLETED = "completed"
    FAILED = "failed"
    """Ended for good in failure; everything is kept."""
    CANCELLED = "cancelled"
    MERGED = "merged"
    """Never began: another run of its key took its event along."""
    EXPIRED = "expired"
    """Never began: its event was too old to act on when its turn came."""

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.MERGED, Status.EXPIRED})
OPEN = (Status.QUEUED, Status.HELD, Status.RUNNING, Status.WAITING)
CLAIMABLE = (Status.QUEUED, Status.RUNNING, Status.WAITING)
"""Those that a worker may have to see to by itself: a run that is held has another before it that does."""


class Event(StrEnum):
    """What can happen to a run."""

    HOLD = "hold"
    """Another run of its key is busy, or came before it."""
    PROMOTE = "promote"
    """Its turn has come."""
    CLAIM = "claim"
    """A worker takes it."""
    PARK = "park"
    """Its worker puts it away until something is due."""
    WAKE = "wake"
    """What it waited for is there."""
    RELEASE = "release"
    """Its worker hands it back."""
    LOSE = "lose"
    """Its worker's lease lapsed."""
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    MERGE = "merge"
    """A run of its key begins, and takes its event along."""
    EXPIRE = "expire"
    """It is too late for it to begin."""
    REDRIVE = "redrive"
    """A person lets it go on after its end. No worker can."""


TABLE: dict[tuple[Status, Event], Status] = {
    (Status.QUEUED, Event.HOLD): Status.HELD,
    (Status.HELD, Event.PROMOTE): Status.QUEUED,
    (Status.HELD, Event.CANCEL): Status.CANCELLED,
    (Status.HELD, Event.MERGE): Status.MERGED,
    (Status.HELD, Event.EXPIRE): Status.EXPIRED,
    (Status.QUEUED, Event.EXPIRE): Status.EXPIRED,
    (Status.QUEUED, Event.CLAIM): Status.RUNNING,
    (Status.QUEUED, Event.CANCEL): Status.CANCELLED,
    (Status.RUNNING, Event.PARK): Status.WAITING,
    (Status.RUNNING, Event.RELEASE): Status.QUEUED,
    (Status.RUNNING, Event.LOSE): Status.QUEUED,
    (Status.RUNNING, Event.COMPLETE): Status.COMPLETED,
    (Status.RUNNING, Event.FAIL): Status.FAILED,
    (Status.RUNNING, Event.CANCEL): Status.CANCELLED,
    (Status.WAITING, Event.WAKE): Status.QUEUED,
    (Status.FAILED, Event.REDRIVE): Status.QUEUED,
    (Status.CANCELLED, Event.REDRIVE): Status.QUEUED,
}


class IllegalMove(RuntimeError):
    """A state and an event that do not go together: a defect in Segue."""


def move(status: Status, event: Event) -> Status:
    """Where the event leads from this state.

    >>> move(Status.RUNNING, Event.COMPLETE).value
    'completed'
    """
    try:
        return TABLE[status, event]
    except KeyError:
        raise IllegalMove(f"a {status} run cannot {event}") from None


LOSSES_ALLOWED = 3
"""Workers that one step may take down, without any progress of its run between, before the run ends."""

LOSSES_IN_DOUBT = 6
"""The same where the last death may have had another cause."""


def after_loss(losses: int, *, progressed: bool, suspect: bool, doubt: bool) -> tuple[Status, int]:
    """What becomes of a run whose worker died, and how many deaths in a row now count against it.

    Args:
        losses: deaths that counted so far.
        progressed: it recorded an outcome under the worker that died, so whatever is fatal lies further on.
        suspect: a step of it may have been running. Unknown the first time, when starts are not yet recorded.
        doubt: the worker executed other runs that may be to blame, or may be alive after all.
    """
    if progressed:
        losses = 1
    elif suspect or losses == 0:
        losses += 1
    if losses >= (LOSSES_IN_DOUBT if doubt else LOSSES_ALLOWED):
        return move(Status.RUNNING, Event.FAIL), losses
    return move(Status.RUNNING, Event.LOSE), losses
