"""``ChatModel`` against a real server on this machine, which speaks the protocol or breaks it."""

import asyncio
import gc
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import pytest

import segue
from segue import (
    Engine,
    Permanent,
    Pipeline,
    Retry,
    RunFailed,
    UsageError,
    flow,
    step,
)
from segue.errors import DeclarationError
from segue.models import (
    AnswerCutOff,
    ChatModel,
    ContentFiltered,
    EmptyAnswer,
    LengthReached,
    ModelError,
    ModelRefused,
    ModelTimedOut,
    ModelUnavailable,
    NotTheProtocol,
    Reply,
    connections,
)
from segue.models import chat as chats

from ..stage import asynchronous
from . import server as servers
from .server import NEVER, Server, completion, event, http, piece, says, serving, streams

CANARY = "sk-canary-0123456789abcdef"

DEEP = b'{"choices": ' + b"[" * 100_000
"""Nested far too deeply."""


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def with_server(test: Callable[[Server], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """An async test that is given a server."""

    @asynchronous
    async def run() -> None:
        async with serving() as server:
            await test(server)

    run.__name__ = test.__name__
    return run


async def refused(reply: servers.Reply, kind: type[ModelError] = ModelError, **options: Any) -> Any:
    """The error that this reply leads to. The endpoint is asked once."""
    async with serving() as server:
        server.will(reply)
        with pytest.raises(kind) as caught:
            await ChatModel("gpt-x", base_url=server.url, **options).ask("Name a river.")
        assert len(server.requests) == 1, "retries are the step's"
        error = caught.value
        assert (error.model, error.base_url) == ("gpt-x", server.url)
        assert str(error).startswith(f"gpt-x at {server.url}: ")
        assert len(str(error)) < 1_000
        assert len(error.raw) <= 2_000
        assert error.__suppress_context__ or error.__context__ is None, "the client's errors say nothing to users"
        return error


# Asking


@with_server
async def test_a_question_gets_its_answer(server: Server) -> None:
    llm = ChatModel("gpt-x", base_url=server.url)
    server.will(says("Avon"), says("Exe"), says("Dart"))
    assert await llm.ask("Name a river.") == "Avon"
    assert await llm("Another.") == "Exe"
    assert await llm.reply("Another.") == Reply("Dart", "gpt-x-2026", "stop", 9, 2)
    first = server.requests[0]
    assert first.path == "/v1/chat/completions"
    assert first.body == {"model": "gpt-x", "messages": [{"role": "user", "content": "Name a river."}]}
    assert server.connections == 1


@with_server
async def test_what_is_set_is_sent(server: Server) -> None:
    extra = {"seed": 7, "response_format": {"type": "json_object"}}
    llm = ChatModel("m", base_url=server.url, temperature=0, max_tokens=50, system="Be brief.", extra=extra)
    server.will(says("a"), says("b"))
    await llm.ask("Name a river.")
    assert server.requests[0].body == {
        "model": "m",
        "temperature": 0,
        "max_tokens": 50,
        "seed": 7,
        "response_format": {"type": "json_object"},
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}],
    }
    own = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "Name a river."}]
    await llm.ask(own)
    assert server.requests[1].body["messages"] == own, "the messages' own system comes first"
    assert own == [{"role": "system", "content": "Be long."}, {"role": "user", "content": "Name a river."}]


@pytest.mark.parametrize("prompt", [None, 5, {"role": "user"}, ["Name a river."], [{"content": "no role"}], b"bytes"])
@asynchronous
async def test_a_prompt_is_text_or_messages(prompt: Any) -> None:
    with pytest.raises(UsageError, match="is asked with text or a list of messages"):
        await ChatModel("m", base_url="http://127.0.0.1:1/v1").ask(prompt)


@pytest.mark.parametrize(
    ("feedback", "told"),
    [
        (None, False),
        ("CheckFailed: the result of step 'x' does not pass short: too long", True),
        ("InvalidResult: the result of step 'x' is not what it declares", True),
        ("LengthReached: …", True),
        ("ModelUnavailable: m at …: HTTP 429: slow down", False),
        ("StepTimedOut: …", False),
    ],
)
def test_feedback_is_told_where_the_model_can_do_something_about_it(feedback: str | None, told: bool) -> None:
    @with_server
    async def test(server: Server) -> None:
        llm = ChatModel("m", base_url=server.url)
        server.will(says("a"), says("b"))
        await llm("Name a river.", feedback)
        await llm.ask(
            [{"role": "user", "content": "A river?"}, {"role": "assistant", "content": "A"}], feedback=feedback
        )
        (alone,), last = server.requests[0].body["messages"], server.requests[1].body["messages"][-1]
        assert (str(feedback) in alone["content"]) is told
        assert alone["content"].startswith("Name a river.")
        assert (str(feedback) in last["content"]) is told
        assert last["role"] == ("user" if told else "assistant")

    test()


@with_server
async def test_a_redirect_is_followed(server: Server) -> None:
    server.will(http("", status=307, location="/v1/elsewhere"), says("Avon"))
    assert await ChatModel("m", base_url=server.url).ask("Name a river.") == "Avon"
    assert server.requests[1].path == "/v1/elsewhere"


@pytest.mark.parametrize(
    "options",
    [
        {"model": ""},
        {"timeout": 0},
        {"timeout": "soon"},
        {"base_url": "127.0.0.1:8000/v1"},
        {"base_url": f"user:{CANARY}@host/v1"},
        {"base_url": f"http://user:{CANARY}@host/v1"},
        {"base_url": f"http://host/v1?key={CANARY}"},
        {"base_url": "http://"},
        {"base_url": "http://[::1/v1"},
        {"base_url": "ftp://host/v1"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_when_it_is_made(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError) as caught:
        ChatModel(options.pop("model", "m"), **options)
    assert CANARY not in str(caught.value)


# The key


@with_server
async def test_the_key_is_looked_up_when_it_is_needed(server: Server) -> None:
    server.will(*(says("x") for _ in range(4)))
    with pytest.MonkeyPatch.context() as patch:
        llm = ChatModel("m", base_url=server.url)
        await llm.ask("?")
        patch.setenv("OPENAI_API_KEY", f"{CANARY}\n")
        await llm.ask("?")
        patch.setenv("OPENAI_BASE_URL", server.url)
        await ChatModel("m", api_key="sk-mine").ask("?")
        await ChatModel("m", base_url=server.url, api_key="").ask("?")
    keys = [request.keys for request in server.requests]
    assert keys == [["Bearer none"], [f"Bearer {CANARY}"], ["Bearer sk-mine"], ["Bearer none"]]


@pytest.mark.parametrize("key", [f"{CANARY}\nx", f"{CANARY}–"])
@asynchronous
async def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UsageError, match="no HTTP header can carry") as caught:
        await ChatModel("m", base_url="http://127.0.0.1:1/v1", api_key=key).ask("?")
    assert CANARY not in str(caught.value)


ECHO = json.dumps({"error": {"message": f"Incorrect API key provided: {CANARY}", "key": CANARY}})


@pytest.mark.parametrize(
    "reply",
    [
        http(ECHO, status=401),
        http(ECHO, status=500),
        http(ECHO),
        http(f"<html>{CANARY}"),
        says(CANARY, "length"),
        streams(piece(CANARY)),
        streams(f"{{{CANARY}"),
        http([CANARY.encode()], then="close"),
        servers.Reply([f"{CANARY}\r\n\r\n".encode()], "close"),
    ],
    ids=str,
)
def test_the_key_never_shows_even_if_the_endpoint_says_it(
    reply: servers.Reply, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    @step(name=f"leak {id(reply)}")
    async def leak(url: str) -> str:
        llm = ChatModel("m", base_url=url, api_key=CANARY)
        assert CANARY not in repr(llm)
        return await llm.ask("?")

    @flow(name=f"leaking {id(reply)}")
    async def leaking(url: str) -> str:
        return await leak(url)

    @with_server
    async def test(server: Server) -> None:
        server.will(reply)
        async with Engine("memory:"):
            with pytest.raises(RunFailed) as caught:
                await leaking(server.url)
        failure = caught.value.error
        assert "StepFailed" in str(failure)
        assert CANARY not in repr(failure)

    test()
    assert CANARY not in caplog.text


def test_no_log_shows_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    @with_server
    async def test(server: Server) -> None:
        llm = ChatModel("m", base_url=server.url, api_key=CANARY)
        server.will(says("Avon"), http("{}", status=401), servers.Reply([], "close"))
        await llm.ask("?")
        for _ in range(2):
            with pytest.raises(ModelError):
                await llm.ask("?")

    test()
    assert "openai" in {record.name.partition(".")[0] for record in caplog.records}
    assert CANARY not in caplog.text


# Statuses


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
@asynchronous
async def test_what_may_pass_is_worth_another_try(status: int) -> None:
    error = await refused(http('{"error": {"message": "slow down"}}', status=status), ModelUnavailable)
    assert segue.transient(error)
    assert not isinstance(error, Permanent)
    assert (error.status, error.retry_after) == (status, None)
    assert f"HTTP {status}: slow down (" in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
@asynchronous
async def test_what_will_not_pass_is_permanent(status: int) -> None:
    error = await refused(http('{"error": {"message": "no"}}', status=status), ModelRefused)
    assert issubclass(type(error), Permanent)
    assert not segue.transient(error)
    assert (error.status, error.raw) == (status, '{"error": {"message": "no"}}')


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": {"message": "no such model"}}', "no such model"),
        ('{"error": "model \'x\' not found"}', "model 'x' not found"),
        ('{"object": "error", "message": "too long"}', "too long"),
        ('{"detail": [{"loc": ["body"]}]}', '[{"loc": ["body"]}]'),
        ('{"odd": 1}', '{"odd": 1}'),
        ("<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        ("", "nothing more was said"),
        ("x" * 5_000, "x" * 300 + "… (5,000 characters)"),
        ("[" * 60_000, "[" * 300 + "… (60,000 characters)"),
    ],
)
@asynchronous
async def test_an_error_says_what_the_endpoint_said_and_what_to_do(body: str, said: str) -> None:
    error = await refused(http(body, status=404))
    there = "there is no such model, or base_url is wrong: it often ends in /v1"
    assert str(error).endswith(f": HTTP 404: {said} ({there})")


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"retry_after": "7"}, 7, 7),
        ({"retry_after": "0.5"}, 0.5, 0.5),
        ({"retry_after_ms": "1500", "retry_after": "7"}, 1.5, 1.5),
        ({"retry_after": formatdate(4_000_000_000, usegmt=True)}, 1e9, 4e9),
        ({"retry_after": formatdate(0, usegmt=True)}, 0, 0),
        ({"retry_after": "-3"}, 0, 0),
        ({"retry_after": "soon"}, None, None),
        ({"retry_after": "nan"}, None, None),
        ({"retry_after": "Thu, 99 Jan 2026 00:00:00 GMT"}, None, None),
        ({"retry_after_ms": "soon", "retry_after": "7"}, 7, 7),
    ],
)
@asynchronous
async def test_how_long_to_wait_is_kept(headers: dict[str, str], least: float | None, most: float | None) -> None:
    error = await refused(http("{}", status=429, **headers))
    if least is None or most is None:
        assert error.retry_after is None
    else:
        assert least <= error.retry_after <= most


@asynchronous
async def test_a_refusal_without_an_end_is_not_read_to_it() -> None:
    error = await refused(http([b"x" * 70_000], status=500, then="hang"))
    assert error.status == 500


@asynchronous
async def test_a_refusal_that_breaks_off_is_still_one() -> None:
    assert (await refused(http([b"no such"], status=404, then="close"), ModelRefused)).raw == "no such"


# No answer


@asynchronous
async def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        llm = ChatModel("m", base_url=f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
        with pytest.raises(
            ModelUnavailable, match=r"no connection, or it broke: ConnectError.* Is the endpoint running"
        ) as caught:
            await llm.ask("?")
    assert segue.transient(caught.value)
    assert caught.value.status is None


@pytest.mark.parametrize("reply", [servers.Reply([], "close"), servers.Reply([b"SSH-2.0\r\n\r\n"], "close")], ids=str)
@asynchronous
async def test_a_connection_that_breaks(reply: servers.Reply) -> None:
    assert segue.transient(await refused(reply, ModelUnavailable))


@asynchronous
async def test_a_body_that_breaks_off() -> None:
    error = await refused(http([json.dumps(completion("Avon")).encode()[:90]], then="close"), ModelUnavailable)
    assert segue.transient(error)
    assert "RemoteProtocolError" in str(error)


@with_server
async def test_a_timeout_of_its_own_ends_the_request(server: Server) -> None:
    server.will(NEVER)  # asked, since loading the package does not count
    with pytest.raises(ModelTimedOut, match=r"no answer within 0\.05 s") as caught:
        await ChatModel("m", base_url=server.url, timeout="50ms").ask("?")
    assert isinstance(caught.value, TimeoutError)
    assert segue.transient(caught.value)
    await server.gone.wait()


@with_server
async def test_a_cancelled_call_ends_the_request(server: Server) -> None:
    server.will(NEVER)
    call = asyncio.create_task(ChatModel("m", base_url=server.url).ask("?"))
    await server.asked.wait()
    assert not server.gone.is_set()
    call.cancel()
    await server.gone.wait()
    with pytest.raises(asyncio.CancelledError):
        await call


@step(timeout="50ms")
async def patient(url: str, stream: bool) -> str:
    return await ChatModel("m", base_url=url, stream=stream).ask("?")


@flow
async def waiting(url: str, stream: bool) -> str:
    return await patient(url, stream)


@pytest.mark.parametrize("reply", [NEVER, streams(piece("Av"), then="hang")], ids=["silent", "half"])
@asynchronous
async def test_a_steps_timeout_ends_the_request(reply: servers.Reply) -> None:
    async with serving() as server, Engine("memory:"):
        server.will(says("x"), reply)
        await ChatModel("m", base_url=server.url).ask("?")  # or all of the time would go into loading the package
        with pytest.raises(RunFailed, match="StepTimedOut"):
            await waiting(server.url, reply is not NEVER)
        await server.gone.wait()
        assert len(server.requests) == 2


@with_server
async def test_a_mistake_of_the_callers_is_no_trouble_with_the_connection(server: Server) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        await ChatModel("m", base_url=server.url).ask([{"role": "user", "content": object()}])
    assert server.requests == []


# Not what the protocol says


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><h1>Welcome</h1></html>", "JSON is malformed: invalid character (byte 0). It was '<html><h1>Welcome"),
        (b"", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`. It was '[]'"),
        (b"{}", "the body has no choices. It was '{}'"),
        (b'{"choices": []}', "the body has no choices"),
        (b'{"choices": null}', "the body has no choices"),
        (b'{"choices": {}}', "Expected `array | null`, got `object` - at `$.choices`"),
        (b'{"choices": ["Avon"]}', "Expected `object`, got `str` - at `$.choices["),
        (
            json.dumps(completion(["Avon"])).encode(),
            "Expected `str | null`, got `array` - at `$.choices[",
        ),
        (json.dumps(completion("Avon")).encode()[:60], "Input data was truncated"),
        (b'{"choices": "\xff"}', "the body is not a chat completion"),
        (DEEP, "the body is not a chat completion"),
    ],
    ids=lambda given: repr(given)[:40],
)
@asynchronous
async def test_a_body_that_is_no_chat_completion_is_shown(body: bytes, said: str) -> None:
    error = await refused(http(body), NotTheProtocol)
    assert said in str(error)
    assert error.status == 200
    assert error.raw == body.decode("utf-8", "backslashreplace")[:2_000]
    assert not segue.transient(error)


@pytest.mark.parametrize("type", ["application/json", "text/event-stream"])
@asynchronous
async def test_a_body_without_end_is_given_up(type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chats, "LONGEST", 100_000)
    error = await refused(http([b"x" * 60_000] * 2, type=type, then="hang"), NotTheProtocol)
    assert "more than 100,000 bytes came, and no end. It was 'xxx" in str(error)


@asynchronous
async def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segue.models.protocol.LONGEST", 1_000)
    error = await refused(streams(*[piece("word " * 50)] * 6, then="hang"), NotTheProtocol)
    assert "the answer is longer than 1,000 characters" in str(error)


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"message": "overloaded", "code": 429}, ModelUnavailable, 429),
        ({"message": "too long", "code": 400}, ModelRefused, 400),
        ({"message": "it broke", "code": "server_error"}, ModelUnavailable, None),
        ("it broke", ModelUnavailable, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
@asynchronous
async def test_an_error_in_the_place_of_an_answer(error: Any, kind: Any, status: int | None, stream: bool) -> None:
    body = {"error": error}
    found = await refused(streams(piece("Av"), body) if stream else http(json.dumps(body)), kind)
    assert found.status == status
    assert (error if isinstance(error, str) else error["message"]) in str(found)


# Answers that are none


@pytest.mark.parametrize("text", [None, "", " \n"])
@asynchronous
async def test_an_empty_answer(text: str | None) -> None:
    error = await refused(says(text, "tool_calls"), EmptyAnswer)
    assert "the answer is empty (finish_reason 'tool_calls', 2 tokens)" in str(error)


@pytest.mark.parametrize("stream", [False, True])
@asynchronous
async def test_an_answer_that_reached_max_tokens(stream: bool) -> None:
    reply = streams(piece("Av"), piece(None, "length"), "[DONE]") if stream else says("Av", "length")
    error = await refused(reply, LengthReached, max_tokens=1)
    assert "cut off after 2 characters by max_tokens=1: allow more, or ask for less" in str(error)
    assert error.raw == "Av"
    assert "by the limit that the endpoint sets" in str(await refused(reply, LengthReached))


@asynchronous
async def test_a_declined_answer() -> None:
    error = await refused(says("", "content_filter"), ContentFiltered)
    assert "it declined to answer (finish_reason 'content_filter')" in str(error)
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    error = await refused(http(json.dumps(body)), ContentFiltered)
    assert error.raw == "I cannot help with that."


@with_server
async def test_what_only_informs_may_be_anything(server: Server) -> None:
    server.will(says("a", None, usage="?", model=7), says("b", "stop", usage={"prompt_tokens": "9"}, error=None))
    llm = ChatModel("m", base_url=server.url)
    assert await llm.reply("?") == Reply("a", "m", "", None, None)
    assert await llm.reply("?") == Reply("b", "gpt-x-2026", "stop", None, None)


# Streams

USAGE: dict[str, Any] = {"choices": [], "model": "gpt-x-2026", "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


@with_server
async def test_a_stream_is_joined_and_its_pieces_are_told(server: Server) -> None:
    llm = ChatModel("gpt-x", base_url=server.url, stream=True)
    pieces: list[Any] = [piece(""), piece("Av"), piece("on"), piece(None, "stop"), USAGE, "[DONE]"]
    server.will(streams(*pieces), streams(*pieces))
    heard: list[str] = []
    assert await llm.reply("?", on_text=heard.append) == Reply("Avon", "gpt-x-2026", "stop", 9, 2)
    assert heard == ["Av", "on"]
    sent = server.requests[0].body
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    assert await llm.ask("?") == "Avon"
    assert server.connections == 1, "the connection is used again"


@with_server
async def test_a_plain_answer_is_told_at_once(server: Server) -> None:
    server.will(says("Avon"))
    heard: list[str] = []
    await ChatModel("m", base_url=server.url).ask("?", on_text=heard.append)
    assert heard == ["Avon"]


def test_who_listens_cannot_break_the_call(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def listen(text: str) -> None:
        heard.append(text)
        raise ValueError("the terminal is gone")

    @with_server
    async def test(server: Server) -> None:
        server.will(streams(piece("Av"), piece("on", "stop"), "[DONE]"))
        assert await ChatModel("m", base_url=server.url, stream=True).ask("?", on_text=listen) == "Avon"

    test()
    assert heard == ["Av"]
    assert "the terminal is gone" in caplog.text


@with_server
async def test_a_stream_may_be_cut_anywhere_and_hold_more_than_data(server: Server) -> None:
    said = "Ävon – 川"
    lines = b": hello\r\n\r\nevent: message\r\nid: 1\r\n" + event(json.dumps(piece(said), ensure_ascii=False))
    lines += b"retry: 5\r\n\r\ndata:" + json.dumps(piece(None, "stop")).encode() + b"\r\n\r\ndata: [DONE]\r\n\r\n"
    server.will(streams(*(bytes([byte]) for byte in lines)), streams(lines))
    llm = ChatModel("m", base_url=server.url, stream=True)
    assert [await llm.ask("?"), await llm.ask("?")] == [said, said]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (streams(piece("Av")), "the stream ended without a finish_reason"),
        (streams(piece("Av"), "[DONE]"), "the stream ended without a finish_reason"),
        (streams(piece("Av"), b'data: {"choices": [{"index"'), "the stream ended without a finish_reason"),
        (streams(piece("Av"), then="close"), "RemoteProtocolError: peer closed connection"),
    ],
    ids=["ended", "done", "half", "broke"],
)
@asynchronous
async def test_a_stream_that_is_cut_off(reply: servers.Reply, why: str) -> None:
    error = await refused(reply, AnswerCutOff, stream=True)
    assert f"the answer was cut off after 2 characters: {why}" in str(error)
    assert error.raw == "Av"
    assert segue.transient(error)


@asynchronous
async def test_a_stream_without_anything_is_cut_off() -> None:
    assert "after 0 characters" in str(await refused(streams(), AnswerCutOff, stream=True))


@pytest.mark.parametrize(
    ("then", "done"), [("keep", True), ("close", True), ("hang", True), ("keep", False), ("close", False)]
)
@asynchronous
async def test_nothing_after_the_answer_matters(then: str, done: bool) -> None:
    async with serving() as server:
        server.will(streams(piece("Avon", "stop"), *(["[DONE]", "{"] if done else []), then=then))
        assert await ChatModel("m", base_url=server.url, stream=True).ask("?") == "Avon"


@asynchronous
async def test_an_event_that_is_malformed_is_shown() -> None:
    error = await refused(streams(piece("Av"), '{"choices": [{"delta"'), NotTheProtocol, stream=True)
    assert "an event of the stream is not a chat completion" in str(error)
    assert error.raw == '{"choices": [{"delta"'
    assert "an event of the stream has no choices" in str(
        await refused(streams({"odd": 1}), NotTheProtocol, stream=True)
    )


@asynchronous
async def test_a_page_in_the_place_of_a_stream_is_shown() -> None:
    error = await refused(http("<html>Log in</html>", type="text/html"), NotTheProtocol, stream=True)
    assert error.raw == "<html>Log in</html>"


@with_server
async def test_an_endpoint_that_does_not_stream(server: Server) -> None:
    server.will(says("Avon"))
    assert await ChatModel("m", base_url=server.url, stream=True).ask("?") == "Avon"


# Connections


@with_server
async def test_models_of_one_endpoint_share_their_loops_connections(server: Server) -> None:
    server.will(*(says("x") for _ in range(22)))
    await ChatModel("a", base_url=server.url).ask("?")
    await ChatModel("b", base_url=f"{server.url}/", api_key=CANARY, timeout="1m").ask("?")
    assert server.connections == 1
    assert await asyncio.gather(*(ChatModel("c", base_url=server.url).ask("?") for _ in range(20))) == ["x"] * 20
    assert [list(c.made) for c in connections._of_loops.values()] == [[server.url]]  # pyright: ignore[reportPrivateUsage]


@with_server
async def test_many_first_calls_make_one_client(server: Server) -> None:
    server.will(*(says("x") for _ in range(20)))
    llm = ChatModel("m", base_url=server.url)
    made: list[str] = []
    new = connections._new  # pyright: ignore[reportPrivateUsage]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "_new", lambda url: (made.append(url), new(url))[1])  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        assert await asyncio.gather(*(llm.ask("?") for _ in range(20))) == ["x"] * 20
    assert made == [server.url]


@with_server
async def test_each_loop_has_connections_of_its_own_that_end_with_it(server: Server) -> None:
    llm = ChatModel("m", base_url=server.url)
    server.will(says("a"), says("b"), says("c"))
    assert await llm.ask("?") == "a"
    assert await asyncio.to_thread(lambda: asyncio.run(llm.ask("?"))) == "b"
    await server.gone.wait()
    gc.collect()
    assert await llm.ask("?") == "c"
    assert server.connections == 2
    assert len(connections._of_loops) == 1  # pyright: ignore[reportPrivateUsage]


@with_server
async def test_a_loop_that_was_not_told_to_end_is_forgotten(server: Server) -> None:
    def lose() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(connections.client_of(server.url))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    await asyncio.to_thread(lose)
    server.will(says("a"))
    await ChatModel("m", base_url=server.url).ask("?")
    assert list(connections._of_loops) == [asyncio.get_running_loop()]  # pyright: ignore[reportPrivateUsage]


# The package


def test_nothing_is_imported_before_it_is_asked() -> None:
    code = (
        "import sys; from segue.models import ChatModel; ChatModel('m'); print({'openai', 'httpx2'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@asynchronous
async def test_a_missing_package_is_named() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "openai", None)
        with pytest.raises(UsageError, match=r"pip install 'segue\[openai\]'"):
            await ChatModel("m", base_url="http://127.0.0.1:1/v1").ask("?")


# In steps, flows and pipelines


@dataclass(frozen=True)
class River:
    name: str
    length: int


@step(retry=Retry(2, backoff="1ms"), parse="json", timeout="10s")
async def river(url: str, feedback: str | None = None) -> River:
    return await ChatModel("m", base_url=url).ask("Name a river, as JSON.", feedback=feedback)  # type: ignore[return-value]


@flow
async def rivers(url: str) -> River:
    return await river(url)


@with_server
async def test_a_step_heals_after_a_429_and_a_malformed_answer(server: Server) -> None:
    server.will(
        http('{"error": {"message": "slow down"}}', status=429, retry_after="0.01"),
        says('{"name": "Avon", "length": "long"}'),
        says('```json\n{"name": "Avon", "length": 134}\n```'),
    )
    async with Engine("memory:"):
        assert await rivers(server.url) == River("Avon", 134)
    prompts = [request.body["messages"][0]["content"] for request in server.requests]
    assert prompts[0] == prompts[1] == "Name a river, as JSON.", "the model can do nothing about a 429"
    assert "Expected `int`, got `str`" in prompts[2] or "length" in prompts[2]


@with_server
async def test_what_is_permanent_is_not_retried(server: Server) -> None:
    server.will(http("{}", status=401))
    async with Engine("memory:"):
        with pytest.raises(RunFailed, match="give api_key, or set OPENAI_API_KEY"):
            await rivers(server.url)
    assert len(server.requests) == 1


@step
async def counted(url: str) -> Reply:
    return await ChatModel("m", base_url=url).reply("Name a river.")


@flow
async def counting(url: str) -> Reply:
    return await counted(url)


@with_server
async def test_a_reply_is_a_result(server: Server) -> None:
    server.will(says("Avon"))
    async with Engine("memory:"):
        assert await counting(server.url) == Reply("Avon", "gpt-x-2026", "stop", 9, 2)


@flow
async def careless(url: str) -> str:
    return await ChatModel("m", base_url=url).ask("?")


@with_server
async def test_a_flows_body_cannot_ask(server: Server) -> None:
    async with Engine("memory:"):
        with pytest.raises(RunFailed, match="NotInFlow: a flow's body cannot ask ChatModel"):
            await careless(server.url)
    assert server.requests == []


def is_short(summary: str) -> bool:
    return len(summary) < 10


@with_server
async def test_a_pipeline_names_it(server: Server) -> None:
    llm = ChatModel("m", base_url=server.url, system="Summarise.")
    pipeline = Pipeline.from_dict(
        {
            "summary": {
                "model": "llm",
                "input": {"prompt": {"from": "input.text"}},
                "retry": 1,
                "timeout": "10s",
                "check": "short",
            },
            "title": {"model": "llm", "depends_on": ["summary"], "input": {"prompt": {"from": "summary"}}},
        },
        models={"llm": llm},
        predicates={"short": is_short},
        name="models",
    )
    server.will(says("Far too long a summary"), says("Rivers."), says("R"))
    async with Engine("memory:"):
        assert await pipeline({"text": "A long text."}) == {"summary": "Rivers.", "title": "R"}
    prompts = [request.body["messages"][1]["content"] for request in server.requests]
    assert (prompts[0], prompts[2]) == ("A long text.", "Rivers.")
    assert prompts[1].startswith("A long text.\n\nYour last answer was refused, answer again without that fault: ")
