"""``simulate``: a flow under many seeds, each with delays, faults and crashes of its own.

Before the seeds comes one run without any of that, which tells how long the flow's journal is: crashes are drawn from
its whole length, and a little beyond.
"""

import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Literal

from segue.errors import UsageError
from segue.flows import Flow
from segue.testing.chaos import Chaos, Faults
from segue.testing.env import Env, Hook
from segue.testing.records import RunRecord

DEFECTS = frozenset({"Divergence", "Stalled", "NeverAwaits", "WorkerLost", "CorruptRecord"})
"""Failures that are the flow's or the engine's fault, whatever went wrong with its steps."""

DELAYS = Faults(delay=0.5, delays=(0.0, 0.1))
"""What happens to steps where nothing else is asked for: every other attempt begins up to a tenth of a second late."""

Kind = Literal["stuck", "lost", "failed", "check", "error"]


@dataclass(frozen=True, slots=True)
class Way:
    """One way in which runs went wrong.

    Attributes:
        kind: ``stuck``: nothing is left that could move it. ``lost``: the store does not know it. ``failed``: in a way
            that no fault of a step excuses, such as a divergence. ``check``: the check did not hold. ``error``:
            something was raised outside the run.
        what: the error, or what the check said.
        seeds: all that went this way. Each alone gives the same run again.
        record: the first of these runs; None if there is no record of it.
    """

    kind: Kind
    what: str
    seeds: tuple[int, ...]
    record: RunRecord | None = field(default=None, compare=False)

    def __str__(self) -> str:
        first, *more = self.seeds
        times = f", and {len(more)} seeds more" if more else ""
        shown = "" if self.record is None else "\n" + _indented(self.record.tree())
        return f"{self.kind} (seed {first}{times}): {self.what}{shown}"


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """What came of a simulation. As text it says, for each way in which runs went wrong, the seed that replays it.

    Attributes:
        flow: its name.
        seeds: how many were tried.
        endings: how many runs ended with each status.
        crashes: how many there were in all.
        ways: the distinct ways in which runs went wrong, the most frequent first.
    """

    flow: str
    seeds: int
    endings: dict[str, int]
    crashes: int
    ways: tuple[Way, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not self.ways

    def __str__(self) -> str:
        endings = ", ".join(f"{count} {status}" for status, count in sorted(self.endings.items()))
        head = f"{self.flow}: {self.seeds} seeds, {self.crashes} crashes; {endings or 'no run ended'}"
        again = [f"{way}\n  again: simulate({self.flow}, …, seeds=[{way.seeds[0]}])" for way in self.ways]
        return "\n".join([head, *again])


def simulate(
    flow: Flow[..., Any],
    *args: Any,
    seeds: Iterable[int] = range(1000),
    faults: Faults | Callable[[int], Hook] | None = None,
    check: Callable[[RunRecord], object] | None = None,
    prepare: Callable[[Env], object] | None = None,
) -> SimulationReport:
    """Run a flow once for each seed in virtual time, with delays, faults and crashes that the seed decides.

    Each run must end, well or in a failure of its steps: not be stuck, lost, or diverge. And the check must hold.
    The same seed gives the same run every time, as long as the steps themselves do nothing by chance.

    Args:
        args: the flow's arguments.
        seeds: each an experiment of its own.
        faults: what goes wrong with steps, with the seed put in; ``kill`` and ``duplicate`` have no meaning here. Or a
            function from the seed to a hook of one's own. By default steps are delayed a little, and do not fail.
        check: called with each record; what it raises, or False, counts against the run.
        prepare: called with the environment before each run, to fake steps and to set back what they change.

    Raises:
        UsageError: this is no flow, or is called from a running event loop.

    >>> report = simulate(order, 42, seeds=range(200), faults=Faults(fail=0.1), check=charged_once)
    >>> assert report.ok, report
    """
    if not isinstance(flow, Flow):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"simulate() takes a @flow, not {flow!r}")
    found: dict[tuple[Kind, str], list[_Finding]] = {}
    endings: Counter[str] = Counter()
    crashes = tried = 0
    length = _length(flow, args, prepare)
    for seed in seeds:
        tried += 1
        finding = _experiment(flow, args, seed, length, faults, check, prepare)
        crashes += finding.crashes
        if finding.record is not None and finding.record.ended:
            endings[finding.record.status] += 1
        if finding.kind is not None:
            found.setdefault((finding.kind, finding.key), []).append(finding)
    ways = [
        Way(kind, findings[0].what, tuple(finding.seed for finding in findings), findings[0].record)
        for (kind, _), findings in found.items()
    ]
    ways.sort(key=lambda way: -len(way.seeds))
    return SimulationReport(flow.name, tried, dict(endings), crashes, tuple(ways))


@dataclass(slots=True)
class _Finding:
    seed: int
    kind: Kind | None = None
    key: str = ""
    what: str = ""
    record: RunRecord | None = None
    crashes: int = 0


def _length(flow: Flow[..., Any], args: tuple[Any, ...], prepare: Callable[[Env], object] | None) -> int:
    """The entries in the journal of a run in which nothing goes wrong."""
    with Env(prefix="clean") as env:
        if prepare is not None:
            prepare(env)
        env.run(flow, *args)
        return env.written


def _hook(faults: Faults | Callable[[int], Hook] | None, seed: int) -> Hook:
    if faults is None or isinstance(faults, Faults):
        return Chaos(replace(faults or DELAYS, seed=seed))
    return faults(seed)


def _experiment(
    flow: Flow[..., Any],
    args: tuple[Any, ...],
    seed: int,
    length: int,
    faults: Faults | Callable[[int], Hook] | None,
    check: Callable[[RunRecord], object] | None,
    prepare: Callable[[Env], object] | None,
) -> _Finding:
    chance = Random(seed)
    finding = _Finding(seed)
    with Env(seed=seed, hook=_hook(faults, seed), prefix=f"seed-{seed}") as env:
        if prepare is not None:
            prepare(env)
        # three deaths in a row under one step end a run as they should; here nobody died of the step
        for _ in range(chance.choice((0, 1, 1, 2))):
            entry = chance.randint(1, length + 1 + length // 2)
            env.plan_crash(entry, written=chance.random() < 0.5)
        try:
            finding.record = record = env.run(flow, *args)
        except Exception as error:
            finding.kind, finding.key, finding.what = "error", _key(error), _said(error)
        else:
            finding.kind, finding.what = _verdict(record)
            finding.key = _alike(finding.what)
            if finding.kind is None and check is not None:
                _check(finding, record, check)
        finding.crashes = env.crashes
    return finding


def _verdict(record: RunRecord) -> tuple[Kind | None, str]:
    if not record.ended:
        return "stuck", f"it is {record.status}, and waits for {', '.join(record.waits) or 'nothing'}"
    if record.error is not None and record.error.type in DEFECTS:
        return "failed", str(record.error)
    return None, ""


def _check(finding: _Finding, record: RunRecord, check: Callable[[RunRecord], object]) -> None:
    try:
        if check(record) is False:
            finding.kind, finding.what = "check", f"{getattr(check, '__name__', 'the check')} gave False"
            finding.key = finding.what
    except Exception as error:
        finding.kind, finding.key, finding.what = "check", _key(error), _said(error)


def _key(error: BaseException) -> str:
    """What makes two errors the same way to go wrong: where it was raised, whatever it says."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__


def _said(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def _alike(text: str) -> str:
    """The text without what differs from run to run."""
    return re.sub(r"seed-\d+\S*|\d+(\.\d+)?", "…", text)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
