"""Rehearsals: what changed code would do with a recorded run, told without running or writing anything."""

import asyncio
import copy
import logging
import os
import random
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import segue
from segue import Flow, RunFailed, ask_human, flow, gather, sleep, step, wait_for
from segue.core.entries import Entry
from segue.core.lifecycle import Status
from segue.errors import CorruptRecord, Failure
from segue.runtime import lease
from segue.runtime.rehearsal import Difference, Rehearsal, rehearse, unreadable
from segue.stores.artifacts import Artifacts
from segue.stores.base import Query, Row
from segue.stores.sqlite import SqliteStore
from segue.values import encode

from .reliability.looking import until
from .simulation import programs
from .simulation.programs import KINDS, TIMED, Tree, generate, program
from .simulation.worlds import Trial, cut, trial
from .stage import Stage, asynchronous, stage

Body = Callable[..., Coroutine[Any, Any, Any]]

RAN: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


@step
async def load(what: str) -> str:
    RAN.append(f"load {what}")
    return what.upper()


@step
async def save(what: str) -> str:
    RAN.append(f"save {what}")
    return f"saved {what}"


@step
async def extra(what: str) -> str:
    RAN.append(f"extra {what}")
    return what


@step
async def fails(what: str) -> str:
    RAN.append(f"fails {what}")
    raise ConnectionError(what)


@step
def refund(receipt: str) -> None:
    RAN.append(f"refund {receipt}")


@step(undo=refund)
async def charge(amount: int) -> str:
    RAN.append(f"charge {amount}")
    return f"receipt {amount}"


@step
async def large(size: int) -> str:
    return "x" * size


@flow
async def child(what: str) -> str:
    return await load(what)


def declared(body: Body, **options: Any) -> Flow[..., Any]:
    """This body as the flow of one name, as a deployment would put it in another's place."""
    options = {"name": "changing", **options}

    @flow(**options)
    async def changing() -> Any:
        return await body()

    return changing


async def played(found: Stage, old: Body, **options: Any) -> tuple[Row, list[Entry]]:
    """A run of this body, to its end."""
    try:
        await found.play(declared(old, **options))
    except RunFailed:
        pass
    return await loaded(found)


async def loaded(found: Stage, run: str = "main") -> tuple[Row, list[Entry]]:
    row = await found.store.load(run)
    assert row is not None
    return row


def tried(old: Body, new: Body, change: Callable[[Row], Row] = lambda row: row, **options: Any) -> Rehearsal:
    """The new body, put to a run of the old one."""

    async def main() -> Rehearsal:
        async with stage() as found:
            row, entries = await played(found, old)
            files = set(found.engine.artifacts.root.rglob("*"))
            RAN.clear()
            rehearsal = rehearse(declared(new, **options).spec, change(row), entries, found.engine.artifacts)
            assert RAN == []
            assert set(found.engine.artifacts.root.rglob("*")) == files
            assert (await loaded(found)) == (row, entries)
            return rehearsal

    return asyncio.run(asyncio.wait_for(main(), 20))


def found_in(rehearsal: Rehearsal) -> list[tuple[str, str | None]]:
    return [(found.what, found.step) for found in rehearsal.differences]


# A run that has ended


async def original() -> list[str]:
    found = [await load("a"), await load("b")]
    return [await save(each) for each in found]


async def branches() -> list[str]:
    return list(await gather(load("a"), load("b")))


async def undone() -> str:
    receipt = await charge(5)
    await fails(receipt)
    return receipt


async def stalls() -> None:
    await asyncio.Event().wait()


async def everything() -> Any:
    tasks = [asyncio.create_task(load(what)) for what in "abc"]
    done, late = await asyncio.wait(tasks, timeout=5)
    await sleep(0.001)
    async with asyncio.timeout(5):
        kid = await child("k")
    many = await load.map(["x", "y", "z"])
    try:
        await fails("f")
    except segue.StepFailed as error:
        return sorted(task.result() for task in done), len(late), kid, many, str(error), segue.random(), {"b", "a"}


@pytest.mark.parametrize("body", [original, branches, undone, stalls, everything])
def test_code_that_did_not_change_does_the_same(body: Body) -> None:
    rehearsal = tried(body, body)
    assert rehearsal.same, rehearsal
    assert rehearsal.met == rehearsal.outcomes
    assert rehearsal.next == ()


async def other_input() -> list[str]:
    return [await save(each) for each in [await load("a"), await load("c")]]


async def swallows() -> list[str]:
    try:
        return [await load("c")]
    except Exception:
        return await original()


async def task_before() -> Any:
    return await gather(extra("new"), load("a"), load("b"))


async def one_branch() -> Any:
    return await gather(load("a"))


async def shifted() -> Any:
    return await gather(extra("new"), load("a"))


async def one_more() -> list[str]:
    found = [await load("a"), await load("b")]
    await extra("between")
    return [await save(each) for each in found]


async def one_more_at_the_end() -> list[str]:
    found = await original()
    await extra("end")
    return found


async def one_less() -> list[str]:
    found = [await load("a"), await load("b")]
    return [await save(found[0]), f"saved {found[1]}"]


async def other_result() -> dict[str, list[str]]:
    return {"saved": await original()}


async def raises() -> list[str]:
    await load("a")
    raise KeyError("income")


async def goes_on() -> str:
    receipt = await charge(5)
    await fails.outcome(receipt)
    return receipt


async def goes_on_to_another() -> str:
    await charge(5)
    return await extra("on")


async def goes_on_to_sleep() -> None:
    await charge(5)
    await sleep("1h")


async def mended() -> str:
    receipt = await charge(5)
    try:
        await fails(receipt)
    except segue.StepFailed:
        raise ValueError("in another way") from None
    return receipt


async def sleeps() -> list[str]:
    found = await original()
    await sleep("1h")
    return found


async def sleeps_beside() -> list[str]:
    async with asyncio.timeout(60):
        return await original()


async def starts_another() -> list[str]:
    beside = asyncio.create_task(extra("beside"))
    found = await original()
    beside.cancel()
    return found


async def waits_for_it() -> list[str]:
    await wait_for("paid")
    return await original()


CHANGES: list[tuple[Body, Body, str, str | None, tuple[str, ...]]] = [
    (original, other_input, "input", "load#2", ('{"what":"c"}', '{"what":"b"}')),
    (original, swallows, "input", "load", ('{"what":"c"}', '{"what":"a"}')),
    (branches, task_before, "input", "2/load", ('{"what":"a"}', '{"what":"b"}')),
    (one_branch, shifted, "shifted", "2/load", ("'1/load'", "'2/load'", "a task was added")),
    (original, one_more, "new", "extra", ('{"what":"between"}', "does not have it", "'save'")),
    (original, one_more_at_the_end, "new", "extra", ('{"what":"end"}', "does not have it")),
    (original, starts_another, "new", "1/extra", ('{"what":"beside"}', "cancelled at once")),
    (original, waits_for_it, "new", "@wait.paid", ("signal 'paid'", "does not have it")),
    (original, sleeps, "new", "@timer", ("a timer", "does not have it")),
    (original, one_less, "left", "save#2", ('{"what":"B"}', "not asked for any more")),
    (one_more, original, "left", "extra", ('{"what":"between"}', "not asked for any more")),
    (original, other_result, "result", None, ('["saved A","saved B"]', '{"saved":')),
    (original, raises, "end", None, ("ended completed", "failed with KeyError: 'income'")),
    (raises, original, "new", "load#2", ("does not have it",)),
    (undone, goes_on, "end", None, ("ended with StepFailed", "would end completed")),
    (undone, goes_on_to_another, "new", "extra", ('{"what":"on"}', "not asked for so far: step 'fails'")),
    (undone, goes_on_to_sleep, "end", None, ("ended with StepFailed", "goes on now: it waits for a timer")),
    (undone, mended, "end", None, ("ended with StepFailed", "ValueError: in another way")),
    (goes_on, undone, "undo", "charge", ("'charge'", "would be undone")),
    (stalls, original, "new", "load", ("does not have it",)),
]


@pytest.mark.parametrize(
    ("old", "new", "what", "step", "said"), CHANGES, ids=lambda part: getattr(part, "__name__", "")
)
def test_a_change_is_told_with_its_place(
    old: Body, new: Body, what: str, step: str | None, said: tuple[str, ...]
) -> None:
    rehearsal = tried(old, new)
    assert not rehearsal.same
    first = rehearsal.differences[0]
    assert (first.what, first.step) == (what, step), rehearsal
    for words in said:
        assert words in first.said


def test_what_cannot_be_felt_is_no_change() -> None:
    assert tried(original, sleeps_beside).same


def test_both_values_are_given() -> None:
    first = tried(original, other_input).differences[0]
    assert (first.recorded, first.today) == ({"what": "b"}, {"what": "c"})
    first = tried(original, other_result).differences[0]
    assert first.recorded == ["saved A", "saved B"]
    assert first.today == {"saved": ["saved A", "saved B"]}
    first = tried(original, raises).differences[0]
    assert "raise KeyError" in first.today["traceback"]


def test_all_that_is_left_is_told() -> None:
    async def nothing() -> str:
        return "nothing"

    found = tried(original, nothing)
    left = [("left", step) for step in ("load", "load#2", "save", "save#2")]
    assert found_in(found) == [*left, ("result", None)]
    assert (found.met, found.outcomes) == (0, 4)


def test_it_says_whether_the_flow_itself_has_changed() -> None:
    assert not tried(original, other_input).changed  # what the flow calls has
    assert tried(original, original, version="2").changed
    assert tried(original, original, version="2").same


def test_a_flow_that_runs_changed_steps_again_is_told_of_and_nothing_runs() -> None:
    rehearsal = tried(original, other_input, on_divergence="rerun")
    assert found_in(rehearsal) == [("again", "load#2")]
    assert "would run again" in rehearsal.differences[0].said
    assert (rehearsal.differences[0].recorded, rehearsal.differences[0].today) == ({"what": "b"}, {"what": "c"})


def test_a_failure_is_compared_by_type_and_message() -> None:
    async def fails_with_a() -> None:
        raise ValueError("a")

    async def fails_with_b() -> None:
        raise ValueError("b")

    assert tried(fails_with_a, fails_with_a).same
    rehearsal = tried(fails_with_a, fails_with_b)
    assert found_in(rehearsal) == [("end", None)]
    assert rehearsal.differences[0].said == "the run ended with ValueError: a, and would end failed with ValueError: b"


def test_sets_and_dicts_are_the_same_in_any_order() -> None:
    async def some() -> dict[str, Any]:
        return {"a": {str(n) for n in range(50)}, "nan": float("nan")}

    async def turned() -> dict[str, Any]:
        return {"a": {str(n) for n in reversed(range(50))}, "nan": float("nan")}

    @flow(name="sets")
    async def sets() -> set[str]:
        return {str(n) for n in range(50)}

    assert tried(some, turned).same

    async def main() -> None:
        async with stage() as found:
            await found.play(sets)
            row, entries = await loaded(found)
            turned = encode([str(n) for n in reversed(range(50))], "a set in another order")
            assert rehearse(sets.spec, row._replace(result=turned), entries, found.engine.artifacts).same

    asyncio.run(main())


def test_large_values_are_read_and_not_written() -> None:
    async def big() -> list[str]:
        return [await large(300_000), await load("y" * 400_000)]

    async def bigger() -> list[str]:
        return [*await big(), "more"]

    assert tried(big, big).same
    rehearsal = tried(big, bigger)
    assert found_in(rehearsal) == [("result", None)]
    assert rehearsal.differences[0].today[2] == "more"


@asynchronous
async def test_large_values_that_are_gone_are_named() -> None:
    async def big() -> str:
        return await large(300_000)

    async with stage() as found:
        row, entries = await played(found, big)
        for file in found.engine.artifacts.root.rglob("*"):
            if file.is_file():
                file.unlink()
        rehearsal = rehearse(declared(big).spec, row, entries, found.engine.artifacts)
        assert "CorruptRecord: artifact" in rehearsal.differences[0].said


def test_what_cannot_be_read_has_a_verdict_too() -> None:
    row = Row(
        "r", "f", "", "", Status.COMPLETED, None, None, "w", None, 0, None, None, 0.0, 0.0, 0.0, 0.0, 1, 0, b"", b"", 0
    )
    found = unreadable(row, CorruptRecord("entry 3 is not what was written"))
    assert found.differences == (
        Difference("unreadable", None, "its record cannot be read: entry 3 is not what was written"),
    )


def test_an_input_that_does_not_fit_any_more() -> None:
    @flow(name="takes")
    async def takes(number: int) -> int:
        return number

    @flow(name="takes")
    async def renamed(count: int) -> int:
        return count

    @flow(name="takes")
    async def retyped(number: list[int]) -> int:
        return len(number)

    async def main() -> None:
        async with stage() as found:
            assert await found.play(takes, 3) == 3
            run = await loaded(found)
            for changed, said in ((renamed, "TypeError"), (retyped, "Unstorable: parameter 'number'")):
                rehearsal = rehearse(changed.spec, *run, found.engine.artifacts)
                assert found_in(rehearsal) == [("end", None)]
                assert said in rehearsal.differences[0].said

    asyncio.run(main())


# A run that has not ended


def as_open(row: Row) -> Row:
    return row._replace(status=Status.RUNNING, result=None, ended=None)


def crashed(old: Body, new: Body, entries: int, **options: Any) -> Rehearsal:
    """The new body, put to a run of the old one whose worker died after so many entries."""

    async def main() -> Rehearsal:
        async with stage() as found:
            row, journal = await played(found, old)
            RAN.clear()
            spec = declared(new, **options).spec
            rehearsal = rehearse(spec, as_open(row), journal[:entries], found.engine.artifacts)
            assert RAN == []
            return rehearsal

    return asyncio.run(main())


def test_what_it_would_do_next_is_no_change() -> None:
    for entries, following in enumerate(["load", "load#2", "save", "save#2", "its end: completed"]):
        rehearsal = crashed(original, original, entries)
        assert (rehearsal.same, rehearsal.met, rehearsal.next) == (True, entries, (following,))


def test_a_step_that_is_added_later_on_is_no_change() -> None:
    assert crashed(original, one_more, 2).next == ("extra",)
    assert crashed(original, one_more, 2).same


def test_a_step_that_is_added_before_what_is_recorded_is_told_of() -> None:
    rehearsal = crashed(original, one_more, 3)
    assert found_in(rehearsal) == [("new", "extra")]
    assert "not asked for so far: step 'save'" in rehearsal.differences[0].said


def test_a_step_that_is_gone_is_told_of() -> None:
    assert found_in(crashed(one_more, original, 3)) == [("new", "save")]
    assert "'extra'" in crashed(one_more, original, 3).differences[0].said


def test_code_that_raises_before_all_is_met() -> None:
    rehearsal = crashed(original, raises, 3)
    assert found_in(rehearsal) == [("left", "load#2"), ("left", "save")]
    rehearsal = crashed(original, raises, 1)
    assert rehearsal.same  # it may have failed before the crash as well, and the record not have it yet
    assert rehearsal.next == ("its end: failed with KeyError: 'income'",)


def test_an_undo_that_follows_is_no_change() -> None:
    assert crashed(undone, undone, 3).next == ("@undo(charge)/refund",)


async def waits() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep("2h"))
        group.create_task(wait_for("paid"))
        group.create_task(ask_human("well?"))


async def waits_no_more() -> None:
    await asyncio.sleep(0)


@asynchronous
async def test_a_run_that_waits() -> None:
    async with stage() as found:
        handle = await declared(waits).options(id="main").start()
        while await handle.status() != "waiting":  # there is no event for it on disk; to look gives the loop turns
            pass
        run, artifacts = await loaded(found), found.engine.artifacts
        rehearsal = rehearse(declared(waits).spec, *run, artifacts)
        assert rehearsal.same
        assert rehearsal.next == ("a timer", "signal 'paid'", "3/ask_human")

        rehearsal = rehearse(declared(waits_no_more).spec, *run, artifacts)
        assert found_in(rehearsal) == [("left", "3/ask_human"), ("end", None)]
        assert "the run waits (" in rehearsal.differences[1].said
        assert rehearsal.differences[1].said.endswith("and would end completed")


@asynchronous
async def test_a_child_is_an_outcome_and_another_run() -> None:
    async def calls() -> str:
        return await child("x")

    async def calls_another() -> str:
        return await child("y")

    async with stage() as found:
        row, entries = await played(found, calls)
        artifacts = found.engine.artifacts
        assert rehearse(declared(calls).spec, row, entries, artifacts).same
        assert found_in(rehearse(declared(calls_another).spec, row, entries, artifacts)) == [("input", child.name)]
        assert rehearse(declared(calls).spec, as_open(row), [], artifacts).next == (child.name,)
        rows = await found.store.find(Query(parent="main"))
        assert rehearse(child.spec, *await loaded(found, rows[0].id), artifacts).same
    assert RAN == ["load x"]


# What people do to runs


@asynchronous
async def test_a_run_that_was_cancelled() -> None:
    @flow(name="long", timeout="1h")
    async def long() -> None:
        await gather(load("a"), sleep("2h"))

    async with stage() as found:
        handle = await long.options(id="main").start()
        await until(lambda: any(told.what == "step" for told in found.heard))
        await handle.cancel("enough", by="ada")
        with pytest.raises(segue.RunCancelled):
            await handle.result()
        run, artifacts = await loaded(found), found.engine.artifacts
        assert rehearse(long.spec, *run, artifacts).same

        @flow(name="long", timeout="1h")  # not before: the run may leave memory, and go on with whatever has its name
        async def other() -> None:
            await gather(load("a"), extra("b"))

        assert found_in(rehearse(other.spec, *run, artifacts))[0] == ("new", "2/extra")


@asynchronous
async def test_a_run_that_was_cancelled_before_it_began() -> None:
    async with stage() as found:
        found.engine.execute = False
        handle = await child.options(id="main").start("x")
        await handle.cancel()
        rehearsal = rehearse(child.spec, *await loaded(found), found.engine.artifacts)
        assert rehearsal.same
        assert rehearsal.next == ("load",)


@asynchronous
async def test_a_run_that_was_redriven() -> None:
    broken = [True]

    @flow(name="mended")
    async def mended() -> list[str]:
        found = [await load("a")]
        if broken[0]:
            raise KeyError("income")
        return [*found, await load("b")]

    async with stage() as found:
        with pytest.raises(RunFailed):
            await found.play(mended)
        broken[0] = False
        artifacts = found.engine.artifacts
        before = rehearse(mended.spec, *await loaded(found), artifacts)
        assert found_in(before) == [("new", "load#2")]

        await segue.repair.redrive("main", by="ada", store=found.store)
        found.engine.nudge()
        await (await mended.handle("main")).result()
        assert rehearse(mended.spec, *await loaded(found), artifacts).same


@pytest.mark.parametrize("type", ["Divergence", "WorkerLost", "CorruptRecord", "NeverAwaits"])
def test_an_end_that_the_code_did_not_come_to_is_none(type: str) -> None:
    def cut_short(row: Row) -> Row:
        return row._replace(status=Status.FAILED, result=encode(Failure(type, "?"), "a failure"))

    rehearsal = tried(original, one_more_at_the_end, cut_short)
    assert rehearsal.same
    assert rehearsal.next == ("extra",)


# Code that does not settle

STOP = [False]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(lease, "PATIENCE", 0.2)
    STOP[0] = False
    yield
    STOP[0] = True


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("open", [False, True])
def test_code_that_never_awaits(open: bool) -> None:
    async def busy() -> None:
        while True:
            pass

    async def busy_with_awaits() -> None:
        while True:  # noqa: ASYNC110 - what is wrong with it is the point
            await asyncio.sleep(0)

    for body in (busy, busy_with_awaits):
        rehearsal = crashed(original, body, 1) if open else tried(original, body)
        assert found_in(rehearsal)[0] == ("unsettled", None)
        assert "without an await" in rehearsal.differences[0].said


@pytest.mark.usefixtures("impatient")
def test_code_that_never_awaits_and_cannot_be_stopped() -> None:
    async def deaf() -> None:
        while not STOP[0]:
            try:
                while not STOP[0]:
                    pass
            except Exception:
                pass

    rehearsal = tried(original, deaf)
    assert found_in(rehearsal) == [("unsettled", None)]
    assert "catches what is thrown into it" in rehearsal.differences[0].said


def test_a_flow_that_ends_the_program_fails() -> None:
    async def leaves() -> None:
        raise SystemExit(3)

    assert tried(leaves, leaves).same
    assert "SystemExit: 3" in tried(original, leaves).differences[0].said


# Beside


@asynchronous
async def test_nothing_is_logged_twice(caplog: pytest.LogCaptureFixture) -> None:
    async def lost() -> None:
        raise ValueError("nobody awaits this")

    async def talks() -> str:
        segue.log.warning("first")
        found = await load("a")
        segue.log.warning("second")
        task = asyncio.create_task(lost())
        await asyncio.sleep(0)
        del task
        await asyncio.sleep(0)
        return found

    caplog.set_level(logging.INFO)
    async with stage() as found:
        row, entries = await played(found, talks)
        assert [record.getMessage() for record in caplog.records][:2] == ["first", "second"]
        caplog.clear()
        assert rehearse(declared(talks).spec, row, entries, found.engine.artifacts).same
        assert caplog.records == []
        segue.log.warning("it speaks again")
        assert len(caplog.records) == 1


def test_outside_a_loop_too() -> None:
    async def recorded() -> tuple[Row, list[Entry]]:
        async with stage() as found:
            return await played(found, original)

    assert rehearse(declared(original).spec, *asyncio.run(recorded()), NOWHERE).same


# Random programs

NOWHERE = Artifacts(Path("/nowhere"))
DEEP = os.environ.get("SEGUE_DEEP") == "1"
MARK = "mark"
settings.register_profile("rehearsal", deadline=None, suppress_health_check=list(HealthCheck), database=None)


class Recorded(NamedTuple):
    row: Row
    entries: list[Entry]


async def stored(done: Trial) -> list[Recorded]:
    """All runs of a trial."""
    store = SqliteStore(None)
    await store.open()
    for table, rows in (("runs", done.runs), ("entries", done.entries)):
        for row in rows:
            store.db.execute(f"insert into {table} values({','.join('?' * len(row))})", row)
    runs = [await store.load(row.id) for row in await store.find(Query(limit=1000))]
    await store.close()
    return [Recorded(*run) for run in runs if run is not None]


def on(tree: Tree, recorded: Recorded) -> Rehearsal:
    """The rehearsal of a program's run with another program's tree: the code has changed."""
    changed = recorded.row._replace(input=encode({"tree": tree, "steady": False}, "a program"))
    return rehearse(program.spec, changed, recorded.entries, NOWHERE)


def leaves(tree: Tree, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    if tree[0] in ("step", "flaky"):
        yield path
    else:
        for index, part in enumerate(tree[1]):
            yield from leaves(part, (*path, index))


def at(tree: Tree, path: tuple[int, ...]) -> Tree:
    for index in path:
        tree = tree[1][index]
    return tree


def renamed(r: random.Random, tree: Tree) -> Tree:
    """The program with the mark as one step's input."""
    changed = copy.deepcopy(tree)
    at(changed, r.choice(list(leaves(changed))))[1] = MARK
    return changed


def grown(r: random.Random, tree: Tree) -> Tree:
    """The program with one more step, beside another."""
    changed = copy.deepcopy(tree)
    path = r.choice(list(leaves(changed)))
    if not path:
        return ["chain", [changed, ["step", MARK]], False, 0.001]
    parts = at(changed, path[:-1])[1]
    parts.insert(r.randint(0, len(parts)), ["step", MARK])
    return changed


reached: list[Tree] = []
"""Marked steps, and child runs with one, that a program came to."""


@pytest.fixture
def watched() -> Generator[None, None, None]:
    real = programs.execute

    async def execute(tree: Tree, steady: bool) -> Any:
        if (tree[0] in ("step", "flaky") and tree[1] == MARK) or (tree[0] == "child" and MARK in repr(tree[1][:1])):
            reached.append(tree)
        return await real(tree, steady)

    programs.execute = execute
    yield
    programs.execute = real


async def unchanged(seed: int) -> None:
    r = random.Random(seed)
    tree = generate(r, KINDS + TIMED)
    live = await trial(tree, False, [], [])
    resumed = await trial(tree, False, *cut(live, r.randint(0, len(live.entries))))
    runs = [run for done in (live, resumed) for run in await stored(done)]
    programs.ran.clear()
    for row, entries in runs:
        whole = rehearse(program.spec, row, entries, NOWHERE)
        assert whole.same, f"seed {seed}: {whole}"
        assert whole.met == whole.outcomes
        part = rehearse(program.spec, as_open(row), entries[: r.randint(0, len(entries))], NOWHERE)
        assert part.same, f"seed {seed}: {part}"
        assert part.met == part.outcomes
        assert part.next
    assert programs.ran == [], f"a body ran: seed {seed}"


async def changed(seed: int) -> None:
    r = random.Random(seed)
    tree = generate(r, KINDS + TIMED)
    more = grown(r, tree)
    before, after = [
        next(run for run in await stored(await trial(code, False, [], [])) if run.row.id == "main")
        for code in (tree, more)
    ]
    programs.ran.clear()

    reached.clear()
    other = on(renamed(r, tree), before)
    assert other.same != bool(reached), f"seed {seed}: {other}"
    if reached:
        assert other.differences[0].what == "input"
        assert MARK in other.differences[0].said

    reached.clear()
    with_more = on(more, before)
    assert not (reached and with_more.same), f"seed {seed}: {with_more}"

    reached.clear()
    assert on(more, after).same
    with_less = on(tree, after)
    assert not (reached and with_less.same), f"seed {seed}: {with_less}"
    for found in (with_more, with_less):
        assert found.same or any(one.step is not None for one in found.differences), f"seed {seed}: {found}"
    assert programs.ran == [], f"a body ran: seed {seed}"


@settings(settings.get_profile("rehearsal"), max_examples=600 if DEEP else 40)
@given(st.integers(0, 2**32))
def test_random_programs_would_do_the_same(seed: int) -> None:
    asyncio.run(unchanged(seed))


@pytest.mark.usefixtures("watched")
@settings(settings.get_profile("rehearsal"), max_examples=600 if DEEP else 40)
@given(st.integers(0, 2**32))
def test_a_change_of_a_random_program_is_found(seed: int) -> None:
    asyncio.run(changed(seed))
