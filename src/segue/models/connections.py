"""One client for each event loop and endpoint, shared by all models of it, and closed when the loop ends."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from segue.errors import UsageError
from segue.models.protocol import wait_said

if TYPE_CHECKING:
    from openai import AsyncOpenAI

NO_KEY = "none"
"""Local servers want no key, and the protocol has a place for one. Real ones travel with each request."""

_CONNECT = 10.0  # seconds
_SILENCE = 600.0  # seconds without a byte, as the openai package has it
_LONGEST_REFUSAL = 64 << 10


class Refused(Exception):
    """The endpoint answered with an HTTP status that is no success.

    Attributes:
        wait: seconds after which to try again, if the endpoint said so.
        body: what came with it, 64 KiB at most.
    """

    def __init__(self, status: int, wait: float | None, body: bytes) -> None:
        self.status, self.wait, self.body = status, wait, body
        super().__init__(status)


class _Clients:
    """Those of one loop, by base URL."""

    def __init__(self) -> None:
        self.made: dict[str, AsyncOpenAI] = {}
        self._making = threading.Lock()
        self._end = self._until_the_end()

    async def open(self) -> None:
        """From here on the loop closes them at its end, as it closes all async generators."""
        await anext(self._end)

    async def _until_the_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            _of_loops.pop(asyncio.get_running_loop(), None)
            for client in self.made.values():
                await client.close()

    def make(self, base_url: str) -> "AsyncOpenAI":
        """Make one, unless it was made while this waited."""
        with self._making:
            if base_url not in self.made:
                self.made[base_url] = _new(base_url)
            return self.made[base_url]


_of_loops: dict[asyncio.AbstractEventLoop, _Clients] = {}


async def client_of(base_url: str) -> "AsyncOpenAI":
    """The running loop's client for an endpoint.

    Raises:
        UsageError: the openai package is missing.
    """
    loop = asyncio.get_running_loop()
    clients = _of_loops.get(loop)
    if clients is None:
        for other in [other for other in list(_of_loops) if other.is_closed()]:  # without an end that it could be told
            _of_loops.pop(other, None)
        clients = _of_loops[loop] = _Clients()
        await clients.open()
    client = clients.made.get(base_url)  # else in a thread: the import takes a second, the certificates 50 ms
    return client or await asyncio.to_thread(clients.make, base_url)


def _new(base_url: str) -> "AsyncOpenAI":
    try:
        import openai
    except ModuleNotFoundError as error:
        if error.name != "openai":
            raise
        raise UsageError("models need the openai package: pip install 'segue[openai]'") from None
    import_module("openai.resources.chat.completions")  # or the first request would, on the loop
    timeout = openai.Timeout(_SILENCE, connect=_CONNECT)
    http = openai.DefaultAsyncHttpxClient(timeout=timeout, event_hooks={"response": [_refuse]})
    return openai.AsyncOpenAI(api_key=NO_KEY, base_url=base_url, max_retries=0, timeout=timeout, http_client=http)


async def _refuse(response: Any) -> None:
    """Called with each response before its body is read: of a refusal no more is read than is worth it."""
    if response.is_success or response.has_redirect_location:
        return
    body = bytearray()
    with suppress(Exception):  # the status says more than why its body broke off
        async with aclosing(response.aiter_bytes()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > _LONGEST_REFUSAL:
                    break
    raise Refused(response.status_code, wait_said(response.headers, time.time()), bytes(body[:_LONGEST_REFUSAL]))
