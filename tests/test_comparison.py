"""Comparisons of runs: where they part, what differs, and what does not count."""

import json
import math
from typing import Any

import pytest

from segue.comparison import SAME, Fact, Part, StepChange, as_data, compare, differing
from segue.core.lifecycle import Status
from segue.errors import Failure
from segue.inspection import AttemptRecord, RunRecord, StepKind, StepRecord, StepStatus
from segue.runtime.notes import Note
from segue.stores.base import Row
from segue.values import as_json

BOOM = Failure("ValueError", "boom", traceback="Traceback of one day")


def run(
    *steps: StepRecord,
    id: str = "first-run",
    flow: str = "loan",
    status: Status = Status.COMPLETED,
    input: Any = None,
    result: Any = None,
    error: Failure | None = None,
) -> RunRecord:
    row = Row(
        id, flow, "", "", status, None, None, "w", None, 0, None, None, 0.0, 10.0, 10.0, 20.0, 1, 0, b"", b"", 0
    )  # fmt: skip
    return RunRecord(row, input, result, error, steps)


def made(
    id: str,
    output: Any = None,
    *,
    input: Any = None,
    status: StepStatus = "completed",
    kind: StepKind = "step",
    error: Failure | None = None,
    failures: tuple[Failure, ...] = (),
    **more: Any,
) -> StepRecord:
    """A step, with the attempts that failed before."""
    attempts = [AttemptRecord(n, n, n + 0.5, "failed", failure) for n, failure in enumerate(failures, 1)]
    attempts.append(AttemptRecord(len(attempts) + 1, 5.0, 6.0, "failed" if error else "completed", error))
    name = id.rpartition("/")[2].partition("#")[0]
    return StepRecord(id, name, kind, status, tuple(attempts), input or {}, output, error, **more)


# Values

VALUES: list[tuple[Any, Any, list[Part]]] = [
    (1, 1, []),
    (1, 1.0, []),
    (math.nan, math.nan, []),
    (None, None, []),
    ([1, {"a": [2]}], [1, {"a": [2]}], []),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
    (b"a", b"a", []),
    (1, 2, [Part("$", 1, 2)]),
    (True, 1, [Part("$", True, 1)]),
    ("1", 1, [Part("$", "1", 1)]),
    (b"a", "a", [Part("$", b"a", "a")]),
    ([], {}, [Part("$", [], {})]),
    (None, {"a": 1}, [Part("$", None, {"a": 1})]),
    ({"income": 100}, {"income": 1000}, [Part("$.income", 100, 1000)]),
    ({"pages": [{"box": [1, 2]}]}, {"pages": [{"box": [1, 3]}]}, [Part("$.pages[0].box[1]", 2, 3)]),
    ({"a": 1}, {}, [Part("$.a", 1, only="first")]),
    ({}, {"a": None}, [Part("$.a", second=None, only="second")]),
    ([1], [1, 2, 3], [Part("$[1]", second=2, only="second"), Part("$[2]", second=3, only="second")]),
    ([1, 2], [1], [Part("$[1]", 2, only="first")]),
    ({"a b": 1, 3: 1}, {"a b": 2, 3: 2}, [Part("$['a b']", 1, 2), Part("$[3]", 1, 2)]),
    ({"z": 1, "a": 1}, {"a": 2, "z": 2}, [Part("$.z", 1, 2), Part("$.a", 1, 2)]),
    ("Dear Ada", "Dear Bob", [Part("$", "Dear Ada", "Dear Bob")]),
]


@pytest.mark.parametrize(("first", "second", "parts"), VALUES)
def test_values(first: Any, second: Any, parts: list[Part]) -> None:
    found = differing(first, second)
    assert found.shown == tuple(parts)
    assert found.total == len(parts)


def test_a_value_that_cannot_be_compared_differs() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no")

        __hash__ = None  # type: ignore[assignment]

    odd = Odd()
    assert differing([odd], [odd]).total == 1


def test_many_parts_are_counted_and_some_are_kept() -> None:
    first, second = list(range(1000)), list(range(1, 1001))
    found = differing(first, second)
    assert (len(found.shown), found.total) == (20, 1000)
    assert len(differing(first, second, most=None).shown) == 1000
    assert len(differing(first, second, most=3).shown) == 3


def test_depth_is_no_trouble() -> None:
    first: Any = 1
    second: Any = 2
    for _ in range(10_000):
        first, second = [first], [second]
    assert differing(first, second).shown[0].path == "$" + "[0]" * 10_000


# Steps

ONE_STEP: list[tuple[StepRecord, StepRecord, StepChange | None]] = [
    (made("ocr", 1), made("ocr", 1), None),
    (made("ocr", 1, failures=(BOOM,)), made("ocr", 1, failures=(BOOM._replace(traceback="another"),)), None),
    (made("ocr", note=Note(age=3.0, requests=2)), made("ocr", note=Note(age=5.0)), None),
    (made("ocr", {"a": 1}), made("ocr", {"a": 2}), StepChange("ocr", "ocr", output=differing({"a": 1}, {"a": 2}))),
    (made("ocr", 1, input={"a": 1}), made("ocr", 1, input={"a": 2}), StepChange("ocr", "ocr", input=differing(
        {"a": 1}, {"a": 2}))),
    (made("ocr", 1), made("ocr", None, status="failed", error=BOOM), StepChange("ocr", "ocr", facts=(
        Fact("status", "completed", "failed"), Fact("error", None, "ValueError: boom")))),
    (made("ocr", status="failed", error=BOOM), made("ocr", status="failed", error=Failure("ValueError", "bang")),
     StepChange("ocr", "ocr", facts=(Fact("error", "ValueError: boom", "ValueError: bang"),))),
    (made("ocr", 1), made("ocr", 1, failures=(BOOM,)), StepChange("ocr", "ocr", facts=(
        Fact("attempts", 1, 2), Fact("failures", [], ["ValueError: boom"])))),
    (made("ocr", 1), made("ocr", 1, note=Note("fallback", 1, "other", 0.5, lenient=("fences",))),
     StepChange("ocr", "ocr", facts=(
         Fact("source", "model", "fallback"), Fact("rung", 0, 1), Fact("by", "", "other"),
         Fact("confidence", None, 0.5), Fact("lenient", (), ("fences",))))),
    (made("ocr", 1), made("ocr", 1, edited=True), StepChange("ocr", "ocr", facts=(Fact("edited", False, True),))),
    (made("ocr", 1, kind="run", run="first-run.x"), made("ocr", 2, kind="run", run="second-run.x"),
     StepChange("ocr", "ocr", output=differing(1, 2), runs=("first-run.x", "second-run.x"))),
    (made("ocr", kind="run", run="first-run.x"), made("ocr", kind="run", run="second-run.x"), None),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "change"), ONE_STEP)
def test_one_step(one: StepRecord, other: StepRecord, change: StepChange | None) -> None:
    found = compare(run(one), run(other, id="second-run"))
    assert found.steps == (() if change is None else (change,))
    assert found.same == (change is None)


def test_where_runs_part_is_the_first_step_whose_input_output_or_fate_differs() -> None:
    first = run(made("read", 1), made("ocr", {"income": 100}), made("score", 3, input={"income": 100}))
    second = run(
        made("read", 1, failures=(BOOM,)), made("ocr", {"income": 1000}), made("score", 4, input={"income": 1000})
    )
    found = compare(first, second)
    assert [step.id for step in found.steps] == ["read", "ocr", "score"]
    assert found.parted is not None
    assert (found.parted.name, found.parted.output.shown) == ("ocr", (Part("$.income", 100, 1000),))
    only_attempts = compare(run(made("read", 1)), run(made("read", 1, failures=(BOOM,))))
    assert only_attempts.parted is None
    assert not only_attempts.same


def test_steps_that_one_run_has_alone_stand_where_they_were() -> None:
    first = run(made("a"), made("b"), made("c"))
    second = run(made("new"), made("a"), made("x"), made("y"), made("c"))
    found = compare(first, second).steps
    assert [(step.id, step.only) for step in found] == [
        ("new", "second"), ("x", "second"), ("y", "second"), ("b", "first"),
    ]  # fmt: skip


def test_steps_without_a_partner_of_their_identity_take_one_of_their_name() -> None:
    first = run(made("1/load", "A"), made("2/load", "B"), made("2/save", 1))
    second = run(made("1/extra"), made("2/load", "A"), made("3/load", "C"), made("3/save", 2))
    found = compare(first, second).steps
    assert [(step.id, step.other, step.only) for step in found] == [
        ("1/extra", None, "second"), ("1/load", "3/load", None), ("2/load", None, None), ("2/save", "3/save", None),
    ]  # fmt: skip
    moved = compare(run(made("1/load", "A")), run(made("2/load", "A")))
    assert moved.same  # where a step was asked for is no difference in what it did


def test_timers_and_unknown_inputs_do_not_count() -> None:
    first = run(made("@timer", kind="timer"), made("a", 1, input={"n": 1}))
    unknown = StepRecord("a", "a", "step", "completed", (AttemptRecord(1, 0.0, 9.0, "completed"),), None, 1)
    assert compare(first, run(unknown)).same


# Runs


def test_the_ends_of_runs() -> None:
    assert compare(run(result=1), run(result=1)).same
    assert compare(run(result={"a": 1}), run(result={"a": 2})).result.shown == (Part("$.a", 1, 2),)
    assert compare(run(input={"a": 1}), run(input={"a": 2})).input.shown == (Part("$.a", 1, 2),)
    found = compare(run(result=1), run(status=Status.FAILED, error=BOOM))
    assert found.result == SAME
    assert found.facts == (Fact("status", "completed", "failed"), Fact("error", None, "ValueError: boom"))
    assert compare(run(status=Status.FAILED, error=BOOM), run(status=Status.FAILED, error=BOOM)).same
    assert not compare(run(status=Status.WAITING), run(status=Status.QUEUED)).same


def test_ids_of_runs_in_errors_do_not_count() -> None:
    def failed(id: str) -> RunRecord:
        failure = Failure("RunFailed", f"run {id}.3fa of 'child' failed: boom")
        return run(made("child", kind="run", status="failed", error=failure, run=f"{id}.3fa"), id=id, error=failure)

    assert compare(failed("first-run"), failed("second-run")).same
    one, other = (run(id=id, error=Failure("ValueError", f"got {id}")) for id in ("1", "2"))
    assert not compare(one, other).same  # too short to be told from a number


def test_as_data() -> None:
    first = run(made("ocr", {"income": 100}), made("gone"), result=True)
    second = run(
        made("ocr", {"income": 1000, "more": 1}, failures=(BOOM,)), id="second-run", status=Status.FAILED, error=BOOM
    )
    data = as_data(compare(first, second))
    assert plain_json(data) == {
        "same": False,
        "first": {"id": "first-run", "flow": "loan", "version": "", "code": "", "status": "completed"},
        "second": {"id": "second-run", "flow": "loan", "version": "", "code": "", "status": "failed"},
        "parted": "ocr",
        "input": {"differing": 0, "parts": []},
        "steps": [
            {
                "id": "ocr",
                "name": "ocr",
                "input": {"differing": 0, "parts": []},
                "output": {
                    "differing": 2,
                    "parts": [
                        {"path": "$.income", "first": 100, "second": 1000},
                        {"path": "$.more", "second": 1},
                    ],
                },
                "attempts": {"first": 1, "second": 2},
                "failures": {"first": [], "second": ["ValueError: boom"]},
            },
            {"id": "gone", "name": "gone", "only": "first"},
        ],
        "result": {"differing": 0, "parts": []},
        "status": {"first": "completed", "second": "failed"},
        "error": {"first": None, "second": "ValueError: boom"},
    }


def plain_json(data: Any) -> Any:
    """As a program that reads the JSON has it."""
    return json.loads(as_json(data))
