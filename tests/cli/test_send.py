"""``segue send``: a run for each line, however many there are and whatever is in them."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from .conftest import Done, Project

EVENTS = """
from dataclasses import dataclass

from segue import flow, step


@dataclass(frozen=True)
class Ping:
    id: str
    driver: str
    at: int


@step
async def note(at: int) -> int:
    return at


@flow(key="ping.driver", dedupe="ping.id")
async def track(ping: Ping) -> int:
    return await note(ping.at)


@flow(key="pings.0.driver", coalesce="all")
async def gathered(pings: list[Ping]) -> list[int]:
    return [ping.at for ping in pings]


@flow(max_queued=3)
async def few(ping: Ping) -> int:
    return ping.at


@flow
async def two(first: int, second: int) -> None: ...
"""


@pytest.fixture
def events(project: Project) -> Project:
    project.write("events.py", EVENTS)
    return project


def ping(number: int, **given: Any) -> str:
    return json.dumps({"id": f"e{number}", "driver": f"d{number % 3}", "at": number, **given})


def send(project: Project, *arguments: str, target: str = "track", stdin: str = "") -> Done:
    return project.segue("send", f"events.py:{target}", *arguments, stdin=stdin)


def test_each_line_is_a_run_and_the_same_file_sent_again_starts_nothing(events: Project) -> None:
    events.write("in.jsonl", "\ufeff" + "\n".join([ping(1), "", f"  {ping(2)}\r", ping(3), ping(1)]))
    done = send(events, "--jsonl", "in.jsonl")
    assert (done.code, done.out) == (0, "")
    assert "3 new runs, 1 duplicates, 0 rejected" in done.err
    assert not list(events.folder.glob("*.rejects.jsonl"))
    again = send(events, "--jsonl", "in.jsonl", "--json")
    assert again.json == {"lines": 5, "accepted": 0, "duplicates": 4, "rejected": 0}
    assert "3 completed" in events.segue("resume", "events.py").err


BAD = {
    2: ("{", "is not JSON"),
    3: ('{"id": "x", "driver": "d", "at": "soon"}', "at $.at"),
    4: ('{"id": "x", "driver": "d", "at": NaN}', "is not JSON"),
    5: ("[" * 100_000, "nested too deeply"),
    6: ('"' + "x" * (1 << 20) + '"', "longer than 1 MiB"),
    8: (ping(1, at=9), "event 'e1' has run"),
    9: ("\udcff", "is not JSON"),
    10: ('{"id": "\\ud800", "driver": "d", "at": 1}', "is not JSON"),
}


def test_a_line_that_cannot_be_taken_keeps_none_of_the_others_back(events: Project) -> None:
    lines = [BAD[n][0] if n in BAD else ping(n) for n in range(1, 13)]
    (events.folder / "in.jsonl").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    done = send(events, "--jsonl", "in.jsonl", "--json")
    assert done.code == 1
    assert done.json == {"lines": 12, "accepted": 4, "duplicates": 0, "rejected": 8}
    assert "see in.jsonl.rejects.jsonl" in done.err
    rejects = [json.loads(line) for line in (events.folder / "in.jsonl.rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == sorted(BAD)
    for reject in rejects:
        text, reason = BAD[reject["line"]]
        assert reason in reject["reason"]
        assert reject["text"] == text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[: 64 << 10]


def test_from_stdin_and_from_a_line_on(events: Project) -> None:
    lines = "\n".join(ping(n) for n in range(10))
    done = send(events, "--jsonl", "-", "--from", "8", "--json", stdin=lines)
    assert done.json == {"lines": 10, "accepted": 3, "duplicates": 0, "rejected": 0}


def test_events_that_are_taken_together_are_sent_one_by_one(events: Project) -> None:
    done = send(events, "--jsonl", "-", "--json", target="gathered", stdin="\n".join(ping(3 * n) for n in range(5)))
    assert done.json["accepted"] == 5
    events.segue("resume", "events.py")
    (completed,) = json.loads(events.segue("runs", "--status", "completed", "--json").out)
    assert json.loads(events.segue("show", completed["id"], "--json").out)["result"] == [0, 3, 6, 9, 12]
    assert len(json.loads(events.segue("runs", "--status", "merged", "--json").out)) == 4


def test_a_queue_that_is_full_is_waited_for(events: Project) -> None:
    sending = events.start("send", "events.py:few", "--jsonl", "-", "--json")
    assert sending.stdin is not None
    assert sending.stdout is not None
    sending.stdin.write("\n".join(ping(n) for n in range(10)))
    sending.stdin.close()
    sending.stdin = None
    worker = events.start("worker", "events.py")
    assert json.loads(sending.stdout.read()) == {"lines": 10, "accepted": 10, "duplicates": 0, "rejected": 0}
    assert sending.wait(30) == 0
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=30)


def test_what_is_on_its_way_is_told_when_it_is_interrupted(events: Project) -> None:
    sending = events.start("send", "events.py:few", "--jsonl", "-", "--json")
    assert sending.stdin is not None
    sending.stdin.write("\n".join(ping(n) for n in range(10)) + "\n")
    sending.stdin.flush()
    while len(json.loads(events.segue("runs", "--json").out or "[]")) < 3:
        assert sending.poll() is None
    sending.send_signal(signal.SIGINT)
    out, err = sending.communicate(timeout=30)
    assert sending.returncode == 130
    assert json.loads(out) == {"lines": 3, "accepted": 3, "duplicates": 0, "rejected": 0}
    assert "interrupted; to go on: --from 4" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("events.py:track", "--jsonl", "nowhere.jsonl"), "nowhere.jsonl cannot be read: No such file or directory"),
        (("events.py:track", "--jsonl", "."), ". cannot be read: Is a directory"),
        (("events.py:two", "--jsonl", "-"), "only a flow that one argument is enough for"),
        (("events.py:none", "--jsonl", "-"), "none"),
        (("events.py:track",), "Missing option '--jsonl'"),
    ],
)
def test_wrong_use_is_told(events: Project, arguments: tuple[str, ...], said: str) -> None:
    done = events.segue("send", *arguments)
    assert done.code == 2
    assert said in done.err


def test_memory_is_bounded_however_long_the_file_is(events: Project) -> None:
    count = 1_000_000 if os.environ.get("SEGUE_DEEP") else 30_000
    with (events.folder / "in.jsonl").open("w") as file:
        for n in range(count):
            file.write(ping(n) + "\n")
    script = events.write(
        "measured.py",
        "import re, sys\n"
        "from segue.cli import cli\n"
        "code = cli.main(sys.argv[1:], standalone_mode=False)\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)\n"
        "sys.exit(code)\n",
    )
    done = subprocess.run(
        [sys.executable, str(script), "send", "events.py:track", "--jsonl", "in.jsonl", "--json"],
        cwd=events.folder,
        env=events.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["accepted"] == count
    assert int(done.stderr.splitlines()[-1]) < (300 if count > 100_000 else 150) * 1024, "KiB at most"
