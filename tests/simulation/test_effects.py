"""Random flows whose steps have effects: crashed, cancelled, redriven and forked at random. Nothing of it is silent."""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .stories import play

DEEP = os.environ.get("SEGUE_DEEP") == "1"
settings.register_profile(
    "effects",
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=(Phase.explicit, Phase.generate),  # a smaller seed is no simpler story
)

FOUND = (8, 14, 48, 56, 188, 510, 514, 599, 975, 1034, 1135, 1753, 31390, 52191, 60462, 100404, 102409, 302712)
"""Stories that once went wrong, each in its own way."""


@settings(settings.get_profile("effects"), max_examples=3000 if DEEP else 300)
@given(st.integers(0, 2**32))
def test_each_effect_is_final_or_undone_or_told(seed: int) -> None:
    play(seed, redrives=0)


@settings(settings.get_profile("effects"), max_examples=3000 if DEEP else 200)
@given(st.integers(0, 2**32))
def test_so_it_is_after_redrives_and_in_forks(seed: int) -> None:
    play(seed, redrives=2)


@pytest.mark.parametrize("seed", FOUND)
def test_stories_that_went_wrong_once(seed: int) -> None:
    play(seed, redrives=3)
