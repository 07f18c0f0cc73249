"""Chaos: what is drawn, and what becomes of values."""

import asyncio
import json
import math
import random
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue import gate
from segue.errors import DeclarationError
from segue.testing.chaos import Chaos, Faults, HttpError, defect, malform

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
seeds = st.integers(0, 2**32)


@dataclass
class Reply:
    text: str
    score: float
    tags: list[str]


class Verdict(msgspec.Struct):
    label: str = "ok"
    sure: bool = True


class Order(pydantic.BaseModel):
    number: int
    note: str | None = None


class Empty(msgspec.Struct):
    pass


class Mood(Enum):
    GOOD = "good"


class Odd:
    """Neither storable nor comparable."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError


MODELS: list[Any] = [
    Reply("Paris is the capital.", 0.93, ["geo"]),
    Verdict(),
    Empty(),
    Order(number=12),
    Mood.GOOD,
    (1, 2),
    {1, 2},
    numpy.array([1.0, 2.0]),
    numpy.float64(3.5),
    numpy.zeros((100, 100)),
    Odd(),
    object(),
    '{"label": "billing", "score": 0.75}',
    "",
    0,
    0.0,
    math.nan,
    {},
    [],
    b"",
]


def changed(value: Any, broken: Any) -> bool:
    if type(value) is not type(broken):
        return True
    if isinstance(value, float):
        return not (value == broken or (math.isnan(value) and math.isnan(broken)))
    return bool(value != broken)


# Malformed values


@given(values, seeds)
def test_malforming_always_changes_and_never_raises(value: Any, seed: int) -> None:
    before = repr(value)
    assert changed(value, malform(value, random.Random(seed)))
    assert repr(value) == before, "the value itself was changed"


@pytest.mark.parametrize("value", MODELS, ids=lambda value: type(value).__name__)
def test_objects_come_back_as_models_break_them(value: Any) -> None:
    for seed in range(200):
        assert changed(value, malform(value, random.Random(seed)))


@given(values, seeds)
def test_malforming_is_a_function_of_value_and_chance(value: Any, seed: int) -> None:
    first, second = defect(value, random.Random(seed)), defect(value, random.Random(seed))
    assert repr(first) == repr(second)


def kinds_of(value: Any) -> dict[str, Any]:
    return dict(defect(value, random.Random(seed)) for seed in range(600))


def test_an_object_breaks_in_every_way() -> None:
    found = kinds_of(Reply("Paris", 0.93, ["geo"]))
    assert set(found) == {
        "null", "empty", "html", "nested", "prose", "fenced", "truncated", "missing brace", "text for dict",
        "list for dict", "broken JSON", "missing key", "other key", "wrong type", "nan", "empty field",
    }  # fmt: skip
    assert found["null"] is None
    assert "<html" in found["html"].lower()
    assert isinstance(found["list for dict"], list)
    assert len(found["missing key"]) == 2
    assert len(found["other key"]) == 3
    assert not math.isfinite(found["nan"]["score"])
    assert list(found["nested"].values()) == [{"text": "Paris", "score": 0.93, "tags": ["geo"]}]
    for kind in ("truncated", "missing brace", "broken JSON", "fenced", "prose"):
        with pytest.raises(ValueError, match=r"line \d+ column \d+"):
            json.loads(found[kind])


def test_text_of_a_model_breaks_as_json_does() -> None:
    text = '{"label": "billing", "score": 0.75}'
    found = kinds_of(text)
    assert {"missing brace", "nan", "broken JSON", "truncated"} <= set(found)
    assert found["missing brace"] == text[:-1]
    assert text.startswith(found["truncated"])
    assert any(word in found["nan"] for word in ("NaN", "Infinity"))


def test_numbers_and_lists() -> None:
    assert {"nan", "wrong type", "list for number"} <= set(kinds_of(12))
    assert {"dict for list", "missing item", "wrong type"} <= set(kinds_of([1, 2, 3]))
    assert "nan" not in kinds_of(math.nan)
    assert "nan" not in kinds_of(True)


# What is drawn

PLACES = [
    (f"chaos-7-{run:04}", f"1/step#{step}", attempt) for run in range(50) for step in (2, 3) for attempt in (1, 2)
]


def plans(faults: Faults) -> list[str]:
    return [repr(faults.plan(*place)) for place in PLACES]


def test_the_same_seed_draws_the_same_in_any_order() -> None:
    faults = Faults(seed=7, fail=0.3, delay=0.3, malform=0.3)
    shuffled = random.Random(0).sample(PLACES, len(PLACES))
    drawn = {place: repr(faults.plan(*place)) for place in shuffled}
    assert [drawn[place] for place in PLACES] == plans(faults)
    assert plans(faults) != plans(Faults(seed=8, fail=0.3, delay=0.3, malform=0.3))


def test_one_rate_leaves_the_draws_of_the_others_alone() -> None:
    alone = [Faults(seed=7, fail=0.2).plan(*place).error for place in PLACES]
    together = [Faults(seed=7, fail=0.2, delay=0.5, malform=0.5).plan(*place).error for place in PLACES]
    assert list(map(repr, alone)) == list(map(repr, together))
    more = [Faults(seed=7, fail=0.4).plan(*place).error for place in PLACES]
    assert all(b is not None for a, b in zip(alone, more, strict=True) if a is not None)


def test_each_attempt_draws_anew() -> None:
    faults = Faults(seed=7, fail=0.5)
    failed = [tuple(faults.plan(f"r{n}", "s", attempt).error is not None for attempt in (1, 2)) for n in range(200)]
    assert len(set(failed)) == 4


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.7])
def test_rates_are_met(rate: float) -> None:
    faults = Faults(seed=3, fail=rate, delay=rate, delays=(1, 2), malform=rate)
    drawn = [faults.plan(f"r{n}", "s", 1) for n in range(4000)]
    five_sigma = 5 * math.sqrt(rate * (1 - rate) / 4000)
    failed = sum(plan.error is not None for plan in drawn) / 4000
    late = [plan.delay for plan in drawn if plan.delay is not None]
    broken = sum(plan.malform for plan in drawn) / 4000
    assert abs(failed - rate) < five_sigma
    assert abs(len(late) / 4000 - rate) < five_sigma
    assert abs(broken - rate * (1 - rate)) < five_sigma
    assert all(1 <= delay <= 2 for delay in late)


def test_errors_are_of_many_kinds() -> None:
    faults = Faults(seed=1, fail=1)
    drawn = [faults.plan(f"r{n}", "s", 1) for n in range(300)]
    kinds = Counter(type(plan.error) for plan in drawn)
    assert set(kinds) == {ConnectionError, TimeoutError, HttpError, ValueError}
    limits = [plan.error for plan in drawn if isinstance(plan.error, HttpError)]
    assert {error.status for error in limits} == {429, 503}
    assert all(error.retry_after is not None for error in limits if error.status == 429)
    assert any(plan.answer_lost for plan in drawn)
    assert not any(plan.answer_lost for plan in drawn if isinstance(plan.error, HttpError))


def test_nothing_is_drawn_at_rate_zero_and_all_at_one() -> None:
    assert all(Faults().plan(*place) == (None, None, False, False) for place in PLACES)
    assert all(Faults(malform=1).plan(*place).malform for place in PLACES)
    assert not any(Faults().hits("kill", n) for n in range(100))


# Faults as they are declared


@pytest.mark.parametrize(
    ("given", "expected"),
    [("0.2:0.1s..2s", (0.2, (0.1, 2.0))), ("0.2:1s", (0.2, (1.0, 1.0))), ("1", (1.0, (0.1, 2.0)))],
)
def test_delays_as_the_command_line_has_them(given: str, expected: Any) -> None:
    faults = Faults.parse(seed=7, fail=0.1, delay=given)
    assert (faults.delay, faults.delays) == expected
    assert faults.fail == 0.1


def test_faults_as_arguments_and_back() -> None:
    faults = Faults(7, 0.1, 0.2, (0.1, 2.0), 0.1, 0.05, 0.02)
    assert faults.arguments() == [
        "--seed=7", "--fail=0.1", "--delay=0.2:0.1s..2s", "--malform=0.1", "--duplicate=0.05", "--kill=0.02"
    ]  # fmt: skip
    assert Faults.parse(seed=7, fail=0.1, delay="0.2:0.1s..2s", malform=0.1, duplicate=0.05, kill=0.02) == faults
    assert Faults().arguments() == ["--seed=0"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fail": 1.5}, "fail is a share between 0 and 1, not 1.5"),
        ({"kill": -0.1}, "kill is a share"),
        ({"malform": math.nan}, "malform is a share"),
        ({"duplicate": True}, "duplicate is a share"),
        ({"delays": (2, 1)}, "delays are the shortest and the longest"),
        ({"delays": (0, math.inf)}, "delays are the shortest and the longest"),
        ({"seed": "7"}, "a seed is a whole number"),
    ],
)
def test_wrong_faults(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        Faults(**wrong)


@pytest.mark.parametrize("wrong", ["", "often", "0.1:", "0.1:2s..1s", "0.1:fast"])
def test_wrong_delays(wrong: str) -> None:
    with pytest.raises(DeclarationError):
        Faults.parse(delay=wrong)


# Between an engine and an attempt


def call_of(attempt: int, run: str = "chaos-7-0001") -> Any:
    return SimpleNamespace(run=SimpleNamespace(id=run), step="ask", attempt=attempt, spec=SimpleNamespace(fn=answer))


async def answer() -> str:
    return "Paris"


def meet(chaos: Chaos, attempts: int) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(
            *(chaos.around(call_of(n), answer) for n in range(1, attempts + 1)), return_exceptions=True
        )

    return asyncio.run(main())


def test_around_an_attempt() -> None:
    chaos = Chaos(Faults(seed=7, fail=0.3, malform=0.3, delay=0.3, delays=(0, 0)))
    met = meet(chaos, 200)
    errors = [isinstance(one, Exception) for one in met]
    kinds = Counter(struck.kind for struck in chaos.struck)
    assert kinds["fail"] == sum(errors)
    assert kinds["malform"] == sum(one != "Paris" for one, error in zip(met, errors, strict=True) if not error)
    assert 30 < kinds["delay"] < 90
    late = sum("after the effect" in struck.what for struck in chaos.struck)
    assert len(chaos.bodies) == 200 - kinds["fail"] + late
    assert late > 0
    again = meet(chaos, 200)  # as after a crash: counted once, and nothing else happens
    assert list(map(repr, again)) == list(map(repr, met))
    assert Counter(struck.kind for struck in chaos.struck) == kinds
    assert set(chaos.bodies.values()) == {2}


def test_faults_are_told_when_they_strike() -> None:
    chaos = Chaos(Faults(seed=7, fail=1))
    told: list[Any] = []
    chaos.tell = told.append
    meet(chaos, 3)
    assert [struck.attempt for struck in told] == [1, 2, 3]
    assert all(struck.kind == "fail" for struck in told)


def test_what_segue_itself_records_as_steps_is_left_alone() -> None:
    chaos = Chaos(Faults(seed=7, fail=1))
    call = call_of(1)
    call.spec.fn = gate
    assert asyncio.run(chaos.around(call, answer)) == "Paris"
    assert chaos.struck == chaos.bodies == {}
