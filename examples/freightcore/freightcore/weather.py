"""The weather impact model: how much longer driving takes, from what a station measures."""

from dataclasses import dataclass

from freightcore.facts import Weather


@dataclass(frozen=True)
class Observation:
    """Millimetres of rain an hour, and degrees Celsius."""

    rain: float
    degrees: float


def impact(seen: Observation) -> Weather:
    """Wet roads slow everybody down, more so where it freezes."""
    wet = min(seen.rain, 8.0) / 8.0
    factor = 1.0 + 0.25 * wet + (0.15 if seen.degrees <= 0 and wet else 0.0)
    condition = "dry" if not wet else "ice" if seen.degrees <= 0 else "wet" if wet < 0.5 else "storm"
    return Weather(round(factor, 3), condition)
