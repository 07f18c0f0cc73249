"""Flows: plain asyncio in them, what they refuse, children, options, handles, and the ways to start one."""

import asyncio
import gc
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import segue
from segue import (
    Conflict,
    DeclarationError,
    RunFailed,
    RunTimedOut,
    StepFailed,
    UnknownRun,
    Unstorable,
    UsageError,
    flow,
    step,
    wait,
)
from segue.core.entries import Kind
from segue.runtime.registry import FLOWS

from .stage import asynchronous, stage

gates: dict[str, asyncio.Event] = {}
entered: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    gates.clear()
    entered.clear()
    trail.clear()


trail: list[str] = []


@step
async def work(name: str) -> str:
    """Waits for its gate, if it has one."""
    trail.append(name)
    if name in entered:
        entered[name].set()
    if name in gates:
        await gates[name].wait()
    return f"did {name}"


@step
async def fails(name: str) -> str:
    raise ValueError(name)


@step
async def slow(name: str) -> str:
    """Never ends by itself."""
    try:
        await asyncio.Event().wait()
    finally:
        trail.append(f"stopped {name}")
    return name


# What asyncio offers


@flow
async def gathers() -> list[str]:
    return await asyncio.gather(*[work(name) for name in "abc"])


@flow
async def gathers_errors() -> list[str]:
    found = await asyncio.gather(work("a"), fails("b"), return_exceptions=True)
    return [str(part) for part in found]


@flow
async def groups() -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(name)) for name in "ab"]
    return [task.result() for task in tasks]


@flow
async def group_fails() -> list[str]:
    found: list[str] = []
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(slow("a"))
            group.create_task(fails("b"))
    except* StepFailed as failures:
        found += [str(failure) for failure in failures.exceptions]
    return found


@flow
async def waits_for_first() -> list[str]:
    tasks = [asyncio.create_task(work("a")), asyncio.create_task(slow("b"))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return [task.result() for task in done]


@flow
async def waits_in_vain() -> str:
    try:
        return await asyncio.wait_for(slow("a"), 0.01)
    except TimeoutError:
        return await work("instead")


@flow
async def times_out() -> str:
    try:
        async with asyncio.timeout(0.01):
            return await slow("a")
    except TimeoutError:
        return await work("instead")


@flow
async def through_a_queue() -> list[str]:
    queue: asyncio.Queue[str] = asyncio.Queue(1)

    async def produce() -> None:
        for name in "abc":
            await queue.put(await work(name))

    producer = asyncio.create_task(produce())
    found = [await queue.get() for _ in range(3)]
    await producer
    return found


@flow
async def by_event() -> list[str]:
    event, found = asyncio.Event(), list[str]()

    async def after() -> None:
        await event.wait()
        found.append(await work("after"))

    async def first() -> None:
        found.append(await work("first"))
        event.set()

    await asyncio.gather(after(), first())
    return found


@flow
async def under_locks() -> list[str]:
    lock, few, condition = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Condition()

    async def one(name: str) -> str:
        async with few, lock:
            found = await work(name)
        async with condition:
            condition.notify_all()
        return found

    return await asyncio.gather(*[one(name) for name in "abcd"])


@flow
async def as_tasks_complete() -> list[str]:
    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    return [await task for task in asyncio.as_completed(tasks)]


@flow
async def barrier() -> list[int]:
    both = asyncio.Barrier(2)

    async def one(name: str) -> int:
        await work(name)
        return await both.wait()

    return sorted(await asyncio.gather(one("a"), one("b")))


@flow
async def eagerly() -> str:
    loop: Any = asyncio.get_running_loop()
    return await loop.create_task(work("a"), eager_start=True, name="mine")


PLAIN: list[tuple[Any, Any]] = [
    (gathers, ["did a", "did b", "did c"]),
    (gathers_errors, ["did a", "step 'fails' failed: ValueError: b"]),
    (groups, ["did a", "did b"]),
    (group_fails, ["step '2/fails' failed: ValueError: b"]),
    (waits_for_first, ["did a"]),
    (waits_in_vain, "did instead"),
    (times_out, "did instead"),
    (through_a_queue, ["did a", "did b", "did c"]),
    (by_event, ["did first", "did after"]),
    (under_locks, ["did a", "did b", "did c", "did d"]),
    (as_tasks_complete, ["did a", "did b", "did c"]),
    (barrier, [0, 1]),
    (eagerly, "did a"),
]


@pytest.mark.parametrize(("made", "expected"), PLAIN, ids=[made.name.rpartition(".")[2] for made, _ in PLAIN])
@asynchronous
async def test_plain_asyncio_works_in_a_flow_and_replays_without_running_a_body(made: Any, expected: Any) -> None:
    async with stage() as on:
        found = await on.play(made)
        if made is gathers_errors:
            found = [part.replace("2/", "") for part in found]
        assert found == expected
        again = await on.again(made)
        assert [part.replace("2/", "") for part in again] if made is gathers_errors else again == expected
        assert on.attempts() == []


@pytest.mark.parametrize("made", [waits_for_first, group_fails, waits_in_vain, times_out], ids=lambda made: made.name)
@asynchronous
async def test_what_loses_is_cancelled_and_its_end_is_recorded(made: Any) -> None:
    async with stage() as on:
        await on.play(made)
        ends = [entry.kind for entry in await on.journal() if entry.step.endswith("slow")]
    assert ends == [Kind.CANCELLED]
    assert any(said.startswith("stopped") for said in trail)


# What replays otherwise than it ran, or not at all, is refused by name


@flow
async def completes_bare_calls() -> None:
    for call in asyncio.as_completed([work("a"), work("b")]):
        await call


async def opens() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def serves() -> None:
    await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)


async def threads() -> None:
    await asyncio.to_thread(print)


async def executes() -> None:
    await asyncio.get_running_loop().run_in_executor(None, print)


async def starts() -> None:
    await asyncio.create_subprocess_exec("true")


async def starts_a_shell() -> None:
    await asyncio.create_subprocess_shell("true")


async def resolves() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def reads() -> None:
    with socket.socket() as some:
        await asyncio.get_running_loop().sock_recv(some, 1)


async def listens() -> None:
    asyncio.get_running_loop().add_reader(0, print)


IO: dict[str, tuple[Callable[[], Any], str]] = {
    "open_connection": (opens, "open a connection"),
    "start_server": (serves, "open a server"),
    "to_thread": (threads, "run blocking code"),
    "run_in_executor": (executes, "run blocking code"),
    "create_subprocess_exec": (starts, "start a process"),
    "create_subprocess_shell": (starts_a_shell, "start a process"),
    "getaddrinfo": (resolves, "resolve a name"),
    "sock_recv": (reads, "use a socket"),
    "add_reader": (listens, "wait for a file"),
}


@flow
async def does_io(name: str) -> None:
    await IO[name][0]()


@pytest.mark.parametrize("name", IO)
@asynchronous
async def test_io_in_a_flows_body_is_refused_by_name(name: str) -> None:
    async with stage() as on:
        with pytest.raises(RunFailed) as failed:
            await on.play(does_io, name)
    assert failed.value.error.is_a(segue.NotInFlow)
    assert failed.value.error.message.startswith(f"a flow's body cannot {IO[name][1]}")
    assert "Put it into a step" in failed.value.error.message


@asynchronous
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_as_completed_on_bare_calls_is_refused_with_the_form_that_works() -> None:
    async with stage() as on:
        with pytest.raises(RunFailed) as failed:
            await on.play(completes_bare_calls)
    assert failed.value.error.is_a(segue.NotInFlow)
    assert "asyncio.as_completed([asyncio.create_task(call) for call in calls])" in failed.value.error.message
    del failed
    gc.collect()  # the calls are found here, and not in the midst of another test


@flow
async def waits_for_nothing() -> None:
    await asyncio.Event().wait()


@asynchronous
async def test_a_flow_that_waits_for_what_nothing_will_bring_fails_and_says_so() -> None:
    async with stage() as on:
        with pytest.raises(RunFailed, match="the flow waits for something that nothing will bring"):
            await on.play(waits_for_nothing)


@flow
async def starts_another() -> None:
    await gathers.start()


@asynchronous
async def test_a_flow_does_not_start_runs_of_its_own_from_its_body() -> None:
    async with stage() as on:
        with pytest.raises(RunFailed, match="which would start it again at each replay: await it as a child"):
            await on.play(starts_another)


# Tasks that outlive the body


@flow
async def leaves_tasks_behind() -> str:
    task = asyncio.create_task(slow("left"))
    trail.append(task.get_name()[:4])
    return await work("main")


@asynchronous
async def test_tasks_alive_when_a_flow_returns_are_cancelled_and_recorded() -> None:
    async with stage() as on:
        assert await on.play(leaves_tasks_behind) == "did main"
        assert [(entry.step, entry.kind) for entry in await on.journal()] == [
            ("work", Kind.OK),
            ("1/slow", Kind.CANCELLED),
        ]
        assert "stopped left" in trail
        assert await on.again(leaves_tasks_behind) == "did main"
        assert on.attempts() == []


# Children


@flow
async def child(name: str) -> str:
    if name == "bad":
        return await fails(name)
    return await work(name)


@flow
async def parent(names: list[str]) -> list[str]:
    return await asyncio.gather(*[child(name) for name in names])


@flow
async def careful_parent() -> str:
    try:
        return await child("bad")
    except RunFailed as failed:
        return f"{type(failed).__name__}: {failed.error}"


@flow
async def impatient_parent() -> str:
    try:
        async with asyncio.timeout(0.01):
            return await slow_child()
    except TimeoutError:
        return "gave up"


@flow
async def slow_child() -> str:
    return await slow("child")


@asynchronous
async def test_a_flow_in_a_flow_is_a_run_of_its_own() -> None:
    async with stage() as on:
        assert await on.play(parent, ["a", "b"]) == ["did a", "did b"]
        rows = await on.store.find(segue_query(parent="main"))
        assert [(row.flow, row.status) for row in rows] == [("tests.test_flows.child", "completed")] * 2
        assert await on.again(parent) == ["did a", "did b"]
        assert on.attempts() == []
        assert len(await on.store.find(segue_query(parent="main"))) == 2


def segue_query(**fields: Any) -> Any:
    from segue.stores.base import Query

    return Query(**fields)


@asynchronous
async def test_a_childs_failure_reaches_its_parent_live_and_replayed() -> None:
    async with stage() as on:
        said = "RunFailed: StepFailed: step 'fails' failed: ValueError: bad"
        assert await on.play(careful_parent) == said
        assert await on.again(careful_parent) == said


@asynchronous
async def test_a_child_that_its_parent_gives_up_is_cancelled() -> None:
    async with stage() as on:
        assert await on.play(impatient_parent) == "gave up"
        (row,) = await on.store.find(segue_query(parent="main"))
        assert row.status == "cancelled"
        assert trail == ["stopped child"]


@asynchronous
async def test_a_child_that_ended_before_its_parent_resumed_is_not_run_again() -> None:
    async with stage() as on:
        await on.play(parent, ["a", "b"])
        trail.clear()
        assert await on.again(parent, upto=0) == ["did a", "did b"]
        assert trail == []


# Options and handles


@flow
async def simple(name: str) -> str:
    return await work(name)


@asynchronous
async def test_a_handle_knows_its_run() -> None:
    async with stage():
        gates["a"], entered["a"] = asyncio.Event(), asyncio.Event()
        handle = await simple.start("a")
        await entered["a"].wait()
        assert await handle.status() == "running"
        assert await handle.reason() is None
        gates["a"].set()
        assert await handle.result() == "did a"
        assert (await handle.status(), repr(handle)) == ("completed", f"<run {handle.id}>")
        again = await simple.handle(handle.id)
        assert (await again.result(), again.created) == ("did a", handle.created)


@asynchronous
async def test_a_run_that_is_not_there_is_named() -> None:
    async with stage():
        with pytest.raises(UnknownRun, match="no run has the id 'nowhere' in memory:"):
            await simple.handle("nowhere")


@asynchronous
async def test_the_same_id_and_input_attach_to_the_run_that_has_it() -> None:
    async with stage():
        first, second = await asyncio.gather(*[simple.options(id="mine").start("a") for _ in range(2)])
        assert (first.id, second.id) == ("mine", "mine")
        assert await asyncio.gather(first.result(), second.result()) == ["did a", "did a"]
        assert await simple.options(id="mine")("a") == "did a"
        assert trail == ["a"]


@asynchronous
async def test_the_same_id_with_another_input_or_flow_is_a_conflict_that_shows_both() -> None:
    async with stage():
        await simple.options(id="mine")("a")
        with pytest.raises(Conflict, match=r"""input \{"name":"a"\}; this input is \{"name":"b"\}"""):
            await simple.options(id="mine").start("b")
        with pytest.raises(Conflict, match=r"a run of 'tests.test_flows.simple', not of 'tests.test_flows.child'"):
            await child.options(id="mine").start("a")


@asynchronous
async def test_runs_of_higher_priority_are_claimed_first() -> None:
    async with stage(concurrency=1, execute=False) as on:
        handles = [await simple.options(priority=p).start(str(p)) for p in (0, 5, -1, 9)]
        on.engine.execute = True
        await asyncio.gather(*[handle.result() for handle in handles])
    assert trail == ["9", "5", "0", "-1"]


@asynchronous
async def test_a_delayed_run_is_queued_until_its_time() -> None:
    async with stage() as on:
        handle = await simple.options(delay="1h").start("a")
        assert await handle.status() == "queued"
        row = await on.engine.row(handle.id)
        assert row.due - row.created == 3600
        assert trail == []


@flow
async def never_ends() -> str:
    return await slow("run")


@flow(timeout=0.02)
async def short_of_time() -> str:
    return await slow("run")


@pytest.mark.parametrize("made", [never_ends.options(timeout=0.02), short_of_time])
@asynchronous
async def test_a_run_that_takes_too_long_is_ended_by_name(made: Any) -> None:
    async with stage():
        with pytest.raises(RunTimedOut) as ended:
            await made()
    assert isinstance(ended.value, TimeoutError)
    assert ended.value.error.message == "no result within 0.02 s"
    assert "stopped run" in trail


@flow(timeout=3600)
async def within_its_time() -> str:
    return await work("a")


@asynchronous
async def test_a_run_within_its_time_replays() -> None:
    async with stage() as on:
        assert await on.play(within_its_time) == "did a"
        assert await on.again(within_its_time) == "did a"


@asynchronous
async def test_at_most_so_many_runs_of_a_flow_execute_at_a_time() -> None:
    async with stage() as on:
        for name in "abc":
            gates[name], entered[name] = asyncio.Event(), asyncio.Event()
        handles = [await simple.options(concurrency=1).start(name) for name in "abc"]
        for name, handle in zip("abc", handles, strict=True):
            await entered[name].wait()
            assert len(on.engine.runs) == 1
            gates[name].set()
            await handle.result()
    assert trail == ["a", "b", "c"]


@flow(name="knows nobody")
async def forgotten() -> str:
    return "never"


@asynchronous
async def test_a_queued_run_whose_flow_no_worker_knows_waits_with_that_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(execute=False):
        handle = await forgotten.start()
        assert await handle.reason() == "for a free worker"
        monkeypatch.delitem(FLOWS, forgotten.name)
        assert await handle.reason() == "for a worker that knows flow 'knows nobody'"


@pytest.mark.parametrize("id", ["", "x" * 201, "a\nb", "naïve", 7])
def test_an_id_that_cannot_be_one_is_refused(id: Any) -> None:
    with pytest.raises(UsageError, match="a run's id is 1 to 200 printable ASCII characters"):
        simple.options(id=id)


@pytest.mark.parametrize(
    ("options", "said"), [({"concurrency": 0}, "concurrency is 1 or more"), ({"delay": -1}, "not negative")]
)
def test_a_wrong_option_is_refused_when_it_is_given(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        simple.options(**options)


# Input and output of runs


@flow
async def typed(
    number: int, *more: Path, **rest: tuple[int, int]
) -> tuple[int, list[Path], dict[str, tuple[int, int]]]:
    return number, list(more), rest


@asynchronous
async def test_a_run_gets_its_arguments_as_they_are_annotated() -> None:
    async with stage():
        assert await typed(1, Path("a"), Path("b"), box=(1, 2)) == (1, [Path("a"), Path("b")], {"box": (1, 2)})


@asynchronous
async def test_a_wrong_argument_is_refused_before_there_is_a_run() -> None:
    async with stage() as on:
        with pytest.raises(
            Unstorable, match=r"parameter 'name' of flow 'tests.test_flows.simple'.*expected str, got int"
        ):
            await simple(3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="missing a required argument: 'name'"):
            await simple()  # type: ignore[call-arg]
        assert await on.store.find(segue_query()) == []


@flow
async def gives_the_wrong_type() -> int:
    return "1"  # type: ignore[return-value]


@asynchronous
async def test_a_result_that_is_not_what_the_flow_declares_fails_the_run() -> None:
    async with stage():
        with pytest.raises(
            RunFailed, match=r"result of flow 'tests.test_flows.gives_the_wrong_type'.*expected int, got str"
        ):
            await gives_the_wrong_type()


@flow
async def raises() -> None:
    raise LookupError("by the flow itself")


@asynchronous
async def test_a_failed_run_raises_with_its_cause_and_where_to_look() -> None:
    async with stage():
        with pytest.raises(RunFailed) as failed:
            await raises()
    assert isinstance(failed.value.__cause__, LookupError)
    assert failed.value.error.is_a(LookupError)
    assert failed.value.__notes__ == [f"See all of it: segue show {failed.value.run}"]


# Divergence

the_weather = ["sunny"]


@flow
async def reads_a_global() -> str:
    return await work(the_weather[0])


@flow(on_divergence="rerun")
async def runs_again() -> str:
    return await work(the_weather[0])


@asynchronous
async def test_another_input_than_was_recorded_is_a_divergence_that_shows_both() -> None:
    async with stage() as on:
        the_weather[0] = "sunny"
        await on.play(reads_a_global)
        the_weather[0] = "rain"
        with pytest.raises(RunFailed) as failed:
            await on.again(reads_a_global)
    assert failed.value.error.is_a(segue.Divergence)
    assert """'work' is asked for with {"name":"rain"}, and was recorded with {"name":"sunny"}""" in str(failed.value)
    assert trail == ["sunny"]


@asynchronous
async def test_a_flow_may_ask_for_such_steps_to_run_again() -> None:
    async with stage() as on:
        the_weather[0] = "sunny"
        await on.play(runs_again)
        the_weather[0] = "rain"
        assert await on.again(runs_again) == "did rain"
        assert await on.again(runs_again) == "did rain"
    assert trail == ["sunny", "rain"]


# Declaring


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: flow(lambda: None), "a flow is an async function"),  # type: ignore[arg-type, return-value]
        (lambda: flow(simple), "it is declared a step or flow already"),
        (lambda: flow(work), "it is declared a step or flow already"),
        (lambda: flow(on_divergence="maybe")(raises.fn), "on_divergence is 'fail' or 'rerun', not 'maybe'"),  # type: ignore[call-overload]
        (lambda: flow(timeout="soon")(raises.fn), "is not a duration"),
        (lambda: flow(name="a/b")(raises.fn), "a flow's name is 1 to 100 printable characters"),
    ],
    ids=["not async", "a flow", "a step", "divergence", "timeout", "name"],
)
def test_a_wrong_declaration_is_refused_when_it_is_made(declare: Callable[[], Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        declare()


# From code that is not async


def test_run_and_wait_serve_code_that_is_not_async(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "plain.py"
    script.write_text(
        "from segue import flow, step, wait\n"
        "@step\n"
        "def double(x: int) -> int: return 2 * x\n"
        "@flow\n"
        "async def twice(x: int) -> int: return await double(await double(x))\n"
        "print(twice.run(3))\n"
        "handle = wait(twice.start(4))\n"
        "print(wait(handle.result()), wait(handle.status()), twice.name)\n"
    )
    assert run_script(script).splitlines() == ["12", "16 completed plain.twice"]


def run_script(script: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    return done.stdout + done.stderr


TWO_STEPS = """
from segue import flow, step
@step
def first() -> int: return 1
@step
def second() -> int: return 2
@flow
async def both() -> int: return await first() + await second()
if __name__ == "__main__":
    print(both.run())
"""


def test_a_script_that_runs_twice_makes_two_runs_and_says_how_to_go_on_with_a_dead_one(tmp_path: Path) -> None:
    script = tmp_path / "counting.py"
    script.write_text(TWO_STEPS)
    assert run_script(script, SEGUE_CRASH_AT="after-body:2") == ""
    said = run_script(script)
    assert said.endswith("3\n") or said.startswith("3\n")
    assert "1 unfinished run in sqlite:" in said
    assert "to go on with them, segue resume" in said
    found = subprocess.run(
        [sys.executable, "-c", LIST], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    assert found.stdout.splitlines() == ["counting.both completed", "counting.both running"]


LIST = """
import asyncio
from segue.stores.base import Query
from segue.stores.urls import open_url
async def main():
    store = open_url("sqlite:.segue/segue.db")
    await store.open()
    for row in await store.find(Query()):
        print(row.flow, row.status)
    await store.close()
asyncio.run(main())
"""


@asynchronous
async def test_in_a_running_loop_run_and_wait_say_to_await() -> None:
    with pytest.raises(UsageError, match=r"simple.run\(\) blocks, and an event loop is running here: use await"):
        simple.run("a")
    with pytest.raises(UsageError, match=r"segue.wait\(\) blocks"):
        wait(asyncio.Event().wait())


# Admission


@flow(name="popular", max_queued=3)
async def popular(n: int) -> int:
    return n


@asynchronous
async def test_a_flow_takes_no_more_runs_than_may_wait_and_says_so() -> None:
    async with segue.Engine("memory:", execute=False):
        for n in range(3):
            await popular.options(id=f"p{n}").start(n)
        with pytest.raises(
            segue.QueueFull, match=r"'popular' takes no more runs now: 3 wait for a worker.*max_queued"
        ) as full:
            await popular.start(3)
        assert (full.value.flow, full.value.allowed) == ("popular", 3)
        again = await popular.options(id="p1").start(1)  # it is there: attached to, not refused
        assert again.id == "p1"


@pytest.mark.parametrize("most", [0, -1, True])
def test_a_limit_of_waiting_runs_that_cannot_be_is_refused(most: Any) -> None:
    with pytest.raises(DeclarationError, match="max_queued is 1 or more"):
        flow(name=f"limited {most}", max_queued=most)(popular.fn)


# What a resumed run is not to be blamed for


@asynchronous
async def test_a_parameter_that_was_renamed_ends_the_run_by_name() -> None:
    @flow(name="renamed")
    async def before(number: int) -> int:
        return number

    async with stage(execute=False) as s:
        handle = await before.options(id="main").start(7)

        @flow(name="renamed")
        async def after(count: int) -> int:
            return count

        s.engine.execute = True
        s.engine.nudge()
        with pytest.raises(RunFailed, match="unexpected keyword argument 'number'"):
            await handle.result()
        assert after.name == "renamed"


@asynchronous
async def test_a_flows_body_asks_no_engine() -> None:
    @flow(name="asks-itself")
    async def asks() -> str:
        return (await asks.handle("main")).id

    async with stage() as s:
        with pytest.raises(RunFailed, match="a flow's body cannot ask an engine for runs"):
            await s.play(asks)


@asynchronous
async def test_a_long_record_is_no_flow_that_never_awaits(monkeypatch: pytest.MonkeyPatch) -> None:
    @step
    async def one(n: int) -> int:
        return n

    @flow(name="many-steps")
    async def many() -> int:
        total = 0
        for n in range(300):
            total += await one(n)
        return total

    async with stage() as s:
        expected = await s.play(many)
        started: list[None] = []
        monkeypatch.setattr(s.engine.watch, "start", lambda: started.append(None))
        assert await s.again(many) == expected
        assert len(started) > 290, "the watch is on the time between two awaits, and not on the whole record"
