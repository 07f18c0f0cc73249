"""What a type checker knows of the public API: checked by pyright, never run."""

from collections.abc import AsyncGenerator, Coroutine
from datetime import timedelta
from typing import Any, assert_type

import segue
from segue import (
    Drift,
    Engine,
    File,
    Flow,
    Handle,
    Outcome,
    Retry,
    RunInfo,
    Step,
    Timeout,
    flow,
    gather,
    resource,
    step,
    use,
    wait,
)


@step
async def fetch(url: str, depth: int = 1) -> bytes: ...  # type: ignore[empty-body]


@step
def parse(page: bytes) -> list[str]: ...  # type: ignore[empty-body]


@step(retry=Retry(2, on=(OSError, TimeoutError)), timeout=Timeout(attempt="30s", total=timedelta(minutes=2)))
async def fetch_patiently(url: str, *, depth: int = 1) -> bytes: ...  # type: ignore[empty-body]


@step(drift=Drift(("confidence", lambda page: len(page)), by="ks", then="fallback"), fallback=b"")
async def fetch_watched(url: str) -> bytes: ...  # type: ignore[empty-body]


@step(retry=2, timeout="30s", process=True)
def parse_apart(page: bytes) -> list[str]: ...  # type: ignore[empty-body]


@resource
async def model() -> AsyncGenerator[dict[str, float], None]:
    yield {}


@resource(scope="process")
async def shared() -> AsyncGenerator[int, None]:
    yield 1


assert_type(use(model), dict[str, float])
assert_type(use(shared), int)


@step
async def classify(text: str, weights: dict[str, float] = use(model)) -> float: ...  # type: ignore[empty-body]


@flow
async def crawl(url: str, *, depth: int = 1) -> list[str]:
    call = assert_type(fetch(url, depth), Coroutine[Any, Any, bytes])
    page = await call
    assert_type(page, bytes)
    assert_type(await parse(page), list[str])
    assert_type(await fetch_patiently(url, depth=2), bytes)
    assert_type(await parse_apart(page), list[str])
    assert_type(await classify("x"), float)
    both = await gather(parse(page), classify("x"))
    assert_type(both, tuple[list[str], float])
    assert_type(await gather(parse(page), classify("x"), fetch(url)), tuple[list[str], float, bytes])
    many = await gather(*[fetch(url) for _ in range(3)])
    assert_type(many, tuple[bytes, ...])
    assert_type(await gather(parse(page), partial=True), tuple[Outcome[list[str]]])
    some = await gather(parse(page), classify("x"), partial=True, deadline="30s", min_ok=1)
    assert_type(some, tuple[Outcome[list[str]], Outcome[float]])
    assert_type(some[1].value_or(None), float | None)
    assert_type(
        await gather(fetch(url), fetch(url), parse(page), crawl(url), classify("x"), partial=True),
        tuple[Outcome[bytes], Outcome[bytes], Outcome[list[str]], Outcome[list[str]], Outcome[float]],
    )
    assert_type(await gather(*[fetch(url) for _ in range(3)], partial=True), tuple[Outcome[bytes], ...])
    assert_type(await crawl(url), list[str])
    assert_type(segue.now(), float)
    assert_type(segue.current_run(), RunInfo)
    assert_type(await segue.sleep("2h"), None)
    return await parse(page)


@flow(name="named", timeout="2h", on_divergence="rerun")
async def named(url: str) -> File: ...  # type: ignore[empty-body]


async def outside() -> None:
    assert_type(await crawl("x", depth=2), list[str])
    handle = await crawl.start("x")
    assert_type(handle, Handle[list[str]])
    assert_type(await handle.result(), list[str])
    assert_type(await handle.status(), str)
    assert_type(await crawl.handle("id"), Handle[list[str]])
    assert_type(await crawl.options(id="a", timeout="1h", priority=2, delay=1.5)("x"), list[str])
    assert_type(await named("x"), File)
    async with Engine("memory:") as engine:
        assert_type(engine, Engine)


assert_type(crawl.run("x"), list[str])
assert_type(fetch.run("x"), bytes)
assert_type(wait(crawl.start("x")), Handle[list[str]])
assert_type(wait(wait(crawl.start("x")).result()), list[str])


def takes_any_step(some: Step[..., Any], other: Flow[..., Any]) -> None: ...


takes_any_step(fetch, crawl)
takes_any_step(parse_apart, named)

# What is wrong is seen before it runs: an ignore that is not needed is an error itself.

fetch(1)  # pyright: ignore[reportArgumentType, reportUnusedCoroutine]
fetch("x", width=1)  # pyright: ignore[reportCallIssue, reportUnusedCoroutine]
crawl("x", 2)  # pyright: ignore[reportCallIssue, reportUnusedCoroutine]
crawl.run()  # pyright: ignore[reportCallIssue]
crawl.options(colour="red")  # pyright: ignore[reportCallIssue]
gather(fetch("x"), deadline=3)  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnusedCoroutine]
step(retry="two")  # pyright: ignore[reportCallIssue, reportArgumentType]
flow(parse.fn)  # pyright: ignore[reportCallIssue, reportArgumentType]
