"""``ChatModel``: an endpoint's model as something that steps call and pipelines name."""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, cast
from urllib.parse import urlsplit

from segue.errors import DeclarationError, NotInFlow, SegueError, UsageError
from segue.models.connections import NO_KEY, Refused, client_of
from segue.models.errors import ModelError, ModelTimedOut, ModelUnavailable, NotTheProtocol
from segue.models.protocol import LONGEST, Answer, Endpoint, Prompt, Reply
from segue.policies import Duration, seconds
from segue.runtime.context import place

_OPENAI = "https://api.openai.com/v1"
_REST = 0.1  # seconds in which a body ends that has said all, so that its connection can be used again

_TROUBLE = frozenset({"APIConnectionError", "RequestError", "OSError", "EndOfStream"})
"""Errors of openai, and of what it stands on, that mean trouble with the connection."""

_FOR_THE_MODEL = ("InvalidResult", "CheckFailed", "LengthReached", "EmptyAnswer")
"""Failures that a model can do something about, as a step's ``feedback`` begins."""


class ChatModel:
    """A model behind an endpoint that speaks OpenAI's chat-completions protocol.

    Calling it asks it. It makes each request once: what is worth another try is for the step to say. Cancelling a call,
    as a step's timeout does, ends the request.

    It is a plain value: make it at the top of a module, or where it is needed. Models of the same endpoint share the
    connections of their event loop, which are closed when ``asyncio.run`` ends that loop.

    Args:
        model: its name, as the endpoint knows it.
        base_url: where, such as ``"http://127.0.0.1:8000/v1"``; else the environment's OPENAI_BASE_URL, else OpenAI.
        api_key: sent with each request; else the environment's OPENAI_API_KEY at that time, whatever the endpoint;
            else none. No repr, error or log shows it.
        stream: have the answer sent piece by piece.
        temperature: 0 for the likeliest words; else the endpoint's own default.
        max_tokens: the most that an answer may take, above which it is a ``LengthReached``.
        timeout: for one call in all, beside that of the step. Without one a call fails after ten minutes' silence.
        system: the message that comes before each prompt, unless the messages bring their own.
        extra: further fields of the request, such as ``{"seed": 7, "response_format": {"type": "json_object"}}``.

    Raises:
        DeclarationError: one of these cannot be.

    >>> llm = ChatModel("qwen3", base_url="http://127.0.0.1:11434/v1", temperature=0)
    >>> @step(retry=Retry(3, on=transient), timeout="1m")
    ... async def summary(text: str) -> str:
    ...     return await llm.ask(f"Summarise in one sentence: {text}")

    In a pipeline, where the node's input fills the parameter ``prompt``:

    >>> Pipeline.from_dict(
    ...     {"summary": {"model": "llm", "input": {"prompt": {"from": "input.text"}}}},
    ...     models={"llm": llm},
    ...     name="summary",
    ... )
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        stream: bool = False,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: Duration | None = None,
        system: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if not model:
            raise DeclarationError("a model has a name")
        self.model, self.system, self.stream = model, system, stream
        self._base_url, self._api_key = base_url and _url(base_url), api_key
        self._limit = None if timeout is None else seconds(timeout)
        if self._limit == 0:
            raise DeclarationError("timeout is more than 0, or None for no limit")
        self._max_tokens = max_tokens
        given = {"temperature": temperature, "max_tokens": max_tokens, "timeout": self._limit}
        self._request: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._request |= {"model": model, "extra_body": dict(extra or {})}
        if stream:
            self._request |= {"stream": True, "stream_options": {"include_usage": True}}

    async def __call__(self, prompt: Prompt, feedback: str | None = None) -> str:
        """The same as ``ask``: what a pipeline calls."""
        return (await self.reply(prompt, feedback=feedback)).text

    async def ask(
        self, prompt: Prompt, *, feedback: str | None = None, on_text: Callable[[str], object] | None = None
    ) -> str:
        """The text of the model's answer.

        Args:
            prompt: text, or messages with ``role`` and ``content``.
            feedback: why the last answer was refused, as a step's parameter of that name has it: told to the model
                after the prompt. A failure that the model can do nothing about, such as HTTP 429, is not told.
            on_text: called with each piece of the answer as it comes; with ``stream=False`` once, with all of it. For
                progress only: pieces of an answer that fails later have been seen. What it raises is logged.

        Raises:
            ModelError: there is no answer that can be used; see ``segue.models.errors`` for the kinds.
            UsageError: the openai package is missing, the prompt or the key is of a wrong form, or this is a flow's
                body and no step.

        >>> await llm.ask("Name a river.", on_text=print)
        'Avon'
        """
        return (await self.reply(prompt, feedback=feedback, on_text=on_text)).text

    async def reply(
        self, prompt: Prompt, *, feedback: str | None = None, on_text: Callable[[str], object] | None = None
    ) -> Reply:
        """The answer with the model's name and the tokens that it took. Arguments and errors are those of ``ask``.

        >>> @step
        ... async def summary(text: str) -> Reply:
        ...     return await llm.reply(f"Summarise: {text}")
        """
        if place() is not None:
            raise NotInFlow(f"a flow's body cannot ask {self!r}: it would ask again at every replay. Ask in a @step")
        messages, key = self._messages(prompt, feedback), self._key()
        headers = {"Authorization": f"Bearer {key or NO_KEY}"}
        endpoint = Endpoint(self.model, self._where(), key)
        answer = Answer(endpoint, self._max_tokens, on_text)
        client = await client_of(endpoint.base_url)
        try:
            async with asyncio.timeout(self._limit):
                await _exchange(client, {**self._request, "messages": messages, "extra_headers": headers}, answer)
        except SegueError:
            raise
        except Refused as refused:
            raise endpoint.refusal(refused.status, refused.body, refused.wait) from None
        except TimeoutError:
            raise endpoint.error(ModelTimedOut, f"no answer within {self._limit:g} s") from None
        except Exception as error:
            if (failure := _failure(error, answer)) is None:
                raise
            raise failure from None
        return answer.reply()

    def __repr__(self) -> str:
        return f"ChatModel({self.model!r}, base_url={self._where()!r})"

    def _where(self) -> str:
        return self._base_url or _url(os.environ.get("OPENAI_BASE_URL") or _OPENAI)

    def _key(self) -> str:
        key = (os.environ.get("OPENAI_API_KEY", "") if self._api_key is None else self._api_key).strip()
        if not (key.isascii() and key.isprintable()):  # the error of a header that cannot be would show it
            raise UsageError(f"the api key for {self!r} has characters that no HTTP header can carry")
        return key

    def _messages(self, prompt: Prompt, feedback: str | None) -> list[dict[str, Any]]:
        given: Any = prompt
        if isinstance(given, str):
            messages: list[dict[str, Any]] = [{"role": "user", "content": given}]
        elif isinstance(given, list | tuple) and all(
            isinstance(m, Mapping) and "role" in m for m in cast("Any", given)
        ):
            messages = [dict(message) for message in cast("Any", given)]
        else:
            raise UsageError(
                f"{self!r} is asked with text or a list of messages with role and content, not {given!r:.200}"
            )
        if self.system is not None and not any(m["role"] in ("system", "developer") for m in messages):
            messages.insert(0, {"role": "system", "content": self.system})
        if feedback is not None and feedback.startswith(_FOR_THE_MODEL):
            told = f"Your last answer was refused, answer again without that fault: {feedback}"
            last = messages[-1] if messages else {}
            if last.get("role") == "user" and isinstance(last.get("content"), str):  # some take no two in a row
                last["content"] += f"\n\n{told}"
            else:
                messages.append({"role": "user", "content": told})
        return messages


def _url(base_url: str) -> str:
    """A base URL that may be shown: clients log it.

    Raises:
        DeclarationError: it is none.
    """
    with suppress(ValueError):
        parts = urlsplit(base_url)
        if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and not parts.query:
            return base_url.rstrip("/")
    raise DeclarationError("base_url is a URL such as 'http://127.0.0.1:8000/v1', without a password or parameters")


async def _exchange(client: Any, request: dict[str, Any], answer: Answer) -> None:
    """Make one request, and read what comes into the answer."""
    async with client.chat.completions.with_streaming_response.create(**request) as response:
        streams = response.headers.get("content-type", "").lower().startswith("text/event-stream")
        rest = bytearray()
        try:
            async with asyncio.timeout(None) as patience, aclosing(response.iter_bytes()) as chunks:
                async for chunk in chunks:
                    rest += chunk
                    if streams:
                        *lines, rest = rest.split(b"\n")
                        for line in lines:
                            answer.line(line)
                    if answer.done:
                        patience.reschedule(asyncio.get_running_loop().time() + _REST)
                    if len(rest) > LONGEST:
                        problem = f"more than {LONGEST:,} bytes came, and no end"
                        raise answer.endpoint.error(NotTheProtocol, problem, status=response.status_code, raw=rest)
        except Exception:
            if not answer.complete:
                raise
    if not streams:
        answer.body(rest)


def _failure(error: Exception, answer: Answer) -> ModelError | None:
    """Our error for one of the client's, or None if that is no trouble with the connection."""
    cause = error.__cause__ or error
    kinds = {base.__name__ for base in (*type(error).__mro__, *type(cause).__mro__)}
    what = f"{type(cause).__name__}: {cause}".removesuffix(": ")
    if kinds & {"APITimeoutError", "TimeoutException"}:
        return answer.endpoint.error(ModelTimedOut, f"no answer in time ({what})")
    if not kinds & _TROUBLE:
        return None
    if answer.text:
        return answer.cut_off(what)
    return answer.endpoint.error(ModelUnavailable, f"no connection, or it broke: {what}. Is the endpoint running?")
