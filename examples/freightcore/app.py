"""FreightCore: routes that follow the traffic, the weather, the drivers and the orders.

event → classify → traffic, weather, drivers at the same time → only the vans concerned → regulations → dispatch, ETA

What the regulations refuse goes to a person. ``day`` lives through a whole simulated day of such events.
"""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from freightcore import affected, books, dispatch, drivers, eta, priority, regulations, routing, traffic, weather
from freightcore.books import Report
from freightcore.facts import (
    Affected,
    Availability,
    Event,
    Forecast,
    Load,
    Morning,
    Outcome,
    Proposal,
    Roads,
    Route,
    Task,
    Update,
    Weather,
)
from freightcore.morning import assigned, prepared, unplaced
from freightcore.tasks import classify_change, kept, still_homeless, still_wanted, without
from freightcore.traffic import Models
from freightcore.world import CITIES, FIRST, LAST, Scenario, world_of

from segue import (
    AlreadyDecided,
    Drift,
    File,
    Retry,
    RunFailed,
    Timeout,
    ask_human,
    cached,
    confident,
    current_run,
    flow,
    gate,
    gather,
    idempotency_key,
    inbox,
    log,
    resource,
    step,
    transient,
    use,
)

# The orchestration logic


@flow(key="event.driver_id", dedupe="event.id")
async def orchestrate_route_update(event: Event) -> Update:
    """An event: a traffic spike, a driver who clocks out, a new delivery."""
    # Step 1: Determine what changed
    change_type = classify_change(event)  # 'traffic', 'driver', 'order'
    await take_note(event)

    # Step 2: Parallel context gathering, and what is there in time
    predict = as_predicted if event.trusting else traffic_prediction
    congestion, conditions, availability = await gather(
        predict(event.day, event.city, traffic.slot_of(event.at)),
        weather_impact(event.day, event.city, event.at),
        driver_availability(event.day, event.city),
        partial=True,
        deadline="30s",
    )
    forecast = congestion.value_or(NOTHING_KNOWN)
    roads = Roads(event.at, forecast.jams, forecast.later, conditions.value_or(DRY).factor, congestion.source)

    # Step 3: Recalculate routes (only for affected vehicles)
    trucks = await find_affected_trucks(event, roads, availability.value_or([]))
    homeless, outcomes = trucks.homeless, list[Outcome]()
    for wave in trucks.waves:
        tasks = still_wanted(wave, homeless)
        ends = await gather(*(update_vehicle(event, task, roads) for task in tasks), partial=True)
        done = [end.value_or(kept(task)) for end, task in zip(ends, tasks, strict=True)]
        homeless, outcomes = still_homeless(homeless, tasks, done), outcomes + done
    if homeless:
        await find_another_way(event.day, event.id, event.at, homeless)
    return Update(event.id, event.at, change_type, congestion.source, outcomes, homeless)


@flow(key="task.vehicle")
async def update_vehicle(event: Event, task: Task, roads: Roads) -> Outcome:
    """A route for one van. Two events that concern the same van take turns."""
    current_load = await get_current_load(event, task)
    urgency = await delivery_priority(current_load, event.at)
    new_route = await route_optimizer(current_load, roads, urgency, task.adds)
    left = [order for order in new_route.left if order in task.adds]
    if task.adds and left == sorted(task.adds):
        return kept(task)

    # Step 4: Validate route (critical gate)
    proposal = without(Proposal(new_route, current_load, roads), left)
    otherwise = partial(escalate_to_human, event)
    valid = await gate(proposal, *regulations.RULES, otherwise=otherwise, name="regulations")
    if valid is None:
        return kept(task)
    await dispatch_update(event, valid)
    await recalculate_eta(valid.route)
    return Outcome(task.vehicle, "dispatched" if valid is proposal else "asked", left)


# Where a person decides. When nobody does, the last instruction stands, which was legal when it was given.


async def escalate_to_human(event: Event, proposal: Proposal) -> Proposal | None:
    left = proposal.route.left
    answer = await ask_human(
        f"The route of {proposal.load.vehicle} violates regulations. What now?",
        about={"event": event.id, "because": regulations.problems(proposal), "no place for": left},
        choices=["rebook", "keep"],
        assignee="dispatcher",
        timeout="10m",
        default="keep",
    )
    if answer == "keep":
        return None
    legal = await gate(without(proposal, left), *regulations.RULES, otherwise=None, name="regulations, rebooked")
    if legal is not None:
        await settle_orders(event.day, event.id, event.at, "rebooked", left)
    return legal


async def find_another_way(day: str, event: str, at: int, orders: list[str]) -> None:
    answer = await ask_human(
        f"No van can take {', '.join(orders)}. What now?",
        about={"event": event, "orders": orders},
        choices=["rebook", "subcontract"],
        assignee="dispatcher",
        timeout="10m",
        default="rebook",
    )
    await settle_orders(day, event, at, "rebooked" if answer == "rebook" else "subcontracted", orders)


# The models. In 30 s a plan has to be out: so the slowest of them has 25, and then takes what was kept, or the usual.

NOTHING_KNOWN = Forecast("", 0, [0.3] * 16, [0.3] * 16, 0.0)
DRY = Weather(1.0, "dry")
TWICE = Retry(2, backoff="200ms", on=transient)


@resource
async def models() -> AsyncGenerator[Models, None]:
    yield Models()


def this_half_hour(day: str, city: str, slot: int) -> str:
    """What is kept is taken within the half hour, by the day's own clock."""
    return f"{day}/{city}/{slot // 1800}"


def historical_average(day: str, city: str, slot: int) -> Forecast:
    return traffic.usual(world_of(day).cities[city], slot)


@step(
    timeout=Timeout(attempt="25s", total="25s"),
    retry=TWICE,
    check=[confident(0.7), traffic.borne_out],
    drift=Drift(on="pass_rate", reference=30, window=10),
    fallback=[cached(max_age="1h", key=this_half_hour), historical_average],
)
async def traffic_prediction(day: str, city: str, slot: int) -> Forecast:
    """The congestion heat map of a city. It is made once for each report of the sensors, whoever asks, by a run of its
    own: who asks too early is served by it later, and one that is late is kept for the next."""
    forecast = await congestion_forecast.start(day, city, slot)
    return await forecast.result()


as_predicted = step(name="as_predicted", retry=TWICE, fallback=[historical_average])(traffic_prediction.fn)
"""As FreightCore had it: whatever the model says."""


@flow(dedupe=lambda day, city, slot: f"{day}/{city}/{slot}")
async def congestion_forecast(day: str, city: str, slot: int) -> Forecast:
    return await predict_congestion(day, city, slot)


@step(retry=TWICE)
async def predict_congestion(day: str, city: str, slot: int, models: Models = use(models)) -> Forecast:
    world = world_of(day)
    await asyncio.sleep(traffic.slowness(day))  # nothing, unless a drill says so
    return await asyncio.to_thread(lambda: models.of(world.scenario).predict(world.cities[city], slot))


@step(timeout="25s", retry=TWICE, degraded=DRY)
def weather_impact(day: str, city: str, at: int) -> Weather:
    return weather.impact(world_of(day).cities[city].weather(at))


@step(timeout="10s", retry=TWICE)
def driver_availability(day: str, city: str) -> list[Availability]:
    off = dispatch.marks(day, "off")
    return [drivers.availability(driver, off.get(driver.id)) for driver in world_of(day).cities[city].drivers]


@step(timeout="10s", retry=TWICE)
def delivery_priority(load: Load, at: int) -> dict[str, float]:
    return priority.urgency(load.orders, at)


@step(timeout="20s", retry=TWICE, process=True)
def route_optimizer(load: Load, roads: Roads, urgency: dict[str, float], adds: list[str]) -> Route:
    return routing.replan(load, roads, urgency, adds)


@step(timeout="10s", retry=TWICE)
def recalculate_eta(route: Route) -> list[eta.Eta]:
    return eta.tell(route)


# The systems around: they are told each thing once, whatever is tried again


@step(timeout="10s", retry=TWICE)
def take_note(event: Event) -> None:
    """What an event says is so from now on."""
    key = idempotency_key()
    if event.kind == "clock_out" and event.driver_id is not None:
        dispatch.mark(event.day, key, "off", [event.driver_id], event.at, event.id)
    elif event.kind in ("order", "cancel") and event.order_id is not None:
        kind = "known" if event.kind == "order" else "cancelled"
        dispatch.mark(event.day, key, kind, [event.order_id], event.at, event.id)


@step(timeout="10s", retry=TWICE)
def find_affected_trucks(event: Event, roads: Roads, available: list[Availability]) -> Affected:
    return affected.find(event, classify_change(event), roads, available)


@step(timeout="10s", retry=TWICE)
def get_current_load(event: Event, task: Task) -> Load:
    return affected.load_of(event, task)


@step(timeout="10s", retry=TWICE)
def dispatch_update(event: Event, proposal: Proposal) -> None:
    dispatch.send(event.day, idempotency_key(), event.city, event.at, event.id, [proposal])


@step(timeout="10s", retry=TWICE)
def settle_orders(day: str, event: str, at: int, how: dispatch.Mark, orders: list[str]) -> None:
    dispatch.mark(day, idempotency_key(), how, orders, at, event)


# A simulated day


@flow
async def day(
    seed: int = 7,
    cities: int = 5,
    drivers: int = 150,
    deliveries: int = 3000,
    shifted: bool = False,
    trusting: bool = False,
) -> Report:
    """Plan the morning, live through the day, close the books."""
    folder = await open_day(Scenario(seed, cities, drivers, deliveries, shifted, trusting))
    names = CITIES[:cities]
    dispatcher = asyncio.create_task(answer_questions())
    await gather(learn(folder), *(plan_morning(folder, city) for city in names))
    lived = await gather(*(live_through(folder, city) for city in names))
    dispatcher.cancel()
    return await close_books(folder, [update for updates in lived for update in updates])


async def live_through(folder: str, city: str) -> list[Update]:
    """A city's day, hour by hour."""
    updates: list[Update] = []
    for hour in range(FIRST // 3600, LAST // 3600 + 1):
        updates += await live_an_hour(folder, city, hour)
        sent = sum(outcome.did != "kept" for update in updates for outcome in update.outcomes)
        log.info("%s %02d:00  %d events, %d new routes", city, hour + 1, len(updates), sent)
    return updates


@flow
async def plan_morning(day: str, city: str) -> int:
    """The routes that a city begins with, by what its roads are usually like."""
    morning = await get_orders(day, city)
    routes = await plan_city(morning)
    proposals = await gate(assigned(morning, routes), regulations.all_legal, name="regulations")
    await dispatch_morning(day, city, proposals)
    if left := unplaced(morning, routes):
        await find_another_way(day, "", 0, left)
    return sum(len(route.visits) for route in routes)


@step(retry=3)
def open_day(scenario: Scenario) -> str:
    """A folder for the day, beside the store."""
    with TemporaryDirectory() as folder:
        (file := Path(folder) / "scenario.json").write_bytes(msgspec.json.encode(scenario))
        saved = File.save(file)
    home = saved.path.parents[2] / "freightcore" / current_run().id
    home.mkdir(parents=True, exist_ok=True)
    (home / saved.name).write_bytes(saved.read_bytes())
    dispatch.open_desk(str(home))
    return str(home)


@step(retry=3)
async def learn(day: str, models: Models = use(models)) -> str:
    """Train the traffic model before anybody needs it."""
    await asyncio.to_thread(models.of, world_of(day).scenario)
    return "trained"


@step(retry=3)
def get_orders(day: str, city: str) -> Morning:
    return prepared(day, city)


@step(process=True, timeout="2m", retry=3)
def plan_city(morning: Morning) -> list[Route]:
    return routing.plan(morning.loads, morning.orders, morning.roads, morning.urgency)


@step(retry=3)
def dispatch_morning(day: str, city: str, proposals: list[Proposal]) -> None:
    dispatch.send(day, idempotency_key(), city, 0, "", proposals)


@step(retry=3)
async def live_an_hour(day: str, city: str, hour: int) -> list[Update]:
    """Everything that happens in a city, one moment after the other. Begun again after a crash it finds each event's
    run where it was."""
    updates: list[Update] = []
    events = [event for event in world_of(day).cities[city].events if event.at // 3600 == hour]
    for _, same_moment in groupby(events, lambda event: event.at):
        moment = list(same_moment)
        await asyncio.to_thread(dispatch.arrived, day, moment)
        runs = [await orchestrate_route_update.start(event) for event in moment]
        for event, run in zip(moment, runs, strict=True):
            try:
                updates.append(await run.result())
            except RunFailed as failed:
                log.warning("event %s: %s", event.id, failed)
    return updates


@step(retry=3)
async def answer_questions() -> None:
    """The dispatcher, simulated: rebooks, and has somebody else drive."""
    while True:
        for asking in (plan_morning, orchestrate_route_update, update_vehicle):
            for question in await inbox.questions(flow=asking.name):
                value = "rebook" if asking is update_vehicle else "subcontract"
                try:
                    await inbox.answer(question.id, value, by="dispatcher")
                except AlreadyDecided:  # its time was up, or a person was quicker
                    pass
        await asyncio.sleep(0.1)


@step(retry=3)
def close_books(day: str, updates: list[Update]) -> Report:
    return books.close(day, updates)
