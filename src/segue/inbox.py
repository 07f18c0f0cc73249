"""The inbox: what runs ask people, and the answers.

Every function works on a store, by default that of the engine which calls made here would use. None of them executes
anything, so that a program which only answers needs no code of the flows.

>>> from segue import inbox
>>> for question in await inbox.questions(assignee="ada"):
...     await inbox.answer(question.id, True, by="ada")
"""

from dataclasses import dataclass
from typing import Any, cast

from segue.errors import AlreadyDecided, InvalidAnswer, RunEnded, UnknownQuestion, UsageError
from segue.runtime.decisions import Decision, pack_decision, read_decision
from segue.schemas import Schema, misfits, spelled
from segue.sending import LARGEST
from segue.stores import base
from segue.stores.base import Asked, Mail, Store
from segue.values import encode, plain


@dataclass(frozen=True, slots=True)
class Question:
    """Something that a run asks a person.

    Attributes:
        id: names this very question: the run, the step, the attempt, and what is shown.
        text: the question.
        about: what it is about, as plain data.
        run, flow, step: who asks.
        assignee: whose it is; None for anybody's.
        asked: when, seconds since the epoch.
        due: until when an answer is waited for; None for ever.
        schema: what an answer has to be, as JSON Schema.
        choices: the answers that there are, if they are listed.
        shown: all that is shown, as plain data.
        remind: seconds after which it is told of again.
        decided: when; None while it is open.
        by: who answered; None if nobody did.
        fate: ``open``, ``answer``, ``nobody`` (the time was up), or ``withdrawn`` (the run needs no answer any more).
        value: the answer.
    """

    id: str
    text: str
    about: Any
    run: str
    flow: str
    step: str
    assignee: str | None
    asked: float
    due: float | None
    schema: Schema
    choices: tuple[Any, ...] | None
    shown: dict[str, Any]
    remind: float | None
    decided: float | None
    by: str | None
    fate: str
    value: Any

    @property
    def wanted(self) -> str:
        """What an answer has to be, in a few words."""
        return spelled(self.schema)

    def reminded(self, now: float) -> int:
        """How often it has been told of again by then."""
        if self.remind is None or not 0 <= self.asked <= now:  # asked by another clock, or in a damaged store
            return 0
        return int((now - self.asked) // self.remind)


def _question(stored: base.Question) -> Question:
    found = plain(stored.body)
    shown = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    choices = shown.get("choices")
    decision = Decision("open")
    if stored.decided is not None:
        decision = Decision("withdrawn") if stored.decision is None else read_decision(stored.decision)
    return Question(
        stored.id,
        str(shown.get("question", "")),
        shown.get("about"),
        stored.run,
        stored.flow,
        stored.step,
        stored.assignee,
        stored.asked,
        stored.due,
        shown.get("schema") or {},
        tuple(choices) if isinstance(choices, list) else None,  # pyright: ignore[reportUnknownArgumentType]
        shown,
        shown.get("remind"),
        stored.decided,
        stored.by,
        decision.kind,
        decision.value,
    )


async def _store(store: Store | None) -> Store:
    if store is not None:
        return store
    from segue.runtime.default import current  # an engine takes long to load, and is not needed to look at a store

    return (await current()).store


async def questions(
    *,
    run: str | None = None,
    flow: str | None = None,
    assignee: str | None = None,
    open: bool = True,
    limit: int = 50,
    store: Store | None = None,
) -> list[Question]:
    """What is asked, oldest first.

    Args:
        run, flow, assignee: only what this run, or a run of this flow, asks; only this person's.
        open: only what waits for an answer; else also what was decided: who, when, what was shown.

    >>> [question.text for question in await inbox.questions()]
    ['Refund 900 €?']
    """
    which = Asked(None, run, flow, assignee, open, limit)
    return [_question(found) for found in await (await _store(store)).questions(which)]


async def question(id: str, *, store: Store | None = None) -> Question:
    """One question, by its id or the beginning of it.

    Raises:
        UnknownQuestion: there is none, or more than one.

    >>> (await inbox.question("7f3k")).text
    'Refund 900 €?'
    """
    where = await _store(store)
    found = await where.questions(Asked(id=id, open=False, limit=3)) if id else []
    if len(found) != 1:
        several = f"{id!r} fits several questions: give more of the id" if found else f"there is no question {id!r}"
        raise UnknownQuestion(f"{several}. See which there are with: segue inbox")
    return _question(found[0])


async def answer(id: str, value: Any, *, by: str, store: Store | None = None) -> Question:
    """Decide a question. When this returns the answer is durable, and it is the only one that there will be.

    Args:
        value: of the type that was asked for, or as JSON would have it.
        by: who answers; it is recorded.

    Raises:
        InvalidAnswer: the value is not what was asked for; nothing was decided.
        AlreadyDecided: somebody was first, the time was up, or the run does not need it any more.
        UnknownQuestion: there is no such question.

    >>> await inbox.answer("7f3kq2m8x1vz", {"approved": True}, by="ada")
    """
    if not isinstance(by, str) or not by.strip() or len(by) > 200 or not by.isprintable():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"by= is the name of who answers, not {by!r:.220}")
    where = await _store(store)
    asked = await question(id, store=where)
    data = encode(value, "the answer")
    if len(data) > LARGEST:
        raise InvalidAnswer(f"the answer takes {len(data):,} bytes, and {LARGEST:,} are allowed")
    value = plain(data)
    if asked.decided is not None:
        raise _decided(asked)
    if problems := misfits(asked.schema, value):
        raise InvalidAnswer(f"the answer does not fit: {'; '.join(problems)}. It has to be {asked.wanted}")
    body = pack_decision(Decision("answer", value, by))
    mail = Mail(asked.run, asked.id, "answer", body, closes=asked.id, by=by)
    receipt = await where.send(mail)
    after = await question(asked.id, store=where)
    if receipt.ok:
        return after
    if after.decided is not None:
        raise _decided(after)
    raise RunEnded(f"run {asked.run} has ended ({receipt.status}): question {asked.id} needs no answer any more")


def _decided(asked: Question) -> AlreadyDecided:
    from datetime import datetime

    at = asked.decided or 0.0
    try:
        when = f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):  # a damaged store's
        when = f"{at:g}"
    whose = {
        "answer": f"was answered by {asked.by} at {when}",
        "nobody": f"was closed at {when}: nobody had answered in time",
    }
    return AlreadyDecided(asked.id, whose.get(asked.fate, f"was withdrawn by its run at {when}"), asked.by, at)
