"""The flow that delivers an alert: a step for each way, tried again until the receiver is back."""

from typing import Literal, cast
from weakref import WeakKeyDictionary

from segue.alerts.alert import FLOW, Alert
from segue.alerts.channels import NotDelivered, execute, post
from segue.alerts.settings import Alerts
from segue.flows import flow
from segue.inside import idempotency_key
from segue.policies import Retry
from segue.runtime.call import Call
from segue.runtime.context import HERE
from segue.runtime.engine import Engine
from segue.steps import step
from segue.together import gather

Way = Literal["webhook", "command"]

UNTIL_BACK = Retry(20, backoff="2s", max_delay="5m", jitter=0.5)
"""An hour or so in all."""

LONGEST = 30.0
"""Seconds that one attempt may take."""

_rules: WeakKeyDictionary[Engine, Alerts] = WeakKeyDictionary()


def attach(engine: Engine, alerts: Alerts) -> None:
    """Let an engine deliver alerts by these settings, which are never recorded."""
    _rules[engine] = alerts
    if engine.flows is not None:
        engine.flows |= {FLOW}


def _settings(way: Way) -> Alerts:
    found = _rules.get(cast("Call", HERE.get()).run.engine)
    if found is None or getattr(found, way) is None:
        raise NotDelivered(f"this process has no {way!r} in its [alerts]: execute it by a segue worker of the project")
    return found


@step(retry=UNTIL_BACK, timeout=LONGEST)
def webhook(alert: Alert) -> str:
    """POST it to where the settings say, which only this attempt knows."""
    return post(_settings("webhook").url(), alert, idempotency_key())


@step(retry=UNTIL_BACK, timeout=LONGEST)
async def command(alert: Alert) -> str:
    """Execute the command that the settings name."""
    return await execute(_settings("command").command or (), alert, idempotency_key())


_WAYS = {"webhook": webhook, "command": command}


@flow(name=FLOW)
async def deliver(alert: Alert, ways: list[Way]) -> dict[str, str]:
    """Deliver an alert by each of these ways, whatever becomes of the others, and say what receivers answered."""
    outcomes = await gather(*(_WAYS[way](alert) for way in ways), partial=True)
    return {way: outcome.unwrap() for way, outcome in zip(ways, outcomes, strict=True)}
