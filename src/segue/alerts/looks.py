"""What can be wrong, one function for each kind of alert: each looks at a store or a process, and changes nothing."""

import shlex
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from segue.alerts.alert import DETAIL, FLOW, Alert, counted, line
from segue.observe.drift import states
from segue.policies import spoken
from segue.runtime.controls import controls
from segue.runtime.failures import read_failure
from segue.stores.artifacts import Artifacts
from segue.stores.base import Asked, Question, Store

if TYPE_CHECKING:
    from segue.alerts.settings import Alerts

MOST = 1000
"""Groups of dead letters, and open questions, that are looked at."""


class Sight(NamedTuple):
    """From where one looks.

    Attributes:
        worker: whose process it is.
    """

    store: Store
    artifacts: Artifacts
    worker: str
    now: float
    rules: "Alerts"


async def dead_letters(sight: Sight) -> list[Alert]:
    """Runs that failed for good and that nobody has dealt with; those that failed alike are one subject."""
    found: list[Alert] = []
    for fault in (await sight.store.faults())[:MOST]:
        if fault.flow == FLOW:  # who is told that nobody can be told?
            continue
        where = f"at step {fault.step}" if fault.step else "in its own code"
        look = f"segue dead --flow {shlex.quote(fault.flow)}"
        said = f"{counted(fault.runs, 'run')} of {fault.flow!r} failed {where} with {fault.error}; see: {look}"
        subject = "/".join((fault.flow, fault.step or "", fault.error or ""))
        found.append(
            Alert(
                "dead_letter", line(said), subject, fault.runs, fault.ended, look, fault.flow, fault.step, fault.newest
            )
        )
    return found


async def message(sight: Sight, alert: Alert) -> Alert:
    """A dead letter with what its newest run failed of."""
    rows = await sight.store.ended([alert.run or ""])
    data = sight.artifacts.fetch(rows[0].result) if rows else None
    return alert if data is None else msgspec.structs.replace(alert, detail=line(read_failure(data).message, DETAIL))


async def overdue_questions(sight: Sight) -> list[Alert]:
    """Questions that have been open for longer than the settings allow; those of one step are one subject."""
    late = sight.now - sight.rules.overdue
    groups: dict[tuple[str, str], list[Question]] = {}
    for question in await sight.store.questions(Asked(limit=MOST)):
        if question.asked <= late:
            groups.setdefault((question.flow, question.step), []).append(question)
    return [_overdue(*group, asked, sight.rules.overdue) for group, asked in groups.items()]


def _overdue(flow: str, step: str, asked: list[Question], overdue: float) -> Alert:
    newest, look = max(asked, key=lambda question: question.asked), f"segue inbox --flow {shlex.quote(flow)}"
    verb = "is" if len(asked) == 1 else "are"
    said = f"{counted(len(asked), 'question')} of {flow!r} {verb} open for more than {spoken(overdue)}; answer: {look}"
    since = newest.asked + overdue
    return Alert("overdue_question", line(said), f"{flow}/{step}", len(asked), since, look, flow, step, newest.run)


async def old_queues(sight: Sight) -> list[Alert]:
    """Flows with runs that have waited for a worker for longer than the settings allow."""
    found: list[Alert] = []
    for aged in await sight.store.aged(sight.now - sight.rules.queue_age):
        if aged.flow == FLOW:
            continue
        look = f"segue runs --flow {shlex.quote(aged.flow)} --status queued"
        waited = f"for more than {spoken(sight.rules.queue_age)}, the first for {spoken(round(sight.now - aged.since))}"
        said = f"{counted(aged.runs, 'run')} of {aged.flow!r} waited for a worker {waited}; see: {look}"
        found.append(
            Alert("queue_age", line(said), aged.flow, aged.runs, aged.since, look, flow=aged.flow, run=aged.run)
        )
    return found


async def open_breakers(sight: Sight) -> list[Alert]:
    """What this process does not call, since it failed too often."""
    found: dict[str, Alert] = {}
    for state in controls():
        if state.breaker == "open":
            look = "segue runs --status running"
            said = f"{state.name!r} is not called any more by worker {sight.worker}: its circuit is open"
            said += f" after {counted(state.failures, 'failure')}; what waits for it: {look}"
            found[state.name] = Alert("breaker", line(said), state.name, state.failures, sight.now, look)
    return list(found.values())


async def drifted(sight: Sight) -> list[Alert]:
    """Steps whose results no longer look as they did."""
    found: list[Alert] = []
    for state in await states(sight.store):
        if state.state == "drifted":
            look = f"segue drift {shlex.quote(state.step)}"
            measured = "" if state.statistic is None else f" ({state.test} {state.statistic:.2g})"
            then = "its fallbacks serve" if state.then == "fallback" else "it is used all the same"
            said = f"the {state.signal} of step {state.step!r} no longer looks as it did{measured}; {then}. See: {look}"
            subject = "/".join((state.step, state.version, state.signal))
            found.append(Alert("drift", line(said), subject, 1, state.since, look, step=state.step))
    return found


class Kind(NamedTuple):
    """One of the things to tell of.

    Attributes:
        lasting: it is a state, told again while it lasts; else something that happened, told again when there is more.
        complete: adds what is read only for alerts that go.
    """

    look: Callable[[Sight], Awaitable[list[Alert]]]
    lasting: bool
    complete: Callable[[Sight, Alert], Awaitable[Alert]] | None = None


KINDS = {
    "dead_letter": Kind(dead_letters, lasting=False, complete=message),
    "overdue_question": Kind(overdue_questions, lasting=False),
    "queue_age": Kind(old_queues, lasting=True),
    "breaker": Kind(open_breakers, lasting=True),
    "drift": Kind(drifted, lasting=True),
}
"""By what ``on`` in the settings calls them."""
