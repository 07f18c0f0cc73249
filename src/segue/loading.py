"""Finding a user's code: ``module:flow``, ``file.py:flow``, ``pipeline.yaml``, a folder with a ``segue.toml``.

Code is imported because somebody named it on a command line or in a project's settings, never because a store did.
"""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from segue.errors import SegueError, UsageError
from segue.runtime.settings import Settings, project_root, read

if TYPE_CHECKING:
    from segue.flows import Flow

PIPELINES = (".yaml", ".yml", ".json")


class LoadError(UsageError):
    """The user's code could not be imported.

    Attributes:
        trace: the user's part of the traceback, as text; empty where the message says it all.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        self.trace = trace
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Found:
    """A flow, and what the project that it was found in says about running it."""

    flow: "Flow[..., Any]"
    settings: Settings | None = None


def find_flow(target: str) -> Found:
    """The one flow that a target names.

    Raises:
        LoadError: its code cannot be imported.
        UsageError: it names no flow, or several.
    """
    path, name = split(target)
    if name is None and Path(path).is_dir():
        settings = read(Path(path).resolve())
        if settings.main is None:
            raise UsageError(
                f'{_shown(path)} names no main flow: write a segue.toml there that says main = "app.py:flow", or run '
                "one of its files: segue run FILE.py:FLOW"
            )
        return Found(_one_flow(settings.main, settings.folder), settings)
    return Found(_one_flow(target, Path.cwd()))


def find_flows(targets: Sequence[str]) -> "list[Flow[..., Any]]":
    """The flows that the targets name; without any, those that the project's settings list.

    Raises:
        LoadError: some code cannot be imported.
        UsageError: there is no flow in it, or nothing is listed.
    """
    found: list[Flow[..., Any]] = []
    if not targets:
        folder = project_root()
        settings = read(folder)
        listed = _listed(settings)
        if not listed:
            raise UsageError(
                f"no TARGET is given, and {folder} lists no flows. Name a module or file, such as app.py, or "
                'write a segue.toml there that says:\n\n    flows = ["app.py"]'
            )
        found += _of_project(settings, listed)
    for target in targets:
        path, name = split(target)
        if name is None and Path(path).is_dir():
            settings = read(Path(path).resolve())
            listed = _listed(settings)
            if not listed:
                raise UsageError(
                    f'{_shown(path)} lists no flows: write a segue.toml there that says flows = ["app.py"]'
                )
            found += _of_project(settings, listed)
        else:
            found += _all_flows(target, Path.cwd())
    return list({flow.name: flow for flow in found}.values())


def find_function(target: str, folder: Path) -> Callable[..., Any]:
    """The function that ``"report.py:function"`` names.

    Raises:
        LoadError: its code cannot be imported.
        UsageError: there is no such function.
    """
    path, name = split(target)
    if name is None:
        raise UsageError(f"{target!r} names no function: write it as {path}:function")
    value = _attribute(_module(path, folder), name, target)
    if not callable(value):
        raise UsageError(f"{target!r} is {_article(value)}, not a function")
    return value


def split(target: str) -> tuple[str, str | None]:
    """A target's module or path, and the name behind its last colon, if there is one.

    >>> split("shop/app.py:order")
    ('shop/app.py', 'order')
    """
    path, colon, name = target.rpartition(":")
    if not colon or "/" in name or "\\" in name or Path(target).exists():
        path, name = target, ""
        colon = ""
    if not path:
        raise UsageError(f"{target!r} names no code: write module:flow, file.py:flow, pipeline.yaml or a folder")
    if colon and not name:
        raise UsageError(f"{target!r} names no flow behind the colon: write {path}:flow")
    return path, name or None


# From a target to flows


def _listed(settings: Settings) -> list[str]:
    listed = list(settings.flows)
    if settings.main is not None and split(settings.main)[0] not in {split(target)[0] for target in listed}:
        listed.append(settings.main)
    return listed


def _of_project(settings: Settings, listed: Iterable[str]) -> "list[Flow[..., Any]]":
    return [flow for target in listed for flow in _all_flows(target, settings.folder)]


def _all_flows(target: str, folder: Path) -> "list[Flow[..., Any]]":
    path, name = split(target)
    if name is not None or _is_pipeline(path):
        return [_one_flow(target, folder)]
    flows = _flows_in(_module(path, folder))
    if not flows:
        raise UsageError(f"{target!r} declares no flow: put @flow over an async function in it")
    return list(flows.values())


def _one_flow(target: str, folder: Path) -> "Flow[..., Any]":
    from segue.flows import Flow

    path, name = split(target)
    if _is_pipeline(path):
        return _pipeline(folder / path, name)
    module = _module(path, folder)
    if name is None:
        flows = _flows_in(module)
        if len(flows) == 1:
            return next(iter(flows.values()))
        if not flows:
            raise UsageError(f"{target!r} declares no flow: put @flow over an async function in it")
        raise UsageError(f"{target!r} has {len(flows)} flows; say which: " + ", ".join(f"{path}:{n}" for n in flows))
    value = _attribute(module, name, target)
    if not isinstance(value, Flow):
        advice = (
            "put @flow over it" if inspect.iscoroutinefunction(value) else "a flow is an async function under @flow"
        )
        raise UsageError(f"{target!r} is {_article(value)}, not a flow: {advice}")
    return value  # pyright: ignore[reportUnknownVariableType]


def _flows_in(module: ModuleType) -> "dict[str, Flow[..., Any]]":
    from segue.flows import Flow

    found = {name: value for name, value in vars(module).items() if isinstance(value, Flow)}  # pyright: ignore[reportUnknownVariableType]
    return {name: flow for name, flow in found.items() if flow.fn.__module__ == module.__name__} or found  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


def _is_pipeline(path: str) -> bool:
    return path.endswith(PIPELINES)


def _pipeline(file: Path, name: str | None) -> "Flow[..., Any]":
    if name is not None:
        raise UsageError(f"{_shown(file)} is one flow: leave out ':{name}'")
    if not file.is_file():
        raise UsageError(f"there is no file {_shown(file)}")
    from segue.pipelines import Pipeline  # pyright: ignore

    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))  # the models that it names may lie beside it
    return _guarded(lambda: Pipeline.from_file(file), _shown(file))  # pyright: ignore


def _attribute(module: ModuleType, name: str, target: str) -> Any:
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            flows = ", ".join(_flows_in(module))
            there = f"its flows are {flows}" if flows else "it declares no flow"
            raise UsageError(f"{target!r}: {module.__name__} has no {name!r}; {there}")
        value = getattr(value, part)
    return value


def _article(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


# From a path or name to a module


def _module(path: str, folder: Path) -> ModuleType:
    if path.endswith(".py") or "/" in path:
        return load_file(folder / path)
    _on_path(folder)
    try:
        known = importlib.util.find_spec(path) is not None
    except (ModuleNotFoundError, ValueError):
        known = False
    except Exception as error:
        raise _unimportable(path, error) from error
    if not known:
        beside = folder / f"{path}.py"
        advice = f"a file is named with its ending: {beside.name}" if beside.exists() else "is it installed here?"
        raise UsageError(f"there is no module {path!r} to import; {advice}")
    return _guarded(lambda: importlib.import_module(path), path)


def load_file(file: Path) -> ModuleType:
    """A Python file as a module, once for each file.

    One in a package gets its dotted name, with the package's root on the path; another one its own folder.

    Raises:
        LoadError: it raises, or its name belongs to another module.
        UsageError: there is no such file.
    """
    file = file.resolve()
    if not file.is_file():
        raise UsageError(f"there is no file {_shown(file)}")
    if file.suffix != ".py":
        raise UsageError(f"{_shown(file)} is neither Python nor a pipeline; a target ends in .py, .yaml, .yml or .json")
    name, root = _name_of(file)
    loaded = sys.modules.get(name)
    if loaded is not None and _file_of(loaded) == file:
        return loaded
    if loaded is not None or (root == file.parent and name in sys.stdlib_module_names):
        other = (_file_of(loaded) if loaded else None) or "Python's own"
        raise LoadError(f"{_shown(file)} would be module {name!r}, which is {other}: rename the file")
    _on_path(root)
    if "." in name:
        return _guarded(lambda: importlib.import_module(name), _shown(file))
    return _guarded(lambda: _execute(name, file), _shown(file))


def _name_of(file: Path) -> tuple[str, Path]:
    """A file's module name, and the folder that it is importable from."""
    parts = [] if file.name == "__init__.py" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _execute(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


# When the user's code raises


def _guarded(load: Callable[[], Any], what: str) -> Any:
    try:
        return load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _unimportable(what, error) from error


def _unimportable(what: str, error: BaseException) -> LoadError:
    trace = _user_part(error.__traceback__)
    if isinstance(error, SegueError):
        return LoadError(f"{error}{_place(trace)}")
    if isinstance(error, SystemExit):
        return LoadError(
            f"{what} ends the program when it is imported (exit code {error.code!r}){_place(trace)}: "
            'put that under if __name__ == "__main__":'
        )
    text = "".join(traceback.format_exception(type(error), error, trace, limit=-20))
    return LoadError(f"{what} cannot be imported", text)


def _place(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    last = next((frame for frame in reversed(frames) if not _ours(frame.filename)), None)
    return "" if last is None else f" ({_shown(Path(last.filename))}, line {last.lineno})"


def _user_part(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and _ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


_PACKAGE = str(Path(__file__).parent)


def _ours(filename: str) -> bool:
    return filename.startswith((_PACKAGE, "<frozen importlib")) or filename == importlib.__file__


def _shown(path: str | Path) -> str:
    """A path as short as it can be told from here."""
    path = Path(path)
    try:
        return str(path.resolve().relative_to(Path.cwd())) if path.is_absolute() else str(path)
    except ValueError:
        return str(path)
