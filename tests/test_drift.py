"""``@step(drift=…)``: a model that changes is noticed, its fallback takes over, and it may come back."""

import asyncio
import logging
import math
import random
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import pytest

from segue import DeclarationError, Drift, Drifted, Engine, Retry, StepFailed, StoreFull, cached, confident, flow, step
from segue.observe.drift import DriftState, reset, states
from segue.runtime.engine import Told
from segue.stores.base import Cell
from segue.stores.sqlite import SqliteStore
from segue.testing import Env

NOTICED = 60
"""Events after a change by two deviations, by which it must have been noticed."""


@dataclass(frozen=True)
class Reading:
    """What the model says of an area."""

    speed: float
    confidence: float = 1.0
    area: str = "harbour"


class Model:
    """A model whose world can change."""

    def __init__(self) -> None:
        self.chance = random.Random(7)
        self.mean, self.confidence, self.broken = 50.0, 0.9, 0.02
        self.areas = (60, 20, 10, 10)
        self.calls = 0

    def __call__(self) -> Reading:
        self.calls += 1
        return Reading(
            self.chance.gauss(self.mean, 5),
            min(1.0, self.chance.gauss(self.confidence, 0.05)),
            self.chance.choices(("harbour", "north", "east", "west"), self.areas)[0],
        )


model = Model()


@pytest.fixture(autouse=True)
def new_model() -> None:
    global model
    model = Model()


@pytest.fixture
def env() -> Generator[Env, None, None]:
    with Env() as env:
        yield env


def history(n: int) -> Reading:
    return Reading(45.0)


@step(drift=Drift(on=("speed", "confidence", "area", "schema"), then="fallback"), fallback=history)
async def congestion(n: int) -> Reading:
    return model()


@flow
async def look(calls: int) -> list[str]:
    return [(await congestion.outcome(n)).source for n in range(calls)]


@step(drift=Drift(on="speed", by="page_hinkley"))
async def watched(n: int) -> Reading:
    return model()


@flow
async def watch(calls: int) -> int:
    for n in range(calls):
        await watched(n)
    return calls


def learn(env: Env) -> None:
    assert set(env.run(look, 300).result) == {"model"}


# What is declared


class Box(TypedDict):
    size: float


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Drift(on=()), "on says what to watch; it is empty"),
        (lambda: Drift(on=cast("Any", 3)), "on is a name, a path into the output or a function of it, not 3"),
        (lambda: Drift(on="speed..mean"), "'speed..mean' is no path into the output"),
        (lambda: Drift(on=("speed", "speed")), "two signals are named 'speed'"),
        (lambda: Drift(on=(lambda r: r, lambda r: r)), "two signals are named 'feature'; give functions names"),
        (lambda: Drift("speed", by=cast("Any", "t_test")), "by is one of adwin, page_hinkley, ks, psi, not 't_test'"),
        (lambda: Drift("speed", then=cast("Any", "stop")), "then is 'alert' or 'fallback', not 'stop'"),
        (lambda: Drift("speed", reference=5), "reference is a number from 20 to 1,000, not 5"),
        (lambda: Drift("speed", reference=50, window=60), "window is a number from 10 to 50, not 60"),
        (lambda: Drift("speed", probe=0), "probe is a number from 1 to"),
        (lambda: Drift("speed", recover=51), "recover is a number from 5 to 50, not 51"),
        (lambda: Drift("speed", recover=cast("Any", True)), "recover is a number from 5 to 50, not True"),
        (lambda: Drift("speed", threshold=0), "threshold is more than 0"),
        (lambda: Drift("speed", alpha=0.7), "alpha is more than 0, and at most 0.5, not 0.7"),
        (lambda: Drift("speed", alpha=math.nan), "alpha is more than 0, and at most 0.5, not nan"),
        (lambda: Drift("speed", by="page_hinkley", alpha=0.1), "page_hinkley has no alpha"),
        (lambda: Drift(congestion), "is async; it only looks at the output"),
    ],
)
def test_what_cannot_be_watched_is_refused(make: Callable[[], Drift], said: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        make()
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        ({"drift": Drift("sped"), "fallback": history}, "drift on='sped': Reading has no 'sped'; there are speed,"),
        ({"drift": Drift("speed", then="fallback")}, "drift then='fallback' needs fallbacks to go to"),
        ({"drift": "speed"}, "drift is a Drift(on=…), not 'speed'"),
        ({"drift": Drift("speed", then="fallback"), "fallback": history, "undo": print}, "drift then='fallback' calls"),
    ],
)
def test_a_drift_must_suit_its_step(policies: dict[str, Any], said: str) -> None:
    async def misdeclared(n: int) -> Reading:
        return model()

    with pytest.raises(DeclarationError) as refused:
        step(name="misdeclared", **policies)(misdeclared)
    assert f"step 'misdeclared': {said}" in str(refused.value)


def test_a_path_goes_into_typed_dicts_and_stops_at_open_types() -> None:
    async def boxed(n: int) -> Box:
        return {"size": 1.0}

    async def opened(n: int) -> dict[str, Any]:
        return {}

    with pytest.raises(DeclarationError, match="Box has no 'length'; there are size"):
        step(name="boxed", drift=Drift("length"))(boxed)
    step(name="boxed", drift=Drift("size"))(boxed)
    step(name="opened", drift=Drift("anything.at.all"))(opened)


@pytest.mark.parametrize(("by", "library"), [("ks", "scipy"), ("adwin", "river")])
def test_a_library_that_is_not_there_is_missed_at_once(monkeypatch: pytest.MonkeyPatch, by: Any, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)

    async def unwatched(n: int) -> Reading:
        return model()

    with pytest.raises(DeclarationError, match=f"drift= needs {library}, which is not installed: pip install"):
        step(name="unwatched", drift=Drift("speed", by=by))(unwatched)


def test_a_variant_without_fallbacks_cannot_fall_back() -> None:
    with pytest.raises(DeclarationError, match="needs fallbacks to go to"):
        congestion.options(fallback=None)


# The ladder


def test_a_model_that_drifts_is_left_for_its_fallback(env: Env) -> None:
    learn(env)
    model.mean = 60.0
    sources = env.run(look, 200).result
    noticed = sources.index("fallback")
    assert noticed <= NOTICED
    assert set(sources[noticed:]) == {"fallback"}, "also where a call probes the model"
    called = model.calls
    record = env.run(look, 100)
    assert model.calls - called == 10, "every tenth call probes"
    assert record.result == ["fallback"] * 100


def test_the_record_says_what_drifted_and_since_when(env: Env) -> None:
    learn(env)
    model.mean = 60.0
    env.run(look, 100)

    @flow(name="one")
    async def one() -> Any:
        return await congestion(1)

    found = env.run(one).step("congestion")
    assert (found.source, found.rungs) == ("fallback", ("congestion", "history"))
    assert "Drifted: speed of step 'congestion' has drifted since 2026-01-01" in str(found.failures[0])
    assert "KS 0." in str(found.failures[0])
    assert str(found.failures[0]).endswith("; not called")


def test_an_outcome_has_the_drift_for_its_error(env: Env) -> None:
    learn(env)
    model.mean = 60.0
    env.run(look, 100)

    @flow(name="asks")
    async def asks() -> bool:
        outcome = await congestion.outcome(1)
        return isinstance(outcome.error, StepFailed) and outcome.error.error.is_a(Drifted)

    assert env.run(asks).result is True


def test_a_model_that_comes_back_is_used_again(env: Env) -> None:
    learn(env)
    model.mean = 60.0
    assert "fallback" in env.run(look, 100).result
    model.mean = 50.0
    sources = env.run(look, 1000).result
    back = sources.index("model")
    assert back <= 700, "thirty probes, of every tenth call, and some more looks"
    assert set(sources[back:]) == {"model"}


def test_a_model_that_stays_changed_stays_out(env: Env) -> None:
    learn(env)
    model.mean = 60.0
    env.run(look, 100)
    assert set(env.run(look, 1500).result) == {"fallback"}


@pytest.mark.parametrize(
    "change",
    [
        lambda: setattr(model, "confidence", 0.6),
        lambda: setattr(model, "areas", (20, 10, 10, 60)),
        lambda: setattr(model, "mean", 30.0),
    ],
    ids=["confidence", "categories", "numbers"],
)
def test_each_signal_is_watched(env: Env, change: Callable[[], None]) -> None:
    learn(env)
    change()
    assert env.run(look, 200).result.index("fallback") <= 100


def test_a_crash_on_the_way_changes_nothing_of_what_was_decided(env: Env) -> None:
    learn(env)
    model.mean = 60.0
    env.run(look, 100)
    env.crash_after(31)
    record = env.run(look, 20)
    assert record.crashes == 1
    assert record.result == ["fallback"] * 20


def test_a_retry_does_not_ask_what_has_drifted_again(env: Env) -> None:
    @step(retry=Retry(5), drift=Drift("speed", then="fallback"), fallback=[cached("1h"), history])
    async def retried(n: int) -> Reading:
        return model()

    @flow(name="retries")
    async def retries(calls: int) -> list[str]:
        return [(await retried.outcome(n)).source for n in range(calls)]

    env.run(retries, 260)
    model.mean = 60.0
    env.run(retries, 100)
    called = model.calls
    sources = env.run(retries, 10).result
    assert model.calls - called == 1
    assert set(sources) == {"cached"}


def test_checks_that_fail_more_often_are_a_drift_and_what_they_refuse_is_seen(env: Env) -> None:
    @step(check=confident(0.7), drift=Drift(("pass_rate", "confidence"), then="fallback"), fallback=history)
    async def checked(n: int) -> Reading:
        return model()

    @flow(name="checks")
    async def checks(calls: int) -> list[int]:
        return [(await checked.outcome(n)).attempts for n in range(calls)]

    env.run(checks, 260)
    called, model.confidence = model.calls, 0.5
    env.run(checks, 200)
    assert model.calls - called <= NOTICED + 20


def test_what_is_not_of_its_type_is_a_drift(env: Env) -> None:
    @step(parse="json", drift=Drift("schema", then="fallback"), degraded={"size": 0.0})
    async def parsed(n: int) -> Box:
        model.calls += 1
        good = model.chance.random() > model.broken
        return cast("Any", '{"size": 1.0}' if good else "Sorry, I cannot")

    @flow(name="parses")
    async def parses(calls: int) -> int:
        return len([await parsed(n) for n in range(calls)])

    env.run(parses, 260)
    called, model.broken = model.calls, 0.7
    env.run(parses, 200)
    assert model.calls - called <= NOTICED + 20


def test_times_are_watched_also_of_attempts_that_were_cut_short(env: Env) -> None:
    pace = 1.0

    @step(timeout="10s", drift=Drift("latency", then="fallback"), fallback=history)
    async def slow(n: int) -> Reading:
        await asyncio.sleep(pace * model.chance.uniform(0.5, 1.5))
        return model()

    @flow(name="waits")
    async def waits(calls: int) -> list[str]:
        return [(await slow.outcome(n)).source for n in range(calls)]

    assert set(env.run(waits, 260).result) == {"model"}
    pace = 100.0
    sources = env.run(waits, 100).result
    assert set(sources) == {"fallback"}, "each was cut short, or not called"
    assert env.run(waits, 100).took == pytest.approx(10 * 10.0), "nine of ten calls do not wait for the model"


def test_functions_see_copies_and_what_they_raise_is_skipped(env: Env) -> None:
    def spoiled(value: dict[str, float]) -> float:
        value["size"] = -1.0
        raise ValueError("no")

    @step(drift=Drift((spoiled, "size")))
    async def spoils(n: int) -> dict[str, float]:
        return {"size": float(n)}

    @flow(name="spoiling")
    async def spoiling() -> list[dict[str, float]]:
        return [await spoils(n) for n in range(3)]

    assert env.run(spoiling).result == [{"size": 0.0}, {"size": 1.0}, {"size": 2.0}]


HOSTILE: list[Any] = [math.nan, math.inf, True, None, 10**18, "x" * 100_000, [], {"a": 1}, "\ud83d", -0.0, 1e308]


def test_whatever_a_model_says_the_step_goes_on(env: Env) -> None:
    signals = ("value", "confidence", "pass_rate", "latency")

    @step(drift=Drift(signals, reference=20, window=10, then="fallback"), degraded={})
    async def odd(n: int) -> dict[str, Any]:
        return {"value": HOSTILE[n % len(HOSTILE)], "confidence": HOSTILE[(n * 7) % len(HOSTILE)]}

    @flow(name="oddities")
    async def oddities() -> int:
        return len([await odd(n) for n in range(200)])

    assert env.run(oddities).result == 200


def test_a_step_that_is_a_fallback_is_watched_too(env: Env) -> None:
    @step(fallback=congestion)
    async def dead(n: int) -> Reading:
        raise ConnectionError("gone")

    @flow(name="second")
    async def second(calls: int) -> list[float]:
        return [(await dead(n)).speed for n in range(calls)]

    env.run(second, 260)
    model.mean = 60.0
    assert 45.0 in env.run(second, 100).result


def test_outside_of_flows_nothing_is_watched() -> None:
    assert congestion.run(1).area in ("harbour", "north", "east", "west")


# What is kept


async def call(calls: int) -> list[str]:
    return [source for _ in range(calls // 10) for source in await look(10)]


async def settled(engine: Engine, wanted: Callable[[list[DriftState]], bool]) -> list[DriftState]:
    """Wait until what is kept is so. Each look leaves the loop to others."""
    async with asyncio.timeout(30):
        while not wanted(found := await states(engine.store)):
            pass
    return found


def drifted(found: list[DriftState]) -> list[str]:
    return [one.signal for one in found if one.state == "drifted"]


def test_a_drift_outlives_its_engine_until_it_is_learned_anew(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}?durability=process"

    async def first() -> None:
        async with Engine(url) as engine:
            await call(300)
            model.mean = 60.0
            assert "fallback" in await call(100)
            found = await settled(engine, lambda found: drifted(found) == ["speed"])
            [speed] = [one for one in found if one.signal == "speed"]
            assert (speed.step, speed.then, speed.test, speed.threshold) == ("congestion", "fallback", "ks", 0.35)
            assert [change.what for change in speed.changes] == ["learned", "drifted"]
            change = speed.changes[-1]
            assert change.reference.mean == pytest.approx(50, abs=2)
            assert (change.recent.mean or 0) > 52
            assert change.p is not None
            assert change.p < 0.0005
            assert (change.flow, change.step.rpartition("/")[2].partition("#")[0]) == (look.name, "congestion")
            assert await engine.row(change.run)

    async def second() -> None:
        async with Engine(url) as engine:
            assert set(await call(20)) == {"fallback"}
            assert await reset(engine.store, "congestion", by="ada") == [""]
            await settled(engine, lambda found: not drifted(found))
            sources: list[str] = []
            async with asyncio.timeout(30):  # until this worker has seen it
                while "model" not in sources:
                    sources = await call(10)
            assert set(await call(300)) == {"model"}, "the new mean is the reference now"
            found = await settled(engine, lambda found: {one.state for one in found} == {"steady"})
            [by] = [change.by for change in found[0].changes if change.what == "reset"]
            assert by == "ada"

    asyncio.run(first())
    asyncio.run(second())


def test_two_engines_on_one_file_share_a_drift(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}?durability=process"

    async def main() -> None:
        async with Engine(url):
            assert set(await call(300)) == {"model"}
            async with Engine(url) as other:  # the newest gets the calls
                model.mean = 60.0
                assert "fallback" in await call(100)
                await settled(other, lambda found: drifted(found) == ["speed"])
            model.mean = 50.0  # what the first one sees by itself is as it was
            sources: list[str] = []
            async with asyncio.timeout(30):
                while "fallback" not in sources:
                    sources = await call(10)

    asyncio.run(main())


def test_two_engines_learn_together(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}?durability=process"

    async def main() -> None:
        async with Engine(url) as first:
            await call(120)
            async with Engine(url) as second:
                await call(120)
                found = await settled(second, lambda found: {one.state for one in found} == {"steady"})
            assert {one.seen for one in found} == {240}
            assert {one.seen for one in await states(first.store)} == {240}

    asyncio.run(main())


def test_a_new_version_is_learned_anew(tmp_path: Path) -> None:
    def declared(version: str) -> Any:
        async def model_of(n: int) -> Reading:
            return model()

        return step(name="versioned", version=version, drift=Drift("speed", then="fallback"), fallback=history)(
            model_of
        )

    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path / 'runs.db'}?durability=process") as engine:
            for version in ("1", "2"):
                one = declared(version)

                @flow(name="versions")
                async def versions(calls: int) -> list[str]:
                    return [(await one.outcome(n)).source for n in range(calls)]  # noqa: B023 - called at once

                assert set(await versions(260)) == {"model"}
                model.mean = 70.0
            found = await settled(engine, lambda found: {one.state for one in found} == {"steady"} and len(found) == 2)
            assert [one.version for one in found] == ["1", "2"]

    asyncio.run(main())


def test_watchers_are_told_and_the_log_has_the_figures(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Told] = []

    async def main() -> None:
        async with Engine("memory:") as engine:
            engine.watchers.append(lambda one: told.append(one) if one.what == "drift" else None)
            await watch(300)
            model.mean = 60.0
            await watch(100)
            await settled(engine, lambda found: bool(drifted(found)))

    with caplog.at_level(logging.WARNING, "segue"):
        asyncio.run(main())
    assert [(one.flow, one.data["of"], one.data["change"].what) for one in told] == [
        (watch.name, "watched", "learned"),
        (watch.name, "watched", "drifted"),
    ]
    assert told[-1].run
    [line] = [line for line in caplog.messages if "drifted" in line]
    assert "step 'watched': speed drifted: Page-Hinkley" in line
    assert "it is called as before" in line


class Full(SqliteStore):
    """A disk that takes nothing more for a while."""

    full = False

    async def keep(self, cell: Cell, was: Cell | None) -> bool:
        if self.full:
            raise StoreFull("no room")
        return await super().keep(cell, was)


def test_a_drift_that_cannot_be_recorded_holds_nevertheless_and_is_told_once_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []

    async def main() -> None:
        store = Full(None)
        async with Engine(store) as engine:
            engine.watchers.append(lambda one: told.append(one.data["change"].what) if one.what == "drift" else None)
            await call(300)
            await settled(engine, lambda found: {one.state for one in found} == {"steady"})
            store.full, model.mean = True, 60.0
            assert (await call(100))[-1] == "fallback"
            assert "drifted" not in told
            store.full = False
            await settled(engine, lambda found: drifted(found) == ["speed"] and told[-1] == "drifted")

    asyncio.run(main())
    assert "cannot be recorded yet: no room" in caplog.text


def test_an_alert_changes_nothing_of_the_calls(env: Env) -> None:
    env.run(watch, 300)
    model.mean = 60.0
    called = model.calls
    env.run(watch, 200)
    assert model.calls - called == 200


def test_what_cannot_be_read_is_learned_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> list[DriftState]:
        async with Engine(f"sqlite:{tmp_path / 'runs.db'}?durability=process") as engine:
            name = f"drift/{__name__}.watched/"
            assert await engine.store.keep(Cell(name, 1.0, b"\xc1 no record"), None)
            await watch(300)
            return await settled(engine, lambda found: [one.state for one in found] == ["steady"])

    assert len(asyncio.run(main())) == 1
    assert "is learned anew" in caplog.text
