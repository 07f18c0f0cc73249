"""A worker that stops for longer than its lease, and then goes on as if nothing had happened."""

import asyncio
import fcntl
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from segue import Engine, StoreError, flow, step
from segue.stores.sqlite import SqliteStore

from . import zombie
from .looking import connected
from .processes import Process, process

DEEP = os.environ.get("SEGUE_DEEP") == "1"
CYCLES = 200 if DEEP else 20


def everything(path: Path) -> dict[str, list[Any]]:
    db = connected(path)
    found = {table: list(db.execute(f"select * from {table} order by 1, 2")) for table in ("runs", "entries")}
    found["workers"] = [row for (row,) in db.execute("select id from workers")]
    db.close()
    return found


def stop(pid: int, path: Path) -> None:
    """Stop a process, but not inside a write: there it would hold up everyone, whatever its lease."""
    lock = os.open(f"{path}.lock", os.O_RDWR)
    try:
        while True:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.kill(pid, signal.SIGSTOP)
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "T":
                    return
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.kill(pid, signal.SIGCONT)
    finally:
        os.close(lock)


async def cycle(stopped: Process, path: Path, number: int) -> None:
    """Stop it amid a step, let another worker finish the run, and see what it does when it goes on."""
    stopped.say(f"start {number}")
    stopped.until(f"begun {number}")
    [name] = everything(path)["workers"]
    stop(stopped.pid, path)
    try:
        stopped.say(f"go {number}")  # its step ends the moment it goes on, and it tries to record that
        async with Engine(f"sqlite:{path}", _lease=0.6):
            assert await (await zombie.held_up.handle(f"held-{number}")).result() == str(os.getpid())
        before = everything(path)
        assert before["workers"] == []
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    assert name in stopped.until("fenced")
    stopped.say(f"start {1000 + number}")
    stopped.say(f"go {1000 + number}")
    stopped.until(f"marked held-{1000 + number}")
    after = everything(path)
    for table in ("runs", "entries"):
        assert set(before[table]) <= set(after[table]), "a stale write was accepted"
    assert {row[0] for row in set(after["entries"]) - set(before["entries"])} <= {f"held-{1000 + number}"}
    [new] = after["workers"]
    assert new != name
    assert f":{stopped.pid}:" in new


def test_a_stopped_worker_writes_nothing_more_and_goes_on_under_a_new_name(tmp_path: Path) -> None:
    path = tmp_path / "segue.db"

    async def cycles(stopped: Process) -> None:
        for number in range(CYCLES):
            await cycle(stopped, path, number)

    with process("zombie", f"sqlite:{path}", "--alone") as stopped:
        stopped.until("open")
        asyncio.run(cycles(stopped))


@step
async def one() -> int:
    return 1


@flow
async def quick() -> int:
    return await one()


async def sweep_away(engine: Engine) -> None:
    """What another worker does once our lease has lapsed."""
    store = engine.store.sibling()
    await store.open()
    await store.leave(engine.worker)
    await store.close()


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("execute", [False, True])
def test_a_run_started_while_the_lease_is_lost_is_on_disk_or_refused(
    tmp_path: Path, named: bool, execute: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "segue.db"

    async def main() -> list[str]:
        acknowledged: list[str] = []
        refused: list[str] = []

        async def submit(number: int) -> None:
            try:
                acknowledged.append((await quick.options(id=f"r{number}" if named else None).start()).id)
            except StoreError as error:
                refused.append(str(error))

        async with asyncio.timeout(30):
            async with Engine(f"sqlite:{path}", execute=execute):
                pass
            async with Engine(f"sqlite:{path}", execute=execute, _lease=60) as engine:
                for burst in range(10):
                    first = [asyncio.create_task(submit(burst * 100 + n)) for n in range(5)]
                    await asyncio.sleep(0)
                    await sweep_away(engine)
                    await asyncio.gather(*first, *[submit(burst * 100 + 50 + n) for n in range(5)])
            async with Engine(f"sqlite:{path}"):
                for id in acknowledged:
                    assert await (await quick.handle(id)).result() == 1
        assert all("lease" in each for each in refused)
        return acknowledged

    with caplog.at_level(logging.CRITICAL):
        acknowledged = asyncio.run(main())
    assert len(acknowledged) >= 40


def test_an_awaited_run_whose_creation_was_fenced_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), Engine(f"sqlite:{tmp_path / 'a.db'}", _lease=60) as engine:
            for _ in range(10):
                await sweep_away(engine)
                calls = [asyncio.create_task(quick()) for _ in range(5)]
                for result in await asyncio.gather(*calls, return_exceptions=True):
                    assert result == 1 or isinstance(result, StoreError)
            assert await quick() == 1

    asyncio.run(main())


def test_a_worker_that_was_swept_changes_nothing_of_a_run_that_is_anothers(tmp_path: Path) -> None:
    """The store's own fence, without an engine's good will."""
    from segue.core.entries import Entry, Kind
    from segue.core.lifecycle import Status
    from segue.errors import Fenced
    from segue.stores.base import Batch, Change, NewRun
    from segue.types import StepId

    async def main() -> None:
        store = SqliteStore(tmp_path / "a.db")
        await store.open()
        await store.join("old", -1)
        new = NewRun("r", "f", "", "", Status.RUNNING, "old", "old", None, 0, None, None, 0, 0, 0, b"", 0)
        assert await store.create(new) is None
        assert [lost.run for lost in await store.sweep()] == ["r"]
        await store.join("new", 60)
        assert [claimed.row.id for claimed in await store.claim("new", None, 1, None, False)] == ["r"]
        before = everything(tmp_path / "a.db")
        entry = ("r", Entry(1, Kind.OK, StepId("s"), 1, 0, 0, b"", b""))
        change = Change("r", Status.COMPLETED, result=b"", ended=0)
        for batch in (Batch([], [entry], []), Batch([], [], [change]), Batch([], [entry], [change])):
            with pytest.raises(Fenced):
                await store.commit("old", batch)
            with pytest.raises(Fenced):
                store.commit_now("old", batch)
        assert everything(tmp_path / "a.db") == before
        assert not await store.renew("old", 60)
        await store.close()

    asyncio.run(main())
