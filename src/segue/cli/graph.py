"""``segue graph``: a pipeline, or the last run of a flow, as a Mermaid diagram."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import click

from segue.cli.options import with_store

if TYPE_CHECKING:
    from segue.inspection import RunRecord


@click.command(short_help="Draw a pipeline or a flow's last run (Mermaid).")
@click.argument("target")
@with_store
def graph(target: str, store: str | None) -> None:
    """Print a Mermaid diagram: a pipeline as it is specified, a flow as its last run went."""
    from segue.cli.session import stdout_kept
    from segue.loading import find_flow

    with stdout_kept() as write:
        flow = find_flow(target).flow
        nodes: Mapping[str, Sequence[str]] | None = getattr(flow, "graph", None)
        if nodes is None:
            import asyncio

            lines = drawn(asyncio.run(_last_run(flow.name, target, store)))
        else:
            lines = specified(nodes)
        write("\n".join(lines))


def specified(nodes: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes of a pipeline, with an arrow from each to those that depend on it."""
    keys = {name: f"n{i}" for i, name in enumerate(nodes)}
    lines = ["flowchart TD"]
    lines += [f"    {keys[name]}[{_label(name)}]" for name in nodes]
    return lines + [f"    {keys[before]} --> {keys[name]}" for name, needs in nodes.items() for before in needs]


def drawn(record: "RunRecord") -> list[str]:
    """The steps of a run, by name, with arrows from what had just ended when each began."""
    names, edges = links(record)
    keys = {name: f"n{i}" for i, name in enumerate(names)}
    failed = {step.name for step in record.steps if step.status == "failed"}
    lines = [f"%% run {record.id}: an arrow leads from what had just ended to what began then", "flowchart TD"]
    for name, count in names.items():
        label = name if count == 1 else f"{name} ×{count}"
        lines.append(f"    {keys[name]}[{_label(label)}]{':::failed' if name in failed else ''}")
    lines += [f"    {keys[before]} --> {keys[after]}" for before, after in edges]
    return [*lines, "    classDef failed stroke:#c00,stroke-width:2px"] if failed else lines


def links(record: "RunRecord") -> tuple[dict[str, int], list[tuple[str, str]]]:
    """How often each step was called, and which led to which.

    One step leads to another if it had ended when that began, and none came wholly between the two.
    """
    steps = [step for step in record.steps if step.kind != "timer"]
    names: dict[str, int] = {}
    for step in steps:
        names[step.name] = names.get(step.name, 0) + 1
    ended = [(step.ended, step.started, step) for step in steps if step.ended is not None]
    ended.sort(key=lambda item: item[:2])
    ends = [end for end, _, _ in ended]
    latest = list(accumulate((start for _, start, _ in ended), max))
    edges: dict[tuple[str, str], None] = {}
    for step in steps:
        before = bisect_right(ends, step.started)  # so many had ended when it began
        since = latest[before - 1] if before else 0.0  # when the last of those began: what ended sooner led to that one
        for end, start, other in ended[bisect_left(ends, since, hi=before) : before]:
            if other.name != step.name and (end > since or start == since):
                edges[other.name, step.name] = None
    return names, list(edges)


def _label(name: str) -> str:
    """A node's text: quoted, with what Mermaid or HTML would read as its own written as entities."""
    from segue.cli.text import one_line

    return '"' + "".join(c if c.isalnum() or c in " _-.,×" else f"#{ord(c)};" for c in one_line(name)) + '"'


async def _last_run(flow: str, target: str, url: str | None) -> "RunRecord":
    from segue.cli.archive import archive
    from segue.errors import UnknownRun
    from segue.stores.base import Query

    async with archive(url) as store:
        rows = await store.store.find(Query(flow=flow, limit=1))
        if not rows:
            raise UnknownRun(
                f"flow {flow!r} has not run yet in {store.store.url}, and the graph of a flow is that of its last run: "
                f"segue run {target}"
            )
        return await store.record(rows[0].id, whole=False)
