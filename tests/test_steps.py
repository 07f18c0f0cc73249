"""Steps: what a call gives, their policy in and outside of flows, threads, processes, resources, names."""

import asyncio
import gc
import importlib
import inspect
import os
import select
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

import segue
from segue import (
    DeclarationError,
    Permanent,
    Retry,
    StepFailed,
    StepTimedOut,
    Timeout,
    UnawaitedCall,
    Unstorable,
    UsageError,
    flow,
    resource,
    step,
    use,
)
from segue.core.entries import Kind

from . import processing
from .stage import asynchronous, stage

QUICK = Retry(2, backoff=0)


@step
async def double(x: int) -> int:
    """Twice as much."""
    return 2 * x


@step
def treble(x: int) -> int:
    return 3 * x


@flow
async def both(x: int) -> list[int]:
    return [await double(x), await treble(x)]


class Flaky(Exception):
    """Fails so many times."""

    def __init__(self, said: str = "again", retry_after: float | None = None) -> None:
        super().__init__(said)
        if retry_after is not None:
            self.retry_after = retry_after


# What a call gives


@pytest.mark.parametrize("made", [double, treble], ids=["async", "plain"])
@asynchronous
async def test_a_call_gives_a_real_coroutine_that_asyncio_takes(made: Any) -> None:
    call = made(2)
    assert inspect.iscoroutine(call)
    expected = await call
    assert await asyncio.create_task(made(2)) == expected
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made(2))
    assert task.result() == expected


@pytest.mark.parametrize("made", [double, treble], ids=["async", "plain"])
def test_a_call_that_is_not_awaited_is_warned_about(made: Any) -> None:
    call = made(2)
    with pytest.warns(RuntimeWarning, match="was never awaited"):
        del call


@asynchronous
async def test_a_step_keeps_its_function_name_and_doc() -> None:
    assert await double.fn(2) == 4
    assert treble.fn(2) == 6
    assert (double.name, double.__doc__) == ("double", "Twice as much.")
    assert list(inspect.signature(double).parameters) == ["x"]
    assert repr(double) == "<step double>"


def test_run_waits_for_a_step_in_code_that_is_not_async() -> None:
    assert (double.run(2), treble.run(2)) == (4, 6)


@asynchronous
async def test_a_call_that_was_not_awaited_is_named_when_it_is_passed_on_outside_a_flow() -> None:
    with pytest.raises(UnawaitedCall, match="the input of step 'double' holds a call that was not awaited"):
        await double(double(1))  # type: ignore[arg-type]


@flow
async def passes_a_call_on() -> int:
    call: Any = double(1)
    try:
        return await double(call)
    finally:
        call.close()


@asynchronous
async def test_a_call_that_was_not_awaited_is_named_when_it_is_passed_on_in_a_flow() -> None:
    async with stage() as on:
        with pytest.raises(segue.RunFailed) as failed:
            await on.play(passes_a_call_on)
    assert failed.value.error.is_a(UnawaitedCall)
    assert "the input of step 'double' holds a call that was not awaited, at $.x" in failed.value.error.message


@step
async def gives_a_call() -> Any:
    return double(1)


@flow
async def takes_a_call() -> Any:
    return await gives_a_call()


@asynchronous
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_a_call_that_was_not_awaited_is_named_when_a_step_returns_it() -> None:
    async with stage() as on:
        with pytest.raises(segue.RunFailed) as failed:
            await on.play(takes_a_call)
    assert "the result of step 'gives_a_call' holds a call that was not awaited" in failed.value.error.message
    del failed
    gc.collect()  # the calls are found here, and not in the midst of another test


@asynchronous
async def test_in_a_flow_async_and_plain_steps_are_recorded_alike() -> None:
    async with stage() as on:
        assert await on.play(both, 5) == [10, 15]
        assert [(e.kind, e.step, e.attempt) for e in await on.journal()] == [
            (Kind.OK, "double", 1),
            (Kind.OK, "treble", 1),
        ]
        assert await on.again(both) == [10, 15]
        assert on.attempts() == []


# The policy


tries: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    tries.clear()


def failing(times: int, make: Callable[[], Exception] = Flaky) -> str:
    tries.append("tried")
    if len(tries) <= times:
        raise make()
    return "done"


@step(retry=QUICK)
async def flaky(times: int) -> str:
    return failing(times)


@step(retry=QUICK)
def flaky_thread(times: int) -> str:
    return failing(times)


@step(retry=QUICK)
async def hopeless() -> str:
    return failing(9, lambda: Permanent("never"))


@step(retry=Retry(5, backoff=0, on=ConnectionError))
async def picky(kind: str) -> str:
    return failing(1, ConnectionError if kind == "connection" else ValueError)


def unsure(error: BaseException) -> bool:
    raise RuntimeError("the policy itself fails")


@step(retry=Retry(5, backoff=0, on=unsure))
async def badly_judged() -> str:
    return failing(1)


@step(retry=Retry(3, backoff=0, if_result=lambda text: text == "unsure"))
async def second_thoughts(unsure: int) -> str:
    tries.append("tried")
    return "unsure" if len(tries) <= unsure else "sure"


@step(retry=QUICK)
async def unstorable() -> Any:
    tries.append("tried")
    return (1, 2)


@step(retry=QUICK)
async def wrong_type() -> int:
    tries.append("tried")
    return "1"  # type: ignore[return-value]


@step
async def not_retried() -> str:
    return failing(1)


CASES: list[tuple[Any, tuple[Any, ...], int, str]] = [
    (flaky, (0,), 1, "done"),
    (flaky, (2,), 3, "done"),
    (flaky_thread, (2,), 3, "done"),
    (flaky, (3,), 3, "Flaky: again"),
    (flaky_thread, (3,), 3, "Flaky: again"),
    (hopeless, (), 1, "Permanent: never"),
    (picky, ("connection",), 2, "done"),
    (picky, ("value",), 1, "ValueError"),
    (badly_judged, (), 1, "Flaky: again"),
    (second_thoughts, (2,), 3, "sure"),
    (second_thoughts, (9,), 4, "UnwantedResult: if_result asks to retry unsure"),
    (not_retried, (), 1, "Flaky: again"),
]
NAMES = [f"{made.name}{args}" for made, args, _, _ in CASES]


@flow
async def calls(name: str, args: list[Any]) -> Any:
    return await globals()[name](*args)


@pytest.mark.parametrize(("made", "args", "attempts", "outcome"), CASES, ids=NAMES)
@asynchronous
async def test_a_flow_retries_as_the_policy_says(made: Any, args: tuple[Any, ...], attempts: int, outcome: str) -> None:
    async with stage() as on:
        try:
            found = await on.play(calls, made.name, list(args))
        except segue.RunFailed as failed:
            cause = failed.__cause__
            assert isinstance(cause, StepFailed)
            assert (cause.step, cause.attempts) == (made.name, attempts)
            found = str(cause.error)
        assert (found, len(tries)) == (outcome, attempts)
        kinds = [entry.kind for entry in await on.journal()]
        assert kinds == [Kind.ATTEMPT] * (attempts - 1) + [Kind.OK if outcome in ("done", "sure") else Kind.ERROR]
        assert [entry.attempt for entry in await on.journal()] == list(range(1, attempts + 1))


@pytest.mark.parametrize(("made", "args", "attempts", "outcome"), CASES, ids=NAMES)
@asynchronous
async def test_outside_flows_a_step_has_the_same_policy_and_its_errors_come_as_they_are(
    made: Any, args: tuple[Any, ...], attempts: int, outcome: str
) -> None:
    try:
        found = await made(*args)
    except segue.SegueError:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {error}".removesuffix(": ")
    assert (found, len(tries)) == (outcome, attempts)


@pytest.mark.parametrize(
    ("made", "said", "kind", "attempts"),
    [(unstorable, "would come back as a list", Unstorable, 1), (wrong_type, "expected int", segue.InvalidResult, 3)],
)
@asynchronous
async def test_what_cannot_be_stored_is_not_retried_but_what_is_of_another_type_is(
    made: Any, said: str, kind: type[Exception], attempts: int
) -> None:
    async with stage() as on:
        with pytest.raises(segue.RunFailed, match=said) as failed:
            await on.play(calls, made.name, [])
    assert isinstance(failed.value.__cause__, StepFailed)
    assert failed.value.__cause__.error.is_a(kind)
    assert len(tries) == attempts


@step(retry=Retry(3, backoff=7, factor=2, jitter=0, max_delay=10))
async def patient(asked: float | None) -> str:
    return failing(3, lambda: Flaky(retry_after=asked))


@flow
async def waits(asked: float | None) -> str:
    return await patient(asked)


@pytest.mark.parametrize(
    ("asked", "delays"), [(None, [7, 10, 10]), (8.5, [8.5, 10, 10]), (3600.0, [10, 10, 10]), (-1.0, [7, 10, 10])]
)
@asynchronous
async def test_the_waits_between_attempts_follow_the_policy_and_the_error(
    asked: float | None, delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage() as on:
        at_once(on.engine.ambient, monkeypatch)
        assert await on.play(waits, asked) == "done"
        assert [told.data["delay"] for told in on.heard if told.what == "retry"] == delays


def at_once(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no attempt wait."""
    real = loop.call_later

    def call_later(delay: float, callback: Any, *args: Any, **kwargs: Any) -> Any:
        return real(0 if getattr(callback, "__name__", "") == "_attempt" else delay, callback, *args, **kwargs)

    monkeypatch.setattr(loop, "call_later", call_later)


@asynchronous
async def test_attempts_that_failed_before_a_crash_count() -> None:
    async with stage() as on:
        assert await on.play(calls, "flaky", [2]) == "done"
        del tries[1:]
        assert await on.again(calls, upto=1) == "done"
        assert on.attempts() == [("flaky", 2), ("flaky", 3)]


# Timeouts


@step(timeout=0.02)
async def slow() -> None:
    tries.append("tried")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        tries.append("cancelled")
        raise


@step(timeout=0.02)
async def swallows() -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        pass
    return "late"


@step(timeout=0.02)
async def cleans_up_badly() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("while cleaning up")


@step(timeout=Timeout(attempt=0.01), retry=Retry(2, backoff=0))
async def slow_thrice() -> None:
    tries.append("tried")
    await asyncio.Event().wait()


@step(timeout=Timeout(total=0.05), retry=Retry(10_000, backoff=0.001))
async def slow_in_all() -> None:
    tries.append("tried")
    raise Flaky


@step(timeout=Timeout(attempt=5, total=0.02))
async def total_cuts_an_attempt() -> None:
    await asyncio.Event().wait()


TIMED: list[tuple[Any, str]] = [
    (slow, "StepTimedOut: no result within 0.02 s"),
    (swallows, "StepTimedOut: no result within 0.02 s"),
    (cleans_up_badly, "ValueError: while cleaning up"),
    (slow_thrice, "StepTimedOut: no result within 0.01 s"),
    (total_cuts_an_attempt, "StepTimedOut: no result within 0.02 s, all attempts together"),
]


@pytest.mark.parametrize(("made", "said"), TIMED, ids=[made.name for made, _ in TIMED])
@asynchronous
async def test_a_step_that_takes_too_long_fails_by_name(made: Any, said: str) -> None:
    async with stage() as on:
        with pytest.raises(segue.RunFailed) as failed:
            await on.play(calls, made.name, [])
    cause = failed.value.__cause__
    assert isinstance(cause, StepFailed)
    assert str(cause.error) == said
    assert isinstance(cause, StepTimedOut) == isinstance(cause, TimeoutError) == said.startswith("StepTimedOut")


@asynchronous
async def test_a_body_that_runs_out_of_time_is_cancelled() -> None:
    async with stage() as on:
        with pytest.raises(segue.RunFailed):
            await on.play(calls, "slow", [])
    assert tries == ["tried", "cancelled"]


@asynchronous
async def test_a_timeout_is_retried_like_any_failure() -> None:
    async with stage() as on:
        with pytest.raises(segue.RunFailed):
            await on.play(calls, "slow_thrice", [])
    assert len(tries) == 3


@asynchronous
async def test_the_total_bounds_all_attempts_together() -> None:
    async with stage() as on:
        with pytest.raises(segue.RunFailed):
            await on.play(calls, "slow_in_all", [])
    assert 1 < len(tries) < 1000


@pytest.mark.parametrize("made", [slow, slow_thrice, total_cuts_an_attempt], ids=lambda made: made.name)
@asynchronous
async def test_outside_flows_the_timeout_is_a_plain_one(made: Any) -> None:
    with pytest.raises(TimeoutError):
        await made()


stuck = threading.Event()


@step(timeout=0.02)
def stuck_thread() -> None:
    stuck.wait()


@asynchronous
async def test_a_thread_that_runs_out_of_time_is_left_behind_and_that_is_said() -> None:
    stuck.clear()
    try:
        async with stage() as on:
            with pytest.raises(segue.RunFailed, match="its thread is still running"):
                await on.play(calls, "stuck_thread", [])
    finally:
        stuck.set()


@step
def thread_name() -> str:
    return threading.current_thread().name


@asynchronous
async def test_a_plain_step_runs_in_a_thread_and_sees_its_context() -> None:
    assert (await thread_name()).startswith("segue-step")


# Processes


@pytest.fixture(scope="module", autouse=True)
def _no_processes_left() -> Any:
    yield
    from segue.runtime import processes

    if processes._pool is not None:  # pyright: ignore[reportPrivateUsage]
        processes._pool.stop()  # pyright: ignore[reportPrivateUsage]
        processes._pool.join()  # pyright: ignore[reportPrivateUsage]


@flow
async def in_processes(folder: str) -> list[Any]:
    found: list[Any] = [await processing.pid(), await processing.typed(processing.Job(3, Path(folder)))]
    for call in (processing.fails(), processing.dies(), processing.hangs(folder)):
        try:
            await call
        except StepFailed as failed:
            found.append(str(failed.error))
    return found


@asynchronous
async def test_a_process_step_takes_and_gives_typed_values_and_its_failures_are_named(tmp_path: Path) -> None:
    async with stage() as on:
        pid, typed, failed, died, hung = await on.play(in_processes, str(tmp_path))
    assert pid != os.getpid()
    assert typed == {"count": 4, "folder": str(tmp_path)}
    assert failed == "ValueError: not today"
    assert died == "ProcessDied: the process of step 'dies' died (exit code 7)"
    assert hung == "StepTimedOut: no result within 3 s"
    assert ended(int((tmp_path / "pid").read_text()))


def ended(pid: int) -> bool:
    """Wait until a process is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with open(descriptor):
        return bool(select.select([descriptor], [], [], 10)[0])


@pytest.mark.parametrize(
    ("kind", "attempts", "failure"),
    [("connection", 3, "ConnectionError"), ("value", 1, "ValueError"), ("permanent", 1, "Permanent")],
)
@asynchronous
async def test_a_process_step_is_retried_for_the_errors_that_its_policy_names(
    kind: str, attempts: int, failure: str
) -> None:
    async with stage() as on:
        with pytest.raises(segue.RunFailed) as failed:
            await on.play(fails_with, kind)
    cause = failed.value.__cause__
    assert isinstance(cause, StepFailed)
    assert (cause.attempts, cause.error.type) == (attempts, failure)
    assert cause.error.is_a({"connection": OSError, "value": ValueError, "permanent": Permanent}[kind])


@flow
async def fails_with(kind: str) -> None:
    await processing.fails_with(kind)


@asynchronous
async def test_a_process_step_works_outside_flows() -> None:
    assert await processing.pid() != os.getpid()


# Resources


life: list[str] = []


@resource
async def model() -> AsyncGenerator[str, None]:
    """A model."""
    life.append("loaded")
    yield "weights"
    life.append("closed")


@resource(scope="process")
async def shared() -> AsyncGenerator[str, None]:
    life.append("shared")
    yield "shared"


@resource
async def stubborn() -> AsyncGenerator[str, None]:
    life.append("tried")
    if life.count("tried") == 1:
        raise ConnectionError("not yet")
    yield "at last"


@resource
async def empty() -> AsyncGenerator[str, None]:
    if life:
        return
    yield "never"


@step
async def classify(text: str, weights: str = use(model)) -> str:
    return f"{text} by {weights}"


@step
def classify_in_thread(text: str, weights: str = use(model)) -> str:
    return f"{text} by {weights}"


@step
async def uses_shared(what: str = use(shared)) -> str:
    return what


@step(retry=Retry(1, backoff=0))
async def uses_stubborn(what: str = use(stubborn)) -> str:
    return what


@step
async def uses_empty(what: str = use(empty)) -> str:
    return what


@flow
async def with_resources() -> list[str]:
    first = await asyncio.gather(*[classify(text) for text in "abc"])
    return [*first, await classify_in_thread("d"), await uses_shared(), await uses_shared()]


@asynchronous
async def test_a_resource_is_loaded_once_and_closed_with_the_engine() -> None:
    life.clear()
    async with stage() as on:
        assert life == []
        assert await on.play(with_resources) == [*(f"{t} by weights" for t in "abcd"), "shared", "shared"]
        assert life == ["loaded", "shared"]
    assert life == ["loaded", "shared", "closed"]


@asynchronous
async def test_what_a_resource_fills_is_not_part_of_the_recorded_input() -> None:
    async with stage() as on:
        await on.play(with_resources)
        inputs = {str(entry.step): entry.input for entry in await on.journal()}
    assert inputs["uses_shared"] == b"\x80"


@asynchronous
async def test_a_resource_that_cannot_be_loaded_is_tried_again_by_the_next_attempt() -> None:
    life.clear()
    async with stage() as on:
        assert await on.play(calls, "uses_stubborn", []) == "at last"
    assert life == ["tried", "tried"]


@asynchronous
async def test_a_resource_that_yields_nothing_is_named() -> None:
    life.append("anything")
    async with stage() as on:
        with pytest.raises(segue.RunFailed, match="resource 'empty' yielded nothing"):
            await on.play(calls, "uses_empty", [])


@asynchronous
async def test_outside_flows_a_resource_belongs_to_the_loop_and_can_be_replaced() -> None:
    life.clear()
    assert await classify("a") == "a by weights"
    assert await classify("b") == "b by weights"
    assert await classify("c", "a fake") == "c by a fake"
    assert life == ["loaded"]


async def no_generator() -> str:
    return "x"


async def with_parameters(x: int) -> AsyncGenerator[int, None]:
    yield x


async def fine() -> AsyncGenerator[int, None]:
    yield 1


def worker_resource_in_process() -> None:
    @step(process=True)
    def local(what: int = use(resource(fine))) -> None: ...


def generator_step() -> None:
    @step
    def local() -> Any:
        yield 1


def async_process() -> None:
    @step(process=True)
    async def local() -> None: ...


def twice() -> None:
    step(double)  # type: ignore[call-overload]


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: resource(no_generator), "a resource is an async generator function that yields once"),  # type: ignore[call-overload]
    (lambda: resource(with_parameters), "resource 'with_parameters' takes no parameters"),  # type: ignore[call-overload]
    (lambda: resource(scope="planet")(fine), "scope is 'worker' or 'process', not 'planet'"),  # type: ignore[call-overload]
    (lambda: use(fine), r"use\(\) takes a @resource"),  # type: ignore[arg-type]
    (worker_resource_in_process, "its resources need scope='process'"),
    (generator_step, "step 'local' is a generator; a step returns one value"),
    (async_process, "process=True takes a plain function, not an async one"),
    (twice, "it is declared a step or resource already"),
    (lambda: step(name="a/b")(fine), "a step's name is 1 to 100 printable characters without"),
    (lambda: step(name="")(fine), "a step's name is 1 to 100"),
    (lambda: step(name=" a")(fine), "a step's name is 1 to 100"),
    (lambda: step(name="x" * 101)(fine), "a step's name is 1 to 100"),
    (lambda: step(name="a\n")(fine), "a step's name is 1 to 100"),
    (lambda: step(name="a@b")(fine), "a step's name is 1 to 100"),
    (lambda: step(name="a#2")(fine), "a step's name is 1 to 100"),
    (lambda: step(retry=-1)(lambda: None), "retry is a number of retries"),
    (lambda: step(timeout="soon")(lambda: None), "is not a duration"),
]


@pytest.mark.parametrize(("declare", "said"), REFUSED, ids=[said[:40] for _, said in REFUSED])
def test_a_wrong_declaration_is_refused_when_it_is_made(declare: Callable[[], Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        declare()


# Names


TWO = """
from segue import flow, step

@{kind}
async def one() -> int: return 1

@{kind}
async def one() -> int: return 2
"""
NAMED = """
from segue import flow, step

@{kind}(name="the same")
async def one() -> int: return 1

@{kind}(name="the same")
async def two() -> int: return 2
"""


@pytest.mark.parametrize("text", [TWO, NAMED], ids=["same function name", "same given name"])
@pytest.mark.parametrize("kind", ["step", "flow"])
def test_two_of_one_name_in_a_module_are_refused_with_both_places(kind: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "twins.py").write_text(text.format(kind=kind))
    done = subprocess.run(
        [sys.executable, "-c", "import twins"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert f"two {kind}s are named" in done.stderr
    assert "twins.one (line 4) and twins." in done.stderr
    assert "(line 7). Name one" in done.stderr


def test_a_module_can_be_reloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reloaded.py").write_text("from segue import flow, step\n@step\nasync def one() -> int: return 1\n")
    monkeypatch.syspath_prepend(tmp_path)  # pyright: ignore[reportUnknownMemberType]
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.import_module("reloaded")
    (tmp_path / "reloaded.py").write_text("from segue import flow, step\n\n@step\nasync def one() -> int: return 2\n")
    assert importlib.reload(module).one.run() == 2


def test_the_same_function_name_in_two_modules_is_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # pyright: ignore[reportUnknownMemberType]
    for n, name in enumerate(("first_of_two", "second_of_two")):
        (tmp_path / f"{name}.py").write_text(f"from segue import step\n@step\nasync def one() -> int: return {n}\n")
    assert [importlib.import_module(name).one.run() for name in ("first_of_two", "second_of_two")] == [0, 1]


# Steps in steps, and steps from threads


@step
async def outer(x: int) -> int:
    return await double(x) + await treble(x)


@flow
async def nests(x: int) -> int:
    return await outer(x)


@asynchronous
async def test_a_step_in_a_step_is_a_plain_call_and_not_recorded() -> None:
    async with stage() as on:
        assert await on.play(nests, 2) == 10
        assert [entry.step for entry in await on.journal()] == ["outer"]


@step
def blocking_caller(x: int) -> int:
    return double.run(x)


@asynchronous
async def test_a_plain_step_may_run_another_one_from_its_thread() -> None:
    async with stage() as on:
        assert await on.play(calls, "blocking_caller", [4]) == 8


@flow
async def calls_from_a_loop_of_its_own(x: int) -> str:
    from contextvars import copy_context

    found: list[str] = []
    context = copy_context()

    def work() -> None:
        try:
            asyncio.run(double(x))
        except segue.NotInFlow as error:
            found.append(str(error))

    thread = threading.Thread(target=context.run, args=(work,))
    thread.start()
    thread.join()
    return found[0]


@asynchronous
async def test_a_step_called_from_another_thread_or_loop_than_its_flows_is_refused_by_name() -> None:
    async with stage() as on:
        said = await on.play(calls_from_a_loop_of_its_own, 1)
    assert "was called from another thread or loop than its flow's" in said
    assert "step.fn" in said


@asynchronous
async def test_run_in_a_running_loop_says_to_use_await() -> None:
    with pytest.raises(UsageError, match=r"double.run\(\) blocks, and an event loop .*: use await instead"):
        double.run(1)
