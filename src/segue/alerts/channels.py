"""How an alert leaves: by HTTP, or by a command. What a receiver needs to know is kept out of every error."""

import asyncio
import http.client
import os
import signal
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from segue.alerts.alert import DETAIL, Alert, line, payload
from segue.errors import SegueError

PATIENCE = 10.0
"""Seconds for which a receiver may say nothing."""


class NotDelivered(SegueError):
    """A receiver did not take an alert.

    Attributes:
        retry_after: seconds that it asks to be left alone, if it does.
    """

    def __init__(self, said: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(said)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere becomes a GET, and delivers nothing."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def post(url: str, alert: Alert, key: str) -> str:
    """POST an alert as JSON. Blocks.

    Args:
        key: sent as ``Idempotency-Key``, as RFC 8941 writes a string, and as ``id``: the same at every attempt.

    Returns:
        What the receiver answered.

    Raises:
        NotDelivered: it answered otherwise than with 2xx, or not at all. The message does not hold the URL.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "segue", "Idempotency-Key": f'"{key}"'}
    body = msgspec.json.encode(payload(alert, key))
    wait = None
    try:
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=PATIENCE) as answer:
            return f"HTTP {answer.status}"
    except urllib.error.HTTPError as error:
        with error:
            said = f"the webhook answered with HTTP {error.code}"
            after = error.headers.get("Retry-After", "")
            wait = float(after) if after.isascii() and after.isdigit() and len(after) < 7 else None
    except urllib.error.URLError as error:
        said = f"the webhook cannot be reached: {_told(error.reason)}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = f"the webhook was not reached: {_told(error)}"
    raise NotDelivered(said, wait)  # not in an except block: other errors' messages may hold the URL


def _told(reason: object) -> str:
    """What went wrong, in words that are never the caller's own."""
    if isinstance(reason, socket.gaierror):
        return "its host is not known"
    if isinstance(reason, OSError) and reason.errno and not isinstance(reason, ssl.SSLError):  # its errno is another
        return os.strerror(reason.errno)
    return type(reason).__name__


def variables(alert: Alert, key: str) -> dict[str, str]:
    """What a command finds in its environment."""
    told = {"kind": alert.kind, "title": alert.title, "subject": alert.subject, "count": str(alert.count)}
    told |= {"flow": alert.flow or "", "step": alert.step or "", "run": alert.run or "", "look": alert.look, "id": key}
    return {f"SEGUE_ALERT_{name.upper()}": value for name, value in told.items()}


async def execute(argv: Sequence[str], alert: Alert, key: str) -> str:
    """Execute a command with the alert as JSON on its stdin, and in ``SEGUE_ALERT_…`` variables. No shell sees it.

    Cancelled, it kills the command and what that started in its process group.

    Returns:
        The first characters of what it printed.

    Raises:
        NotDelivered: it cannot be started, or its exit code is not 0.
    """
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, **variables(alert, key)}
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT, env=environment, start_new_session=True
        )
    except OSError as error:
        raise NotDelivered(f"the command {line(argv[0])!r} cannot be started: {error.strerror}") from None
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with suppress(ConnectionError):  # it need not read
            process.stdin.write(msgspec.json.encode(payload(alert, key)) + b"\n")
            await process.stdin.drain()
        process.stdin.close()
        printed = b""
        while some := await process.stdout.read(65536):
            printed = (printed + some)[: 4 * DETAIL]
        code = await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    said = line(printed.decode("utf-8", "replace"), DETAIL)
    if code != 0:
        how = f"exited with {code}" if code > 0 else f"was ended by signal {-code}"
        raise NotDelivered(f"the command {how}" + (f": {said}" if said else ""))
    return said
