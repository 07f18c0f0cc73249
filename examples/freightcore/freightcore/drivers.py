"""The driver availability model: hours, rest and skills."""

from freightcore.facts import Availability, Driver

REST = 11 * 3600
"""Seconds between two shifts."""

SHIFT = int(9.75 * 3600)
"""Seconds from clocking on to being back, with a margin to what the law allows."""


def availability(driver: Driver, off: int | None) -> Availability:
    """What a driver may do today.

    Args:
        off: when he clocked out, if he has.
    """
    starts = max(driver.contract, driver.ended + REST)
    return Availability(driver.id, starts, starts + SHIFT, off is None, driver.skills)
