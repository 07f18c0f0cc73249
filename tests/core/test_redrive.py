"""From where a run may go on, and what of its journal still counts: tables."""

from collections.abc import Mapping
from typing import Any

import pytest

from segue.core.entries import Entry, Kind
from segue.core.redrive import NoSuchStep, Redrive, find_step, past, plan, undone
from segue.types import StepId

OK, ERROR, CANCELLED, TIMER, ATTEMPT = Kind.OK, Kind.ERROR, Kind.CANCELLED, Kind.TIMER, Kind.ATTEMPT


def journal(*rows: tuple[Kind, str] | tuple[Kind, str, float]) -> list[Entry]:
    """Entries in order, a second apart; a third field says when the step began."""
    return [
        Entry(n, row[0], StepId(row[1]), 1, float(row[2] if len(row) > 2 else n), float(n), b"in", b"out")
        for n, row in enumerate(rows)
    ]


PLAIN = journal((OK, "a"), (OK, "b"), (ATTEMPT, "c"), (ERROR, "c"), (OK, "cleanup"))
BRANCHES = journal((OK, "1/a"), (ERROR, "2/b"), (OK, "1/late"), (CANCELLED, "3/c"))
UNDONE = journal(
    (Kind.START, "pay"), (OK, "pay"), (OK, "look"), (ERROR, "ship"), (Kind.UNDO, "@undo"), (OK, "@undo(pay)/refund")
)
STOPPED = journal((OK, "a"), (Kind.CANCEL, "@cancel"), (CANCELLED, "b"))
LATE = journal((OK, "a"), (TIMER, "@timeout/@timer"), (CANCELLED, "b", 0.5))


@pytest.mark.parametrize(
    ("entries", "given", "expected"),
    [
        (PLAIN, {"failed": "c"}, Redrive("c", 3, False, ("c",))),
        (PLAIN, {"failed": None}, Redrive("", 5, False)),
        (PLAIN, {"failed": "c", "start": "c"}, Redrive("c", 3, False, ("c",))),
        (PLAIN, {"failed": "c", "start": "b"}, Redrive("b", 1, True, ("b",))),
        (PLAIN, {"failed": "c", "start": "start"}, Redrive("start", 0, True)),
        (PLAIN, {"failed": "c", "edits": {"c": b"x"}}, Redrive("c", 3, False, ("c",), {"c": b"x"}, ("c",))),
        (PLAIN, {"failed": "c", "edits": {"a": b"x"}}, Redrive("a", 0, True, ("a",), {"a": b"x"}, ("a",))),
        (PLAIN, {"failed": "c", "results": ["c"]}, Redrive("c", 3, False, ("c",))),
        (PLAIN, {"failed": "c", "results": ["b", "c"]}, Redrive("b", 1, True, ("b", "c"))),
        (BRANCHES, {"failed": "2/b"}, Redrive("2/b", 1, False, ("2/b",))),
        (BRANCHES, {"failed": "2/b", "start": "1/a"}, Redrive("1/a", 0, True, ("1/a",))),
        (UNDONE, {"failed": "ship"}, Redrive("pay", 1, True, ("pay",), {}, ("pay",))),
        (UNDONE, {"failed": "ship", "start": "pay"}, Redrive("pay", 1, True, ("pay",), {}, ("pay",))),
        (UNDONE, {"failed": "ship", "start": "start"}, Redrive("start", 0, True, ("pay",), {}, ("pay",))),
        (UNDONE, {"failed": "ship", "edits": {"ship": b"x"}},
         Redrive("pay", 1, True, ("pay", "ship"), {"ship": b"x"}, ("ship", "pay"))),
        (STOPPED, {"failed": None, "cancelled": True}, Redrive("", 1, False)),
        (STOPPED, {"failed": None}, Redrive("", 3, False)),  # the flow has dealt with it, and failed by itself
        (LATE, {"failed": None, "timed_out": True}, Redrive("", 1, False)),
        (LATE, {"failed": None, "start": "b"}, Redrive("b", 1, True, ("b",))),
        (PLAIN, {"failed": "c", "start": "b", "children": ["b", "c", "cleanup"]},
         Redrive("b", 1, True, ("b",), {}, ("b", "c", "cleanup"))),
        (PLAIN, {"failed": "c", "children": ["a", "c"]}, Redrive("c", 3, False, ("c",))),
        ([], {"failed": None}, Redrive("", 0, False)),
    ],
)  # fmt: skip
def test_where_it_goes_on(entries: list[Entry], given: dict[str, Any], expected: Redrive) -> None:
    found = plan(entries, **given)
    assert found._replace(edits=dict(found.edits)) == expected._replace(edits=dict(expected.edits))


def test_it_does_not_go_on_behind_an_effect_that_was_undone() -> None:
    with pytest.raises(NoSuchStep, match="the effect of 'pay' was undone"):
        plan(UNDONE, failed="ship", start="ship")


def counted(entries: list[Entry], redrive: Redrive) -> list[tuple[str, str]]:
    """What still counts after a redrive, as kinds and steps."""
    whole = [*entries, Entry(len(entries), Kind.REDRIVE, StepId("@redrive"), 0, 9.0, 9.0, None, b"")]
    return [(e.kind.name, e.step) for e in past(whole, lambda _: redrive).entries[:-1]]


def test_what_counts_after_a_redrive_from_the_failed_step() -> None:
    assert counted(PLAIN, plan(PLAIN, failed="c")) == [("OK", "a"), ("OK", "b"), ("OK", "cleanup")]
    assert counted(BRANCHES, plan(BRANCHES, failed="2/b")) == [("OK", "1/a"), ("OK", "1/late")]
    assert counted(STOPPED, plan(STOPPED, failed=None, cancelled=True)) == [("OK", "a")]
    assert counted(LATE, plan(LATE, failed=None, timed_out=True)) == [("OK", "a")]


def test_what_counts_after_a_redrive_from_an_earlier_step() -> None:
    assert counted(PLAIN, plan(PLAIN, failed="c", start="b")) == [("OK", "a")]
    assert counted(PLAIN, plan(PLAIN, failed="c", start="start")) == []
    assert counted(UNDONE, plan(UNDONE, failed="ship")) == []


def test_signals_and_claims_stay() -> None:
    rows = journal((Kind.SIGNAL, "@signal.go"), (OK, "a"), (Kind.CLAIM, "@claim"), (Kind.ASKED, "q"), (ERROR, "q"))
    assert counted(rows, plan(rows, failed="q", start="start")) == [("SIGNAL", "@signal.go"), ("CLAIM", "@claim")]


def test_redrives_are_applied_one_after_the_other() -> None:
    first = Redrive("b", 1, True, ("b",), {"b": b"1"}, ("b",), 10.0)
    second = Redrive("b", 3, False, ("b",), {"b": b"2"}, ("b",), 5.0)
    entries = journal(
        (OK, "a"), (ERROR, "b"), (Kind.REDRIVE, "@redrive"), (ERROR, "b"), (Kind.REDRIVE, "@redrive"), (OK, "b")
    )
    by_seq: Mapping[int, Redrive] = {2: first, 4: second}
    found = past(entries, lambda entry: by_seq[entry.seq])
    assert [(e.kind, e.step, e.seq) for e in found.entries if e.kind is not Kind.REDRIVE] == [
        (OK, "a", 0),
        (OK, "b", 5),
    ]
    assert (found.edits, found.fresh, found.redrives, found.pause()) == ({"b": b"2"}, {"b": 2}, 2, 15.0)
    assert (found.pause(1), found.pause(2), found.pause(3), found.pause(4)) == (15.0, 5.0, 5.0, 0.0)


def test_a_fork_shares_the_chance_of_the_run_that_it_was_made_of() -> None:
    entries = journal((OK, "a"), (Kind.FORKED, "@fork"), (OK, "b"))
    found = past(entries, lambda entry: Redrive("", entry.seq, False, of="the-first"))
    assert (found.of, len(found.entries)) == ("the-first", 3)


@pytest.mark.parametrize(
    ("wanted", "found"), [("a", "1/a"), ("1/a", "1/a"), ("2/b", "2/b"), ("late", "1/late"), ("c", "3/c")]
)
def test_steps_are_found_by_name_or_identity(wanted: str, found: str) -> None:
    assert find_step(BRANCHES, wanted) == found


def test_a_step_that_is_not_there_or_not_alone_is_told() -> None:
    with pytest.raises(NoSuchStep, match="there is no step 'zz'; there are 1/a, 2/b, 1/late, 3/c"):
        find_step(BRANCHES, "zz")
    twice = journal((OK, "a"), (OK, "a#2"), (OK, "1/a"))
    assert find_step(twice, "a") == "a"
    with pytest.raises(NoSuchStep, match="2 steps are named 'a': a#2, 1/a"):
        find_step(twice[1:], "a")
    with pytest.raises(NoSuchStep, match="there are none"):
        find_step([], "a")
    with pytest.raises(NoSuchStep):
        find_step(UNDONE, "refund")


def test_undone_steps_are_told_in_the_order_of_their_effects() -> None:
    rows = journal((OK, "a"), (OK, "b"), (OK, "@undo(b)/un"), (ERROR, "@undo(a)/un"))
    assert undone(rows) == ["b"]
    assert undone(journal((OK, "a"), (OK, "b"), (OK, "@undo(b)/un"), (OK, "@undo(a)/un"))) == ["a", "b"]
