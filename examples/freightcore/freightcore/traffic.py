"""The traffic model: gradient boosting on what road sensors count, learnt from weeks before this one.

Three quantiles of the congestion in half an hour. How far the outer two are apart says how sure it is. That is honest
about noise, and blind to a world that changed: for numbers that it has never seen it is as sure as ever.
"""

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from freightcore.facts import Forecast
from freightcore.world import SLOT, City, Past, Scenario, past

AHEAD = 1_800
"""Seconds that it looks ahead."""

MOST_ERROR = 0.15
"""Of congestion, on average over a city: three times what it is on an ordinary day."""

_QUANTILES = (0.1, 0.5, 0.9)


class TrafficModel:
    """Trained at first use, in a second or two."""

    def __init__(self, learnt: Past) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # the same trees on every machine, and room for the others
            self._models: list[Any] = [
                HistGradientBoostingRegressor(loss="quantile", quantile=quantile, max_iter=60, random_state=0).fit(
                    learnt.seen, learnt.came
                )
                for quantile in _QUANTILES
            ]

    def predict(self, city: City, slot: int) -> Forecast:
        """The congestion of each zone half an hour after a slot began."""
        low, middle, high = self._quantiles(city, slot)
        confidence = float(np.clip(1 - (high - low).mean(), 0, 1))
        said = self._quantiles(city, slot - AHEAD)[1]
        error = float((said - city.found(slot)).mean())
        jams = [round(float(jam), 4) for jam in np.clip(middle, 0, 0.92)]
        return Forecast(city.name, slot, jams, city.average(slot + 2 * AHEAD), round(confidence, 4), round(error, 4))

    def _quantiles(self, city: City, at: int) -> list[Any]:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            seen = city.seen(at)
            return [model.predict(seen) for model in self._models]


class Models:
    """The model of each set of cities, trained when it is first asked for."""

    def __init__(self) -> None:
        self._trained: dict[tuple[int, int], TrafficModel] = {}
        self._lock = Lock()

    def of(self, scenario: Scenario) -> TrafficModel:
        """The model for the cities of a scenario."""
        with self._lock:
            which = scenario.seed, scenario.cities
            if which not in self._trained:
                self._trained[which] = TrafficModel(past(scenario))
            return self._trained[which]


def borne_out(forecast: Forecast) -> str | None:
    """A check: what it said half an hour ago has come about, more or less."""
    error = abs(forecast.error)
    return None if error <= MOST_ERROR else f"it is {error:.2f} off what the vans find"


def usual(city: City, slot: int) -> Forecast:
    """The fallback: what this hour was like in the last weeks. It knows nothing of today, and never lies much."""
    return Forecast(city.name, slot, city.average(slot + AHEAD), city.average(slot + 2 * AHEAD), 0.75)


def slot_of(at: int) -> int:
    """When the last report of the sensors before this was."""
    return at // SLOT * SLOT


def slowness(day: str) -> float:
    """Seconds for which the model is at it before it answers: what the drill of a slow day writes into a file."""
    file = Path(day) / "slowness"
    return float(file.read_text()) if file.exists() else 0.0
