"""Retraining: collect, train, evaluate, deploy; every night, by a line of cron.

    segue run examples/retraining                                  # yesterday's trips
    segue run examples/retraining --input '{"day": "2026-03-13"}'  # those of another day
    segue run examples/retraining/app.py:predict --input '{"trip": {"km": 4.2, "hour": 17, "rain": 1, "stops": 2}}'

A model that is worse than the one in use is not deployed, and one that does not answer is taken back.
"""

from datetime import UTC, date, datetime, timedelta

from retraining import deployments, models, trips
from retraining.deployments import Deployment, Prediction
from retraining.models import Scores
from retraining.nights import Night
from retraining.trips import Trip

from segue import File, Retry, flow, now, step
from segue.triggers import cron


@flow(key=lambda: "the one model", on=[cron("0 3 * * *")])
async def retrain(day: date | None = None) -> Night:
    """One night's work. Two of them never overlap."""
    day = day or datetime.fromtimestamp(now(), UTC).date() - timedelta(days=1)
    data = await collect(day)
    model = await train(data)
    scores = await evaluate(model, data)
    if scores.refusal:
        return Night(day, model.sha256, scores)
    deployed = await deploy(model)
    await answers(deployed)
    return Night(day, model.sha256, scores, deployed)


@flow
async def predict(trip: Trip) -> Prediction:
    """How long a trip takes, by the model in use, and which that was."""
    return await ask(trip)


@step(retry=Retry(3, backoff="1m"), timeout="10m")
def collect(day: date) -> File:
    """The last two weeks of trips, up to this day. What is there already is not fetched again."""
    return File.save(trips.collect(deployments.home() / "trips", day))


@step(retry=2, timeout="10m")
def train(data: File) -> File:
    """A model, as data. The same trips give the same model, to the byte."""
    return File.save(models.train(data.read_bytes(), deployments.home()))


@step(retry=2)
def evaluate(model: File, data: File) -> Scores:
    """The model beside the one in use, on trips that neither has learned from."""
    candidate, used = models.read(model.read_bytes()), deployments.in_use()
    return models.compare(candidate, used and used.model, data.read_bytes())


@step(retry=2)
def withdraw(deployed: Deployment) -> None:
    """Go back to the model before."""
    deployments.withdraw(deployed)


@step(retry=2, undo=withdraw)
def deploy(model: File) -> Deployment:
    """Make it the model in use, in one move: whoever asks gets the one before, or this one."""
    return deployments.deploy(model.read_bytes())


@step(retry=2)
def answers(deployed: Deployment) -> Prediction:
    """Ask as everybody does. If no sensible answer comes the run fails, and what it deployed is withdrawn."""
    return deployments.probe(deployed)


@step(retry=2)
def ask(trip: Trip) -> Prediction:
    return deployments.predict(trip)
