"""``segue drift`` as its users have it."""

import json
import re
import subprocess
import sys

import pytest

from .conftest import Done, Project

APP = """
import random
from segue import Drift, flow, step

chance = random.Random(5)


def usual(n: int) -> dict[str, float]:
    return {"speed": 45.0}


@step(drift=Drift(("speed", "schema"), then="fallback"), fallback=usual, version="v1\\x1b[31m")
async def congestion(n: int) -> dict[str, float]:
    return {"speed": chance.gauss(60 if n >= 300 else 50, 5)}


@step(drift=Drift(lambda area: area, reference=100))
async def area(n: int) -> str:
    return chance.choice(["north", "north", "\\x1b[2Jsouth"])


@flow
async def drive(start: int, end: int) -> int:
    for n in range(start, end):
        await congestion(n)
        await area(n)
    return end
"""


@pytest.fixture
def roads(project: Project) -> Project:
    project.write("roads.py", APP)
    return project


def drift(project: Project, *arguments: str, **environment: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "segue", "drift", *arguments],
        cwd=project.folder,
        env={**project.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def run(project: Project, start: int, end: int) -> None:
    done = project.segue("run", "roads.py:drive", "--input", json.dumps({"start": start, "end": end}))
    assert done.code == 0, done.err


def test_before_anything_was_watched_it_says_so(roads: Project) -> None:
    done = drift(roads)
    assert (done.code, done.out) == (0, "")
    assert "nothing has run yet" in done.err
    assert drift(roads, "congestion").code == 1


def test_each_signal_has_its_state_its_figures_and_bars(roads: Project) -> None:
    run(roads, 0, 400)
    done = drift(roads, PYTHONIOENCODING="utf-8")
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    lines = done.out.splitlines()
    speed = next(line for line in lines if line.strip().startswith("speed"))
    assert re.search(r"speed +drifted .* KS 0\.\d+ of 0\.35, p=\S+ +[▁▂▃▄▅▆▇█]{16}\|[▁▂▃▄▅▆▇█]+$", speed), speed
    assert re.search(r"was (49|50)\S* \(sd [45]\S*\), now 6\d\S* \(sd ", done.out)
    assert "its fallbacks serve" in done.out
    assert re.search(r"schema +steady .* PSI 0 of 0\.25", done.out)
    assert re.search(r"feature +steady .* PSI 0\.\d+ of 0\.25", done.out)
    assert "north" in done.out
    assert max(ord(c) for c in drift(roads, PYTHONIOENCODING="ascii").out) < 128


def test_of_one_step_the_changes_are_shown_and_json_has_all(roads: Project) -> None:
    run(roads, 0, 400)
    done = drift(roads, "congestion")
    assert re.search(r"speed drifted: KS 0\.\d+ \(alarm at 0\.35\), p=\S+  in run \w+", done.out)
    assert "feature" not in done.out
    found = json.loads(drift(roads, "congestion", "--json").out)
    assert [(one["signal"], one["state"], one["test"]) for one in found] == [
        ("speed", "drifted", "ks"),
        ("schema", "steady", "psi"),
    ]
    assert [change["what"] for change in found[0]["changes"]] == ["learned", "drifted"]
    assert len(found[0]["learned"]) == 200


def test_the_run_shows_why_the_fallback_served(roads: Project) -> None:
    run(roads, 0, 400)
    shown = roads.segue("show", "last").out
    assert "Drifted: speed of step 'congestion' has drifted since" in shown
    assert "the value is a fallback: usual" in shown


def test_a_reset_is_learned_anew_and_is_recorded(roads: Project) -> None:
    run(roads, 0, 400)
    done = drift(roads, "reset", "congestion", "--by", "ada")
    assert done.code == 0
    assert "is learned anew" in done.err
    found = json.loads(drift(roads, "congestion", "--json").out)
    assert {one["state"] for one in found} == {"learning"}
    assert "reset by ada" in drift(roads, "congestion").out
    run(roads, 400, 620)
    assert {one["state"] for one in json.loads(drift(roads, "congestion", "--json").out)} == {"steady"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nothing",), 1, "no step 'nothing' is watched"),
        (("reset", "nothing"), 1, "there are"),
        (("reset",), 2, "give one STEP, or: reset STEP"),
        (("a", "b"), 2, "give one STEP, or: reset STEP"),
        (("congestion", "--version", "9"), 1, "has no version '9'"),
    ],
)
def test_what_is_not_there_is_named(roads: Project, arguments: tuple[str, ...], code: int, said: str) -> None:
    run(roads, 0, 3)
    done = drift(roads, *arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
