"""``segue resume`` and ``segue worker``."""

import signal

from tests.reliability.looking import connected

from .conftest import Project, until_said


def queue(project: Project, flow: str, given: str, id: str) -> None:
    assert project.segue("run", f"app.py:{flow}", "--input", given, "--detach", "--id", id).code == 0


def test_resume_carries_on_what_was_killed(project: Project) -> None:
    process = project.start("run", "app.py:stuck", "--input", "1", "--id", "one")
    until_said(process, "hanging")
    process.kill()
    process.wait()
    project.write("go", "")
    done = project.segue("resume", "app.py")
    assert done.code == 0
    assert "run one carried on, 1 step recorded" in done.err
    assert "1 completed" in done.err
    assert (project.folder / "ran-1").read_text() == "x"
    assert "nothing to carry on" in project.segue("resume", "app.py").err


def test_resume_fails_with_a_failed_run(project: Project) -> None:
    queue(project, "bad", "1", "one")
    queue(project, "good", '{"n": 1}', "two")
    done = project.segue("resume", "app")
    assert done.code == 1
    assert "1 completed, 1 failed or cancelled" in done.err
    assert "run one of 'app.bad' failed; see why with: segue show one" in done.err


def test_resume_names_what_waits_and_what_it_does_not_know(project: Project) -> None:
    queue(project, "sleeper", "{}", "nap")
    queue(project, "numbers", "[1]", "other")
    done = project.segue("resume", "app.py:sleeper")
    assert done.code == 3
    assert "run nap of 'app.sleeper' is waiting: sleeps, until" in done.err
    assert "run other of 'app.numbers' is queued, and its flow is in none of these targets" in done.err


def test_resume_needs_to_know_code(project: Project) -> None:
    done = project.segue("resume")
    assert done.code == 2
    assert 'flows = ["app.py"]' in done.err
    queue(project, "numbers", "[1]", "one")
    project.write("segue.toml", 'flows = ["app.py"]\n')
    assert project.segue("resume").code == 0


def test_settings_may_lie_in_pyproject(project: Project) -> None:
    queue(project, "numbers", "[1]", "one")
    project.write("pyproject.toml", '[tool.segue]\nflows = ["app"]\n')
    assert project.segue("resume").code == 0


def test_interrupted_resume(project: Project) -> None:
    queue(project, "stuck", "1", "one")
    process = project.start("resume", "app.py")
    until_said(process, "hanging")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stderr is not None
    assert "1 unfinished run handed back" in process.stderr.read()
    assert project.segue("runs", "--json").json[0]["status"] == "queued"


def test_worker_until_it_is_stopped(project: Project) -> None:
    process = project.start("worker", "app.py")
    until_said(process, "executes app.bad, app.child")
    queue(project, "numbers", "[1]", "one")
    until_said(process, "run one completed")
    queue(project, "stuck", "1", "two")
    until_said(process, "hanging")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert process.stderr is not None
    assert "1 run handed back" in process.stderr.read()
    assert {row["id"]: row["status"] for row in project.segue("runs", "--json").json} == {
        "one": "completed",
        "two": "queued",
    }


def test_second_signal_does_not_wait(project: Project) -> None:
    project.write(
        "deaf.py",
        "import sys, threading\nfrom segue import flow, step\n"
        "@step\nasync def block() -> None:\n"
        "    print('deaf', file=sys.stderr, flush=True)\n    threading.Event().wait()\n"
        "@flow\nasync def f() -> None:\n    await block()\n",
    )
    process = project.start("run", "deaf.py:f")
    until_said(process, "deaf")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def test_resume_waits_for_what_another_worker_executes(project: Project) -> None:
    worker = project.start("worker", "app.py")
    queue(project, "stuck", "1", "one")
    until_said(worker, "hanging")
    resume = project.start("resume", "app.py")
    until_said(resume, "executes run one; waiting for it")
    project.write("go", "")
    worker.send_signal(signal.SIGTERM)
    assert resume.wait(30) == 0
    assert worker.wait(30) == 0


def test_a_worker_keeps_to_the_retention_of_its_project(project: Project) -> None:
    project.write("segue.toml", 'flows = ["app.py"]\n[retention]\nolder_than = "30d"\nevery = "1s"\n')
    assert project.segue("run", "app.py:good", "--input", '{"n": 1}', "--id", "old").code == 0
    assert project.segue("run", "app.py:bad", "--input", "1", "--id", "kept").code == 1
    with connected(project.folder / ".segue" / "segue.db") as db:
        db.execute("update runs set created = created - 31 * 86400, ended = ended - 31 * 86400")
    worker = project.start("worker")
    until_said(worker, "executes")
    while {run["id"] for run in project.segue("runs", "--json").json} & {"old"}:
        assert worker.poll() is None
    worker.terminate()
    assert worker.wait(30) == 0
    assert [run["id"] for run in project.segue("runs", "--json").json] == ["kept"], "a dead letter stays"


def test_a_retention_that_cannot_be_is_refused_by_name(project: Project) -> None:
    for table, said in (
        ('older_than = "soon"', "not a duration"),
        ('every = "1h"', "needs older_than"),
        ("x = 1", "x"),
    ):
        project.write("segue.toml", f'flows = ["app.py"]\n[retention]\n{table}\n')
        done = project.segue("worker")
        assert (done.code, said in done.err, "[retention]" in done.err) == (2, True, True), done.err
