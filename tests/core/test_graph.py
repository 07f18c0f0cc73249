"""Reading a specification: what it says, and all that is wrong with it."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.graph import Graph, Node, Reference, cycles, keys_of, lacking, pick, plan, read
from segue.errors import DeclarationError
from segue.policies import Retry, Timeout


def check_name(kind: str, name: str) -> str:
    if "/" in name:
        raise DeclarationError(f"no {kind} is named so")
    return name


def graph(spec: object) -> Graph:
    return read(spec, check_name)


def test_a_node_says_what_it_needs() -> None:
    read_ = graph(
        {
            "a": {"model": "m"},
            "b": {
                "depends_on": ["a"],
                "model": "n",
                "retry": 2,
                "timeout": "1m",
                "when": "wanted",
                "input": {"x": 1, "y": {"from": "a.part"}, "z": {"from": "a", "to": "b"}},
            },
        }
    )
    assert read_.problems == []
    assert read_.nodes["a"] == Node("a", model="m")
    assert read_.nodes["b"] == Node(
        "b",
        ("a",),
        "n",
        Retry(2),
        Timeout("1m"),
        "wanted",
        {"x": 1, "y": Reference("a", ("part",)), "z": {"from": "a", "to": "b"}},
    )


def test_a_blank_key_says_nothing() -> None:
    blank = {"model": "m", "depends_on": None, "retry": None, "timeout": None, "when": None, "input": None}
    assert graph({"a": blank}) == Graph(None, {"a": Node("a", model="m")}, [])


def test_the_named_form() -> None:
    assert graph({"name": "video", "nodes": {"a": {"model": "m"}}}) == Graph("video", {"a": Node("a", model="m")}, [])


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ([], "a pipeline is a mapping of nodes, not []"),
        ({}, "it has no nodes"),
        ({"nodes": {}}, "it has no nodes"),
        ({"nodes": []}, "'nodes' is a mapping of nodes, not []"),
        ({"nodes": {"a": {"model": "m"}}, "nam": "x"}, "'nam' is unknown beside 'nodes'; there is 'name'"),
        ({"nodes": {"a": {"model": "m"}}, "name": "a/b"}, "name: no pipeline is named so"),
        ({"nodes": {"a": {"model": "m"}}, "name": 3}, "name: this is a name, not 3"),
        ({"name": "x", "a": {"model": "m"}}, "A pipeline with a name is written {'name': …, 'nodes': {…}}"),
        ({3: {"model": "m"}}, "a node's name is text, not 3: quote it"),
        ({"a/b": {"model": "m"}}, "node 'a/b': no node is named so"),
        ({"input": {"model": "m"}}, "node 'input': this name means something else"),
        ({"deps": {"model": "m"}}, "node 'deps': this name means something else"),
        ({"a": "m"}, "node 'a': a node is a mapping with a 'model', not 'm'"),
        ({"a": {}}, "node 'a': it has no 'model'"),
        ({"a": {"model": None}}, "node 'a': it has no 'model'"),
        ({"a": {"model": ""}}, "node 'a': model: this is a name, not ''"),
        ({"a": {"model": "m", "timeuot": 3}}, "node 'a': 'timeuot' is not a key of a node; did you mean 'timeout'?"),
        ({"a": {"model": "m", "zzz": 3}}, "'zzz' is not a key of a node; there are depends_on, model, retry, timeout,"),
        ({"a": {"model": "m", True: 3}}, "node 'a': True is not a key of a node"),
        ({"a": {"model": "m", "retry": "three"}}, "node 'a': retry: retry is a number of retries, 0 or more, not 'th"),
        ({"a": {"model": "m", "retry": True}}, "not True"),
        ({"a": {"model": "m", "retry": -1}}, "not -1"),
        ({"a": {"model": "m", "retry": 2.0}}, "not 2.0"),
        ({"a": {"model": "m", "timeout": -5}}, "node 'a': timeout: a duration is finite and not negative, not -5"),
        ({"a": {"model": "m", "timeout": 0}}, "more than 0"),
        ({"a": {"model": "m", "timeout": True}}, "not True"),
        ({"a": {"model": "m", "timeout": "soon"}}, "'soon' is not a duration"),
        ({"a": {"model": "m", "timeout": float("nan")}}, "finite"),
        ({"a": {"model": "m", "when": 3}}, "node 'a': when: this is a name, not 3"),
        ({"a": {"model": "m", "depends_on": "b"}, "b": {"model": "m"}}, "depends_on: this is a list of node names"),
        ({"a": {"model": "m", "depends_on": [1]}}, "depends_on: this is a name, not 1"),
        ({"a": {"model": "m", "depends_on": ["b", "b"]}, "b": {"model": "m"}}, "named twice: b"),
        (
            {"scene": {"model": "m"}, "b": {"model": "m", "depends_on": ["scen"]}},
            "node 'b': it depends on 'scen', which is not a node; did you mean 'scene'?",
        ),
        ({"a": {"model": "m", "input": [1]}}, "node 'a': input: this is a mapping of parameter names, not [1]"),
        ({"a": {"model": "m", "input": {1: 2}}}, "node 'a': input: this is a name, not 1"),
        ({"a": {"model": "m", "input": {"x": {"from": 3}}}}, "node 'a': input: this is a name, not 3"),
        (
            {"a": {"model": "m", "input": {"x": {"from": "inptu.y"}}}},
            "node 'a': input 'x': 'inptu.y' names neither a node nor the input; did you mean 'input'?",
        ),
        ({"a": {"model": "m", "input": {"x": {"from": "input..y"}}}}, "is not of the form"),
        (
            {"a": {"model": "m"}, "b": {"model": "m", "input": {"x": {"from": "a.y"}}}},
            "node 'b': input 'x': it is taken from 'a', which is not in the node's depends_on",
        ),
        (
            {"a": {"model": "m", "depends_on": ["b"]}, "b": {"model": "m", "depends_on": ["a"]}},
            "nodes wait for each other in a circle: a → b → a",
        ),
        ({"a": {"model": "m", "depends_on": ["a"]}}, "nodes wait for each other in a circle: a → a"),
    ],
)  # fmt: skip
def test_what_is_wrong(spec: object, problem: str) -> None:
    assert [said for said in graph(spec).problems if problem in said], graph(spec).problems


def test_all_problems_are_told_together() -> None:
    problems = graph({"a": {"model": 1, "retry": "x"}, "b": {"depends_on": ["c"]}, "d": 3}).problems
    assert len(problems) == 5
    assert all(said.startswith(f"node {name!r}: ") for said, name in zip(problems, "aabdb", strict=True))


def test_a_reference_may_name_a_node_with_dots() -> None:
    nodes = {"v1": {"model": "m"}, "v1.2": {"model": "m"}}
    last = {"model": "m", "depends_on": ["v1", "v1.2"], "input": {"x": {"from": "v1.2.y"}, "z": {"from": "v1.y"}}}
    read_ = graph({**nodes, "last": last})
    assert read_.nodes["last"].input == {"x": Reference("v1.2", ("y",)), "z": Reference("v1", ("y",))}
    assert read_.problems == []


def test_every_circle_is_found() -> None:
    nodes = {
        "z": Node("z", ("y", "a")),
        "y": Node("y", ("x",)),
        "x": Node("x", ("z",)),
        "a": Node("a", ("b", "gone")),
        "b": Node("b", ("a",)),
        "c": Node("c", ("a", "z")),
    }
    assert sorted(cycles(nodes)) == [["a", "b", "a"], ["z", "y", "x", "z"]]


def test_a_long_chain_is_no_circle() -> None:
    assert cycles({str(i): Node(str(i), (str(i - 1),) if i else ()) for i in range(20_000)}) == []


edges = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), unique=True), min_size=1)


@given(edges)
def test_a_circle_is_a_way_along_dependencies(depends: dict[str, list[str]]) -> None:
    nodes = {name: Node(name, tuple(on)) for name, on in depends.items()}
    found = cycles(nodes)
    for circle in found:
        assert circle[0] == circle[-1]
        assert len(set(circle)) == len(circle) - 1
        for here, there in pairwise(circle):
            assert there in nodes[here].depends_on
    # without one node of each circle, or more often, none is left
    broken = {name for circle in found for name in circle}
    assert cycles({name: node for name, node in nodes.items() if name not in broken}) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=12,
)
near = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("model", "depends_on", "retry", "timeout", "when", "input", "other"), anything),
)


@given(anything | st.dictionaries(st.sampled_from(["a", "b", "nodes", "name", "input"]), near | anything, max_size=4))
def test_nothing_is_too_strange_to_be_read(spec: object) -> None:
    read_ = graph(spec)
    assert read_.problems or read_.nodes


# What fills parameters


def test_what_fills_a_parameter() -> None:
    node = Node("n", ("a", "b"), input={"b": 1, "x": Reference("a", ("y",))})
    needed = dict.fromkeys(["a", "b", "x", "input", "deps", "url"], True) | {"size": False}
    fixed = {
        "a": Reference("a"),
        "b": 1,
        "x": Reference("a", ("y",)),
        "input": Reference("input"),
        "deps": Reference("deps"),
    }
    assert plan(node, needed, None) == (((fixed), {"url": True, "size": False}), [])
    assert plan(node, needed, ["url"]) == ((fixed | {"url": Reference("input", ("url",))}, {}), [])
    assert plan(node, needed, ["size"]) == ((fixed | {"size": Reference("input", ("size",))}, {}), ["url"])
    assert lacking(plan(node, needed, None)[0], ["size"]) == ["url"]
    assert lacking(plan(node, needed, None)[0], ["url"]) == []


@dataclass
class Data:
    url: str


class Struct(msgspec.Struct):
    url: str


class Tuple(NamedTuple):
    url: str


class Typed(TypedDict):
    url: str


def test_keys_of_types_and_values() -> None:
    model: Any = pydantic.create_model("model", url=str)
    for kind in (Data, Struct, Tuple, model):
        assert keys_of(kind) == keys_of(kind(url="x")) == ("url",)
        assert pick(kind(url="x"), ["url"]) == "x"
    assert keys_of(Typed) == keys_of(Typed(url="x")) == ("url",)
    for nothing in (int, 3, None, dict, dict[str, int], list[int], Any, "text"):
        assert keys_of(nothing) is None


def test_a_way_that_leads_nowhere() -> None:
    with pytest.raises(LookupError, match="there is no 'b'; there are a"):
        pick({"a": 1}, ["b"])
    with pytest.raises(LookupError, match="there is no 'b'; 1 has no fields"):
        pick({"a": 1}, ["a", "b"])
