"""FreightCore: whole days by the command, then its flows in virtual time, its checker, and its models."""

import ast
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segue import OwnKey
from segue.testing import Env

from .freight import (
    EXAMPLE,
    SMALL,
    app,
    begun,
    dispatch,
    environment,
    facts,
    given,
    pages,
    regulations,
    routing,
    segue,
    traffic,
    world,
)

HOUR = 3600

# Whole days


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, str]:
    """A small day by the command: its report, what was shown, and its store."""
    store = f"sqlite:{tmp_path_factory.mktemp('day') / 'segue.db'}"
    ran = segue("run", EXAMPLE, "--input", given(), store=store)
    return json.loads(ran.stdout), ran.stderr, store


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """What a seed decides."""
    return {name: value for name, value in report.items() if name not in ("day", "map", "latency")}


@pytest.mark.timeout(300)
class TestADay:
    def test_nothing_that_was_dispatched_violates_a_constraint(self, lived: Any) -> None:
        report, shown, _ = lived
        assert report["violations"] == []
        assert "0 constraint violations in all that was dispatched" in shown
        assert report["failed"] == 0
        assert report["reroutes"] > 20

    def test_every_delivery_is_accounted_for(self, lived: Any) -> None:
        report, _, _ = lived
        ends = ("delivered", "cancelled", "rebooked", "subcontracted")
        assert sum(report[end] for end in ends) == report["deliveries"] == 110

    def test_it_shows_the_day_and_ends_with_a_report(self, lived: Any) -> None:
        report, shown, _ = lived
        assert "Aarhus 12:00  " in shown
        for line in ("events", "runs", "new routes", "escalations", "from event to dispatch", "driven", "late"):
            assert line in shown, line
        assert report["latency"][1] >= report["latency"][0] > 0
        assert report["map"] in shown

    def test_its_map_is_one_page_that_asks_nobody_for_anything(self, lived: Any) -> None:
        page = Path(lived[0]["map"]).read_text()
        assert page.count("<figure>") == 1
        assert 'class="before"' in page
        assert 'class="new"' in page
        assert not any(word in page for word in ("http:", "https:", "src=", "<script", "@import", "url("))

    def test_its_runs_can_be_read_afterwards(self, lived: Any) -> None:
        runs = json.loads(segue("runs", "--flow", "app.update_vehicle", "--json", store=lived[2]).stdout)
        steps = json.loads(segue("show", runs[0]["id"], "--json", store=lived[2]).stdout)["steps"]
        names = [step["name"] for step in steps]
        assert names[:3] == ["get_current_load", "delivery_priority", "route_optimizer"]

    def test_killed_half_way_and_resumed_it_is_the_same_day(self, lived: Any, tmp_path: Path) -> None:
        store = f"sqlite:{tmp_path / 'segue.db'}"
        run = [sys.executable, "-m", "segue", "run", str(EXAMPLE), "--input", given(), "--id", "the-day"]
        process = subprocess.Popen(
            run, env=environment(store), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        for line in process.stderr:
            if b" 11:00  " in line:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        segue("resume", EXAMPLE, store=store)
        report = json.loads(segue("show", "the-day", "--json", store=store).stdout)["result"]
        assert figures(report) == figures(lived[0]), "one seed, one day, whatever happens to the process"


# The flows, in virtual time. The city, its desk and its vans are real; the models may be fakes.


@pytest.fixture
def day(tmp_path: Path) -> str:
    """A day whose morning is planned and dispatched."""
    return begun(tmp_path, SMALL)


@pytest.fixture
def env(segue_env: Env, day: str) -> Env:
    segue_env.fake(app.predict_congestion, calls=as_usual)
    segue_env.fake(app.route_optimizer, calls=routing.replan)
    return segue_env


def as_usual(day: str, city: str, slot: int) -> Any:
    return replace(traffic.usual(world.world_of(day).cities[city], slot), confidence=0.9)


def events_of(day: str, kind: str) -> list[Any]:
    return [event for event in world.world_of(day).cities["Aarhus"].events if event.kind == kind]


def sent(day: str, event: Any) -> list[Any]:
    return [one for one in dispatch.everything(day) if one.event == event.id]


def standing(day: str, vehicle: str) -> list[str]:
    """The orders that a van was told to visit last."""
    return [visit.order for visit in dispatch.latest(day, vehicle=vehicle)[vehicle].route.visits]


class TestTheFlow:
    def test_it_goes_as_in_the_seed(self, env: Env, day: str) -> None:
        event = events_of(day, "order")[0]
        record = env.run(app.orchestrate_route_update, event)
        update = record.unwrap()
        assert [step.name for step in record.steps] == [
            "take_note",
            "traffic_prediction",
            "weather_impact",
            "driver_availability",
            "find_affected_trucks",
            *["freightcore_app.update_vehicle"] * len(update.outcomes),
        ]
        assert (update.change, update.source, update.refused) == ("order", "model", [])
        (told,) = sent(day, event)
        assert event.order_id in standing(day, told.vehicle)
        child = next(step.child for step in record.steps if step.child is not None)
        assert [step.name for step in child.steps][-3:] == ["regulations", "dispatch_update", "recalculate_eta"]

    def test_an_event_that_comes_twice_is_handled_once(self, env: Env, day: str) -> None:
        event = events_of(day, "order")[0]
        first, second = (env.run(app.orchestrate_route_update, event) for _ in range(2))
        assert first.id == second.id
        assert len(sent(day, event)) == 1

    def test_only_the_vans_concerned_are_worked_out_again(self, env: Env, day: str) -> None:
        (event, *_) = events_of(day, "cancel")
        had = [v for v, told in dispatch.latest(day, city="Aarhus").items() if event.order_id in _orders(told)]
        record = env.run(app.orchestrate_route_update, event)
        assert [outcome.vehicle for outcome in record.unwrap().outcomes] == had
        assert len(env.calls(app.route_optimizer)) == len(had) == 1
        assert event.order_id not in standing(day, had[0])

    def test_who_clocks_out_loses_everything_and_others_get_it(self, env: Env, day: str) -> None:
        (event,) = events_of(day, "clock_out")
        record = env.start(app.orchestrate_route_update, event)
        env.advance("20m")  # whatever is asked meanwhile, nobody answers
        update = env.record(record).unwrap()
        assert update.outcomes[0].vehicle == event.driver_id
        assert standing(day, event.driver_id) == []
        assert len(update.outcomes) > 1
        told = [(one.at, one.proposal) for one in dispatch.everything(day)]
        settled = dict.fromkeys(dispatch.marks(day, "rebooked"), "rebooked")
        wrong = regulations.audit(told, {}, dispatch.marks(day, "off"), settled, {})
        assert wrong == []

    def test_nobody_gets_what_could_not_be_taken_from_him(self, env: Env, day: str) -> None:
        (event,) = events_of(day, "clock_out")
        before = standing(day, event.driver_id)
        env.fake(app.route_optimizer, raises=ValueError("a defect"))
        record = env.run(app.orchestrate_route_update, event)
        assert record.status == "failed"
        assert "could not be told" in str(record.error)
        assert standing(day, event.driver_id) == before
        assert sent(day, event) == []

    def test_his_regular_customer_who_calls_in_the_same_second_gets_another_driver(self, env: Env, day: str) -> None:
        (out,) = events_of(day, "clock_out")
        order = next(event for event in events_of(day, "order") if event.driver_id == out.driver_id)
        assert order.at == out.at
        env.start(app.orchestrate_route_update, out)
        record = env.start(app.orchestrate_route_update, order)
        env.advance("20m")
        update = env.record(record).unwrap()
        assert out.driver_id not in [outcome.vehicle for outcome in update.outcomes]
        assert order.order_id not in standing(day, out.driver_id)

    def test_a_van_that_would_wait_for_itself_is_refused(
        self, env: Env, day: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A new route for a van that asks for a new route for the same van."""

        async def update_vehicle(event: Any, task: Any, roads: Any) -> Any:
            return await app.update_vehicle(event, task, roads)

        monkeypatch.setattr(app.update_vehicle.spec, "fn", update_vehicle)
        event = events_of(day, "order")[0]
        roads = facts.Roads(event.at, [0.2] * 16, [0.2] * 16, 1.0)
        record = env.run(app.update_vehicle, event, facts.Task("aarhus-01", [], []), roads)
        assert record.status == "failed"
        assert record.error is not None
        assert OwnKey.__name__ in record.error.message


def _orders(told: Any) -> list[str]:
    return [visit.order for visit in told.route.visits]


def illegal(load: Any, roads: Any, urgency: Any, adds: Any) -> Any:
    """A route that a tired optimiser might give: everybody at once."""
    route = routing.replan(load, roads, urgency, adds)
    return replace(route, visits=[replace(visit, arrives=load.free_at, begins=load.free_at) for visit in route.visits])


class TestTheCriticalGate:
    def test_what_violates_regulations_is_shown_to_a_person_and_not_dispatched(self, env: Env, day: str) -> None:
        env.fake(app.route_optimizer, calls=illegal)
        event = events_of(day, "cancel")[0]
        record = env.start(app.orchestrate_route_update, event)
        (question,) = env.questions()
        assert question.assignee == "dispatcher"
        assert question.choices == ("rebook", "keep")
        assert any(because.startswith("adds_up: ") for because in question.about["because"])
        env.answer(question, "rebook", by="ada")
        assert env.record(record).unwrap().outcomes[0].did == "kept", "rebooking does not make it legal"
        assert sent(day, event) == []

    def test_when_nobody_answers_the_last_instruction_stands(self, env: Env, day: str) -> None:
        env.fake(app.route_optimizer, calls=illegal)
        event = events_of(day, "cancel")[0]
        record = env.run(app.orchestrate_route_update, event)
        assert record.took >= 600
        assert record.unwrap().outcomes[0].did == "kept"
        assert sent(day, event) == []

    def test_an_order_without_a_place_is_rebooked_and_the_rest_goes_out(self, env: Env, day: str) -> None:
        def without_one(load: Any, roads: Any, urgency: Any, adds: Any) -> Any:
            less = replace(load, orders=load.orders[1:])
            return replace(routing.replan(less, roads, urgency, adds), left=[load.orders[0].id])

        env.fake(app.route_optimizer, calls=without_one)
        event = events_of(day, "cancel")[0]
        record = env.start(app.orchestrate_route_update, event)
        (question,) = env.questions()
        (left,) = question.about["no place for"]
        env.answer(question, "rebook", by="ada")
        assert env.record(record).unwrap().outcomes[0].did == "asked"
        (told,) = sent(day, event)
        assert left not in _orders(told.proposal)
        assert list(dispatch.marks(day, "rebooked")) == [left]


class TestTheModelsPolicies:
    def test_a_model_that_is_not_sure_gives_way_to_history(self, env: Env, day: str) -> None:
        env.fake(app.predict_congestion, calls=lambda *_: facts.Forecast("Aarhus", 0, [0.9] * 16, [0.9] * 16, 0.69))
        record = env.run(app.orchestrate_route_update, events_of(day, "sensors")[0])
        assert record.unwrap().source == "fallback"
        assert record.step("traffic_prediction").rungs[-1] == "historical_average"
        assert record.step("traffic_prediction").attempts == 3, "no second try: it would be as unsure again"

    def test_a_model_that_was_wrong_of_late_is_not_believed_however_sure_it_is(self, env: Env, day: str) -> None:
        env.fake(
            app.predict_congestion, calls=lambda *_: facts.Forecast("Aarhus", 0, [0.9] * 16, [0.9] * 16, 0.95, 0.2)
        )
        record = env.run(app.orchestrate_route_update, events_of(day, "sensors")[0])
        assert record.unwrap().source == "fallback"
        assert "borne_out" in str(record.step("traffic_prediction").failures)

    def test_a_plan_is_made_without_any_of_the_three_models(self, env: Env, day: str) -> None:
        for step in (app.predict_congestion, app.weather_impact):
            env.fake(step, raises=ConnectionError("no route"))
        event = events_of(day, "order")[0]
        assert env.run(app.orchestrate_route_update, event).unwrap().source == "fallback"
        assert len(sent(day, event)) == 1

    def test_a_crash_after_dispatch_tells_nobody_twice(self, env: Env, day: str) -> None:
        first = events_of(day, "cancel")[0]
        event = replace(first, id="day/another", order_id=standing(day, "aarhus-02")[-1])
        assert env.run(app.orchestrate_route_update, first).unwrap().outcomes[0].did == "dispatched"
        steps = [app.take_note, app.traffic_prediction, app.weather_impact, app.driver_availability]
        steps += [app.find_affected_trucks, app.get_current_load, app.delivery_priority, app.route_optimizer]
        before = sum(len(env.calls(step)) for step in steps) + 1  # and the gate; the forecast is there already
        env.crash_at("after-body", nth=before + 1)
        record = env.run(app.orchestrate_route_update, event)
        assert record.unwrap().outcomes[0].did == "dispatched"
        assert len(env.calls(app.dispatch_update)) == 3, "the crash came after the instruction was sent"
        assert len(sent(day, event)) == 1


# The independent checker


@pytest.fixture(scope="module")
def legal(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A route of the morning with an urgent order in it, and its load."""
    day = begun(tmp_path_factory.mktemp("legal"), replace(SMALL, drivers=10, deliveries=200))
    told = dispatch.latest(day, city="Aarhus").values()
    proposal = next(one for one in told if one.route.pause and any(o.urgent for o in one.load.orders))
    assert regulations.problems(proposal) == []
    return proposal


def change_route(proposal: Any, **fields: Any) -> Any:
    return replace(proposal, route=replace(proposal.route, **fields))


def change_load(proposal: Any, **fields: Any) -> Any:
    return replace(proposal, load=replace(proposal.load, **fields))


def change_visit(proposal: Any, index: int, **fields: Any) -> Any:
    visits = list(proposal.route.visits)
    visits[index] = replace(visits[index], **fields)
    return change_route(proposal, visits=visits)


def urgent_visit(proposal: Any) -> tuple[int, Any]:
    orders = {order.id: order for order in proposal.load.orders}
    return next((i, orders[v.order]) for i, v in enumerate(proposal.route.visits) if orders[v.order].urgent)


def too_late(proposal: Any) -> Any:
    index, order = urgent_visit(proposal)
    return change_visit(proposal, index, begins=order.closes + 1, leaves=order.closes + 1 + order.service)


def too_early(proposal: Any) -> Any:
    index, order = urgent_visit(proposal)
    return change_visit(proposal, index, begins=order.opens - 1)


def untrained(proposal: Any) -> Any:
    orders = [replace(order, skill="diving") for order in proposal.load.orders]
    return change_load(proposal, orders=orders)


def late_pause(proposal: Any) -> Any:
    pause = replace(proposal.route.pause, begins=proposal.load.on_since + 6 * HOUR + 1)
    return change_route(proposal, pause=replace(pause, ends=pause.begins + HOUR))


WRONG: list[tuple[str, Callable[[Any], Any]]] = [
    ("visits_each_once", lambda p: change_route(p, visits=[*p.route.visits, p.route.visits[0]])),
    ("visits_each_once", lambda p: change_load(p, orders=p.load.orders[1:])),
    ("leaves_nobody", lambda p: change_route(p, visits=p.route.visits[1:])),
    ("is_on_duty", lambda p: change_load(p, on_duty=False)),
    ("has_rested", lambda p: change_load(p, driver=replace(p.load.driver, ended=p.load.on_since - 11 * HOUR + 1))),
    ("has_skills", untrained),
    ("within_capacity", lambda p: change_load(p, carried=p.load.driver.capacity)),
    ("within_windows", too_late),
    ("within_windows", too_early),
    ("within_driving_hours", lambda p: change_load(p, driven=9 * HOUR)),
    ("within_duty", lambda p: change_load(p, on_since=p.route.home - 10 * HOUR - 1)),
    ("pauses_in_time", late_pause),
    ("pauses_in_time", lambda p: change_route(p, pause=replace(p.route.pause, ends=p.route.pause.begins + 1799))),
    ("pauses_in_time", lambda p: change_route(change_load(p, on_since=p.route.home - 6 * HOUR - 1), pause=None)),
    ("adds_up", lambda p: change_visit(p, 1, arrives=p.route.visits[0].leaves)),
    ("adds_up", lambda p: change_visit(p, 1, leaves=p.route.visits[1].begins)),
    ("adds_up", lambda p: change_route(p, home=p.route.visits[-1].leaves)),
    ("adds_up", lambda p: change_route(p, driving=0)),
    ("adds_up", lambda p: change_route(p, pause=replace(p.route.pause, begins=p.load.free_at - 200))),
]


class TestTheChecker:
    @pytest.mark.parametrize(("rule", "wrong"), WRONG, ids=[f"{rule}-{i}" for i, (rule, _) in enumerate(WRONG)])
    def test_it_finds_what_was_made_wrong(self, legal: Any, rule: str, wrong: Callable[[Any], Any]) -> None:
        assert rule in [problem.split(":")[0] for problem in regulations.problems(wrong(legal))]

    def test_every_rule_can_fail(self) -> None:
        assert {rule for rule, _ in WRONG} == {rule.__name__ for rule in regulations.RULES}

    def test_it_finds_what_only_a_whole_day_shows(self, legal: Any) -> None:
        orders = {order.id: order for order in legal.load.orders}
        delivered = dict.fromkeys(orders, 1)
        one = next(iter(orders))
        other = change_load(legal, vehicle="other-01")

        def audit(told: list[Any], off: Any, settled: Any, delivered: Any) -> list[str]:
            return regulations.audit(told, orders, off, settled, delivered)

        assert audit([(0, legal)], {}, {}, delivered) == []
        assert "has clocked" not in str(audit([(0, legal)], {legal.load.vehicle: 1}, {}, delivered))
        assert "after it clocked out" in audit([(2, legal)], {legal.load.vehicle: 1}, {}, delivered)[0]
        assert f"{legal.load.vehicle} has " in audit([(0, legal), (1, other)], {}, {}, delivered)[0]
        less = {id: at for id, at in delivered.items() if id != one}
        assert audit([(0, legal)], {}, {}, less) == [f"{one} is lost"]
        assert audit([(0, legal)], {}, {one: "cancelled"}, less) == []
        assert "was booked for another day" in audit([(0, legal)], {}, {one: "rebooked"}, delivered)[0]

    def test_it_knows_nothing_of_the_planner(self) -> None:
        tree = ast.parse((EXAMPLE / "freightcore" / "regulations.py").read_text())
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        assert modules == {"collections", "collections.abc", "freightcore.facts"}


# The models and the world


@pytest.fixture(scope="module")
def model() -> Any:
    return traffic.Models().of(SMALL)


class TestTheTrafficModel:
    def errors(self, model: Any, day: Any, hours: range) -> tuple[float, float, float, float]:
        """How far it is off, how far history is, how sure it is, and how wrong it was, on average."""
        import numpy as np

        city = day.cities["Aarhus"]
        rows: list[tuple[float, float, float, float]] = []
        for slot in range(hours.start * HOUR, hours.stop * HOUR, world.SLOT):
            said, true = model.predict(city, slot), [city.jam(zone, slot + 1800) for zone in range(16)]
            usual = traffic.usual(city, slot).jams
            off, usually = (float(np.abs(np.subtract(jams, true)).mean()) for jams in (said.jams, usual))
            rows.append((off, usually, said.confidence, abs(said.error)))
        return tuple(np.mean(rows, axis=0))  # pyright: ignore[reportReturnType]

    def test_on_an_ordinary_day_it_is_sure_and_right(self, model: Any) -> None:
        off, usually, confidence, error = self.errors(model, world.World(SMALL, "an/ordinary"), range(8, 17))
        assert off < usually < 0.1
        assert confidence > 0.8
        assert error < traffic.MOST_ERROR / 2

    def test_when_the_pattern_has_shifted_it_is_as_sure_and_wrong_and_its_error_says_so(self, model: Any) -> None:
        shifted = world.World(replace(SMALL, shifted=True), "a/shifted")
        off, usually, confidence, error = self.errors(model, shifted, range(13, 16))
        assert off > 3 * usually
        assert confidence > 0.7
        assert error > traffic.MOST_ERROR


def test_one_seed_one_world() -> None:
    first, second, other = (world.World(replace(SMALL, seed=seed), "a/day").cities["Aarhus"] for seed in (7, 7, 8))
    assert (first.drivers, first.orders, first.events) == (second.drivers, second.orders, second.events)
    assert (first.jams == second.jams).all()
    assert first.orders != other.orders
    assert first.events != other.events


def test_the_whole_day_is_as_large_as_it_was_at_freightcore() -> None:
    whole = world.World(world.Scenario(), "a/day")
    assert (len(whole.cities), len(whole.drivers), len(whole.orders)) == (5, 150, 3000)
    assert {event.kind for city in whole.cities.values() for event in city.events} == {
        "sensors", "incident", "storm", "clock_out", "order", "cancel",
    }  # fmt: skip


def test_a_map_shows_names_as_text_and_nothing_else() -> None:
    hostile = "<script>alert(1)</script>"
    panel = pages.Panel(
        hostile,
        [0.5] * 16,
        {hostile: facts.Place(10, 10)},
        [pages.Track(hostile, [hostile], [hostile])],
        {hostile: "late"},
        [hostile],
    )
    page = pages.page(hostile, [(hostile, hostile)], [panel, panel._replace(marks={hostile: "rebooked"})])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
