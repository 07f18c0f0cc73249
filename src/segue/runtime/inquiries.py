"""A question to a person, from when it is put until it is decided; and what the decision makes of the step that asks.

Whoever decides (a person, the end of the time, the flow that cancels) sends mail under the question's id, and of such
mail there is one. So there is one decision, whatever races or crashes; the run takes it from its mail like any other.
"""

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING, Any

from segue.core.entries import Entry, Kind
from segue.errors import Failure, SegueError, Unstorable
from segue.policies import spoken
from segue.runtime.decisions import Decision, pack_decision, read_decision
from segue.runtime.ids import short_id
from segue.runtime.notes import Note
from segue.runtime.spec import Asking
from segue.schemas import one_of
from segue.stores.base import Mail, Question
from segue.values import as_json, encode, plain

if TYPE_CHECKING:
    from segue.runtime.call import Call

log = logging.getLogger("segue")

AGAIN_AFTER = 0.5
"""Seconds after which a decision that the store did not take is sent again."""

LARGEST = 1 << 20
"""Bytes that may be shown with a question."""

LONG = 64 << 10
"""An input of more bytes is not shown with the question of a step, but named."""

TIMED_OUT = ("builtins.TimeoutError", "builtins.OSError", "builtins.Exception", "builtins.BaseException")


class Inquiry:
    """One question of a step, to one person or to anybody.

    Attributes:
        id: the question's.
        due: until when an answer is waited for.
    """

    __slots__ = ("asking", "assignee", "call", "due", "handle", "id", "remind_at")

    def __init__(self, call: "Call", asking: Asking) -> None:
        self.call, self.asking = call, asking
        self.assignee = asking.assignees[min(call.unanswered, len(asking.assignees) - 1)]
        self.id = ""
        self.due: float | None = None
        self.remind_at: float | None = None
        self.handle: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Put the question, unless that was done before a crash or while the run was away."""
        call, asking, run = self.call, self.asking, self.call.run
        if recorded := self._recorded():
            self.id = str(plain(recorded[0].output))
            asked, last = recorded[0].ended, recorded[-1].ended
        else:
            what = f"what {call.spec.name!r} shows to a person"
            body = encode(self._shown(), what)
            if len(body) > LARGEST:
                raise Unstorable(what, "$", f"it takes {len(body):,} bytes, and {LARGEST:,} are allowed: show less")
            key = f"{run.id}\0{call.step}\0{call.attempt}\0{run.past.redrives}\0".encode()
            self.id = short_id(hashlib.blake2b(key + body, digest_size=8).digest())
            asked = last = self._note_asked()
            due = None if asking.timeout is None else asked + asking.timeout
            run.engine.journal.ask(
                Question(self.id, run.id, run.spec.name, call.step, call.attempt, self.assignee, asked, due, body)
            )
        self.due = None if asking.timeout is None else asked + asking.timeout
        self.remind_at = None if asking.remind is None else last + asking.remind
        run.inquiries[self.id] = self
        run.asked = True
        run.wake()
        if (mail := run.answers.pop(self.id, None)) is not None:
            self.take(mail)
        else:
            self._tell("asked")
            self._arm()

    def _recorded(self) -> list[Entry]:
        """When it was put, before a crash or while the run was away.

        What was asked before a redrive was withdrawn at the run's end, unless somebody answered just then.
        """
        run, place = self.call.run, (self.call.step, self.call.attempt)
        recorded = run.tape.asked.get(place, [])
        if recorded and recorded[0].seq < run.past.since:
            mail = run.answers.get(str(plain(recorded[0].output)))
            if mail is None or read_decision(mail.body).kind != "answer":
                return [entry for entry in recorded if entry.seq > run.past.since]
        return recorded

    def _note_asked(self) -> float:
        call = self.call
        id, input = encode(self.id, "a question"), call._unrecorded_input()  # pyright: ignore[reportPrivateUsage]
        return call.run.submit(Kind.ASKED, call.step, call.attempt, call.started, input, id).ended

    def _shown(self) -> dict[str, Any]:
        """All that a person gets to see, and what an answer has to be."""
        call, asking = self.call, self.asking
        shown: dict[str, Any] = {"question": asking.question, **asking.shown}
        if asking.remind is not None:
            shown["remind"] = asking.remind
        if call.last is not None and call.last.type == "InvalidAnswer":
            shown["refused"] = call.last.message
        if asking.own:
            return shown
        failure = call.refusal
        input = plain(call.input)
        if len(call.input) > LONG:
            input = f"{len(call.input):,} bytes: segue show {call.run.id} --step {call.spec.name}"
        shown |= {"step": call.spec.name, "input": input, "failure": str(failure) if failure else ""}
        actions = ["retry", "reject"]
        if failure is not None and failure.raw:
            shown["raw"] = failure.raw
            if self._accepted(failure.raw) is not None:
                actions.insert(1, "accept")
        return shown | {"choices": actions, "schema": one_of(actions, edit=call.spec.schema, reject={"type": "string"})}

    # Time

    @property
    def next(self) -> float | None:
        """When something happens without an answer."""
        return min((when for when in (self.due, self.remind_at) if when is not None), default=None)

    def _arm(self) -> None:
        engine = self.call.run.engine
        if (when := self.next) is not None:
            self.handle = engine.ambient.call_later(max(0.0, when - engine.clock()), self._ring)

    def _ring(self) -> None:
        self.handle = None
        now = self.call.run.engine.clock()
        if self.due is not None and now >= self.due:
            self.remind_at = self.due = None
            self._send(Decision("nobody"))
            return
        if self.remind_at is not None and now >= self.remind_at:
            self.remind_at = self._note_asked() + (self.asking.remind or 0.0)
            self.call.run.wake()
            self._tell("reminded")
        self._arm()

    def _tell(self, what: str) -> None:
        call = self.call
        engine = call.run.engine
        if engine.watchers:
            text = self.asking.question
            engine.tell(what, call.run, step=call.step, question=self.id, text=text, assignee=self.assignee)

    def withdraw(self) -> None:
        """The flow no longer wants to know. An answer may be there first all the same."""
        self._send(Decision("withdrawn"))

    def give_up(self) -> None:
        """The run leaves memory; the question stays."""
        self._clear()
        self.call.run.inquiries.pop(self.id, None)

    def _clear(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None

    def _send(self, decision: Decision) -> None:
        self._clear()
        self.call.run.engine.spawn(self._sending(decision))

    async def _sending(self, decision: Decision) -> None:
        run = self.call.run
        await run.durable()  # the question itself may be on its way still
        while run.inquiries.get(self.id) is self:
            try:
                mail = Mail(run.id, self.id, "answer", pack_decision(decision), closes=self.id)
                receipt = await run.engine.store.send(mail, owner=run.row.worker)
                if not receipt.ok and receipt.first is None and run.inquiries.get(self.id) is self:
                    self._close(decision)  # the question is not open any more, and nobody has decided it
                break
            except SegueError as error:
                log.warning("question %s cannot be closed yet: %s", self.id, error)
                await asyncio.sleep(AGAIN_AFTER)
        run.engine.look_for_mail()

    def _close(self, decision: Decision) -> None:
        run = self.call.run
        if run.inquiries.pop(self.id, None) is self:
            self.call.inquiry = None
            self._make(decision)
            run.wake()

    # The decision

    def take(self, mail: Mail) -> None:
        """It is there: this is the only one that there will be."""
        run, call = self.call.run, self.call
        self._clear()
        del run.inquiries[self.id]
        call.inquiry = None
        self._make(read_decision(mail.body))
        run.took(mail)
        run.wake()

    def _make(self, decision: Decision) -> None:
        call, asking = self.call, self.asking
        if decision.kind == "answer":
            self._answered(decision)
        elif call.stopping == "cancelled":
            call.end_cancelled()
        elif call.unanswered + 1 < len(asking.assignees):
            call.unanswered += 1
            call.ask_again(Failure("NoAnswer", self._silence(), kinds=TIMED_OUT))
        elif asking.default is not None:
            value = call.spec.output.decode(asking.default)
            said = f"{self._silence()}: the default was taken"
            call.end_with(asking.default, value, Note("degraded", by="default", said=said))
        else:
            call.leave_rung(Failure("StepTimedOut", self._silence(), kinds=TIMED_OUT))

    def _silence(self) -> str:
        return f"{self.assignee or 'nobody'} gave no answer within {spoken(self.asking.timeout or 0.0)}"

    def _answered(self, decision: Decision) -> None:
        call = self.call
        by = Note("human", call.rung, decision.by)
        try:
            match decision.value:
                case value if self.asking.own:
                    data, value = self._typed(value)
                    call.end_with(data, value, by)
                case "retry":
                    call.start_over(Failure("SentBack", f"{decision.by} asked for another try", then=0))
                case "accept" if call.refusal is not None and (good := self._accepted(call.refusal.raw)) is not None:
                    call.end_with(*good, by._replace(said="accepted as it was"))
                case {"edit": value}:
                    data, value = self._typed(value)
                    call.end_with(data, value, by._replace(said="edited"))
                case "reject" | {"reject": str()} as how:
                    why = f": {how['reject']}" if isinstance(how, dict) else ""
                    call.leave_rung(Failure("Rejected", f"{decision.by} rejected it{why}"))
                case other:
                    shown = as_json(other).decode()
                    raise Unstorable("the answer", "$", f"{shown:.200} is none of retry, accept, reject, edit")
        except Unstorable as error:
            said = f"the answer of {decision.by} does not fit: at {error.path}, {error.problem}"
            call.ask_again(Failure("InvalidAnswer", said))

    def _typed(self, value: Any) -> tuple[bytes, Any]:
        codec = self.call.spec.output
        data, back = codec.encode(codec.convert(value))
        choices = self.asking.shown.get("choices")
        if self.asking.own and choices is not None and plain(data) not in choices:
            raise Unstorable("the answer", "$", f"it is none of {choices!r}")
        return data, back

    def _accepted(self, raw: str) -> tuple[bytes, Any] | None:
        """The value that was refused, if it is of the declared type: a check may have been too strict."""
        codec = self.call.spec.output
        for read in (_from_json, str):
            try:
                return codec.encode(codec.convert(read(raw)))
            except (Unstorable, ValueError):
                continue
        return None


def _from_json(text: str) -> Any:
    import msgspec

    return msgspec.json.decode(text)
