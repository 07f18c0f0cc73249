"""Figures, and how they are printed."""

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Latency:
    """Seconds, of many samples."""

    p50: float
    p99: float

    @classmethod
    def of(cls, times: list[float]) -> "Latency":
        """From the samples, in seconds."""
        times = sorted(times)
        return cls(times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))])

    def __str__(self) -> str:
        return f"p50 {self.p50 * 1e6:,.0f} µs, p99 {self.p99 * 1e6:,.0f} µs"


def show(value: Any) -> str:
    """A figure as text."""
    return str(value) if isinstance(value, Latency) else f"{value:,.0f}"


def line(name: str, figure: str, note: str = "") -> None:
    """Print one figure."""
    print(f"  {name:<50} {figure:<29} {note}".rstrip(), flush=True)


def dump(value: Any) -> str:
    """Figures as JSON, for the process that compares."""
    return json.dumps(value, default=lambda v: asdict(v))
