"""Watching steps for drift: what their attempts gave goes in, and whether they are to be left alone comes out.

What is known of a step is one cell, which all workers on the store share. Each has a copy, adds to it, and writes it
back at most once a second, at once when something has changed; if another has written meanwhile, what was seen here is
added to that. What a worker saw in its last second is lost when it dies; that a step has drifted is not.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from segue.core.drift import (
    Change,
    Look,
    Record,
    Signal,
    after,
    due,
    fitted,
    in_figures,
    joined,
    learned,
    look,
    note,
    see,
)
from segue.core.windows import summary
from segue.drift import Drift, Watched
from segue.errors import CorruptRecord, SegueError, StoreError
from segue.runtime.drift_tests import Verdict, asks, judged, load, loaded
from segue.runtime.registry import module_of
from segue.runtime.spec import StepSpec
from segue.stores.base import Cell

if TYPE_CHECKING:
    from segue.runtime.engine import Engine

log = logging.getLogger("segue")

PREFIX = "drift/"
"""What the names of these cells begin with."""

EVERY = 1.0
"""Seconds between two writes, and between two looks at what other workers wrote."""

_decoder = msgspec.msgpack.Decoder(Record)


class Drifted(SegueError):
    """A step was not called, or what it gave was not used: its results have drifted from what they were.

    Attributes:
        step: its name.
        signal: which of its signals.
        since: when that was noticed, seconds since the epoch.
    """

    def __init__(self, step: str, signal: str, since: float, said: str) -> None:
        self.step, self.signal, self.since = step, signal, since
        super().__init__(said)


class Seen(NamedTuple):
    """What became of one attempt of a step.

    Attributes:
        seconds: that it took.
        fits: the result is of its type; None if there is none, since its time was up.
        passed: its checks; None if they were not made.
        confidence: what the result says of itself.
        value: the result, if it is of its type.
    """

    seconds: float
    fits: bool | None = None
    passed: bool | None = None
    confidence: float | None = None
    value: Any = None


def cell_name(spec: StepSpec) -> str:
    """Where a step's drift is kept. A new version of it is another."""
    return f"{PREFIX}{module_of(spec.fn)}.{spec.name}/{spec.version}"


def read_record(cell: Cell) -> Record:
    """What is kept in a cell.

    Raises:
        CorruptRecord: it cannot be read.
    """
    try:
        return _decoder.decode(cell.body)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptRecord(f"what is kept in {cell.name!r} cannot be read: {error}") from None


def write_record(record: Record) -> bytes:
    """A record as it is kept."""
    return msgspec.msgpack.encode(record)


class Drifts:
    """The steps that an engine watches."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._known: dict[str, Monitor] = {}
        self._of: dict[StepSpec, Monitor] = {}  # the same, found without making a name
        self._loading: dict[str, asyncio.Lock] = {}
        self._next = 0.0

    def __bool__(self) -> bool:
        return bool(self._known)

    async def mind(self, spec: StepSpec) -> "Monitor":
        """The monitor of a step, with what is known of it, before it is called."""
        found = self._of.get(spec.origin)
        if found is None:
            found = self._of[spec.origin] = await self._load(spec, cell_name(spec))
        if found.waits is not None:
            await found.waits.wait()
        return found

    async def _load(self, spec: StepSpec, name: str) -> "Monitor":
        async with self._loading.setdefault(name, asyncio.Lock()):
            found = self._known.get(name)
            if found is None:
                found = Monitor(self._engine, spec, name)
                await found.load()
                self._known[name] = found
        return found

    async def tick(self, now: float) -> None:
        """Write what was seen, and read what others wrote, if it is time."""
        if now < self._next:
            return
        self._next = now + EVERY
        for monitor in list(self._known.values()):
            await monitor.share()

    async def close(self) -> None:
        """Write what was seen and not written yet."""
        for monitor in self._known.values():
            await monitor.leave()
        self._known.clear()
        self._of.clear()


class Monitor:
    """Watches one step in one engine.

    Attributes:
        record: what is known of the step, here.
        waits: set when the library is loaded that a look needs; None while none is missing.
    """

    def __init__(self, engine: "Engine", spec: StepSpec, name: str) -> None:
        assert spec.drift is not None
        self.engine, self.name, self.step, self.version = engine, name, spec.name, spec.version
        self.declared: Drift = spec.drift
        self.watched: tuple[Watched, ...] = spec.drift.signals()
        self.rule = spec.drift.rule()
        self._decode = spec.output.decode
        self.record = self._new()
        self.waits: asyncio.Event | None = None
        self._base: Cell | None = None
        self._seen: dict[str, list[Any]] = {}
        self._news: list[Change] = []
        self._calls = 0
        self._sharing = self._left = False
        self._trouble = ""
        self._where = ("", "", "")  # run, flow and step that were seen last

    def _new(self) -> Record:
        return self._fit(Record(self.step, self.version, self.declared.then))

    def _fit(self, record: Record) -> Record:
        return fitted(record, [one.name for one in self.watched], self.rule, self.declared.then)

    # What the ladder asks

    def refusal(self) -> tuple[Drifted, bool] | None:
        """Why the step is to be left alone, if it is, and whether this call is to probe it."""
        if self.declared.then != "fallback" or not (name := self.record.drifted):
            return None
        self._calls += 1
        probe = self._calls % self.declared.probe == 0
        signal = self.record.signals[name]
        rest = "it was called to see whether it has recovered, and its result is not used" if probe else "not called"
        said = f"{name} of step {self.step!r} has drifted since {_moment(signal.since)}: {signal.why}; {rest}"
        return Drifted(self.step, name, signal.since, said), probe

    # What was seen

    def see(self, seen: Seen, data: bytes | None, run: str, flow: str, step: str) -> None:
        """An attempt gave something. Never raises.

        Args:
            data: the result, encoded, for signals whose functions might change what they see.
        """
        if self._left:
            return
        self._where = (run, flow, step)
        now = self.engine.clock()
        for one in self.watched:
            if not _concerns(one, seen):
                continue
            signal, value = self.record.signals[one.name], self._value(one, seen, data)
            known = signal.seen
            see(signal, self.rule, value, "seconds" if one.read is None and one.name == "latency" else "")
            values = self._seen.setdefault(one.name, [])
            if signal.seen == known:
                continue
            values.append(signal.recent[-1] if signal.state != "learning" else signal.reference[-1])
            if len(values) > self.rule.reference:
                del values[0]
            if learned(signal, self.rule, now):
                self._changed(one.name, signal, "learned", now)
            elif due(signal, self.rule):
                self._look(one.name, signal, now)

    def _value(self, one: Watched, seen: Seen, data: bytes | None) -> Any:
        if one.read is None:
            return {
                "latency": seen.seconds,
                "schema": not seen.fits,
                "pass_rate": seen.passed,
                "confidence": seen.confidence,
            }[one.name]
        try:
            return one.read(self._decode(data) if one.may_change and data is not None else seen.value)
        except Exception as error:
            log.debug("drift of step %r: %s cannot be had: %s: %s", self.step, one.name, type(error).__name__, error)
            return None

    # Looks

    def _look(self, name: str, signal: Signal, now: float) -> None:
        try:
            found = look(signal, self.rule)
            if asks(signal, found) and not loaded(found.test):
                if self.waits is None:
                    self.waits = asyncio.Event()
                    self._spawn(self._load(found, self.waits))
                return
            verdict: Verdict = judged(signal, found)
        except Exception:  # a library that fails must not fail the step
            log.exception("the drift of step %r cannot be tested", self.step)
            signal.unseen = 0
            return
        state = after(signal, found, drifted=verdict.drifted, fits=verdict.fits, p=verdict.p, now=now)
        if state is not None:
            self._changed(name, signal, "drifted" if state == "drifted" else "recovered", now, found)

    async def _load(self, found: Look, loading: asyncio.Event) -> None:
        """Load the library, then look again: whoever calls the step meanwhile waits for it."""
        try:
            await self.engine.aside.submit(lambda: load(found.test))
            self.waits = None
            for name, signal in self.record.signals.items():
                if due(signal, self.rule):
                    self._look(name, signal, self.engine.clock())
        except Exception:
            log.exception("the drift of step %r is not tested: no %s", self.step, found.test)
        finally:
            loading.set()

    def _changed(self, name: str, signal: Signal, what: str, now: float, found: Look | None = None) -> None:
        run, flow, step = self._where
        recent = found.values if found is not None else []
        said = f"{name} {what}" if found is None else f"{name} {what}: {in_figures(found, signal.p)}"
        change = Change(0, now, name, what, said, run=run, flow=flow, step=step)
        if found is not None:
            change.statistic, change.threshold, change.p = found.statistic, found.threshold, signal.p
        change.reference, change.recent = summary(signal.reference, signal.kind), summary(recent, signal.kind)
        note(self.record, change)
        self._news.append(change)
        self._spawn(self.share())

    def _tell(self, change: Change) -> None:
        """It is recorded."""
        if change.what == "drifted":
            rest = "its fallbacks take over" if self.declared.then == "fallback" else "it is called as before"
            windows = _words(change.reference), _words(change.recent)
            log.warning("step %r: %s. Reference: %s; now: %s; %s", self.step, change.said, *windows, rest)
        elif change.what == "recovered":
            log.warning("step %r: %s", self.step, change.said)
        if self.engine.watchers:
            more = {"of": self.step, "version": self.version, "signal": change.signal, "then": self.declared.then}
            self.engine.announce("drift", change.run, change.flow, step=change.step, change=change, **more)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.engine.context.copy().run(self.engine.spawn, work)  # not in the context of the step that was seen

    # What is shared

    async def load(self) -> None:
        """Begin with what is known."""
        try:
            await self._adopt()
        except StoreError as error:
            log.warning("the drift of step %r is learned anew: %s", self.step, error)

    async def share(self) -> None:
        """Write what was seen here, or read what others have written."""
        if self._sharing:
            return
        self._sharing = True
        try:
            while await self._exchange():
                pass
            self._trouble = ""
        except StoreError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("the drift of step %r cannot be recorded yet: %s", self.step, error)
        finally:
            self._sharing = False

    async def _exchange(self) -> bool:
        """Write or read once. True: again, at once."""
        if not self._seen and not self._news:
            await self._adopt()
            return bool(self._news)
        seen, news = self._seen, self._news
        self._seen, self._news = {}, []
        cell = Cell(self.name, self.engine.clock(), write_record(self.record))
        kept = False
        try:
            kept = await self.engine.store.keep(cell, self._base)
        finally:
            if kept:
                self._base = cell
                for change in news:
                    self._tell(change)
            else:
                self._seen = {name: [*seen.get(name, ()), *self._seen.get(name, ())] for name in {**seen, **self._seen}}
                self._news = [*news, *self._news]
        if not kept:
            await self._adopt()
        return not kept or bool(self._news)

    async def _adopt(self) -> None:
        """Take what others have written, with what was seen here added to it."""
        cell = await self.engine.store.cell(self.name)
        if cell == self._base:
            return
        self._base = cell
        if cell is None:
            return
        try:
            theirs = self._fit(read_record(cell))
        except CorruptRecord as error:
            log.warning("the drift of step %r is learned anew: %s", self.step, error)
            return
        if theirs.generation != self.record.generation:
            self._seen.clear()
        now = self.engine.clock()
        self.record, self._news = joined(theirs, self.record, self._seen, self._news, self.rule, now)

    async def leave(self) -> None:
        """Write what is left, if the store takes it, and see nothing more."""
        self._left, self._sharing = True, False
        if self._seen or self._news:
            await self.share()


def _concerns(one: Watched, seen: Seen) -> bool:
    """Whether an attempt says anything of a signal."""
    if one.name == "latency" and one.read is None:
        return True
    if one.name == "schema" and one.read is None:
        return seen.fits is not None
    return seen.passed is not None


def _words(window: Any) -> str:
    if window.mean is not None:
        return f"mean {window.mean:.3g}, sd {window.sd:.3g}"
    return ", ".join(f"{name} {share:.0%}" for name, share in window.shares.items()) or "nothing"


def _moment(at: float) -> str:
    from datetime import UTC, datetime

    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "?"
