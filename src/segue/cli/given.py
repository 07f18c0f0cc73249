"""The input of a run, as it was given on the command line."""

import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from segue.errors import SegueError, Unstorable, UsageError

if TYPE_CHECKING:
    from typing import BinaryIO

    from segue.runtime.spec import FlowSpec

LARGEST = 64 << 20
"""Bytes that an input may have."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def read_input(given: str, option: str = "--input") -> bytes:
    """What an option for JSON holds: JSON itself, ``@file``, or ``-`` for stdin.

    Raises:
        UsageError: it cannot be read, or is too large.
    """
    if given in ("-", "@-"):
        if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - it is, where it was closed
            raise UsageError(f"{option} {given}: stdin is closed")
        data = sys.stdin.buffer.read(LARGEST + 1)
    elif given.startswith("@"):
        data = _read_file(Path(given[1:]), option)
    else:
        data = given.encode("utf-8", "surrogateescape")
    if len(data) > LARGEST:
        raise UsageError(
            f"{option} is larger than {LARGEST >> 20} MiB; put the data into a file and give its path instead"
        )
    return data.removeprefix(b"\xef\xbb\xbf")


def stdin(option: str) -> "BinaryIO":
    """Stdin as it was given to the program, to be read bit by bit: ``run_loop`` closes it for the user's code.

    Raises:
        UsageError: it is closed.
    """
    try:
        return os.fdopen(os.dup(0), "rb", buffering=0)
    except OSError:
        raise UsageError(f"{option} -: stdin is closed") from None


def _read_file(file: Path, option: str) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{option}: {file} cannot be read: {reason}") from error


def parse(data: bytes, option: str = "--input") -> Any:
    """Strict JSON as data.

    Raises:
        UsageError: it is not JSON, saying where.
    """
    import msgspec

    if not data.strip():
        raise UsageError(f'{option} is empty; it takes JSON, such as \'{{"name": "Ada"}}\'')
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise UsageError(f"{option} is nested too deeply to be read") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{option} is not JSON: {_located(str(error), data)}") from None


def _located(message: str, data: bytes) -> str:
    said, _, place = message.removeprefix("JSON is malformed: ").rpartition(" (byte ")
    if not said:
        end = "; is a bracket or quote missing?" if "truncated" in message else ""
        return f"it ends too early{end}" if "truncated" in message else message[:1].lower() + message[1:]
    position = int(place.rstrip(")"))
    before = data[:position]
    line, column = before.count(b"\n") + 1, position - (before.rfind(b"\n") + 1) + 1
    near = data[max(0, position - 20) : position + 20].decode("utf-8", "replace")
    hint = "; JSON has no NaN or Infinity" if data[position : position + 3] in (b"NaN", b"Inf", b"-In") else ""
    return f"{said} in line {line}, column {column}, near {near!r}{hint}"


def arguments_of(spec: "FlowSpec", given: Any) -> Arguments:
    """JSON as the flow's arguments, each as its annotation says.

    Raises:
        UsageError: it does not fit the flow's parameters.
    """
    parameters = spec.inputs.signature.parameters
    named, whole = _by_name(parameters, given, spec)
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in named and not _var(p)]
    if missing:
        raise UsageError(f"--input: {_list('parameter', missing)} of flow {spec.name!r} missing; {_wants(spec)}")
    try:
        values = spec.inputs.convert(named)
    except Unstorable as error:
        note = f" (all of it is taken as {whole!r}, since it has no such key)" if whole else ""
        raise UsageError(f"--input: {error.where}: at {error.path}, {error.problem}{note}; {_wants(spec)}") from error
    except RecursionError:
        raise UsageError("--input is nested too deeply for the flow's parameters") from None
    except SegueError:
        raise
    except Exception as error:
        raise UsageError(f"--input does not fit flow {spec.name!r}: {type(error).__name__}: {error}") from error
    bound = inspect.BoundArguments(spec.inputs.signature, {name: values[name] for name in parameters if name in values})  # pyright: ignore
    rest = {name: value for name, value in values.items() if name not in parameters}
    return bound.args, {**bound.kwargs, **rest}


def _by_name(
    parameters: Mapping[str, inspect.Parameter], given: Any, spec: "FlowSpec"
) -> tuple[dict[str, Any], str | None]:
    """The values by parameter, and the one parameter that took everything, if one did."""
    only = next(iter(parameters.values())) if len(parameters) == 1 else None
    if only is not None and only.kind is not only.VAR_KEYWORD and not (isinstance(given, dict) and only.name in given):
        if given == {} and only.default is not only.empty:
            return {}, None
        return {only.name: given}, only.name
    if not isinstance(given, dict):
        raise UsageError(f"--input is {_kind(given)}, and must be an object; {_wants(spec)}")
    named = cast("dict[str, Any]", given)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        unknown = [name for name in named if name not in parameters]
        if unknown:
            raise UsageError(f"--input: flow {spec.name!r} has no {_list('parameter', unknown)}; {_wants(spec)}")
    return named, None


def _var(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _wants(spec: "FlowSpec") -> str:
    if not spec.inputs.signature.parameters:
        return "it takes no parameters"
    return f"it takes {spec.inputs.signature}"


def _list(what: str, names: list[str]) -> str:
    return f"{what}{'s' * (len(names) > 1)} {', '.join(map(repr, names[:10]))}{' …' * (len(names) > 10)}"


def _kind(value: Any) -> str:
    kinds = {"dict": "an object", "list": "an array", "str": "text", "bool": "true or false", "NoneType": "null"}
    return kinds.get(type(value).__name__, "a number")
