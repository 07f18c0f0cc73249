"""Replay: which recorded entry the flow gets next, and what has changed under it since.

A run that is resumed runs its flow's code again from the top. Every call it makes is looked up here. Recorded
outcomes are handed over one at a time in the order in which they were recorded, so that whatever raced then is won by
the same branch now; nothing new starts while a recorded outcome can still be handed over. Live outcomes pass through
the same queue: there is one path, not two.
"""

from collections import deque
from collections.abc import Collection, Iterable
from enum import Enum, auto
from heapq import heappop, heappush
from typing import NamedTuple

from segue.core.branches import items_of_one_map, name_of
from segue.core.entries import OUTCOMES, UNASKED, Entry, Kind
from segue.types import StepId

AGAIN = frozenset({Kind.ATTEMPT, Kind.START, Kind.ASKED})
"""Kinds that show that a step runs, whatever outcome it had before."""


class Found(Enum):
    """What a look-up found."""

    NEW = auto()
    RECORDED = auto()
    DIVERGED = auto()


class Shift(NamedTuple):
    """A call that the run recorded under another identity: tasks were added before it, or same-named calls swapped."""

    recorded: StepId
    asked: StepId


class Tape:
    """One run's recorded past, and the queue of what its flow gets to see next.

    Args:
        entries: the run's journal, in order.
        spare: steps whose results need not be asked for any more.
    """

    def __init__(self, entries: Iterable[Entry] = (), spare: Collection[str] = ()) -> None:
        self.seq = 0
        """The next entry's place."""
        self.time = 0.0
        """When the last entry was recorded. Time never runs backwards within a run."""
        self.claims: list[Entry] = []
        self._outcomes: list[Entry] = []
        self._at: dict[StepId, int] = {}
        self._inputs: dict[StepId, bytes] = {}
        self.failed: dict[StepId, list[Entry]] = {}
        """Attempts that failed before the run was interrupted, of steps that had not ended."""
        self.asked: dict[tuple[StepId, int], list[Entry]] = {}
        """When a person was asked, and reminded, in an attempt of a step."""
        self.signals: list[Entry] = []
        self.begun: set[StepId] = set()
        """Steps with an effect that can be undone, which were about to run."""
        self.undoing = False
        """The run had begun to undo what its steps did."""
        self._ready: list[int] = []
        self._live: deque[Entry] = deque()
        self._by_call: dict[tuple[str, bytes | None], StepId] | None = None
        for entry in entries:
            self._load(entry)
        self._spare = {step for step in spare if step in self._at}

    def _load(self, entry: Entry) -> None:
        self.seq = entry.seq + 1
        self.time = max(self.time, entry.ended)
        if entry.input is not None:
            self._inputs[entry.step] = entry.input
        if entry.kind in AGAIN and self._at.pop(entry.step, None) is not None:
            self.failed.pop(entry.step, None)  # it was run anew, with another input, and a crash came between
        if entry.kind in OUTCOMES:
            self._at[entry.step] = len(self._outcomes)  # a step that was run again after a divergence: the last counts
            self._outcomes.append(entry)
        elif entry.kind is Kind.ATTEMPT:
            self.failed.setdefault(entry.step, []).append(entry)
        elif entry.kind in UNASKED:
            self.undoing = self.undoing or entry.kind is Kind.UNDO
            heappush(self._ready, len(self._outcomes))
            self._outcomes.append(entry)
        elif entry.kind is Kind.CLAIM:
            self.claims.append(entry)
        elif entry.kind is Kind.ASKED:
            self.asked.setdefault((entry.step, entry.attempt), []).append(entry)
        elif entry.kind is Kind.SIGNAL:
            self.signals.append(entry)
        elif entry.kind is Kind.START and entry.output is not None:
            self.begun.add(entry.step)

    @property
    def replaying(self) -> bool:
        """Recorded outcomes remain that the flow has not asked for or not been given yet."""
        return bool(self._ready) or len(self._at) > len(self._spare)

    def ask(self, step: StepId, input: bytes | None) -> Found:
        """The flow calls this step with this input. A recorded outcome is queued for ``next``."""
        known = self._inputs.get(step)
        if known is not None and known != input:
            return Found.DIVERGED
        position = self._at.pop(step, None)
        self._spare.discard(step)
        if position is None:
            return Found.NEW
        heappush(self._ready, position)
        return Found.RECORDED

    def recorded_input(self, step: StepId) -> bytes | None:
        """The arguments that the run recorded for this step."""
        return self._inputs.get(step)

    def is_spare(self, step: StepId) -> bool:
        """Whether its result stands beyond the place of a redrive, and has not been asked for yet."""
        return step in self._spare

    def forget(self, step: StepId) -> None:
        """Run the step anew, whatever was recorded: the flow's policy after a divergence."""
        self._inputs.pop(step, None)
        self._at.pop(step, None)
        self._spare.discard(step)
        self.failed.pop(step, None)

    def last_failure(self, step: StepId) -> bytes | None:
        """The last attempt of this step that failed before the run was interrupted, as it was recorded."""
        failed = self.failed.get(step)
        return failed[-1].output if failed else None

    def record(self, entry: Entry) -> None:
        """An outcome of this moment; ``next`` gives it after all that was recorded before."""
        self._live.append(entry)

    def next(self) -> Entry | None:
        """The entry that the flow gets now: the earliest that it waits for."""
        if self._ready:
            return self._outcomes[heappop(self._ready)]
        return self._live.popleft() if self._live else None

    def shifted(self, step: StepId, input: bytes | None) -> Shift | None:
        """Whether this new call is one that the run recorded under another identity.

        Ask when no recorded outcome can be handed over any more. What then is left was recorded by code that is gone.
        It does no harm, unless the same call (name and input) is about to run a second time.
        """
        if not self._at:
            return None
        if self._by_call is None:
            self._by_call = {
                (name_of(left), self._inputs.get(left)): left for left in self._at if left not in self._spare
            }
        left = self._by_call.get((name_of(step), input))
        if left is None or left not in self._at or items_of_one_map(left, step):
            return None
        return Shift(left, step)
