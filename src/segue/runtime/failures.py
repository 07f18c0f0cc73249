"""Errors as text, whatever they do when asked for it."""

from types import TracebackType

from segue.errors import CheckFailed, Failure, InvalidResult, RunFailed, SegueError, StepFailed
from segue.values import plain

_LONGEST = 16 * 1024
_LONGEST_WAIT = 1e9
_OURS = __file__.rpartition("/runtime/")[0]


class StepProcessError(SegueError):
    """A step failed in its process, where its error stays; the message is what that said.

    Attributes:
        failure: what is recorded of that error.
        worth_it: whether the step's policy, asked there, wants another try.
    """

    def __init__(self, failure: Failure, worth_it: bool) -> None:
        self.failure, self.worth_it = failure, worth_it
        self.retry_after = failure.retry_after
        super().__init__(str(failure))


def clean(text: str) -> str:
    """Text that every store and terminal takes: no lone surrogates, and of bounded length."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + f" … ({len(text) - _LONGEST:,} more characters)"


def message_of(error: BaseException) -> str:
    """What ``str()`` gives, or what went wrong with it."""
    try:
        return clean(str(error))
    except BaseException as worse:
        return f"<its message cannot be had: __str__ raised {type(worse).__name__}>"


def _own_part(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the user's first frame on, if there is one: ours above it say nothing to them."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return trace


def traceback_of(error: BaseException) -> str:
    """The user's part of the traceback, causes included, as text."""
    try:
        own = _own_part(error.__traceback__)
        if own is None and isinstance(error, SegueError):  # we raised it ourselves, and its message says all
            return ""
        import traceback  # whoever only reads failures starts quicker

        lines = traceback.format_exception(type(error), error, own or error.__traceback__, limit=20)
        return clean("".join(lines))
    except BaseException as worse:
        return f"<no traceback: {type(worse).__name__} while it was made>"


def wait_asked(error: BaseException) -> float | None:
    """The seconds that the error asks to be waited for, if it says so and can be asked."""
    try:
        wait = getattr(error, "retry_after", None)
        return float(min(wait, _LONGEST_WAIT)) if isinstance(wait, int | float) and wait >= 0 else None
    except Exception:
        return None


def failure_of(error: BaseException, note: str = "") -> Failure:
    """The error as it is recorded."""
    if isinstance(error, StepProcessError):
        return error.failure
    kind = type(error)
    return Failure(
        type=kind.__qualname__,
        message=message_of(error),
        traceback=traceback_of(error),
        kinds=tuple(f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__[:-1]),
        retry_after=wait_asked(error),
        note=note,
        raw=error.raw if isinstance(error, InvalidResult | CheckFailed) else "",
    )


def blamed(error: BaseException) -> tuple[str, str]:
    """The step that an error of a flow comes from, and the class of what happened there; empty if it is the flow's own.

    Looked for among its causes, and within exception groups.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        found = left.pop(0)
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, StepFailed | RunFailed) and found.step:
            return found.step, found.error.type
        if isinstance(found, BaseExceptionGroup):
            left += found.exceptions  # pyright: ignore[reportUnknownMemberType]
        left += [found.__cause__, None if found.__suppress_context__ else found.__context__]
    return "", ""


def read_failure(data: bytes | None) -> Failure:
    """A recorded failure."""
    match plain(data):
        case [kind, message, trace, [*kinds], wait, note, rung, by, then, raw, *more]:
            known, step = tuple(str(k) for k in kinds), str(more[0]) if more else ""
            fields = (str(kind), str(message), str(trace), known, wait, str(note), rung, str(by), then, str(raw), step)
            return Failure(*fields)
        case other:
            return Failure("Unknown", f"the record of the failure cannot be read: {other!r:.200}")
