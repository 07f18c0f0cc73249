"""The pytest plugin: found without being named, an environment for each test; and the document's examples, as tests."""

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"

TESTS = """
import time
from segue import flow, sleep, step

@step
def double(n: int) -> int:
    return 2 * n

@flow
async def slow(n: int) -> int:
    await sleep("1w")
    return await double(n)

def test_a_week(segue_env):
    began = time.perf_counter()
    record = segue_env.run(slow, 21)
    assert time.perf_counter() - began < 1
    assert (record.result, record.took, record.id) == (42, 604800, "run-1")
    segue_env.fake(double, returns=7)
    assert segue_env.run(slow, 21).result == 7

def test_the_next_one_begins_anew(segue_env):
    assert segue_env.run(slow, 21).result == 42
    assert segue_env.run(slow, 21).id == "run-2"

def test_without_it():
    import sys
    assert "segue.testing.env" in sys.modules  # only because of the others
"""


def run(folder: Path, *files: str) -> "subprocess.CompletedProcess[str]":
    for number, code in enumerate(files):
        (folder / f"test_{number}.py").write_text(code)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_pytest_finds_the_fixture(tmp_path: Path) -> None:
    done = run(tmp_path, TESTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_examples_pass_as_tests(tmp_path: Path) -> None:
    done = run(tmp_path, *re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.M | re.S))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_whoever_imports_the_kit_gets_neither_pytest_nor_the_engine() -> None:
    code = """
import sys
import segue.testing
assert not {"pytest", "apsw", "asyncio", "segue.testing.env", "segue.runtime"} & set(sys.modules)
for name in segue.testing.__all__:
    assert getattr(segue.testing, name).__doc__, name
assert not {"pytest", "_pytest", "hypothesis"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
