"""How things look in a terminal: symbols, colours, consoles."""

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

STATUS_STYLES = {
    "completed": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "merged": "dim",
    "expired": "yellow",
    "running": "cyan",
    "retrying": "yellow",
    "asking": "magenta",
    "queued": "blue",
    "held": "blue",
    "waiting": "blue",
    "lost": "bold red",
}
_SYMBOLS = {
    "completed": ("✓", "+"),
    "failed": ("✗", "x"),
    "cancelled": ("⊘", "/"),
    "merged": ("⤳", ">"),
    "expired": ("⌛", "!"),
    "running": ("●", "*"),
    "retrying": ("↻", "~"),
    "asking": ("?", "?"),
    "queued": ("○", "o"),
    "held": ("◌", "."),
    "waiting": ("◷", "o"),
    "lost": ("✗", "x"),
}


def in_unicode(stream: TextIO) -> bool:
    """Whether more than ASCII can be shown there."""
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")


def symbol(status: str, stream: TextIO | None = None) -> str:
    """One character for a status."""
    return _SYMBOLS[status][0 if in_unicode(stream or sys.stdout) else 1]


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    # A pipe has no width: long lines are then better than cut ones.
    width = None if stream.isatty() else 160
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def out() -> "Console":
    """What was asked for goes here."""
    return _console(sys.stdout)


def err() -> "Console":
    """What is said beside it goes here."""
    return _console(sys.stderr)
