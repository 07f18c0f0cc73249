"""When calls are let through, by how the earlier ones ended."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.breaker import Circuit
from segue.limits import Breaker

THREE = Breaker(failures=3, within=10, reset=5)


def fail(circuit: Circuit, *times: float) -> None:
    for now in times:
        assert circuit.allows(now)
        circuit.failed(now, circuit.era)


def opened(at: float = 2) -> Circuit:
    circuit = Circuit(THREE)
    fail(circuit, at - 2, at - 1, at)
    return circuit


def probing(now: float = 7) -> Circuit:
    circuit = opened()
    assert circuit.allows(now)
    return circuit


@pytest.mark.parametrize(
    ("times", "state"),
    [
        ([], "closed"),
        ([0, 1], "closed"),
        ([0, 1, 2], "open"),
        ([0, 5, 10], "open"),  # the first is just within
        ([0, 5, 10.001], "closed"),
        ([0, 5, 11, 12], "open"),
        ([0, 8, 16, 24], "closed"),
    ],
)
def test_so_many_failures_within_the_time_open_it(times: list[float], state: str) -> None:
    circuit = Circuit(THREE)
    fail(circuit, *times)
    assert circuit.state(times[-1] if times else 0) == state


def test_a_success_does_not_make_up_for_failures() -> None:
    circuit = Circuit(THREE)
    fail(circuit, 0, 1)
    circuit.succeeded(1.5, circuit.era)
    assert circuit.failures(1.5) == 2
    fail(circuit, 2)
    assert circuit.state(2) == "open"


def test_a_cancelled_call_says_nothing() -> None:
    circuit = Circuit(THREE)
    fail(circuit, 0, 1)
    circuit.abandoned(1, circuit.era)
    assert (circuit.state(1), circuit.failures(1), circuit.era) == ("closed", 2, 0)


def test_failures_are_forgotten_after_their_time() -> None:
    circuit = Circuit(THREE)
    fail(circuit, 0, 1)
    assert [circuit.failures(now) for now in (1, 10, 10.5, 11.5)] == [2, 2, 1, 0]


def test_the_failures_that_opened_it_are_shown_while_it_is_open() -> None:
    assert opened().failures(100) == 3


@pytest.mark.parametrize(("now", "state"), [(2, "open"), (6.99, "open"), (7, "half-open"), (1000, "half-open")])
def test_it_stays_open_until_the_reset(now: float, state: str) -> None:
    circuit = opened()
    assert circuit.retry_at == 7
    assert (circuit.state(now), circuit.refuses(now), circuit.allows(now)) == (state, state == "open", state != "open")


def test_while_the_probe_is_under_way_no_other_call_begins() -> None:
    circuit = probing()
    assert [circuit.allows(now) for now in (7, 8, 1000)] == [False] * 3
    assert (circuit.state(1000), circuit.retry_at) == ("half-open", 12)


@pytest.mark.parametrize(
    ("end", "state", "allowed", "retry_at"),
    [
        (Circuit.succeeded, "closed", True, None),
        (Circuit.failed, "open", False, 13),
        (Circuit.abandoned, "half-open", True, 8),
    ],
)
def test_the_probe_decides(
    end: Callable[[Circuit, float, int], None], state: str, allowed: bool, retry_at: float | None
) -> None:
    circuit = probing()
    end(circuit, 8, circuit.era)
    assert (circuit.state(8), circuit.retry_at) == (state, retry_at)
    assert circuit.allows(8) is allowed


@pytest.mark.parametrize("now", [7, 12, 1000])  # the last with all other failures forgotten
def test_one_failed_probe_is_enough(now: float) -> None:
    circuit = probing(now)
    circuit.failed(now, circuit.era)
    assert (circuit.state(now), circuit.retry_at) == ("open", now + 5)


def test_a_circuit_that_closed_begins_to_count_anew() -> None:
    circuit = probing()
    circuit.succeeded(8, circuit.era)
    fail(circuit, 8, 8)
    assert circuit.state(8) == "closed"
    fail(circuit, 8)
    assert circuit.state(8) == "open"


@pytest.mark.parametrize("end", [Circuit.succeeded, Circuit.failed, Circuit.abandoned])
@pytest.mark.parametrize("make", [opened, probing])
def test_the_end_of_a_call_from_before_it_opened_changes_nothing(
    make: Callable[[], Circuit], end: Callable[[Circuit, float, int], None]
) -> None:
    circuit = make()
    before = circuit.state(8), circuit.retry_at, circuit.era, circuit.failures(8)
    end(circuit, 8, 0)
    assert (circuit.state(8), circuit.retry_at, circuit.era, circuit.failures(8)) == before


def test_the_late_end_of_an_abandoned_probe_is_not_that_of_the_next_one() -> None:
    circuit = probing()
    first = circuit.era
    circuit.abandoned(8, first)
    assert circuit.allows(9)
    circuit.succeeded(9, first)
    circuit.abandoned(9, first)
    assert circuit.state(9) == "half-open"
    assert not circuit.allows(9)


ENDS = {"succeeded": Circuit.succeeded, "failed": Circuit.failed, "abandoned": Circuit.abandoned}
EVENTS = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "failed", *ENDS]), st.floats(0, 8), st.integers(0, 5)),
    max_size=80,
)


@given(st.builds(Breaker, st.integers(1, 4), st.floats(1, 20), st.floats(1, 20)), EVENTS)
def test_whatever_happens_in_whatever_order(breaker: Breaker, events: list[tuple[str, float, int]]) -> None:
    """One probe at a time, nothing begins before the reset, and only failures within the time open it."""
    circuit, now = Circuit(breaker), 0.0
    running: list[tuple[int, bool]] = []
    opened_at: float | None = None
    failed: list[float] = []  # in the current closed era
    for what, later, which in events:
        now += later
        before, era = circuit.state(now), circuit.era
        if what == "begin":
            refused = circuit.refuses(now)
            allowed = circuit.allows(now)
            assert allowed is not refused
            if allowed:
                assert opened_at is None or now >= opened_at + breaker.reset
                running.append((circuit.era, before != "closed"))
        elif running:
            began, probe = running.pop(which % len(running))
            ENDS[what](circuit, now, began)
            if began != era:
                assert (circuit.state(now), circuit.era) == (before, era)
            elif what == "failed":
                failed.append(now)
                due = probe or len([t for t in failed if now - t <= breaker.within]) >= breaker.failures
                assert (circuit.state(now) == "open") is due
                if due:
                    opened_at = now
            elif probe and what == "succeeded":
                assert circuit.state(now) == "closed"
                opened_at = None
                failed.clear()
        assert len([1 for began, probe in running if probe and began == circuit.era]) <= 1
        assert len([1 for _, probe in running if probe]) <= 1
