"""Segue's own workloads: no-op steps, so that what is measured is Segue."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from benchmarks.figures import Latency
from segue import Engine, Pipeline, flow, step

DAG_IDEAL = 0.070
"""Seconds along the critical path of the five nodes: audio, then captions."""


@step
async def noop(n: int) -> int:
    return n + 1


@flow
async def sequence(steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await noop(value)
    return value


@flow
async def fan_out(width: int) -> int:
    return sum(await asyncio.gather(*[noop(n) for n in range(width)]))


async def _nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def audio() -> float:
    return await _nap(0.050)


async def scenes() -> float:
    return await _nap(0.030)


async def objects() -> float:
    return await _nap(0.020)


async def moderation() -> float:
    return await _nap(0.010)


async def captions() -> float:
    return await _nap(0.020)


dag: Any = Pipeline.from_dict(
    {
        "extract_audio": {"depends_on": [], "model": "audio"},
        "scene_detection": {"depends_on": [], "model": "scenes"},
        "object_recognition": {"depends_on": ["scene_detection"], "model": "objects"},
        "content_moderation": {"depends_on": ["object_recognition", "extract_audio"], "model": "moderation"},
        "generate_captions": {"depends_on": ["extract_audio"], "model": "captions"},
    },
    models={
        "audio": audio,
        "scenes": scenes,
        "objects": objects,
        "moderation": moderation,
        "captions": captions,
    },
    name="benchmark_dag",
)

_stop_spinning = threading.Event()


@step
def spin() -> int:
    """A step that keeps Python's interpreter lock busy until the benchmark is over."""
    count = 0
    while not _stop_spinning.is_set():
        for n in range(2000):
            count += n * n
    return 1


@flow
async def busy() -> int:
    return await spin()


_latencies: list[float] = []


@flow
async def timed_sequence(steps: int) -> int:
    value = 0
    began = time.perf_counter()
    for _ in range(steps):
        value = await noop(value)
        ended = time.perf_counter()
        _latencies.append(ended - began)
        began = ended
    return value


async def one_at_a_time(runs: int = 300, steps: int = 10) -> tuple[Latency, Latency]:
    """Runs of ten steps, one after another: seconds a step as the flow sees it, and a tenth of a whole run."""
    for _ in range(30):
        await timed_sequence(steps)
    _latencies.clear()
    tenths: list[float] = []
    for _ in range(runs):
        began = time.perf_counter()
        assert await timed_sequence(steps) == steps
        tenths.append((time.perf_counter() - began) / steps)
    return Latency.of(_latencies), Latency.of(tenths)


async def many_at_a_time(seconds: float = 3.0, clients: int = 64, steps: int = 10) -> float:
    """Steps a second, in runs of ten steps, 64 runs at a time."""
    done, stop = 0, time.perf_counter() + seconds

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < stop:
            assert await sequence(steps) == steps
            done += steps

    began = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(clients)])
    return done / (time.perf_counter() - began)


async def fan_out_and_join(width: int = 1000, rounds: int = 5) -> float:
    """Seconds for a thousand steps at once and their join; the median round."""
    times: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        assert await fan_out(width) == width * (width + 1) // 2
        times.append(time.perf_counter() - began)
    return sorted(times)[rounds // 2]


async def bare_dag() -> None:
    """The same five nodes on asyncio alone: what timers of whole milliseconds cost."""

    async def after(*earlier: asyncio.Task[float], then: Callable[[], Coroutine[Any, Any, float]]) -> float:
        for task in earlier:
            await task
        return await then()

    heard, cut = asyncio.create_task(audio()), asyncio.create_task(scenes())
    seen = asyncio.create_task(after(cut, then=objects))
    await asyncio.gather(after(seen, heard, then=moderation), after(heard, then=captions))


async def makespan(five_nodes: Callable[[], Awaitable[Any]], rounds: int = 30) -> float:
    """Makespan of the five nodes over the ideal; the median round."""
    times: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        await five_nodes()
        times.append(time.perf_counter() - began)
    return sorted(times)[rounds // 2] / DAG_IDEAL


async def long_run(steps: int = 10_000) -> tuple[float, float]:
    """Seconds of the first and of the last thousand steps of one long run."""
    marks: list[float] = []

    def watch(told: Any) -> None:
        if told.what == "attempt":
            marks.append(told.time)

    from segue.runtime.default import current

    engine = await current()
    engine.watchers.append(watch)
    await sequence(steps)
    engine.watchers.remove(watch)
    return marks[999] - marks[0], marks[-1] - marks[-1000]


async def beside_a_busy_step(seconds: float = 3.0) -> float:
    """Steps a second as above, while one step keeps the interpreter busy."""
    _stop_spinning.clear()
    spinning = asyncio.create_task(busy())
    await asyncio.sleep(0.2)
    try:
        return await many_at_a_time(seconds)
    finally:
        _stop_spinning.set()
        await spinning


async def measure(store: str) -> dict[str, Any]:
    """Every workload on one store."""
    async with Engine(store):
        return {
            "one": await one_at_a_time(),
            "many": await many_at_a_time(),
            "busy": await beside_a_busy_step(),
            "fan": await fan_out_and_join(),
            "dag": await makespan(dag),
            "bare dag": await makespan(bare_dag),
            "long": await long_run(),
        }
