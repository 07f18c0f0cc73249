"""What OpenAI's chat-completions protocol says an answer is, and what to call everything else. No I/O."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, TypeVar

import msgspec

from segue.errors import shortened
from segue.models.errors import (
    KEPT,
    AnswerCutOff,
    ContentFiltered,
    EmptyAnswer,
    LengthReached,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    NotTheProtocol,
)

log = logging.getLogger("segue")

E = TypeVar("E", bound=ModelError)

Prompt = str | Sequence[Mapping[str, Any]]
"""What a model is asked: text, or messages such as ``[{"role": "user", "content": "…"}]``."""

LONGEST = 16 << 20
"""Bytes that a body, or one event of a stream, may take; and characters of an answer."""

_SHOWN = 300
_SECRET = 8  # a key of fewer characters is a placeholder, such as "EMPTY"

_ADVICE = {
    400: "the request is not what this endpoint takes",
    401: "give api_key, or set OPENAI_API_KEY",
    403: "this api key may not use it",
    404: "there is no such model, or base_url is wrong: it often ends in /v1",
    413: "the request is too large",
    422: "the request is not what this endpoint takes",
    429: "ask less often: rate= and concurrency= of the step",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer and what is known about it. It can be a step's result.

    Attributes:
        text: the answer.
        model: which model gave it, as the endpoint says.
        finish: why it ended, as the endpoint says; ``"stop"`` as a rule.
        prompt_tokens: tokens that were read, or None where the endpoint does not say.
        completion_tokens: tokens that were written, or None.

    >>> reply = await llm.reply("Name a river.")
    >>> reply.text, reply.completion_tokens
    ('Avon', 2)
    """

    text: str
    model: str
    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None


class _Part(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Part | None = None
    delta: _Part | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    """A whole answer, or a piece of one. What only informs may be anything: no answer is thrown away for it."""

    choices: list[_Choice] | None = None
    error: Any = None
    model: Any = None
    usage: Any = None


class Endpoint:
    """Who is asked. It makes the errors, which name it and do not hold its key."""

    def __init__(self, model: str, base_url: str, key: str) -> None:
        self.model, self.base_url = model, base_url
        self._key = key

    def error(
        self,
        kind: type[E],
        problem: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        raw: bytes | bytearray | str = "",
        shows: bool = True,
    ) -> E:
        """An error of this kind.

        Args:
            raw: what came.
            shows: the message ends with the beginning of it.
        """
        came = self._without_key(
            raw if isinstance(raw, str) else raw[: LONGEST + 1].decode("utf-8", "backslashreplace")
        )
        problem = self._without_key(problem)
        if shows and came:
            problem += f". It was {shortened(came, _SHOWN)!r}"
        where = {"model": self.model, "base_url": self.base_url}
        return kind(problem, **where, status=status, retry_after=retry_after, raw=came[:KEPT])

    def refusal(self, status: int, body: bytes, wait: float | None = None) -> ModelError:
        """The error that an HTTP status without success stands for.

        Args:
            body: what came with it.
            wait: seconds after which to try again, if the endpoint said so.
        """
        if status in (408, 409, 429) or status >= 500:
            kind, advice = ModelUnavailable, _ADVICE.get(status, "try again later")
        elif status >= 400:
            kind, advice = ModelRefused, _ADVICE.get(status, "another try would not help")
        else:
            kind, advice = NotTheProtocol, "that is no answer"
        said = _said(body)
        problem = f"HTTP {status}: {shortened(said, _SHOWN) or 'nothing more was said'} ({advice})"
        return self.error(kind, problem, status=status, retry_after=wait, raw=body, shows=False)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if len(self._key) >= _SECRET else text


def _said(body: bytes) -> str:
    """What an error's body says: its message where it has one, else the body."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "backslashreplace").strip()
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]  # pyright: ignore[reportUnknownVariableType]
    return found if isinstance(found, str) else json.dumps(found)


def wait_said(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait before another try, if the headers say so.

    Args:
        now: seconds since the epoch.

    >>> wait_said({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 1767225600.0)
    30.0
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        said = headers.get(name, "")
        try:
            wait = float(said) * unit
        except ValueError:
            try:
                wait = parsedate_to_datetime(said).timestamp() - now
            except (ValueError, OverflowError):
                continue
        if isfinite(wait):
            return max(0.0, wait)
    return None


class Answer:
    """One answer, put together from its pieces. A body that is no stream is one piece.

    Attributes:
        done: the endpoint said that nothing more comes.
    """

    def __init__(self, endpoint: Endpoint, max_tokens: int | None, on_text: Callable[[str], object] | None) -> None:
        self.endpoint, self.max_tokens, self.on_text = endpoint, max_tokens, on_text
        self.done = False
        self._text: list[str] = []
        self._length = 0
        self._refusal = ""
        self._finish: str | None = None
        self._model: Any = None
        self._usage: Any = None

    @property
    def complete(self) -> bool:
        """All of the text has come, though perhaps not all that informs about it."""
        return self.done or self._finish is not None

    @property
    def text(self) -> str:
        """What has come so far."""
        return "".join(self._text)

    def line(self, line: bytes | bytearray) -> None:
        """Take one line of a stream of server-sent events."""
        if self.done or not line.startswith(b"data:"):  # comments, names of events, the lines between events
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.done = True
        elif data:
            self._take(data, "an event of the stream")

    def body(self, data: bytes | bytearray) -> None:
        """Take a body that is no stream."""
        if not self._take(data, "the body"):
            raise self.endpoint.error(NotTheProtocol, "the body has no choices", status=200, raw=data)
        self._finish = self._finish or ""  # it is whole, as JSON tells
        self.done = True

    def _take(self, data: bytes | bytearray, what: str) -> bool:
        """Take one event, and say whether it holds a part of the answer."""
        try:
            event = msgspec.json.decode(data, type=_Event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            problem = f"{what} is not a chat completion: {error}"
            raise self.endpoint.error(NotTheProtocol, problem, status=200, raw=data) from None
        if event.error is not None:
            raise self._failed(event.error, bytes(data))
        if event.choices is None:
            raise self.endpoint.error(NotTheProtocol, f"{what} has no choices", status=200, raw=data)
        self._model, self._usage = event.model or self._model, event.usage or self._usage
        choice = next((choice for choice in event.choices if choice.index == 0), None)
        if choice is None:
            return False
        part = choice.delta or choice.message or _Part()
        self._finish = choice.finish_reason or self._finish
        self._refusal += part.refusal or ""
        if part.content:
            self._add(part.content)
        return True

    def _failed(self, error: Any, data: bytes) -> ModelError:
        """The error that came in the place of an answer, which some endpoints send with status 200."""
        code: Any = error.get("code") if isinstance(error, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(code, int) and 400 <= code <= 599:
            return self.endpoint.refusal(code, data)
        return self.endpoint.error(
            ModelUnavailable, f"it failed: {shortened(_said(data), _SHOWN)}", raw=data, shows=False
        )

    def _add(self, text: str) -> None:
        self._text.append(text)
        self._length += len(text)
        if self._length > LONGEST:
            raise self.endpoint.error(
                NotTheProtocol, f"the answer is longer than {LONGEST:,} characters", status=200, raw=self._text[0]
            )
        if self.on_text is not None:
            try:
                self.on_text(text)
            except Exception:
                self.on_text = None
                log.exception("on_text failed, and is not called again for this answer")

    def cut_off(self, why: str) -> AnswerCutOff:
        """The error for a connection that ended before the answer did."""
        problem = f"the answer was cut off after {self._length:,} characters: {why}"
        return self.endpoint.error(AnswerCutOff, problem, raw=self.text)

    def reply(self) -> Reply:
        """The answer, if it is one.

        Raises:
            ModelError: it is not.
        """
        text, finish, endpoint = self.text, self._finish, self.endpoint
        if finish is None:
            raise self.cut_off("the stream ended without a finish_reason")
        if finish == "length":
            limit = "the limit that the endpoint sets" if self.max_tokens is None else f"max_tokens={self.max_tokens}"
            problem = f"the answer was cut off after {len(text):,} characters by {limit}: allow more, or ask for less"
            raise endpoint.error(LengthReached, problem, status=200, raw=text)
        if finish == "content_filter" or self._refusal:
            problem = f"it declined to answer (finish_reason {finish!r})"
            raise endpoint.error(ContentFiltered, problem, status=200, raw=self._refusal or text)
        if not text.strip():
            problem = f"the answer is empty (finish_reason {finish!r}, {self._tokens('completion_tokens')} tokens)"
            raise endpoint.error(EmptyAnswer, problem, status=200)
        model = self._model if isinstance(self._model, str) else endpoint.model
        return Reply(text, model, finish, self._tokens("prompt_tokens"), self._tokens("completion_tokens"))

    def _tokens(self, name: str) -> int | None:
        count: Any = self._usage.get(name) if isinstance(self._usage, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return count if isinstance(count, int) else None
