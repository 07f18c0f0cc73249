"""For pytest, which finds it by itself: the fixture ``segue_env``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from segue.testing.env import Env


@pytest.fixture
def segue_env() -> "Iterator[Env]":
    """Runs flows in virtual time, on a store in memory: a ``segue.testing.Env`` of the test's own."""
    from segue.testing.env import Env  # here, for tests that have nothing to do with Segue are also run with this

    with Env() as env:
        yield env
