"""A process that has imported everything and forks the processes to be killed: a life then costs milliseconds.

It reads one JSON order a line, and answers each with how that life ended.
"""

import asyncio
import json
import os
import random
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from segue.runtime import crashpoints

from . import jobs, poisons

LONGEST = 60
"""Seconds after which a life ends by SIGALRM, which the answer then shows."""


def be(order: dict[str, Any], pipe: int) -> None:
    """In the forked process: live."""
    signal.alarm(LONGEST)
    if point := order.get("crash"):
        name, _, count = point.partition(":")
        crashpoints.armed, crashpoints._name, crashpoints._left = True, name, int(count or 1)  # pyright: ignore[reportPrivateUsage]
    folder, numbers = Path(order["folder"]), range(*order["numbers"])
    if order.get("life") == "poisoned":
        asyncio.run(poisons.life(folder, numbers, order["ways"], pipe))
    else:
        asyncio.run(jobs.life(folder, numbers, pipe))


def kill_after(pid: int, pipe: int, effects: int, delay: float) -> None:
    """``kill -9`` after so many effects and then so many seconds, unless it has ended by then."""
    while effects > 0:
        found = os.read(pipe, effects)
        if not found:
            return
        effects -= len(found)
    select.select([], [], [], delay)
    os.kill(pid, signal.SIGKILL)


def serve(order: dict[str, Any]) -> dict[str, Any]:
    """One life: forked, perhaps killed, and waited for."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            be(order, writer)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writer)
    if order.get("kill") is not None:
        kill_after(pid, reader, order["kill"], random.Random(order["seed"]).random() * 0.004)
    while os.read(reader, 65536):
        pass
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    return {"code": os.waitstatus_to_exitcode(status)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)
