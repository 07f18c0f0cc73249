"""What the tests of FreightCore share: its modules, its commands, and a day that has begun."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

EXAMPLE = Path(__file__).parents[2] / "examples" / "freightcore"
sys.path.insert(0, str(EXAMPLE))


def load(name: str) -> Any:
    """One of the example's files under a name of its own: other examples have an app.py too."""
    spec = importlib.util.spec_from_file_location(f"freightcore_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_drill(name: str) -> Any:
    """A drill, which imports the app as it is called in its own folder."""
    others = sys.modules.get("app")
    sys.modules["app"] = app
    try:
        return load(name)
    finally:
        if others is None:
            del sys.modules["app"]
        else:
            sys.modules["app"] = others


def part(name: str) -> Any:
    return importlib.import_module(f"freightcore.{name}")


app = load("app")
slow_drill = load_drill("slow")
facts, world, dispatch, regulations = part("facts"), part("world"), part("dispatch"), part("regulations")
morning, routing, traffic, contest, pages = (
    part("morning"),
    part("routing"),
    part("traffic"),
    part("contest"),
    part("map"),
)

SMALL = world.Scenario(seed=7, cities=1, drivers=6, deliveries=110)


def segue(*arguments: Any, store: str, code: int = 0, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "segue", *map(str, arguments)],
        env=environment(store),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done


def environment(store: str) -> dict[str, str]:
    path = str(EXAMPLE.parents[1] / "src")  # no other example's folder, which may have an app.py too
    return {"SEGUE_STORE": store, "PYTHONPATH": path, "COLUMNS": "160", "PATH": os.environ["PATH"]}


def given(scenario: Any = SMALL) -> str:
    fields = ("seed", "cities", "drivers", "deliveries")
    return json.dumps({field: getattr(scenario, field) for field in fields})


def begun(tmp_path: Path, scenario: Any) -> str:
    """A day of one city, in a folder: its morning is planned and dispatched."""
    folder = tmp_path / "day"
    folder.mkdir()
    (folder / "scenario.json").write_bytes(msgspec.json.encode(scenario))
    dispatch.open_desk(str(folder))
    plan = morning.prepared(str(folder), "Aarhus")
    routes = routing.plan(plan.loads, plan.orders, plan.roads, plan.urgency)
    dispatch.send(str(folder), "morning", "Aarhus", 0, "", morning.assigned(plan, routes))
    return str(folder)
