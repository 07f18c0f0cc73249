"""Named places where a test can make the process die, as ``kill -9`` would.

``SEGUE_CRASH_AT=after-commit`` dies there the first time, ``after-commit:7`` the seventh.
"""

import os

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
armed = bool(_name)
if armed and _name not in POINTS:
    raise SystemExit(f"SEGUE_CRASH_AT={_name!r}: there is no such crash point; there are {', '.join(sorted(POINTS))}")


def reach(point: str) -> None:
    """Die here if the environment says so. Callers check ``armed`` first where every microsecond counts."""
    global _left
    if point == _name:
        _left -= 1
        if _left <= 0:
            os._exit(137)
