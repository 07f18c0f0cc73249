"""A receiver of webhooks: a real HTTP server on a free loopback port, in a thread."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Got(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Receiver:
    """What came, and what to answer.

    Attributes:
        answers: statuses, or statuses with headers, for the next requests; then 200.
        hold: requests are answered once this is set.
        came: released once for each request that came.
    """

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answers: list[int | tuple[int, dict[str, str]]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.came = threading.Semaphore(0)
        self.url = ""

    @property
    def titles(self) -> list[str]:
        return [got.body["title"] for got in self.got]

    def wait(self) -> None:
        """Until one more request came."""
        assert self.came.acquire(timeout=60), "nothing came"


@contextmanager
def receiving() -> Generator[Receiver, None, None]:
    """A receiver, for a while."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            receiver.got.append(Got(self.path, dict(self.headers), json.loads(body or b"{}")))
            receiver.came.release()
            receiver.hold.wait(60)
            answer = receiver.answers.pop(0) if receiver.answers else 200
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            try:
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
            except ConnectionError:  # who asked is gone
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()
