"""In a user's own tests: steps alone, flows under asyncio.run, flows from plain functions."""

import subprocess
import sys
from pathlib import Path

TESTS = """
import asyncio
import pytest
from segue import Engine, RunFailed, StepFailed, flow, step

calls = []

@step(retry=1)
async def price(item: str) -> int:
    calls.append(item)
    if item == "unknown":
        raise KeyError(item)
    return len(item)

@flow
async def total(items: list[str]) -> int:
    return sum(await asyncio.gather(*[price(item) for item in items]))

@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGUE_STORE", "memory:")

def test_a_step_alone():
    assert asyncio.run(price("tea")) == 3

def test_a_step_from_a_plain_function():
    assert price.run("tea") == 3

def test_a_flow_under_asyncio_run():
    async def main():
        async with Engine("memory:"):
            assert await total(["tea", "milk"]) == 7
    asyncio.run(main())

def test_a_flow_without_an_engine():
    assert asyncio.run(total(["tea"])) == 3

def test_a_flow_without_an_engine_again_on_another_loop():
    assert asyncio.run(total(["milk"])) == 4

@pytest.mark.parametrize("n", range(5))
def test_a_flow_from_a_plain_function(n):
    assert total.run(["x"] * n) == n

def test_a_failure():
    calls.clear()
    with pytest.raises(RunFailed) as failed:
        total.run(["unknown"])
    assert isinstance(failed.value.__cause__, StepFailed)
    assert failed.value.__cause__.error.is_a(KeyError)
    assert calls == ["unknown", "unknown"]
"""


def test_a_users_tests_run_flows_with_warnings_as_errors(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_shop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in done.stdout
