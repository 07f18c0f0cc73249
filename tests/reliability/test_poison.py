"""A step that takes its worker down ends its own run, and no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .looking import select
from .processes import Process, process
from .verifier import lines, value

WAYS = ("exit", "kill", "segfault", "abort")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Process]:
    with process("zygote") as started:
        yield started


@pytest.mark.parametrize("way", WAYS)
def test_a_step_that_kills_its_worker_fails_after_three(zygote: Process, tmp_path: Path, way: str) -> None:
    order = {"folder": str(tmp_path), "life": "poisoned", "ways": [way], "numbers": [0, 20]}
    codes = [zygote.ask({**order, "numbers": [0, 20] if life == 0 else [0, 0]})["code"] for life in range(4)]
    assert 0 not in codes[:3]
    assert codes[3] == 0
    [(status, result, losses)] = select(
        tmp_path / "segue.db", "select status, result, losses from runs where flow = 'poison'"
    )
    assert (status, losses) == ("failed", 3)
    assert isinstance(result, bytes)
    kind, message, *_ = value(tmp_path, result)
    assert kind == "WorkerLost"
    assert "step 'die'" in message
    assert select(tmp_path / "segue.db", "select count(*) from runs where flow = 'job' and status = 'completed'") == [
        (20,)
    ]
    assert select(tmp_path / "segue.db", "select count(*) from runs where status != 'completed'") == [(1,)]
    assert sum(line["step"] == "die" for line in lines(tmp_path / "sink")) == 3


def test_three_poisons_together_fail_and_the_innocents_beside_them_do_not(zygote: Process, tmp_path: Path) -> None:
    order = {"folder": str(tmp_path), "life": "poisoned", "ways": ["kill", "exit", "segfault"]}
    codes = [zygote.ask({**order, "numbers": [0, 20]})["code"]]
    while codes[-1] != 0:
        assert len(codes) < 10
        codes.append(zygote.ask({**order, "numbers": [0, 0]})["code"])
    found = select(tmp_path / "segue.db", "select flow, status, count(*) from runs group by flow, status order by flow")
    assert [row for row in found if row[0] in ("job", "poison")] == [("job", "completed", 20), ("poison", "failed", 3)]


def test_a_long_step_that_dies_beside_one_killer_after_another_is_not_blamed(zygote: Process, tmp_path: Path) -> None:
    order = {"folder": str(tmp_path), "life": "poisoned", "numbers": [0, 1]}
    codes = [zygote.ask({**order, "ways": [f"late {life}"]})["code"] for life in range(2)]
    while codes[-1] != 0:
        assert len(codes) < 12
        codes.append(zygote.ask({**order, "ways": [], "numbers": [0, 0]})["code"])
    found = dict(select(tmp_path / "segue.db", "select id, status from runs where flow != 'job' and parent is null"))
    assert found == {
        "innocent": "completed",
        "poison-late 0": "failed",
        "poison-late 1": "failed",
    }


def test_running_out_of_memory_fails_the_run_and_not_the_worker(zygote: Process, tmp_path: Path) -> None:
    order = {"folder": str(tmp_path), "life": "poisoned", "ways": ["memory"], "numbers": [0, 10]}
    assert zygote.ask(order) == {"code": 0}
    [(status, result)] = select(tmp_path / "segue.db", "select status, result from runs where flow = 'poison'")
    assert status == "failed"
    assert isinstance(result, bytes)
    assert "MemoryError" in value(tmp_path, result)[1]
    assert select(tmp_path / "segue.db", "select count(*) from runs where flow = 'job' and status = 'completed'") == [
        (10,)
    ]
