"""A declared step or flow, compiled once for the calls that follow."""

import ast
import functools
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

from segue.checks import Check
from segue.core.percentile import Durations
from segue.drift import Drift
from segue.errors import UsageError
from segue.limits import Hedge, Limits
from segue.outcomes import Source
from segue.policies import NO_TIMEOUT, Retry, Timeout
from segue.runtime.identity import NOTHING, About, Identity
from segue.runtime.mailbox import ALL, Mailbox
from segue.runtime.resources import Resource
from segue.schemas import Schema, schema_of
from segue.values import Codec, Inputs, hints_of

Form = Literal["async", "thread", "process"]


class Location(NamedTuple):
    """Where a function is defined, so that another process can find it in the same code."""

    module: str
    file: str
    name: str


class Asking(NamedTuple):
    """What a person is asked, and whom.

    Attributes:
        assignees: whom, one after the other; None is anybody.
        timeout: seconds that each of them has; None for ever.
        remind: seconds after which the question is told of again.
        shown: what else is to be seen with the question: what it is about, the choices, the schema of an answer.
        default: what to take if nobody answers, encoded; None to fail.
        own: the question is all there is; else it stands at the end of a step's ladder.
    """

    question: str
    assignees: tuple[str | None, ...] = (None,)
    timeout: float | None = None
    remind: float | None = None
    shown: Mapping[str, Any] = MappingProxyType({})
    default: bytes | None = None
    own: bool = False


class Rung(NamedTuple):
    """One rung of a step's ladder.

    Attributes:
        spec: what is called; None for a value that is there already.
        taken: the parameters of the step that it is called with, by name; None: just as the step was.
        value: the constant.
        max_age: of a cached value, in seconds.
        instant: it takes no time.
        defaults: arguments that the step does not have.
        ask: what a person is asked, where this rung is a person.
    """

    name: str
    source: Source
    spec: "StepSpec | None" = None
    taken: tuple[str, ...] | None = None
    value: Any = None
    max_age: float | None = None
    instant: bool = False
    defaults: Mapping[str, Any] = MappingProxyType({})
    ask: Asking | None = None


class Keep(NamedTuple):
    """Good values of the step are kept, under the whole input or this part of it.

    Attributes:
        key: a path over the parameters, or a function of those in ``taken``.
    """

    key: str | Callable[..., Any] | None
    taken: tuple[str, ...]


class StepSpec:
    """A step as the runtime sees it.

    Attributes:
        begin: gives the coroutine of one attempt.
        form: how the function runs: on the loop, in a thread, in a process.
        limited: whether there is a timeout.
        bounded: whether any rung of the ladder has one.
        owns_arguments: they are copies, which it may change as it likes.
        uses: the resources that fill parameters of it, by the parameter's name.
        origin: the step as it was declared, if this is a variant made by ``options``.
        checks: of its results.
        direct: nothing stands between it and its attempts: no resource to load, no limit, no hedge.
        early: checks of its input, made before it runs.
        looks: a check of its results takes inputs too.
        plain: its results need only fit their type.
        rungs: of its ladder, itself the first.
        instant: for each of them, whether it takes no time.
        feedback: it takes the reason for the last failure.
        keep: what its good values are kept under, if they are.
        limits: what holds its attempts back, if anything does.
        shared: the name under which other steps share those limits.
        latency: of its last successful attempts, for ``hedge``.
        memo: seconds for which a kept value is taken instead of calling the step; None if never.
        undo: what undoes its effect: called with its result, then so many of its inputs.
        reversible: some rung of its ladder has such.
        human: some rung of its ladder is a person.
        drift: how its results are watched, if they are.
    """

    __slots__ = (
        "__dict__",
        "begin",
        "bounded",
        "checks",
        "direct",
        "drift",
        "early",
        "feedback",
        "fn",
        "form",
        "hedge",
        "human",
        "inputs",
        "instant",
        "keep",
        "latency",
        "limited",
        "limits",
        "looks",
        "memo",
        "name",
        "origin",
        "owns_arguments",
        "parse",
        "plain",
        "retry",
        "reversible",
        "rungs",
        "shared",
        "timeout",
        "undo",
        "uses",
        "version",
    )

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        begin: Callable[..., Coroutine[Any, Any, Any]],
        form: Form,
        retry: Retry,
        timeout: Timeout,
        version: str,
        uses: dict[str, Resource[Any]] | None = None,
    ) -> None:
        self.uses = uses or {}
        self.owns_arguments = form == "process"
        self.name, self.fn, self.begin, self.form = name, fn, begin, form
        self.retry, self.timeout, self.version = retry, timeout, version
        self.limited = self.bounded = timeout != NO_TIMEOUT
        self.inputs = Inputs(fn, f"step {name!r}", frozenset(self.uses))
        self.origin = self
        self.checks: tuple[Check, ...] = ()
        self.direct = not self.uses or form == "process"
        self.early: tuple[Check, ...] = ()
        self.looks = False
        self.parse: str | None = None
        self.plain, self.feedback = True, False
        self.keep: Keep | None = None
        self.memo: float | None = None
        self.rungs: tuple[Rung, ...] = ()
        self.instant: tuple[bool, ...] = (False,)
        self.limits: Limits | None = None
        self.shared: str | None = None
        self.hedge: Hedge | None = None
        self.undo: tuple[StepSpec, int] | None = None
        self.reversible = self.human = False
        self.drift: Drift | None = None
        self.latency = Durations()

    @property
    def ordinary(self) -> bool:
        """It is its function, with retries and a timeout at most."""
        return self.plain and len(self.rungs) == 1

    @functools.cached_property
    def output(self) -> Codec:
        """The codec of its results. Made at first use, since annotations may name what is defined further down."""
        what = f"step {self.name!r}"
        return Codec(hints_of(self.fn, what).get("return", Any), f"the result of {what}")

    @functools.cached_property
    def schema(self) -> Schema:
        """What a person has to give in place of its result."""
        return schema_of(self.output.kind)


class FlowSpec:
    """A flow as the runtime sees it."""

    __slots__ = (
        "__dict__",
        "dedupe",
        "divergence",
        "expire",
        "fn",
        "frees",
        "inputs",
        "key",
        "mailbox",
        "max_queued",
        "name",
        "on",
        "priority",
        "timeout",
        "version",
        "window",
    )

    def __init__(
        self,
        name: str,
        fn: Callable[..., Coroutine[Any, Any, Any]],
        version: str,
        divergence: Literal["fail", "rerun"],
        timeout: float | None,
        max_queued: int | None = None,
    ) -> None:
        self.name, self.fn, self.version, self.divergence, self.timeout = name, fn, version, divergence, timeout
        self.max_queued = max_queued
        self.key: Identity | None = None
        self.dedupe: Identity | None = None
        self.frees, self.window = False, 0.0
        self.mailbox: Mailbox | None = None
        self.priority: Identity | int = 0
        self.expire: float | None = None
        self.on: tuple[Any, ...] = ()
        self.inputs = Inputs(fn, f"flow {name!r}")

    def about(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> About:
        """What a run with these arguments is about.

        Raises:
            UsageError: it cannot be found in them.
        """
        if self.key is None and self.dedupe is None and type(self.priority) is int:
            return NOTHING if not self.priority else About(priority=self.priority)
        named = self.inputs.named(args, kwargs)
        key = self.key.text(self.name, named) if self.key is not None else None
        event = self.dedupe.text(self.name, named) if self.dedupe is not None else None
        priority = self.priority if isinstance(self.priority, int) else self.priority.whole(self.name, named)
        return About(key, event, priority)

    @functools.cached_property
    def output(self) -> Codec:
        """The codec of its results."""
        what = f"flow {self.name!r}"
        return Codec(hints_of(self.fn, what).get("return", Any), f"the result of {what}")

    @functools.cached_property
    def event(self) -> Codec:
        """The codec of an event: of its first parameter, or of an item of that, where events are taken together.

        Raises:
            UsageError: it cannot be called with an event alone.
        """
        parameters = list(self.inputs.signature.parameters.values())
        required = [p for p in parameters if p.default is p.empty]
        if (
            not parameters
            or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY
            or required not in ([], parameters[:1])
        ):
            raise UsageError(
                f"flow {self.name!r} is called as {self.name}{self.inputs.signature}: only a flow that one argument is "
                "enough for can be started for an event"
            )
        codec = self.inputs.codecs[parameters[0].name]
        if self.mailbox is None or self.mailbox.merge != ALL:
            return codec
        (kind,) = get_args(codec.kind) or (Any,)
        return Codec(kind, f"an event of flow {self.name!r}")

    def taking(self, event: Any) -> tuple[Any]:
        """The arguments that it is called with for an event."""
        return ([event],) if self.mailbox is not None and self.mailbox.merge == ALL else (event,)

    @functools.cached_property
    def code(self) -> str:
        """A fingerprint of its source, blind to comments and layout, and Python's version: asyncio differs by it."""
        try:
            text = ast.dump(ast.parse(textwrap.dedent(inspect.getsource(self.fn))))
        except (OSError, SyntaxError, TypeError):  # made at a prompt, or by exec: the bytecode is all there is
            code = getattr(self.fn, "__code__", None)
            text = repr((code.co_code, code.co_names)) if code is not None else self.name
        digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        return f"{digest}-py{sys.version_info.major}.{sys.version_info.minor}"
