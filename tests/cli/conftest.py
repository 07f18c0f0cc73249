"""The command line as its users have it: a process of its own, on a store of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

APP = """
import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from segue import Retry, flow, gather, sleep, step


@dataclass
class Order:
    number: int
    note: str = ""


@step
def double(n: int) -> int:
    print("noise from a step")
    Path(f"ran-{n}").open("a").write("x")
    return 2 * n


@step(retry=Retry(2, backoff=0))
async def flaky(n: int) -> int:
    with Path("tries").open("a") as tries:
        tries.write("x")
    if len(Path("tries").read_text()) < 3:
        raise ConnectionError("gone \\x1b[31m[bold]away[/bold]\\x07")
    return n


@step
async def broken(n: int) -> int:
    raise ValueError(f"no customer {n}")


@step
async def hang(n: int) -> int:
    print("hanging", flush=True)
    if Path("go").exists():
        return n
    await asyncio.Event().wait()
    return n


@step(process=True)
def apart(n: int) -> int:
    return n + os.getpid() - os.getpid()


@flow
async def child(n: int) -> int:
    return await double(n)


@flow
async def good(n: int, m: int = 3) -> dict[str, int]:
    a, b = await gather(double(n), double(m))
    return {"a": a, "b": await child(b)}


@flow
async def retried(n: int) -> int:
    return await flaky(n)


@flow
async def bad(n: int) -> int:
    return await broken(await double(n))


@flow
async def stuck(n: int) -> int:
    return await hang(await double(n))


@flow
async def sleeper() -> str:
    await double(1)
    await sleep("1h")
    return "late"


@flow
async def spawned(n: int) -> int:
    return await apart(n)


@flow
async def numbers(xs: list[float]) -> float:
    return sum(xs)


@flow
async def order(order: Order) -> str:
    return f"{order.number}{order.note}"


@flow
async def evil() -> str:
    return "\\x1b[31m\\x9b31m\\u202e"
"""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Project:
    """A folder with code, and the commands given in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SEGUE_")},
            "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
            "PYTHONWARNINGS": "error::DeprecationWarning:segue",
            "NO_COLOR": "1",
        }
        self._started: list[subprocess.Popen[str]] = []
        self.write("app.py", APP)

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """A command, begun."""
        process = subprocess.Popen(
            [sys.executable, "-m", "segue", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def segue(self, *arguments: str, stdin: str = "") -> Done:
        """A command, and how it ended."""
        process = self.start(*arguments)
        out, err = process.communicate(stdin, timeout=60)
        return Done(process.returncode, out, err)

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def until_said(process: "subprocess.Popen[str]", what: str) -> str:
    """Wait for a line on stderr. Gives all that was said until then."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if what in line:
            return said
    raise AssertionError(f"{what!r} was not said, but: {said}")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.end()
