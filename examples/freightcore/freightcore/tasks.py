"""What a flow works out by itself between two steps: who still needs a van, and what a route leaves to others."""

from collections.abc import Sequence
from dataclasses import replace

from freightcore.facts import Change, Event, Outcome, Proposal, Task
from segue import Permanent


def classify_change(event: Event) -> Change:
    """What an event is about."""
    if event.kind in ("sensors", "incident", "storm"):
        return "traffic"
    return "driver" if event.kind == "clock_out" else "order"


def still_wanted(tasks: Sequence[Task], homeless: Sequence[str]) -> list[Task]:
    """The tasks without those orders that have found a van, and not those of which nothing is left."""
    reduced = [replace(task, adds=[id for id in task.adds if id in homeless]) for task in tasks]
    return [new for new, task in zip(reduced, tasks, strict=True) if new.adds or not task.adds]


def still_homeless(homeless: Sequence[str], tasks: Sequence[Task], outcomes: Sequence[Outcome]) -> list[str]:
    """The orders that no van has taken.

    Raises:
        Permanent: a van was to lose some, and its last instruction stands: nobody else may get them.
    """
    for task, outcome in zip(tasks, outcomes, strict=True):
        if outcome.did == "kept" and (both := [id for id in task.drops if id in homeless]):
            raise Permanent(f"{task.vehicle} could not be told that {', '.join(both)} are taken from it")
    left = {id for outcome in outcomes for id in outcome.left}
    placed = {id for task in tasks for id in task.adds} - left
    return [id for id in homeless if id not in placed]


def kept(task: Task) -> Outcome:
    """The van's last instruction stands, and what it was to get needs another one."""
    return Outcome(task.vehicle, "kept", task.adds)


def without(proposal: Proposal, orders: Sequence[str]) -> Proposal:
    """The proposal, as if these orders, which have no place in its route, had never been asked for."""
    load, route = proposal.load, proposal.route
    return replace(
        proposal,
        route=replace(route, left=[id for id in route.left if id not in orders]),
        load=replace(load, orders=[order for order in load.orders if order.id not in orders]),
    )
