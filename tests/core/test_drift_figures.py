"""How often a drift is seen where there is none, and how soon where there is one: bounds for what docs/drift.md shows.

Seeded: the same streams each time.
"""

import pytest

from benchmarks.drift import HALF, LARGER, SHIFTED, STEADY, TESTS, delay, false_alarms, recovery, suits
from segue.core.drift import Test

SOON: dict[str, dict[Test, tuple[int, int]]] = {
    "mean by 1 sd": {"ks": (80, 400), "page_hinkley": (60, 300), "psi": (90, 400)},
    "mean by 2 sd": {"ks": (50, 60), "page_hinkley": (35, 50), "psi": (60, 80), "adwin": (70, 120)},
    "a category from 10 to 40 %": {"psi": (90, 500)},
    "a rate from 95 to 70 %": {"psi": (90, 300)},
    "a rate from 95 to 40 %": {"psi": (50, 70), "adwin": (60, 80), "page_hinkley": (60, 100)},
}
"""Events within which half of the streams are noticed, and all of them."""


@pytest.mark.parametrize(("test", "name"), [(test, name) for test in TESTS for name in STEADY if suits(test, name)])
def test_there_is_hardly_a_false_alarm_in_twenty_thousand_events(test: Test, name: str) -> None:
    assert sum(false_alarms(test, STEADY[name], seed) for seed in (100, 101)) <= 1


@pytest.mark.parametrize(("name", "test"), [(name, test) for name, tests in SOON.items() for test in tests])
def test_a_drift_is_noticed_soon(name: str, test: Test) -> None:
    half, all_of_them = SOON[name][test]
    found = sorted(delay(test, SHIFTED[name], seed) or 1000 for seed in range(100, 108))
    assert found[3] <= half, found
    assert found[-1] <= all_of_them, found


def test_larger_windows_notice_a_smaller_change() -> None:
    assert all((delay("ks", HALF, seed, **LARGER) or 1000) <= 400 for seed in range(6))


def test_a_drift_by_two_deviations_is_noticed_within_the_window_by_default() -> None:
    assert all((delay("ks", SHIFTED["mean by 2 sd"], seed) or 1000) <= 50 for seed in range(20))


@pytest.mark.parametrize(("name", "test"), [("mean by 2 sd", "ks"), ("a rate from 95 to 40 %", "psi")])
def test_what_is_as_it_was_is_used_again_and_what_stays_changed_is_not(name: str, test: Test) -> None:
    assert all((recovery(test, SHIFTED[name], seed, back=True) or 1000) <= 120 for seed in range(100, 108))
    assert [recovery(test, SHIFTED[name], seed, back=False, most=500) for seed in range(100, 103)] == [None] * 3
