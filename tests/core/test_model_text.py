"""JSON out of the text that models write."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model_text import read_json

FENCE, AROUND, MARK = "a fenced code block", "text around the JSON", "a byte order mark"


@pytest.mark.parametrize(
    ("text", "value", "lenient"),
    [
        ('{"a": 1}', {"a": 1}, ()),
        (" \n[1, 2]\n ", [1, 2], ()),
        ("42", 42, ()),
        ("null", None, ()),
        ('"```json\\n{}\\n```"', "```json\n{}\n```", ()),
        (b'{"a": 1}', {"a": 1}, ()),
        ('\ufeff{"a": 1}', {"a": 1}, (MARK,)),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}, (MARK,)),
        ('```json\n{"a": 1}\n```', {"a": 1}, (FENCE,)),
        ('``` json \r\n{"a": 1}\r\n```', {"a": 1}, (FENCE,)),
        ("Here it is:\n```\n[1]\n```\nAnything else?", [1], (FENCE,)),
        ('```\nnot json\n```\n```json\n{"a": 1}\n```', {"a": 1}, (FENCE,)),
        ('\ufeffSure! {"a": 1}', {"a": 1}, (MARK, AROUND)),
        ('Sure! {"a": 1} Anything else?', {"a": 1}, (AROUND,)),
        ('As said [see below] {"a": 1}', {"a": 1}, (AROUND,)),
        ('```json\n{"code": "```py\\nx\\n```"}\n```', {"code": "```py\nx\n```"}, (AROUND,)),
    ],
)
def test_json_is_found_and_what_was_overlooked_is_told(text: str | bytes, value: Any, lenient: tuple[str, ...]) -> None:
    assert read_json(text) == (value, lenient)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("\ufeff", "it is empty"),
        (b"\xff{}", "it is not UTF-8"),
        ('{"a": 1', "Expecting ',' delimiter"),
        ('{"a": {"b": 1}, "c":', "Expecting value"),
        ('{"a": 1,}', "it is not JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[Infinity]", "Infinity is not JSON"),
        ('so: {"a": NaN}', "it is not JSON"),
        ("I do not know.", "it is not JSON"),
        ("<html><body>502 Bad Gateway</body></html>", "it is not JSON"),
        ("{'a': 1}", "it is not JSON"),
        ("1" * 5000, "it is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("see " + "[" * 100_000, "it is not JSON"),
    ],
)
def test_what_is_not_json_is_refused_with_a_reason(text: str | bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_json_comes_back_as_it_is(value: Any) -> None:
    assert read_json(json.dumps(value)) == (value, ())


@given(st.dictionaries(st.text(), JSON, max_size=4), st.sampled_from(["", "Sure.\n", "The answer:\n\n"]))
def test_a_fence_and_prose_around_an_object_lose_nothing(value: Any, prose: str) -> None:
    assert read_json(f"{prose}```json\n{json.dumps(value)}\n```\n{prose}")[0] == value


@given(st.text(max_size=200))
def test_any_text_gives_a_value_or_a_value_error(text: str) -> None:
    try:
        read_json(text)
    except ValueError:
        pass
