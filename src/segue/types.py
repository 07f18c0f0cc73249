"""Names for the values that travel between the rooms."""

from typing import NewType

RunId = NewType("RunId", str)
"""A run's id: time-ordered, 26 characters, unless the caller chose one."""

StepId = NewType("StepId", str)
"""A step's identity within its run: branch, name and count, as in ``"1.2/fetch#3"``."""

WorkerId = NewType("WorkerId", str)
"""One start of one engine. Never reused: an engine that lost its lease takes a new one."""
