"""Other processes, waited for by what they print, never by the clock alone."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


class Process:
    """A Python module of these tests in a process of its own, that prints a line for each thing to wait for."""

    def __init__(self, module: str, *args: str, env: dict[str, str] | None = None) -> None:
        self.started = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", f"tests.reliability.{module}", *args],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        self.pid = self.started.pid
        assert self.started.stdin is not None
        assert self.started.stdout is not None
        self._in, self._out = self.started.stdin, self.started.stdout
        self._text = b""

    def line(self) -> str:
        """The next line that it prints; empty when it has ended."""
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._text:
            readable, _, _ = select.select([self._out], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise TimeoutError(f"nothing within {PATIENCE:g} s from process {self.pid}")
            data = os.read(self._out.fileno(), 65536)
            if not data:
                return ""
            self._text += data
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    def until(self, word: str) -> str:
        """Wait for a line that begins like that."""
        while line := self.line():
            if line.startswith(word):
                return line
        raise EOFError(f"process {self.pid} ended and never said {word!r}")

    def say(self, text: str) -> None:
        """Give it a line."""
        self._in.write(text.encode() + b"\n")
        self._in.flush()

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Give it an order, and wait for the answer."""
        self.say(json.dumps(order))
        return json.loads(self.line())

    def end(self) -> int:
        """Wait for its end; gives the exit status."""
        self._in.close()
        return self.started.wait(PATIENCE)

    def kill(self) -> None:
        """End it, whatever it does, and forget it."""
        self.started.kill()
        self.started.wait(PATIENCE)
        self._out.close()
        if not self._in.closed:
            self._in.close()


@contextmanager
def process(module: str, *args: str, env: dict[str, str] | None = None) -> Generator[Process]:
    started = Process(module, *args, env=env)
    try:
        yield started
    finally:
        started.kill()
