"""An experiment: a flow, run many times under faults, and what came of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from segue.errors import UsageError
from segue.testing.chaos import Faults
from segue.testing.kept import Kept
from segue.testing.report import Invariant, Report, RunReport, judge
from segue.testing.trial import Arguments, Trial

if TYPE_CHECKING:
    from segue.flows import Flow

Progress = Callable[[RunReport], None]


def experiment(
    flow: "Flow[..., Any]",
    input: Mapping[str, Any] | Arguments,
    runs: int,
    faults: Faults,
    *,
    invariants: Mapping[str, Invariant] | Sequence[Invariant] = (),
    only: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run a flow many times in virtual time: once without any fault, then each time under faults of its own.

    Args:
        input: the flow's parameters by name.
        invariants: functions of a run, that must hold of each.
        only: the number of the one run to make, from 1: it meets what it met among the others.
        progress: called with each run that is over.

    >>> report = experiment(answer, {"question": "why?"}, 500, Faults(seed=7, fail=0.1))
    >>> assert report.ok, report.deaths
    """
    checks, arguments = named(invariants), arguments_of(input)
    began = time.monotonic()
    done: list[RunReport] = []
    with Kept() as kept:
        first = Trial(flow.spec, arguments, without(faults), 0, kept)
        clean = judge(first.run(), flow.name, checks)
        for number in numbers_of(runs, only):
            trial = Trial(flow.spec, arguments, faults, number, kept, first.left, first.world.now)
            done.append(judge(trial.run(), flow.name, checks))
            if progress is not None:
                progress(done[-1])
    return Report(flow.name, faults, clean, tuple(done), time.monotonic() - began)


# For both kinds of time


def numbers_of(runs: int, only: int | None) -> Sequence[int]:
    """The numbers of the runs to make.

    Raises:
        UsageError: there are none.
    """
    if runs < 1 or (only is not None and only < 1):
        raise UsageError(f"runs are numbered from 1; there is no {runs if only is None else only}")
    return range(1, runs + 1) if only is None else (only,)


def without(faults: Faults) -> Faults:
    """The same seed, and nothing goes wrong."""
    return replace(faults, fail=0, delay=0, malform=0, duplicate=0, kill=0)


def named(invariants: Mapping[str, Invariant] | Sequence[Invariant]) -> Mapping[str, Invariant]:
    """The invariants by what they are called."""
    if isinstance(invariants, Mapping):
        return invariants
    return {getattr(check, "__name__", repr(check)): check for check in invariants}


def arguments_of(input: Mapping[str, Any] | Arguments) -> Arguments:
    """The input as a call has it."""
    return ((), input) if isinstance(input, Mapping) else input
