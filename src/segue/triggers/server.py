"""An ASGI application on a socket, by uvicorn, within a program that has a loop and signals of its own.

Imported only where something is served.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from segue.errors import UsageError

CONNECTIONS = 1000
"""How many are served at once. More are told to come again."""

GOODBYE = 10
"""Seconds that requests have to be answered when the server stops."""


class _Server(uvicorn.Server):
    """Signals are the program's own, and it tells when it takes requests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _impatient(patience: float) -> type[H11Protocol]:
    """A protocol that ends a connection whose request has begun, or might, and whose headers do not come to an end."""

    class Impatient(H11Protocol):
        _due: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch(begun=True)

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch(begun=False)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch(begun=self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0]))

        def _watch(self, *, begun: bool) -> None:
            if not begun and self._due is not None:
                self._due.cancel()
                self._due = None
            elif begun and self._due is None:
                self._due = self.loop.call_later(patience, self._late)

        def _late(self) -> None:
            if not self.transport.is_closing():
                self.transport.close()

    return Impatient


def _socket(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise UsageError(f"nothing can listen at {host}:{port}: {error}; another port: --port") from None


@asynccontextmanager
async def serving(app: Any, host: str, port: int, patience: float) -> AsyncGenerator[int, None]:
    """Serve until the block is left. Gives the port.

    Raises:
        UsageError: the address cannot be listened at.
    """
    bound = _socket(host, port)
    config = uvicorn.Config(
        app, http=_impatient(patience), ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=GOODBYE,
        h11_max_incomplete_event_size=32 << 10,
    )  # fmt: skip
    server = _Server(config)
    with bound:
        serve = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            up = asyncio.create_task(server.up.wait())
            await asyncio.wait([up, serve], return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            if serve.done():
                await serve
                raise UsageError(f"the server at {host}:{port} did not start")
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            await asyncio.wait([serve])
    await serve
