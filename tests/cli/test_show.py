"""``segue runs``, ``show``, ``graph`` and ``doctor``."""

import re

from .conftest import Project


def test_runs(project: Project) -> None:
    project.segue("run", "app.py:numbers", "--input", "[1]", "--id", "first")
    project.segue("run", "app.py:bad", "--input", "1", "--id", "second")
    done = project.segue("runs")
    assert done.code == 0
    head, newest, oldest = done.out.splitlines()
    assert head.split() == ["run", "flow", "status", "started", "took"]
    assert newest.split()[:4] == ["second", "app.bad", "✗", "failed"]
    assert oldest.split()[:4] == ["first", "app.numbers", "✓", "completed"]
    assert [row["id"] for row in project.segue("runs", "--json", "--flow", "app.bad").json] == ["second"]
    assert [row["id"] for row in project.segue("runs", "--json", "--status", "completed").json] == ["first"]
    assert len(project.segue("runs", "--limit", "1").out.splitlines()) == 2


def test_runs_without_a_store_makes_none(project: Project) -> None:
    done = project.segue("runs", "--json")
    assert (done.code, done.json) == (0, [])
    assert not (project.folder / ".segue").exists()


def test_queued_run_says_why(project: Project) -> None:
    project.segue("run", "app.py:numbers", "--input", "[1]", "--detach", "--id", "one")
    assert "for a free worker" in project.segue("runs").out


def test_show_failed_attempts_and_escapes(project: Project) -> None:
    project.segue("run", "app.py:retried", "--input", "5", "--id", "again-and-again")
    done = project.segue("show", "again", "--input", "--output")
    assert done.code == 0
    for said in ("✗ attempt 1", "✗ attempt 2", "✓ attempt 3", r"gone \x1b[31m[bold]away[/bold]\x07", '{"n":5}', "█"):
        assert said in done.out
    assert "\x1b" not in done.out


def test_show_finds_runs(project: Project) -> None:
    for id in ("alpha-1", "alpha-2"):
        project.segue("run", "app.py:good", "--input", '{"n": 1}', "--id", id)
    assert project.segue("show", "last", "--json").json["id"] == "alpha-2"
    assert project.segue("show", "ha-1", "--json").json["id"] == "alpha-1"
    many = project.segue("show", "alph")
    assert (many.code, many.out) == (2, "")
    assert "'alph' fits 2 runs: alpha-2, alpha-1" in many.err
    assert "at least 4 characters" in project.segue("show", "alp").err
    assert project.segue("show", "\x1b]0;title\x07").err.startswith(r"segue: no run '\x1b]0;title\x07'")


def test_show_one_step(project: Project) -> None:
    project.segue("run", "app.py:good", "--input", '{"n": 1}', "--id", "good")
    done = project.segue("show", "good", "--step", "2/double", "--json")
    assert [step["id"] for step in done.json["steps"]] == ["2/double"]
    done = project.segue("show", "good", "--step", "triple")
    assert done.code == 2
    assert "its steps are double, app.child" in done.err


def test_show_traceback_of_a_failure(project: Project) -> None:
    project.segue("run", "app.py:bad", "--input", "1", "--id", "failed")
    done = project.segue("show", "failed")
    assert 'raise ValueError(f"no customer {n}")' in done.out
    assert "StepFailed: step 'broken' failed: ValueError: no customer 2" in done.out


def test_graph_of_a_run(project: Project) -> None:
    assert project.segue("graph", "app.py:good").code == 2
    project.segue("run", "app.py:good", "--input", '{"n": 1}')
    done = project.segue("graph", "app.py:good")
    assert done.out.splitlines()[1:] == [
        "flowchart TD",
        '    n0["double ×2"]',
        '    n1["app.child"]',
        "    n0 --> n1",
    ]


def test_doctor(project: Project) -> None:
    assert project.segue("doctor").code == 0
    assert not (project.folder / ".segue").exists()
    project.segue("run", "app.py:numbers", "--input", "[1]", "--detach")
    done = project.segue("doctor", "--json")
    levels = {finding["what"]: finding["level"] for finding in done.json}
    assert done.code == 0
    assert levels["integrity"] == levels["journal mode"] == levels["store"] == "ok"
    assert levels["unfinished runs"] == "warn"


def test_doctor_sees_damage(project: Project) -> None:
    project.write("broken.db", "this is no database" * 1000)
    done = project.segue("doctor", "--store", "sqlite:broken.db")
    assert done.code == 1
    assert re.search(r"✗ fail  store .*cannot be read", done.out)
