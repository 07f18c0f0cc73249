"""The command line as a whole, and the front door beside it."""

import ast
import importlib
import inspect
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from click.testing import CliRunner

import segue
from segue.cli import MODULES, cli
from segue.cli.text import one_line, visible

from .conftest import Project


def test_help_and_version() -> None:
    for command in ["", *MODULES]:
        shown = CliRunner().invoke(cli, [*filter(None, [command]), "--help"])
        assert shown.exit_code == 0
        assert command in ("", "doctor") or "--store" in shown.output
    assert CliRunner().invoke(cli, ["--version"]).output.startswith("segue ")


def test_help_imports_nothing_slow() -> None:
    watched = "('rich', 'asyncio', 'apsw', 'msgspec', 'segue.cli.run')"
    code = f"import sys, segue.cli; print([m for m in {watched} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_only_looks_waits_for_neither_a_loop_nor_rich(project: Project) -> None:
    project.segue("run", "app.py:bad", "--input", "1")
    for command in ("runs", "show last", "dead", "inbox"):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "segue", *command.split()],
            cwd=project.folder,
            env=project.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "segue.cli.archive" in imported
        assert not imported & {"rich", "asyncio", "segue.runtime.engine"}, command


def test_usage_errors_exit_with_2(project: Project) -> None:
    assert project.segue("run").code == 2
    assert project.segue("dance").code == 2
    done = project.segue("runs", "--limit", "0")
    assert (done.code, done.out) == (2, "")
    assert "segue runs --help" in done.err


def test_closed_pipe_is_no_error(project: Project) -> None:
    project.segue("run", "app.py:numbers", "--input", "[1]")
    process = project.start("runs")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(30) in (0, 1)
    assert process.stderr.read() == ""


def test_nothing_dangerous_is_shown() -> None:
    everything = "".join(map(chr, range(0x2100)))
    assert visible(everything).replace("\n", "").isprintable() or all(
        c.isprintable() or c.isspace() or not c.isascii() for c in visible(everything)
    )
    assert not set(one_line(everything)) & {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), "\u202e", "\u2066"}


# The front door


def _named_for_type_checkers() -> dict[str, str]:
    tree = ast.parse(Path(segue.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


def test_all_is_what_can_be_imported() -> None:
    homes = _named_for_type_checkers()
    assert sorted(homes) == sorted(segue.__all__)
    for name, module in homes.items():
        assert getattr(segue, name) is getattr(importlib.import_module(module), name)
    assert set(segue.__all__) <= set(dir(segue))


def test_all_is_documented() -> None:
    for name, module in _named_for_type_checkers().items():
        value = getattr(segue, name)
        described = value.__doc__ if callable(value) or inspect.ismodule(value) else ""
        body = ast.parse(Path(importlib.import_module(module).__file__ or "").read_text()).body
        beside = [
            after
            for before, after in pairwise(body)
            if isinstance(before, ast.Assign) and ast.unparse(before.targets[0]) == name and isinstance(after, ast.Expr)
        ]
        assert described or beside, f"segue.{name} says nothing about itself"
