"""``ask_human`` and ``escalate``: where a person decides; ``wait_for``: where something outside does."""

import asyncio
import copy
import functools
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, cast, overload

from segue.declared import MISSING, make_spec
from segue.errors import DeclarationError, UsageError
from segue.naming import check_name
from segue.policies import Duration, seconds
from segue.runtime.context import HERE, Place
from segue.runtime.spec import Asking, Rung, StepSpec
from segue.schemas import Schema, schema_of
from segue.values import Codec, encode, plain

T = TypeVar("T")
Assignee = str | Sequence[str] | None
"""Whom to ask: a name; several, one after the other; or None for anybody."""

SHORTEST = 60.0
"""Seconds between two reminders, at least."""


def escalate(
    question: str, *, assignee: Assignee = None, timeout: Duration | None = None, remind: Duration | None = None
) -> Asking:
    """A fallback: a person, who sees the step's input, how it failed, and what was refused.

    The person answers ``"retry"`` (the step is tried again from its first rung), ``"accept"`` (the value that was
    refused is good), ``{"edit": value}``, or ``"reject"``: then the next rung follows, or the step fails.

    Args:
        question: what to show, such as ``"Is this the income?"``.
        assignee: whose it is. Of several each has ``timeout``, then it is the next one's.
        timeout: how long to wait. When nobody has answered the next rung follows, or the step fails.
        remind: how often to tell of it again while it waits; a minute at least.

    >>> @step(check=confident(0.8), fallback=[second_reader, escalate("What does it say?", assignee="clerk")])
    ... def read(page: File) -> Reading: ...
    """
    return _asking(question, assignee, timeout, remind)


def _asking(question: str, assignee: Assignee, timeout: Duration | None, remind: Duration | None) -> Asking:
    if not isinstance(question, str) or not question.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"a question is text, not {question!r:.100}")
    names = (assignee,) if isinstance(assignee, str) or assignee is None else tuple(assignee)
    if not names or any(name is not None and (type(name) is not str or not name.strip()) for name in names):
        raise DeclarationError(f"an assignee is a name, or several, not {assignee!r:.100}")
    limit = None if timeout is None else seconds(timeout)
    again = None if remind is None else seconds(remind)
    if limit == 0 or again == 0:
        raise DeclarationError("timeout and remind of a question are more than 0, or None")
    if again is not None and again < SHORTEST:
        raise DeclarationError(
            f"remind={remind!r}: the run would come into memory each time. It is {SHORTEST:g} s or more, or None"
        )
    if len(names) > 1 and limit is None:
        raise DeclarationError("a question that goes from one to the next needs a timeout")
    return Asking(question, names, limit, again)


@overload
async def ask_human(
    question: str,
    *,
    about: Any = None,
    assignee: Assignee = None,
    timeout: Duration | None = None,
    default: bool = ...,
    remind: Duration | None = None,
    name: str = "ask_human",
) -> bool: ...
@overload
async def ask_human(
    question: str,
    *,
    about: Any = None,
    answer: type[T],
    choices: Sequence[T] | None = None,
    assignee: Assignee = None,
    timeout: Duration | None = None,
    default: T = ...,
    remind: Duration | None = None,
    name: str = "ask_human",
) -> T: ...
@overload
async def ask_human(
    question: str,
    *,
    about: Any = None,
    choices: Sequence[T],
    assignee: Assignee = None,
    timeout: Duration | None = None,
    default: T = ...,
    remind: Duration | None = None,
    name: str = "ask_human",
) -> T: ...
async def ask_human(
    question: str,
    *,
    about: Any = None,
    answer: Any = None,
    choices: Sequence[Any] | None = None,
    assignee: Assignee = None,
    timeout: Duration | None = None,
    default: Any = MISSING,
    remind: Duration | None = None,
    name: str = "ask_human",
) -> Any:
    """Ask a person, and wait for the answer: minutes or weeks, through restarts and new code.

    While it waits the run costs no memory. The question is in the inbox (``segue inbox``, ``segue.inbox``); its answer
    is held to the type, used for this question and no other, and recorded with who gave it. Where ``segue run`` has a
    terminal, it asks there.

    Args:
        question: what to ask.
        about: what it is about, shown with it: any value that can be stored.
        answer: the type of the answer. By default yes or no; with ``choices``, one of them.
        choices: the answers that there are.
        assignee: whose it is. Of several each has ``timeout``, then it is the next one's.
        timeout: how long to wait, for each assignee.
        default: what to take when nobody has answered in time.
        remind: how often to tell of it again while it waits; a minute at least.
        name: what it is called in the record.

    Raises:
        StepTimedOut: nobody answered in time, and there is no ``default``.
        UsageError: it was called outside a flow's body.

    >>> plan = await ask_human(f"{problems}: what now?", about=plan, answer=Plan, assignee="ada", timeout="2h")
    """
    here = HERE.get()
    if here is None or not here.in_flow:
        raise UsageError("ask_human() belongs in the body of a flow: only a run can wait for a person")
    place = cast("Place", here)
    spec = _question(question, answer, choices, assignee, timeout, default, remind, about, name)
    kind = spec.rungs[0].ask
    assert kind is not None
    listed = [name for name in kind.assignees if name is not None]
    call = place.run.ask(place, spec, (question, about, kind.shown.get("choices"), listed), {})
    return await call.answer()


def _question(
    question: str,
    answer: Any,
    choices: Sequence[Any] | None,
    assignee: Assignee,
    timeout: Duration | None,
    default: Any,
    remind: Duration | None,
    about: Any,
    name: str,
) -> StepSpec:
    """The question as a step whose only rung is a person."""
    asking = _asking(question, assignee, timeout, remind)
    if choices is not None and (isinstance(choices, str) or not choices):
        raise UsageError(f"choices are a list of answers, not {choices!r}")
    codec, schema = _form(_kind(answer, choices))
    shown: dict[str, Any] = {"about": plain(encode(about, "what a question is about")), "schema": schema}
    if choices is not None:
        shown["choices"] = [plain(codec.encode(choice)[0]) for choice in choices]
        shown["schema"] = {"enum": shown["choices"]}
    taken: bytes | None = None
    if default is not MISSING:
        if asking.timeout is None:
            raise UsageError("ask_human(default=…) is taken when the time is up: give timeout= too")
        taken, _ = codec.encode(default)
        shown["default"] = plain(taken)
    spec = copy.copy(_ASK)
    spec.name, spec.output = check_name("question", name), codec
    ask = asking._replace(own=True, shown=shown, default=taken)
    spec.rungs, spec.instant, spec.human = (Rung(name, "human", ask=ask, instant=True),), (True,), True
    return spec


def _form(kind: Any) -> tuple[Codec, Schema]:
    """How answers of this type are read, and what they have to be."""
    try:
        return _cached_form(kind)
    except TypeError:  # it cannot be hashed
        return Codec(kind, "the answer"), schema_of(kind)


@functools.lru_cache(256)
def _cached_form(kind: Any) -> tuple[Codec, Schema]:
    return Codec(kind, "the answer"), schema_of(kind)


def _kind(answer: Any, choices: Sequence[Any] | None) -> Any:
    if answer is not None:
        return answer
    if choices is None:
        return bool
    if all(type(choice) in (str, int) for choice in choices):
        return Literal[tuple(choices)]
    kinds: set[Any] = {type(choice) for choice in choices}
    if len(kinds) > 1:
        raise UsageError("choices of several types need answer=, the type that they have in common")
    return kinds.pop()


async def _asked(question: str, about: Any, choices: Any, assignees: Any) -> Any:
    """A question to a person."""
    raise UsageError("only a person can answer this")


_ASK = make_spec("ask_human", _asked)


@overload
async def wait_for(name: str, kind: type[T], *, timeout: Duration | None = None) -> T: ...
@overload
async def wait_for(name: str, *, timeout: Duration | None = None) -> Any: ...
async def wait_for(name: str, kind: Any = Any, *, timeout: Duration | None = None) -> Any:
    """Wait for a signal of this name: a value that something outside sends to this run, as ``handle.send`` does.

    Signals of one name are read in the order in which they came; one that comes before anybody waits for it is kept.
    While it waits the run costs no memory.

    Args:
        name: of the signal.
        kind: the type of its value.
        timeout: how long to wait.

    A signal that is not of this type is refused: that is on record, and the wait goes on for the next.

    Raises:
        TimeoutError: it did not come in time.
        UsageError: it was called outside a flow's body.

    >>> payment = await wait_for("paid", Payment, timeout="3d")
    """
    here = HERE.get()
    if here is None or not here.in_flow:
        raise UsageError("wait_for() belongs in the body of a flow: signals are sent to a run")
    place = cast("Place", here)
    codec = Codec(kind, f"signal {check_name('signal', name)!r}")
    async with asyncio.timeout(None if timeout is None else seconds(timeout)):
        call = place.run.ask_signal(place, name, codec)
        try:
            return await call.future
        except asyncio.CancelledError:
            await place.run.abandon(call)
