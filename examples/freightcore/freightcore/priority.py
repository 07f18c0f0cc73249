"""The delivery priority model: how urgent each package is, between 0 and 1."""

import math
from collections.abc import Iterable

from freightcore.facts import Order


def urgency(orders: Iterable[Order], at: int) -> dict[str, float]:
    """A score for each order: what was promised, what is paid, and how soon its window closes."""
    return {order.id: round(_score(order, at), 3) for order in orders}


def _score(order: Order, at: int) -> float:
    hours = max(0.0, order.closes - at) / 3600
    return 1 / (1 + math.exp(-(2.2 * order.urgent + 0.4 * (order.worth - 3) - 0.45 * (hours - 3))))
