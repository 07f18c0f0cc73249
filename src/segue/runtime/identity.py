"""What a run is about, by its flow's parameters: the key whose turn it takes, and the event that it is for."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from segue.checks import read
from segue.errors import UsageError
from segue.values import as_json

LONGEST = 200
"""Characters of a key. A longer one is cut, and told apart by a digest."""

HIGHEST = 1_000_000
"""The highest priority, and below zero the lowest."""


class About(NamedTuple):
    """What a run is about; None where that does not matter.

    Attributes:
        key: runs of its flow with this one go one at a time.
        event: of the runs for this one, there is only the first.
        priority: runs of higher priority are claimed first.
    """

    key: str | None = None
    event: str | None = None
    priority: int = 0


NOTHING = About()


class Identity(NamedTuple):
    """Where a value is found in a flow's parameters.

    Attributes:
        what: ``"key"``, ``"dedupe"`` or ``"priority"``, for errors.
        of: a path over the parameters, or a function of those in ``taken``.
    """

    what: str
    of: str | Callable[..., Any]
    taken: tuple[str, ...] = ()

    def text(self, flow: str, named: Mapping[str, Any]) -> str | None:
        """The value as text; None if it is None.

        Args:
            named: the flow's arguments by name.

        Raises:
            UsageError: there is no such value, or the function failed.
        """
        value = self.value(flow, named)
        return None if value is None else _text(flow, self.what, value)

    def whole(self, flow: str, named: Mapping[str, Any]) -> int:
        """The value as a whole number; 0 if it is None.

        Raises:
            UsageError: it is not one, or there is none.
        """
        value = self.value(flow, named)
        if value is None:
            return 0
        if type(value) is not int or abs(value) > HIGHEST:
            raise UsageError(f"flow {flow!r}: its {self.what} is a whole number up to {HIGHEST:,}, not {value!r:.100}")
        return value

    def value(self, flow: str, named: Mapping[str, Any]) -> Any:
        """The value as it is found.

        Raises:
            UsageError: there is none, or the function failed.
        """
        try:
            return read(named, self.of) if isinstance(self.of, str) else self.of(**{n: named[n] for n in self.taken})
        except LookupError as error:
            raise UsageError(f"flow {flow!r}: its {self.what} {self.of!r} is not in the input: {error}") from None
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise UsageError(f"flow {flow!r}: its {self.what} could not be made: {said}") from error


def _text(flow: str, what: str, value: Any) -> str:
    try:
        text = value if isinstance(value, str) else as_json(value).decode()
        if not text.isascii():
            text.encode()
    except Exception as error:
        raise UsageError(f"flow {flow!r}: its {what} {value!r:.100} cannot be written: {error}") from None
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 33]}…{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"
