"""In a web application: FastAPI under a real server, which is killed and started again."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

APP = """
import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from segue import Engine, flow, step

HERE = Path(__file__).parent


@step
async def charge(order: str) -> str:
    with (HERE / "charged").open("a") as file:
        file.write(order + "\\n")
    return f"charged {order}"


@step
def ship(order: str) -> str:
    gate = HERE / "gate"
    with open(gate) as file:  # a pipe: opens when the test says so
        file.read()
    return f"shipped {order}"


@flow
async def sell(order: str) -> list[str]:
    return [await charge(order), await ship(order)]


@flow
async def quick(x: int) -> int:
    return x + 1


@asynccontextmanager
async def lifespan(app):
    async with Engine(f"sqlite:{HERE}/runs.db", _lease=1.0):
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/quick/{x}")
async def get_quick(x: int) -> int:
    return await quick(x)


@app.get("/sync/{x}")
def get_sync(x: int) -> int:
    return quick.run(x)


@app.post("/orders/{order}")
async def post(order: str) -> str:
    handle = await sell.options(id=order).start(order)
    return handle.id


@app.get("/orders/{order}")
async def get(order: str) -> list[str]:
    return await (await sell.handle(order)).result()
"""


@contextmanager
def served(folder: Path) -> Generator[tuple[httpx.Client, "subprocess.Popen[bytes]"], None, None]:
    """The application on a free port, listening when this begins."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        command = [sys.executable, "-W", "error", "-m", "uvicorn", "app:app", "--fd", str(listening.fileno())]
        with (folder / "log").open("ab") as log:
            server = subprocess.Popen(
                [*command, "--log-level", "warning"], cwd=folder, pass_fds=[listening.fileno()], stdout=log, stderr=log
            )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield client, server
    finally:
        server.kill()
        server.wait(10)


def test_a_run_that_a_request_started_goes_on_when_the_killed_server_is_back(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    os.mkfifo(tmp_path / "gate")
    with served(tmp_path) as (client, server):
        assert client.get("/quick/1").json() == 2
        assert client.get("/sync/2").json() == 3
        assert client.post("/orders/7").json() == "7"
        with (tmp_path / "gate").open("w"):  # opens when the step waits behind it: charged, and not shipped
            server.send_signal(signal.SIGKILL)
            server.wait(10)
    with served(tmp_path) as (client, server):
        assert client.post("/orders/7").json() == "7"
        with (tmp_path / "gate").open("w"):
            pass
        assert client.get("/orders/7").json() == ["charged 7", "shipped 7"]
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) in (0, -signal.SIGTERM)
    assert (tmp_path / "charged").read_text() == "7\n"
    assert "Traceback" not in (tmp_path / "log").read_text()
