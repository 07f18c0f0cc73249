"""What Segue is tested with, and what its users test their flows with.

``Env``            runs flows in virtual time; pytest has one for each test as the fixture ``segue_env``
``simulate``       runs a flow under many seeds, with delays, faults and crashes
``run_virtual``    ``asyncio.run`` in virtual time
``StorePromises``  the promises of a store, as a class of tests to subclass

Nothing is imported before it is asked for, and pytest only by its plugin.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segue.testing.chaos import Chaos, Faults
    from segue.testing.clock import Deadlock, VirtualLoop, run_virtual
    from segue.testing.env import Env, NothingCrashed, SequenceUsedUp, StepCall
    from segue.testing.records import RunRecord, StepRecord
    from segue.testing.simulation import SimulationReport, simulate
    from segue.testing.stores import StorePromises

__all__ = [
    "Chaos",
    "Deadlock",
    "Env",
    "Faults",
    "NothingCrashed",
    "RunRecord",
    "SequenceUsedUp",
    "SimulationReport",
    "StepCall",
    "StepRecord",
    "StorePromises",
    "VirtualLoop",
    "run_virtual",
    "simulate",
]

_ELSEWHERE = {
    "segue.testing.chaos": ("Chaos", "Faults"),
    "segue.testing.clock": ("Deadlock", "VirtualLoop", "run_virtual"),
    "segue.testing.env": ("Env", "NothingCrashed", "SequenceUsedUp", "StepCall"),
    "segue.testing.records": ("RunRecord", "StepRecord"),
    "segue.testing.simulation": ("SimulationReport", "simulate"),
    "segue.testing.stores": ("StorePromises",),
}
_HOME = {name: module for module, names in _ELSEWHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'segue.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
