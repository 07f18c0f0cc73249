"""That a model has drifted outlives whoever noticed it."""

from pathlib import Path

from .processes import process


def test_killed_once_a_drift_was_told_the_next_worker_knows_of_it(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"
    with process("drifter", url, "drifts") as first:
        first.until("drifted")
        first.kill()
    with process("drifter", url, "goes on") as second:
        assert second.line().split() == ["fallback"] * 20
