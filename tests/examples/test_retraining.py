"""Retraining: nights on real models, a worse model, crashes, and files that somebody else wrote."""

import importlib
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import Permanent
from segue.testing import Env

EXAMPLE = Path(__file__).parents[2] / "examples" / "retraining"
sys.path.insert(0, str(EXAMPLE))


def load_app() -> Any:
    """Under a name of its own: other examples have an app.py too."""
    spec = importlib.util.spec_from_file_location("retraining_app", EXAMPLE / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


app = load_app()
deployments: Any = importlib.import_module("retraining.deployments")
models: Any = importlib.import_module("retraining.models")
trips: Any = importlib.import_module("retraining.trips")

MONDAY = date(2026, 3, 2)
TRIP = {"km": 4.2, "hour": 17.0, "rain": 1.0, "stops": 2.0}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for trips and models, and days with so few trips that more of it is chance."""
    monkeypatch.setenv("RETRAINING_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(trips, "A_DAY", 40)
    monkeypatch.setattr(models, "MARGIN", 0.5)
    return tmp_path / "home"


@pytest.fixture
def env() -> Iterator[Env]:
    with Env() as one:
        yield one


def current() -> Any:
    return deployments.current()


def only_what_belongs(home: Path) -> None:
    """One model is in use, its file is what its name says, and no draft lies about."""
    used = deployments.in_use()
    assert used is not None
    assert (home / "models" / f"{used.deployment.version}.json").exists()
    assert list(home.rglob("*.draft")) == []


# As its users have it


class Folder:
    """A folder as in the README: the examples, and a ``segue`` in ``.venv/bin``."""

    def __init__(self, root: Path) -> None:
        self.root = root / "segue"
        (self.root / ".venv" / "bin").mkdir(parents=True)
        (self.root / "examples").symlink_to(EXAMPLE.parent)
        program = self.root / ".venv" / "bin" / "segue"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m segue "$@"\n')
        program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SEGUE_", "RETRAINING_"))}
        self.environment = {**kept, "PYTHONPATH": ":".join(filter(None, sys.path)), "HOME": str(root), "COLUMNS": "120"}

    def sh(self, line: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """A line of shell, given there."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.root,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    def night(self, day: str, code: int = 0, **environment: str) -> Any:
        """The result of a night, and what was said."""
        done = self.sh(f'.venv/bin/segue run examples/retraining --input \'{{"day": "{day}"}}\'', code, **environment)
        return json.loads(done.stdout or "null"), done.stderr

    def ask(self) -> Any:
        """A prediction."""
        given = json.dumps({"trip": TRIP})
        return json.loads(self.sh(f".venv/bin/segue run examples/retraining/app.py:predict --input '{given}'").stdout)

    @property
    def current(self) -> Any:
        return json.loads((self.root / ".segue" / "retraining" / "current.json").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_story_of_the_readme(folder: Folder) -> None:
    first, said = folder.night("2026-03-02")
    assert "Deployed, the first one." in said
    assert first["deployed"] == {"version": first["version"], "before": None} == folder.current
    told = (EXAMPLE / "README.md").read_text()
    assert first["scores"]["candidate"] == pytest.approx(written(told, r"off by (\S+) minutes"), abs=0.2)
    said_before = folder.ask()
    assert said_before["version"] == first["version"]
    assert said_before["minutes"] == pytest.approx(written(told, r'"minutes":(\S+?),'), abs=2)

    broken, said = folder.night("2026-03-13")
    assert broken["deployed"] is None
    assert "Not deployed: it is off by " in said
    assert broken["scores"]["candidate"] > 10 * broken["scores"]["in_use"]
    assert folder.current["version"] == first["version"]
    assert folder.ask() == said_before

    again, _ = folder.night("2026-03-20")
    assert again["deployed"] is None, "the day is among those that are learned from"
    folder.sh(": > .segue/retraining/trips/days/2026-03-13.csv")
    mended, said = folder.night("2026-03-20")
    assert f"Deployed in place of {first['version'][:12]}." in said
    assert mended["scores"]["candidate"] < 0.9 * mended["scores"]["in_use"]
    assert folder.current == {"version": mended["version"], "before": first["version"]}
    assert folder.ask()["version"] == mended["version"]


def written(page: str, what: str) -> float:
    """The first such number on a page. Another machine may round otherwise."""
    found = re.search(what, page)
    assert found is not None
    return float(found[1])


def test_the_lines_for_cron_do_what_they_say(folder: Folder) -> None:
    lines = re.findall(r"^    (?:0 3 \* \* \*|@reboot) +(.+)$", (EXAMPLE / "README.md").read_text(), re.M)
    nightly, at_start = (line.replace(r"\%", "%") for line in lines)  # as cron does
    folder.sh(nightly, 137, SEGUE_CRASH_AT="after-body:2")  # the power goes when the model is trained
    folder.sh(at_start)
    version = folder.current["version"]
    folder.sh(nightly)  # cron again, for the same night
    (run,) = json.loads(folder.sh(".venv/bin/segue runs --flow app.retrain --json").stdout)
    assert run["id"].startswith("retrained-20")
    assert run["status"] == "completed"
    assert folder.current == {"version": version, "before": None}
    log = (folder.root / "nights.log").read_text()
    assert "Deployed, the first one." in log


@pytest.mark.parametrize("point", ["before-body:4", "after-body:4", "before-commit:5", "after-commit:5"])
def test_killed_while_it_deploys_it_deploys_once(folder: Folder, point: str) -> None:
    folder.night("2026-03-02", 137, SEGUE_CRASH_AT=point)
    folder.sh(".venv/bin/segue resume examples/retraining")
    (run,) = json.loads(folder.sh(".venv/bin/segue runs --flow app.retrain --json").stdout)
    assert run["status"] == "completed"
    assert folder.current == {"version": folder.ask()["version"], "before": None}
    assert len(list((folder.root / ".segue" / "retraining" / "models").iterdir())) == 1


# In virtual time


def test_each_night_takes_the_place_of_the_one_before(env: Env, home: Path) -> None:
    first, second = env.run(app.retrain, MONDAY), env.run(app.retrain, date(2026, 3, 3))
    assert first.result.deployed.before is None
    assert second.result.deployed.before == first.result.version != second.result.version
    assert current().version == second.result.version
    prediction = env.run(app.predict, trips.Trip(**TRIP)).result
    assert prediction.version == second.result.version
    only_what_belongs(home)


def test_the_same_trips_give_the_same_version_and_change_nothing(
    env: Env, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = env.run(app.retrain, MONDAY)
    env.advance("1h")
    again = env.run(app.retrain, MONDAY)
    assert again.result.scores.in_use == first.result.scores.candidate
    assert (again.result.version, again.result.deployed) == (first.result.version, first.result.deployed)
    monkeypatch.setenv("RETRAINING_HOME", str(tmp_path / "elsewhere"))
    assert env.run(app.retrain, MONDAY).result.version == first.result.version


def test_without_a_day_it_is_yesterday(env: Env, home: Path) -> None:
    assert env.run(app.retrain).result.day == date(2025, 12, 31)  # virtual time begins with 2026


def test_a_model_that_does_not_answer_is_taken_back(env: Env, home: Path) -> None:
    first = env.run(app.retrain, MONDAY)
    env.fake(app.answers, raises=Permanent("nobody answers"))
    failed = env.run(app.retrain, date(2026, 3, 3))
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.note == "undone: deploy"
    assert current().version == first.result.version
    only_what_belongs(home)


def test_a_first_model_that_does_not_answer_leaves_none(env: Env, home: Path) -> None:
    env.fake(app.answers, raises=Permanent("nobody answers"))
    assert env.run(app.retrain, MONDAY).status == "failed"
    assert current() is None
    asked = env.run(app.predict, trips.Trip(**TRIP))
    assert asked.error is not None
    assert "no model is in use yet" in asked.error.message


def test_what_came_later_is_not_withdrawn(home: Path) -> None:
    old, new = deployments.deploy(some_model(start=1.0)), deployments.deploy(some_model(start=2.0))
    deployments.withdraw(old)
    assert current() == new
    deployments.withdraw(new)
    deployments.withdraw(new)
    assert current().version == old.version


@pytest.mark.parametrize("nth", range(1, 6))
@pytest.mark.parametrize("point", ["before-body", "after-body"])
def test_a_night_survives_the_death_of_its_process_anywhere(env: Env, home: Path, point: str, nth: int) -> None:
    before = deployments.deploy(some_model())
    env.fake(app.train, calls=no_worse)
    env.crash_at(point, nth=nth)
    record = env.run(app.retrain, MONDAY)
    assert (record.status, record.crashes) == ("completed", 1)
    assert (current().version, current().before) == (record.result.version, before.version)
    only_what_belongs(home)


def no_worse(data: Any) -> Any:
    """A model that says the same as another one, and has learned from other trips."""
    file = deployments.home() / "made.json"
    trips.write(file, some_model(data="1" * 64))
    return app.File.save(file)


class Dead(BaseException):
    """The process, as far as one can tell from what it leaves."""


@pytest.mark.parametrize("undo", [False, True])
def test_whenever_it_dies_within_a_deployment_one_model_is_in_use(
    home: Path, monkeypatch: pytest.MonkeyPatch, undo: bool
) -> None:
    """At each call to the system that writes, once before it and once after."""
    old = deployments.deploy(some_model(start=1.0))
    new = deployments.Deployment(deployments.hashlib.sha256(some_model(start=2.0)).hexdigest(), old.version)
    for nth in range(1, 20):
        if undo:
            deployments.deploy(some_model(start=2.0))
        survived = dying_at(nth, monkeypatch, lambda: change(new, undo))
        assert current() in (old, new, deployments.Deployment(old.version))
        deployments.in_use()
        change(new, undo)
        assert current().version == (old.version if undo else new.version)
        if survived:
            break
        if not undo:
            deployments.withdraw(new)
    else:
        raise AssertionError("it always dies")
    assert nth > 3


def change(new: Any, undo: bool) -> None:
    if undo:
        deployments.withdraw(new)
    else:
        assert deployments.deploy(some_model(start=2.0)) == new


def dying_at(nth: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> bool:
    """Whether it came to its end."""
    left = [nth]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Dead
            value = real(*args, **kwargs)
            left[0] -= 1
            if left[0] == 0:
                raise Dead
            return value

        return call

    with monkeypatch.context() as patched:
        patched.setattr(trips.os, "fsync", counted(os.fsync))
        patched.setattr(Path, "replace", counted(Path.replace))
        try:
            act()
        except Dead:
            return False
    return True


# Models are data


def some_model(**changes: Any) -> bytes:
    """A model of one tree: long trips take longer."""
    whole: dict[str, Any] = {
        "kind": "boosted trees",
        "features": ["km", "hour", "rain", "stops"],
        "data": "0" * 64,
        "start": 20.0,
        "rate": 0.5,
        "trees": [tree()],
        **changes,
    }
    return msgspec.json.encode(whole)


def tree(**changes: Any) -> dict[str, Any]:
    return {
        "feature": [0, 0, 0],
        "threshold": [3.0, -2.0, -2.0],
        "left": [1, -1, -1],
        "right": [2, -1, -1],
        "value": [0.0, -10.0, 10.0],
        **changes,
    }


class Trap:
    """What a pickle does when it is loaded."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a model was executed')",)


def with_tree(**changes: Any) -> bytes:
    return some_model(trees=[tree(**changes)])


HOSTILE = {
    "nothing": b"",
    "a pickle": pickle.dumps(Trap()),
    "an archive": b"PK\x03\x04" + bytes(100),
    "no text": b"\xff\xfe{}",
    "a list": b"[]",
    "nesting": b"[" * 100_000,
    "nesting in a field": some_model()[:-1] + b',"x":' + b"[" * 100_000,
    "a field more": some_model(code="import os"),
    "a kind that is none": some_model(kind="neural network"),
    "no trees": some_model(trees=[]),
    "many trees": some_model(trees=[tree()] * 1001),
    "a long file": some_model(data="0" * 5_000_000),
    "other features": some_model(features=["km", "hour", "rain", "age"]),
    "features in another order": some_model(features=["hour", "km", "rain", "stops"]),
    "text for a number": some_model(start="20"),
    "infinity": some_model().replace(b"20.0", b"1e999"),
    "nan": some_model().replace(b"20.0", b"NaN"),
    "a circle": with_tree(left=[0, -1, -1]),
    "a way back": with_tree(left=[1, 0, -1], right=[2, 2, -1]),
    "a way out": with_tree(right=[3, -1, -1]),
    "half a leaf": with_tree(left=[-1, -1, -1]),
    "a negative way": with_tree(left=[-2, -1, -1]),
    "columns of different lengths": with_tree(value=[1.0]),
    "no nodes": with_tree(feature=[], threshold=[], left=[], right=[], value=[]),
    "a feature that is none": with_tree(feature=[4, 0, 0]),
    "a negative feature": with_tree(feature=[-1, 0, 0]),
    "a number that is too large": with_tree(feature=[2**70, 0, 0]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_model_is_refused(home: Path, name: str) -> None:
    with pytest.raises(models.BadModel):
        models.read(HOSTILE[name])
    with pytest.raises(models.BadModel):
        deployments.deploy(HOSTILE[name])
    assert current() is None


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_is_changed_in_a_model_it_is_refused_or_gives_a_number(data: st.DataObject) -> None:
    whole = bytearray(some_model())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(32, 126))
    try:
        model = models.read(bytes(whole))
    except models.BadModel:
        return
    assert models.minutes(model, np.array([[4.2, 17.0, 1.0, 2.0]])).shape == (1,)


def test_a_model_in_use_that_was_changed_is_not_used(home: Path) -> None:
    version = deployments.deploy(some_model()).version
    assert deployments.predict(trips.Trip(**TRIP)) == deployments.Prediction(25.0, version)
    (home / "models" / f"{version}.json").write_bytes(some_model(start=0.0))
    with pytest.raises(models.BadModel, match=f"the file of model {version[:12]} is not what was deployed"):
        deployments.predict(trips.Trip(**TRIP))


@pytest.mark.parametrize(
    "said", ['{"version": "../../../etc/passwd"}', '{"version": 5}', "{", '{"version": "' + "/" * 64 + '"}', "[]"]
)
def test_a_pointer_that_points_elsewhere_is_refused(home: Path, said: str) -> None:
    trips.write(home / "current.json", said.encode())
    with pytest.raises(models.BadModel, match=r"is no version of a model|does not say which model is in use"):
        deployments.predict(trips.Trip(**TRIP))


def test_the_numbers_say_what_scikit_learn_says(home: Path) -> None:
    ensemble: Any = importlib.import_module("sklearn.ensemble")
    table = trips.read(trips.collect(home / "trips", MONDAY).read_bytes())
    learned = ensemble.GradientBoostingRegressor(n_estimators=20, max_depth=5, random_state=3)
    learned.fit(table.trips, table.minutes)
    model = models.read(models.write(models.exported(learned, "")))
    np.testing.assert_allclose(models.minutes(model, table.trips), learned.predict(table.trips), rtol=1e-12)


@pytest.mark.parametrize(
    ("off", "before", "refused"),
    [
        (3.0, None, False),
        (10.1, None, True),
        (3.0, 3.0, False),
        (3.15, 3.0, False),
        (3.16, 3.0, True),
        (1.0, 3.0, False),
    ],
)
def test_a_model_may_be_worse_by_chance_and_no_more(off: float, before: float | None, refused: bool) -> None:
    assert bool(models._refusal(off, before)) is refused


# Trips


def test_days_on_which_nobody_collected_are_made_up_for(home: Path) -> None:
    trips.collect(home, MONDAY)
    days = {file.name for file in (home / "days").iterdir()}
    assert len(days) == 7 * trips.WEEKS
    first = (home / "days" / "2026-03-02.csv").stat().st_mtime_ns
    table = trips.read(trips.collect(home, date(2026, 3, 5)).read_bytes())
    assert len(list((home / "days").iterdir())) == len(days) + 3
    assert (home / "days" / "2026-03-02.csv").stat().st_mtime_ns == first
    assert len(table.minutes) == 7 * trips.WEEKS * trips.A_DAY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first line"),
        ("id,km\n", "the first line"),
        ("{head}", "too few"),
        ("{head}a,1,2,3,4\n", "line 2 is no trip"),
        ("{head}a,1,2,3,4,5\nb,1,2,3,4,nan\n", "line 3 is no trip"),
        ("{head}a,1,2,3,4,inf\n", "line 2 is no trip"),
        ("{head}a,1,2,3,4,five\n", "line 2 is no trip"),
    ],
)
def test_what_are_no_trips_is_refused_by_line(text: str, said: str) -> None:
    with pytest.raises(trips.BadTrips, match=said):
        trips.read(text.format(head="id,km,hour,rain,stops,minutes\n").encode())
