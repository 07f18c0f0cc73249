"""The example systems under chaos: no run is stuck or lost, and each death says what it died of."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SEGUE = Path(sys.executable).with_name("segue")
DEEP = os.environ.get("SEGUE_DEEP") == "1"

EVERYTHING = ["--fail", "0.1", "--delay", "0.2:0.1s..2s", "--malform", "0.1", "--duplicate", "0.05", "--kill", "0.02"]
MODELS_FAIL = ["--fail", "0.2", "--malform", "0.2"]


def chaos(example: str, runs: int, *faults: str) -> dict[str, Any]:
    command = [SEGUE, "chaos", ROOT / "examples" / example, "--runs", str(runs), "--seed", "7", "--fake-time", "--json"]
    done = subprocess.run([*command, *faults], capture_output=True, text=True, cwd=ROOT, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.timeout(1600)
@pytest.mark.parametrize(
    ("example", "runs", "faults"),
    [
        ("support_router", 500 if DEEP else 150, EVERYTHING),
        ("streamfast", 20 if DEEP else 1, MODELS_FAIL),
    ],
)
def test_an_example_survives_chaos(example: str, runs: int, faults: list[str]) -> None:
    report = chaos(example, runs, *faults)
    assert (report["stuck"], report["lost"]) == (0, 0)
    assert report["completed"] + report["degraded"] + report["failed"] == runs
    assert sum(death["count"] for death in report["deaths"]) == report["failed"]
    assert all(death["error"] and death["message"] for death in report["deaths"]), "every death is explained"
    if example == "support_router":  # whoever asks is answered
        assert report["failed"] == 0
