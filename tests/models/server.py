"""A real HTTP server on this loop that speaks, or breaks, the chat-completions protocol as a test scripts it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple


class Request(NamedTuple):
    """What the server got."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    keys: list[str]


class Reply(NamedTuple):
    """What the server sends, and what it does then.

    Attributes:
        sends: pieces, sent one by one.
        then: the connection is kept, closed, or left open without an end until the client goes.
    """

    sends: list[bytes]
    then: str = "keep"


def http(
    body: bytes | str | list[bytes],
    *,
    status: int = 200,
    type: str = "application/json",
    then: str = "keep",
    **headers: str,
) -> Reply:
    """A response: of known length, or in chunks where the body is a list of pieces."""
    head = [f"HTTP/1.1 {status} Said", f"content-type: {type}"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if isinstance(body, list):
        pieces = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in body]
        head.append("transfer-encoding: chunked")
        if then == "keep":
            pieces.append(b"0\r\n\r\n")
    else:
        pieces = [body.encode() if isinstance(body, str) else body]
        head.append(f"content-length: {len(pieces[0])}")
    return Reply(["\r\n".join([*head, "", ""]).encode(), *pieces], then)


def completion(content: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    """A chat completion as OpenAI's servers send it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-x-2026",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
        **more,
    }


def says(content: Any, finish: Any = "stop", **more: Any) -> Reply:
    """A plain answer."""
    return http(json.dumps(completion(content, finish, **more)))


def piece(content: str | None, finish: str | None = None) -> dict[str, Any]:
    """A piece of a streamed answer."""
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "model": "gpt-x-2026", "choices": [choice]}


def event(data: Any) -> bytes:
    """A server-sent event."""
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def streams(*events: Any, then: str = "keep") -> Reply:
    """An answer as server-sent events, each sent in a chunk of its own."""
    return http([e if isinstance(e, bytes) else event(e) for e in events], type="text/event-stream", then=then)


NEVER = Reply([], "hang")


class Server:
    """Answers each request with the next reply of its script.

    Attributes:
        requests: what came, in order.
        connections: how many were opened.
        asked: a request has come.
        gone: a client has closed its connection.
    """

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.requests: list[Request] = []
        self.connections = 0
        self.asked, self.gone = asyncio.Event(), asyncio.Event()
        self.url = ""
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    def will(self, *replies: Reply) -> None:
        """Answer the next requests like this."""
        self.script += replies

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._open[writer] = task
        self.connections += 1
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                self.asked.set()
                reply = self.script.pop(0)
                for data in reply.sends:
                    writer.write(data)
                    await writer.drain()
                if reply.then == "hang":
                    await reader.read()
                    break
                if reply.then == "close":
                    break
        except ConnectionError:
            pass
        finally:
            self.gone.set()
            writer.close()
            self._open.pop(writer, None)

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        except asyncio.IncompleteReadError:
            return None
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        keys = [value for name, value in pairs if name.lower() == "authorization"]
        return Request(head[0].split(" ")[1], headers, json.loads(body or b"{}"), keys)

    async def end(self) -> None:
        """End each connection."""
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*self._open.values())


@contextlib.asynccontextmanager
async def serving() -> AsyncGenerator[Server, None]:
    """A server on a free port of this machine."""
    server = Server()
    async with AsyncExitStack() as stack:
        listening = await stack.enter_async_context(await asyncio.start_server(server.serve, "127.0.0.1", 0))
        stack.push_async_callback(server.end)
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        yield server
