"""Whether what a step returned is good: its text parsed, its type held to, its checks passed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from segue.checks import Confident, confidence_of, verdict
from segue.errors import CheckFailed, InvalidResult, Unstorable
from segue.model_text import read_json
from segue.runtime.spec import StepSpec
from segue.values import Codec, as_json

LARGEST = 64 << 20
"""Bytes that one result may take. Larger things are files: return a ``segue.File``."""

_LONGEST_RAW = 64 * 1024
_BARE = frozenset({int, float, str, bytes, bool, type(None)})


class Good(NamedTuple):
    """A result that passed.

    Attributes:
        data: it, encoded.
        value: it, as it will come back.
        lenient: what was overlooked when its text was parsed.
    """

    data: bytes
    value: Any
    confidence: float | None
    lenient: tuple[str, ...]


def judge(declared: StepSpec, rung: StepSpec | None, value: Any, inputs: Mapping[str, Any]) -> Good:
    """Hold a result to the type that the step declares, and to the checks of the rung that gave it.

    Args:
        rung: the step, or function, that was called; None for a constant or a kept value.

    Raises:
        InvalidResult, Unstorable, CheckFailed: it does not pass; the message says what came.
    """
    raw, where = value, _where(declared, rung)
    data, back, lenient = fitted(declared, rung, value)
    confidence = confidence_of(back) if type(back) not in _BARE else None
    checks = rung.checks if rung is not None else ()
    for check in checks:
        if isinstance(check.judge, Confident):
            confidence = check.judge.confidence(back)
        if (reason := verdict(check, back, inputs)) is not None:
            raise CheckFailed(where, check.name, reason, raw_of(raw), confidence=confidence, value=back)
    if checks and type(back) not in _BARE:
        back = declared.output.decode(data)  # a check may have changed the one it saw
    return Good(data, back, confidence, lenient)


def fitted(declared: StepSpec, rung: StepSpec | None, value: Any) -> tuple[bytes, Any, tuple[str, ...]]:
    """A result as the declared type: encoded, as it will come back, and what was overlooked when it was parsed.

    Raises:
        InvalidResult, Unstorable: it does not fit.
    """
    raw, lenient = value, ()
    if rung is not None and rung.parse and isinstance(value, str | bytes):
        value, lenient = _parsed(declared, value, _where(declared, rung))
    data, back = _typed(declared.output, value, raw, _where(declared, rung))
    refuse_large(declared, data)
    return data, back, lenient


def refuse_large(declared: StepSpec, data: bytes) -> None:
    """Raise if an encoded result is larger than any may be."""
    if len(data) > LARGEST:
        said = f"it takes {len(data):,} bytes, and {LARGEST:,} are allowed: return a segue.File"
        raise Unstorable(declared.output.where, "$", said)


def refuse_stale(spec: StepSpec, inputs: Mapping[str, Any], now: float) -> None:
    """Raise if an input does not pass a check that is made before the step runs."""
    for check in spec.early:
        try:
            reason = check.judge.judge(inputs, now)  # pyright: ignore[reportFunctionMemberAccess]
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            raise CheckFailed(f"the input of step {spec.name!r}", check.name, reason, early=True)


def _where(declared: StepSpec, rung: StepSpec | None) -> str:
    if rung is None or rung is declared:
        return declared.output.where
    return f"what fallback {rung.name!r} of step {declared.name!r} returned"


def _parsed(declared: StepSpec, text: str | bytes, where: str) -> tuple[Any, tuple[str, ...]]:
    try:
        found, lenient = read_json(text)
    except ValueError as error:
        raise InvalidResult(where, "$", str(error), raw_of(text)) from None
    try:
        return declared.output.convert(found), lenient
    except Unstorable as error:
        raise InvalidResult(where, error.path, error.problem, raw_of(text)) from None


def _typed(codec: Codec, value: Any, raw: Any, where: str) -> tuple[bytes, Any]:
    try:
        return codec.encode(value)
    except Unstorable as error:
        if error.mismatch:
            raise InvalidResult(where, error.path, error.problem, raw_of(raw)) from None
        raise


def raw_of(value: Any) -> str:
    """Any value as text, to be shown and recorded; never fails."""
    try:
        if isinstance(value, str):
            text = value
        elif isinstance(value, bytes):
            text = value.decode("utf-8", "backslashreplace")
        else:
            text = as_json(value).decode()
    except Exception:
        try:
            text = repr(value)
        except Exception as error:
            text = f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST_RAW else f"{text[:_LONGEST_RAW]}… ({len(text):,} characters)"
