"""``segue chaos``."""

import json
import re
from typing import Any

import pytest

from .conftest import Project

CODE = """
import asyncio
import os
import signal
from pathlib import Path

from segue import Retry, flow, gather, sleep, step


@step
async def small(text: str) -> str:
    return "billing"


@step(retry=Retry(1, backoff="10ms"), fallback=small)
async def classify(text: str) -> str:
    return "billing"


@step(retry=Retry(2, backoff="10ms"))
def account(name: str) -> dict:
    print("noise from a step")
    return {"name": name, "total": 6}


@step
async def reply(account: dict) -> str:
    with Path("replies").open("a") as file:
        file.write("x")
    return f"you owe {account['total']}"


@flow
async def child(name: str) -> dict:
    return await account(name)


@flow
async def support(text: str) -> str:
    kind, _ = await gather(classify(text), account("other"))
    await sleep("1h")
    return await reply(await child(kind))


@flow
async def quick(count: int) -> str:
    for number in range(count):
        await classify(str(number))
    return "done"


@flow
async def hangs(text: str) -> str:
    await asyncio.gather(classify(text), endless(text))
    return text


@step
async def endless(text: str) -> str:
    await asyncio.Event().wait()
    return text


@flow
async def fails(text: str) -> str:
    raise KeyError(text)


@step
async def deadly(text: str) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return text


@flow
async def lethal(text: str) -> str:
    return await deadly(text)


def honest(run):
    if run.status == "completed" and run.result != "you owe 6":
        return f"{run.input['text']} was told: {run.result}"


def alive(run):
    assert run.status == "completed", run.error


def at_most(run):
    return all(step.attempts < 9 for step in run.steps) and run.crashes >= 0
"""

FAULTS = ["--fail", "0.15", "--delay", "0.2:0.1s..2s", "--malform", "0.15", "--duplicate", "0.2", "--kill", "0.05"]
ENDS = ("completed", "degraded", "escalated", "failed", "stuck", "lost")


@pytest.fixture
def shop(project: Project) -> Project:
    project.write("shop.py", CODE)
    return project


def chaos(project: Project, flow: str, *more: str, code: int = 0) -> Any:
    done = project.segue("chaos", f"shop.py:{flow}", "--input", '"hi"', "--json", *more)
    assert done.code == code, done.err
    return done.json


def test_a_report_in_virtual_time(shop: Project) -> None:
    report = chaos(shop, "support", "--runs", "60", "--seed", "7", "--fake-time", *FAULTS)
    assert sum(report[end] for end in ENDS) == report["runs"] == 60
    assert report["stuck"] == report["lost"] == 0
    assert report["ok"] is True
    assert report["clean"] == "completed"
    assert set(report["faults"]) == {"fail", "delay", "malform", "duplicate", "kill"}
    assert report["rungs"]["retry"]["steps"] > 0
    assert report["rungs"]["fallback small"]["runs"] > 0
    assert report["degraded"] > 0
    assert sum(death["count"] for death in report["deaths"]) == report["failed"] > 0
    kinds = {(death["flow"], death["step"], death["error"]) for death in report["deaths"]}
    assert len(kinds) == len(report["deaths"])
    assert any(flow == "shop.child" or step == "reply" for flow, step, _ in kinds)


def test_the_same_seed_gives_the_same_report_and_another_one_another(shop: Project) -> None:
    command = ["chaos", "shop.py:support", "--input", '"hi"', "--runs", "30", "--fake-time", *FAULTS]
    first, second = shop.segue(*command, "--seed", "7"), shop.segue(*command, "--seed", "7")
    assert first.code == second.code == 0
    assert first.out == second.out
    assert shop.segue(*command, "--seed", "8").out != first.out


def test_one_run_dies_alone_as_it_died_among_the_others(shop: Project) -> None:
    arguments = ["--seed", "7", "--fake-time", *FAULTS]
    report = chaos(shop, "support", "--runs", "40", *arguments)
    for death in report["deaths"]:
        number = death["runs"][0]
        alone = chaos(shop, "support", "--only", str(number), *arguments)
        assert alone["runs"] == 1
        (again,) = alone["deaths"]
        assert (again["flow"], again["step"], again["error"]) == (death["flow"], death["step"], death["error"])
        assert again["message"] == death["message"]
        assert again["runs"] == [number]


def test_the_report_for_people(shop: Project) -> None:
    command = ["chaos", "shop.py:support", "--input", '"hi"', "--runs", "40", "--seed", "7", "--fake-time", *FAULTS]
    done = shop.segue(*command, "--invariant", "shop.py:honest", "--invariant", "shop.py:at_most")
    assert "noise from a step" in done.err
    assert "noise" not in done.out
    assert re.search(r"^shop\.support  40 runs, seed 7, virtual time$", done.out, re.M)
    assert re.search(r"^  completed +\d+ +\d+\.\d %  █+$", done.out, re.M)
    assert re.search(r"^  stuck +0 +0\.0 %$", done.out, re.M)
    assert re.search(r"^  retry +\d+  steps, in \d+ runs$", done.out, re.M)
    assert re.search(r"^ +\d+ × reply: \w+: ", done.out, re.M)
    assert re.search(r"^ +--only \d+", done.out, re.M)
    assert "  ✓ shop.py:at_most\n" in done.out
    assert "segue chaos shop.py:support --input '\"hi\"' --seed 7 --fail 0.15 --delay 0.2:0.1s..2s" in done.out
    assert not re.search(r" $", done.out, re.M)
    assert re.search(r"^segue: 40 runs in ", done.err, re.M)


def test_one_run_for_people(shop: Project) -> None:
    arguments = ["--input", '"hi"', "--seed", "7", "--fake-time", *FAULTS]
    number = chaos(shop, "support", "--runs", "40", *arguments[2:])["deaths"][0]["runs"][0]
    done = shop.segue("chaos", "shop.py:support", *arguments, "--only", str(number))
    assert f"Run {number} is dead" in done.out
    assert re.search(rf"^failed  shop\.support  .* chaos-7-{number:04}", done.out, re.M)
    assert "What went wrong" in done.out
    assert re.search(r"^  (fail|malform) +\S+, attempt \d  ", done.out, re.M)


def test_a_broken_invariant_is_an_exit_code_and_names_the_runs(shop: Project) -> None:
    arguments = ["--runs", "40", "--seed", "7", "--fake-time", "--malform", "0.3"]
    report = chaos(shop, "support", *arguments, "--invariant", "shop.py:honest", code=1)
    assert report["ok"] is False
    (breach,) = report["invariants"]
    assert breach["invariant"] == "shop.py:honest"
    assert breach["why"].startswith("hi was told: ")
    assert breach["count"] == len(breach["runs"]) > 0
    only = [*arguments, "--only", str(breach["runs"][0]), "--invariant", "shop.py:honest"]
    assert chaos(shop, "support", *only, code=1)["invariants"][0]["why"] == breach["why"]
    report = chaos(shop, "support", *arguments, "--invariant", "shop.py:alive", code=1)
    assert "AssertionError: StepFailed" in report["invariants"][0]["why"]


def test_a_run_that_nothing_moves_is_stuck(shop: Project) -> None:
    report = chaos(shop, "hangs", "--runs", "3", "--fake-time", "--fail", "0.01", code=1)
    assert (report["stuck"], report["clean"]) == (3, "stuck")
    (death,) = report["deaths"]
    assert death["message"] == "waits for 'endless'"


def test_a_flow_that_fails_by_itself_is_told_apart(shop: Project) -> None:
    done = shop.segue("chaos", "shop.py:fails", "--input", '"hi"', "--runs", "2", "--fake-time", "--fail", "0.5")
    assert done.code == 0
    assert "without any fault it is dead already: KeyError: 'hi'" in done.out


def test_without_faults_asked_for_a_little_of_each_happens(shop: Project) -> None:
    replay = chaos(shop, "support", "--runs", "2", "--fake-time")["replay"]
    assert "--fail 0.1 --delay 0.1:0.1s..2s --malform 0.1 --duplicate 0.05 --kill 0.02" in replay


def test_in_real_time_a_real_worker_is_killed(shop: Project) -> None:
    faults = ["--kill", "0.03", "--fail", "0.05", "--duplicate", "0.3"]
    done = shop.segue("chaos", "shop.py:quick", "--input", "8", "--runs", "20", "--seed", "3", "--json", *faults)
    report = done.json
    assert done.code == 0, done.err
    assert sum(report[end] for end in ENDS) == 20
    assert report["completed"] + report["degraded"] + report["failed"] == 20
    assert report["faults"]["kill"]["worker"] > 0
    assert report["faults"]["duplicate"]["start"] > 0
    assert report["invariants"] == []


def test_in_real_time_the_faults_of_steps_are_those_of_virtual_time(shop: Project) -> None:
    arguments = ["--input", "6", "--runs", "10", "--seed", "5", "--fail", "0.4", "--json"]
    real, virtual = (shop.segue("chaos", "shop.py:quick", *arguments, *more).json for more in ([], ["--fake-time"]))
    for said in ("completed", "degraded", "failed", "faults", "rungs", "deaths"):
        assert real[said] == virtual[said], said


def test_runs_of_real_time_can_be_kept_and_looked_at(shop: Project) -> None:
    arguments = ["chaos", "shop.py:quick", "--input", "2", "--runs", "3", "--fail", "0.1", "--store", "sqlite:kept.db"]
    assert shop.segue(*arguments).code == 0
    rows = shop.segue("runs", "--json", "--store", "sqlite:kept.db").json
    assert sorted(row["id"] for row in rows) == [f"chaos-0-{number:04}" for number in range(4)]
    done = shop.segue(*arguments)
    assert done.code == 2
    assert "holds runs of an experiment with seed 0: chaos needs a store of its own" in done.err


def test_a_worker_that_kills_itself_is_survived(shop: Project) -> None:
    done = shop.segue("chaos", "shop.py:lethal", "--input", '"x"', "--runs", "1", "--fail", "0.01", "--json")
    assert json.loads(done.out)["deaths"][0]["error"] == "WorkerLost"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail", "1.5"], "1.5 is not in the range 0<=x<=1"),
        (["--delay", "often"], "delay is a share and a length, such as 0.2:0.1s..2s, not 'often'"),
        (["--delay", "0.1:2s..1s"], "delays are the shortest and the longest"),
        (["--invariant", "shop.py:none"], "has no 'none'"),
        (["--invariant", "shop.py"], "names no function"),
        (["--store", "sqlite:x.db"], "with --fake-time runs are kept in memory"),
        (["--only", "0"], "0 is not in the range x>=1"),
        (["--input", "7"], "expected str, got int"),
    ],
)
def test_wrong_use(shop: Project, arguments: list[str], said: str) -> None:
    done = shop.segue("chaos", "shop.py:support", "--input", '"hi"', "--fake-time", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err
