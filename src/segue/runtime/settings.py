"""Where the store is, and what a project's ``segue.toml`` says."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from segue.errors import DeclarationError

_MARKS = ("segue.toml", "pyproject.toml", ".git")


@dataclass(frozen=True, slots=True)
class Settings:
    """A project's settings: ``segue.toml``, or ``[tool.segue]`` in ``pyproject.toml``.

    Attributes:
        folder: where the file is; what it names is found from here.
        store: the store's URL.
        main: the flow that ``segue run FOLDER`` runs, as ``"app.py:flow"``.
        flows: modules or files whose flows a worker runs.
        report: ``"report.py:function"``, called with a completed run's result by ``segue run``.
        input: what ``segue run`` gives the main flow when nothing else is given.
        retention: how long ``segue worker`` keeps runs that have ended: see ``segue.retention``.
        alerts: whom ``segue worker`` tells what is wrong: see ``segue.alerts``.
    """

    folder: Path
    store: str | None = None
    main: str | None = None
    flows: tuple[str, ...] = ()
    report: str | None = None
    input: dict[str, Any] = field(default_factory=dict[str, Any])
    retention: dict[str, Any] | None = None
    alerts: dict[str, Any] | None = None


_TEXT = ("store", "main", "report")
_TABLES = {
    "retention": "older_than, every, status",
    "alerts": "webhook, command, on, queue_age, overdue, repeat, at_most",
}


def project_root(start: Path | None = None) -> Path:
    """The nearest folder, from here up, that holds a project; else this folder."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in _MARKS):
            return folder
    return start


def read(folder: Path) -> Settings:
    """The settings in this folder.

    Raises:
        DeclarationError: the file is not TOML, or says something unknown.
    """
    for name, keys in (("segue.toml", ()), ("pyproject.toml", ("tool", "segue"))):
        file = folder / name
        if not file.is_file():
            continue
        import tomllib  # where no file is, nobody waits for it

        try:
            table: Any = tomllib.loads(file.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DeclarationError(f"{file}: {error}") from error
        for key in keys:
            table = table.get(key, {})
        if table or not keys:
            return _checked(folder, file, table)
    return Settings(folder)


def _checked(folder: Path, file: Path, table: dict[str, Any]) -> Settings:
    known = (*_TEXT, "flows", "input", *_TABLES)
    problems = [f"{key!r} is not a setting; there are {', '.join(known)}" for key in table if key not in known]
    problems += [f"{key!r} is text, not {table[key]!r}" for key in _TEXT if not isinstance(table.get(key, ""), str)]
    flows: Any = table.get("flows", [])
    if not isinstance(flows, list) or not all(isinstance(flow, str) for flow in cast("list[Any]", flows)):
        problems.append(f"'flows' is a list of modules or files, not {flows!r}")
    if not isinstance(table.get("input", {}), dict):
        problems.append("'input' is a table of the flow's parameters")
    problems += [f"{key!r} is a table: {of}" for key, of in _TABLES.items() if not isinstance(table.get(key, {}), dict)]
    if problems:
        raise DeclarationError(f"{file}: " + "; ".join(problems))
    main, report, store = table.get("main"), table.get("report"), table.get("store")
    flows = tuple(cast("list[str]", flows))
    tables = (table.get(key) for key in _TABLES)
    return Settings(folder, store, main, flows, report, table.get("input", {}), *tables)


def default_store(start: Path | None = None) -> str:
    """The URL of the store that is used when none is named: ``SEGUE_STORE``, the project's setting, or its folder."""
    if url := os.environ.get("SEGUE_STORE"):
        return url
    root = project_root(start)
    settings = read(root)
    if settings.store is not None:
        kind, colon, path = settings.store.partition(":")
        if kind == "sqlite" and colon and not path.startswith("/"):
            return f"sqlite:{root / path}"
        return settings.store
    return f"sqlite:{root / '.segue' / 'segue.db'}"
