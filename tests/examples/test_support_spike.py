"""Ten times what the support router can take, with a slow classifier: who is let in is served, the rest are told no."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from segue import Engine, QueueFull, Timeout

from .test_support_router import TECHNICAL, Classifier, app

SECONDS = 60.0 if os.environ.get("SEGUE_DEEP") == "1" else 5.0
AT_ONCE, EACH, WAITING = 4, 0.1, 8
SUSTAINABLE = AT_ONCE / EACH
"""Runs a second: the classifier takes ``EACH`` seconds, and ``AT_ONCE`` runs are executed at a time."""


async def arrivals(rate: float, seconds: float) -> AsyncIterator[int]:
    """Numbers, at a steady rate, whatever becomes of those before."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(int(rate * seconds)):
        due = asyncio.Event()
        loop.call_at(began + number / rate, due.set)
        await due.wait()
        yield number


async def load(rate: float, seconds: float) -> tuple[list[float], list[str], list[str]]:
    """Latencies of those admitted, their ids, and why the others were refused."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    admitted: list[str] = []
    refused: list[str] = []

    async def one() -> None:
        began = loop.time()
        try:
            handle = await app.support.start(TECHNICAL)
        except QueueFull as error:
            refused.append(str(error))
            return
        admitted.append(handle.id)
        await handle.result()
        took.append(loop.time() - began)

    async with asyncio.TaskGroup() as everyone:
        async for _ in arrivals(rate, seconds):
            everyone.create_task(one())
    return took, admitted, refused


def p99(took: list[float]) -> float:
    return sorted(took)[min(len(took) - 1, int(len(took) * 0.99))]


def test_a_spike_is_refused_at_the_door_and_nothing_admitted_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, slow = Classifier.classify, threading.Event()

    def slowly(self: Any, text: str) -> Any:
        slow.wait(EACH)
        return quick(self, text)

    monkeypatch.setattr(Classifier, "classify", slowly)
    monkeypatch.setattr(app.support.spec, "max_queued", WAITING)
    for step in (app.classify, app.error_logs, app.knowledge_base):
        monkeypatch.setattr(step.spec, "timeout", Timeout("1h"))

    async def scene() -> None:
        async with Engine(f"sqlite:{tmp_path / 'segue.db'}", concurrency=AT_ONCE):
            await app.support(TECHNICAL)  # loads the model
            calm, _, _ = await load(SUSTAINABLE / 2, 2)
            took, admitted, refused = await load(10 * SUSTAINABLE, SECONDS)
            ended = [await (await app.support.handle(id)).status() for id in admitted]
        half = sorted(took)[len(took) // 2]
        print(f"\ncalm p99 {p99(calm):.2f} s; spike p50 {half:.2f} s, p99 {p99(took):.2f} s; {len(refused)} refused")
        assert len(admitted) + len(refused) == int(10 * SUSTAINABLE * SECONDS)
        assert set(ended) == {"completed"}, "none that was admitted is lost"
        assert len(took) == len(admitted)
        assert all("takes no more runs now" in reason and "max_queued" in reason for reason in refused)
        assert len(admitted) >= 0.5 * SUSTAINABLE * SECONDS, "the workers are kept busy"
        in_line = (WAITING / AT_ONCE + 1) * EACH  # whoever is let in waits for no more than these
        assert p99(took) < p99(calm) + 3 * in_line

    asyncio.run(scene())
