"""``segue rejects``: what came from outside and could not be taken, until somebody has dealt with it."""

import asyncio

import pytest

from segue.runtime.engine import Engine
from segue.stores.base import KEPT, Query, Reject

from .conftest import Project

CODE = """
from dataclasses import dataclass

from segue import flow


@dataclass
class Event:
    road: str
    minutes: int | str


@flow
async def reroute(event: Event) -> str:
    return event.road
"""

EVIL = "\x1b[31m\u202ered\n"
BODY = b'{"road": "A4", "minutes": "many"}'


def kept(project: Project, *rejects: Reject) -> None:
    async def whole() -> None:
        async with Engine(f"sqlite:{project.folder / '.segue' / 'segue.db'}", execute=False) as engine:
            for one in rejects:
                await engine.store.reject(one)

    asyncio.run(whole())


def bad(body: bytes = BODY, size: int | None = None, source: str = "webhook /traffic") -> Reject:
    return Reject(0, source, 0.0, "minutes is text", "events.reroute", body, len(body) if size is None else size)


@pytest.fixture
def events(project: Project) -> Project:
    project.write("events.py", CODE)
    project.write("segue.toml", "")
    return project


def runs(project: Project) -> list[str]:
    async def whole() -> list[str]:
        async with Engine(f"sqlite:{project.folder / '.segue' / 'segue.db'}", execute=False) as engine:
            return [row.id for row in await engine.store.find(Query())]

    return asyncio.run(whole())


def test_they_are_listed_and_shown(events: Project) -> None:
    assert "nothing has run yet" in events.segue("rejects").err
    kept(events, bad(), bad(b"x" * (KEPT + 1)))
    listed = events.segue("rejects")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["n", "2", "1"]
    assert "webhook /traffic" in listed.out
    assert "minutes is text" in listed.out
    assert "segue rejects show 2" in listed.err
    assert [one["number"] for one in events.segue("rejects", "--json").json] == [2, 1]
    assert len(events.segue("rejects", "--limit", "1", "--json").json) == 1
    shown = events.segue("rejects", "show", "1")
    assert BODY.decode() in shown.out
    record = events.segue("rejects", "show", "2", "--json").json
    assert (record["size"], len(record["body"]), record["dealt"]) == (KEPT + 1, KEPT, None)
    assert "of which 65,536 are kept" in events.segue("rejects", "show", "2").out
    missing = events.segue("rejects", "show", "3")
    assert (missing.code, "no reject has the number 3" in missing.err) == (2, True)


def test_hostile_text_is_shown_as_text(events: Project) -> None:
    kept(events, Reject(0, EVIL, 0.0, EVIL, EVIL, EVIL.encode() + b"\xff\x9b", 99))
    for command in (["rejects"], ["rejects", "show", "1"], ["rejects", "--json"], ["rejects", "show", "1", "--json"]):
        done = events.segue(*command)
        assert done.code == 0
        assert not {"\x1b", "\u202e", "\x9b"} & set(done.out + done.err)
    assert len(events.segue("rejects").out.splitlines()) == 2


def test_one_is_tried_again_with_code_that_takes_it(events: Project) -> None:
    kept(events, bad())
    events.write("strict.py", CODE.replace("int | str", "int"))
    still = events.segue("rejects", "retry", "1", "strict.py:reroute")
    assert (still.code, "minutes" in still.err) == (2, True)
    done = events.segue("rejects", "retry", "1", "events.py:reroute")
    assert done.code == 0, done.err
    [run] = runs(events)
    assert run in done.err
    assert events.segue("rejects", "--json").json == []
    [dealt] = events.segue("rejects", "--all", "--json").json
    assert dealt["dealt"] == f"run {run}"
    again = events.segue("rejects", "retry", "1", "events.py:reroute")
    assert (again.code, "dealt with before" in again.err) == (2, True)
    assert runs(events) == [run]


@pytest.mark.parametrize("point", ["after-create"])
def test_a_crash_before_it_is_dealt_with_makes_no_second_run(events: Project, point: str) -> None:
    kept(events, bad())
    events.environment["SEGUE_CRASH_AT"] = point
    assert events.segue("rejects", "retry", "1", "events.py:reroute").code == 137
    del events.environment["SEGUE_CRASH_AT"]
    assert events.segue("rejects", "retry", "1", "events.py:reroute").code == 0
    assert len(runs(events)) == 1


@pytest.mark.parametrize(
    ("reject", "said"),
    [
        (bad(b"{"), "not JSON"),
        (bad(b"x" * KEPT, KEPT + 1), "only the beginning"),
        (bad(b"", 12, "file inbox/a.txt"), "touch it"),
    ],
)
def test_what_cannot_be_tried_again_stays(events: Project, reject: Reject, said: str) -> None:
    kept(events, reject)
    done = events.segue("rejects", "retry", "1", "events.py:reroute")
    assert (done.code, said in done.err) == (2, True), done.err
    assert len(events.segue("rejects", "--json").json) == 1


def test_one_is_set_aside(events: Project) -> None:
    kept(events, bad())
    done = events.segue("rejects", "discard", "1", "--by", "ada", "--why", "a test of theirs")
    assert done.code == 0
    assert events.segue("rejects", "--json").json == []
    assert "discarded by ada: a test of theirs" in events.segue("rejects", "show", "1").out
    again = events.segue("rejects", "discard", "1")
    assert (again.code, "dealt with before" in again.err) == (2, True)
