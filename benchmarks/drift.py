"""How often a drift is seen where there is none, and how soon where there is one: ``python -m benchmarks.drift``.

Seeded streams, watched as a step's signals are, without an engine. docs/drift.md shows what this prints.
"""

import random
import sys
import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any, NamedTuple

from segue import Drift
from segue.core.drift import Rule, Signal, Test, after, due, learned, look, see
from segue.runtime.drift_tests import judged

Draw = Callable[[random.Random], Any]


class Stream(NamedTuple):
    """Values of one distribution, and of another one that they may drift to."""

    before: Draw
    after: Draw | None = None


STEADY: dict[str, Stream] = {
    "normal": Stream(lambda r: r.gauss(0, 1)),
    "skewed (log-normal)": Stream(lambda r: r.lognormvariate(0, 1)),
    "confidence (beta 8, 2)": Stream(lambda r: r.betavariate(8, 2)),
    "categories 60, 20, 10, 10 %": Stream(lambda r: r.choices("abcd", (60, 20, 10, 10))[0]),
    "rate 95 %": Stream(lambda r: r.random() < 0.95),
    "rate 99 %": Stream(lambda r: r.random() < 0.99),
}
SHIFTED: dict[str, Stream] = {
    "mean by 1 sd": Stream(lambda r: r.gauss(0, 1), lambda r: r.gauss(1, 1)),
    "mean by 2 sd": Stream(lambda r: r.gauss(0, 1), lambda r: r.gauss(2, 1)),
    "a category from 10 to 40 %": Stream(
        lambda r: r.choices("abcd", (60, 20, 10, 10))[0], lambda r: r.choices("abcd", (40, 13, 7, 40))[0]
    ),
    "a rate from 95 to 70 %": Stream(lambda r: r.random() < 0.95, lambda r: r.random() < 0.7),
    "a rate from 95 to 40 %": Stream(lambda r: r.random() < 0.95, lambda r: r.random() < 0.4),
}
HALF: Stream = Stream(lambda r: r.gauss(0, 1), lambda r: r.gauss(0.5, 1))
LARGER: dict[str, Any] = {"window": 200, "reference": 500, "threshold": 0.15}
NUMBERS = ("normal", "skewed (log-normal)", "confidence (beta 8, 2)", "mean by 1 sd", "mean by 2 sd")
CATEGORIES = ("categories 60, 20, 10, 10 %", "a category from 10 to 40 %")
TESTS: tuple[Test, ...] = ("ks", "page_hinkley", "adwin", "psi")


def suits(test: Test, stream: str) -> bool:
    """Whether a test takes such values."""
    if stream in NUMBERS:
        return True
    return test == "psi" if stream in CATEGORIES else test != "ks"


class Watch:
    """One signal, as a monitor keeps it."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.signal = rule, Signal()

    def drifts(self, value: Any) -> bool:
        """One more value. True: it is the one at which a drift is noticed."""
        signal, rule = self.signal, self.rule
        see(signal, rule, value)
        if learned(signal, rule, 0.0) or not due(signal, rule):
            return False
        found = look(signal, rule)
        verdict = judged(signal, found)
        return (
            after(signal, found, drifted=verdict.drifted, fits=verdict.fits, p=verdict.p, now=0.0) is not None
            and signal.state == "drifted"
        )


def false_alarms(test: Test, stream: Stream, seed: int, events: int = 10_000) -> int:
    """Drifts noticed among so many values of one distribution. After each one it is learned anew."""
    chance, watch, alarms = random.Random(seed), Watch(Drift("x", by=test).rule()), 0
    for _ in range(events):
        if watch.drifts(stream.before(chance)):
            alarms, watch = alarms + 1, Watch(watch.rule)
    return alarms


def delay(test: Test, stream: Stream, seed: int, most: int = 1000, **declared: Any) -> int | None:
    """Events after the shift at which it was noticed; None if it was not.

    Args:
        declared: what ``Drift`` takes, if it is not as usual.
    """
    assert stream.after is not None
    chance, watch = random.Random(seed), Watch(Drift("x", by=test, **declared).rule())
    for _ in range(watch.rule.reference + watch.rule.window + 250 + seed % 10):
        watch.drifts(stream.before(chance))
    for event in range(1, most + 1):
        if watch.drifts(stream.after(chance)):
            return event
    return None


def recovery(test: Test, stream: Stream, seed: int, *, back: bool, most: int = 1000) -> int | None:
    """Probes after a drift, until the step is used again; None if it is not, among so many.

    Args:
        back: it is as it was before; else it stays as it has become.
    """
    assert stream.after is not None
    chance, watch = random.Random(seed), Watch(Drift("x", by=test).rule())
    for _ in range(500):
        watch.drifts(stream.before(chance))
    for _ in range(2000):
        if watch.drifts(stream.after(chance)):
            break
    for _ in range(30):  # it takes a while to be mended
        watch.drifts(stream.after(chance))
    for probe in range(1, most + 1):
        watch.drifts(stream.before(chance) if back else stream.after(chance))
        if watch.signal.state == "steady":
            return probe
    return None


def cost(test: Test | None, draw: Draw, events: int = 5_000) -> float:
    """Seconds that one value takes, looks included, while nothing drifts."""
    best = float("inf")
    for _ in range(5):  # the machine's other work is not what is asked
        chance, watch = random.Random(1), Watch(Drift("x", by=test).rule())
        values = [draw(chance) for _ in range(events)]
        began = time.perf_counter()
        for value in values:
            watch.drifts(value)
        best = min(best, (time.perf_counter() - began) / events)
    return best


def _row(cells: Iterable[str]) -> None:
    print(f"| {' | '.join(cells)} |")


def _alarms(seeds: int) -> None:
    _row(["no drift", *TESTS])
    _row(["---"] * (1 + len(TESTS)))
    for name, stream in STEADY.items():
        cells = [
            f"{sum(false_alarms(test, stream, seed) for seed in range(seeds)) / seeds:.2f}" if suits(test, name) else ""
            for test in TESTS
        ]
        _row([name, *cells])


def _delays(seeds: int) -> None:
    _row(["a shift of", *TESTS])
    _row(["---"] * (1 + len(TESTS)))
    for name, stream in SHIFTED.items():
        cells: list[str] = []
        for test in TESTS:
            found = [delay(test, stream, seed) for seed in range(seeds)] if suits(test, name) else []
            noticed = sorted(one for one in found if one is not None)
            missed = f", {len(found) - len(noticed)} of {seeds} missed" if len(noticed) < len(found) else ""
            cells.append(f"{median(noticed):.0f}, at most {noticed[-1]}{missed}" if noticed else "missed" * bool(found))
        _row([name, *cells])


def _recoveries(seeds: int) -> None:
    _row(["after a shift of", "it is as it was: used again after", "it stays changed: used again"])
    _row(["---"] * 3)
    for name, stream in SHIFTED.items():
        test: Test = "ks" if name in NUMBERS else "psi"
        back = sorted(recovery(test, stream, seed, back=True) or 1000 for seed in range(seeds))
        stays = [recovery(test, stream, seed, back=False) for seed in range(seeds)]
        again = sum(one is not None for one in stays)
        _row([name, f"{median(back):.0f} probes, at most {back[-1]}", f"{again} of {seeds}, within 1,000 probes"])


def main() -> None:
    """Print the tables, and what watching costs."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(f"False alarms in 10,000 events, the mean of {seeds} streams:\n")
    _alarms(seeds)
    print(f"\nEvents from the shift until it is noticed, the median of {seeds} streams:\n")
    _delays(seeds)
    half = sorted(delay("ks", HALF, seed, **LARGER) or 1000 for seed in range(seeds))
    print(f"\nA mean by half an sd, ks with {LARGER}: {median(half):.0f}, at most {half[-1]}")
    print("\nProbes until a step that has drifted is used again:\n")
    _recoveries(seeds)
    print()
    tests: tuple[Test, ...] = ("ks", "page_hinkley")
    for test in tests:
        print(f"one value, looks included, {test}: {cost(test, STEADY['normal'].before) * 1e6:.1f} µs")
    print(f"one value, looks included, adwin: {cost('adwin', STEADY['rate 95 %'].before) * 1e6:.1f} µs")
    print(f"one value, looks included, psi: {cost('psi', STEADY['categories 60, 20, 10, 10 %'].before) * 1e6:.1f} µs")


if __name__ == "__main__":
    main()
