"""Windows compared, and what follows: by table, by scipy, and for whatever comes."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.drift import (
    CHANGES_KEPT,
    Change,
    Look,
    Record,
    Rule,
    Signal,
    Test,
    after,
    due,
    fitted,
    forgotten,
    joined,
    learned,
    look,
    note,
    see,
)
from segue.core.windows import (
    MOST_CATEGORIES,
    OTHER,
    Kind,
    Shares,
    as_kind,
    bounded,
    excess,
    kind_of,
    ks,
    mid_ranks,
    psi,
    scores,
    shares,
    shift,
    summary,
)

RULE = Rule(None, 20, 10, None, None, 5)
numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


def rule(test: Test | None) -> Rule:
    return RULE._replace(test=test)


def steady(values: list[Any], given: Rule = RULE) -> Signal:
    signal = Signal()
    for value in values:
        see(signal, given, value)
    assert learned(signal, given, 1.0)
    return signal


# Values


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        (3, "number", 3.0),
        (True, "rate", 1.0),
        (True, "number", 1.0),
        (math.nan, "number", None),
        (-math.inf, "number", None),
        (10**400, "number", None),
        (None, "number", None),
        ("3", "number", None),
        ([], "number", None),
        ("a", "category", "a"),
        (True, "category", "True"),
        (3, "category", "3"),
        pytest.param(10**5000, "category", "a number out of bounds", id="huge"),
        (math.nan, "category", "a number out of bounds"),
        (None, "category", None),
        ({}, "category", None),
        ("\ud800", "category", "\\ud800"),
    ],
)
def test_a_value_is_taken_as_one_of_its_signals_kind_or_not_at_all(value: Any, kind: Kind, found: Any) -> None:
    assert as_kind(value, kind) == found


@pytest.mark.parametrize(
    ("value", "kind"), [(True, "rate"), (3, "number"), (0.5, "number"), ("a", "category"), (None, ""), ([1], "")]
)
def test_the_first_value_says_what_a_signal_is(value: Any, kind: Kind) -> None:
    assert kind_of(value) == kind


def test_long_texts_are_short_categories_that_differ() -> None:
    one, two = as_kind("x" * 1_000_000, "category"), as_kind("x" * 1_000_001, "category")
    assert isinstance(one, str)
    assert isinstance(two, str)
    assert one != two
    assert len(one) < 40


def test_many_categories_are_the_most_frequent_and_the_rest() -> None:
    found = bounded([*"aabb", *(str(n) for n in range(200))])
    assert len(set(found)) == MOST_CATEGORIES + 1
    assert found[:4] == ["a", "a", "b", "b"]
    assert found[-1] == OTHER


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=50), st.binary())))
def test_whatever_comes_is_seen_or_skipped(values: list[Any]) -> None:
    for test in (None, "ks", "psi", "adwin", "page_hinkley"):
        signal, given = Signal(), rule(test)
        for value in values:
            see(signal, given, value)
            learned(signal, given, 0.0)
            if due(signal, given):
                assert math.isfinite(look(signal, given).statistic)
        assert signal.seen + signal.skipped == len(values)
        assert len(signal.reference) <= given.reference
        assert len(signal.recent) <= given.window
        assert math.isfinite(summary(signal.reference, signal.kind).sd or 0.0)


@pytest.mark.parametrize("test", ["ks", "adwin", "page_hinkley"])
def test_text_is_nothing_to_a_test_of_numbers(test: Test) -> None:
    signal = Signal()
    see(signal, rule(test), "a")
    see(signal, rule(test), 1.0)
    assert (signal.kind, signal.seen, signal.skipped) == ("number", 1, 1)


# Measures


samples = st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=60)


@settings(deadline=None)  # the first one imports it
@given(samples, samples)
def test_the_distance_of_two_samples_is_what_scipy_says(one: list[float], two: list[float]) -> None:
    from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

    theirs: Any = stats.ks_2samp  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    assert ks(sorted(one), two) == pytest.approx(float(theirs(one, two, method="asymp").statistic))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_the_distance_counts_equal_values_together(one: list[int], two: list[int]) -> None:
    below = [
        abs(sum(v <= x for v in one) / len(one) - sum(v <= x for v in two) / len(two)) for x in sorted({*one, *two})
    ]
    assert ks(sorted(one), two) == pytest.approx(max(below))


@given(numbers, numbers)
def test_the_index_is_nothing_for_the_same_shares_and_never_negative(one: list[float], two: list[float]) -> None:
    assert psi(shares(sorted(one), two, "number")) >= 0
    assert psi(Shares([5, 10], [5, 10])) == 0


@pytest.mark.parametrize(
    ("reference", "recent", "kind", "found"),
    [
        ("aaaabb", "ab", "category", ([4, 2], [1, 1])),
        ("a" * 40 + "b", "abcc", "category", ([40, 1], [1, 3])),  # one in forty is not counted by itself
        ("aa", "aa", "category", ([2], [2])),
        ("aa", "ab", "category", ([2, 0], [1, 1])),
        ([1.0, 1.0, 2.0], [2.0, 3.0], "number", ([2, 1, 0], [0, 1, 1])),  # few values are each a bin
        ([float(n) for n in range(20)], [0.0, 19.0, 30.0], "number", ([4, 4, 4, 4, 4], [1, 0, 0, 0, 2])),
    ],
)
def test_windows_are_counted_in_bins(reference: Any, recent: Any, kind: Kind, found: Any) -> None:
    assert shares(list(reference), list(recent), kind) == found


@given(numbers, numbers)
def test_ranks_and_scores_have_bounds_whatever_the_unit(one: list[float], two: list[float]) -> None:
    assert all(0 <= rank <= 1 for rank in mid_ranks(sorted(one), two))
    assert all(abs(score) < 3 for score in scores(sorted(one), two))


@pytest.mark.parametrize(
    ("deviations", "most"),
    [([], 0.0), ([0.5, 0.5, 0.5], 0.0), ([1.5, 1.5], 2.0), ([-1.5, -1.5], 2.0), ([1.5, -9.0, 1.5], 8.5)],
)
def test_deviations_add_up_beyond_the_slack(deviations: list[float], most: float) -> None:
    assert excess(deviations) == most


def test_the_shift_is_that_of_the_newest_values() -> None:
    assert shift([0.0, 0.0], [*[0.0] * 45, *[1.0] * 5]) == 1.0
    assert shift([0.0, 0.0], [*[1.0] * 5, *[0.0] * 45]) == pytest.approx(0.1)


# States


def found(*, large: bool = True) -> Look:
    return Look("ks", 0.5, 0.35, 0.001, large, [])


def test_a_signal_learns_then_looks_when_its_window_is_full_and_every_fifth_of_it() -> None:
    signal = steady([float(n) for n in range(20)])
    assert (signal.state, signal.since) == ("steady", 1.0)
    looks: list[int] = []
    for event in range(1, 17):
        see(signal, RULE, 1.0)
        if due(signal, RULE):
            looks.append(event)
            after(signal, look(signal, RULE), drifted=False, fits=False, p=None, now=2.0)
    assert looks == [10, 12, 14, 16]


def test_two_looks_in_a_row_make_a_drift() -> None:
    signal = steady([1.0] * 20)
    says = [True, False, True, True]
    states = [after(signal, found(), drifted=one, fits=False, p=0.001, now=5.0) for one in says]
    assert states == [None, None, None, "drifted"]
    assert (signal.since, signal.why) == (5.0, "KS 0.5 (alarm at 0.35), p=0.001")


def test_what_fits_again_after_a_drift_ends_it_and_only_new_values_are_asked() -> None:
    signal = steady([1.0] * 20)
    for _ in range(10):
        see(signal, RULE, 9.0)
    for _ in range(2):
        after(signal, found(), drifted=True, fits=False, p=None, now=5.0)
    for _ in range(4):
        see(signal, RULE, 1.0)
        assert not due(signal, RULE)
    see(signal, RULE, 1.0)
    assert due(signal, RULE)
    assert look(signal, RULE).values == [1.0] * 5
    says = [True, False, True, True]
    states = [after(signal, look(signal, RULE), drifted=False, fits=one, p=0.5, now=7.0) for one in says]
    assert states == [None, None, None, "steady"]
    assert (signal.recent, signal.since) == ([], 7.0)


def test_a_recovery_is_asked_of_a_test_that_says_how_likely_it_is() -> None:
    signal = steady([float(n) for n in range(20)], rule("page_hinkley"))
    for n in range(10):
        see(signal, rule("page_hinkley"), float(n))
    assert look(signal, rule("page_hinkley")).test == "page_hinkley"
    drifted(signal)
    assert look(signal, rule("page_hinkley")).test == "ks"


@pytest.mark.parametrize(("now", "large"), [(1.0, False), (1.4, False), (1.6, True), (0.8, False), (0.5, True)])
def test_times_must_change_by_half_to_be_of_note(now: float, large: bool) -> None:
    signal = Signal()
    for n in range(20):
        see(signal, RULE, 1.0 + n / 1000, "seconds")
    learned(signal, RULE, 0.0)
    for n in range(10):
        see(signal, RULE, now + n / 1000)
    assert look(signal, RULE).large == large


@pytest.mark.parametrize(("kind", "test"), [("a", "psi"), (True, "psi"), (1.5, "ks")])
def test_the_test_is_the_one_that_suits_the_values(kind: Any, test: Test) -> None:
    signal = steady([kind] * 20)
    see(signal, RULE, kind)
    assert look(signal, RULE).test == test


# Records


def record(**signals: Signal) -> Record:
    return Record("congestion", "1", "fallback", signals=signals)


def drifted(signal: Signal, at: float = 5.0) -> Change:
    for _ in range(2):
        after(signal, found(), drifted=True, fits=False, p=None, now=at)
    return Change(0, at, "speed", "drifted")


def test_so_many_changes_are_kept_and_their_numbers_go_on() -> None:
    kept = record()
    for n in range(CHANGES_KEPT + 7):
        note(kept, Change(0, float(n), "speed", "drifted"))
    assert [change.number for change in kept.changes] == list(range(8, CHANGES_KEPT + 8))


def test_a_drift_noticed_here_is_joined_with_what_another_has_seen() -> None:
    theirs, mine = record(speed=steady([1.0] * 20)), record(speed=steady([1.0] * 20))
    change = drifted(mine.signals["speed"])
    joint, news = joined(theirs, mine, {"speed": [9.0, 9.0]}, [change], RULE, 6.0)
    assert (joint.drifted, joint.signals["speed"].since, joint.signals["speed"].recent) == ("speed", 5.0, [9.0, 9.0])
    assert news == [change]
    assert [one.what for one in joint.changes] == ["drifted"]


def test_a_drift_that_another_noticed_first_is_not_noticed_twice() -> None:
    theirs, mine = record(speed=steady([1.0] * 20)), record(speed=steady([1.0] * 20))
    note(theirs, drifted(theirs.signals["speed"], 4.0))
    change = drifted(mine.signals["speed"])
    joint, news = joined(theirs, mine, {}, [change], RULE, 6.0)
    assert (joint.signals["speed"].since, news, len(joint.changes)) == (4.0, [], 1)


def test_two_workers_learn_together() -> None:
    theirs, mine = record(speed=Signal()), record(speed=Signal())
    for n in range(15):
        see(theirs.signals["speed"], RULE, float(n))
    for n in range(8):
        see(mine.signals["speed"], RULE, float(n))
    joint, news = joined(theirs, mine, {"speed": [float(n) for n in range(8)]}, [], RULE, 6.0)
    assert (joint.signals["speed"].state, len(joint.signals["speed"].reference)) == ("steady", 20)
    assert joint.signals["speed"].recent == [5.0, 6.0, 7.0]
    assert [change.what for change in news] == ["learned"]


@given(
    st.lists(st.floats(-1e3, 1e3), max_size=60),
    st.lists(st.floats(-1e3, 1e3), max_size=60),
    st.booleans(),
    st.booleans(),
)
def test_whoever_noticed_a_drift_it_stays_and_windows_stay_bounded(
    known: list[float], unknown: list[float], here: bool, there: bool
) -> None:
    theirs, mine = record(speed=steady([1.0] * 20)), record(speed=steady([1.0] * 20))
    for value in known:
        see(theirs.signals["speed"], RULE, value)
    if there:
        note(theirs, drifted(theirs.signals["speed"], 4.0))
    news = [drifted(mine.signals["speed"])] if here else []
    joint, told = joined(theirs, mine, {"speed": unknown}, news, RULE, 6.0)
    assert bool(joint.drifted) == (here or there)
    assert told == (news if here and not there else [])
    assert joint.signals["speed"].seen == 20 + len(known) + len(unknown)
    assert len(joint.signals["speed"].recent) <= RULE.window


def test_what_was_seen_before_a_reset_counts_no_more() -> None:
    kept = record(speed=steady([1.0] * 20))
    note(kept, drifted(kept.signals["speed"]))
    fresh = forgotten(kept, "ada", 9.0)
    joint, news = joined(fresh, kept, {"speed": [9.0]}, [drifted(kept.signals["speed"])], RULE, 9.0)
    assert (joint.drifted, joint.signals["speed"], news) == ("", Signal(since=9.0), [])
    assert [(change.number, change.what, change.by) for change in joint.changes] == [
        (1, "drifted", ""),
        (2, "reset", "ada"),
    ]


def test_what_is_kept_is_fitted_to_what_is_declared_now() -> None:
    kept = record(speed=steady([1.0] * 20), gone=Signal(), area=steady(["a"] * 20))
    smaller = Rule("ks", 15, 10, None, None, 5)
    found = fitted(kept, ["speed", "area", "new"], smaller, "alert")
    assert list(found.signals) == ["speed", "area", "new"]
    assert len(found.signals["speed"].reference) == 15
    assert found.signals["area"] == Signal(), "categories are nothing to ks"
    assert found.then == "alert"


def test_a_summary_says_the_mean_or_the_shares() -> None:
    assert (summary([1.0, 3.0], "number").mean, summary([1.0, 3.0], "number").sd) == (2.0, 1.0)
    assert summary(["a", "a", "b", "c"], "category").shares == {"a": 0.5, "b": 0.25, "c": 0.25}
    assert summary([1e308, 1e308], "number").mean == 1e308
    assert summary([random.Random(1).random()], "").mean is None
