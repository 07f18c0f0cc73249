"""JSON out of the text that models write: strict where it can be, and forgiving by name where it must."""

import json
import math
import re
from typing import Any

LONGEST = 1 << 20
"""Characters of text that is searched for JSON; longer text must be JSON as it is."""

_BRACKETS = re.compile(r"[{}\[\]]")
_OPENING = re.compile(r"[{\[]")
_THINKING = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_TRIES = 64


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits} is too large a number")
    return value


_decoder = json.JSONDecoder(parse_constant=_constant, parse_float=_float)


class _CutOff(ValueError):
    """The JSON begins, and the text ends before it does: a part of it would mislead."""


def read_json(text: str | bytes) -> tuple[Any, tuple[str, ...]]:
    """The JSON value in a model's reply, and what had to be overlooked to find it.

    Strict JSON is taken as it is. Else the first fenced code block that holds JSON is taken; else the longest object
    or list in the text. Nothing is repaired: JSON that is cut off is an error, and no part of it is taken for the
    whole.

    Raises:
        ValueError: there is none; the message says where the text stops being JSON.

    >>> read_json('Sure! {"city": "Bath"} Anything else?')
    ({'city': 'Bath'}, ('text around the JSON',))
    """
    try:
        whole = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error}") from None
    lenient: tuple[str, ...] = ()
    if whole.startswith("\ufeff"):
        whole, lenient = whole[1:], ("a byte order mark",)
    if not whole.strip():
        raise ValueError("it is empty")
    try:
        return _strict(whole), lenient
    except ValueError as error:
        problem = error
    if len(whole) > LONGEST or whole[:LONGEST].lstrip()[:9].lower().startswith(("<!doc", "<html")):
        raise ValueError(f"it is not JSON: {problem}")
    if thought := _THINKING.match(whole):
        whole, lenient = whole[thought.end() :], (*lenient, "reasoning before the answer")
    try:
        value, how = _fenced(whole) or _within(whole)
    except _CutOff:
        raise ValueError(f"it is not JSON: it is cut off ({problem})") from None
    except LookupError:
        raise ValueError(f"it is not JSON: {problem}") from None
    return value, (*lenient, *how)


def _strict(text: str) -> Any:
    try:
        return _decoder.decode(text.strip())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _fenced(whole: str) -> tuple[Any, tuple[str, ...]] | None:
    """The first code block that holds JSON, if one does."""
    parts = whole.split("```")
    for index, part in enumerate(parts[1::2], 1):
        language, _, block = part.partition("\n")
        if not block or " " in language.strip():
            continue
        try:
            return _strict(block), ("a fenced code block",)
        except ValueError:
            if block.lstrip()[:1] in ("{", "[") and 2 * index == len(parts):  # the block has no end
                raise _CutOff from None
    return None


def _within(whole: str) -> tuple[Any, tuple[str, ...]]:
    """The longest object or list in the text."""
    found: tuple[int, Any] | None = None
    at, tries = 0, 0
    while (bracket := _OPENING.search(whole, at)) is not None and tries < _TRIES:
        start, tries = bracket.start(), tries + 1
        try:
            value, at = _decoder.raw_decode(whole, start)
        except (ValueError, RecursionError):
            at = _past(whole, start)
        else:
            if found is None or at - start > found[0]:
                found = at - start, value
    if found is None:
        raise LookupError
    return found[1], ("text around the JSON",)


def _past(whole: str, start: int) -> int:
    """The end of what this bracket opens, which is not JSON: nothing inside it is looked at."""
    depth = 0
    for bracket in _BRACKETS.finditer(whole, start):
        depth += 1 if bracket.group() in "{[" else -1
        if depth == 0:
            return bracket.end()
    raise _CutOff
