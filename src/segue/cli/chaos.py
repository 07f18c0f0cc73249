"""``segue chaos``: a flow under faults, many times, and what survived."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from segue.cli.options import json_output

if TYPE_CHECKING:
    from rich.console import Console

    from segue.cli.given import Arguments
    from segue.loading import Found
    from segue.testing.chaos import Faults
    from segue.testing.report import Death, Report, RunReport

USUAL: dict[str, Any] = {"fail": 0.1, "delay": "0.1:0.1s..2s", "malform": 0.1, "duplicate": 0.05, "kill": 0.02}
"""What goes wrong if nothing is asked for."""

_SHARE = click.FloatRange(0, 1)


@click.command(short_help="Run a flow many times under faults; see what survives.")
@click.argument("target")
@click.option(
    "--input", "given", metavar="JSON", help="The flow's parameters by name, as JSON; @FILE reads a file, - stdin."
)
@click.option("--runs", default=100, show_default=True, type=click.IntRange(1), help="How many runs.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same faults.")
@click.option("--fail", type=_SHARE, help="The share of attempts that raise an error.")
@click.option("--delay", metavar="SHARE[:FROM..TO]", help="The share of attempts that begin late, as 0.2:0.1s..2s.")
@click.option("--malform", type=_SHARE, help="The share of attempts whose result is broken the way models break it.")
@click.option("--duplicate", type=_SHARE, help="The share of runs that are started twice.")
@click.option("--kill", type=_SHARE, help="The share of journal entries at which the worker dies.")
@click.option("--fake-time", is_flag=True, help="In virtual time: hundreds of runs in seconds, each replays exactly.")
@click.option(
    "--invariant", "invariants", metavar="FUNCTION", multiple=True, help="As checks.py:paid; may be repeated."
)
@click.option(
    "--only",
    metavar="NUMBER",
    type=click.IntRange(1),
    help="Make only this run, and show its steps.",
)
@click.option("--store", metavar="URL", help="In real time: keep the runs there, in a store of their own.")
@click.option(
    "--concurrency", default=64, show_default=True, type=click.IntRange(1), help="In real time: runs at once."
)
@click.option("--logs", is_flag=True, help="Show what the flow and the engine log meanwhile.")
@json_output
def chaos(
    target: str,
    given: str | None,
    runs: int,
    seed: int,
    fake_time: bool,
    invariants: tuple[str, ...],
    only: int | None,
    store: str | None,
    concurrency: int,
    logs: bool,
    as_json: bool,
    **rates: Any,
) -> int:
    """Run a flow many times while things go wrong, and report what survived.

    TARGET is module:flow, file.py:flow, a pipeline (.yaml or .json), or a folder whose segue.toml names its main flow.
    Without any of --fail, --delay, --malform, --duplicate and --kill a little of each happens. The steps are the real
    ones, and are really called.

    \b
    Exit codes: 0 every invariant held and no run was stuck or lost, 1 otherwise, 2 wrong use, 130 interrupted.
    Runs that fail are reported; whether they may is what an invariant says.
    """
    from segue.cli.session import show_logs, stdin_closed, stdout_kept

    with stdout_kept():
        if logs:
            show_logs()
        else:
            _quiet()
        task = _prepare(target, given, seed, rates, invariants)
        stdin_closed()
        report = _run(task, runs, only, fake_time, store, concurrency, logs)
    replay = _replay(task, fake_time, given)
    if as_json:
        from segue.cli.text import as_text
        from segue.testing.report import as_data

        click.echo(as_text({**as_data(report), "replay": replay}))
    else:
        _Page(report, replay, tuple(task.invariants), only).print()
    return 0 if report.ok else 1


class Task(NamedTuple):
    """What is to be run, and under which faults."""

    target: str
    found: "Found"
    arguments: "Arguments"
    faults: "Faults"
    invariants: Mapping[str, Callable[[Any], object]]


def _quiet() -> None:
    """What the engine logs of dying workers is no news here."""
    import logging

    logging.getLogger("segue").addHandler(logging.NullHandler())
    logging.getLogger("segue").propagate = False


def _prepare(target: str, given: str | None, seed: int, rates: dict[str, Any], invariants: tuple[str, ...]) -> Task:
    from pathlib import Path

    from segue.cli.given import arguments_of, parse, read_input
    from segue.loading import find_flow, find_function
    from segue.testing.chaos import Faults

    asked = {name: rate for name, rate in rates.items() if rate is not None}
    faults = Faults.parse(seed=seed, **(asked or USUAL))
    found = find_flow(target)
    checks = {name: find_function(name, Path.cwd()) for name in invariants}
    data = parse(read_input(given)) if given is not None else dict(found.settings.input) if found.settings else {}
    return Task(target, found, arguments_of(found.flow.spec, data), faults, checks)


def _run(
    task: Task, runs: int, only: int | None, fake_time: bool, store: str | None, concurrency: int, logs: bool
) -> "Report":
    from segue.cli.text import duration, say
    from segue.errors import UsageError
    from segue.testing.experiment import experiment
    from segue.testing.ordeal import ordeal

    progress = _Progress(1 if only is not None else runs)
    flow, faults, invariants = task.found.flow, task.faults, task.invariants
    try:
        if fake_time:
            if store is not None:
                raise UsageError("with --fake-time runs are kept in memory: leave out --store, and look with --only")
            report = experiment(
                flow, task.arguments, runs, faults, invariants=invariants, only=only, progress=progress.count
            )
        else:
            report = ordeal(
                flow, task.target, task.arguments, runs, faults, invariants=invariants, only=only,
                progress=progress.count, store=store, concurrency=concurrency, logs=logs,
            )  # fmt: skip
    finally:
        progress.end()
    say(f"segue: {len(report.runs)} run{'s' * (len(report.runs) != 1)} in {duration(report.took)}")
    return report


class _Progress:
    """One line that tells how far it is, on a terminal."""

    def __init__(self, runs: int) -> None:
        import sys

        self.runs, self.done, self.dead = runs, 0, 0
        self.shown = sys.stderr.isatty()

    def count(self, run: "RunReport") -> None:
        """A run is over."""
        import sys

        self.done += 1
        self.dead += run.place is not None
        if self.shown:
            print(f"\r{self.done} of {self.runs} runs, {self.dead} died", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take the line away."""
        import sys

        if self.shown and self.done:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _replay(task: Task, fake_time: bool, given: str | None) -> str:
    """The command again, to which ``--only NUMBER`` is added."""
    import shlex

    words = ["segue", "chaos", task.target]
    if given is not None:
        words += ["--input", given]
    words += [word for argument in task.faults.arguments() for word in argument.split("=")]
    words += [word for name in task.invariants for word in ("--invariant", name)]
    return shlex.join([*words, *(["--fake-time"] if fake_time else [])])


# The report

_LOOKS = {
    "completed": ("completed", "green", ""),
    "degraded": ("degraded", "yellow", "completed with the result of a fallback"),
    "escalated": ("escalated", "blue", "wait for a person"),
    "failed": ("dead", "red", "failed for good"),
    "stuck": ("stuck", "bold red", "nothing can move them any more"),
    "lost": ("lost", "bold red", "acknowledged, and the store does not know them"),
}


class _Page:
    """The report for people.

    Args:
        replay: the command to which ``--only`` is added.
        invariants: those that were looked at.
        only: the number of the one run that was made, if it was one.
    """

    def __init__(self, report: "Report", replay: str, invariants: tuple[str, ...], only: int | None) -> None:
        import sys

        from segue.cli.look import in_unicode, out

        self.report, self.replay, self.invariants, self.only = report, replay, invariants, only
        self.unicode = in_unicode(sys.stdout)
        self.console: Console = out()

    def print(self) -> None:
        """How many ended how, what struck, what saved them, how they died, and what does not hold."""
        report = self.report
        runs = len(report.runs)
        time = "virtual time" if report.fake_time else "real time"
        self._line((report.flow, "bold"), (f"  {_runs(runs)}, seed {report.faults.seed}, {time}", "dim"))
        if report.clean.place is not None:
            place = report.clean.place
            self._line((f"without any fault it is {_LOOKS[report.clean.end][0]} already: {_told(place)}", "bold red"))
        if self.only is not None:
            for run in report.runs:
                self._one(run)
            self._invariants()
            return
        self.console.print()
        for end, count in report.ends.items():
            self._end(end, count, runs)
        self._faults()
        self._rungs()
        if report.deaths:
            self._head("How they died")
        for death in report.deaths:
            self._death(death)
        self._invariants()
        if report.deaths or report.breaches:
            self._head("To see one again")
            self._line((f"  {self.replay} --only NUMBER", ""))

    def _line(self, *parts: tuple[str, str]) -> None:
        from rich.text import Text

        from segue.cli.text import one_line

        line = Text()
        for text, style in parts:
            line.append(one_line(text), style=style)
        self.console.print(line, soft_wrap=True)

    def _head(self, text: str) -> None:
        self.console.print()
        self._line((text, "bold"))

    def _end(self, end: str, count: int, runs: int) -> None:
        name, style, meaning = _LOOKS[end]
        bar = ("█" if self.unicode else "#") * round(30 * count / runs)
        told = f"  {name:<10} {count:>6} {100 * count / runs:>6.1f} %  {bar}".rstrip()
        self._line((told, style if count else "dim"), (f"  {meaning}" if count and meaning else "", "dim"))

    def _faults(self) -> None:
        rates = {name: self.report.faults.rate(name) for name in ("fail", "malform", "delay", "duplicate", "kill")}
        if any(rates.values()):
            self._head("What went wrong")
        for name, rate in rates.items():
            whats = self.report.struck.get(name, {})
            if rate:
                listed = sorted(whats.items(), key=lambda pair: (-pair[1], pair[0]))
                told = ", ".join(f"{what} {count}" for what, count in listed) if len(listed) > 1 else ""
                self._line((f"  {name:<10} {sum(whats.values()):>6}  ", ""), (f"at {rate:g}", "dim"))
                if told:
                    self._folded(told, 20)

    def _folded(self, text: str, indent: int) -> None:
        from textwrap import wrap

        from segue.cli.text import one_line

        for line in wrap(one_line(text), min(self.console.width, 120) - indent):
            self._line((" " * indent + line, "dim"))

    def _rungs(self) -> None:
        if self.report.rungs:
            self._head("What saved them")
            width = max(10, *map(len, self.report.rungs))
            for rung, (steps, runs) in self.report.rungs.items():
                self._line(
                    (f"  {rung:<{width}} {steps:>6}  ", "green"), (f"step{'s' * (steps != 1)}, in {_runs(runs)}", "dim")
                )

    def _death(self, death: "Death") -> None:
        style = _LOOKS[death.end][1]
        where = f"{death.step}: " if death.step else f"{death.flow}: "
        what = f"{death.error}: {death.message}" if death.error else f"{death.end}: {death.message}"
        self._line(
            (f"  {len(death.runs):>4} × ", style),
            (where, "bold"),
            (_cut(what, self.console.width - 9 - len(where)), ""),
        )
        self._line((f"         {_only(death.runs)}", "dim"))

    def _invariants(self) -> None:
        from segue.testing.report import TWICE

        broken = {breach.invariant: breach for breach in self.report.breaches}
        self._head("What must hold")
        good, bad = ("✓", "✗") if self.unicode else ("+", "x")
        for name in dict.fromkeys((TWICE, *self.invariants)):
            if (breach := broken.get(name)) is None:
                self._line((f"  {good} {name}", "green"))
                continue
            self._line(
                (f"  {bad} {name}", "bold red"),
                (f"  not in {_runs(len(breach.runs))}: ", ""),
                (_cut(breach.why, 200), ""),
            )
            self._line((f"         {_only(breach.runs)}", "dim"))

    def _one(self, run: "RunReport") -> None:
        """The steps of one run, and the faults that it met."""
        from rich.text import Text

        from segue.cli.text import visible

        name, style, _ = _LOOKS[run.end]
        self._head(f"Run {run.number} is {name}")
        if run.place is not None:
            self._line((f"  {_told(run.place)}", style))
        self.console.print(Text(visible(run.tree)), soft_wrap=True)
        if run.struck or run.deaths or run.duplicates:
            self._head("What went wrong")
        for struck in run.struck:
            child = "" if struck.run == run.id else f"  in {struck.run}"
            what = f"  {struck.what}" if struck.what != struck.kind else ""
            self._line((f"  {struck.kind:<10} {struck.step}, attempt {struck.attempt}{what}", ""), (child, "dim"))
        if run.duplicates:
            self._line(("  duplicate  it was started twice", ""))
        if run.deaths:
            self._line((f"  kill       {run.deaths} worker{'s' * (run.deaths > 1)} died", ""))


def _runs(count: int) -> str:
    return f"{count:,} run{'s' * (count != 1)}"


def _told(place: Any) -> str:
    where = f"{place.step}: " if place.step else ""
    return f"{where}{place.error}: {place.message}" if place.error else f"{where}{place.message}"


def _only(runs: tuple[int, ...]) -> str:
    """How to replay the first of them, and which the others are."""
    clean = "the run without faults" if 0 in runs else ""
    struck = [run for run in runs if run]
    if not struck:
        return clean
    first, *others = struck
    more = ", ".join(map(str, others[:8])) + (", …" if len(others) > 8 else "")
    return f"--only {first}" + (f"   and {more}" if more else "") + (f"; {clean} too" if clean else "")


def _cut(text: str, width: int) -> str:
    from segue.cli.text import one_line, shorten

    return shorten(one_line(text), max(40, width))
