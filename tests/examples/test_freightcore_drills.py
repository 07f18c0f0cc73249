"""FreightCore's three drills: phantom traffic, the race, the slow model."""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segue import Engine, Timeout
from segue.testing import Env

from .freight import EXAMPLE, app, contest, load_drill, routing, segue, traffic, world

DEEP = os.environ.get("SEGUE_DEEP") == "1"
slow = load_drill("slow").slow

NOTICED_WITHIN = 20
"""Events of a city after the shift. The model is found wrong half an hour later, when what it said can be seen."""


@pytest.mark.timeout(400)
def test_phantom_traffic_is_noticed_and_what_it_costs_is_told(tmp_path: Path) -> None:
    given = {} if DEEP else {"cities": 1, "drivers": 12, "deliveries": 230}
    store = f"sqlite:{tmp_path / 'segue.db'}"
    ran = segue("run", EXAMPLE / "phantom.py", "--input", json.dumps(given), store=store)
    found = json.loads(ran.stdout)
    protected, trusting = found["protected"], found["trusting"]
    assert found["noticed"] <= NOTICED_WITHIN
    believed, after = protected["believed"]
    assert believed < after / 4, "history has taken over"
    assert trusting["believed"] == [after, after]
    assert trusting["noticed"] is None
    assert protected["events"] == trusting["events"]
    assert protected["planned"] == trusting["planned"], "the same day, until noon"
    assert protected["driven"] < trusting["driven"], "rerouted around phantom traffic"
    assert protected["violations"] == trusting["violations"] == []
    assert "with checks and history" in ran.stderr
    (state,) = json.loads(segue("drift", "traffic_prediction", "--json", store=store).stdout)
    assert (state["signal"], state["state"]) == ("pass_rate", "drifted")
    assert [change["what"] for change in state["changes"]] == ["learned", "drifted"], "no false alarm before noon"


class TestTheRace:
    def race(self, tmp_path: Path, rounds: int, **more: Any) -> dict[str, Any]:
        store = f"sqlite:{tmp_path / 'segue.db'}"
        given = json.dumps({"rounds": rounds, **more})
        return json.loads(segue("run", EXAMPLE / "race.py", "--input", given, store=store, timeout=900).stdout)

    @pytest.mark.timeout(1000)
    def test_no_driver_ever_has_conflicting_instructions(self, tmp_path: Path) -> None:
        rounds = 10_000 if DEEP else 400
        found = self.race(tmp_path, rounds)
        verdict = found["verdict"]
        assert verdict["conflicts"] == []
        assert (verdict["rounds"], found["runs"]) == (rounds, 2 * rounds)
        assert sum(verdict["shares"]) == 2 * rounds
        assert 0.3 * rounds < verdict["too_late"] < 0.7 * rounds, "both orders occur"

    @pytest.mark.timeout(400)
    def test_without_a_queue_for_each_driver_there_are_conflicts(self, tmp_path: Path) -> None:
        verdict = self.race(tmp_path, 200, keyed=False)["verdict"]
        assert any("told to deliver after he clocked out" in conflict for conflict in verdict["conflicts"])
        assert any("is lost or has two drivers" in conflict for conflict in verdict["conflicts"])


def told(desk: Path, *lines: tuple[Any, ...]) -> None:
    """What one driver was told: of each line who did it, what, and what about."""
    import msgspec

    notes = [contest.Told(str(n), run, 1, what, *about) for n, (run, what, *about) in enumerate(lines)]
    (desk / "ada.jsonl").write_bytes(b"".join(msgspec.json.encode(note) + b"\n" for note in notes))


WELL = (
    ("in", "begin"),
    ("in", "deliver", "d1"),
    ("in", "end"),
    ("out", "begin"),
    ("out", "withdraw", "d1"),
    ("out", "hand over", "d1"),
    ("out", "clock out"),
    ("out", "end"),
)
LATE = (
    ("out", "begin"),
    ("out", "clock out"),
    ("out", "end"),
    ("in", "begin"),
    ("in", "hand over", "d1"),
    ("in", "end"),
)


@pytest.mark.parametrize(
    ("lines", "conflict"),
    [
        (WELL, ""),
        (LATE, ""),
        ((*LATE[:4], ("in", "deliver", "d1"), ("in", "end")), "told to deliver after he clocked out"),
        ((*LATE[:4], ("in", "end")), "nobody was told"),
        ((*WELL[:4], ("out", "hand over", "d1"), *WELL[6:]), "has two drivers: deliver, hand over"),
        ((*WELL[:6], *WELL[5:]), "has two drivers: deliver, withdraw, hand over, hand over"),
        ((WELL[0], WELL[3], *WELL[1:3], *WELL[4:]), "run out began within in"),
        (WELL[:-1], "1 of 2 were handled"),
        (WELL[:3], "clocked out 0 times"),
    ],
)
def test_the_verifier_finds_what_was_made_wrong(tmp_path: Path, lines: Any, conflict: str) -> None:
    told(tmp_path, *lines)
    both = [contest.Signal("1", str(tmp_path), "ada", 1, "d1"), contest.Signal("2", str(tmp_path), "ada", 1)]
    found = contest.verify(both).conflicts
    assert conflict in "; ".join(found)
    assert bool(found) == bool(conflict)


# The slow model


def plan_city(plan: Any) -> Any:
    return routing.plan(plan.loads, plan.orders, plan.roads, plan.urgency)


@pytest.fixture
def env(segue_env: Env) -> Env:
    async def after_a_while(day: str, city: str, slot: int) -> Any:
        await asyncio.sleep(traffic.slowness(day))
        return replace(traffic.usual(world.world_of(day).cities[city], slot), confidence=0.9)

    segue_env.fake(app.learn, returns="trained")
    segue_env.fake(app.predict_congestion, calls=after_a_while)
    segue_env.fake(app.route_optimizer, calls=routing.replan)
    segue_env.fake(app.plan_city, calls=plan_city)
    return segue_env


def hold(seen: Any, seconds: float, patience: float) -> None:
    """What the drill has to show."""
    assert seen.before.source == "model"
    assert (seen.meanwhile.source, len(seen.meanwhile.vans)) == ("cached", 1), "a plan, and it says what it is made on"
    assert patience <= seen.meanwhile.seconds < seconds
    assert seen.late >= seconds
    assert (seen.afterwards.source, len(seen.afterwards.vans)) == ("model", 1), "what was late is kept"
    assert seen.afterwards.seconds < patience


class TestTheSlowModel:
    def test_the_plan_is_out_within_30_seconds_on_what_was_kept(self, env: Env) -> None:
        seen = env.run(slow, 45.0).unwrap()
        hold(seen, 45, 25)
        assert seen.meanwhile.seconds < 30
        assert seen.late == 45

    def test_with_nothing_kept_it_is_on_what_is_usual(self, env: Env) -> None:
        def unsure_then_slow(day: str, city: str, slot: int) -> Any:
            return replace(traffic.usual(world.world_of(day).cities[city], slot), confidence=0.1)

        env.fake(app.predict_congestion, calls=unsure_then_slow)
        seen = env.run(slow, 45.0).unwrap()
        assert (seen.before.source, seen.meanwhile.source) == ("fallback", "fallback")

    def test_in_real_time_a_tenth_of_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        patience = Timeout(attempt="2500ms", total="2500ms")
        monkeypatch.setattr(app.traffic_prediction.spec, "timeout", patience)

        async def scene() -> Any:
            async with Engine(f"sqlite:{tmp_path / 'segue.db'}"):
                return await slow(4.5)

        hold(asyncio.run(scene()), 4.5, 2.5)

    @pytest.mark.timeout(300)
    def test_by_its_command_in_real_time(self, tmp_path: Path) -> None:
        store = f"sqlite:{tmp_path / 'segue.db'}"
        ran = segue("run", EXAMPLE / "slow.py", store=store)
        found = json.loads(ran.stdout)
        assert found["meanwhile"]["source"] == "cached"
        assert 25 <= found["meanwhile"]["seconds"] < 30
        assert found["late"] >= 45
        assert found["afterwards"]["source"] == "model"
