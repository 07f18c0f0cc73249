"""``segue serve`` as its users have it: processes on one store, two at once, killed, and stopped."""

import signal
import time
from collections.abc import Callable
from typing import Any

from ..cli.conftest import Project, project, until_said

__all__ = ["project"]

APP = """
from segue import flow
from segue.triggers import Tick, cron, every


@flow(on=every("1s", catch_up="all"))
async def seconds(tick: Tick) -> str:
    return tick.scheduled.isoformat()


@flow(on=[cron("30 8 * * MON-FRI", tz="Europe/London")])
async def rare() -> None: ...


@flow
async def plain() -> None: ...
"""


def ticks(project: Project) -> list[Any]:
    """The runs of ``seconds``, by their instants."""
    rows = project.segue("runs", "--flow", "ticking.seconds", "--limit", "1000", "--json").json
    return sorted(rows, key=lambda row: row["id"].split("-")[1])


def wait_for(done: Callable[[], bool]) -> None:
    """Ask other processes' store until it is so."""
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until


def without_gaps(project: Project, rows: list[Any]) -> None:
    instants = [time.mktime(time.strptime(row["id"].split("-")[1], "%Y%m%dT%H%M%SZ")) for row in rows]
    assert [int(at - instants[0]) for at in instants] == list(range(len(rows)))
    assert len({row["id"] for row in rows}) == len(rows)


def test_it_says_what_it_does_and_stops(project: Project) -> None:
    project.write("ticking.py", APP)
    process = project.start("serve", "ticking.py")
    said = until_said(process, "ticking.rare is started by cron('30 8 * * MON-FRI', tz='Europe/London'), next at ")
    assert "worker" in said
    assert "ticking.seconds is started by every('1s'), next at " in said
    until_said(process, "completed")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    rows = ticks(project)
    assert rows
    assert {row["status"] for row in rows} <= {"completed", "queued"}


def test_without_triggers_it_is_a_worker(project: Project) -> None:
    process = project.start("serve", "app.py")
    until_said(process, "none of these flows has a trigger (on=…): it works as segue worker does")
    assert project.segue("runs", "--json").json == []
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_a_worker_does_not_tick(project: Project) -> None:
    project.write("ticking.py", APP)
    worker = project.start("worker", "ticking.py")
    until_said(worker, "executes")
    server = project.start("serve", "ticking.py")
    until_said(server, "is started by")
    wait_for(lambda: len(ticks(project)) >= 2)
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
    count = len(ticks(project))
    time_of = ticks(project)[-1]["id"]
    # a second server is what shows that time has passed, not a sleep: it starts what the worker did not
    again = project.start("serve", "ticking.py")
    until_said(again, "is started by")
    wait_for(lambda: len(ticks(project)) > count)
    assert ticks(project)[count]["id"] > time_of
    without_gaps(project, ticks(project))


def test_two_of_them_start_each_tick_once(project: Project) -> None:
    project.write("ticking.py", APP)
    both = [project.start("serve", "ticking.py") for _ in range(2)]
    for process in both:
        until_said(process, "is started by")
    wait_for(lambda: len(ticks(project)) >= 6)
    for process in both:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(30) for process in both] == [0, 0]
    without_gaps(project, ticks(project))


def test_killed_between_the_run_and_the_note_of_it_nothing_is_lost_or_repeated(project: Project) -> None:
    project.write("ticking.py", APP)
    for point in ("before-create:2", "after-create:2"):
        project.environment["SEGUE_CRASH_AT"] = point
        assert project.start("serve", "ticking.py").wait(60) == 137, point
    del project.environment["SEGUE_CRASH_AT"]
    before = {row["id"] for row in ticks(project)}
    assert before
    last = project.start("serve", "ticking.py")
    until_said(last, "is started by")
    wait_for(lambda: len(ticks(project)) >= len(before) + 2 and {r["status"] for r in ticks(project)} == {"completed"})
    last.send_signal(signal.SIGTERM)
    assert last.wait(30) == 0
    rows = ticks(project)
    assert before <= {row["id"] for row in rows}
    without_gaps(project, rows)
