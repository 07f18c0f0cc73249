"""Random flows: trees of everything that asyncio offers, over steps whose timing and results are random too."""

import asyncio
import random
from typing import Any

from segue import Retry, RunFailed, StepFailed, current_run, flow, step

Tree = list[Any]
"""A kind, then what belongs to it."""

KINDS = ("chain", "gather", "nested", "group", "race", "final", "queue", "event", "lock", "completed", "child", "flaky")
TIMED = ("timeout", "waitfor", "sleep")
STEADY = ("chain", "gather", "nested", "group", "final", "lock", "child", "flaky")
"""Kinds without a race: their result does not depend on timing."""

chance = random.Random()
ran: list[tuple[str, str]] = []
"""Each body that ran: its run and step."""
seen: dict[str, list[Any]] = {}
"""What each run's flow got to see, in order."""


def generate(r: random.Random, kinds: tuple[str, ...], depth: int = 0) -> Tree:
    """A random program."""
    kind = r.choice(kinds) if depth < 3 and (depth == 0 or r.random() < 0.6) else "step"
    if kind in ("step", "flaky"):
        return [kind, r.choice("abc")]
    parts = [generate(r, kinds, depth + 1) for _ in range(r.randint(2, 4))]
    return [kind, parts, r.random() < 0.5, r.random() * 0.003]


async def _dawdle() -> None:
    """Take a random while: a few turns of the loop, or a few hundred microseconds."""
    x = chance.random()
    if x > 0.6:
        await asyncio.sleep(x * 0.002)
    else:
        for _ in range(int(x * 20)):
            await asyncio.sleep(0)


@step
async def work(name: str, steady: bool) -> str:
    """Gives a value that no other attempt would give; may fail, and may be slow or deaf when cancelled."""
    run = current_run()
    ran.append((run.id, str(run.step)))
    value = f"{name}" if steady else f"{name}:{chance.random():.12f}"
    try:
        await _dawdle()
    except asyncio.CancelledError:
        if chance.random() < 0.5:
            await asyncio.sleep(0.0005)
        if chance.random() < 0.2:
            return value
        raise
    if not steady and chance.random() < 0.12:
        raise ValueError(value)
    return value


@step(retry=Retry(4, backoff=0.0005))
async def flaky(name: str, steady: bool) -> str:
    """Fails now and then, and is retried."""
    run = current_run()
    ran.append((run.id, str(run.step)))
    await _dawdle()
    if chance.random() < 0.3 and (not steady or (run.attempt or 0) < 4):
        raise ConnectionError("again")
    return f"{name}" if steady else f"{name}:{chance.random():.12f}"


def flat(value: Any) -> Any:
    """Errors as text, so that results compare."""
    if isinstance(value, BaseExceptionGroup):
        return [flat(part) for part in value.exceptions]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(value, StepFailed | RunFailed):
        return f"{type(value).__name__}: {value.error.type}: {value.error.message}"
    return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else value


async def safely(tree: Tree, steady: bool) -> Any:
    try:
        return await execute(tree, steady)
    except (StepFailed, RunFailed, BaseExceptionGroup) as error:
        return flat(error)


async def _step(name: str, steady: bool) -> Any:
    value = await work(name, steady)
    seen.setdefault(current_run().id, []).append(value)
    return value


async def execute(tree: Tree, steady: bool) -> Any:
    kind = tree[0]
    if kind == "step":
        return await _step(tree[1], steady)
    if kind == "flaky":
        return await flaky(tree[1], steady)
    parts, flag, delay = tree[1], tree[2], tree[3]
    if kind == "chain":
        return [await execute(part, steady) for part in parts]
    if kind == "child":
        return await program([("chain"), parts[:1], flag, delay], steady)
    if kind == "gather":
        found = await asyncio.gather(*[execute(part, steady) for part in parts], return_exceptions=flag)
        return [flat(value) for value in found]
    if kind == "nested":
        both: asyncio.Future[Any] = asyncio.gather(execute(parts[0], steady), return_exceptions=True)
        for part in parts[1:]:
            inner = asyncio.gather(asyncio.gather(execute(part, steady), return_exceptions=True))
            both = asyncio.gather(both, inner, return_exceptions=True)
        other = asyncio.create_task(safely(parts[0], steady))
        found = await both
        await _step("n", steady)
        await other
        return len(found)
    if kind == "group":
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(execute(part, steady)) for part in parts]
            return [task.result() for task in tasks]
        except BaseExceptionGroup:
            return await _step("h", steady)
    if kind == "race":
        tasks = [asyncio.create_task(execute(part, steady)) for part in parts]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if flag:
            await asyncio.gather(*pending, return_exceptions=True)
        return [flat(task.exception()) if task.exception() else task.result() for task in done], await _step(
            "w", steady
        )
    if kind == "final":

        async def tidy(part: Tree) -> Any:
            try:
                return await execute(part, steady)
            finally:
                await _step("clean", steady)

        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(tidy(part))
        return 1
    if kind == "queue":
        queue: asyncio.Queue[Any] = asyncio.Queue(1)

        async def produce(part: Tree) -> None:
            await queue.put(await safely(part, steady))

        async def consume() -> list[Any]:
            return [(await queue.get(), await safely(["step", "q"], steady)) for _ in parts]

        return (await asyncio.gather(consume(), *[produce(part) for part in parts]))[0]
    if kind == "event":
        event = asyncio.Event()

        async def first() -> None:
            await safely(parts[0], steady)
            event.set()

        async def after(part: Tree) -> Any:
            await event.wait()
            return await safely(part, steady)

        async def poll() -> int:
            count = 0
            while not event.is_set() and count < 8:
                await safely(["step", "p"], steady)
                count += 1
            return count

        return await asyncio.gather(first(), poll(), *[after(part) for part in parts[1:]])
    if kind == "lock":
        lock = asyncio.Semaphore(1)

        async def locked(part: Tree) -> Any:
            await safely(["step", "pre"], steady)
            async with lock:
                return await safely(part, steady)

        return await asyncio.gather(*[locked(part) for part in parts])
    if kind == "completed":
        tasks = [asyncio.create_task(safely(part, steady)) for part in parts]
        return [(await task, await safely(["step", "z"], steady)) for task in asyncio.as_completed(tasks)]
    if kind == "timeout":
        try:
            async with asyncio.timeout(delay):
                return [await safely(part, steady) for part in parts]
        except TimeoutError:
            return "timeout", await safely(["step", "t"], steady)
    if kind == "waitfor":
        try:
            return await asyncio.wait_for(safely(parts[0], steady), delay)
        except TimeoutError:
            return "timeout", await safely(parts[1], steady)
    assert kind == "sleep"
    await asyncio.sleep(delay)
    return [await safely(part, steady) for part in parts]


@flow(name="program")
async def program(tree: Tree, steady: bool) -> str:
    """Execute a random program; its result as text."""
    seen[current_run().id] = []  # a run that left memory and came back begins again
    return repr(await execute(tree, steady))
