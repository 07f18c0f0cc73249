"""Drill 1, phantom traffic: ``segue run examples/freightcore/phantom.py``.

At noon the pattern of the cities changes. The sensors count what they counted on the jammed afternoons that the traffic
model was trained on, and the roads stay free. The model is sure of itself, and wrong. The same day is lived through
twice: once it is believed, once it has to be confident and to have been right.
"""

from dataclasses import dataclass

from app import day
from freightcore.books import Report

from segue import flow, log


@dataclass(frozen=True)
class Comparison:
    """The afternoon with the protection and without.

    Attributes:
        noticed: so many events of a city came after noon before the model was no longer believed.
    """

    noticed: int | None
    protected: Report
    trusting: Report


@flow
async def phantom(seed: int = 7, cities: int = 2, drivers: int = 60, deliveries: int = 1200) -> Comparison:
    protected = await day(seed, cities, drivers, deliveries, shifted=True)
    trusting = await day(seed, cities, drivers, deliveries, shifted=True, trusting=True)
    for what, one in (("with checks and history", protected), ("believing the model", trusting)):
        refused = one.rebooked + one.subcontracted
        log.info(
            "%-23s %5.0f km, %4.0f hours, %3d late by %4.0f minutes, %2d refused; %d of %d events took its word",
            what, one.driven, one.hours, one.late, one.late_minutes, refused, *one.believed,
        )  # fmt: skip
    log.info("noticed after %s events of a city", protected.noticed)
    return Comparison(protected.noticed, protected, trusting)
