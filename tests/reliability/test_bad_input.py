"""Values, errors and code that no engine wants: each ends its own run, by name, and the worker goes on."""

import asyncio
import gc
import math
import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from segue import Engine, Failure, Retry, RunFailed, StepFailed, flow, step
from segue.runtime import call, lease

T = TypeVar("T")

CYCLE: list[Any] = []
CYCLE.append(CYCLE)


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class OddRetry(Exception):
    @property
    def retry_after(self) -> float:
        raise RuntimeError("no time either")


class LongRetry(Exception):
    retry_after = 10**400


class Base(BaseException):
    pass


class Picky:
    """Neither stored nor compared."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("incomparable")

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __hash__ = None  # type: ignore[assignment]


class Sly(dict[str, Any]):
    """A dict that cannot be read."""

    def items(self) -> Any:
        raise RuntimeError("no items")


async def other() -> int:
    return 1


RESULTS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "lock": (lambda: {"a": [1, threading.Lock()]}, "Unstorable", "$.a[1]"),
    "generator": (lambda: (n for n in range(3)), "Unstorable", "generator"),
    "coroutine": (other, "UnawaitedCall", "await"),
    "nested coroutine": (lambda: {"key": [other()]}, "UnawaitedCall", "$.key[0]"),
    "cycle": (lambda: CYCLE, "Unstorable", "nested too deeply, or holds itself"),
    "deep": (lambda: deep(100_000), "Unstorable", "nested too deeply"),
    "rather deep": (lambda: deep(700), "", ""),
    "surrogate": (lambda: {"text": "a\ud800"}, "Unstorable", "$.text"),
    "surrogate as key": (lambda: {"\udfff": 1}, "Unstorable", "surrogate"),
    "huge int": (lambda: [10**5000], "Unstorable", "$[0]"),
    "key of a tuple": (lambda: {(1, 2): 3}, "", ""),
    "picky": (lambda: [Picky()], "Unstorable", "Picky"),
    "sly": (lambda: Sly(a=1), "Unstorable", "Sly"),
    "type": (lambda: int, "Unstorable", "type"),
    "function": (lambda: [print], "Unstorable", "$[0]"),
    "object": (object, "Unstorable", "object"),
    "exception": (lambda: ValueError("as a result"), "Unstorable", "ValueError"),
    "memoryview": (lambda: memoryview(b"abc"), "", ""),
}


def raises(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


def cyclic() -> NoReturn:
    error = ValueError("round and round")
    error.__cause__ = KeyError("and back")
    error.__cause__.__cause__ = error
    raise error


ERRORS: dict[str, tuple[Callable[[], NoReturn], str]] = {
    "exit": (sys.exit, "SystemExit"),
    "interrupt": (raises(KeyboardInterrupt()), "KeyboardInterrupt"),
    "no text": (raises(Odd()), "Odd"),
    "no retry_after": (raises(OddRetry("odd")), "OddRetry"),
    "long retry_after": (raises(LongRetry("long")), "LongRetry"),
    "base": (raises(Base("base")), "Base"),
    "stop": (raises(StopIteration(1)), "StopIteration"),
    "stop async": (raises(StopAsyncIteration(1)), "StopAsyncIteration"),
    "generator exit": (raises(GeneratorExit()), "GeneratorExit"),
    "cancelled": (raises(asyncio.CancelledError()), "CancelledError"),
    "group": (raises(ExceptionGroup("both", [ValueError("1"), Odd()])), "ExceptionGroup"),
    "base group": (raises(BaseExceptionGroup("both", [KeyboardInterrupt(), Odd()])), "BaseExceptionGroup"),
    "cyclic": (cyclic, "ValueError"),
    "surrogate": (raises(ValueError("a\ud800\x00")), "ValueError"),
    "long": (raises(ValueError("x" * 10_000_000)), "ValueError"),
    "failed": (raises(StepFailed("other", 1, Failure("Other", "of another"))), "StepFailed"),
    "run failed": (raises(RunFailed("other", "flow", Failure("Other", "of another"))), "RunFailed"),
    "recursion": (lambda: _recurse(), "RecursionError"),
    "memory": (raises(MemoryError()), "MemoryError"),
}


def _recurse() -> NoReturn:
    return _recurse()


@step(retry=Retry(1, backoff=0, max_delay=0))
async def awful(kind: str) -> Any:
    return (RESULTS[kind] if kind in RESULTS else ERRORS[kind.removeprefix("raise ")])[0]()


@step(retry=Retry(1, backoff=0, max_delay=0))
def awful_thread(kind: str) -> Any:
    return (RESULTS[kind] if kind in RESULTS else ERRORS[kind.removeprefix("raise ")])[0]()


@step
async def fine(number: int) -> int:
    return number + 1


@step
async def echo(value: Any) -> Any:
    return value


@flow
async def ask(kind: str, thread: bool) -> Any:
    await (awful_thread(kind) if thread else awful(kind))
    return "came back"


@flow
async def ask_in_flow(kind: str) -> Any:
    await fine(1)
    return (RESULTS[kind] if kind in RESULTS else ERRORS[kind.removeprefix("raise ")])[0]()


@flow
async def pass_on(kind: str) -> Any:
    return await echo(RESULTS[kind][0]())


@flow
async def good(number: int) -> int:
    return await fine(number)


async def failure_of(call: Coroutine[Any, Any, Any]) -> Failure:
    """How the run ended; the worker must be well afterwards."""
    with pytest.raises(RunFailed) as caught:
        await call
    assert await good(1) == 2
    return caught.value.error


def on_engine(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it beside an open engine, and no longer than it may take."""

    async def whole() -> T:
        async with asyncio.timeout(30), Engine("memory:"):
            return await main()

    return asyncio.run(whole())


BAD = [kind for kind, (_, type, _) in RESULTS.items() if type]
ODD = [kind for kind, (_, type, _) in RESULTS.items() if not type]
unawaited = pytest.mark.filterwarnings("ignore:coroutine 'other' was never awaited:RuntimeWarning")


@unawaited
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("thread", [False, True])
def test_a_result_that_cannot_be_stored_fails_its_step_by_name_and_path(kind: str, thread: bool) -> None:
    failure = on_engine(lambda: failure_of(ask(kind, thread)))
    _, type, said = RESULTS[kind]
    assert failure.type == "StepFailed"
    assert type in failure.message
    assert said in failure.message
    assert f"the result of step 'awful{'_thread' if thread else ''}'" in failure.message
    assert "attempts" not in failure.message, "it will not be storable next time"


@unawaited
@pytest.mark.parametrize("kind", BAD)
def test_a_result_that_cannot_be_stored_fails_its_flow_by_name(kind: str) -> None:
    failure = on_engine(lambda: failure_of(ask_in_flow(kind)))
    assert (failure.type, RESULTS[kind][2] in failure.message) == (RESULTS[kind][1], True)
    assert "the result of flow" in failure.message


@unawaited
@pytest.mark.parametrize("kind", BAD)
def test_an_argument_that_cannot_be_stored_fails_the_call_by_name(kind: str) -> None:
    failure = on_engine(lambda: failure_of(pass_on(kind)))
    if kind == "sly":  # its C-level content can be stored: what comes back is refused
        assert "the result of step 'echo'" in failure.message
        return
    assert failure.type == RESULTS[kind][1]
    assert RESULTS[kind][2].replace("$", "$.value", 1) in failure.message
    assert "the input of step 'echo'" in failure.message


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_result_comes_back_as_it_was_or_is_refused(kind: str) -> None:
    async def main() -> None:
        [found] = await asyncio.gather(pass_on(kind), return_exceptions=True)
        if not isinstance(found, RunFailed):
            assert found == RESULTS[kind][0]()
        else:
            assert "Unstorable" in str(found)
        assert await good(1) == 2

    on_engine(main)


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("thread", [False, True])
def test_whatever_a_step_raises_is_recorded_as_its_failure(kind: str, thread: bool) -> None:
    failure = on_engine(lambda: failure_of(ask(f"raise {kind}", thread)))
    assert failure.type == "StepFailed"
    assert f"step 'awful{'_thread' if thread else ''}' failed" in failure.message
    assert ERRORS[kind][1] in failure.message
    assert len(failure.message) < 20_000


@pytest.mark.parametrize("kind", ERRORS)
def test_whatever_a_flow_raises_is_recorded_as_its_failure(kind: str) -> None:
    failure = on_engine(lambda: failure_of(ask_in_flow(f"raise {kind}")))
    expected = {"StopIteration": "RuntimeError", "CancelledError": "RunCancelled"}.get(ERRORS[kind][1], ERRORS[kind][1])
    assert failure.type == expected


def test_nan_and_infinities_come_back() -> None:
    async def main() -> None:
        found = await call_echo([math.nan, math.inf, -math.inf, -0.0])
        assert math.isnan(found[0])
        assert found[1:] == [math.inf, -math.inf, 0.0]
        assert math.copysign(1, found[3]) == -1

    on_engine(main)


@flow
async def call_echo(value: Any) -> Any:
    return await echo(value)


@step
async def repeat(text: bytes, times: int) -> bytes:
    return text * times


@flow
async def grow(text: bytes) -> bytes:
    return await echo(await repeat(text, 10_000_000))


def test_ten_runs_with_values_of_ten_megabytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            async with Engine(f"sqlite:{tmp_path / 'a.db'}"):
                handles = [await grow.options(id=f"big-{n}").start(b"%d" % n) for n in range(10)]
                for n, handle in enumerate(handles):
                    assert await handle.result() == b"%d" % n * 10_000_000
            async with Engine(f"sqlite:{tmp_path / 'a.db'}"):
                assert await (await grow.handle("big-3")).result() == b"3" * 10_000_000
        assert (tmp_path / "a.db").stat().st_size < 1_000_000

    asyncio.run(main())


@flow
async def deaf_to_all() -> None:
    while True:
        try:
            await fine(1)
        except BaseException:  # as a bare ``except:`` does
            continue


@pytest.mark.parametrize("times", [1, 3])
def test_a_flow_that_never_awaits_fails_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    monkeypatch.setattr(lease, "PATIENCE", 0.1)
    tries = 0

    @flow(name=f"stubborn-{times}")
    async def stubborn() -> None:
        nonlocal tries
        while True:
            try:
                while True:
                    pass
            except Exception:
                tries += 1
                if tries >= times:
                    raise

    async def main() -> None:
        beside = asyncio.create_task(good(5))
        failure = await failure_of(stubborn())
        assert failure.type == "NeverAwaits"
        assert "without an await" in failure.message
        assert await beside == 6

    on_engine(main)


def test_an_engine_closes_though_a_flow_swallows_every_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            async with Engine("memory:"):
                await deaf_to_all.start()

    asyncio.run(main())
    gc.collect()  # nor does it go on when it is collected, outside of any run
    assert "swallows every cancellation" in caplog.text


@step(timeout="20ms")
async def deaf_step(let_go: str) -> str:
    while not RELEASED[let_go].is_set():
        try:
            await RELEASED[let_go].wait()
        except asyncio.CancelledError:
            continue
    return "late"


@step(timeout="20ms")
def deaf_thread() -> str:
    THREAD_RELEASED.wait()
    return "late"


RELEASED: dict[str, asyncio.Event] = {}
THREAD_RELEASED = threading.Event()


@flow
async def ask_deaf(thread: bool) -> str:
    return await (deaf_thread() if thread else deaf_step("once"))


def test_a_step_that_swallows_cancellation_is_given_up_visibly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(call, "GRACE", 0.05)

    async def main() -> Failure:
        RELEASED["once"] = asyncio.Event()
        failure = await failure_of(ask_deaf(False))
        RELEASED["once"].set()
        return failure

    failure = on_engine(main)
    assert "no result within 0.02 s" in failure.message
    assert "still running" in failure.message
    assert "still running" in caplog.text


def test_a_thread_that_outlives_its_timeout_is_visible(caplog: pytest.LogCaptureFixture) -> None:
    try:
        failure = on_engine(lambda: failure_of(ask_deaf(True)))
    finally:
        THREAD_RELEASED.set()
    assert "its thread is still running" in failure.message
    assert "its thread is still running" in caplog.text


LATE: dict[str, Any] = {"attempts": 0}


@step(retry=Retry(2, backoff=0), timeout="50ms")
async def late_once() -> int:
    """The first attempt is deaf and comes back only when the second is under way."""
    LATE["attempts"] += 1
    number = LATE["attempts"]
    if number == 1:
        while not LATE["second"].is_set():
            try:
                await LATE["second"].wait()
            except asyncio.CancelledError:
                continue
        LATE["first is back"].set()
        if LATE["fails"]:
            raise ValueError("late")
        return number
    LATE["second"].set()
    await LATE["first is back"].wait()
    for _ in range(5):
        await asyncio.sleep(0)
    return number


@flow
async def ask_late() -> int:
    return await late_once()


@pytest.mark.parametrize("fails", [False, True])
def test_the_late_end_of_an_attempt_given_up_is_not_the_next_attempts(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr(call, "GRACE", 0.01)

    async def main() -> None:
        LATE.update({"attempts": 0, "fails": fails, "second": asyncio.Event(), "first is back": asyncio.Event()})
        assert await ask_late() == 2
        assert LATE["attempts"] == 2
        assert await good(1) == 2

    on_engine(main)


WHO: ContextVar[str] = ContextVar("who", default="nobody")


@step
async def be(name: str) -> str:
    before = WHO.get()
    WHO.set(name)
    await asyncio.sleep(0)
    return before


@flow
async def ask_who(name: str) -> list[str]:
    return [await be(name) for _ in range(5)]


def test_what_a_step_sets_in_its_context_stays_there() -> None:
    """A user's name or a trace's span must not turn up in the next step, or in another's run."""

    async def main() -> None:
        calls = [ask_who(f"user {n}") for n in range(20)]
        assert await asyncio.gather(*calls) == [["nobody"] * 5] * 20

    on_engine(main)
