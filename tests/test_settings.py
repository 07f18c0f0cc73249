"""Where the store is when nobody says, and what a project's settings may say."""

from pathlib import Path

import pytest

from segue import DeclarationError
from segue.runtime.settings import Settings, default_store, project_root, read
from segue.stores.sqlite import SqliteStore
from segue.stores.urls import open_url


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGUE_STORE", raising=False)


@pytest.mark.parametrize("mark", ["segue.toml", "pyproject.toml", ".git"])
def test_a_project_is_the_nearest_folder_with_a_mark(mark: str, tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / mark).touch()
    assert project_root(inner) == tmp_path
    assert default_store(inner) == f"sqlite:{tmp_path}/.segue/segue.db"


def test_without_a_mark_the_folder_itself_is_the_project(tmp_path: Path) -> None:
    assert project_root(tmp_path) == tmp_path


def test_the_environment_goes_before_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "segue.toml").write_text('store = "sqlite:mine.db"')
    monkeypatch.setenv("SEGUE_STORE", "memory:")
    assert default_store(tmp_path) == "memory:"
    monkeypatch.setenv("SEGUE_STORE", "")
    assert default_store(tmp_path) == f"sqlite:{tmp_path}/mine.db"


@pytest.mark.parametrize(
    ("said", "store"),
    [("sqlite:mine.db", "sqlite:{}/mine.db"), ("sqlite:/abs.db", "sqlite:/abs.db"), ("memory:", "memory:")],
)
@pytest.mark.parametrize(("file", "head"), [("segue.toml", ""), ("pyproject.toml", "[tool.segue]\n")])
def test_a_relative_store_is_found_from_the_project(
    said: str, store: str, file: str, head: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(f'{head}store = "{said}"')
    assert default_store(tmp_path) == store.format(tmp_path)


def test_everything_a_project_may_say_is_read(tmp_path: Path) -> None:
    (tmp_path / "segue.toml").write_text(
        'store = "memory:"\nmain = "app.py:flow"\nflows = ["app.py"]\nreport = "app.py:show"\n[input]\nx = 1\n'
    )
    assert read(tmp_path) == Settings(tmp_path, "memory:", "app.py:flow", ("app.py",), "app.py:show", {"x": 1})


def test_a_project_that_says_nothing_has_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nx = 1")
    assert read(tmp_path) == Settings(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stoer = 'x'", "'stoer' is not a setting"),
        ("store = 3", "'store' is text, not 3"),
        ("flows = 'app.py'", "'flows' is a list of modules or files, not 'app.py'"),
        ("flows = [1]", "'flows' is a list of modules or files"),
        ("input = 1", "'input' is a table of the flow's parameters"),
        ("store = ", "segue.toml: "),
        ("store = 3\nmain = 4", "'store' is text, not 3; 'main' is text, not 4"),
    ],
)
def test_wrong_settings_are_refused_and_the_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "segue.toml").write_text(text)
    with pytest.raises(DeclarationError) as refusal:
        default_store(tmp_path)
    assert said in str(refusal.value)
    assert str(tmp_path / "segue.toml") in str(refusal.value)


@pytest.mark.parametrize("url", ["sqlite:{}/a.db", "sqlite://{}/a.db", "{}/a.db", "sqlite:{}/a.db?durability=process"])
def test_a_url_names_a_file(url: str, tmp_path: Path) -> None:
    store = open_url(url.format(tmp_path))
    assert isinstance(store, SqliteStore)
    assert store.path == tmp_path / "a.db"
    assert store.durability == ("process" if "?" in url else "disk")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost", "there is no 'redis' store; there are sqlite:PATH and memory:"),
        ("sqlite:", "names no file"),
        ("", "names no file"),
        ("sqlite:a.db?durability=none", "durability is 'disk' or 'process', not 'none'"),
        ("sqlite:a.db?speed=high", "speed is not an option"),
    ],
)
def test_a_url_that_names_no_store_is_refused(url: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        open_url(url)
