"""Named places where a test can make the process die, as ``kill -9`` would.

``SEGUE_CRASH_AT=after-commit`` dies there the first time, ``after-commit:7`` the seventh. Where what dies is not the
process but one engine of several in it, as in ``segue.testing``, whoever plays it listens, and knows what is its own.
"""

import os
import threading
from collections.abc import Callable

POINTS = frozenset(
    {
        "before-create",
        "after-create",
        "before-commit",
        "in-commit",
        "after-commit",
        "before-body",
        "after-body",
        "before-end",
        "after-end",
        "before-claim",
        "after-claim",
        "before-mail",
        "after-mail",
        "before-artifact",
        "after-artifact",
    }
)

_name, _, _count = os.environ.get("SEGUE_CRASH_AT", "").partition(":")
_left = int(_count or 1)
_changing = threading.Lock()
_listeners: list[Callable[[str], bool]] = []
armed = bool(_name)
if armed and _name not in POINTS:
    raise SystemExit(f"SEGUE_CRASH_AT={_name!r}: there is no such crash point; there are {', '.join(sorted(POINTS))}")


def listen(heard: Callable[[str], bool]) -> None:
    """Have this called with each point that is reached, on the thread that does; until ``unlisten``.

    Args:
        heard: gives whether it was its own that got there; what it raises ends that.
    """
    global armed
    with _changing:
        _listeners.append(heard)
        armed = True


def unlisten(heard: Callable[[str], bool]) -> None:
    """Call it no more."""
    global armed
    with _changing:
        _listeners.remove(heard)
        armed = bool(_name or _listeners)


def reach(point: str) -> None:
    """Die here if somebody says so. Callers check ``armed`` first where every microsecond counts."""
    global _left
    if any(heard(point) for heard in tuple(_listeners)):
        return
    if point == _name:
        _left -= 1
        if _left <= 0:
            os._exit(137)
