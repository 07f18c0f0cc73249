"""``segue prune`` as its users have it."""

import fcntl
import json
import os
import pty
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import apsw
import pytest

from benchmarks import million

from .conftest import Done, Project

COMMAND = [sys.executable, "-m", "segue", "prune"]
DAY = 86_400.0


def prune(project: Project, *arguments: str) -> Done:
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=project.folder, env=project.environment, capture_output=True, text=True, timeout=60
    )
    return Done(done.returncode, done.stdout, done.stderr)


def look(project: Project, query: str) -> list[tuple[Any, ...]]:
    db: Any = apsw.Connection(str(project.folder / ".segue" / "segue.db"))
    db.set_busy_timeout(10_000)
    try:
        return list(db.execute(query))
    finally:
        db.close()


def runs(project: Project) -> list[str]:
    return [id for (id,) in look(project, "select id from runs order by number")]


def age(project: Project, run: str, days: float = 40) -> None:
    then = time.time() - days * DAY
    look(project, f"update runs set created = {then - 10}, ended = {then} where id = '{run}' or parent = '{run}'")


@pytest.fixture
def played(project: Project) -> Project:
    """A run that completed with a child, one that failed, one that sleeps: all of them old."""
    assert project.segue("run", "app.py:good", "--input", '{"n": 1}').code == 0
    assert project.segue("run", "app.py:bad", "--input", '{"n": 1}').code == 1
    for run in runs(project):
        age(project, run)
    return project


def test_old_runs_go_and_failed_ones_stay_until_somebody_has_decided(played: Project) -> None:
    good, child, bad = runs(played)
    said = prune(played, "--older-than", "30d", "--dry-run")
    assert said.code == 0
    assert said.out.startswith("would delete 2 runs with ")
    assert prune(played, "--older-than", "41d").out == "deleted 0 runs with 0 entries (0 bytes)\n"
    assert runs(played) == [good, child, bad]
    assert prune(played, "--older-than", "30d").out == said.out.replace("would delete", "deleted")
    assert runs(played) == [bad]
    assert played.segue("show", bad).code == 0
    assert played.segue("discard", bad, "--by", "ada").code == 0
    age(played, bad)
    assert prune(played, "--older-than", "30d").out.startswith("deleted 1 run with ")
    assert runs(played) == []


def test_it_tells_programs_in_json(played: Project) -> None:
    done = prune(played, "--older-than", "30d", "--status", "failed", "--flow", "app.bad", "--json")
    assert done.json == {
        "runs": 1, "entries": 2, "values": 0, "artifacts": 0, "bytes": done.json["bytes"], "artifact_bytes": 0,
        "dry_run": False, "complete": True,
    }  # fmt: skip
    assert len(runs(played)) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--older-than'"),
        (("--older-than", "soon"), "--older-than: 'soon' is not a duration"),
        (("--older-than", "10s"), "60 s or more"),
        (("--older-than", "30d", "--status", "running"), "'running' is not one of"),
        (("--older-than", "30d", "--flow", "f", "--values"), "kept values belong to no flow"),
        (("--older-than", "30d", "--store", "memory:"), "cannot be pruned from another"),
        (("--older-than", "30d", "--store", "sqlite:none.db"), "there is no store sqlite:"),
    ],
)
def test_wrong_use_is_explained(project: Project, arguments: tuple[str, ...], said: str) -> None:
    done = prune(project, *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not (project.folder / "none.db").exists()


def test_two_at_a_time_do_not_get_into_each_other_s_way(played: Project) -> None:
    with (played.folder / ".segue" / "segue.db.prune").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = prune(played, "--older-than", "30d")
    assert done.code == 1
    assert "another process prunes" in done.err
    assert len(runs(played)) == 3


def test_ctrl_c_leaves_the_rest_for_another_time_and_a_terminal_sees_how_far_it_is(project: Project) -> None:
    (project.folder / ".segue").mkdir()
    million.make(project.folder / ".segue" / "segue.db", runs=3000, entries=10)
    whole = len(runs(project))
    ours, theirs = pty.openpty()
    other = subprocess.Popen(
        [*COMMAND, "--older-than", "1d", "--json"],
        cwd=project.folder,
        env={**project.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    while b"deleted" not in said:
        said += os.read(ours, 4096)
    os.kill(other.pid, signal.SIGINT)
    out, _ = other.communicate(timeout=60)
    os.close(ours)
    told = json.loads(out)
    assert other.returncode == 130
    assert told["complete"] is False
    assert 0 < told["runs"] == whole - len(runs(project)) < whole
    assert look(project, "select count(*) from (select distinct run from entries)") == [(len(runs(project)),)]
    assert look(project, "pragma integrity_check") == [("ok",)]
    assert prune(project, "--older-than", "1d").code == 0


def test_a_full_disk_is_where_it_helps(project: Project) -> None:
    """What it writes has room in the log, which has its whole size from the beginning."""
    path = project.folder / ".segue" / "segue.db"
    path.parent.mkdir()
    million.make(path, runs=1000, entries=10)
    assert prune(project, "--older-than", "300d").code == 0
    log = path.with_name("segue.db-wal").stat().st_size
    assert path.stat().st_size < log, "it could grow"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (log, log))

    done = subprocess.run(
        [*COMMAND, "--older-than", "1d"],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=limit,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("deleted 8")
    assert look(project, "pragma integrity_check") == [("ok",)]


def test_its_own_help_says_what_stays(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "stays until" in done.stdout
