"""A full disk: what runs waits, what is new is refused with the reason, and all goes on when there is room."""

import asyncio
import logging
import os
import subprocess
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from segue import Engine, StoreFull, flow, step
from segue.runtime import engine as engines
from segue.stores.artifacts import SPILL
from segue.stores.sqlite import SqliteStore

from .looking import until

BODIES: list[str] = []
GATE: dict[str, asyncio.Event] = {}
PADDING = "x" * 20_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "AGAIN_AFTER", 0.02)


@step
async def fill(name: str, number: int) -> str:
    if name in GATE:
        await GATE[name].wait()
    BODIES.append(f"{name}/{number}")
    return PADDING


@step
async def long_value(name: str, size: int) -> bytes:
    BODIES.append(f"{name}/long")
    return name.encode() * size


@flow
async def filling(name: str, steps: int) -> int:
    total = 0
    for number in range(steps):
        total += len(await fill(name, number))
    return total


@flow
async def parent(name: str) -> int:
    return await filling(name, 3) + await filling(name + "'", 3)


@flow
async def long_flow(name: str) -> bytes:
    return await long_value(name, SPILL) + b"."


@asynccontextmanager
async def on_file(path: Path) -> AsyncGenerator[tuple[Engine, Callable[[int], None]]]:
    """An engine, and how to let its file grow by no more than so many pages."""
    store = SqliteStore(path)
    async with asyncio.timeout(60), Engine(store) as engine:
        db = cast("Any", store.db)
        yield engine, lambda pages: db.pragma("max_page_count", db.pragma("page_count") + pages)


def test_running_runs_wait_new_ones_are_refused_and_all_go_on_without_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        BODIES.clear()
        async with on_file(tmp_path / "a.db") as (engine, room_for):
            names = [f"r{n}" for n in range(3)]
            GATE.update({name: asyncio.Event() for name in [*names, "p"]})
            started = [await filling.start(name, 6) for name in names]
            family = await parent.start("p")
            await until(lambda: len(engine.runs) == 5)
            room_for(12)
            for gate in GATE.values():
                gate.set()
            await until(lambda: engine.journal.trouble is not None)
            assert isinstance(engine.journal.trouble, StoreFull)
            for refused in (filling.start("new", 1), filling.options(id="new").start("new", 1), filling("new", 1)):
                with pytest.raises(StoreFull, match="no room left"):
                    await refused
            assert [await handle.status() for handle in started] == ["running"] * 3
            assert engine.journal.trouble is not None
            room_for(1 << 30)
            assert [await handle.result() for handle in started] == [6 * len(PADDING)] * 3
            assert await family.result() == 6 * len(PADDING)
            assert await filling("new", 1) == len(PADDING)
        assert len(BODIES) == len(set(BODIES)) == 3 * 6 + 6 + 1, "a body ran twice, or not at all"

    asyncio.run(main())


def test_a_run_refused_for_want_of_room_does_not_come_back(tmp_path: Path) -> None:
    async def main() -> None:
        BODIES.clear()
        async with on_file(tmp_path / "a.db") as (engine, room_for):
            room_for(40)
            calls = [asyncio.create_task(filling(f"r{n}", 2)) for n in range(200)]
            await until(lambda: engine.journal.trouble is not None)
            room_for(1 << 30)
            found = await asyncio.gather(*calls, return_exceptions=True)
            refused = sum(isinstance(result, StoreFull) for result in found)
            assert all(result == 2 * len(PADDING) or isinstance(result, StoreFull) for result in found)
            db = cast("Any", cast("SqliteStore", engine.store).db)
            assert next(iter(db.execute("select count(*), coalesce(sum(status = 'completed'), 0) from runs"))) == (
                200 - refused,
                200 - refused,
            )

    asyncio.run(main())


def test_an_engine_closes_while_the_disk_is_full_and_the_next_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        BODIES.clear()
        path = tmp_path / "a.db"
        async with on_file(path) as (engine, room_for):
            handle = await filling.start("r", 20)
            room_for(12)
            await until(lambda: engine.journal.trouble is not None)
        async with asyncio.timeout(30), Engine(f"sqlite:{path}"):
            assert await (await filling.handle(handle.id)).result() == 20 * len(PADDING)
        assert len(set(BODIES)) == 20
        assert len(BODIES) <= 21, "only the step whose record found no room may run again"

    asyncio.run(main())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 4 MB; only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.fail("this test mounts a small file system, which needs root")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.fail(f"mount of a tmpfs: {made.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def grow(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)


def test_a_file_system_that_is_really_full(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def main() -> None:
        BODIES.clear()
        async with asyncio.timeout(60), Engine(f"sqlite:{disk / 'a.db'}") as engine:
            before = await long_flow("b")
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"\0" * 4096)
                except OSError:
                    pass
            started = [asyncio.create_task(long_flow.options(id=f"l{n}")(f"{n}")) for n in range(2)]
            with pytest.raises(StoreFull):
                await asyncio.gather(*[filling.start(f"new-{n}", 1) for n in range(1000)])
            os.truncate(ballast, 0)
            for n, call in enumerate(started):
                result = (await asyncio.gather(call, return_exceptions=True))[0]
                while isinstance(result, StoreFull):  # it was not acknowledged; the store is tried once a second
                    [result] = await asyncio.gather(long_flow.options(id=f"l{n}")(f"{n}"), return_exceptions=True)
                assert result == str(n).encode() * SPILL + b"."
            assert before == b"b" * SPILL + b"."
            await until(lambda: not engine.runs)
        assert BODIES.count("0/long") == BODIES.count("1/long") == 1

    asyncio.run(main())


def test_a_long_value_waits_for_room_and_its_step_does_not_run_again(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        BODIES.clear()
        async with asyncio.timeout(60), Engine(f"sqlite:{disk / 'a.db'}"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(logging.getLogger("segue"), "propagate", True)
                big = await long_flow.start("much")  # 1 MB, twice
                assert len(await big.result()) == 4 * SPILL + 1
                more = await long_flow.start("more and more")  # 3.4 MB do not fit beside it
                await until(lambda: "cannot be written yet" in caplog.text)
                assert await more.status() == "running"
                grow(disk)
                assert len(await more.result()) == 13 * SPILL + 1
        assert BODIES == ["much/long", "more and more/long"]

    asyncio.run(main())
