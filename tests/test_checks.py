"""What a result must be: its type, parsed or not, and the checks that a step declares."""

import asyncio
import dataclasses
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypedDict

import msgspec
import numpy
import pydantic
import pytest

from segue import (
    CheckFailed,
    DeclarationError,
    InvalidResult,
    Outcome,
    Retry,
    StepFailed,
    confident,
    flow,
    fresh,
    step,
)
from segue.core.entries import Entry, Kind
from segue.runtime.failures import read_failure

from .stage import asynchronous, stage

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

acting: dict[str, Callable[[], Awaitable[Outcome[Any]]]] = {}


@flow
async def checked() -> str:
    found = await acting["call"]()
    acting["found"] = found  # type: ignore[assignment]
    return repr((found.ok, found.source, found.rung, found.attempts, found.confidence))


async def played(made: Any, *args: Any) -> tuple[Outcome[Any], list[Entry]]:
    """The outcome in a flow, live and replayed alike, and the journal."""
    acting["call"] = lambda: made.outcome(*args)
    async with stage() as on:
        live = await on.play(checked)
        found: Any = acting["found"]
        entries = await on.journal()
        assert await on.again(checked) == live
        again: Any = acting["found"]
        assert repr(again.value_or(None)) == repr(found.value_or(None))
        assert on.attempts() == []
    return found, entries


# Types


@dataclasses.dataclass
class Box:
    width: int
    tags: list[str]


class Struct(msgspec.Struct):
    width: int


class Typed(TypedDict):
    width: int


def told(kind: Any, text: Any, **policies: Any) -> Any:
    async def answers() -> Any:
        return text

    answers.__annotations__["return"] = kind
    return step(parse="json", **policies)(answers)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (list[int], "[1]", [1]),
        (Box, '```json\n{"width": 3, "tags": ["x"]}\n```', Box(3, ["x"])),
        (Struct, 'Sure: {"width": 3}', Struct(3)),
        (Typed, '{"width": 3}', {"width": 3}),
        (set[int], "[1, 1]", {1}),
        (datetime, '"2026-01-01T00:00:00Z"', datetime(2026, 1, 1, tzinfo=UTC)),
        (int | None, "null", None),
        (float, "3", 3.0),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict[str, int], b'{"a": 1}', {"a": 1}),
    ],
)
@asynchronous
async def test_model_text_becomes_what_the_step_declares(kind: Any, text: Any, value: Any) -> None:
    made = told(kind, text)
    found, entries = await played(made)
    assert found.value == value
    assert [e.kind for e in entries] == [Kind.NOTED if isinstance(text, str) and text[0] in "`S" else Kind.OK]
    assert await made() == value


@asynchronous
async def test_model_text_becomes_a_pydantic_model() -> None:
    model: Any = pydantic.create_model("Model", width=(int, ...))
    found, _ = await played(told(model, '{"width": "3"}'))
    assert found.value == model(width=3)
    found, entries = await played(told(model, '{"width": "wide"}'))
    assert found.error is not None
    assert read_failure(entries[-1].output).raw == '{"width": "wide"}'


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (dict[str, int], "[1]", "expected object, got array"),
        (dict[str, int], '{"a": 1', "it is not JSON"),
        (dict[str, int], "I cannot say.", "it is not JSON"),
        (dict[str, int], "<html>502</html>", "it is not JSON"),
        (dict[str, float], '{"a": NaN}', "NaN is not JSON"),
        (dict[str, int], "", "it is empty"),
        (Box, '{"width": 3, "tags": ["x", 5]}', r"at \$\.tags\[1\] expected str, got int"),
        (Box, '{"width": "3", "tags": []}', r"at \$\.width expected int, got str"),
        (Box, '{"tags": []}', "missing required field width"),
        (list[Struct], '[{"width": 1}, {"width": null}]', r"at \$\[1\]\.width expected int, got null"),
    ],
)
@asynchronous
async def test_what_is_not_what_the_step_declares_is_told_with_path_type_and_raw_value(
    kind: Any, text: str, said: str
) -> None:
    made = told(kind, text, retry=Retry(1, backoff=0))
    found, entries = await played(made)
    assert isinstance(found.error, StepFailed)
    assert found.error.error.is_a(InvalidResult)
    with pytest.raises(StepFailed, match=said):
        raise found.error
    assert "the result of step 'answers'" in str(found.error)
    assert [e.kind for e in entries] == [Kind.ATTEMPT, Kind.ERROR]
    assert [read_failure(e.output).raw for e in entries] == [text, text]
    with pytest.raises(InvalidResult, match=said) as outside:
        await made()
    assert outside.value.raw == text


@asynchronous
async def test_the_raw_value_of_a_long_answer_is_cut() -> None:
    _, entries = await played(told(dict[str, int], "x" * 10_000_000))
    failure = read_failure(entries[-1].output)
    assert failure.raw.startswith("xxx")
    assert len(failure.raw) < 66_000
    assert len(failure.message) < 1000


@pytest.mark.parametrize("text", ["\ud800 no", "[" * 100_000])
@asynchronous
async def test_odd_text_is_refused_and_recorded(text: str) -> None:
    found, entries = await played(told(dict[str, int], text))
    assert found.error is not None
    assert read_failure(entries[-1].output).raw != ""


@step(fallback={"a": 1})
async def a_list() -> dict[str, int]:
    return [1]  # type: ignore[return-value]


@asynchronous
async def test_a_list_in_place_of_a_dict_is_a_failure_that_a_fallback_mends() -> None:
    found, entries = await played(a_list)
    assert (found.value, found.source, found.rung, found.attempts) == ({"a": 1}, "fallback", 1, 2)
    failure = read_failure(entries[0].output)
    assert (failure.type, failure.raw, failure.then) == ("InvalidResult", "[1]", 1)


@step
async def too_large() -> list[str]:
    return ["x" * (65 << 20)]


@asynchronous
async def test_a_result_beyond_the_limit_is_refused_by_name() -> None:
    found, _ = await played(too_large)
    assert "67,108,864 are allowed: return a segue.File" in str(found.error)


# Checks


class NumpyLike:
    def __init__(self, truth: bool) -> None:
        self.truth = truth

    def __bool__(self) -> bool:
        return self.truth


def raises(value: Any) -> None:
    raise KeyError("gone")


def checking(judge: Any, **policies: Any) -> Any:
    async def judged(x: int, least: int = 3) -> int:
        return x

    return step(check=judge, **policies)(judged)


def gives(said: Any) -> Callable[[Any], Any]:
    def judge(value: Any) -> Any:
        return said

    return judge


@pytest.mark.parametrize("said", [None, True, NumpyLike(True)])
@asynchronous
async def test_a_check_passes(said: Any) -> None:
    made = checking(gives(said))
    found, entries = await played(made, 1)
    assert (found.value, [e.kind for e in entries]) == (1, [Kind.OK])
    assert await made(1) == 1


@pytest.mark.parametrize(
    ("judge", "reason"),
    [
        (gives(False), "does not pass judge: it is not so"),
        (gives(NumpyLike(False)), "does not pass judge: it is not so"),
        (gives("too small"), "does not pass judge: too small"),
        (raises, "does not pass raises: KeyError: 'gone'"),
        ([gives(True), raises], "does not pass raises"),
    ],
)
@asynchronous
async def test_a_check_fails_with_its_reason_and_the_value(judge: Any, reason: str) -> None:
    made = checking(judge)
    found, entries = await played(made, 7)
    assert isinstance(found.error, StepFailed)
    assert reason in str(found.error)
    assert found.error.error.is_a(CheckFailed)
    assert read_failure(entries[0].output).raw == "7"
    with pytest.raises(CheckFailed) as failed:
        await made(7)
    assert failed.value.raw == "7"


@asynchronous
async def test_numpy_truth_is_truth() -> None:
    assert (await played(checking(gives(numpy.bool_(True))), 1))[0].ok
    assert not (await played(checking(gives(numpy.bool_(False))), 1))[0].ok
    assert "numpy" in sys.modules


def above(value: int, least: int) -> str | None:
    return None if value >= least else f"{value} is below {least}"


def between(value: int, x: int, *, least: int = 0, most: int = 10) -> bool:
    return least <= value <= most and value == x


@pytest.mark.parametrize(
    ("judge", "args", "good"),
    [(above, (3,), True), (above, (2,), False), (above, (2, 1), True), (between, (9,), True), (between, (11,), False)],
)
@asynchronous
async def test_a_check_takes_inputs_by_name_and_their_defaults(judge: Any, args: tuple[int, ...], good: bool) -> None:
    made = checking(judge)
    assert (await played(made, *args))[0].ok is good
    assert (await made.outcome(*args)).ok is good


async def asks(value: int) -> bool:
    return True


def other(value: int, colour: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (asks, "check 'asks' is async. A check only looks"),
        (a_list, "check 'a_list' is async"),
        (other, "check 'other' takes colour, which the step does not"),
        (3, "a check is a function of the result, not 3"),
        ([above, "text"], "a check is a function of the result, not 'text'"),
        (fresh("1m", of="reading.at"), "looks at 'reading.at'; it takes x, least"),
    ],
)
def test_a_bad_check_is_refused_when_it_is_declared(judge: Any, said: str) -> None:
    with pytest.raises(DeclarationError, match=f"step 'judged': .*{said}"):
        checking(judge)


@pytest.mark.parametrize("least", [-0.1, 1.1, True, "0.5", None, float("nan")])
def test_confident_takes_a_probability(least: Any) -> None:
    with pytest.raises(DeclarationError, match="between 0 and 1"):
        confident(least)


def score(value: Any) -> Any:
    return value["score"]


@pytest.mark.parametrize(
    ("check", "value", "confidence", "good"),
    [
        (confident(0.7), {"confidence": 0.7}, 0.7, True),
        (confident(0.7), {"confidence": 0.69}, None, False),
        (confident(0.7), {"confidence": "0.9"}, 0.9, True),
        (confident(0.7), {"confidence": float("nan")}, None, False),
        (confident(0.7), {"confidence": float("inf")}, float("inf"), True),
        (confident(0.7), {"confidence": "high"}, None, False),
        (confident(0.7), {"confidence": True}, None, False),
        (confident(0.7), {"confidence": None}, None, False),
        (confident(0.7), {"label": "cat"}, None, False),
        (confident(0.7, of="scores.1"), {"scores": [0.1, 0.9]}, 0.9, True),
        (confident(0.7, of=score), {"score": 0.8}, 0.8, True),
    ],
)
@asynchronous
async def test_confidence_is_held_to_and_recorded(check: Any, value: Any, confidence: float | None, good: bool) -> None:
    async def says(value: Any) -> Any:
        return value

    found, entries = await played(step(check=check)(says), value)
    assert (found.ok, found.confidence) == (good, confidence)
    assert entries[0].kind is (Kind.NOTED if good else Kind.ERROR)


class Said(msgspec.Struct):
    confidence: float


@step
async def unsure() -> Said:
    return Said(0.25)


@asynchronous
async def test_what_a_result_says_of_its_confidence_is_recorded_without_a_check() -> None:
    found, entries = await played(unsure)
    assert (found.confidence, found.source, entries[0].kind) == (0.25, "model", Kind.NOTED)
    assert (await unsure.outcome()).confidence in (0.25, None)


tries: list[int] = []


@step(retry=3, check=fresh("15m", of="reading.at"), fallback="old")
async def reads(reading: dict[str, Any]) -> str:
    tries.append(1)
    return "new"


@pytest.mark.parametrize(
    ("at", "age"), [(0, "s old; 900 s are allowed"), ("never", "'never', not a time"), (None, "None, not a time")]
)
@asynchronous
async def test_a_stale_input_is_not_retried_and_the_step_is_not_called(at: Any, age: str) -> None:
    tries.clear()
    found, entries = await played(reads, {"at": at})
    assert (found.value, found.rung, found.attempts, tries) == ("old", 1, 2, [])
    assert age in read_failure(entries[0].output).message
    assert await reads({"at": at}) == "old"


@pytest.mark.parametrize("how", ["seconds", "text", "moment", "naive"])
@asynchronous
async def test_a_fresh_input_passes(how: str) -> None:
    now = datetime.now(UTC)
    at: Any = {
        "seconds": now.timestamp(),
        "text": now.isoformat(),
        "moment": now,
        "naive": now.replace(tzinfo=None),
    }[how]
    assert await reads({"at": at}) == "new"
    await asyncio.sleep(0)


def test_a_missing_input_is_told_by_its_path() -> None:
    assert reads.run({}) == "old"
