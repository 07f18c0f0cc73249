"""A worker process to be killed: it executes a flow's runs under faults, and says what it does, a line each."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from segue.loading import find_flow
from segue.runtime.context import HERE
from segue.runtime.engine import Engine, Told
from segue.testing.chaos import Chaos, Faults, Struck

Tell = Callable[..., None]


def _teller() -> Tell:
    """Stdout is for whoever started us; what the user's code prints goes to stderr."""
    out = os.dup(1)
    os.dup2(2, 1)

    def tell(what: str, *data: Any) -> None:
        os.write(out, json.dumps([what, *data]).encode() + b"\n")  # at once: we may be dead in a moment

    return tell


class _Telling(Chaos):
    """Chaos that says which bodies it begins, and which faults strike."""

    say: Tell

    async def around(self, call: Any, real: Callable[[], Any]) -> Any:
        def begun() -> Any:
            self.say("body", call.run.id, str(call.step), call.attempt)
            return real()

        return await super().around(call, begun)


async def _work(order: dict[str, Any], tell: Tell) -> None:
    def struck(fault: Struck) -> None:
        tell("struck", *fault)

    def watch(told: Told) -> None:
        if told.what in ("step", "retry") or (told.what == "timer" and told.data["when"] is None):
            tell("entry")

    given: dict[str, Any] = order["faults"]
    given["delays"] = tuple(given["delays"])
    chaos = _Telling(Faults(**given), tell=struck)
    chaos.say = tell
    engine = Engine(order["store"], concurrency=order["concurrency"])
    engine.around = chaos.around
    engine.watchers.append(watch)
    async with engine:
        HERE.set(None)
        tell("open")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Work until stdin ends."""
    order = json.loads(sys.argv[1])
    tell = _teller()
    if not order["logs"]:
        logging.getLogger("segue").addHandler(logging.NullHandler())
    find_flow(order["target"])
    asyncio.run(_work(order, tell))


if __name__ == "__main__":
    main()
