"""A declared step or flow, compiled once for the calls that follow."""

import ast
import functools
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Coroutine
from typing import Any, Literal, NamedTuple

from segue.policies import NO_TIMEOUT, Retry, Timeout
from segue.runtime.resources import Resource
from segue.values import Codec, Inputs, hints_of

Form = Literal["async", "thread", "process"]


class Source(NamedTuple):
    """Where a function is defined, so that another process can find it in the same code."""

    module: str
    file: str
    name: str


class StepSpec:
    """A step as the runtime sees it.

    Attributes:
        begin: gives the coroutine of one attempt.
        form: how the function runs: on the loop, in a thread, in a process.
        limited: whether there is a timeout.
        owns_arguments: they are copies, which it may change as it likes.
        uses: the resources that fill parameters of it, by the parameter's name.
    """

    __slots__ = (
        "__dict__",
        "begin",
        "fn",
        "form",
        "inputs",
        "limited",
        "name",
        "owns_arguments",
        "retry",
        "timeout",
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
        self.limited = timeout != NO_TIMEOUT
        self.inputs = Inputs(fn, f"step {name!r}", frozenset(self.uses))

    @functools.cached_property
    def output(self) -> Codec:
        """The codec of its results. Made at first use, since annotations may name what is defined further down."""
        what = f"step {self.name!r}"
        return Codec(hints_of(self.fn, what).get("return", Any), f"the result of {what}")


class FlowSpec:
    """A flow as the runtime sees it."""

    __slots__ = ("__dict__", "divergence", "fn", "inputs", "name", "timeout", "version")

    def __init__(
        self,
        name: str,
        fn: Callable[..., Coroutine[Any, Any, Any]],
        version: str,
        divergence: Literal["fail", "rerun"],
        timeout: float | None,
    ) -> None:
        self.name, self.fn, self.version, self.divergence, self.timeout = name, fn, version, divergence, timeout
        self.inputs = Inputs(fn, f"flow {name!r}")

    @functools.cached_property
    def output(self) -> Codec:
        """The codec of its results."""
        what = f"flow {self.name!r}"
        return Codec(hints_of(self.fn, what).get("return", Any), f"the result of {what}")

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
