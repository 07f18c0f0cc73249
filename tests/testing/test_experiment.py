"""Experiments: how runs are judged, and that what dies replays."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segue import Retry, StepFailed, ask_human, cached, flow, gather, resource, sleep, step, use
from segue.core.entries import Entry, Kind
from segue.core.lifecycle import Status
from segue.errors import Failure, UsageError
from segue.loading import find_flow
from segue.stores.base import Row
from segue.testing.chaos import Faults, Struck
from segue.testing.experiment import experiment
from segue.testing.ordeal import ordeal
from segue.testing.records import RunRecord, StepRecord
from segue.testing.report import TWICE, Death, Facts, Place, Ran, Report, RunReport, end_of, judge, place_of, rungs_of
from segue.testing.trial import traps_of
from segue.types import StepId

ALL = Faults(seed=7, fail=0.15, delay=0.2, malform=0.15, duplicate=0.3, kill=0.08)


@step
async def spare(text: str) -> str:
    return "spare"


@step(retry=Retry(1, backoff="1s"), timeout="20s", fallback=spare)
async def ask(text: str) -> str:
    await asyncio.sleep(0.05)
    return f"answer to {text}"


@step(retry=2)
def look_up(text: str) -> dict[str, int]:
    return {"total": len(text)}


@step
async def book(total: int) -> int:
    return total


@flow(name="experiment.child")
async def child(text: str) -> int:
    return await book((await look_up(text))["total"])


@flow(name="experiment.main")
async def whole(text: str) -> str:
    answer, total = await gather(ask(text), child(text))
    await sleep("1h")
    try:
        again = await look_up(answer)
    except StepFailed:
        again = {"total": 0}
    return f"{answer}: {total} {again['total']}"


# Determinism


def test_an_experiment_is_a_function_of_its_seed() -> None:
    first, second = (experiment(whole, {"text": "why"}, 40, ALL) for _ in range(2))
    assert first.runs == second.runs
    assert first.clean.end == "completed"
    assert sum(first.ends.values()) == 40
    assert len({run.end for run in first.runs}) >= 2
    assert first.ok
    assert experiment(whole, {"text": "why"}, 40, replace(ALL, seed=8)).runs != first.runs


def test_each_run_replays_alone() -> None:
    report = experiment(whole, {"text": "why"}, 25, ALL)
    assert sum(run.deaths for run in report.runs) > 5
    assert sum(run.duplicates for run in report.runs) > 2
    for run in report.runs:
        assert experiment(whole, {"text": "why"}, 25, ALL, only=run.number).runs == (run,)


def test_deaths_of_workers_change_no_result() -> None:
    calm = experiment(whole, {"text": "why"}, 30, Faults(seed=7, fail=0.1, malform=0.1))
    storm = experiment(whole, {"text": "why"}, 30, Faults(seed=7, fail=0.1, malform=0.1, kill=0.1, duplicate=0.5))
    assert sum(run.deaths for run in storm.runs) > 10
    assert [(run.end, run.rungs) for run in storm.runs] == [(run.end, run.rungs) for run in calm.runs]


def test_where_workers_die() -> None:
    traps = [traps_of(Faults(seed=1, kill=0.05), f"r{n}")[0] for n in range(800)]
    counted = [trap.left for trap in traps if trap.left > 1]
    assert 14 < sum(counted) / len(counted) < 28
    assert {"before", "after", "after-body", "before-claim", "after-end"} <= {trap.at for trap in traps}
    assert all(trap.left == 1 for trap in traps_of(Faults(kill=1), "r"))
    assert traps_of(Faults(), "r") == []


# What a flow shares


loads: list[str] = []


@resource(scope="worker")
async def slow_model() -> AsyncGenerator[str, None]:
    loads.append("slow")
    await asyncio.to_thread(_work_for_a_while)
    yield "model"
    loads.append("closed")


@resource(scope="worker")
async def quick_client() -> AsyncGenerator[asyncio.AbstractEventLoop, None]:
    loads.append("quick")
    yield asyncio.get_running_loop()


def _work_for_a_while() -> None:
    import time

    until = time.monotonic() + 0.08
    while time.monotonic() < until:
        pass


@step
async def with_model(text: str, model: str = use(slow_model), loop: Any = use(quick_client)) -> str:
    assert loop is asyncio.get_running_loop()
    return text + model


@flow(name="experiment.model")
async def modelled(text: str) -> str:
    return await with_model(text)


def test_a_slow_resource_is_loaded_once_for_all_runs() -> None:
    loads.clear()
    report = experiment(modelled, {"text": "x"}, 5, Faults(seed=1, delay=0.5))
    assert report.ends["completed"] == 5
    assert loads.count("slow") == 2  # in the clean run, and for all that follow
    assert loads.count("closed") == 2
    assert loads.count("quick") == 6


@step(fallback=cached())
async def kept(text: str) -> str:
    return "kept"


@flow(name="experiment.kept")
async def keeps(text: str) -> str:
    return await kept(text)


def test_what_the_clean_run_leaves_is_there_for_the_others() -> None:
    report = experiment(keeps, {"text": "x"}, 20, Faults(seed=1, fail=0.5))
    assert report.ends["degraded"] > 3
    assert report.ends["failed"] == 0
    assert report.rungs["cached"] == (report.ends["degraded"],) * 2


# Invariants


def never(run: Any) -> bool:
    return False


def says_why(run: Any) -> str | None:
    return None if run.status == "completed" else f"{run.input['text']}: {run.error.type}"


def test_invariants() -> None:
    faults = Faults(seed=7, fail=0.4)
    report = experiment(keeps, ((), {"text": "x"}), 10, faults, invariants=[never, says_why])
    (breach,) = report.breaches
    assert (breach.invariant, breach.why) == ("never", "it returned False")
    assert breach.runs == tuple(range(11))
    assert not report.ok
    report = experiment(child, {"text": "x"}, 10, faults, invariants={"tells": says_why})
    assert [breach.why for breach in report.breaches] == ["x: StepFailed"]


@step
async def wait_for_ever() -> None:
    await asyncio.Event().wait()


@flow(name="experiment.stuck")
async def stuck_flow(text: str) -> None:
    await wait_for_ever()


def test_a_stuck_run_says_what_it_waits_for() -> None:
    report = experiment(stuck_flow, {"text": "x"}, 2, Faults(seed=7, kill=0.3))
    assert report.ends["stuck"] == 2
    assert not report.ok
    assert report.deaths == (Death("stuck", "experiment.stuck", "", "", "waits for 'wait_for_ever'", (1, 2)),)


@pytest.mark.parametrize(("runs", "only"), [(0, None), (5, 0)])
def test_numbers_of_runs(runs: int, only: int | None) -> None:
    with pytest.raises(UsageError, match="numbered from 1"):
        experiment(keeps, {"text": "x"}, runs, Faults(), only=only)


# Judging


def row(status: Status, reason: str | None = None, due: float = 0.0, fallbacks: int = 0) -> Row:
    return Row(
        "r1", "f", "", "", status, reason, None, "w", None, 0, None, None, due, 0.0, 0.0, 1.0, 1, 0, b"", None, 0, None,
        fallbacks,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "acknowledged", "end", "message"),
    [
        (row(Status.COMPLETED), True, "completed", None),
        (row(Status.COMPLETED, fallbacks=2), True, "degraded", None),
        (row(Status.WAITING, "waits for an answer", 1e15), True, "escalated", None),
        (row(Status.WAITING, "waits for 1 child run", 1e15), True, "stuck", "waits for 1 child run"),
        (row(Status.RUNNING), True, "stuck", "running"),
        (row(Status.FAILED), True, "failed", ""),
        (None, True, "lost", "was acknowledged, and the store does not know it"),
        (None, False, "stuck", "could not be started"),
    ],
)
def test_ends(given: Row | None, acknowledged: bool, end: str, message: str | None) -> None:
    found, place = end_of(Facts(1, "r1", given, acknowledged=acknowledged), "f")
    assert found == end
    assert (None if place is None else place.message) == message


def test_what_ran_twice_breaks_an_invariant() -> None:
    report = judge(Facts(3, "r", row(Status.COMPLETED), twice="attempt 1 began 2 times"), "f", {})
    assert report.broken == ((TWICE, "attempt 1 began 2 times"),)


def entry(kind: Kind, step: str, output: bytes | None = None) -> Entry:
    return Entry(0, kind, StepId(step), 1, 0.0, 0.0, None, output)


def test_rungs() -> None:
    assert rungs_of([entry(Kind.OK, "a"), entry(Kind.TIMER, "t")]) == {}
    assert rungs_of([entry(Kind.ATTEMPT, "a"), entry(Kind.ERROR, "a")]) == {}
    entries = [entry(Kind.ATTEMPT, "a"), entry(Kind.OK, "a"), entry(Kind.ATTEMPT, "b"), entry(Kind.OK, "b")]
    assert rungs_of(entries) == {"retry": 2}


def step_record(name: str, status: Any, error: Failure | None, child: RunRecord | None = None) -> StepRecord:
    return StepRecord(name, name, status, 1, None, None, error, (), "model", 0, (name,), 0.0, 0.0, child)


def failed(error: Failure, *steps: StepRecord, flow: str = "f") -> RunRecord:
    return RunRecord("r", flow, "failed", None, error, steps, created=0.0, took=1.0)


def test_where_a_run_died() -> None:
    wrong = Failure("ValueError", "no")
    late = Failure("TimeoutError", "late")
    steps = (step_record("a", "failed", wrong), step_record("b", "failed", late))
    by_a, by_b = (Failure("StepFailed", f"step '{name}' failed: …") for name in "ab")
    assert place_of(failed(by_a, *steps)) == Place("f", "a", "ValueError", "no")
    assert place_of(failed(by_b, *steps)) == Place("f", "b", "TimeoutError", "late")
    assert place_of(failed(wrong, *steps)) == Place("f", "", "ValueError", "no")
    inner = failed(by_a, *steps, flow="inner")
    above = failed(Failure("RunFailed", "run r of 'inner' failed"), step_record("inner", "failed", None, inner))
    assert place_of(above) == Place("inner", "a", "ValueError", "no")
    dead = failed(Failure("WorkerLost", "…"), step_record("c", "lost", None))
    assert place_of(dead) == Place("f", "c", "WorkerLost", "…")


def run_report(number: int, end: Any, place: Place | None = None, **more: Any) -> RunReport:
    return RunReport(number, f"r{number}", end, place, **more)


def test_a_report_adds_up() -> None:
    first, other = Place("f", "a", "ValueError", "one"), Place("f", "a", "ValueError", "two")
    runs = (
        run_report(1, "failed", first),
        run_report(2, "completed", rungs={"retry": 2}, struck=(Struck("r2", "a", 1, "fail", "429"),)),
        run_report(3, "failed", other, rungs={"retry": 1}),
        run_report(4, "degraded", rungs={"retry": 1, "fallback small": 1}, deaths=2, duplicates=1),
        run_report(5, "lost", Place("f", "", "", "gone"), broken=(("sums", "3 != 4"),)),
    )
    report = Report("f", Faults(seed=7), run_report(0, "completed"), runs, killed=3)
    assert report.ends == {"completed": 1, "degraded": 1, "escalated": 0, "failed": 2, "stuck": 0, "lost": 1}
    assert report.rungs == {"fallback small": (1, 1), "retry": (3, 2)}
    assert [(death.end, death.message, death.runs) for death in report.deaths] == [
        ("failed", "one", (1, 3)),
        ("lost", "gone", (5,)),
    ]
    assert report.struck == {"duplicate": {"start": 1}, "fail": {"429": 1}, "kill": {"worker": 5}}
    assert [(breach.invariant, breach.runs) for breach in report.breaches] == [("sums", (5,))]
    assert not report.ok


def test_an_invariant_gets_all_of_a_run() -> None:
    seen: list[Ran] = []
    experiment(child, {"text": "four"}, 1, Faults(seed=2), invariants=[seen.append])
    clean, only = seen
    assert (clean.id, only.id) == ("chaos-2-0000", "chaos-2-0001")
    assert (only.flow, only.status, only.input, only.result) == ("experiment.child", "completed", {"text": "four"}, 4)
    assert [step.name for step in only.steps] == ["look_up", "book"]
    assert only.step("book").output == 4


# In real time

STUCK = """
import asyncio
from segue import flow, step

@step
async def endless(text: str) -> str:
    await asyncio.Event().wait()
    return text

@step
async def fine(text: str) -> str:
    return text

@flow(name="ordeal.half")
async def half(text: str) -> str:
    return await (endless(text) if text == "hang" else fine(text))
"""


def test_in_real_time_a_run_without_news_is_stuck(tmp_path: Path) -> None:
    (tmp_path / "ordeal_flow.py").write_text(STUCK)
    target = f"{tmp_path / 'ordeal_flow.py'}:half"
    found = find_flow(target).flow
    report = ordeal(found, target, {"text": "hang"}, 2, Faults(seed=1, fail=0.01), patience=0.5)
    assert report.ends["stuck"] == 2
    assert report.deaths[0].message == "nothing for 0.5 s"
    assert ordeal(found, target, {"text": "go"}, 2, Faults(seed=1, fail=0.01)).ends["completed"] == 2


def test_a_run_that_waits_for_a_person_is_escalated_and_not_stuck() -> None:
    @flow(name="asks-a-person")
    async def asks() -> bool:
        return await ask_human("well?")

    report = experiment(asks, {}, runs=3, faults=Faults(seed=1))
    assert report.ends["escalated"] == 3, report.ends
    assert report.ok
