"""Alerts: what is told, to whom, how often, and what never leaves."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from segue import Breaker, DeclarationError, Drift, Engine, Retry, ask_human, flow, repair, sleep, step
from segue.alerts import Alert, Alerts, channels
from segue.alerts.alert import FLOW, line
from segue.alerts.channels import NotDelivered, execute, post
from segue.alerts.delivery import deliver
from segue.alerts.watch import EVERY, Watch
from segue.limits import Rate
from segue.runtime.tickets import Ticket
from segue.stores.base import Query
from segue.testing import Env

from .receiver import Receiver, receiving
from .reliability.looking import until
from .stage import asynchronous

HOUR = 3600.0


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with receiving() as one:
        yield one


@pytest.fixture
def env() -> Iterator[Env]:
    with Env() as one:
        yield one


def look(env: Env, alerts: Alerts) -> None:
    """Have the environment's engine look for alerts, as a worker does."""

    async def scene(life: Any) -> None:
        life.engine.spawn(alerts.keep(life.engine))

    env._play(scene, None)  # pyright: ignore[reportPrivateUsage]


def runs(env: Env) -> list[Any]:
    """The runs that deliver alerts, newest first."""
    return env._world.disk._find(Query(flow=FLOW, limit=1000))  # pyright: ignore[reportPrivateUsage]


@step
async def collect(what: str) -> str:
    raise type(what, (Exception,), {})(f"no {what}")


@flow(name="alerts.gather")
async def failing(what: str) -> str:
    return await collect(what)


@flow(name="alerts.late")
async def failing_late(what: str, after: str) -> str:
    await sleep(after)
    return await collect(what)


@flow(name="alerts.approve")
async def approve(amount: int) -> bool:
    return await ask_human(f"Refund {amount}?", answer=bool)


@flow(name="alerts.lane", key="driver")
async def lane(driver: str) -> str:
    return driver


@step(breaker=Breaker(failures=2, within="1m", reset="5m"), retry=Retry(1, backoff="1s"))
async def maps(place: str) -> str:
    raise ConnectionError("maps are down")


@flow(name="alerts.locate")
async def locate(place: str) -> str:
    return await maps(place)


@step(drift=Drift(on=float, reference=20, window=10))
async def gauge(speed: float) -> float:
    return speed


@flow(name="alerts.measured")
async def measured(speed: float) -> float:
    return await gauge(speed)


# Each kind


def test_runs_that_failed_alike_are_told_once_with_their_number(env: Env, receiver: Receiver) -> None:
    newest = [env.run(failing, "Lost") for _ in range(3)][-1]
    look(env, Alerts(webhook=receiver.url))
    env.advance(EVERY)
    (got,) = receiver.got
    title = "3 runs of 'alerts.gather' failed at step collect with Lost; see: segue dead --flow alerts.gather"
    assert got.body == {
        "id": got.headers["Idempotency-Key"].strip('"'),
        "text": title,
        "title": title,
        "kind": "dead_letter",
        "subject": "alerts.gather/collect/Lost",
        "count": 3,
        "since": newest.created + newest.took,
        "look": "segue dead --flow alerts.gather",
        "flow": "alerts.gather",
        "step": "collect",
        "run": newest.id,
        "detail": "step 'collect' failed: Lost: no Lost",
        "more": 0,
    }
    assert got.path == "/hook"
    assert got.headers["Content-Type"] == "application/json"
    (run,) = runs(env)
    record = env.record(run.id)
    assert (record.status, record.result) == ("completed", {"webhook": "HTTP 200"})


def test_dead_letters_are_told_again_only_when_there_are_more_and_not_too_soon(env: Env, receiver: Receiver) -> None:
    look(env, Alerts(webhook=receiver.url, repeat="1h"))
    env.run(failing, "Lost")
    env.advance("20s")
    env.run(failing, "Lost")
    env.advance("50m")
    assert len(receiver.got) == 1, "the second one failed too soon"
    env.advance("15m")
    assert [got.body["count"] for got in receiver.got] == [1, 2]
    env.advance("3h")
    assert len(receiver.got) == 2, "nothing more has failed"


def test_a_run_that_began_earlier_and_failed_later_is_told_too(env: Env, receiver: Receiver) -> None:
    look(env, Alerts(webhook=receiver.url))
    env.start(failing_late, "Lost", "3h")
    env.run(failing_late, "Lost", "1s")
    env.advance("2h")
    assert [got.body["count"] for got in receiver.got] == [1]
    env.advance("1h1m")
    assert [got.body["count"] for got in receiver.got] == [1, 2]


def test_a_run_that_failed_otherwise_is_another_subject(env: Env, receiver: Receiver) -> None:
    look(env, Alerts(webhook=receiver.url))
    env.run(failing, "Lost")
    env.advance("20s")
    env.run(failing, "Late")
    env.advance("20s")
    assert [got.body["subject"].rpartition("/")[2] for got in receiver.got] == ["Lost", "Late"]


def test_questions_that_are_open_for_too_long_are_told(env: Env, receiver: Receiver) -> None:
    look(env, Alerts(webhook=receiver.url, overdue="2h", repeat="30m"))
    first = env.start(approve, 900)
    env.advance("1h55m")
    second = env.start(approve, 20)
    assert receiver.got == []
    env.advance("10m")
    (got,) = receiver.got
    assert got.body["title"] == (
        "1 question of 'alerts.approve' is open for more than 2h; answer: segue inbox --flow alerts.approve"
    )
    assert (got.body["kind"], got.body["count"], got.body["run"]) == ("overdue_question", 1, first.id)
    env.advance("1h")
    assert len(receiver.got) == 1, "it is the same question"
    env.advance("1h")
    assert [(got.body["count"], got.body["run"]) for got in receiver.got] == [(1, first.id), (2, second.id)]
    env.answer(first, True)
    env.answer(second, True)
    env.advance("3h")
    assert len(receiver.got) == 2


def test_a_queue_that_nobody_takes_up_is_told_again_while_it_lasts(env: Env, receiver: Receiver) -> None:
    async def scene(life: Any) -> None:
        life.engine.flows = frozenset({"alerts.gather"})  # a worker that does not know the flow of the lane

    env._play(scene, None)  # pyright: ignore[reportPrivateUsage]
    look(env, Alerts(webhook=receiver.url, queue_age="5m", repeat="1h"))
    stuck = env.start(lane, "ada")
    env.start(lane, "bob")
    env.advance("4m50s")
    assert receiver.got == []
    env.advance("30s")
    (got,) = receiver.got
    assert (got.body["kind"], got.body["count"], got.body["run"]) == ("queue_age", 2, stuck.id)
    assert got.body["title"].startswith(
        "2 runs of 'alerts.lane' waited for a worker for more than 5m, the first for 5m"
    )
    assert got.body["look"] == "segue runs --flow alerts.lane --status queued"
    env.advance("59m")
    assert len(receiver.got) == 1
    env.advance("2m")
    assert len(receiver.got) == 2


def test_a_circuit_that_is_open_is_told(env: Env, receiver: Receiver) -> None:
    look(env, Alerts(webhook=receiver.url, on=["breaker"]))
    env.run(locate, "harbour")
    env.advance("20s")
    (got,) = receiver.got
    assert (got.body["kind"], got.body["subject"], got.body["count"]) == ("breaker", "maps", 2)
    assert "'maps' is not called any more by worker " in got.body["title"]
    assert "its circuit is open after 2 failures" in got.body["title"]
    env.advance("2h")
    assert len(receiver.got) == 1, "it is half-open by now"


def test_a_step_that_has_drifted_is_told(env: Env, receiver: Receiver) -> None:
    look(env, Alerts(webhook=receiver.url, on=["drift"]))
    for number in range(40):
        env.run(measured, 30.0 + number % 5)
    env.advance("20s")
    assert receiver.got == []
    for number in range(40):
        env.run(measured, 80.0 + number % 5)
    env.advance("20s")
    (got,) = receiver.got
    assert (got.body["kind"], got.body["step"]) == ("drift", "gauge")
    assert got.body["title"].startswith("the float of step 'gauge' no longer looks as it did (")
    assert got.body["look"] == "segue drift gauge"


def test_only_what_is_asked_for_is_told(env: Env, receiver: Receiver) -> None:
    look(env, Alerts(webhook=receiver.url, on=["queue_age"]))
    env.run(failing, "Lost")
    env.advance("1h")
    assert receiver.got == []


# How often


def test_what_exceeds_the_rate_is_counted_and_comes_later(env: Env, receiver: Receiver) -> None:
    look(env, Alerts(webhook=receiver.url, at_most="3/h"))
    for number in range(8):
        env.run(failing, f"E{number}")
    env.advance(EVERY)
    env.advance("50m")
    assert sorted(got.body["more"] for got in receiver.got) == [0, 0, 5]
    assert sum(title.endswith("; and 5 more") for title in receiver.titles) == 1
    env.advance("11m")
    assert sorted(got.body["more"] for got in receiver.got[3:]) == [0, 0, 2]
    env.advance("1h")
    assert sorted(got.body["more"] for got in receiver.got[6:]) == [0, 0]
    assert len({got.body["subject"] for got in receiver.got}) == 8, "each was told in the end"


def test_what_is_over_before_there_is_room_is_counted_too(env: Env, receiver: Receiver) -> None:
    look(env, Alerts(webhook=receiver.url, at_most="1/h"))
    env.run(failing, "First")
    env.advance(EVERY)
    env.run(locate, "harbour")  # opens a circuit for five minutes, and leaves a dead letter
    env.advance("2h")
    assert [(got.body["kind"], got.body["more"]) for got in receiver.got] == [("dead_letter", 0), ("dead_letter", 1)]


@asynchronous
async def test_of_several_engines_that_see_the_same_one_tells_it(tmp_path: Path, receiver: Receiver) -> None:
    url, alerts = f"sqlite:{tmp_path / 'runs.db'}?durability=process", Alerts(webhook=receiver.url)
    async with Engine(url) as one, Engine(url) as two:
        for what in ("Lost", "Late", "Gone"):
            with pytest.raises(Exception, match=what):
                await failing(what)
        watches = [Watch(engine, alerts) for engine in (one, two, one, two)]
        for watch in watches:
            alerts.attach(watch.engine)
        watches[1].held.add("what only this one has seen")  # so it counts differently
        await asyncio.gather(*(watch.tick() for watch in watches))
        rows = await one.store.find(Query(flow=FLOW))
        for row in rows:
            await Ticket(one, deliver.spec, row.id, row.created).result()
        assert [await watch.tick() for watch in watches] == [0, 0, 0, 0]
    assert len(rows) == 3
    assert sorted(got.body["subject"] for got in receiver.got) == [
        f"alerts.gather/collect/{what}" for what in ("Gone", "Late", "Lost")
    ]


# Delivery


def test_a_receiver_that_is_down_gets_it_when_it_is_back(env: Env, receiver: Receiver) -> None:
    receiver.answers = [503, 500, (429, {"Retry-After": "120"})]
    look(env, Alerts(webhook=receiver.url))
    env.run(failing, "Lost")
    began = env.now
    env.advance("1h")
    assert len(receiver.got) == 4
    assert len({got.headers["Idempotency-Key"] for got in receiver.got}) == 1
    (run,) = runs(env)
    record = env.record(run.id)
    assert record.status == "completed"
    assert record.step("webhook").failures[0].message == "the webhook answered with HTTP 503"
    assert record.ended is True
    assert record.took >= 120, "it asked for two minutes"
    assert env.now - began >= HOUR


def test_a_receiver_that_nobody_can_reach_makes_a_dead_letter_that_can_be_redriven_and_no_alert_of_it(
    env: Env, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as gone:
        monkeypatch.setenv("HOOK", gone.url)
    look(env, Alerts(webhook="env:HOOK"))
    env.run(failing, "Lost")
    env.advance("4h")
    (run,) = runs(env)
    assert env.record(run.id).status == "failed"
    assert env.record(run.id).step("webhook").failures[0].message == "the webhook cannot be reached: Connection refused"
    monkeypatch.setenv("HOOK", receiver.url)

    async def scene(life: Any) -> None:
        await repair.redrive(run.id, by="ada", store=life.mount)

    env._play(scene, None)  # pyright: ignore[reportPrivateUsage]
    env.advance("1m")
    assert env.record(run.id).status == "completed"
    assert [got.body["subject"] for got in receiver.got] == ["alerts.gather/collect/Lost"]


def test_a_receiver_that_says_nothing_is_not_waited_for(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "PATIENCE", 0.1)
    receiver.hold.clear()
    with pytest.raises(NotDelivered, match="the webhook was not reached: TimeoutError"):
        post(receiver.url, SOME, "key")


def test_a_redirect_is_not_followed(env: Env, receiver: Receiver) -> None:
    receiver.answers = [(302, {"Location": receiver.url + "/elsewhere"})]
    with pytest.raises(NotDelivered, match="HTTP 302"):
        post(receiver.url, SOME, "key")
    assert [got.path for got in receiver.got] == ["/hook"]


def test_a_receiver_without_tls_is_no_receiver_for_https(receiver: Receiver) -> None:
    with pytest.raises(NotDelivered, match="the webhook cannot be reached: SSLError"):
        post(receiver.url.replace("http:", "https:"), SOME, "key")


def test_one_way_does_not_wait_for_the_other(env: Env, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [500] * 100
    look(env, Alerts(webhook=receiver.url, command=writer(tmp_path)))
    env.run(failing, "Lost")
    env.advance("1m")
    assert json.loads((tmp_path / "stdin").read_text())["kind"] == "dead_letter"
    env.advance("4h")
    (run,) = runs(env)
    assert env.record(run.id).status == "failed"
    assert env.record(run.id).step("command").output == "told"


SOME = Alert("test", "a title", "subject", 1, 0.0, "segue alerts", flow="f", run="r")


def writer(folder: Path) -> list[str]:
    """A command that writes down what it is given."""
    script = folder / "notify.py"
    script.write_text(
        "import json, os, sys\n"
        f"open({str(folder / 'stdin')!r}, 'w').write(sys.stdin.read())\n"
        f"given = {{n: v for n, v in os.environ.items() if n.startswith('SEGUE_ALERT_')}}\n"
        f"open({str(folder / 'given')!r}, 'w').write(json.dumps([sys.argv[1:], given]))\n"
        "print('told')\n"
    )
    return [sys.executable, str(script), "{title}", "; touch pwned"]


HOSTILE = "no 'way'\n$(touch pwned) \"; `x`\x00\x1b[31m\u202e\ud800{title}"


@step
async def nasty() -> str:
    raise ValueError(HOSTILE)


@flow(name="alerts.it's; $(touch pwned)")
async def hostile() -> str:
    return await nasty()


def test_text_from_outside_is_data_in_one_line(env: Env, receiver: Receiver, tmp_path: Path) -> None:
    look(env, Alerts(webhook=receiver.url, command=writer(tmp_path)))
    env.run(hostile)
    env.advance(EVERY)
    body = receiver.got[0].body
    assert body["title"].isprintable()
    assert body["title"] == (
        '1 run of "alerts.it\'s; $(touch pwned)" failed at step nasty with ValueError; '
        "see: segue dead --flow 'alerts.it'\"'\"'s; $(touch pwned)'"
    )
    assert body["detail"].isprintable()
    assert "no 'way' $(touch pwned) \"; `x`\\x00\\x1b[31m\\u202e" in body["detail"]
    argv, given = json.loads((tmp_path / "given").read_text())
    assert argv == ["{title}", "; touch pwned"], "arguments are as the settings have them"
    assert given["SEGUE_ALERT_TITLE"] == body["title"]
    written = json.loads((tmp_path / "stdin").read_text())
    assert {**written, "id": ""} == {**body, "id": ""}
    assert given["SEGUE_ALERT_ID"] == written["id"]
    assert [*Path().glob("pwned"), *tmp_path.glob("pwned")] == []


def test_a_command_gets_what_the_alert_is_in_its_environment() -> None:
    argv = [sys.executable, "-c", "import os; print(os.environ['SEGUE_ALERT_LOOK'], os.environ['SEGUE_ALERT_STEP'])"]
    assert asyncio.run(execute(argv, SOME, "key")) == "segue alerts"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('no\\nnetwork\\x1b[31m')", r"exited with 1: no network\\x1b\[31m$"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9$"),
        ("print('x' * 1_000_000); raise SystemExit(2)", "^the command exited with 2: x{999}…$"),
    ],
)
def test_a_command_that_fails_says_so(code: str, said: str) -> None:
    with pytest.raises(NotDelivered, match=said):
        asyncio.run(execute([sys.executable, "-c", code], SOME, "key"))


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(NotDelivered, match="the command 'no-such-thing' cannot be started: No such file"):
        asyncio.run(execute(["no-such-thing"], SOME, "key"))


def test_a_command_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        "import os, subprocess, sys; child = subprocess.Popen(['sleep', '1000']);"
        f"open({str(ready)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}'); child.wait()"
    )

    async def scene() -> None:
        task = asyncio.create_task(execute([sys.executable, "-c", code], SOME, "key"))
        await until(lambda: ready.exists() and bool(ready.read_text()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(scene(), 60))
    parent, child = ready.read_text().split()
    assert not Path("/proc", parent).exists()
    status = Path("/proc", child, "stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_without_settings_a_run_says_what_executes_it(env: Env) -> None:
    record = env.run(deliver, SOME, ["command"])
    assert record.status == "failed"
    assert "no 'command' in its [alerts]: execute it by a segue worker" in record.step("command").failures[0].message


# Secrets

TOKEN = "T0psecretT0ken"


@pytest.mark.parametrize("end", [200, 404, 302, "refused", "malformed", "unset"])
def test_the_urls_secret_is_nowhere_but_in_the_request(
    tmp_path: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    end: int | str,
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"{receiver.url}/{TOKEN}?key={TOKEN}"
    if end == "refused":
        with receiving() as gone:
            url = f"{gone.url}/{TOKEN}"
    monkeypatch.setenv("HOOK", url)
    alerts = Alerts(webhook="env:HOOK" if isinstance(end, str) else url)
    assert TOKEN not in repr(alerts)
    receiver.answers = [(end, {"Location": url}) if end == 302 else end] * 3 if isinstance(end, int) else []

    async def scene() -> list[str]:
        async with Engine(f"sqlite:{tmp_path / 'runs.db'}?durability=process") as engine:
            alerts.attach(engine)
            if end == "malformed":
                monkeypatch.setenv("HOOK", f"http://{TOKEN} {TOKEN}/")
            if end == "unset":
                monkeypatch.delenv("HOOK")
            with pytest.raises(Exception, match="Lost"):
                await failing("Lost")
            told: list[str] = []
            engine.watchers.append(lambda one: told.append(repr(one)))
            assert await Watch(engine, alerts).tick() == 1
            while not await entries(engine):  # noqa: ASYNC110 - there is no event for an attempt that is written
                await asyncio.sleep(0)  # the loop has its turns
            return told

    said = asyncio.run(asyncio.wait_for(scene(), 20))
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"alerts.gather/collect/Lost" in kept, "what is looked for in is where it is kept"
    assert TOKEN.encode() not in kept
    assert TOKEN not in "".join(said) + caplog.text
    if isinstance(end, int):
        assert receiver.got[0].path == f"/hook/{TOKEN}?key={TOKEN}"


async def entries(engine: Engine) -> list[Any]:
    """What the journals of alerts hold."""
    found: list[Any] = []
    for row in await engine.store.find(Query(flow=FLOW)):
        loaded = await engine.store.load(row.id)
        found += loaded[1] if loaded is not None else []
    return found


# Settings


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "nobody is told"),
        ({"on": ["dead_letter"]}, "nobody is told"),
        ({"webhok": "http://x"}, "webhok: there are webhook, command, on, queue_age, overdue, repeat, at_most"),
        ({"webhook": 5}, "webhook is a URL"),
        ({"webhook": f"ftp://x/{TOKEN}"}, "no address of HTTP"),
        ({"webhook": f"file:///{TOKEN}"}, "no address of HTTP"),
        ({"webhook": f"http://[{TOKEN}"}, "webhook is no URL"),
        ({"webhook": f"http://x:99999/{TOKEN}"}, "webhook is no URL"),
        ({"webhook": f"https://me:{TOKEN}@x/"}, "holds a user or password"),
        ({"webhook": f"https://x/{TOKEN}\r\nX: y"}, "characters that no URL has"),
        ({"webhook": f"https://x/{TOKEN} y"}, "characters that no URL has"),
        ({"webhook": "env:"}, "names the variable"),
        ({"webhook": "env:A=B"}, "names the variable"),
        ({"command": "notify-send {title}"}, "command is a program and its arguments"),
        ({"command": []}, "command is a program"),
        ({"command": [""]}, "command is a program"),
        ({"command": ["x", 5]}, "command is a program"),
        ({"command": ["x\0y"]}, "command is a program"),
        ({"command": ["x"], "on": "breaker"}, "on is a list of some of dead_letter, overdue_question"),
        ({"command": ["x"], "on": []}, "on is a list"),
        ({"command": ["x"], "on": ["dead"]}, "on is a list"),
        ({"command": ["x"], "on": [["dead"]]}, "on is a list"),
        ({"command": ["x"], "queue_age": "soon"}, "not a duration"),
        ({"command": ["x"], "queue_age": 0}, "queue_age is 1 s or more"),
        ({"command": ["x"], "overdue": "0s"}, "overdue is 1 s or more"),
        ({"command": ["x"], "repeat": "1s"}, "repeat is 60 s or more"),
        ({"command": ["x"], "at_most": "many"}, "not a rate"),
        ({"command": ["x"], "at_most": 20}, "not a rate"),
        ({"command": ["x"], "at_most": "0/h"}, "not a rate"),
        ({"command": ["x"], "at_most": "1001/m"}, "a rate of 1,000 at most"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(table: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said) as refused:
        Alerts.read(table)
    assert TOKEN not in str(refused.value)


def test_settings_as_they_are_written() -> None:
    alerts = Alerts.read(
        {"command": ["notify", "ops"], "on": ["breaker", "breaker"], "queue_age": "90s", "at_most": "5/10m"}
    )
    assert (alerts.command, alerts.on, alerts.queue_age) == (("notify", "ops"), ("breaker",), 90.0)
    assert (alerts.repeat, alerts.overdue, alerts.at_most) == (HOUR, HOUR, Rate(5, "10m"))
    assert Alerts(command=["x"]).on == ("dead_letter", "overdue_question", "queue_age", "breaker", "drift")


def test_a_url_that_is_kept_in_a_variable_is_looked_for_when_the_worker_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    with pytest.raises(DeclarationError, match="in the variable HOOK, which is not set here"):
        Alerts(webhook="env:HOOK").attach(Engine("memory:"))
    monkeypatch.setenv("HOOK", f"gopher://{TOKEN}")
    with pytest.raises(DeclarationError, match="the variable HOOK is no address of HTTP") as refused:
        Alerts(webhook="env:HOOK").url()
    assert TOKEN not in str(refused.value)
    monkeypatch.setenv("HOOK", "https://example.org/hook")
    assert Alerts(webhook="env:HOOK").url() == "https://example.org/hook"


def test_what_receivers_rely_on_stays() -> None:
    schema = msgspec.json.schema(Alert)["$defs"]["Alert"]
    assert {name: field.get("type", "or null") for name, field in schema["properties"].items()} == {
        "kind": "string", "title": "string", "subject": "string", "count": "integer", "since": "number",
        "look": "string", "flow": "or null", "step": "or null", "run": "or null", "detail": "string",
        "more": "integer",
    }  # fmt: skip


def test_a_line_is_one() -> None:
    assert line("a\r\n\tb\u2028c\u202e") == "a b c\\u202e"
    assert line("x" * 10, 5) == "xxxx…"
    assert line("\n" * 1000 + "x", 5) == ""
