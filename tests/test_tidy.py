"""The house rules that a machine can hold: which room may import which, and what stands in none."""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import segue
from segue import errors

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "segue"
MODULES = sorted(SRC.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), shown(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Each module that a file imports, wherever in it, and the line."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


PURE = ("segue.core", "segue.policies", "segue.limits", "segue.errors", "segue.types")
VALUES = ("segue.values", "segue.outcomes", "segue.checks", "segue.model_text", "segue.schemas", "segue.drift")
OUTER = (
    "segue.cli", "segue.pipelines", "segue.loading", "segue.inspection", "segue.testing", "segue.models",
    "segue.comparison", "segue.retention", "segue.observe", "segue.alerts", "segue.triggers",
)  # fmt: skip
FRONT = (
    "segue.steps", "segue.declared", "segue.gates", "segue.together", "segue.flows", "segue.inside", "segue.files",
    "segue.people", "segue.sending", "segue.inbox", "segue.repair",
)  # fmt: skip

ALLOWED = {
    "core": PURE,
    "stores": (
        *PURE, "segue.values", "segue.stores", "segue.runtime.crashpoints", "segue.runtime.threads",
        "segue.runtime.failures",
    ),
    "runtime": (*PURE, *VALUES, "segue.stores", "segue.runtime"),
}  # fmt: skip
"""What each room may import of ours. The front and the outer rooms may import what they like of these."""


@pytest.mark.parametrize("room", ALLOWED)
def test_arrows_go_one_way(room: str) -> None:
    wrong = [
        f"{shown(path)}:{line} imports {name}"
        for path in sorted((SRC / room).rglob("*.py"))
        for line, name in imports(path)
        if within(name, ("segue",)) and name != "segue" and not within(name, ALLOWED[room])
        # `from segue.runtime import crashpoints` is seen as both
        if not any(allowed.startswith(f"{name}.") for allowed in ALLOWED[room])
    ]
    assert wrong == []


@pytest.mark.parametrize("name", ["values.py", "policies.py", "errors.py", "types.py"])
def test_the_plain_values_import_nothing_above_them(name: str) -> None:
    assert [i for i in imports(SRC / name) if within(i[1], ("segue.runtime", "segue.stores", *FRONT, *OUTER))] == []


@pytest.mark.parametrize("path", [*(SRC / f"{name[6:]}.py" for name in FRONT)], ids=shown)
def test_the_front_knows_nothing_of_the_outer_rooms(path: Path) -> None:
    named = {name for _, name in imports(path) if within(name, OUTER)}
    assert {name for name in named if not within(name, ("segue.inspection",))} == set()


def test_the_core_uses_the_standard_library_and_no_clock_chance_or_io() -> None:
    forbidden = ("asyncio", "time", "random", "os", "threading", "socket", "datetime", "uuid", "secrets", "pathlib")
    for path in sorted((SRC / "core").glob("*.py")):
        for line, name in imports(path):
            assert not within(name, forbidden), f"{shown(path)}:{line} imports {name}"
            assert within(name, PURE) or name.split(".")[0] in sys.stdlib_module_names, (
                f"{shown(path)}:{line} imports {name}"
            )
        awaits = [n for n in ast.walk(tree(path)) if isinstance(n, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor)]
        assert awaits == [], f"{shown(path)} awaits"


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    assert [shown(path) for path in MODULES if path.stem in ("utils", "util", "common", "helpers", "misc")] == []


def test_stored_bytes_can_never_become_code() -> None:
    wrong: list[str] = []
    for path in MODULES:
        wrong += [
            f"{shown(path)}:{line} imports {name}"
            for line, name in imports(path)
            if within(name, ("pickle", "marshal", "shelve", "dill", "cloudpickle", "copyreg"))
        ]
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                wrong.append(f"{shown(path)}:{node.lineno} calls {node.func.id}")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                wrong.append(f"{shown(path)}:{node.lineno} says allow_pickle")
    assert wrong == []


def test_yaml_is_read_as_data() -> None:
    for path in MODULES:
        for found in re.findall(r"yaml\.(\w*load\w*)", path.read_text()):
            assert found == "safe_load", shown(path)


def test_tests_wait_for_events_and_do_not_sleep() -> None:
    wrong: list[str] = []
    for path in TESTS:
        for node in ast.walk(tree(path)):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            name = ast.unparse(node.func)
            length: Any = node.args[0].value
            if name in ("asyncio.sleep", "time.sleep", "sleep") and isinstance(length, int | float) and length >= 0.1:
                wrong.append(f"{shown(path)}:{node.lineno} {ast.unparse(node)}")
    # a length that a timeout or a kill cuts short is no wait
    assert [line for line in wrong if not re.search(r"sleep\(\d{2,}\)$", line)] == []


# What is public


@pytest.mark.parametrize("name", segue.__all__)
def test_what_is_public_says_what_it_is(name: str) -> None:
    value: Any = getattr(segue, name)
    doc = getattr(value, "__doc__", None)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert doc, f"segue.{name} has no docstring"
        for member, part in vars(value).items() if inspect.isclass(value) else ():
            if not member.startswith("_") and inspect.isfunction(part):
                assert part.__doc__, f"segue.{name}.{member} has no docstring"


def test_the_front_door_names_what_is_exported_and_nothing_else() -> None:
    assert segue.__all__ == sorted(segue.__all__)
    for name in segue.__all__:
        assert getattr(segue, name) is not None
    assert set(segue.__all__) <= set(dir(segue))
    with pytest.raises(AttributeError, match="module 'segue' has no attribute 'nothing'"):
        _ = segue.nothing  # type: ignore[attr-defined]


def drawn() -> dict[str, str]:
    """Each error in the tree that the docstring draws, and what stands above it."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([\s│├└─]*)([A-Z]\w+)(?:\s|$)", line)
        if found is None or not line.startswith("    "):
            continue
        depth, name = len(found[1]), found[2]
        while above and above[-1][0] >= depth:
            above.pop()
        parents[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    return parents


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    real = {
        name: next(base.__name__ for base in value.__mro__[1:])
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__
    }
    assert drawn() == real


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_every_module_says_what_it_is_for_and_can_be_imported(path: Path) -> None:
    assert ast.get_docstring(tree(path)), f"{shown(path)} has no docstring"
    name = ".".join(path.relative_to(SRC.parent).with_suffix("").parts).removesuffix(".__init__")
    if name != "segue.__main__":
        importlib.import_module(name)
