"""Alerts of a worker, as its project has them: found by one process, delivered by it or by the next."""

import signal
import sys
from collections.abc import Iterator

import pytest

from tests.receiver import Receiver, receiving

from .conftest import Project, until_said

TOKEN = "T0psecretT0ken"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def alerting(project: Project, said: str) -> None:
    project.environment = {n: v for n, v in project.environment.items() if not n.lower().endswith("_proxy")}
    project.write("segue.toml", f'flows = ["app.py"]\n[alerts]\n{said}\n')


def failed(project: Project) -> None:
    assert project.segue("run", "app.py:bad", "--input", "1", "--id", "letter").code == 1


def test_a_worker_that_dies_with_an_alert_on_its_way_leaves_it_to_the_next(
    project: Project, receiver: Receiver
) -> None:
    alerting(project, f'webhook = "{receiver.url}/{TOKEN}"')
    failed(project)
    receiver.hold.clear()
    first = project.start("worker")
    receiver.wait()  # it was found, and is being sent
    first.kill()
    first.wait()
    second = project.start("worker")
    receiver.wait()  # sent anew, since nobody knows whether it arrived
    receiver.hold.set()
    said = until_said(second, "run alert-dead_letter-")
    said += until_said(second, "completed")
    second.terminate()
    assert second.wait(30) == 0
    assert len(receiver.got) == 2
    assert len({got.headers["Idempotency-Key"] for got in receiver.got}) == 1
    assert receiver.got[0].body == receiver.got[1].body
    (run,) = project.segue("runs", "--flow", "segue.alert", "--json").json
    assert run["status"] == "completed"
    kept = b"".join(file.read_bytes() for file in (project.folder / ".segue").rglob("*") if file.is_file())
    shown = project.segue("show", run["id"], "--json")
    assert TOKEN not in said + shown.out + kept.decode("latin-1")


def test_two_workers_tell_it_once(project: Project, receiver: Receiver) -> None:
    alerting(project, f'webhook = "{receiver.url}"')
    failed(project)
    receiver.hold.clear()
    workers = [project.start("worker") for _ in range(2)]
    for worker in workers:
        until_said(worker, "executes")
    receiver.wait()
    receiver.hold.set()
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    assert len(project.segue("runs", "--flow", "segue.alert", "--json").json) == 1


def test_alerts_that_were_sent_are_listed(project: Project) -> None:
    assert "nothing has run yet" in project.segue("alerts").err
    alerting(project, f"command = {[sys.executable, '-c', 'pass']!r}".replace("'", '"'))
    failed(project)
    assert "no alert was sent" in project.segue("alerts").err
    worker = project.start("worker")
    until_said(worker, "run alert-dead_letter-")
    until_said(worker, "completed")
    worker.terminate()
    worker.wait(30)
    title = "1 run of 'app.bad' failed at step broken with ValueError; see: segue dead --flow app.bad"
    assert f"completed  {title}" in " ".join(project.segue("alerts").out.split(" ")).replace("   ", "  ")
    (alert,) = project.segue("alerts", "--json").json
    assert (alert["kind"], alert["title"], alert["run"], alert["status"]) == (
        "dead_letter", title, "letter", "completed",
    )  # fmt: skip


def test_a_test_alert_says_what_came_of_it(project: Project, receiver: Receiver) -> None:
    none = project.segue("alerts", "test")
    assert (none.code, "this project tells nobody" in none.err) == (2, True)
    alerting(project, f'webhook = "{receiver.url}"\ncommand = ["no-such-program"]')
    done = project.segue("alerts", "test")
    assert done.code == 1
    assert "webhook: delivered: HTTP 200" in done.err
    assert "command: not delivered: the command 'no-such-program' cannot be started: No such file" in done.err
    assert receiver.got[0].body["kind"] == "test"
    alerting(project, 'webhook = "env:HOOK"')
    project.environment["HOOK"] = receiver.url
    assert project.segue("alerts", "test").code == 0
    receiver.answers = [404]
    done = project.segue("alerts", "test")
    assert (done.code, "webhook: not delivered: the webhook answered with HTTP 404" in done.err) == (1, True)


def test_settings_that_cannot_be_are_refused_before_anything_runs(project: Project) -> None:
    for said, error in (
        ("x = 1", "x: there are webhook, command"),
        ('webhook = "env:NO_SUCH_HOOK"', "the variable NO_SUCH_HOOK, which is not set"),
        (f'webhook = "mailto:{TOKEN}"', "no address of HTTP"),
        (f'webhook = ["https://x/{TOKEN}"]', "webhook is a URL"),
    ):
        alerting(project, said)
        done = project.segue("worker")
        assert (done.code, error in done.err, TOKEN in done.err) == (2, True, False), done.err
    project.write("segue.toml", f'alerts = "https://x/{TOKEN}"\n')
    done = project.segue("runs")
    assert (done.code, "'alerts' is a table: webhook, command" in done.err, TOKEN in done.err) == (2, True, False)
