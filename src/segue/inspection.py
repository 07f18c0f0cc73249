"""Reading runs back: the timeline of steps and attempts, from the journal."""
from segue.stores.base import Row
from segue.core.lifecycle import Status


def reason_of(row: Row, now: float) -> str | None:
    """What a run waits for, by name."""
    from segue.runtime.registry import FLOWS

    if row.status is Status.WAITING:
        return row.reason
    if row.status is Status.QUEUED:
        if row.due > now:
            return f"delayed for {row.due - now:.0f} s more"
        if row.flow not in FLOWS:
            return f"for a worker that knows flow {row.flow!r}"
        return "for a free worker"
    return None
