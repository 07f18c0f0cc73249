"""JSON out of the text that models write: strict where it can be, and forgiving by name where it must."""

import json
import re
from typing import Any

_FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_STARTS = re.compile(r"[{\[]")
_TRIES = 64


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_constant)


def read_json(text: str | bytes) -> tuple[Any, tuple[str, ...]]:
    """The JSON value in a model's reply, and what had to be overlooked to find it.

    Strict JSON is taken as it is. Else the first fenced code block that holds JSON is taken; else the first object or
    list in the text that is JSON. Nothing is repaired: what is cut off stays an error.

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
        problem = str(error)
    for block in _FENCE.findall(whole):
        try:
            return _strict(block), (*lenient, "a fenced code block")
        except ValueError:
            continue
    for start in list(_STARTS.finditer(whole))[:_TRIES]:
        try:
            value, end = _decoder.raw_decode(whole, start.start())
        except (ValueError, RecursionError):
            if whole.lstrip().startswith(
                ("{", "[")
            ):  # it is meant to be JSON, and is broken: a part of it would mislead
                break
            continue
        if not whole[: start.start()].strip() and not whole[end:].strip():
            return value, lenient
        return value, (*lenient, "text around the JSON")
    raise ValueError(f"it is not JSON: {problem}")


def _strict(text: str) -> Any:
    try:
        return _decoder.decode(text.strip())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
