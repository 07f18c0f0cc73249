"""Declarative pipelines, through the public API."""
# Most models here are lambdas, whose parameters have no types:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import asyncio
import functools
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal, TypedDict, cast

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import segue
from segue import (
    Divergence,
    Engine,
    Flow,
    Pipeline,
    PipelineError,
    Retry,
    RunFailed,
    StepFailed,
    StepTimedOut,
    Timeout,
    Unstorable,
    flow,
    resource,
    step,
    use,
)
from segue.core.entries import Entry, Kind
from segue.pipelines.pipeline import PipelineSpec
from segue.runtime.spec import StepSpec

# The first example of the text that the project comes from, letter for letter.
# fmt: off
video_pipeline: dict[str, dict[str, Any]] = {
"extract_audio": {
"depends_on": [],
"model": "whisper_large_v3",
"retry": 3,
"timeout": 600
},
"scene_detection": {
"depends_on": [],
"model": "custom_pytorch",
"retry": 2,
"timeout": 300
},
"object_recognition": {
"depends_on": ["scene_detection"],
"model": "yolov8",
"retry": 2,
"timeout": 120
},
"content_moderation": {
"depends_on": ["object_recognition", "extract_audio"],
"model": "aws_rekognition",
"retry": 1,
"timeout": 60
},
"generate_captions": {
"depends_on": ["extract_audio"],
"model": "custom_timestamps",
"retry": 3,
"timeout": 120
}
}
# fmt: on


def on_engine(main: Callable[[Engine], Coroutine[Any, Any, Any]], store: str = "memory:") -> Any:
    """Run a test's coroutine with an engine open."""

    async def whole() -> Any:
        async with asyncio.timeout(30), Engine(store) as engine:
            return await main(engine)

    return asyncio.run(whole())


def ran(pipeline: Flow[..., Any], *args: Any) -> Any:
    """The result of one run."""

    async def main(engine: Engine) -> Any:
        return await pipeline(*args)

    return on_engine(main)


async def entries_of(engine: Engine, id: str) -> list[Entry]:
    loaded = await engine.store.load(id)
    assert loaded is not None
    return list(loaded[1])


def make(spec: Mapping[str, Any], **models: Any) -> Pipeline:
    return Pipeline.from_dict(spec, models=models)


def step_of(pipeline: Pipeline, node: str) -> StepSpec:
    spec = cast(PipelineSpec, pipeline.spec).bound[node].model.target.spec
    assert isinstance(spec, StepSpec)
    return spec


def problems_of(spec: Any, **kwargs: Any) -> list[str]:
    kwargs.setdefault("models", {})
    with pytest.raises(PipelineError) as raised:
        Pipeline.from_dict(spec, **kwargs)
    return raised.value.problems


# The example


@dataclass
class Audio:
    words: list[str]


def whisper(url: str) -> Audio:
    return Audio([url, "hello"])


async def pytorch(url: str) -> list[int]:
    return [0, 48]


def yolo(scene_detection: list[int]) -> dict[str, int]:
    return {"truck": len(scene_detection)}


def rekognition(deps: dict[str, Any]) -> bool:
    assert list(deps) == ["object_recognition", "extract_audio"]
    return deps["object_recognition"] == {"truck": 2} and deps["extract_audio"] == Audio(["clip", "hello"])


def timestamps(extract_audio: Audio) -> str:
    return "\n".join(extract_audio.words)


MODELS: dict[str, Callable[..., Any]] = {
    "whisper_large_v3": whisper,
    "custom_pytorch": pytorch,
    "yolov8": yolo,
    "aws_rekognition": rekognition,
    "custom_timestamps": timestamps,
}


def test_the_example_runs_as_it_stands() -> None:
    pipeline = Pipeline.from_dict(video_pipeline, models=MODELS)
    assert ran(pipeline, {"url": "clip"}) == {
        "extract_audio": Audio(["clip", "hello"]),
        "scene_detection": [0, 48],
        "object_recognition": {"truck": 2},
        "content_moderation": True,
        "generate_captions": "clip\nhello",
    }
    assert pipeline.graph == {
        "extract_audio": [],
        "scene_detection": [],
        "object_recognition": ["scene_detection"],
        "content_moderation": ["object_recognition", "extract_audio"],
        "generate_captions": ["extract_audio"],
    }


def test_retry_and_timeout_are_those_of_the_node() -> None:
    pipeline = Pipeline.from_dict(video_pipeline, models=MODELS)
    specs = {name: step_of(pipeline, name) for name in pipeline.graph}
    assert {name: (spec.retry.retries, spec.timeout.attempt) for name, spec in specs.items()} == {
        "extract_audio": (3, 600),
        "scene_detection": (2, 300),
        "object_recognition": (2, 120),
        "content_moderation": (1, 60),
        "generate_captions": (3, 120),
    }


def test_independent_nodes_run_at_once() -> None:
    met = threading.Barrier(2, timeout=10)

    def meet() -> int:
        return met.wait()  # fails unless the other node runs meanwhile

    pipeline = make({"a": {"model": "meet"}, "b": {"model": "meet"}, "c": {"model": "join", "depends_on": ["a", "b"]}},
                    meet=meet, join=lambda a, b: sorted([a, b]))  # fmt: skip
    assert ran(pipeline)["c"] == [0, 1]


def test_a_node_does_not_wait_for_others_than_its_own() -> None:
    async def main(engine: Engine) -> None:
        finished = asyncio.Event()

        async def slow() -> None:
            await finished.wait()

        async def last(quick: int) -> int:
            finished.set()
            return quick + 1

        spec = {
            "slow": {"model": "slow"},
            "quick": {"model": "quick"},
            "last": {"model": "last", "depends_on": ["quick"]},
        }
        assert await make(spec, slow=slow, quick=lambda: 1, last=last)() == {"slow": None, "quick": 1, "last": 2}

    on_engine(main)


# An ordinary flow


def test_it_is_a_flow() -> None:
    pipeline = make({"a": {"model": "double"}}, double=lambda n: 2 * n)
    assert isinstance(pipeline, Flow)

    async def main(engine: Engine) -> None:
        assert await pipeline({"n": 2}) == {"a": 4}
        assert await pipeline(input={"n": 2}) == {"a": 4}
        handle = await pipeline.options(id="mine", timeout="1m").start({"n": 3})
        assert await handle.result() == {"a": 6}
        assert (await (await pipeline.handle("mine")).result()) == {"a": 6}
        assert await (await pipeline.options(id="mine").start({"n": 3})).result() == {"a": 6}
        assert pipeline.options(id="mine").graph == {"a": []}

    on_engine(main)
    assert repr(pipeline) == "<pipeline tests.test_pipelines.pipeline>"


def test_it_runs_from_code_that_is_not_async(tmp_path: Path) -> None:
    script = """
        from segue import Pipeline
        p = Pipeline.from_dict({"a": {"model": "m"}}, models={"m": lambda input: input})
        print(p.name, p.run(), p.run([1]))
    """
    (tmp_path / "app.py").write_text(dedent(script))
    done = python(tmp_path, "app.py")
    assert done.stdout.split("\n")[0] == "app.pipeline {'a': None} {'a': [1]}", done.stderr


def test_it_is_a_child_of_flows_and_pipelines() -> None:
    inner = Pipeline.from_dict({"a": {"model": "m"}}, models={"m": lambda n: n + 1}, name="inner")
    outer = Pipeline.from_dict(
        {
            "x": {"model": "inner", "input": {"input": {"n": 1}}},
            "y": {"model": "inner", "depends_on": ["x"], "input": {"input": {"n": 10}}, "timeout": "1m"},
        },
        models={"inner": inner},
        name="outer",
    )

    @flow(name="above")
    async def above() -> Any:
        return await outer()

    async def main(engine: Engine) -> None:
        assert await above() == {"x": {"a": 2}, "y": {"a": 11}}
        handle = await outer.options(id="o").start()
        await handle.result()
        assert {e.step for e in await entries_of(engine, "o")} >= {"x/inner", "y/inner"}

    on_engine(main)
    assert (
        "it is a flow, which has no retry"
        in problems_of({"x": {"model": "inner", "retry": 1}}, models={"inner": inner})[0]
    )


def test_its_raw_function_needs_no_engine() -> None:
    pipeline = Pipeline.from_dict(video_pipeline, models=MODELS)
    assert asyncio.run(pipeline.fn({"url": "clip"}))["generate_captions"] == "clip\nhello"


def test_steps_are_named_after_nodes_in_the_root() -> None:
    pipeline = Pipeline.from_dict(video_pipeline, models=MODELS)

    async def main(engine: Engine) -> None:
        handle = await pipeline.options(id="r").start({"url": "clip"})
        await handle.result()
        steps = {str(e.step): e for e in await entries_of(engine, "r") if e.kind is Kind.OK}
        assert set(steps) == set(video_pipeline)
        assert msgspec.msgpack.decode(steps["generate_captions"].input or b"") == {
            "extract_audio": {"words": ["clip", "hello"]}
        }

    on_engine(main)


# Failures


def test_a_failed_node_ends_the_run_and_cancels_the_others() -> None:
    async def main(engine: Engine) -> None:
        started = asyncio.Event()
        ended: list[str] = []

        async def endless() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("endless")

        async def faulty() -> None:
            await started.wait()
            raise ValueError("no frames")

        spec = {
            "endless": {"model": "endless"},
            "faulty": {"model": "faulty", "retry": Retry(1, backoff=0)},
            "after": {"model": "after", "depends_on": ["faulty"]},
        }
        pipeline = make(spec, endless=endless, faulty=faulty, after=lambda: ended.append("after"))
        with pytest.raises(RunFailed, match="step 'faulty' failed after 2 attempts: ValueError: no frames") as raised:
            await pipeline.options(id="r")()
        cause = raised.value.__cause__
        assert isinstance(cause, StepFailed)
        assert (cause.step, cause.attempts) == ("faulty", 2)
        assert raised.value.error.type == "StepFailed"
        assert ended == ["endless"]
        kinds = {e.step: e.kind for e in await entries_of(engine, "r") if e.kind is not Kind.CLAIM}
        assert kinds == {"endless": Kind.CANCELLED, "faulty": Kind.ERROR}

    on_engine(main)


def test_a_retried_node_goes_on() -> None:
    tries: list[int] = []

    def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError
        return len(tries)

    policy = {"retry": Retry(2, backoff=0), "timeout": timedelta(minutes=1)}
    assert ran(make({"a": {"model": "flaky", **policy}}, flaky=flaky)) == {"a": 3}


def test_a_node_that_takes_too_long() -> None:
    async def endless() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RunFailed) as raised:
        ran(make({"a": {"model": "endless", "timeout": 0.01}}, endless=endless))
    assert isinstance(raised.value.__cause__, StepTimedOut)


def test_a_step_keeps_its_policy_unless_the_node_says_otherwise() -> None:
    @step(retry=4, timeout="9s", name="declared")
    async def declared(n: int) -> int:
        return n

    spec = {"kept": {"model": "m"}, "changed": {"model": "m", "retry": 0, "timeout": Timeout(total=3)}}
    pipeline = make(spec, m=declared)
    kept, changed = step_of(pipeline, "kept"), step_of(pipeline, "changed")
    assert (kept.name, kept.retry.retries, kept.timeout) == ("kept", 4, Timeout(9))
    assert (changed.name, changed.retry.retries, changed.timeout) == ("changed", 0, Timeout(total=3))
    assert declared.spec.name == "declared"
    assert ran(pipeline, {"n": 1}) == {"kept": 1, "changed": 1}


# What models are, and what fills them


class Greeter:
    """A callable object."""

    async def __call__(self, name: str) -> Audio:
        return Audio([name])

    def method(self, name: str) -> str:
        return name.upper()


@resource
async def weights() -> AsyncGenerator[str, None]:
    yield "weights"


def test_any_callable_is_a_model() -> None:
    def power(base: int, exponent: int) -> Audio:
        return Audio([str(base**exponent)])

    def weighed(name: str, by: str = use(weights)) -> str:
        return f"{name} {by}"

    models: dict[str, Any] = {
        "lambda": lambda name: name,
        "object": Greeter(),
        "method": Greeter().method,
        "partial": functools.partial(power, exponent=3),
        "class": Audio,
        "builtin": len,
        "resource": weighed,
    }
    spec: dict[str, Any] = {name: {"model": name} for name in models}
    spec["builtin"]["input"] = {"obj": [1, 2]}
    given = {"name": "Ada", "base": 2, "words": ["a"], "by": "ignored"}
    assert ran(Pipeline.from_dict(spec, models=models), given) == {
        "lambda": "Ada",
        "object": Audio(["Ada"]),
        "method": "ADA",
        "partial": Audio(["8"]),
        "class": Audio(["a"]),
        "builtin": 2,
        "resource": "Ada weights",
    }


def test_what_fills_a_parameter_first_comes_first() -> None:
    def last(
        input: Any, deps: Any, first: Any, key: Any, given: Any, part: Any, free: int = 7, **more: Any
    ) -> list[Any]:
        return [input, deps, first, key, given, part, free, more]

    spec = {
        "first": {"model": "first"},
        "last": {
            "model": "last",
            "depends_on": ["first"],
            "input": {"given": [1], "part": {"from": "first.words"}, "extra": {"from": "input.key"}},
        },
    }
    given = {"key": 3, "first": "hidden", "given": "hidden"}
    result = ran(make(spec, first=lambda: Audio(["x"]).__dict__, last=last), given)["last"]
    assert result == [given, {"first": {"words": ["x"]}}, {"words": ["x"]}, 3, [1], ["x"], 7, {"extra": 3}]


def test_what_one_model_changes_no_other_sees() -> None:
    def spoil(data: list[int]) -> None:
        data.clear()

    spec = {
        "data": {"model": "data"},
        "spoil": {"model": "spoil", "depends_on": ["data"], "input": {"const": [1]}},
        "use": {"model": "use", "depends_on": ["data", "spoil"]},
    }

    def spoil_both(data: list[int], const: list[int]) -> None:
        spoil(data)
        spoil(const)

    pipeline = make(spec, data=lambda: [1, 2], spoil=spoil_both, use=lambda data, spoil: data)
    for _ in range(2):
        assert ran(pipeline) == {"data": [1, 2], "spoil": None, "use": [1, 2]}


@dataclass
class Clip:
    url: str
    size: int = 0


class Struct(msgspec.Struct):
    url: str
    size: int = 0


class Typed(TypedDict):
    url: str
    size: int


def input_types() -> list[Any]:
    return [Clip, Struct, Typed, pydantic.create_model("Model", url=(str, ...), size=(int, 0))]


def test_a_typed_input() -> None:
    for kind in input_types():
        pipeline = Pipeline.from_dict(
            {"a": {"model": "keys"}, "b": {"model": "whole"}},
            models={"keys": lambda url, size: url * size, "whole": lambda input: type(input).__name__},
            input=kind,
        )
        assert ran(pipeline, kind(url="x", size=2)) == {
            "a": "xx",
            "b": "dict" if kind is Typed else kind.__name__,
        }
        said = problems_of({"a": {"model": "m"}}, models={"m": lambda urll: 0}, input=kind)
        assert said == ["node 'a': nothing fills parameter 'urll' of model 'm'; did you mean 'url'?"]
        reference = {"a": {"model": "m", "input": {"x": {"from": "input.sizes"}}}}
        said = problems_of(reference, models={"m": lambda x: 0}, input=kind)
        assert said == [
            "node 'a': 'x' of model 'm' is taken from input.sizes, which the input does not have; did you mean 'size'?"
        ]


def test_a_typed_input_must_be_given_unless_it_may_be_none() -> None:
    models: dict[str, Any] = {"m": lambda input: input is None}
    needed = Pipeline.from_dict({"a": {"model": "m"}}, models=models, name="needed", input=Clip)
    with pytest.raises(TypeError, match="missing a required argument: 'input'"):
        ran(needed)
    optional = Pipeline.from_dict({"a": {"model": "m"}}, models=models, name="optional", input=Clip | None)
    assert ran(optional) == {"a": True}
    assert ran(optional, Clip("x")) == {"a": False}
    with pytest.raises(Unstorable, match="a dict would come back"):
        ran(needed, {"url": "x"})


def test_an_object_needs_an_input_type() -> None:
    pipeline = make({"a": {"model": "m"}}, m=lambda url: url)
    with pytest.raises(Unstorable) as raised:
        ran(pipeline, Clip("x"))
    assert "from_dict(…, input=T)" in "".join(raised.value.__notes__)


def test_a_bad_input_is_refused_before_a_run_is_made() -> None:
    spec = {
        "a": {"model": "one"},
        "b": {"model": "two", "depends_on": ["a"], "input": {"x": {"from": "input.z"}}, "when": "w"},
    }
    pipeline = Pipeline.from_dict(
        spec, models={"one": lambda url: url, "two": lambda x, a: a}, predicates={"w": lambda wanted: wanted}
    )

    @flow(name="calls-pipeline")
    async def above() -> None:
        await pipeline({})

    async def main(engine: Engine) -> None:
        problems = [
            "node 'a': nothing fills parameter 'url' of model 'one'; by name there are input, deps",
            "node 'b': 'x' of model 'two' is taken from input.z, which the input does not have",
            "node 'b': nothing fills parameter 'wanted' of predicate 'w'; by name there are input, deps, a",
        ]
        for call in (pipeline(), pipeline.start(), pipeline({"urls": 1}), pipeline(3)):
            with pytest.raises(PipelineError) as raised:
                await call
            assert len(raised.value.problems) == 3
            if raised.value.problems[0].endswith("deps"):
                assert raised.value.problems == problems
        with pytest.raises(RunFailed, match="nothing fills parameter 'url'"):
            await above.options(id="above")()
        assert await pipeline({"url": 1, "z": 2, "wanted": True}) == {"a": 1, "b": 1}

    on_engine(main)


def test_a_reference_that_leads_nowhere_ends_the_run() -> None:
    spec = {"a": {"model": "a"}, "b": {"model": "b", "depends_on": ["a"], "input": {"x": {"from": "a.size"}}}}
    problem = r"node 'b': 'x' of model 'b' is taken from 'a\.size': there is no 'size'; there are sizes"
    with pytest.raises(RunFailed, match=problem):
        ran(make(spec, a=lambda: {"sizes": 1}, b=lambda x: x))


# Conditions


def test_a_skipped_node_is_none() -> None:
    calls: list[str] = []

    def note(name: str) -> Callable[..., Any]:
        def call(deps: dict[str, Any]) -> Any:
            calls.append(name)
            return {"of": name, **deps}

        return call

    async def wanted(a: Any, flags: list[str]) -> bool:
        return a["of"] in flags

    spec = {
        "a": {"model": "a"},
        "b": {"model": "b", "depends_on": ["a"], "when": "wanted"},
        "c": {"model": "c", "depends_on": ["b"]},
        "d": {"model": "d", "depends_on": ["b"], "when": "there"},
        "e": {"model": "e", "depends_on": ["b"], "input": {"deps": {"from": "b.of"}}},
    }
    models: dict[str, Any] = {name: note(name) for name in "abcd"}
    models["e"] = lambda deps: deps
    pipeline = Pipeline.from_dict(
        spec, models=models, predicates={"wanted": wanted, "there": lambda b: b is not None}, name="conditions"
    )
    nothing = {"a": {"of": "a"}, "b": None, "c": {"of": "c", "b": None}, "d": None, "e": None}
    assert ran(pipeline, {"flags": []}) == nothing
    assert sorted(calls) == ["a", "c"]
    result = ran(pipeline, {"flags": ["a"]})
    assert result["d"] == {"of": "d", "b": {"of": "b", "a": {"of": "a"}}}
    assert result["e"] == "b"


def test_a_decision_is_recorded() -> None:
    pipeline = Pipeline.from_dict(
        {"a": {"model": "m", "when": "never"}},
        models={"m": lambda: 1},
        predicates={"never": lambda: False},
        name="never",
    )

    async def main(engine: Engine) -> None:
        assert await (await pipeline.options(id="r").start()).result() == {"a": None}
        assert [e.step for e in await entries_of(engine, "r") if e.kind is Kind.OK] == ["a@when"]

    on_engine(main)


# Problems


def test_problems_with_models_are_told_together() -> None:
    def generator() -> Any:
        yield 1

    def odd() -> complex | list[Clip | Audio]:
        return 1j

    assert problems_of(
        {
            "unbound": {"model": "detct"},
            "strange": {"model": "zzz", "when": "w"},
            "number": {"model": "number"},
            "generator": {"model": "generator"},
            "surplus": {"model": "detect", "input": {"urll": 1, "url": 2}},
            "forgot": {"model": "after"},
            "constant": {"model": "detect", "input": {"url": object()}},
            "field": {"model": "detect", "depends_on": ["audio"], "input": {"url": {"from": "audio.word"}}},
            "audio": {"model": "audio"},
            "odd": {"model": "odd"},
        },
        models={
            "detect": lambda url: url,
            "number": 3,
            "generator": generator,
            "after": lambda unbound: 1,
            "audio": Audio,
            "odd": odd,
        },
        input=Audio,
    ) == [
        "node 'unbound': model 'detct' is not bound; did you mean 'detect'?",
        "node 'strange': model 'zzz' is not bound; give it: models={'zzz': …}",
        "node 'strange': predicate 'w' is not bound; give it: predicates={'w': …}",
        "node 'number': model 'number': it is bound to 3, which cannot be called",
        "node 'generator': model 'generator': step 'generator' is a generator; "
        "a step returns one value, such as a list",
        "node 'surplus': input 'urll' is no parameter of model 'detect'; did you mean 'url'?",
        "node 'forgot': nothing fills parameter 'unbound' of model 'after': "
        "'unbound' is a node that is not in its depends_on",
        "node 'constant': input 'url' cannot be stored: at $, object is not a type that can be stored",
        *problems_of({"odd": {"model": "odd"}}, models={"odd": odd}),
        "node 'field': input 'url': the result of 'audio' has no 'word'; did you mean 'words'?",
    ]


def test_a_name_stands_for_one_pipeline(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="a pipeline's name is 1 to 100 printable characters"):
        Pipeline.from_dict({"a": {"model": "m"}}, models={"m": len}, name="a/b")

    @flow(name="taken")
    async def taken() -> None: ...

    with pytest.raises(PipelineError, match="a flow has this name already"):
        Pipeline.from_dict({"a": {"model": "m"}}, models={"m": lambda: 1}, name="taken")
    (tmp_path / "app.py").write_text(
        dedent("""
        from segue import PipelineError
        from segue import Pipeline
        for _ in range(2):  # a cell that is run again
            Pipeline.from_dict({"a": {"model": "m"}}, models={"m": lambda: 1})
        try:
            Pipeline.from_dict({"b": {"model": "m"}}, models={"m": lambda: 1})
        except PipelineError as error:
            print(error)
        """)
    )
    assert "another pipeline has this name" in python(tmp_path, "app.py").stdout


# Files


def from_text(folder: Path, text: str, name: str = "spec.yaml", **kwargs: Any) -> Pipeline:
    (folder / name).write_text(dedent(text))
    return Pipeline.from_file(folder / name, **kwargs)


def test_the_example_in_files(tmp_path: Path) -> None:
    (tmp_path / "video.json").write_text(json.dumps(video_pipeline))
    (tmp_path / "named.json").write_text("\ufeff" + json.dumps({"name": "other", "nodes": video_pipeline}))
    for name, called in (("video.json", "video"), ("named.json", "other")):
        pipeline = Pipeline.from_file(tmp_path / name, models=MODELS)
        assert pipeline.name == called
        assert ran(pipeline, {"url": "clip"})["content_moderation"] is True
    assert Pipeline.from_file(str(tmp_path / "named.json"), models=MODELS, name="third").name == "third"


def test_yaml_with_its_conveniences(tmp_path: Path) -> None:
    text = """
        name: tidy
        nodes:
          a: &patient
            model: one
            retry: 2
            timeout: 1m
          b:
            <<: *patient
            depends_on: [a]
            retry: 5
            timeout:
    """
    pipeline = from_text(tmp_path, text, models={"one": lambda: 1})
    assert (pipeline.name, pipeline.graph) == ("tidy", {"a": [], "b": ["a"]})
    assert (step_of(pipeline, "a").retry.retries, step_of(pipeline, "b").retry.retries) == (2, 5)
    assert (step_of(pipeline, "a").timeout, step_of(pipeline, "b").timeout) == (Timeout(60), Timeout())


def test_models_by_module_and_function(tmp_path: Path) -> None:
    (tmp_path / "beside_this_file.py").write_text("class Kit:\n    @staticmethod\n    def one(): return 1\n")
    (tmp_path / "falls_over.py").write_text("1 / 0")
    try:
        text = "{a: {model: 'beside_this_file:Kit.one', when: 'beside_this_file:Kit.one'}}"
        assert ran(from_text(tmp_path, text)) == {"a": 1}
        assert problems_in(
            tmp_path,
            "{a: {model: 'nowhere_:f'}, b: {model: 'falls_over:f'}, c: {model: 'json:lods'}, d: {model: ':'}}",
        ) == [
            "node 'a': model 'nowhere_:f' cannot be imported: ModuleNotFoundError: No module named 'nowhere_'",
            "node 'b': model 'falls_over:f' cannot be imported: ZeroDivisionError: division by zero",
            "node 'c': model 'json:lods' cannot be imported: AttributeError: module 'json' has no attribute 'lods'",
            "node 'd': model ':' cannot be imported: ValueError: Empty module name",
        ]
    finally:
        sys.path.remove(str(tmp_path.resolve()))
    assert "is not bound" in problems_of({"a": {"model": "json:loads"}})[0]


def problems_in(folder: Path, text: str, name: str = "spec.yaml") -> list[str]:
    with pytest.raises(PipelineError) as raised:
        from_text(folder, text, name, models={"one": lambda: 1})
    return raised.value.problems


BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20)
)
MERGES = "a: &a0 {x: 1}\n" + "".join(f"k{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 20))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: {model: one}\na: {model: one}", "line 2: the key 'a' stands twice in one mapping"),
        ("a:\n  model: one\n  retry: 1\n  retry: 2", "line 4: the key 'retry' stands twice in one mapping"),
        ("3: {model: one}", "a node's name is text, not 3: quote it"),
        ("a: {model: one, on: 3}", "node 'a': True is not a key of a node"),
        ("[a, b]: {model: one}", "it cannot be read: while constructing a mapping"),
        ("", "it has no nodes"),
        ("[1]", "a pipeline is a mapping of nodes, not [1]"),
        ("a: [", "it cannot be read: while parsing a flow node"),
        ("--- 1\n--- 2", "it cannot be read: expected a single document"),
        ("a: !!python/object/apply:os.system [ls]", "it cannot be read: could not determine a constructor"),
        ("a: 2024-99-99", "it cannot be read: month must be in 1..12"),
        (f"a: {'9' * 5000}", "it cannot be read: Exceeds the limit"),
        ("&a [*a]", "it is nested too deeply"),
        ("[" * 50 + "]" * 50, "it is nested too deeply"),
        ("[" * 20_000, "it is nested too deeply"),
        (BOMB, "it cannot be read: it stands for more than 50,000 values"),
        (MERGES, "it cannot be read: it stands for more than 50,000 values"),
        ("a: [" + "1," * 60_000 + "]", "it cannot be read: it stands for more than 50,000 values"),
        ("#" * (1 << 20) + "#", "the file is larger than 1,048,576 bytes"),
        ("a: \x07", "it cannot be read: unacceptable character"),
    ],
)
def test_what_is_wrong_with_yaml(tmp_path: Path, text: str, problem: str) -> None:
    assert [said for said in problems_in(tmp_path, text) if said.startswith(problem)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": {"model": "one", "model": "two"}}', "the key 'model' stands twice in one mapping"),
        ("{", "it cannot be read: Expecting property name"),
        ("[" * 50 + "]" * 50, "it is nested too deeply"),
        ("[" * 200_000, "it is nested too deeply"),
        ('{"a": {"model": "one", "timeout": NaN}}', "node 'a': timeout: a duration is finite"),
    ],
)
def test_what_is_wrong_with_json(tmp_path: Path, text: str, problem: str) -> None:
    assert [said for said in problems_in(tmp_path, text, "spec.json") if said.startswith(problem)]


def test_files_that_are_none(tmp_path: Path) -> None:
    assert problems_in(tmp_path, "", "spec.toml") == ["the file's name ends in .yaml, .yml or .json"]
    with pytest.raises(FileNotFoundError):
        Pipeline.from_file(tmp_path / "nothing.yaml")
    (tmp_path / "spec.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(PipelineError, match="'utf-8' codec"):
        Pipeline.from_file(tmp_path / "spec.yaml")


def test_problems_of_form_and_content_are_told_together(tmp_path: Path) -> None:
    assert problems_in(tmp_path, "a: {model: one, retry: 1, retry: x}\nb: {model: onee}") == [
        "line 1: the key 'retry' stands twice in one mapping",
        "node 'a': retry: retry is a number of retries, 0 or more, not 'x'",
        "node 'b': model 'onee' is not bound; did you mean 'one'?",
    ]


# Crashes, and changes while a run is under way


def python(folder: Path, *args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    path = str(Path(segue.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "SEGUE_STORE": f"sqlite:{folder / 'runs.db'}", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


CRASHING = """
    import asyncio, sys
    from dataclasses import dataclass
    from pathlib import Path
    from segue import Engine
    from segue.core.entries import Kind
    from segue import Pipeline

    @dataclass
    class Clip:
        url: str

    @dataclass
    class Frames:
        of: Clip
        count: int

    def note(name):
        with open("ran.txt", "a") as file:
            print(name, file=file, flush=True)

    def first(input: Clip) -> Frames:
        note("first")
        return Frames(input, 1)

    def more(frames: Frames) -> Frames:
        note(f"more {frames.count}")
        return Frames(frames.of, frames.count + 1)

    spec = {"n1": {"model": "first"}} | {
        f"n{i}": {"model": "more", "depends_on": [f"n{i - 1}"], "input": {"frames": {"from": f"n{i - 1}"}}}
        for i in range(2, 7)
    }
    pipeline = Pipeline.from_dict(spec, models={"first": first, "more": more}, name="crashing", input=Clip)

    async def main():
        async with Engine() as engine:
            if sys.argv[1] == "look":
                loaded = await engine.store.load("r")
                print(*(e.step for e in loaded[1] if e.kind is Kind.OK))
                return
            result = await (await pipeline.options(id="r").start(Clip("x"))).result()
            assert type(result["n6"]) is Frames, result
            assert result == {f"n{i}": Frames(Clip("x"), i) for i in range(1, 7)}, result
            print("whole")

    asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["after-commit:3", "before-commit:4", "after-body:5"])
def test_no_recorded_node_runs_again_after_a_crash(tmp_path: Path, point: str) -> None:
    (tmp_path / "app.py").write_text(
        dedent(CRASHING).replace("Engine() as", "Engine(execute=sys.argv[1] != 'look') as")
    )
    crashed = python(tmp_path, "app.py", "run", SEGUE_CRASH_AT=point)
    assert crashed.returncode == 137, crashed.stderr
    recorded = python(tmp_path, "app.py", "look").stdout.split()
    assert recorded
    assert len(recorded) < 6
    before = (tmp_path / "ran.txt").read_text().split("\n")[:-1]
    resumed = python(tmp_path, "app.py", "run")
    assert resumed.stdout == "whole\n", resumed.stderr
    after = (tmp_path / "ran.txt").read_text().split("\n")[len(before) : -1]
    assert after == [f"more {i - 1}" for i in range(len(recorded) + 1, 7)]


def test_nodes_may_be_added_and_moved_while_a_run_is_under_way(tmp_path: Path) -> None:
    calls: list[str] = []

    def noted(name: str) -> Callable[[], str]:
        def call() -> str:
            calls.append(name)
            return name

        return call

    async def stuck(a: str, b: str) -> str:
        reached.set()
        await asyncio.Event().wait()
        return a + b

    store = f"sqlite:{tmp_path / 'runs.db'}"
    a, b = {"model": "a"}, {"model": "b"}
    last = {"model": "last", "depends_on": ["a", "b"]}
    before = {"a": a, "b": b, "last": last}
    after = {"new": {"model": "new"}, "last": last, "b": b, "a": a}
    models = {name: noted(name) for name in ("a", "b", "new")}

    async def begin(engine: Engine) -> None:
        nonlocal reached
        reached = asyncio.Event()
        await Pipeline.from_dict(before, models={**models, "last": stuck}, name="moved").options(id="r").start()
        await reached.wait()

    async def go_on(engine: Engine) -> Any:
        return await (await changed.handle("r")).result()

    reached = cast(asyncio.Event, None)
    on_engine(begin, store)
    assert sorted(calls) == ["a", "b"]
    changed = Pipeline.from_dict(after, models={**models, "last": lambda a, b: a + b}, name="moved")
    assert on_engine(go_on, store) == {"new": "new", "last": "ab", "b": "b", "a": "a"}
    assert sorted(calls) == ["a", "b", "new"]


@pytest.mark.parametrize("on_divergence", ["fail", "rerun"])
def test_a_recorded_node_with_other_arguments(tmp_path: Path, on_divergence: Literal["fail", "rerun"]) -> None:
    store = f"sqlite:{tmp_path / 'runs.db'}"
    reached = cast(asyncio.Event, None)

    async def stuck(a: int) -> int:
        if a == 1:
            reached.set()
            await asyncio.Event().wait()
        return a

    def declared(constant: int) -> Pipeline:
        spec = {"a": {"model": "a", "input": {"n": constant}}, "b": {"model": "b", "depends_on": ["a"]}}
        models: dict[str, Any] = {"a": lambda n: n, "b": stuck}
        return Pipeline.from_dict(spec, models=models, name="diverging", on_divergence=on_divergence)

    async def begin(engine: Engine) -> None:
        nonlocal reached
        reached = asyncio.Event()
        await declared(1).options(id="r").start()
        await reached.wait()

    async def go_on(engine: Engine) -> Any:
        return await (await changed.handle("r")).result()

    on_engine(begin, store)
    changed = declared(2)
    if on_divergence == "rerun":
        assert on_engine(go_on, store) == {"a": 2, "b": 2}
        return
    with pytest.raises(RunFailed, match=r"step 'a' is asked for with .*2.* recorded with .*1") as raised:
        on_engine(go_on, store)
    assert raised.value.error.is_a(Divergence)
    assert "The flow's code changed since" in str(raised.value)


# Any graph


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    size = draw(st.integers(1, 9))
    depends = {f"n{i}": [f"n{j}" for j in range(i) if draw(st.booleans())] for i in range(size)}
    order = draw(st.permutations(list(depends)))
    return {name: depends[name] for name in order}


@settings(max_examples=60, deadline=None)
@given(graphs(), st.data())
def test_each_node_of_any_graph_runs_once_after_its_dependencies(
    depends: dict[str, list[str]], data: st.DataObject
) -> None:
    skipped = data.draw(st.sets(st.sampled_from(sorted(depends))))
    done: list[str] = []

    def model(name: str) -> Callable[..., Any]:
        async def call(deps: dict[str, Any]) -> dict[str, Any]:
            assert set(deps) == set(depends[name])
            assert {d for d in deps if d not in skipped} <= set(done)
            assert {d for d in deps if deps[d] is None} == set(deps) & skipped
            await asyncio.sleep(0)
            done.append(name)
            return {"name": name, "deps": sorted(deps)}

        return call

    spec = {
        name: {"model": name, "depends_on": on, **({"when": "no"} if name in skipped else {})}
        for name, on in depends.items()
    }
    pipeline = Pipeline.from_dict(
        spec, models={name: model(name) for name in depends}, predicates={"no": lambda: False}, name="any"
    )
    result = ran(pipeline)
    assert list(result) == list(depends)
    assert result == {
        name: None if name in skipped else {"name": name, "deps": sorted(on)} for name, on in depends.items()
    }
    assert sorted(done) == sorted(set(depends) - skipped)


# The documentation


def test_every_block_of_the_documentation_runs(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "pipelines.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.M | re.S)
    for kind, block in blocks:
        if kind == "yaml":
            (tmp_path / "pipeline.yaml").write_text(block)
    code = "\n".join(block for kind, block in blocks if kind == "python")
    (tmp_path / "scenes.py").write_text(
        "def detect(url: str, threshold: float = 27.0) -> list[float]: return [0.0, threshold]"
    )
    (tmp_path / "page.py").write_text(code + "\nprint('through')")
    done = python(tmp_path, "page.py")
    assert done.stdout.endswith("through\n"), done.stderr


# The recovery ladder of a node


def gone(n: int) -> dict[str, float]:
    raise ConnectionError("the model is gone")


def unsure(n: int) -> dict[str, float]:
    return {"n": n, "confidence": 0.2}


def sure(n: int) -> dict[str, float]:
    return {"n": n, "confidence": 0.9}


def as_text(n: int) -> dict[str, float]:
    return f'Sure: {{"n": {n}}}'  # type: ignore[return-value]


LADDERS: list[tuple[dict[str, Any], float]] = [
    ({"model": "gone", "fallback": "sure"}, 3),
    ({"model": "gone", "fallback": ["cached", "sure"]}, 3),
    ({"model": "gone", "fallback": ["gone", {"value": {"n": 8}}]}, 8),
    ({"model": "unsure", "confidence": 0.7, "degraded": {"n": 9}}, 9),
    ({"model": "sure", "confidence": 0.7}, 3),
    ({"model": "sure", "check": "many", "retry": 1, "fallback": {"value": {"n": 7}}}, 7),
    ({"model": "as_text", "parse": "json"}, 3),
    ({"model": "gone", "breaker": 1, "concurrency": 1, "rate": "100/s", "fallback": ["sure"]}, 3),
]


@pytest.mark.parametrize(("node", "expected"), LADDERS)
def test_a_node_has_the_ladder_of_a_step(node: dict[str, Any], expected: float) -> None:
    made = Pipeline.from_dict(
        {"a": node},
        models={"gone": gone, "unsure": unsure, "sure": sure, "as_text": as_text},
        predicates={"many": lambda result: result["n"] > 100 or "too few"},
    )

    async def main() -> Any:
        async with Engine("memory:"):
            return await made({"n": 3})

    assert asyncio.run(main())["a"]["n"] == expected


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"fallback": ["sur"]}, "model 'sur' is not bound; did you mean 'sure'"),
        ({"fallback": 3}, "a model's name, 'cached'"),
        ({"confidence": 7}, "between 0 and 1"),
        ({"check": "many"}, "predicate 'many' is not bound"),
        ({"rate": "fast"}, "'fast' is not a rate"),
        ({"parse": "xml"}, "this is 'json', not 'xml'"),
        ({"fallbck": []}, "did you mean 'fallback'"),
        ({"degraded": [1]}, "degraded=[1]"),
    ],
)
def test_a_wrong_ladder_of_a_node_is_told_with_the_nodes_name(node: dict[str, Any], said: str) -> None:
    with pytest.raises(PipelineError) as refused:
        Pipeline.from_dict({"a": {"model": "sure", **node}}, models={"sure": sure})
    assert any("node 'a'" in problem and said in problem for problem in refused.value.problems), refused.value.problems
