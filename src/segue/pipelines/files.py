"""Specifications in files: read as data, with what a parser would let pass in silence refused."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import yaml

from segue.errors import PipelineError

LARGEST = 1 << 20
"""Bytes that a file may have."""

DEEPEST = 32
"""Levels that it may be nested."""

MOST = 50_000
"""Values that it may hold, those that a YAML alias repeats counted each time."""


def load(path: Path) -> tuple[object, list[str]]:
    """What the file says, and the problems with how it says it.

    Raises:
        OSError: it cannot be read.
        PipelineError: it is no YAML or JSON at all.
    """
    reader = {".yaml": _yaml, ".yml": _yaml, ".json": _json}.get(path.suffix.lower())
    if reader is None:
        raise PipelineError(path.name, ["the file's name ends in .yaml, .yml or .json"])
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise PipelineError(path.name, [f"the file is larger than {LARGEST:,} bytes"])
    problems: list[str] = []
    try:
        value = reader(data.decode("utf-8-sig"), problems)
    except RecursionError:
        raise PipelineError(path.name, ["it is nested too deeply"]) from None
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:  # a date of month 13, an integer of 5,000 digits
        raise PipelineError(path.name, [f"it cannot be read: {' '.join(str(error).split())}"]) from error
    return value, problems


def _json(text: str, problems: list[str]) -> object:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            problems.extend(f"the key {name!r} stands twice in one mapping" for name in made if names.count(name) > 1)
        return made

    value = json.loads(text, object_pairs_hook=unique)
    if _depth(value) > DEEPEST:
        raise RecursionError
    return value


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(cast("dict[str, Any]", value).values())
    parts = cast("list[Any]", value) if isinstance(value, list) else []
    return 1 + max(map(_depth, parts), default=0)


class _Loader(yaml.SafeLoader):
    """The safe loader, giving up as soon as there is too much."""

    composed = depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.composed += 1
        self.depth += 1
        _limit(self.composed, self.depth)
        node = cast("Any", super()).compose_node(parent, index)
        self.depth -= 1
        return node


def _limit(values: int, depth: int) -> None:
    if values > MOST:
        raise ValueError(f"it stands for more than {MOST:,} values")
    if depth > DEEPEST:
        raise RecursionError


def _yaml(text: str, problems: list[str]) -> object:
    loader = cast("Any", _Loader(text))
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        # Before anything is made of it: aliases and merge keys can stand for far more than the file's size.
        _Census(problems).take(node, 1)
        return loader.construct_document(node)
    finally:
        loader.dispose()


class _Census:
    """Counts what a YAML document stands for, and notes the keys that stand twice in a mapping."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        self.counted = 0
        self._seen: set[int] = set()

    def take(self, node: yaml.Node, depth: int) -> None:
        """Count this part and all below."""
        self.counted += 1
        _limit(self.counted, depth)
        if isinstance(node, yaml.MappingNode):
            self._note_twice(node)
            for key, value in node.value:
                self.take(key, depth + 1)
                self.take(value, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for part in node.value:
                self.take(part, depth + 1)

    def _note_twice(self, node: yaml.MappingNode) -> None:
        if id(node) in self._seen:  # an alias brings it here again
            return
        self._seen.add(id(node))
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys:
                    line = key.start_mark.line + 1
                    self.problems.append(f"line {line}: the key {key.value!r} stands twice in one mapping")
                keys.add((key.tag, key.value))


def importer(folder: Path) -> Callable[[str], Any]:
    """Gives what ``"module:function"`` names, for the file in this folder.

    Modules beside the file are found too. Whatever goes wrong in the import is a ``LookupError``.
    """

    def find(name: str) -> Any:
        module, _, path = name.partition(":")
        beside = str(folder.resolve())
        if beside not in sys.path:
            sys.path.append(beside)  # last: a file beside the specification must not stand in for an installed module
        try:
            found: Any = importlib.import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
        except Exception as error:
            raise LookupError(f"{type(error).__name__}: {error}") from error
        return found

    return find
