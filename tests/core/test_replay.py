"""Which recorded entry a flow gets next, and what has changed under it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.entries import Entry, Kind
from segue.core.replay import Found, Shift, Tape
from segue.types import StepId

A, B, C = StepId("a"), StepId("1/b"), StepId("c#2")


def entry(seq: int, kind: Kind, step: StepId, input: bytes | None = b"in", output: bytes | None = None) -> Entry:
    return Entry(seq, kind, step, 1, 10.0 + seq, 11.0 + seq, input, output)


def ok(seq: int, step: StepId, input: bytes | None = b"in") -> Entry:
    return entry(seq, Kind.OK, step, input, b"out")


def given_out(tape: Tape) -> list[StepId]:
    out: list[StepId] = []
    while (found := tape.next()) is not None:
        out.append(found.step)
    return out


def test_an_empty_tape_begins_at_zero_and_has_nothing_to_replay() -> None:
    tape = Tape()
    assert (tape.seq, tape.time, tape.replaying, tape.next()) == (0, 0.0, False, None)


def test_a_loaded_tape_goes_on_after_its_last_entry() -> None:
    tape = Tape([ok(0, A), ok(1, B)])
    assert (tape.seq, tape.time, tape.replaying) == (2, 12.0, True)


def test_time_never_runs_backwards() -> None:
    late = entry(0, Kind.OK, A)._replace(ended=99.0)
    assert Tape([late, ok(1, B)]).time == 99.0


@pytest.mark.parametrize("asked", [(A, B, C), (C, B, A), (B, C, A)])
def test_outcomes_come_in_the_order_of_their_recording_whatever_the_order_of_asking(asked: tuple[StepId, ...]) -> None:
    tape = Tape([ok(0, B), ok(1, A), ok(2, C)])
    assert [tape.ask(step, b"in") for step in asked] == [Found.RECORDED] * 3
    assert given_out(tape) == [B, A, C]
    assert not tape.replaying


def test_an_outcome_waits_until_it_is_asked_for() -> None:
    tape = Tape([ok(0, A), ok(1, B)])
    tape.ask(B, b"in")
    assert given_out(tape) == [B]
    assert tape.replaying
    tape.ask(A, b"in")
    assert given_out(tape) == [A]


def test_live_outcomes_come_after_all_that_was_recorded() -> None:
    tape = Tape([ok(0, A)])
    tape.record(ok(1, B))
    tape.ask(A, b"in")
    assert given_out(tape) == [A, B]


def test_an_outcome_is_handed_over_once() -> None:
    tape = Tape([ok(0, A)])
    tape.ask(A, b"in")
    assert given_out(tape) == [A]
    assert tape.ask(A, b"in") is Found.NEW


def test_what_was_never_recorded_is_new() -> None:
    assert Tape([ok(0, A)]).ask(B, b"in") is Found.NEW


def test_another_input_is_a_divergence_that_consumes_nothing() -> None:
    tape = Tape([ok(0, A)])
    assert tape.ask(A, b"other") is Found.DIVERGED
    assert tape.recorded_input(A) == b"in"
    assert tape.ask(A, b"in") is Found.RECORDED


def test_a_failed_attempt_alone_fixes_the_input_and_is_no_outcome() -> None:
    tape = Tape([entry(0, Kind.ATTEMPT, A), entry(1, Kind.ATTEMPT, A, input=None)])
    assert [e.seq for e in tape.failed[A]] == [0, 1]
    assert not tape.replaying
    assert tape.ask(A, b"other") is Found.DIVERGED
    assert tape.ask(A, b"in") is Found.NEW


def test_starts_and_claims_are_never_handed_to_the_flow() -> None:
    claim = entry(1, Kind.CLAIM, StepId("@claim"), input=None)
    tape = Tape([entry(0, Kind.START, A), claim])
    assert tape.claims == [claim]
    assert tape.ask(A, b"in") is Found.NEW
    assert given_out(tape) == []


@pytest.mark.parametrize("kind", [Kind.OK, Kind.ERROR, Kind.CANCELLED, Kind.TIMER])
def test_every_kind_of_outcome_is_replayed(kind: Kind) -> None:
    tape = Tape([entry(0, kind, A)])
    tape.ask(A, b"in")
    found = tape.next()
    assert found is not None
    assert found.kind is kind


def test_a_forgotten_step_runs_anew_with_any_input() -> None:
    tape = Tape([entry(0, Kind.ATTEMPT, A), ok(1, A)])
    tape.forget(A)
    assert tape.ask(A, b"other") is Found.NEW
    assert (tape.recorded_input(A), tape.failed.get(A), tape.replaying) == (None, None, False)


def test_of_a_step_that_was_run_anew_the_last_outcome_counts() -> None:
    tape = Tape([ok(0, A), ok(1, B), ok(2, A, b"new")])
    assert tape.ask(A, b"new") is Found.RECORDED
    tape.ask(B, b"in")
    assert given_out(tape) == [B, A]
    assert not tape.replaying


def test_a_call_that_moved_to_another_branch_is_recognised() -> None:
    tape = Tape([ok(0, StepId("1/fetch"), b"x")])
    assert tape.shifted(StepId("2/fetch"), b"x") == Shift(StepId("1/fetch"), StepId("2/fetch"))


@pytest.mark.parametrize(("step", "input"), [("2/fetch", b"y"), ("2/other", b"x")])
def test_another_call_is_not_taken_for_one_that_moved(step: str, input: bytes) -> None:
    assert Tape([ok(0, StepId("1/fetch"), b"x")]).shifted(StepId(step), input) is None


def test_a_call_that_was_handed_over_has_not_moved() -> None:
    tape = Tape([ok(0, StepId("1/fetch"), b"x"), ok(1, A)])
    assert tape.shifted(StepId("3/none"), b"x") is None
    tape.ask(StepId("1/fetch"), b"x")
    assert tape.shifted(StepId("2/fetch"), b"x") is None


class Model:
    """What a tape should do, said simply: a list of what is recorded, and one of what is wanted."""

    def __init__(self, steps: list[StepId]) -> None:
        self.recorded = list(steps)
        self.wanted: list[StepId] = []
        self.live: list[StepId] = []

    def ask(self, step: StepId) -> bool:
        if step in self.recorded and step not in self.wanted:
            self.wanted.append(step)
            return True
        return False

    def next(self) -> StepId | None:
        for step in self.recorded:
            if step in self.wanted:
                self.recorded.remove(step)
                self.wanted.remove(step)
                return step
        return self.live.pop(0) if self.live else None


STEPS = [StepId(f"s{n}") for n in range(6)]
ACTIONS = st.lists(st.sampled_from([("ask", step) for step in STEPS] + [("next", A), ("live", B)]), max_size=30)


@given(st.permutations(STEPS), st.integers(0, 6), ACTIONS)
def test_a_tape_agrees_with_its_model(order: list[StepId], kept: int, actions: list[tuple[str, StepId]]) -> None:
    tape, model = Tape([ok(seq, step) for seq, step in enumerate(order[:kept])]), Model(order[:kept])
    for action, step in actions:
        if action == "ask":
            assert (tape.ask(step, b"in") is Found.RECORDED) == model.ask(step)
        elif action == "live":
            tape.record(ok(tape.seq, step))
            model.live.append(step)
        else:
            found = tape.next()
            assert (found and found.step) == model.next()
        assert tape.replaying == bool(model.recorded)
