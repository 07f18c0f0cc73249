"""``segue diff`` and ``segue replay``, as a person and a program use them."""

import importlib
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from segue.cli.diff import _excerpt, _parting  # pyright: ignore[reportPrivateUsage]
from segue.runtime.rehearsal import Difference, Rehearsal
from segue.stores.base import Row

from ..reliability.looking import connected, select
from ..stage import asynchronous
from .conftest import Project
from .test_reading import row

replay = importlib.import_module("segue.cli.replay")  # segue.cli has a command of that name

LOANS = """
from pathlib import Path

from segue import flow, step, wait_for


@step
def ocr(page: str) -> dict:
    Path("ran").open("a").write("x")
    pages = [{"text": f"one\\ntwo {page}\\nthree"}]
    return {"income": int(page), "pages": pages, "evil": page + "\\x1b[31m[bold]\\x07"}


@step
async def decide(income: int) -> bool:
    Path("ran").open("a").write("x")
    if income > 900:
        raise ValueError("too much \\x1b[31m")
    return income > 50


@flow
async def loan(page: str) -> bool:
    print("noise from a flow")
    found = await ocr(page)
    return await decide(found["income"])


@flow
async def other(page: str) -> bool:
    return await decide((await ocr(page))["income"])


@flow
async def waits() -> str:
    return await wait_for("paid")
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three runs: two that differ, and one that is like the first."""
    project = Project(tmp_path_factory.mktemp("loans"))
    project.write("loans.py", LOANS)
    for id, page in (("run-100", "100"), ("run-1000", "1000"), ("twin-100", "100")):
        project.segue("run", "loans.py:loan", "--input", f'{{"page": "{page}"}}', "--id", id)
    return project.folder


@pytest.fixture
def loans(project: Project, recorded: Path) -> Project:
    """A project with those runs."""
    shutil.copytree(recorded, project.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return project


def change(project: Project, before: str, after: str) -> None:
    assert before in LOANS
    project.write("loans.py", LOANS.replace(before, after))
    shutil.rmtree(project.folder / "__pycache__", ignore_errors=True)


def content(project: Project) -> dict[str, Any]:
    """All that a command could have changed: each file, and each row of the store."""
    files = [file for file in project.folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    store = project.folder / ".segue" / "segue.db"
    tables = [name for (name,) in select(store, "select name from sqlite_master where type = 'table'")]
    return {
        **{str(file): file.read_bytes() for file in files if not file.name.startswith("segue.db")},
        **{name: select(store, f"select * from {name}") for name in tables},
    }


# diff


def test_diff_says_where_runs_part_and_what_differs(loans: Project) -> None:
    done = loans.segue("diff", "run-100", "run-1000")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0].split() == ["first", "✓", "completed", "loans.loan", "run-100"]
    assert lines[1].split() == ["second", "✗", "failed", "loans.loan", "run-1000"]
    assert lines[2] == """they part at step 'ocr': input at $.page: "100" -> "1000\""""
    for said in (
        "  output $.income: 100 -> 1000",
        "      -two 100",
        "      +two 1000",
        "step 'decide'",
        "  status: completed -> failed",
        r"  error: none -> ValueError: too much \x1b[31m",
        "end of the run",
    ):
        assert said in lines
    assert "\x1b" not in done.out


def test_diff_of_runs_that_are_the_same(loans: Project) -> None:
    done = loans.segue("diff", "run-100", "twin")
    assert done.code == 0
    assert "the same: input, 2 steps, end" in done.out


def test_diff_for_programs(loans: Project) -> None:
    done = loans.segue("diff", "run-100", "last", "--json")
    assert (done.code, done.json["same"], done.json["parted"]) == (0, True, None)
    done = loans.segue("diff", "run-100", "run-1000", "--json")
    assert (done.code, done.json["parted"]) == (1, "ocr")
    ocr, decide = done.json["steps"]
    assert ocr["output"]["parts"][0] == {"path": "$.income", "first": 100, "second": 1000}
    assert decide["status"] == {"first": "completed", "second": "failed"}


def test_diff_of_runs_of_two_flows(loans: Project) -> None:
    loans.segue("run", "loans.py:other", "--input", '{"page": "100"}', "--id", "other-100")
    done = loans.segue("diff", "run-100", "other-100")
    assert "runs of two flows; their steps are compared by name" in done.out
    assert done.code == 0
    assert "step 'ocr'" not in done.out


def test_diff_cuts_what_is_long_unless_all_is_wanted(project: Project) -> None:
    for id, start in (("list-a", 0), ("list-b", 1)):
        numbers = ", ".join(str(float(n + start)) for n in range(50))
        project.segue("run", "app.py:numbers", "--input", f"[{numbers}]", "--id", id)
    done = project.segue("diff", "list-a", "list-b")
    assert done.out.count("$.xs[") == 20
    assert "differs in 30 more parts: --full" in done.out
    assert project.segue("diff", "list-a", "list-b", "--full").out.count("$.xs[") == 50


def test_diff_needs_runs(project: Project) -> None:
    assert project.segue("diff", "only-one").code == 2
    done = project.segue("diff", "one-that", "is-not-there")
    assert (done.code, done.out) == (2, "")


def test_long_texts_are_cut_around_where_they_part() -> None:
    first, second = "a" * 100 + "X" + "b" * 100, "a" * 100 + "Y" + "b" * 100
    place = _parting(first, second)
    assert place == 100
    assert _excerpt(first, place, 10) == '…"aaaaaXbbbb"…'
    assert _excerpt("short", 2, 10) == '"short"'
    assert _parting("abc", "abcd") == 3


# replay


def test_replay_runs_nothing_and_writes_nothing(loans: Project) -> None:
    before = content(loans)
    done = loans.segue("replay", "run-100", "loans.py")
    assert done.code == 0
    assert "would replay  completed, 2 of 2 outcomes met" in done.out
    assert "noise" not in done.out
    done = loans.segue("replay", "--flow", "loans.loan", "--last", "100", "loans.py")
    assert (done.code, done.out) == (0, "3 of 3 runs would replay\n")
    assert content(loans) == before


def test_replay_after_a_change(loans: Project) -> None:
    change(loans, 'await decide(found["income"])', 'await decide(found["income"] + 1)')
    before = content(loans)
    done = loans.segue("replay", "--last", "100", "loans.py")
    assert done.code == 1
    assert "loans.loan  twin-100  diverges" in done.out
    assert "so do 2 more: run-1000, run-100" in done.out
    assert """step 'decide' is asked for with {"income":101}, and was recorded with {"income":100}""" in done.out
    assert "$.income: 100 -> 101" in done.out
    assert done.out.splitlines()[-1] == "0 of 3 runs would replay"
    assert content(loans) == before
    full = loans.segue("replay", "--last", "100", "loans.py", "--full")
    assert full.out.count("diverges") == 3


def test_replay_of_one_run_that_raises_now(loans: Project) -> None:
    change(
        loans, "    return await decide(found", '    raise KeyError("\\x1b[31m[bold]")\n    return await decide(found'
    )
    done = loans.segue("replay", "run-100", "loans.py")
    assert done.code == 1
    assert r"the run ended completed, and would end failed with KeyError: '\x1b[31m[bold]'" in done.out
    assert 'raise KeyError("' in done.out
    assert "step 'decide', which was recorded with" in done.out
    assert "\x1b" not in done.out


def test_replay_says_when_the_flow_itself_has_not_changed(loans: Project) -> None:
    change(loans, "found = await ocr(page)\n", 'found = await ocr(f"{page}{CLOCK}")\n')
    file = loans.folder / "loans.py"
    file.write_text("CLOCK = 1\n" + file.read_text())
    loans.segue("run", "loans.py:loan", "--input", '{"page": "5"}', "--id", "clocked")
    file.write_text(file.read_text().replace("CLOCK = 1\n", "CLOCK = 2\n"))
    shutil.rmtree(loans.folder / "__pycache__", ignore_errors=True)
    assert "the flow's own source is as it was" in loans.segue("replay", "clocked", "loans.py").out


def test_replay_for_programs(loans: Project) -> None:
    loans.segue("run", "loans.py:waits", "--detach", "--id", "waits")
    loans.segue("resume", "loans.py")
    done = loans.segue("replay", "waits", "loans.py", "--json")
    assert done.code == 0
    assert done.json == {
        "same": 1,
        "diverge": 0,
        "unknown": {},
        "left_out": {},
        "runs": [
            {
                "id": "waits",
                "flow": "loans.waits",
                "status": "waiting",
                "verdict": "same",
                "code_changed": False,
                "outcomes": 0,
                "met": 0,
                "differences": [],
                "next": ["signal 'paid'"],
            }
        ],
    }
    assert "next: signal 'paid'" in loans.segue("replay", "waits", "loans.py").out
    change(loans, "found = await ocr(page)", 'found = await ocr(page + "0")')
    done = loans.segue("replay", "--last", "9", "--json", "loans.py")
    assert (done.code, done.json["same"], done.json["diverge"]) == (1, 1, 3)
    found = next(run for run in done.json["runs"] if run["id"] == "run-100")
    assert (found["verdict"], found["code_changed"]) == ("diverges", True)
    assert found["differences"][0] | {"said": ""} == {
        "what": "input", "step": "ocr", "said": "", "recorded": {"page": "100"}, "today": {"page": "1000"},
    }  # fmt: skip


def test_replay_chooses_runs_by_status(loans: Project) -> None:
    done = loans.segue("replay", "--status", "failed", "loans.py", "--json")
    assert [run["id"] for run in done.json["runs"]] == ["run-1000"]
    done = loans.segue("replay", "--status", "queued", "loans.py")
    assert (done.code, done.out) == (0, "no run was replayed\n")


def test_replay_of_code_that_is_not_here(loans: Project) -> None:
    done = loans.segue("replay", "run-100", "app.py")
    assert done.code == 2
    assert "run run-100 is of flow 'loans.loan', whose code is in none of these targets; they have app." in done.err
    done = loans.segue("replay", "--last", "100", "app.py")
    assert done.code == 0
    assert "left out: 3 of 'loans.loan', since its code is in none of the targets" in done.out
    assert loans.segue("replay", "--last", "100", "app.py", "--json").json["unknown"] == {"loans.loan": 3}
    done = loans.segue("replay", "--flow", "loans.loan", "app.py")
    assert done.code == 2
    assert "flow 'loans.loan' is in none of these targets" in done.err


def test_replay_takes_its_flows_from_the_project(loans: Project) -> None:
    assert loans.segue("replay", "run-100").code == 2
    loans.write("segue.toml", 'flows = ["loans.py"]')
    assert loans.segue("replay", "run-100").code == 0
    assert loans.segue("replay", "--last", "5").out == "3 of 3 runs would replay\n"


def test_replay_of_what_is_not_there(project: Project) -> None:
    done = project.segue("replay")
    assert done.code == 2
    assert "name a RUN, or say which runs" in done.err
    assert project.segue("replay", "last", "app.py").code == 2
    assert not (project.folder / ".segue").exists()


def test_replay_of_a_record_that_cannot_be_read(loans: Project) -> None:
    db = connected(loans.folder / ".segue" / "segue.db")
    db.execute("update entries set output = x'00' where run = 'run-100' and seq = 0")
    db.close()
    done = loans.segue("replay", "--last", "3", "loans.py")
    assert done.code == 1
    assert "run-100  diverges" in done.out
    assert "its record cannot be read" in done.out
    assert "2 of 3 runs would replay" in done.out


@asynchronous
async def test_replay_does_not_wait_for_each_run_of_a_flow_that_does_not_settle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        row(f"run-{n}", flow) for n, flow in enumerate(["busy", "busy", "other", "busy", "busy", "busy", "unknown"])
    ]

    async def one(_store: object, row: Row, _spec: object) -> Rehearsal:
        differences = (Difference("unsettled", None, "…"),) if row.flow == "busy" else ()
        return Rehearsal(row.id, row.flow, row.status, differences)

    monkeypatch.setattr(replay, "_one", one)
    specs: Any = {"busy": "its code", "other": "its code"}
    told: list[int] = []
    tried = await replay._all(cast("Any", None), rows, specs, told.append)  # pyright: ignore[reportPrivateUsage]
    assert [rehearsal.run for rehearsal in tried.rehearsals] == ["run-0", "run-1", "run-2", "run-3"]
    assert (tried.unknown, tried.left) == ({"unknown": 1}, {"busy": 2})
    assert told == [1, 2, 3, 4, 5, 6, 7]
