"""Inspection, the live tree's memory and the graph: pure functions of what happened."""

from pathlib import Path
from typing import Any

import pytest

from segue.cli.graph import links, specified
from segue.cli.progress import MANY, Progress
from segue.cli.tree import draw
from segue.core.entries import Entry, Kind
from segue.core.lifecycle import Status
from segue.errors import Failure, UsageError
from segue.inspection import as_data, reason_of, timeline
from segue.loading import load_file, split
from segue.runtime.engine import Told
from segue.runtime.ids import child_id
from segue.stores.base import Row
from segue.types import StepId
from segue.values import encode

BOOM = encode(Failure("ValueError", "boom"), "failure")


def row(id: str = "r", flow: str = "f", status: Status = Status.COMPLETED, **more: Any) -> Row:
    made = Row(
        id, flow, "", "", status, None, None, "w", None, 0, None, None, 0.0, 10.0, 10.0, 20.0, 1, 0,
        encode({"n": 1}, "input"), encode(2, "result"), 0,
    )  # fmt: skip
    return made._replace(**more)


class Journal:
    """Entries with their numbers."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def __call__(self, kind: Kind, step: str, start: float, end: float, attempt: int = 1, **values: Any) -> None:
        data = {name: encode(value, "test") for name, value in values.items() if name != "raw"}
        output = values.get("raw", data.get("output"))
        self.entries.append(
            Entry(len(self.entries), kind, StepId(step), attempt, start, end, data.get("input"), output)
        )


def test_attempts_belong_to_their_step() -> None:
    write = Journal()
    write(Kind.ATTEMPT, "1/fetch", 10, 11, input={"url": "a"}, raw=BOOM)
    write(Kind.OK, "2/fetch", 10, 12, input={"url": "b"}, output="B")
    write(Kind.OK, "1/fetch", 13, 14, attempt=2, output="A")
    first, second = timeline(row(), write.entries).steps
    assert (first.id, first.name, first.status, first.input, first.output) == (
        "1/fetch", "fetch", "completed", {"url": "a"}, "A",
    )  # fmt: skip
    assert [(a.number, a.status, a.started, a.ended) for a in first.attempts] == [
        (1, "failed", 10, 11), (2, "completed", 13, 14),
    ]  # fmt: skip
    assert first.attempts[0].error == Failure("ValueError", "boom")
    assert (second.id, second.output) == ("2/fetch", "B")


def test_unfinished_steps() -> None:
    write = Journal()
    write(Kind.START, "runs", 10, 10, input={})
    write(Kind.ATTEMPT, "retries", 10, 11, raw=BOOM)
    running = row(status=Status.RUNNING, ended=None, result=None)
    assert {step.name: step.status for step in timeline(running, write.entries).steps} == {
        "runs": "running", "retries": "retrying",
    }  # fmt: skip
    write(Kind.CLAIM, "@claim", 15, 15, attempt=0, output={"worker": "two", "losses": 1})
    write(Kind.CLAIM, "@claim", 16, 16, attempt=0, output={"worker": "two", "losses": 1})
    record = timeline(running, write.entries)
    assert [step.status for step in record.steps] == ["lost", "retrying"]
    assert [takeover.worker for takeover in record.takeovers] == ["two"], "then it was only woken"


def test_failure_without_another_attempt_keeps_the_attempts() -> None:
    write = Journal()
    write(Kind.ATTEMPT, "s", 10, 11, raw=BOOM)
    write(Kind.CANCELLED, "s", 10, 15, output="")
    (step,) = timeline(row(), write.entries).steps
    assert (step.status, [attempt.status for attempt in step.attempts]) == ("cancelled", ["failed"])


def test_children_are_steps_with_their_run() -> None:
    write = Journal()
    write(Kind.OK, "g", 10, 11, input={}, output=1)
    write(Kind.OK, "g#2", 11, 12, input={}, output=2)
    children = [
        row(child_id("r", "g"), "g", parent="r"),
        row("mine", "g", parent="r"),
        row(child_id("r", "1/h"), "h", Status.RUNNING, parent="r", ended=None, started=12.0),
    ]
    steps = timeline(row(), write.entries, children).steps
    assert [(step.name, step.run, step.status) for step in steps] == [
        ("g", children[0].id, "completed"), ("g", "mine", "completed"), ("h", children[2].id, "running"),
    ]  # fmt: skip


def test_timers_are_no_steps_and_nan_is_null() -> None:
    from segue.cli.text import as_text

    write = Journal()
    write(Kind.TIMER, "@timer", 15, 15, attempt=0)
    write(Kind.OK, "s", 15, 16, input={}, output=float("nan"))
    record = timeline(row(), write.entries)
    assert [step.kind for step in record.steps] == ["timer", "step"]
    assert '"output":null' in as_text(as_data(record))


def test_large_values_are_named_until_they_are_fetched() -> None:
    mark = b"\xc7\x20\x01" + bytes(32)
    large = row(result=mark)
    assert timeline(large, []).result == {"artifact": "00" * 32}
    assert timeline(large, [], fetch=lambda data: encode("all", "test") if data == mark else data).result == "all"


@pytest.mark.parametrize(
    ("status", "due", "flows", "said"),
    [
        (Status.QUEUED, 130.0, None, "delayed for 30 s more"),
        (Status.QUEUED, 0.0, None, "for a free worker"),
        (Status.QUEUED, 0.0, ["other"], "for a worker that knows flow 'f'"),
        (Status.RUNNING, 0.0, None, None),
    ],
)
def test_reasons(status: Status, due: float, flows: list[str] | None, said: str | None) -> None:
    assert reason_of(row(status=status, due=due), 100.0, flows) == said


def test_links_leave_out_what_follows_from_others() -> None:
    write = Journal()
    for step, start, end in (("a", 0, 1), ("1/b", 1, 2), ("2/b", 1, 3), ("c", 3, 4)):
        write(Kind.OK, step, start, end)
    names, edges = links(timeline(row(), write.entries))
    assert names == {"a": 1, "b": 2, "c": 1}
    assert edges == [("a", "b"), ("b", "c")]


def test_mermaid_labels_are_quoted() -> None:
    assert specified({'a"]:::x': []})[1] == '    n0["a#34;#93;#58;#58;#58;x"]'


# The live tree


def told(what: str, time: float = 0.0, run: str = "r", **data: Any) -> Told:
    return Told(what, run, "f", time, data)


def lines(progress: Progress, now: float = 10.0, width: int = 80, height: int | None = None) -> list[str]:
    import sys

    return [line.plain.rstrip() for line in draw(progress, now, width, height, sys.__stdout__ or sys.stdout)]


def begun() -> Progress:
    progress = Progress()
    progress(told("run", resumed=False, parent=None, entries=0, journal=[]))
    return progress


def test_tree_shows_retries_and_children() -> None:
    progress = begun()
    progress(told("attempt", 1, step="s", attempt=1, input=encode({"x": "\x1b[1m"}, "test")))
    assert lines(progress, 2)[1].endswith('1.0 s  "\\u001b[1m"')
    progress(told("retry", 3, step="s", attempt=1, failure=Failure("E", "no\nway"), delay=2.0))
    assert lines(progress, 3)[1].endswith("again in 2.0 s: E: no\\nway")
    progress(told("child", 4, step="g", id="r.12345678", flow="g", input=encode({}, "test")))
    progress(told("run", 4, "r.12345678", resumed=False, parent="r", entries=0, journal=[]))
    assert lines(progress, 5)[2].strip().endswith("1.0 s  12345678")


def test_many_calls_are_one_line_and_a_small_terminal_is_enough() -> None:
    progress = begun()
    for number in range(MANY + 20):
        progress(told("attempt", 1, step=f"{number}/s", attempt=1, input=b"\x80"))
        progress(told("step", 2, step=f"{number}/s", attempt=1, kind=Kind.OK, data=b"\x01"))
    assert len(lines(progress)) == 2
    assert f"s ×{MANY + 20}" in lines(progress)[1]
    for number in range(50):
        progress(told("attempt", 3, step=f"x{number}", attempt=1, input=b"\x80"))
    assert len(lines(progress, height=20)) == 20
    assert all(len(line) <= 40 for line in lines(progress, width=40))


# Targets


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("a.b:c", ("a.b", "c")),
        ("a/b.py", ("a/b.py", None)),
        ("a:b/c.py", ("a:b/c.py", None)),
        ("x.py:a.b", ("x.py", "a.b")),
    ],
)
def test_split(target: str, parts: tuple[str, str | None]) -> None:
    assert split(target) == parts


def test_split_refuses_half_targets() -> None:
    for target in (":f", "a:", ""):
        with pytest.raises(UsageError):
            split(target)


def test_file_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    file = tmp_path / "loaded_once_of_segue.py"
    file.write_text("seen = []\n")
    assert load_file(file) is load_file(tmp_path / "." / file.name)
