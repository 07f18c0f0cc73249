"""Text for people and programs: nothing that a value holds may steer a terminal."""

import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_LONGEST = 1e11  # seconds: thousands of years are a damaged store's
_UNSAFE_JSON = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")


def visible(text: str) -> str:
    r"""Text with control characters, and those that reorder or hide others, written out.

    >>> visible("\x1b[31mred")
    '\\x1b[31mred'
    """
    return _UNSAFE.sub(_written, text.replace("\t", "    "))


def one_line(text: str) -> str:
    r"""The same in one line.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return visible(text).replace("\n", "\\n")


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def as_text(value: Any, indent: int = 0) -> str:
    """A value as JSON that is safe to show. What JSON leaves as it is and a terminal obeys is escaped."""
    from segue.values import as_json

    text = as_json(value, indent).decode()
    return _UNSAFE_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shorten(text: str, width: int) -> str:
    """Text of at most this many characters.

    >>> shorten("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def say(text: str) -> None:
    """A line for the person: on stderr, with everything dangerous in it written out."""
    with suppress(OSError):  # the terminal may be gone; the run matters more
        print(visible(text), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A length of time, as short as it can be read.

    >>> duration(0.0042), duration(3.14159), duration(75), duration(7300)
    ('4 ms', '3.1 s', '1 m 15 s', '2 h 1 m')
    """
    if not seconds < _LONGEST:
        return "?"
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, next_size, next_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{whole} s"


def moment(time: float) -> "datetime | None":
    """A moment in local time; None for a time that no calendar has, as a damaged store may."""
    from datetime import datetime

    try:
        return datetime.fromtimestamp(time)
    except (OverflowError, ValueError, OSError):
        return None


def day(time: float) -> str:
    """A moment in at most 12 characters: its hour today, its day before."""
    from datetime import datetime

    if (then := moment(time)) is None:
        return "?"
    today = datetime.now()
    if then.date() == today.date():
        return f"{then:%H:%M:%S}"
    return f"{then:%m-%d %H:%M}" if then.year == today.year else f"{then:%Y-%m-%d}"


def clock(time: float, now: float | None = None) -> str:
    """A moment, in local time: its hour, with the date unless it is today's."""
    from datetime import datetime

    if (then := moment(time)) is None:
        return "?"
    today = datetime.fromtimestamp(now) if now is not None else datetime.now()
    return f"{then:%H:%M:%S}" if then.date() == today.date() else f"{then:%Y-%m-%d %H:%M:%S}"
