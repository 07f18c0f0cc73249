"""Where the running code is: in a flow, in a step, or in neither."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from segue.core.branches import Branch
from segue.stores.artifacts import Artifacts

if TYPE_CHECKING:
    from segue.runtime.run import Run


class Here(Protocol):
    """What both places have."""

    in_flow: bool

    @property
    def artifacts(self) -> Artifacts: ...


class Place(Branch):
    """In a flow: one of its tasks, and the run that it belongs to."""

    __slots__ = ("deadline", "last", "run", "since")
    in_flow = True

    def __init__(self, run: "Run", path: str = "", deadline: float | None = None, since: int = -1) -> None:
        super().__init__(path)
        self.run = run
        self.deadline = deadline
        """When its time is up, in seconds since the epoch; later by what the run was at its end since then."""
        self.since = since
        """The place in the journal at which that was set."""
        self.last: Any = None
        """The outcome of the last step that this task awaited."""

    @property
    def until(self) -> float:
        """When its time is up as the flow sees time now; only where it has a deadline."""
        past = self.run.past
        assert self.deadline is not None
        return self.deadline + past.pause(self.since) - past.pause(self.run.at) if past.pauses else self.deadline

    @property
    def artifacts(self) -> Artifacts:
        return self.run.engine.artifacts


class Identity(NamedTuple):
    """Which step of which run a step's own process executes."""

    run: str
    flow: str
    step: str
    attempt: int
    key: str
    until: float | None = None
    """When its time is up, in seconds since the epoch."""


class Beside:
    """In neither, but where files of runs can be found: a step's own process, a report on a run."""

    in_flow = False

    def __init__(self, artifacts: Artifacts, identity: Identity | None = None) -> None:
        self.artifacts, self.identity = artifacts, identity


HERE: ContextVar[Here | None] = ContextVar("segue_here", default=None)


def place() -> Place | None:
    """Where in a flow the running code is, or None outside flows and in steps."""
    here = HERE.get()
    return cast("Place", here) if here is not None and here.in_flow else None
