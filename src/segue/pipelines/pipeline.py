"""``Pipeline``: a specification and its models as an ordinary flow."""

import hashlib
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from segue.checks import confident
from segue.core.graph import INPUT, Earlier, Graph, Node, Reference, Value, did_you_mean, keys_of, read
from segue.declared import cached
from segue.errors import DeclarationError, PipelineError, Unstorable
from segue.flows import Flow
from segue.pipelines.binding import Bound, Model, bind, fields_of_result
from segue.pipelines.files import importer, load
from segue.runtime.context import HERE, Place, place
from segue.runtime.engine import Options
from segue.runtime.registry import FLOWS, add_flow, module_of
from segue.runtime.spec import FlowSpec
from segue.steps import check_name
from segue.together import gather
from segue.values import Codec, Inputs, encode


class Pipeline(Flow[..., dict[str, Any]]):
    """A flow made of a specification: nodes that depend on each other, each bound to a model.

    Nodes run as soon as what they depend on is there, independent ones at the same time; each is a step of the node's
    name. The result is a dict of node name → result. When a node fails the others are cancelled, and the run fails.
    Everything that works with a flow works with a pipeline.

    Attributes:
        graph: by node, what it depends on.

    >>> words = Pipeline.from_dict(
    ...     {
    ...         "fetch": {"model": "fetch", "retry": 3, "timeout": "30s"},
    ...         "count": {"depends_on": ["fetch"], "model": "count"},
    ...     },
    ...     models={"fetch": lambda url: f"page at {url}", "count": lambda fetch: len(fetch)},
    ...     name="words",
    ... )
    >>> words.run({"url": "/start"})
    {'fetch': 'page at /start', 'count': 14}
    """

    def __init__(self, spec: "PipelineSpec", options: Options = Options()) -> None:  # noqa: B008 - a frozen value
        super().__init__(spec, options)
        self.graph: dict[str, list[str]] = {name: list(node.depends_on) for name, node in spec.nodes.items()}

    @classmethod
    def from_dict(
        cls,
        spec: Mapping[str, Any],
        *,
        models: Mapping[str, Model],
        predicates: Mapping[str, Model] | None = None,
        name: str | None = None,
        input: Any = Any,
        on_divergence: Literal["fail", "rerun"] = "fail",
    ) -> "Pipeline":
        """Make a pipeline of a mapping: of nodes, or ``{"name": …, "nodes": {…}}``.

        A node has a ``model``, and may have ``depends_on``, ``retry`` (retries after the first attempt), ``timeout``
        (for each attempt), ``when`` (a predicate: if it says no the node is skipped, and its result is None),
        ``input`` (arguments by parameter name: constants, or ``{"from": "node.field"}``), and what ``@step`` takes:
        ``fallback`` (models' names, ``"cached"``, ``{"cached": "1h"}``, ``{"value": …}``), ``check`` (predicates of
        the result), ``confidence``, ``degraded``, ``parse``, ``memoize``, ``concurrency``, ``rate``, ``breaker``,
        ``shared``, ``hedge``.

        Args:
            models: what the nodes' models are: functions, steps, flows. Their parameters are filled by name: ``input``
                is the pipeline's input, ``deps`` a dict of the dependencies' results, then come the dependencies and
                the keys of the input.
            predicates: what the names in ``when`` are; filled in the same way.
            name: what it is called in records; by default what the specification says, else module and "pipeline".
            input: the type of its input. Without one it takes plain data, None if nothing is given.
            on_divergence: as for ``@flow``.

        Raises:
            PipelineError: with everything that is wrong with it.
        """
        return cls._made(
            _Source(models, predicates or {}, input, on_divergence, _origin()), read(spec, check_name), name
        )

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        models: Mapping[str, Model] | None = None,
        predicates: Mapping[str, Model] | None = None,
        name: str | None = None,
        input: Any = Any,
        on_divergence: Literal["fail", "rerun"] = "fail",
    ) -> "Pipeline":
        """Make a pipeline of a YAML or JSON file; see ``from_dict``.

        Args:
            path: the file. A model or predicate that is not given may be named there as ``module:function``; it is
                imported now. So load only files that you would also run.
            name: by default what the file says, else the file's name without its ending.

        Raises:
            OSError: the file cannot be read.
            PipelineError: with everything that is wrong with it.

        >>> video = Pipeline.from_file("video.yaml", models={"whisper_large_v3": transcribe})  # doctest: +SKIP
        """
        path = Path(path)
        spec, problems = load(path)
        graph = read(spec, check_name)
        graph.problems[:0] = problems
        source = _Source(models or {}, predicates or {}, input, on_divergence, _origin(), importer(path.parent))
        return cls._made(source, graph, name or graph.name or path.stem)

    @classmethod
    def _made(cls, source: "_Source", graph: Graph, name: str | None) -> "Pipeline":
        body = _body(source.origin.module)
        name = name or graph.name or f"{module_of(body)}.pipeline"
        problems = list(graph.problems)
        if source.divergence not in ("fail", "rerun"):
            problems.append(f"on_divergence is 'fail' or 'rerun', not {source.divergence!r}")
        try:
            check_name("pipeline", name)
        except DeclarationError as error:
            problems.append(str(error))
        bound = _bind_all(graph.nodes, source, problems)
        if problems:
            raise PipelineError(name, list(dict.fromkeys(problems)))
        spec = PipelineSpec(name, body, graph.nodes, bound, source)
        try:
            _ = spec.inputs.codecs
        except DeclarationError as error:
            raise PipelineError(name, [str(error)]) from error
        _register(spec)
        return cls(spec)

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"


# Declaring


class _Origin(NamedTuple):
    """Where a pipeline is declared."""

    module: str
    file: str
    line: int
    at_top: bool
    """In a module's own code, not in a function's."""


def _origin() -> _Origin:
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage] - the caller of from_dict or from_file
    code = frame.f_code
    module = str(frame.f_globals.get("__name__", "__main__"))
    return _Origin(module, code.co_filename, frame.f_lineno, code.co_name == "<module>")


class _Source(NamedTuple):
    """What a pipeline is made with, apart from its specification."""

    models: Mapping[str, Model]
    predicates: Mapping[str, Model]
    input: Any
    divergence: Literal["fail", "rerun"]
    origin: _Origin
    find: Callable[[str], Any] | None = None


class _Bindings(NamedTuple):
    """What a node calls."""

    model: Bound
    when: Bound | None


def _bind_all(nodes: Mapping[str, Node], source: _Source, problems: list[str]) -> dict[str, _Bindings]:
    keys = keys_of(source.input) if isinstance(get_origin(source.input) or source.input, type) else None
    made: dict[str, _Bindings] = {}
    for node in nodes.values():
        model = when = None
        if node.model is not None:
            model = _look_up(node, "model", node.model, source, keys, nodes, problems)
        if node.when is not None:
            when = _look_up(node, "predicate", node.when, source, keys, nodes, problems)
        if model is not None:
            made[node.name] = _Bindings(model, when)
    for node in nodes.values():
        _check_fields(node, made, problems)
    return made


def _policies(node: Node, source: _Source, problems: list[str]) -> dict[str, Any]:
    """What the node declares, with the names of models and checks resolved."""
    given = dict(node.policies)
    checks = [_named(node, "predicate", name, source, problems) for name in given.pop("check", ())]
    if "confidence" in given:
        checks.append(confident(given.pop("confidence")))
    if checks:
        given["check"] = [check for check in checks if check is not None]
    if "fallback" in given:
        given["fallback"] = [_fallback(node, one, source, problems) for one in given["fallback"]]
    return given


def _fallback(node: Node, said: Any, source: _Source, problems: list[str]) -> Any:
    if isinstance(said, Value):
        return said.value
    if isinstance(said, Earlier):
        return cached(said.max_age)
    model = _named(node, "model", said, source, problems)
    if isinstance(model, Flow):
        problems.append(f"node {node.name!r}: fallback {said!r} is a flow; a step or a function can be one")
        return None
    return model


def _named(
    node: Node, kind: Literal["model", "predicate"], name: str, source: _Source, problems: list[str]
) -> Model | None:
    """What the name of a model or predicate stands for."""
    known = source.models if kind == "model" else source.predicates
    if name in known:
        return known[name]
    if source.find is not None and ":" in name:
        try:
            return source.find(name)
        except LookupError as error:
            problems.append(f"node {node.name!r}: {kind} {name!r} cannot be imported: {error}")
            return None
    hint = did_you_mean(name, known) or f"; give it: {kind}s={{{name!r}: …}}"
    problems.append(f"node {node.name!r}: {kind} {name!r} is not bound{hint}")
    return None


def _look_up(
    node: Node,
    kind: Literal["model", "predicate"],
    name: str,
    source: _Source,
    keys: tuple[str, ...] | None,
    nodes: Mapping[str, Node],
    problems: list[str],
) -> Bound | None:
    model = _named(node, kind, name, source, problems)
    if model is None:
        return None
    policies = _policies(node, source, problems) if kind == "model" else {}
    bound, wrong = bind(node, kind, name, model, keys, nodes, policies)
    problems += wrong
    return bound


def _check_fields(node: Node, bound: Mapping[str, _Bindings], problems: list[str]) -> None:
    """References to fields of results, as far as the models' annotations tell those."""
    for parameter, given in node.input.items():
        if not isinstance(given, Reference) or not given.path or given.source not in bound:
            continue
        fields = fields_of_result(bound[given.source].model)
        if fields is not None and given.path[0] not in fields:
            key, hint = given.path[0], did_you_mean(given.path[0], fields) or f"; there are {', '.join(fields)}"
            problems.append(
                f"node {node.name!r}: input {parameter!r}: the result of {given.source!r} has no {key!r}{hint}"
            )


def _register(spec: "PipelineSpec") -> None:
    """Make it known, so that its runs are resumed.

    A name stands for one thing. But a cell that is run again, a function that makes pipelines and a file that is
    loaded twice declare the same thing anew.
    """
    known, here = FLOWS.get(spec.name), spec.origin
    if known is not None and not isinstance(known, PipelineSpec):
        raise PipelineError(spec.name, ["a flow has this name already: give another, name='…'"])
    if known is not None and known.code != spec.code and known.origin.at_top and here.at_top:
        there = known.origin
        if there.module != here.module or (there.file == here.file and there.line != here.line):
            where = f"{there.file}, line {there.line}"
            raise PipelineError(spec.name, [f"another pipeline has this name ({where}): give one of them name='…'"])
    add_flow(spec)


# Running


def _body(module: str) -> Any:
    """The function of one pipeline's flow. It is told its specification afterwards, as its attribute."""

    async def pipeline(input: Any = None) -> dict[str, Any]:
        return await _Execution(pipeline.spec, input).whole()  # pyright: ignore[reportFunctionMemberAccess]

    pipeline.__module__ = module
    return pipeline


class PipelineSpec(FlowSpec):
    """A pipeline as the runtime sees it: a flow whose input and result are typed by its nodes."""

    def __init__(
        self, name: str, body: Any, nodes: dict[str, Node], bound: dict[str, _Bindings], source: _Source
    ) -> None:
        body.spec = self
        body.__annotations__ = {"input": source.input, "return": dict[str, Any]}
        if not _takes_none(source.input):
            body.__defaults__ = None
        super().__init__(name, body, "", source.divergence, None)
        self.nodes, self.bound, self.origin = nodes, bound, source.origin
        self.dependents = {name: [other.name for other in nodes.values() if name in other.depends_on] for name in nodes}
        self.inputs = _Input(self, body)

    @cached_property
    def output(self) -> Codec:
        """The codec of its results: each node's result as its model declares it."""
        return _Results({name: bound.model.target.spec.output for name, bound in self.bound.items()}, self.name)

    @cached_property
    def code(self) -> str:
        """A fingerprint of what decides its course, blind to the order of the nodes."""
        course = [
            [n.name, sorted(n.depends_on), n.model, n.when, [[k, str(v)] for k, v in sorted(n.input.items())]]
            for n in sorted(self.nodes.values(), key=lambda node: node.name)
        ]
        return hashlib.blake2b(encode(course, self.name), digest_size=6).hexdigest()


def _takes_none(kind: Any) -> bool:
    if get_origin(kind) in (Union, UnionType):
        return NoneType in get_args(kind)
    return kind in (Any, object, None, NoneType)


class _Input(Inputs):
    """A pipeline's one parameter. An input that leaves a model without an argument is refused before anything runs."""

    def __init__(self, spec: PipelineSpec, body: Any) -> None:
        super().__init__(body, f"pipeline {spec.name!r}")
        self.spec = spec

    def encode_typed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        try:
            data = super().encode_typed(args, kwargs)
        except Unstorable as error:
            if self.codecs[INPUT].kind is Any:
                error.add_note(
                    "A pipeline takes plain data, unless its input has a type: Pipeline.from_dict(…, input=T)"
                )
            raise
        keys = keys_of(self._bind(args, kwargs).get(INPUT)) or ()
        problems: list[str] = []
        for model, when in self.spec.bound.values():
            problems += model.unfit(keys)
            problems += when.unfit(keys) if when is not None else ()
        if problems:
            raise PipelineError(self.spec.name, list(dict.fromkeys(problems)))
        return data


class _Results(Codec):
    """A dict of results, each by its own codec; None for a node that was skipped."""

    def __init__(self, parts: dict[str, Codec], name: str) -> None:
        super().__init__(dict[str, Any], f"the result of pipeline {name!r}")
        self._parts = parts

    def encode(self, value: Any) -> tuple[bytes, Any]:
        encoded = {name: self._parts[name].encode(part) for name, part in value.items() if part is not None}
        data = {name: msgspec.Raw(encoded[name][0]) if name in encoded else None for name in value}
        back = {name: encoded[name][1] if name in encoded else None for name in value}
        return msgspec.msgpack.encode(data), back

    def decode(self, data: bytes) -> Any:
        return {name: self._decode_part(name, bytes(raw)) for name, raw in _by_name.decode(data).items()}

    def _decode_part(self, name: str, data: bytes) -> Any:
        if name not in self._parts or data == _NONE:  # a node that the specification has no more
            return msgspec.msgpack.decode(data)
        return self._parts[name].decode(data)


_by_name = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_NONE = msgspec.msgpack.encode(None)


class _Execution:
    """One run of a pipeline's flow."""

    def __init__(self, spec: PipelineSpec, input: Any) -> None:
        self.spec = spec
        self.values: dict[str, Any] = {INPUT: input}
        self.skipped: set[str] = set()
        self.missing = {name: len(set(node.depends_on)) for name, node in spec.nodes.items()}
        self.root = place()

    async def whole(self) -> dict[str, Any]:
        await self._all([node for node in self.spec.nodes.values() if not node.depends_on])
        return {name: self.values[name] for name in self.spec.nodes}

    async def _all(self, ready: list[Node]) -> None:
        """Run nodes and all that then becomes ready: a chain in one task, branches side by side."""
        while len(ready) == 1:
            ready = await self._run(ready[0])
        if ready:
            await gather(*(self._onward(node) for node in ready))

    async def _onward(self, node: Node) -> None:
        await self._all(await self._run(node))

    async def _run(self, node: Node) -> list[Node]:
        """Run one node. Returns those that waited for it alone."""
        model, when = self.spec.bound[node.name]
        if when is None or await self._call(when):
            self.values[node.name] = await self._call(model)
        else:
            self.values[node.name] = None
            self.skipped.add(node.name)
        for name in self.spec.dependents[node.name]:
            self.missing[name] -= 1
        return [self.spec.nodes[name] for name in self.spec.dependents[node.name] if not self.missing[name]]

    def _call(self, bound: Bound) -> Awaitable[Any]:
        if (root := self.root) is not None:
            # This task's place counts tasks: it would shift with the nodes before it. So the node's name identifies its
            # step, in the root. The name of a flow may occur in several nodes; each has a branch of its own for it.
            HERE.set(Place(root.run, f"{root.prefix}{bound.step}") if isinstance(bound.target, Flow) else root)
        try:
            args, kwargs = bound.arguments(self.values, self.skipped)
        except LookupError as error:
            raise PipelineError(self.spec.name, [f"node {bound.node.name!r}: {error.args[0]}"]) from None
        return bound.target(*args, **kwargs)
