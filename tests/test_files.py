"""Files that steps pass on: kept by what they hold, found by whoever has the value."""

import hashlib
import os
from pathlib import Path

import pytest

from segue import CorruptRecord, Engine, File, StoreError, flow, step
from segue.stores.artifacts import SPILL, Artifacts

from . import processing
from .stage import asynchronous, stage


@step
def make(folder: str, text: str) -> File:
    path = Path(folder, "note.txt")
    path.write_text(text)
    saved = File.save(path)
    path.write_text("changed afterwards")
    return saved


@step
def read(file: File) -> str:
    return file.path.read_text() + file.read_bytes().decode()


@flow
async def passes_on(folder: str) -> tuple[File, str]:
    file = await make(folder, "kept")
    return file, await read(file)


@flow
async def passes_on_from_a_process(folder: str) -> tuple[File, str]:
    file = await processing.saves(folder)
    return file, await read(file)


@asynchronous
async def test_a_file_is_kept_as_it_was_saved_and_passed_on_by_its_hash(tmp_path: Path) -> None:
    async with stage() as on:
        file, text = await on.play(passes_on, str(tmp_path))
        assert text == "keptkept"
        assert (file.name, file.size, file.sha256) == ("note.txt", 4, hashlib.sha256(b"kept").hexdigest())
        assert file.read_bytes() == b"kept"
        assert not os.access(file.path, os.W_OK) or os.geteuid() == 0
        assert await on.again(passes_on) == (file, text)
        assert on.attempts() == []


@asynchronous
async def test_a_step_in_a_process_saves_into_the_same_place(tmp_path: Path) -> None:
    async with stage() as on:
        file, text = await on.play(passes_on_from_a_process, str(tmp_path))
    assert (file.name, text) == ("made.txt", "madehere" * 2)


@asynchronous
async def test_files_lie_beside_their_store_and_are_found_after_it(tmp_path: Path) -> None:
    async with Engine(f"sqlite:{tmp_path}/runs.db?durability=process"):
        file, _ = await passes_on(str(tmp_path))
        assert file.path.parent.parent == tmp_path / "runs.artifacts"
    assert Artifacts(tmp_path / "runs.artifacts").get(file.sha256) == b"kept"


def test_outside_runs_a_file_is_found_beside_the_default_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_STORE", f"sqlite:{tmp_path}/here.db")
    (tmp_path / "a.bin").write_bytes(b"\0\1")
    file = File.save(tmp_path / "a.bin", name="renamed")
    assert file == File(hashlib.sha256(b"\0\1").hexdigest(), "renamed", 2)
    assert file.path.is_relative_to(tmp_path / "here.artifacts")


def test_a_file_that_is_not_there_is_python_s_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_STORE", f"sqlite:{tmp_path}/here.db")
    with pytest.raises(FileNotFoundError):
        File.save(tmp_path / "nowhere")


# The artifact store


def test_the_same_bytes_are_kept_once(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    assert artifacts.put(b"x") == artifacts.put(b"x") == hashlib.sha256(b"x").hexdigest()
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 1


def test_bytes_that_were_changed_or_lost_are_noticed(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    digest = artifacts.put(b"x")
    path = artifacts.path(digest)
    path.chmod(0o600)
    path.write_bytes(b"y")
    with pytest.raises(CorruptRecord, match="does not hold what was written"):
        artifacts.get(digest)
    path.unlink()
    with pytest.raises(CorruptRecord, match="is missing"):
        artifacts.get(digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65])
def test_what_is_no_hash_is_no_path(digest: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not the hash of an artifact"):
        Artifacts(tmp_path).path(digest)


def test_long_values_are_spilled_and_fetched(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    for data in (None, b"", b"x" * SPILL):
        assert artifacts.spill(data) is data
    long = b"x" * (SPILL + 1)
    spilled = artifacts.spill(long)
    assert spilled == artifacts.reference(long)
    assert spilled is not None
    assert len(spilled) < 100
    assert artifacts.fetch(spilled) == long


@step
async def long_text(size: int) -> str:
    return "x" * size


@step
async def length(text: str) -> int:
    return len(text)


@flow
async def moves_long_text(size: int) -> tuple[int, str]:
    text = await long_text(size)
    return await length(text), text


@asynchronous
async def test_long_inputs_and_results_leave_the_journal_and_come_back() -> None:
    size = 2 * SPILL
    async with stage() as on:
        expected = (size, "x" * size)
        assert await on.play(moves_long_text, size) == expected
        assert all(len(entry.input or b"") + len(entry.output or b"") < 200 for entry in await on.journal())
        assert await on.again(moves_long_text) == expected
        assert on.attempts() == []


@asynchronous
async def test_a_recorded_result_whose_bytes_are_gone_fails_by_name() -> None:
    async with stage() as on:
        await on.play(moves_long_text, 2 * SPILL)
        for path in on.engine.artifacts.root.rglob("*"):
            if path.is_file():
                path.unlink()
        with pytest.raises(Exception, match="is missing from"):
            await on.again(moves_long_text)
