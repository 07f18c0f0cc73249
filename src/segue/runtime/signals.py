"""Signals: values that reach a run from outside, by name. Each is an entry when it comes, and another when it is read.

So none is lost that comes before the flow waits for it, and a replayed flow gets each where it got it.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from segue.core.branches import name_of, signal_step
from segue.core.entries import GOOD, Entry, Kind
from segue.errors import CorruptRecord, InvalidResult, Unstorable
from segue.runtime.failures import failure_of
from segue.runtime.notes import unpack
from segue.types import StepId
from segue.values import Codec, as_json, encode, plain

if TYPE_CHECKING:
    from segue.runtime.run import Run

log = logging.getLogger("segue")


class Signals:
    """The signals of one run that nobody has read yet, and those who wait for one."""

    def __init__(self, entries: Sequence[Entry], came: Sequence[Entry]) -> None:
        self._unread: defaultdict[str, deque[Entry]] = defaultdict(deque)
        self._waiting: defaultdict[str, deque[SignalCall]] = defaultdict(deque)
        for entry in came:
            self._unread[entry.step].append(entry)
        if came:
            for (
                entry
            ) in entries:  # each wait that has ended well has read one, the oldest, and each one refused is read
                name = name_of(entry.step)
                if (entry.kind in GOOD or entry.kind is Kind.ATTEMPT) and name.startswith("@wait."):
                    unread = self._unread[signal_step(name.removeprefix("@wait."))]
                    if unread:
                        unread.popleft()

    def arrive(self, entry: Entry) -> None:
        """A signal has come, and is in the journal."""
        self._unread[entry.step].append(entry)
        self._hand_over(entry.step)

    def wait(self, call: "SignalCall") -> None:
        """Somebody waits."""
        self._waiting[call.signal].append(call)
        self._hand_over(call.signal)

    def leave(self, call: "SignalCall") -> None:
        """Somebody waits no more."""
        waiting = self._waiting[call.signal]
        if call in waiting:
            waiting.remove(call)

    def _hand_over(self, signal: StepId) -> None:
        waiting, unread = self._waiting[signal], self._unread[signal]
        while waiting and unread:
            waiting.popleft().read(unread.popleft())


class SignalCall:
    """A flow that waits for a signal."""

    in_flow = False

    def __init__(self, run: "Run", name: str, step: StepId, codec: Codec) -> None:
        self.run, self.name, self.step, self.codec = run, name, step, codec
        self.signal = signal_step(name)
        self.input = encode({"signal": name}, "the name of a signal")
        self.future: asyncio.Future[Any] = run.loop.create_future()
        self.started = 0.0
        self.attempt = len(run.tape.failed.get(step, ()))  # signals that were refused
        self.over = self.recorded = False

    def start(self) -> None:
        self.started = self.run.engine.clock()
        if self.run.engine.watchers:
            self.run.engine.tell("listening", self.run, step=self.step, signal=self.name)
        self.run.signals.wait(self)

    def read(self, entry: Entry) -> None:
        """Here it is. One that is not of the type is refused, on record, and the wait goes on."""
        run = self.run
        try:
            self.codec.from_plain(run.engine.artifacts.fetch(entry.output) or b"")
        except Unstorable as error:
            raw = as_json(plain(entry.output)).decode()
            refused = failure_of(InvalidResult(self.codec.where, error.path, error.problem, raw))
            log.warning("run %s: %s", run.id, refused.message)
            self.attempt += 1
            run.submit(Kind.ATTEMPT, self.step, self.attempt, self.started, self.input, encode(refused, "failure"))
            run.wake()
            run.signals.wait(self)
        else:
            self._end(Kind.OK, entry.output)

    def cancel(self) -> None:
        self.run.signals.leave(self)
        self.started = self.started or self.run.engine.clock()
        self._end(Kind.CANCELLED, encode("", "note"))

    def give_up(self) -> None:
        self.over = True
        self.run.signals.leave(self)

    def _end(self, kind: Kind, data: bytes | None) -> None:
        if self.over:
            return
        self.over = True
        run = self.run
        run.record(kind, self.step, self.attempt + 1, self.started, self.input, data)
        if run.engine.watchers:
            run.engine.tell("step", run, step=self.step, attempt=self.attempt + 1, kind=kind, data=data, by="")

    def deliver(self, entry: Entry) -> None:
        future = self.future
        if future.done():
            return
        if entry.kind not in GOOD:
            future.cancel()
            return
        try:
            stored = self.run.engine.artifacts.fetch(unpack(entry)[1]) or b""
            future.set_result(self.codec.from_plain(stored))
        except (CorruptRecord, Unstorable) as error:  # the type has changed since
            future.set_exception(error)
