"""Every state with every event: what the table allows, and that the rest is refused by name."""

import itertools

import pytest

from segue.core.lifecycle import (
    LOSSES_ALLOWED,
    LOSSES_IN_DOUBT,
    TABLE,
    TERMINAL,
    Event,
    IllegalMove,
    Status,
    after_loss,
    move,
)

ALLOWED = {
    ("queued", "hold"): "held",
    ("held", "promote"): "queued",
    ("held", "cancel"): "cancelled",
    ("held", "merge"): "merged",
    ("held", "expire"): "expired",
    ("queued", "expire"): "expired",
    ("queued", "claim"): "running",
    ("queued", "cancel"): "cancelled",
    ("running", "park"): "waiting",
    ("running", "release"): "queued",
    ("running", "lose"): "queued",
    ("running", "complete"): "completed",
    ("running", "fail"): "failed",
    ("running", "cancel"): "cancelled",
    ("waiting", "wake"): "queued",
    ("failed", "redrive"): "queued",
    ("cancelled", "redrive"): "queued",
}


@pytest.mark.parametrize(("status", "event"), list(itertools.product(Status, Event)))
def test_each_state_takes_the_events_it_should_and_refuses_the_others_by_name(status: Status, event: Event) -> None:
    expected = ALLOWED.get((status.value, event.value))
    if expected is None:
        with pytest.raises(IllegalMove, match=f"^a {status} run cannot {event}$"):
            move(status, event)
    else:
        assert move(status, event) == expected


def test_only_a_person_leads_out_of_a_terminal_state_and_never_out_of_completed() -> None:
    out = {(status.value, event.value) for status, event in TABLE if status.terminal}
    assert out == {("failed", "redrive"), ("cancelled", "redrive")}
    assert {status for status in Status if status.terminal} == TERMINAL


def test_every_state_can_be_reached_and_every_live_one_can_end() -> None:
    reached, ends = {Status.QUEUED}, set(TERMINAL)
    for _ in Status:
        reached |= {to for (status, _), to in TABLE.items() if status in reached}
        ends |= {status for (status, _), to in TABLE.items() if to in ends}
    assert reached == ends == set(Status)


@pytest.mark.parametrize(
    ("losses", "progressed", "suspect", "doubt", "status", "counted"),
    [
        (0, False, False, False, "queued", 1),
        (0, False, True, False, "queued", 1),
        (0, True, False, False, "queued", 1),
        (0, True, True, False, "queued", 1),
        (1, False, False, False, "queued", 1),
        (1, False, True, False, "queued", 2),
        (1, True, False, False, "queued", 1),
        (1, True, True, False, "queued", 1),
        (2, False, False, False, "queued", 2),
        (2, False, True, False, "failed", 3),
        (2, True, False, False, "queued", 1),
        (2, True, True, False, "queued", 1),
        (2, False, True, True, "queued", 3),
        (4, False, True, True, "queued", 5),
        (4, False, True, False, "failed", 5),
        (5, False, True, True, "failed", 6),
        (5, True, True, True, "queued", 1),
    ],
)
def test_a_dead_worker_counts_against_a_run_unless_it_progressed(
    losses: int, progressed: bool, suspect: bool, doubt: bool, status: str, counted: int
) -> None:
    assert after_loss(losses, progressed=progressed, suspect=suspect, doubt=doubt) == (status, counted)


def test_a_run_without_progress_ends_with_the_last_loss_allowed() -> None:
    for doubt, allowed in ((False, LOSSES_ALLOWED), (True, LOSSES_IN_DOUBT)):
        losses, deaths, status = 0, 0, Status.QUEUED
        while status is not Status.FAILED:
            status, losses = after_loss(losses, progressed=False, suspect=True, doubt=doubt)
            deaths += 1
        assert deaths == allowed


def test_a_run_that_progresses_survives_any_number_of_deaths() -> None:
    losses = 0
    for _ in range(100):
        status, losses = after_loss(losses, progressed=True, suspect=True, doubt=False)
        assert status is Status.QUEUED
