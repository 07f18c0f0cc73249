"""The recovery ladder, rung by rung, live, after a crash anywhere, and replayed."""

import asyncio
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import segue
import segue.declared
from segue import (
    DeclarationError,
    Engine,
    Outcome,
    Retry,
    Timeout,
    UsageError,
    cached,
    current_run,
    flow,
    step,
)
from segue.core.entries import Entry, Kind
from segue.runtime.failures import read_failure
from segue.testing.clock import run_virtual

from .stage import Stage, asynchronous, stage
from .test_deadlines import now, virtual, virtual_stage

ran: list[str] = []
script: dict[str, int] = {}
"""How often each body still fails."""
acting: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()
    script.clear()


def attempt(name: str) -> str:
    ran.append(name)
    script[name] = script.get(name, 1000) - 1
    if script[name] >= 0:
        raise ConnectionError(f"{name} is down")
    return name


HALF_A_SECOND = 0.5  # of virtual time


@step(retry=Retry(1, backoff=1, jitter=0))
async def second(x: int) -> str:
    return attempt("second")


def third(x: int) -> str:
    return attempt("third")


@step(retry=Retry(2, backoff=1, jitter=0), fallback=[cached(), second, third], degraded="nothing")
async def first(x: int) -> str:
    return attempt("first")


def said(found: Outcome[Any]) -> str:
    """An outcome, with its error's own parts: exceptions do not compare."""
    error: Any = found.error
    why = None if error is None else (str(error), getattr(getattr(error, "error", None), "type", None))
    return repr((found.value_or("-"), found.source, found.rung, found.attempts, found.confidence, found.age, why))


@flow
async def climbs(x: int) -> str:
    found = await acting["step"].outcome(x)
    falls = [(f.step, f.source, f.rung, f.by, f.reason and str(f.reason), f.age) for f in current_run().fallbacks]
    return f"{said(found)} {falls}"


async def climb(on: Stage, made: Any, x: int = 1) -> tuple[str, list[Entry]]:
    acting["step"] = made
    found = await on.play(climbs, x)
    return found, await on.journal()


LADDER: list[tuple[dict[str, int], tuple[Any, ...], list[str]]] = [
    ({"first": 0}, ("first", "model", 0, 1), ["first"]),
    ({"first": 2}, ("first", "model", 0, 3), ["first"] * 3),
    ({"second": 0}, ("second", "fallback", 2, 5), ["first"] * 3 + ["second"]),
    ({"second": 1}, ("second", "fallback", 2, 6), ["first"] * 3 + ["second"] * 2),
    ({"third": 0}, ("third", "fallback", 3, 7), ["first"] * 3 + ["second"] * 2 + ["third"]),
    ({}, ("nothing", "degraded", 4, 8), ["first"] * 3 + ["second"] * 2 + ["third"]),
]


@pytest.mark.parametrize(("failures", "outcome", "bodies"), LADDER)
@virtual
async def test_each_rung_in_its_turn_and_after_a_crash_anywhere_the_same(
    failures: dict[str, int], outcome: tuple[Any, ...], bodies: list[str]
) -> None:
    async with virtual_stage() as on:
        script.update(failures)
        found, entries = await climb(on, first)
        assert found.startswith(repr(outcome)[:-1])
        assert ran == bodies
        assert [e.attempt for e in entries] == list(range(1, outcome[3] + 1))
        end = Kind.OK if outcome[1] == "model" else Kind.NOTED
        assert [e.kind for e in entries] == [Kind.ATTEMPT] * (outcome[3] - 1) + [end]
        _rungs_in_order([read_failure(e.output) for e in entries[:-1]], outcome[2])
        assert entries[0].input is not None
        assert all(e.input is None for e in entries[1:])
        for upto in range(len(entries), -1, -1):
            ran.clear()
            script.clear()
            script.update({name: max(0, count - _tried(name, entries[:upto])) for name, count in failures.items()})
            assert await on.again(climbs, upto=upto) == found
            rest = range(upto + 1, outcome[3] + 1)  # each attempt is one entry
            assert on.attempts() == [("first", n) for n in rest]


def _rungs_in_order(failures: list[Any], last: int) -> None:
    names = {0: "", 1: "cached", 2: "second", 3: "third", 4: "degraded"}
    rungs = [failure.rung for failure in failures]
    assert rungs == sorted(rungs)
    assert [failure.by for failure in failures] == [names[rung] for rung in rungs]
    assert [failure.then for failure in failures] == [*rungs[1:], last][: len(failures)]


def _tried(name: str, entries: list[Entry]) -> int:
    """How many of its failures the journal holds."""
    by = {"first": "", "second": "second", "third": "third"}[name]
    return sum(e.kind is Kind.ATTEMPT and read_failure(e.output).by == by for e in entries)


def wrong(x: int) -> int:
    return 2


@step
async def endless(x: int) -> str:
    raise ConnectionError("the model is down")


@asynchronous
async def test_a_ladder_without_an_end_fails_with_the_last_failure() -> None:
    async with stage() as on:
        _, entries = await climb(on, endless.options(fallback=[third, wrong]))
        assert entries[-1].kind is Kind.ERROR
        failure = read_failure(entries[-1].output)
        assert (failure.rung, failure.by, failure.type) == (2, "wrong", "InvalidResult")


@pytest.mark.parametrize(
    ("given", "said"), [({"degraded": 2}, "degraded=2: expected str"), ({"fallback": 0}, "fallback=0")]
)
def test_a_constant_of_another_type_is_refused_at_once(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        endless.options(**given)


@asynchronous
async def test_the_value_of_a_call_that_fell_back_is_a_plain_value() -> None:
    @flow(name="plain")
    async def plain() -> list[Any]:
        return [await first(1), [f.by for f in current_run().fallbacks]]

    async with stage() as on:
        made = first.options(retry=0, fallback=third)
        acting["step"] = made
        script["third"] = 0
        assert await on.play(climbs, 1)
    script.clear()
    assert await first.options(retry=0, fallback=[cached(), lambda: 0], degraded="d")(1) == "d"
    found = await first.options(retry=0).outcome(1)
    assert (found.source, found.rung, found.degraded) == ("degraded", 4, True)


@asynchronous
async def test_an_outcome_without_a_value_says_why() -> None:
    bare = first.options(retry=0, fallback=None, degraded=segue.declared.MISSING)
    for found in (await bare.outcome(1),):
        assert (found.ok, found.source, found.value_or("x")) == (False, "missing", "x")
        with pytest.raises(UsageError, match="this outcome has no value"):
            _ = found.value
        with pytest.raises(ConnectionError, match="first is down"):
            found.unwrap()


# Kept values


@step(fallback=cached())
async def keeps(x: Any) -> str:
    return attempt("keeps") + str(x)


@step(fallback=cached("10s"))
async def keeps_briefly(x: Any) -> str:
    return attempt("keeps") + str(x)


@step(fallback=[cached(), "constant"])
async def keeps_or(x: Any) -> str:
    return attempt("keeps") + str(x)


@step(memoize="10s")
async def remembers(x: Any) -> str:
    return attempt("keeps") + str(x)


@flow
async def calls(name: str, inputs: list[Any], waits: list[float]) -> list[Any]:
    found: list[Any] = []
    for x, wait in zip(inputs, waits, strict=True):
        await segue.sleep(wait)
        if name in acting:
            script["keeps"] = acting[name].pop(0) if acting[name] else 0
        outcome = await globals()[name].outcome(x)
        found.append([outcome.value_or("-"), outcome.source, outcome.age, outcome.attempts])
    return found


GOOD, BAD = 0, 1000


@pytest.mark.parametrize(
    ("name", "plan", "inputs", "waits", "found"),
    [
        ("keeps", [GOOD, BAD], [1, 1], [0, 5], [["keeps1", "model", None, 1], ["keeps1", "cached", 5, 2]]),
        ("keeps", [GOOD, BAD], [1, 2], [0, 5], [["keeps1", "model", None, 1], ["-", "missing", None, 2]]),
        ("keeps_briefly", [GOOD, BAD], [1, 1], [0, 9], [["keeps1", "model", None, 1], ["keeps1", "cached", 9, 2]]),
        ("keeps_briefly", [GOOD, BAD], [1, 1], [0, 11], [["keeps1", "model", None, 1], ["-", "missing", None, 2]]),
        ("keeps_or", [BAD, BAD], [1, 1], [0, 1], [["constant", "fallback", None, 3]] * 2),
        ("remembers", [GOOD, BAD], [1, 1], [0, 9], [["keeps1", "model", None, 1], ["keeps1", "cached", 9, 0]]),
        ("remembers", [GOOD, GOOD], [1, 1], [0, 11], [["keeps1", "model", None, 1]] * 2),
        ("remembers", [GOOD, GOOD], [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [0, 1], None),
    ],
)
@virtual
async def test_kept_values(name: str, plan: list[int], inputs: Any, waits: Any, found: Any) -> None:
    async with virtual_stage() as on:
        acting[name] = list(plan)
        live = await on.play(calls, name, inputs, waits)
        acting.pop(name)
        if found is None:
            assert [one[1] for one in live] == ["model", "cached"]
        else:
            assert [[*one[:2], one[2] if one[2] is None else round(one[2], 3), one[3]] for one in live] == found
        ran.clear()
        assert await on.again(calls) == live
        assert ran == []


def of_area(area: dict[str, Any]) -> Any:
    return area["id"]


def failing_key(area: Any) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("key", "kept"), [("area.id", True), (of_area, True), (None, False), ("area.gone", False), (failing_key, False)]
)
@asynchronous
async def test_a_key_says_what_must_be_the_same(key: Any, kept: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def looks(area: dict[str, Any], other: int) -> int:
        attempt("looks")
        return other

    made = step(fallback=[cached(key=key), -1])(looks)

    @flow(name=f"by key {key}")
    async def twice() -> list[int]:
        script["looks"] = 0
        one = await made({"id": 1, "x": 1}, 7)
        script["looks"] = 1
        return [one, await made({"id": 1, "x": 2}, 8)]

    async with stage() as on:
        assert await on.play(twice) == [7, 7 if kept else -1]


@asynchronous
async def test_kept_values_of_another_version_are_not_taken() -> None:
    async def counts(x: int) -> int:
        attempt("counts")
        return 1

    async with stage() as on:
        found: list[str] = []
        for version, failures in (("1", GOOD), ("1", BAD), ("2", BAD)):
            script["counts"] = failures
            acting["step"] = step(fallback=[cached(), -1], version=version)(counts)
            found.append((await climbs(1)).split(",")[1])
        assert found == [" 'model'", " 'cached'", " 'fallback'"]
        assert on.engine.is_open


@pytest.mark.parametrize("size", [10, 300_000])
def test_kept_values_survive_a_restart_and_are_shared_by_runs(tmp_path: Path, size: int) -> None:
    async def life(failures: int) -> list[Any]:
        script["keeps"] = failures
        async with Engine(f"sqlite:{tmp_path}/runs.db"):
            both = await asyncio.gather(*[calls("keeps", ["x" * size], [0]) for _ in range(3)])
        return [(len(one[0]), one[1]) for run in both for one in run]

    assert asyncio.run(life(GOOD)) == [(size + 5, "model")] * 3
    assert asyncio.run(life(BAD)) == [(size + 5, "cached")] * 3


# Feedback


@step(retry=Retry(2, backoff=0))
async def repairs(x: int, feedback: str | None = None) -> str:
    ran.append(str(feedback))
    if len(ran) < 3:
        raise ValueError(f"wrong {len(ran)}")
    return "right"


@step(retry=Retry(2, backoff=0))
def repairs_in_thread(x: int, feedback: str | None = None) -> str:
    ran.append(str(feedback))
    if len(ran) < 3:
        raise ValueError(f"wrong {len(ran)}")
    return "right"


def mends(x: int, feedback: str = "") -> str:
    ran.append(feedback)
    return "mended"


@step(fallback=mends)
async def is_mended(x: int) -> str:
    raise ValueError("wrong 1")


@pytest.mark.parametrize(
    ("made", "heard"),
    [
        (repairs, ["None", "ValueError: wrong 1", "ValueError: wrong 2"]),
        (repairs_in_thread, ["None", "ValueError: wrong 1", "ValueError: wrong 2"]),
        (is_mended, ["ValueError: wrong 1"]),
    ],
)
@asynchronous
async def test_the_reason_for_the_last_failure_is_fed_back_and_not_recorded_as_input(
    made: Any, heard: list[str]
) -> None:
    async with stage() as on:
        found, entries = await climb(on, made)
        assert ran == heard
        assert b"feedback" not in (entries[0].input or b"")
        ran[:] = ran[:1] if len(heard) > 1 else []
        assert await on.again(climbs, upto=1) == found
        assert ran == heard
    ran.clear()
    await made(1)
    assert ran == heard


# Declarations


def fell(*args: Any, **kwargs: Any) -> str:
    return "fell"


by_lambda: Callable[[int], str] = lambda x: f"lambda {x}"  # noqa: E731
by_y: Callable[[int], int] = lambda y: y  # noqa: E731
plus: Callable[[int], int] = lambda x: x + 1  # noqa: E731


def only_position(x: int, /) -> str:
    return f"position {x}"


def only_name(*, x: int) -> str:
    return f"name {x}"


def more(x: int, extra: int = 3) -> str:
    return f"more {x} {extra}"


class Callable_:
    def __call__(self, x: int) -> str:
        return f"called {x}"


FALLBACKS: list[tuple[Any, Any]] = [
    (only_position, "position 1"),
    (only_name, "name 1"),
    (more, "more 1 3"),
    (Callable_(), "called 1"),
    (by_lambda, "lambda 1"),
    (lambda: "nothing", "nothing"),
    (repr, None),
    ([[]], []),
    ([None], None),
    ("text", "text"),
    (0.5, 0.5),
    ({"a": 1}, {"a": 1}),
    ([[1], "unused"], [1]),
    (segue.step(name="a fallback")(plus), 2),
]


@pytest.mark.parametrize(("fallback", "value"), FALLBACKS, ids=lambda value: str(value)[:20])
@asynchronous
async def test_what_can_be_a_fallback(fallback: Any, value: Any) -> None:
    async def down(x: int) -> Any:
        raise ConnectionError

    if fallback is repr:
        with pytest.raises(DeclarationError, match="fallback 'repr' takes obj, which the step does not"):
            step(fallback=fallback)(down)
        return
    made = step(fallback=fallback)(down)
    assert await made(1) == value
    async with stage() as on:
        found, entries = await climb(on, made)
        assert found.startswith(f"({value!r}, 'fallback', 1, 2")
        assert entries[-1].kind is Kind.NOTED
        assert await on.again(climbs) == found


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"fallback": by_y}, "fallback 'fallback' takes y, which the step does not"),
    ({"fallback": int}, "fallback 'int' does not tell its parameters"),
    ({"fallback": climbs}, "a fallback is a step or a function"),
    ({"fallback": cached(key="y.id")}, "key 'y.id' begins with none of its parameters"),
    ({"fallback": cached(key=by_y)}, "'key' takes y"),
    ({"fallback": [cached(key="x"), cached()]}, "must have the same key"),
    ({"memoize": "soon"}, "is not a duration"),
    ({"parse": "xml"}, "parse is 'json' or None, not 'xml'"),
]


@pytest.mark.parametrize(("policies", "said"), REFUSED)
def test_a_ladder_that_cannot_be_climbed_is_refused(policies: dict[str, Any], said: str) -> None:
    async def down(x: int) -> Any:
        raise ConnectionError

    with pytest.raises(DeclarationError, match=said):
        step(**policies)(down)


@pytest.mark.parametrize(("wrong", "right"), [("retries", "retry"), ("fallbacks", "fallback"), ("checks", "check")])
def test_a_misspelt_policy_is_told_what_was_meant(wrong: str, right: str) -> None:
    anything: Any = step
    with pytest.raises(TypeError, match=f"@step does not take '{wrong}'; did you mean '{right}'"):
        anything(**{wrong: 1})


@asynchronous
async def test_none_is_a_degraded_value_like_another() -> None:
    async def down(x: int) -> int | None:
        raise ConnectionError

    found = await step(degraded=None)(down).outcome(1)
    assert (found.ok, found.value, found.source) == (True, None, "degraded")


@asynchronous
async def test_options_change_one_call_and_a_cycle_of_them_ends() -> None:
    async def down(x: int) -> Any:
        ran.append("down")
        raise ConnectionError

    made: Any = step(down)
    twice = made.options(fallback=made)
    thrice = twice.options(fallback=[twice, "end"])
    assert await thrice(1) == "end"
    assert ran == ["down"] * 3
    assert len(made.spec.rungs) == 1
    async with stage() as on:
        found, _ = await climb(on, thrice)
        assert found.startswith("('end', 'fallback', 3, 4")


@asynchronous
async def test_a_thousand_fallbacks() -> None:
    async def down(x: int) -> Any:
        raise ConnectionError

    def fails(x: int) -> Any:
        raise ConnectionError

    async with stage() as on:
        found, entries = await climb(on, step(fallback=[*[fails] * 1000, "end"])(down))
        assert found.startswith("('end', 'fallback', 1001, 1002")
        assert len(entries) == 1002
        assert await on.again(climbs, upto=600) == found


def test_threads_do_not_disturb_each_other() -> None:
    async def down(x: int) -> int:
        raise ConnectionError

    made = step(retry=Retry(1, backoff=0), fallback=plus)(down)
    found: list[list[int]] = []

    async def several() -> list[int]:
        return [await made(x) for x in range(40)]

    threads = [threading.Thread(target=lambda: found.append(asyncio.run(several()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(1, 41))] * 4


# Where it is not used


@step
async def ordinary(x: int) -> int:
    return x


@flow
async def ten() -> list[int]:
    return [await ordinary(x) for x in range(10)]


@asynchronous
async def test_an_ordinary_step_costs_one_entry_and_one_commit() -> None:
    async with stage() as on:
        commits: list[int] = []
        real: Callable[..., Any] = on.engine.journal._settle  # pyright: ignore[reportPrivateUsage]

        def settle(writers: Any, rejected: Any) -> None:
            commits.append(1)
            real(writers, rejected)

        on.engine.journal._settle = settle  # type: ignore[method-assign]
        assert await on.play(ten) == list(range(10))
        entries = await on.journal()
        assert [(e.kind, e.attempt) for e in entries] == [(Kind.OK, 1)] * 10
        assert len(commits) <= 12


# Cancellation


async def hangs(x: int) -> str:
    ran.append("hangs")
    try:
        await asyncio.sleep(3600)
    finally:
        ran.append("stopped")
    return "late"


@step(retry=0, fallback=[hangs, "constant"])
async def is_down(x: int) -> str:
    raise ConnectionError


@flow
async def cancels(wait: float) -> str:
    task = asyncio.create_task(acting["step"].outcome(1))
    await segue.sleep(wait)
    task.cancel()
    try:
        return said(await task)
    except asyncio.CancelledError:
        return "cancelled"


@virtual
async def test_a_cancelled_climb_stops_where_it_is() -> None:
    async with virtual_stage() as on:
        acting["step"] = is_down
        started = now()
        assert await on.play(cancels, 2) == "cancelled"
        assert now() - started == pytest.approx(2, abs=0.2)
        assert ran == ["hangs", "stopped"]
        assert [e.kind for e in await on.journal()] == [Kind.ATTEMPT, Kind.TIMER, Kind.CANCELLED]
        ran.clear()
        assert await on.again(cancels) == "cancelled"
        assert ran == []


# Any ladder


RUNGS = st.lists(
    st.tuples(st.sampled_from(["step", "function", "thread", "constant", "cached"]), st.integers(0, 3)), max_size=3
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(RUNGS, st.integers(0, 3), st.lists(st.integers(0, 4), min_size=4, max_size=4), st.booleans(), st.randoms())
def test_any_ladder_is_climbed_in_order_within_bounds_and_after_a_crash_alike(
    rungs: list[tuple[str, int]], retries: int, failures: list[int], degraded: bool, chance: random.Random
) -> None:
    async def whole() -> None:
        made = _ladder(rungs, retries, failures, degraded)
        allowed = {"0": retries + 1}
        for n, (kind, count) in enumerate(rungs, 1):
            allowed[str(n)] = count + 1 if kind == "step" else 1
        async with virtual_stage() as on:
            acting["step"] = made
            started = now()
            live = await on.play(climbs, 1)
            assert now() - started <= 60.2
            entries = await on.journal()
            assert all(ran.count(n) <= most for n, most in allowed.items())
            assert ran == sorted(ran)
            rungs_seen = [read_failure(e.output).rung for e in entries if e.kind is Kind.ATTEMPT]
            assert rungs_seen == sorted(rungs_seen)
            cut = chance.randint(0, len(entries))
            ran.clear()
            assert await on.again(climbs, upto=cut) == live
            made_then = len([e for e in entries[:cut] if e.kind is Kind.ATTEMPT])
            assert [n for _, n in on.attempts()] == (
                [] if cut == len(entries) else list(range(made_then + 1, len(entries) + 1))
            )

    ran.clear()
    run_virtual(whole())


def _ladder(rungs: list[tuple[str, int]], retries: int, failures: list[int], degraded: bool) -> Any:
    """A ladder whose bodies fail at the attempts that the script says: by number, so that a crash changes nothing."""

    def body(n: int) -> Callable[[int], str]:
        def tries(x: int) -> str:
            ran.append(str(n))
            number = current_run().attempt or 0
            if number <= sum(failures[: n + 1]) + n:
                raise ConnectionError(f"{n} is down")
            return str(n)

        return tries

    def soon(n: int) -> Any:
        tries = body(n)

        async def later(x: int) -> str:
            await asyncio.sleep(HALF_A_SECOND)
            return tries(x)

        return later

    fallbacks: list[Any] = []
    for n, (kind, count) in enumerate(rungs, 1):
        if kind == "step":
            fallbacks.append(step(name=f"r{n}", retry=Retry(count, backoff=1, jitter=0))(soon(n)))
        else:
            made = {"function": soon(n), "thread": body(n), "constant": f"constant {n}", "cached": cached()}
            fallbacks.append(made[kind])
    more: dict[str, Any] = {"degraded": "degraded"} if degraded else {}
    return step(
        name="model", retry=Retry(retries, backoff=1, jitter=0), timeout=Timeout(total=60), fallback=fallbacks, **more
    )(soon(0))
