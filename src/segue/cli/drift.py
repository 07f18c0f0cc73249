"""``segue drift``: how the steps that are watched for drift stand, and how one is to be learned anew."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from segue.cli.options import json_output, name_of_user, with_name, with_store

if TYPE_CHECKING:
    from segue.core.windows import Summary
    from segue.observe.drift import DriftState

STYLES = {"learning": "blue", "steady": "green", "drifted": "bold red"}
_BARS = ("▁▂▃▄▅▆▇█", "_.-=+*#@")
_CELLS = 16
_SHOWN = 12
"""Changes of one step."""


@click.command(short_help="See which models have drifted, or reset one.")
@click.argument("words", nargs=-1, metavar="[STEP] | reset STEP")
@click.option("--version", "of_version", metavar="VERSION", help="Only this version of the step.")
@json_output
@with_name
@with_store
def drift(
    words: tuple[str, ...], of_version: str | None, as_json: bool, by: str | None, store: str | None
) -> int | None:
    """Show each step that is watched, @step(drift=…): what of it, how it stands, and since when.

    The figures are those of the last look: how large the change is, of how large it must be. The bars are values of the
    reference, then the newest ones. Of one STEP the last changes are shown, too.

    segue drift reset STEP forgets what was learned: the next values are the new reference.
    """
    from segue.cli.archive import at_once

    if words[:1] == ("reset",) and len(words) == 2:
        return at_once(_reset(words[1], of_version, name_of_user(by), store))
    if len(words) > 1 or words == ("reset",):
        raise click.UsageError("give one STEP, or: reset STEP")
    return at_once(_list(words[0] if words else None, of_version, as_json, store))


async def _reset(step: str, version: str | None, by: str, url: str | None) -> int:
    from segue.cli.archive import archive
    from segue.cli.text import say
    from segue.observe.drift import reset

    async with archive(url) as store:
        done = await reset(store.store, step, by=by, version=version)
        if not done:
            say(await _nothing(store.store, step, version))
            return 1
        for one in done:
            say(f"step {step!r}{f', version {one!r},' if one else ''} is learned anew, from its next results on")
    return 0


async def _list(step: str | None, version: str | None, as_json: bool, url: str | None) -> int:
    from dataclasses import asdict

    from segue.cli.archive import NoStore, archive
    from segue.cli.text import as_text, say
    from segue.observe.drift import states

    found: list[DriftState] = []
    now, nothing = 0.0, ""
    try:
        async with archive(url) as store:
            found = [one for one in await states(store.store, step) if version in (None, one.version)]
            now = store.now()
            nothing = "" if found else await _nothing(store.store, step, version)
    except NoStore as error:
        nothing = str(error)
    if as_json:
        click.echo(as_text([asdict(one) for one in found]))
    elif found:
        _print(found, now, whole=step is not None)
    if nothing:
        say(nothing)
    return 1 if nothing and step is not None else 0


async def _nothing(store: Any, step: str | None, version: str | None) -> str:
    from segue.observe.drift import names, states

    known = names(await states(store))
    if step is None or not known:
        return f"no step with drift= has been called in {store.url}"
    if step in known:
        return f"step {step!r} has no version {version!r} that is watched"
    return f"no step {step!r} is watched in {store.url}; there are {', '.join(known[:10])}"


def _print(found: "list[DriftState]", now: float, *, whole: bool) -> None:
    from segue.cli.lines import Text, out
    from segue.cli.text import clock, duration, one_line, shorten

    console = out()
    step, signal = "", 0
    for one in found:
        title = one_line(one.step) + (f"  {one_line(one.version)}" if one.version else "")
        if title != step:
            step, signal = title, max(8, *(len(shorten(one_line(x.signal), 32)) for x in found if x.step == one.step))
            console.print(Text(title, style="bold"))
        line = Text(f"  {shorten(one_line(one.signal), 32):<{signal}}  ")
        line.append(f"{one.state:<8}", style=STYLES[one.state])
        line.append(f"  {duration(now - one.since) if one.since else '':>8}  ", style="dim")
        line.append(f"{_figures(one):<30}  ")
        line.append(_picture(one), style="cyan")
        console.print(line)
        console.print(Text(f"  {'':<{signal}}  {_windows(one)}", style="dim"))
        if one.state == "drifted":
            rest = "its fallbacks serve" if one.then == "fallback" else "it is called as before"
            console.print(Text(f"  {'':<{signal}}  since {clock(one.since, now)}: {rest}", style="red"))
    if whole:
        _print_changes(found)


def _print_changes(found: "list[DriftState]") -> None:
    from segue.cli.lines import Text, out
    from segue.cli.text import clock, one_line

    changes = {(one.version, change.number): change for one in found for change in one.changes}
    if not changes:
        return
    console = out()
    console.print()
    for change in sorted(changes.values(), key=lambda change: change.at)[-_SHOWN:]:
        said = change.said or f"{change.what} by {change.by}"
        where = f"  in run {change.run}" if change.run else ""
        console.print(Text(f"  {clock(change.at)}  {one_line(said)}{one_line(where)}"))


def _figures(one: "DriftState") -> str:
    """The statistic of the last look, beside what it may be."""
    from segue.core.drift import NAMES

    if one.state == "learning":
        return f"{len(one.learned):,} learned"
    if one.test is None or one.statistic is None or one.threshold is None:
        return "not looked at yet"
    chance = f", p={one.p:.2g}" if one.p is not None else ""
    return f"{NAMES[one.test]} {one.statistic:.3g} of {one.threshold:.3g}{chance}"


def _windows(one: "DriftState") -> str:
    from segue.cli.text import one_line

    now = f", now {_words(one.recent)}" if one.values else ""
    skipped = f"; {one.skipped:,} skipped" if one.skipped else ""
    return one_line(f"was {_words(one.reference)}{now}; {one.seen:,} seen{skipped}")


def _words(window: "Summary") -> str:
    if window.mean is not None and window.sd is not None:
        return f"{window.mean:.4g} (sd {window.sd:.2g})"
    return ", ".join(f"{name} {share:.0%}" for name, share in window.shares.items()) or "nothing"


def _picture(one: "DriftState") -> str:
    """The reference and the newest values as bars on one scale; of categories, how often the commonest one came."""
    import sys

    from segue.cli.look import in_unicode

    bars = _BARS[0 if in_unicode(sys.stdout) else 1]
    before, now = one.learned, one.values
    if one.kind == "category":
        most = next(iter(one.recent.shares or one.reference.shares), "")
        before, now = [float(value == most) for value in before], [float(value == most) for value in now]
    parts = _means(before), _means(now)
    every = [*parts[0], *parts[1]]
    if not every:
        return ""
    low, high = (0.0, 1.0) if one.kind in ("category", "rate") else (min(every), max(every))
    return "|".join(_drawn(part, low, high, bars) for part in parts if part)


def _means(values: Sequence[float]) -> list[float]:
    """At most so many means of the values, each of neighbours."""
    cells = min(_CELLS, len(values))
    edges = [len(values) * cell // cells for cell in range(cells + 1)] if cells else []
    return [sum(value / (end - start) for value in values[start:end]) for start, end in pairwise(edges)]


def _drawn(values: list[float], low: float, high: float, bars: str) -> str:
    top, span = len(bars) - 1, high / 2 - low / 2  # halves: the difference of huge numbers has no float
    return "".join(bars[round((value / 2 - low / 2) / span * top) if span else top // 2] for value in values)
