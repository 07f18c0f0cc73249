"""``simulate``: what is right survives every seed, what is wrong is found and replays from its seed."""

import asyncio
from typing import Any

import pytest

from segue import Retry, UsageError, flow, gather, sleep, step
from segue.testing import Chaos, Env, Faults, RunRecord, simulate

charges: list[str] = []
calls = 0


@pytest.fixture(autouse=True)
def _fresh() -> None:
    global calls
    calls = 0
    charges.clear()


def forget(_: Env) -> None:
    charges.clear()


@step(retry=Retry(4, backoff="1m"))
async def charge(order: int) -> str:
    charges.append(f"order {order}")
    return f"receipt {order}"


@step
def pack(order: int) -> str:
    return f"box {order}"


@flow(name="order")
async def order(number: int) -> list[str]:
    receipt, box = await gather(charge(number), pack(number))
    await sleep("3d")
    return [receipt, box]


def test_what_is_right_survives_every_seed() -> None:
    report = simulate(order, 42, seeds=range(60), check=lambda record: record.result == ["receipt 42", "box 42"])
    assert report.ok, report
    assert report.endings == {"completed": 60}
    assert 20 < report.crashes < 60
    assert str(report) == f"order: 60 seeds, {report.crashes} crashes; 60 completed"


def test_faults_are_drawn_from_the_seed() -> None:
    report = simulate(order, 42, seeds=range(60), faults=Faults(fail=0.3))
    assert report.ok, report
    assert report.endings["failed"] > 5
    assert report.endings["completed"] > 20


def test_an_effect_that_happens_twice_is_found_and_replays_from_its_seed() -> None:
    def charged_once(record: RunRecord) -> None:
        assert len(charges) == 1, f"charged {len(charges)} times"

    report = simulate(order, 42, seeds=range(60), check=charged_once, prepare=forget)
    (way,) = report.ways
    assert way.kind == "check"
    assert "charged 2 times" in way.what
    assert len(way.seeds) > 3
    assert f"seeds=[{way.seeds[0]}]" in str(report)

    for seed in way.seeds[:3]:
        again = simulate(order, 42, seeds=[seed], check=charged_once, prepare=forget)
        assert again.ways[0].seeds == (seed,)
    assert simulate(order, 42, seeds=[way.seeds[0]], check=charged_once, prepare=forget).ways[0].record == way.record


@flow(name="moody")
async def moody() -> str:
    global calls
    calls += 1  # what a flow must not read: the same run sees another value when it goes on
    await charge(calls)
    return await charge(7)


def test_a_flow_that_does_not_replay_is_found() -> None:
    report = simulate(moody, seeds=range(40))
    (way,) = report.ways
    assert (way.kind, way.what.partition(":")[0]) == ("failed", "Divergence")
    assert way.record is not None
    assert way.record.crashes > 0


@flow(name="hung")
async def hung() -> str:
    return await charge(1)


def test_a_run_that_is_stuck_is_found() -> None:
    async def wait(order: int) -> None:
        await asyncio.Event().wait()

    report = simulate(hung, seeds=range(5), prepare=lambda env: env.fake(charge, calls=wait))
    (way,) = report.ways
    assert (way.kind, way.seeds) == ("stuck", (0, 1, 2, 3, 4))
    assert "waits for charge" in way.what
    assert report.endings == {}


def test_a_check_may_say_no_without_raising() -> None:
    def never(record: RunRecord) -> bool:
        return False

    (way,) = simulate(order, 1, seeds=range(3), check=never).ways
    assert (way.kind, way.what) == ("check", "never gave False")


def test_ways_are_told_apart_by_where_they_went_wrong() -> None:
    def odd(record: RunRecord) -> None:
        number = int(record.id.split("-")[1])
        if number % 2:
            raise ValueError(f"odd: {number}")
        assert number < 4, number

    report = simulate(order, 1, seeds=range(8), check=odd)
    assert [way.seeds for way in report.ways] == [(1, 3, 5, 7), (4, 6)]


def failing(seed: int) -> Chaos:
    return Chaos(Faults(seed, fail=0.3))


@pytest.mark.parametrize("faults", [None, Faults(fail=0.3, delay=0.5), failing])
def test_one_seed_gives_one_record(faults: Any) -> None:
    def records() -> list[RunRecord]:
        seen: list[RunRecord] = []
        simulate(order, 42, seeds=range(12), faults=faults, check=seen.append)
        return seen

    first, second = records(), records()
    assert first == second
    assert len({repr(record) for record in first}) > 6


def test_only_flows_are_simulated() -> None:
    with pytest.raises(UsageError, match="takes a @flow"):
        simulate(charge, 1)  # type: ignore[arg-type]
