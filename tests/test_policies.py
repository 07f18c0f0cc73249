"""Durations, retries and timeouts as users write them."""

from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue import DeclarationError, Retry, Timeout
from segue.policies import NO_RETRY, NO_TIMEOUT, as_retry, as_timeout, seconds


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, 0),
        (1.5, 1.5),
        (timedelta(minutes=2), 120),
        ("250ms", 0.25),
        ("30s", 30),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
    ],
)
def test_a_duration_is_seconds_however_it_is_written(given: Any, expected: float) -> None:
    assert seconds(given) == expected


@pytest.mark.parametrize("given", ["", "30", "s", "-1s", "1y", "1h30", "soon", "1,5s", "30S"])
def test_text_without_a_number_and_unit_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(DeclarationError, match=r"is not a duration; write a number with a unit, such as '30s' or '2h'"):
        seconds(given)


@pytest.mark.parametrize("given", [-1, -0.001, inf, nan, timedelta(days=-1)])
def test_a_duration_is_finite_and_not_negative(given: Any) -> None:
    with pytest.raises(DeclarationError, match="a duration is finite and not negative"):
        seconds(given)


@pytest.mark.parametrize("given", [True, None, [], b"30s"])
def test_a_duration_is_nothing_else(given: Any) -> None:
    with pytest.raises(DeclarationError, match="a duration is seconds, a timedelta or text"):
        seconds(given)


@given(st.timedeltas(timedelta(0), timedelta(days=1000)))
def test_a_timedelta_and_its_seconds_mean_the_same(duration: timedelta) -> None:
    assert seconds(duration) == seconds(duration.total_seconds())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"retries": -1}, "retry is a number of retries, 0 or more, not -1"),
        ({"retries": True}, "retry is a number of retries, 0 or more, not True"),
        ({"retries": 1.0}, "retry is a number of retries, 0 or more, not 1.0"),
        ({"retries": "2"}, "retry is a number of retries, 0 or more, not '2'"),
        ({"retries": 1, "factor": 0.5}, "factor is 1 or more, not 0.5"),
        ({"retries": 1, "factor": inf}, "factor is 1 or more, not inf"),
        ({"retries": 1, "jitter": 1.1}, "jitter is between 0 and 1, not 1.1"),
        ({"retries": 1, "jitter": nan}, "jitter is between 0 and 1, not nan"),
        ({"retries": 1, "backoff": "soon"}, "'soon' is not a duration"),
        ({"retries": 1, "max_delay": -1}, "a duration is finite and not negative, not -1"),
    ],
)
def test_a_wrong_retry_is_refused_when_it_is_declared(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError) as refusal:
        Retry(**arguments)
    assert str(refusal.value).startswith(said)


@pytest.mark.parametrize(
    ("retry", "error", "wanted"),
    [
        (Retry(1), ValueError(), True),
        (Retry(1), KeyboardInterrupt(), False),
        (Retry(1, on=OSError), ConnectionError(), True),
        (Retry(1, on=OSError), ValueError(), False),
        (Retry(1, on=(ValueError, KeyError)), KeyError(), True),
        (Retry(1, on=lambda error: "429" in str(error)), ValueError("429"), True),
        (Retry(1, on=lambda error: "429" in str(error)), ValueError("500"), False),
    ],
)
def test_a_retry_wants_the_errors_it_names(retry: Retry, error: BaseException, wanted: bool) -> None:
    assert retry.wants(error) is wanted


def test_a_number_is_short_for_a_retry() -> None:
    assert as_retry(2) == Retry(2)
    assert as_retry(policy := Retry(3)) is policy
    assert as_retry(None) is NO_RETRY


def test_a_duration_is_short_for_a_timeout_of_each_attempt() -> None:
    assert as_timeout("30s") == Timeout(attempt=30)
    assert as_timeout(policy := Timeout(total=1)) is policy
    assert as_timeout(None) is NO_TIMEOUT


@pytest.mark.parametrize("arguments", [{"attempt": 0}, {"total": "0s"}])
def test_a_timeout_of_nothing_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="is more than 0, or None for no limit"):
        Timeout(**arguments)


@pytest.mark.parametrize(("policy", "name"), [(Retry(1), "retries"), (Timeout(1), "total")])
def test_policies_never_change_and_compare_by_content(policy: Any, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(policy, name, 5)
    assert {Retry(1), Retry(1)} == {Retry(1)}
    assert Timeout("1m") == Timeout(60)
