"""Stands in for a language model's endpoint. **There is no language model here**: the answers come from a script.

What is real is everything around them: an HTTP server of its own on the loopback, OpenAI's chat-completions protocol,
whole or streamed as server-sent events, with usage; and what such endpoints do on bad days: HTTP 429 with Retry-After,
HTTP 500, a stream that ends half-way, JSON that is none, numbers that nobody wrote, a model that obeys what an
applicant tells it.

The script finds the facts of a story with regular expressions, since it knows how ``applicants.py`` words them. Whether
an answer goes wrong, and how, depends on the seed and the story alone.

    python -m crediflow.scripted_llm 8011      # by itself; then CREDIFLOW_LLM=http://127.0.0.1:8011/v1 segue run …
"""

import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

RETRY_AFTER = 1
"""Seconds, as in the header."""


class Mood(StrEnum):
    """How the model takes a story. All but the first two are faults."""

    PLAIN = "plain"
    CHATTY = "chatty"  # the JSON is in a fenced block, with prose around it
    BUSY = "busy"  # HTTP 429 at first
    BROKEN = "broken"  # HTTP 500 at first
    CUT_OFF = "cut off"  # the connection ends half-way, at first
    MALFORMED = "malformed"  # not JSON, until it is told so
    INVENTIVE = "inventive"  # a number that nobody wrote, until it is told so
    STUBBORN = "stubborn"  # the same, whatever it is told


ODDS = {
    Mood.PLAIN: 55,
    Mood.CHATTY: 14,
    Mood.BUSY: 6,
    Mood.BROKEN: 5,
    Mood.CUT_OFF: 5,
    Mood.MALFORMED: 6,
    Mood.INVENTIVE: 8,
    Mood.STUBBORN: 1,
}


def mood_of(story: str, seed: int = 0) -> Mood:
    return Random(f"{seed} {story}").choices(list(ODDS), list(ODDS.values()))[0]


def answer(story: str, mood: Mood, told: bool) -> str:
    """The text that the script answers with.

    Args:
        told: the model has been told why its last answer was refused.
    """
    facts = _facts(story)
    wrong = mood is Mood.STUBBORN or (mood is Mood.INVENTIVE and not told)
    earns = f" The applicant earns ${3_000 + len(story):,} a month." if wrong else ""
    facts["text"] = f"The applicant asks for ${facts['amount']:,} for a {facts['purpose']}.{earns}"
    text = json.dumps(facts)
    match mood:
        case Mood.CHATTY:
            return f"Sure! Here is the summary:\n```json\n{text}\n```\nLet me know if you need more."
        case Mood.MALFORMED if not told:
            return text.replace('"', "'").replace("}", ",")
        case _:
            return text


def _facts(story: str) -> dict[str, Any]:
    """What the story says. The last amount counts, and so a story can talk the model into another one."""
    amounts = re.findall(r"\$([\d,]+)", story)
    depend = re.search(r"(\d+) (?:people depend|child lives)", story)
    purpose = re.search(r"\b(car|roof|kitchen|course|wedding|dentist)\b", story)
    return {
        "amount": int(amounts[-1].replace(",", "")) if amounts else 0,
        "purpose": purpose[1] if purpose else "unknown",
        "dependants": int(depend[1]) if depend else 0,
    }


class Endpoint(ThreadingHTTPServer):
    """The server. ``asked`` counts how often it was asked about each story."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, seed: int = 0, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.seed = seed
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def first_time(self, story: str) -> bool:
        with self._lock:
            self.asked[story] += 1
            return self.asked[story] == 1


@contextmanager
def serving(seed: int = 0, port: int = 0) -> Iterator[Endpoint]:
    """The endpoint, answering in a thread of its own."""
    endpoint = Endpoint(seed, port)
    thread = threading.Thread(
        target=endpoint.serve_forever, kwargs={"poll_interval": 0.05}, name="scripted-llm", daemon=True
    )
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.shutdown()
        thread.join()
        endpoint.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Endpoint

    def do_POST(self) -> None:
        if request := self._request():
            self._complete(request["model"], request["messages"], bool(request.get("stream")))

    def _complete(self, model: str, messages: list[dict[str, str]], stream: bool) -> None:
        asked = "\n\n".join(m["content"] for m in messages if m["role"] == "user")
        story, _, told = asked.partition("\n\n")  # a story is one paragraph; what follows is why an answer was refused
        mood, first = mood_of(story, self.server.seed), self.server.first_time(story)
        if mood is Mood.BUSY and first:
            self._error(429, "rate limit reached", {"Retry-After": str(RETRY_AFTER)})
        elif mood is Mood.BROKEN and first:
            self._error(500, "the model crashed")
        else:
            text = answer(story, mood, told=bool(told))
            send = self._stream if stream else self._whole
            send(model, text, _usage(messages, text), cut=mood is Mood.CUT_OFF and first)

    def _request(self) -> dict[str, Any] | None:
        """What is asked; None where it was refused."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/v1/chat/completions":
            return self._error(404, f"there is no {self.path}")
        try:
            request = json.loads(body)
            if (
                any(m["role"] == "user" and isinstance(m["content"], str) for m in request["messages"])
                and request["model"]
            ):
                return request
        except (ValueError, TypeError, LookupError):
            pass
        return self._error(400, "that is not a request for a chat completion")

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"error": {"message": message, "type": "scripted", "code": status}}).encode()
        self._head(status, "application/json", {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def _whole(self, model: str, text: str, usage: dict[str, int], cut: bool) -> None:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = json.dumps(_frame("chat.completion", model) | {"choices": [choice], "usage": usage}).encode()
        self.close_connection = cut
        self._head(200, "application/json", {"Content-Length": str(len(body))})
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def _stream(self, model: str, text: str, usage: dict[str, int], cut: bool) -> None:
        self._head(200, "text/event-stream", {"Transfer-Encoding": "chunked"})
        frame = _frame("chat.completion.chunk", model)
        pieces = [text[i : i + 24] for i in range(0, len(text), 24)]
        for piece in pieces[: len(pieces) // 2] if cut else pieces:
            choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
            self._event(frame | {"choices": [choice]})
        if cut:
            self.close_connection = True  # without the last chunk: whoever reads can tell that this is not all
            return
        self._event(frame | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._event(frame | {"choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, event: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _head(self, status: int, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what was asked is in the record of the run."""


def _frame(kind: str, model: str) -> dict[str, Any]:
    return {"id": "scripted-1", "object": kind, "created": 0, "model": model}


def _usage(messages: list[dict[str, str]], text: str) -> dict[str, int]:
    """Words in the place of tokens: nothing here has a tokenizer."""
    read, written = sum(len(m["content"].split()) for m in messages), len(text.split())
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


if __name__ == "__main__":
    with serving(port=int(sys.argv[1]) if len(sys.argv) > 1 else 8011) as running:
        print(f"answering from a script at {running.url}; Ctrl-C ends it", flush=True)
        threading.Event().wait()
