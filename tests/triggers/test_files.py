"""A file that was put into a folder starts one run, once it stands still."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from segue import DeclarationError, File, QueueFull, flow
from segue.errors import StoreFull
from segue.flows import Flow
from segue.runtime.engine import Engine
from segue.runtime.threads import Pool
from segue.stores.artifacts import Artifacts
from segue.stores.base import Query, Reject, Row
from segue.triggers import files
from segue.triggers.files import Folder, watching


@flow(on=[files("inbox/*.txt", every=0.01)])
async def read(document: File) -> str:
    return document.read_bytes().decode()


@flow(on=[files("inbox/*.txt")])
async def place(path: Path) -> str:
    return str(path)


@flow(on=[files("inbox/**/*.txt")])
async def name(path: str) -> str:
    return path


@flow(max_queued=1, on=[files("inbox/*.txt")])
async def narrow(path: str) -> None: ...


class Scene:
    """A project's folder, and a flow that takes files from it."""

    def __init__(self, root: Path, engine: Engine, folder: Folder) -> None:
        self.root, self.engine, self.folder = root, engine, folder

    async def look(self) -> int:
        return await self.folder.look()

    async def still(self) -> None:
        """Look twice."""
        await self.look()
        await self.look()

    async def runs(self) -> list[Row]:
        return await self.engine.store.find(Query(limit=100))

    async def inputs(self) -> list[Any]:
        loaded = [await self.engine.store.load(row.id) for row in (await self.runs())[::-1]]
        found = [self.folder.spec.inputs.decode(row[0].input) for row in loaded if row is not None]
        return [next(iter((*args, *named.values()))) for args, named in found]

    async def rejects(self) -> list[Reject]:
        return await self.engine.store.rejects(100)


@asynccontextmanager
async def opened(root: Path, of: "Flow[..., Any]", *, execute: bool = False) -> AsyncGenerator[Scene, None]:
    pool = Pool("test", 1)
    async with Engine(f"sqlite:{root / 'runs.db'}?durability=process", execute=execute) as engine:
        (root / "inbox").mkdir(exist_ok=True)
        yield Scene(root, engine, Folder(engine, of.spec, of.spec.on[0], root, pool))
    pool.close()


def play(root: Path, of: "Flow[..., Any]", scene: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with opened(root, of) as made:
            await scene(made)

    asyncio.run(whole())


def test_a_file_starts_a_run_when_it_stands_still(tmp_path: Path) -> None:
    async def scene(here: Scene) -> None:
        file = here.root / "inbox" / "a.txt"
        file.write_text("half")
        assert await here.look() == 0
        file.write_text("half a file")  # somebody still writes
        assert await here.look() == 0
        assert await here.look() == 1
        assert await here.look() == 0
        [document] = await here.inputs()
        assert (document.name, document.size) == ("a.txt", 11)
        assert here.engine.artifacts.get(document.sha256) == b"half a file"

    play(tmp_path, read, scene)


def test_what_the_flow_takes_is_what_it_gets(tmp_path: Path) -> None:
    async def takes_path(here: Scene) -> None:
        (here.root / "inbox" / "a.txt").touch()
        await here.still()
        assert await here.inputs() == [Path("inbox/a.txt")]

    async def takes_text(here: Scene) -> None:
        (here.root / "inbox" / "deep" / "er").mkdir(parents=True)
        (here.root / "inbox" / "deep" / "er" / "é.txt").touch()
        await here.still()
        assert sorted(await here.inputs()) == ["inbox/a.txt", "inbox/deep/er/é.txt"]

    play(tmp_path, place, takes_path)
    (tmp_path / "runs.db").unlink()
    play(tmp_path, name, takes_text)


def test_another_start_finds_the_runs_of_the_one_before(tmp_path: Path) -> None:
    async def scene(here: Scene) -> None:
        (here.root / "inbox" / "a.txt").write_text("a")
        await here.still()
        assert len(await here.runs()) == 1

    play(tmp_path, read, scene)

    async def again(here: Scene) -> None:
        await here.still()
        assert len(await here.runs()) == 1
        (here.root / "inbox" / "b.txt").write_text("b")
        await here.still()
        assert len(await here.runs()) == 2

    play(tmp_path, read, again)


def test_a_file_that_is_written_anew_is_another(tmp_path: Path) -> None:
    async def scene(here: Scene) -> None:
        file = here.root / "inbox" / "a.txt"
        file.write_text("one")
        await here.still()
        file.write_text("two")
        os.utime(file, ns=(1, 1))
        await here.still()
        assert len(await here.runs()) == 2

    play(tmp_path, read, scene)


def test_links_are_rejected_once_and_never_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    away = tmp_path / "away"
    away.mkdir()
    (away / "b.txt").write_text("secret")
    root = tmp_path / "project"
    (root / "inbox").mkdir(parents=True)
    (root / "inbox" / "a.txt").symlink_to(secret)
    (root / "inbox" / "gone.txt").symlink_to("nowhere")

    async def scene(here: Scene) -> None:
        for _ in range(3):
            await here.look()
        assert await here.runs() == []
        assert {one.source for one in await here.rejects()} == {"file inbox/a.txt", "file inbox/gone.txt"}
        assert all("symbolic link" in one.reason and not one.body for one in await here.rejects())

    play(root, read, scene)
    play(root, read, scene)

    @flow(on=[files("*/*.txt")])
    async def wide(document: File) -> None: ...

    async def folder_is_a_link(here: Scene) -> None:
        (root / "linked").symlink_to(away)
        await here.still()
        assert await here.runs() == []
        assert "file linked/b.txt" in {one.source for one in await here.rejects()}

    play(root, wide, folder_is_a_link)


def test_what_is_no_file_is_rejected(tmp_path: Path) -> None:
    async def scene(here: Scene) -> None:
        os.mkfifo(here.root / "inbox" / "pipe.txt")
        (here.root / "inbox" / "folder.txt").mkdir()
        (here.root / "inbox" / os.fsdecode(b"\xff.txt")).touch()
        await here.still()
        assert await here.runs() == []
        reasons = sorted(one.reason for one in await here.rejects())
        assert reasons == ["it is no regular file", "its name is not UTF-8"]

    play(tmp_path, read, scene)


def test_a_file_that_is_gone_or_changed_when_it_is_opened_waits(tmp_path: Path) -> None:
    async def scene(here: Scene) -> None:
        gone, changed = (here.root / "inbox" / f"{name}.txt" for name in ("gone", "changed"))
        for file in (gone, changed):
            file.write_text("x")
        await here.look()
        stamps = here.folder._scan()  # pyright: ignore[reportPrivateUsage]
        here.folder._scan = lambda: stamps  # pyright: ignore[reportPrivateUsage]
        gone.unlink()
        changed.write_text("longer")
        assert await here.look() == 0
        assert await here.runs() == []
        assert await here.rejects() == []

    play(tmp_path, read, scene)


def test_what_is_written_to_while_it_is_copied_is_kept_as_what_was_read(tmp_path: Path) -> None:
    class Moving(BytesIO):
        """Its end changes as its beginning is read."""

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.getbuffer()[-1:] = b"z"
            return data

    artifacts = Artifacts(tmp_path / "kept")
    source = Moving(b"a" * 600_000)
    digest = artifacts.put_open(source)
    assert artifacts.get(digest) == b"a" * 599_999 + b"z"
    assert artifacts.put_open(BytesIO(source.getvalue())) == digest
    assert [path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()] == [digest[2:]]


def test_a_file_that_cannot_be_kept_waits_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Artifacts.put_open

    def full(self: Artifacts, source: BinaryIO) -> str:
        if source.read(3) == b"big":
            raise StoreFull("no room")
        source.seek(0)
        return put(self, source)

    async def scene(here: Scene) -> None:
        monkeypatch.setattr(Artifacts, "put_open", full)
        for name in ("a", "b", "c"):
            (here.root / "inbox" / f"{name}.txt").write_text("big" if name == "b" else name)
        await here.look()
        with pytest.raises(StoreFull):
            await here.look()
        assert len(await here.runs()) == 2
        monkeypatch.undo()
        assert await here.look() == 1
        assert len(await here.runs()) == 3
        assert await here.rejects() == []

    play(tmp_path, read, scene)


def test_a_full_queue_keeps_files_waiting(tmp_path: Path) -> None:
    async def scene(here: Scene) -> None:
        for n in range(3):
            (here.root / "inbox" / f"{n}.txt").touch()
        await here.look()
        with pytest.raises(QueueFull):
            await here.look()
        assert len(await here.runs()) == 1
        assert await here.rejects() == []

    play(tmp_path, narrow, scene)


def test_it_watches_until_it_is_left(tmp_path: Path) -> None:
    async def whole() -> None:
        async with opened(tmp_path, read, execute=True) as here:
            (tmp_path / "inbox" / "a.txt").write_text("hello")
            ended = asyncio.Event()
            here.engine.watchers.append(lambda told: ended.set() if told.what == "end" else None)
            async with asyncio.timeout(60), watching(here.engine, [read], tmp_path) as folders:
                assert [folder.trigger.pattern for folder in folders] == ["inbox/*.txt"]
                await ended.wait()
            [run] = await here.runs()
            assert await (await read.handle(run.id)).result() == "hello"

    asyncio.run(whole())


@pytest.mark.parametrize("pattern", ["/etc/*", "../*.txt", "inbox/../../x", "", ".", "a**/b", "x\0"])
def test_patterns_stay_within_the_project(pattern: str) -> None:
    with pytest.raises(DeclarationError):
        files(pattern)


def test_a_flow_that_takes_no_file_has_none() -> None:
    async def number(n: int) -> None: ...

    with pytest.raises(DeclarationError, match="takes int"):
        flow(on=[files("inbox/*")])(number)
    with pytest.raises(DeclarationError, match="every"):
        files("inbox/*", every=0)
