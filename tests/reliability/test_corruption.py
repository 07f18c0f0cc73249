"""Bytes that are not what was written stop their own run, by name; a locked store stops none."""

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue import CorruptRecord, Engine, RunFailed, flow, step
from segue.stores import sqlite_file
from segue.stores.artifacts import SPILL

from .looking import connected, select, until
from .processes import process

GATES: dict[str, asyncio.Event] = {}


@step
async def number(value: int) -> int:
    return value + 1


@step
async def long_value(value: int) -> bytes:
    return b"%d" % (value % 10) * (SPILL + 1)


@step
async def gate(name: str) -> None:
    await GATES[name].wait()


@flow
async def victim(value: int, padding: bytes) -> int:
    total = await number(value)
    total += len(await long_value(value))
    await gate("victim")
    return total


def execute(path: Path, *statements: str) -> None:
    db = connected(path)
    for statement in statements:
        db.execute(statement)
    db.close()


def flip(text: str) -> str:
    """SQL that changes the last byte of a column."""
    return f"cast(substr({text}, 1, length({text}) - 1) || char(1) as blob)"


def artifact(folder: Path) -> Path:
    """The only artifact of the victim's own: a value's header, and then sevens."""
    [found] = [
        file for file in (folder / "a.artifacts").rglob("*") if file.is_file() and file.read_bytes()[-1:] == b"7"
    ]
    found.chmod(0o600)
    return found


def damage(where: str) -> Callable[[Path], None]:
    return lambda path: execute(path, where)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "an output": damage(f"update entries set output = {flip('output')} where run = 'bad' and seq = 0"),
    "an output's length": damage("update entries set output = x'' where run = 'bad' and seq = 0"),
    "an input": damage(f"update entries set input = {flip('input')} where run = 'bad' and seq = 0"),
    "a step": damage("update entries set step = 'other' where run = 'bad' and seq = 0"),
    "a kind": damage("update entries set kind = 99 where run = 'bad' and seq = 0"),
    "a place": damage("update entries set seq = 7 where run = 'bad' and seq = 0"),
    "a row is gone": damage("delete from entries where run = 'bad' and seq = 0"),
    "the run's input": damage(f"update runs set input = {flip('input')} where id = 'bad'"),
    "the run's input is garbage": damage("update runs set input = x'c1ff00' where id = 'bad'"),
    "an artifact is altered": lambda path: artifact(path.parent).write_bytes(b"9" * (SPILL + 1)),
    "an artifact is cut": lambda path: artifact(path.parent).write_bytes(b"7"),
    "an artifact is gone": lambda path: artifact(path.parent).unlink(),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_corrupt_record_stops_its_run_by_name_and_no_other(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    path = tmp_path / "a.db"

    async def main() -> None:
        GATES["victim"] = asyncio.Event()
        async with asyncio.timeout(30):
            async with Engine(f"sqlite:{path}"):
                for id, value in (("bad", 7), ("good", 2), ("also-good", 3)):
                    await victim.options(id=id).start(value, b"")
                recorded = "select run from entries where seq = 1"
                await until(lambda: len(select(path, recorded)) == 3)
            DAMAGES[kind](path)
            GATES["victim"].set()
            async with Engine(f"sqlite:{path}"):
                for id, value in (("good", 2), ("also-good", 3)):
                    assert await (await victim.handle(id)).result() == value + 1 + SPILL + 1
                await until(lambda: bool(select(path, "select 1 from runs where id = 'bad' and ended is not null")))
                with pytest.raises(RunFailed) as caught:
                    await (await victim.handle("bad")).result()
        assert caught.value.error.is_a(CorruptRecord), caught.value.error
        assert "bad" in str(caught.value)
        assert "not what was written" in str(caught.value) or "artifact" in str(caught.value)

    asyncio.run(main())


def test_a_result_that_was_altered_is_not_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def main() -> None:
        GATES["victim"] = asyncio.Event()
        GATES["victim"].set()
        async with asyncio.timeout(30):
            async with Engine(f"sqlite:{path}"):
                assert await victim.options(id="bad").start(7, b"") is not None
                assert await (await victim.handle("bad")).result() == 7 + 1 + SPILL + 1
            execute(path, f"update runs set result = {flip('result')} where id = 'bad'")
            async with Engine(f"sqlite:{path}"):
                with pytest.raises(CorruptRecord):
                    await (await victim.handle("bad")).result()

    asyncio.run(main())


def test_a_store_locked_by_another_process_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The lock is held six times as long as a write waits for it, as 30 s would be."""
    monkeypatch.setattr(sqlite_file, "_BUSY_AFTER", 0.1)
    path = tmp_path / "a.db"

    async def main(locker: Any) -> None:
        GATES["victim"] = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(30), Engine(f"sqlite:{path}") as engine:
            started = [await victim.start(n, b"") for n in range(20)]
            locker.say("lock")
            assert await loop.run_in_executor(None, locker.line) == "locked"
            GATES["victim"].set()
            await until(lambda: "the journal cannot be written" in caplog.text)
            released = threading.Timer(0.6, locker.say, ("unlock",))
            released.start()
            assert await loop.run_in_executor(None, locker.line) == "unlocked"
            assert engine.worker
            for n, handle in enumerate(started):
                assert await handle.result() == n + 1 + SPILL + 1
            released.join()

    with process("locker", str(path)) as locker:
        asyncio.run(main(locker))
