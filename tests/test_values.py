"""What goes in comes out: the same, of the same type, or it is refused with the path to what is wrong."""

import collections
import dataclasses
import datetime as dt
import enum
import inspect
import os
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import DeclarationError, UnawaitedCall, Unstorable, register_codec
from segue.values import Codec, Inputs, as_json, encode, plain

T = TypeVar("T")
Area = NewType("Area", str)


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mood(enum.Enum):
    CALM = "calm"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    at: Point
    when: dt.datetime | None = None
    tags: frozenset[str] = frozenset()


@dataclasses.dataclass
class Route:
    stops: list[Stop]
    next: "Route | None" = None


@dataclasses.dataclass
class Point3(Point):
    z: int = 0


@dataclasses.dataclass
class Loose:
    part: Any


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class Pair(NamedTuple):
    left: int
    right: str = ""


class LoosePair(NamedTuple):
    left: Any


class Options(TypedDict):
    depth: int
    name: NotRequired[str]


class LooseOptions(TypedDict):
    depth: Any


class Struct(msgspec.Struct):
    name: str
    at: Point | None = None


class Circle(msgspec.Struct, tag=True):
    radius: float


class Square(msgspec.Struct, tag=True):
    side: float


class Model(pydantic.BaseModel):
    name: str
    when: dt.datetime | None = None
    ids: set[uuid.UUID] = set()
    pair: tuple[int, str] = (0, "")
    colour: Colour = Colour.RED


class Special(Model):
    more: int = 0


class Holder(pydantic.BaseModel):
    model: Model


class LooseModel(pydantic.BaseModel):
    part: Any


class Aliased(pydantic.BaseModel):
    driver_id: str = pydantic.Field(alias="driverId")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: uuid.UUID
    tags: set[str]


class Private(pydantic.BaseModel):
    _secret: int = pydantic.PrivateAttr(0)

    def keep(self, secret: int) -> "Private":
        self._secret = secret
        return self


class Opaque:
    """What no codec knows."""


UTC = dt.UTC
MOMENT = dt.datetime(2026, 11, 22, 20, 15, 30, 123456, UTC)


def named(value: Any, kind: Any) -> str:
    """A case, the same in every process."""
    return f"{type(value).__name__} as {getattr(kind, '__name__', kind)}"


ROUND_TRIPS: list[tuple[Any, Any]] = [
    (None, None),
    (True, bool),
    (-(2**63), int),
    (2**64 - 1, int),
    (1.5, float),
    (float("nan"), float),
    (float("-inf"), float),
    ("", str),
    ("naïve 🚦 \0", str),
    (b"\x00\xff", bytes),
    (bytearray(b"x"), bytearray),
    (1 + 2j, complex),
    (Fraction(1, 3), Fraction),
    (Decimal("1.00"), Decimal),
    (Decimal("NaN"), Decimal),
    (uuid.UUID(int=7), uuid.UUID),
    (Path("a/b.txt"), Path),
    (PurePosixPath("/x"), PurePosixPath),
    (MOMENT, dt.datetime),
    (MOMENT.replace(tzinfo=None), dt.datetime),
    (dt.datetime.max, dt.datetime),
    (dt.date.min, dt.date),
    (dt.time(23, 59, 59, 999999), dt.time),
    (dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=2))), dt.time),
    (dt.timedelta(days=-3, microseconds=7), dt.timedelta),
    (Colour.RED, Colour),
    (Level.HIGH, Level),
    (Mood.CALM, Mood),
    (Rights.READ | Rights.WRITE, Rights),
    ([1, "a", None, 2.5, [], {}], list),
    ([1, [2, {"a": b"x"}]], Any),
    ({"a": 1, "b": [True, None]}, dict),
    ({1: "a", -2: "b"}, dict[int, str]),
    ({(1, 2): "a"}, dict[tuple[int, int], str]),
    ({MOMENT.date(): 1.0}, dict[dt.date, float]),
    ({Colour.RED: Level.LOW}, dict[Colour, Level]),
    ({1, 2, 3}, set[int]),
    (frozenset({"a"}), frozenset[str]),
    ({frozenset({1}), frozenset[int]()}, set[frozenset[int]]),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    ((), tuple[()]),
    ((1, (2, ({3},))), tuple[int, tuple[int, tuple[set[int]]]]),
    (Pair(1, "x"), Pair),
    ([Pair(1)], list[Pair]),
    ({"depth": 1}, Options),
    ({"depth": 1, "name": "x"}, Options),
    (Point(1, 2), Point),
    (Stop(Point(1), MOMENT, frozenset({"a"})), Stop),
    (Route([Stop(Point(1))], Route([])), Route),
    (Point3(1, 2, 3), Point3),
    (Loose([1, {"a": None}]), Loose),
    (Box(1), Box[int]),
    (Box((1, "a")), Box[tuple[int, str]]),
    (Struct("x", Point(1)), Struct),
    ([Circle(1.0), Square(2.0)], list[Circle | Square]),
    (Model(name="x", when=MOMENT, ids={uuid.UUID(int=1)}, pair=(1, "b"), colour=Colour.BLUE), Model),
    ([Model(name="x")], list[Model]),
    (Special(name="x", more=3), Special),
    (Holder(model=Model(name="x")), Holder),
    (Aliased(driverId="7"), Aliased),
    (Strict(id=uuid.UUID(int=1), tags={"a"}), Strict),
    (LooseModel(part=[1, {"a": 2}]), LooseModel),
    (Point(1), Point | Loose),
    (Loose(1), Point | Loose),
    (Special(name="x"), Model | Special),
    (Model(name="x"), Model | Special),
    (Point(1), Optional[Point]),  # noqa: UP045 - people write it
    (None, Point | None),
    (None, Model | None),
    (1, int | str),
    ("1", int | str),
    ({1}, list[int] | set[int]),
    ((1,), list[int] | tuple[int]),
    (MOMENT.date(), dt.date | dt.datetime),
    (Colour.RED, Colour | str),
    ("red", Colour | str),
    (Level.LOW, Level | int),
    ("b", Literal["a", "b"]),
    (1, Literal["a", 1, None]),
    ("x", Annotated[str, "a note"]),
    (Area("x"), Area),
    ([1, 2], Sequence[int]),
    ({"a": [Point(1)]}, Mapping[str, list[Point]]),
]


@pytest.mark.parametrize(("value", "kind"), ROUND_TRIPS, ids=[named(*case) for case in ROUND_TRIPS])
def test_a_value_comes_back_equal_and_of_the_same_type(value: Any, kind: Any) -> None:
    data, back = Codec(kind, "it").encode(value)
    again = Codec(kind, "it").decode(data)
    assert type(back) is type(again) is type(value)
    assert repr(again) == repr(back)
    if value == value:
        assert value == back == again


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u8", "f2", "f4", "f8", "c8", "c16", ">i4", "M8[ns]", "m8[s]", "U3", "S3"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 3), (2, 1, 2)])
def test_an_array_keeps_dtype_shape_and_content(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, dtype)
    if array.size:
        array[...] = np.asarray(1).astype(dtype)
    back = came_back(array, npt.NDArray[Any])
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)


def came_back(value: Any, kind: Any) -> Any:
    codec = Codec(kind, "it")
    return codec.decode(codec.encode(value)[0])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3).T,
        np.arange(10)[::3],
        np.arange(10)[::-1],
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.broadcast_to(np.arange(3), (2, 3)),
    ],
    ids=["transposed", "strided", "reversed", "fortran", "broadcast"],
)
def test_an_array_that_is_not_contiguous_keeps_its_order(array: npt.NDArray[Any]) -> None:
    assert came_back(array, npt.NDArray[Any]).tolist() == array.tolist()


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype([("x", "<i4"), ("y", "<f8")]),
        np.dtype([("x", "i1"), ("y", "<f8")], align=True),
        np.dtype([("x", "<i4", (2, 2)), ("in", [("a", "U3")])]),
    ],
    ids=["plain", "aligned", "nested"],
)
def test_a_structured_array_keeps_its_fields(dtype: "np.dtype[Any]") -> None:
    array = np.zeros(2, dtype)
    array["x"] = 7
    back = came_back(array, npt.NDArray[Any])
    assert back.dtype == dtype
    assert back["x"].tolist() == array["x"].tolist()


def test_an_array_that_came_back_can_be_written_to() -> None:
    back = came_back(np.zeros(3), npt.NDArray[Any])
    back[0] = 1
    assert back.tolist() == [1, 0, 0]


def test_arrays_within_a_dataclass_come_back() -> None:
    back = came_back([Box(np.arange(3)), Box(np.arange(2))], list[Box[npt.NDArray[Any]]])
    assert [box.content.tolist() for box in back] == [[0, 1, 2], [0, 1]]


@pytest.mark.parametrize(
    "scalar",
    [
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.float16(1.1),
        np.float32(1.1),
        np.float64(1.1),
        np.complex64(1 + 2j),
        np.complex128(1j),
        np.bool_(True),
        np.str_("a"),
        np.bytes_(b"a"),
        np.datetime64("2026-01-01", "ns"),
        np.timedelta64(3, "s"),
    ],
    ids=lambda scalar: type(scalar).__name__,
)
def test_a_numpy_scalar_comes_back_as_it_is_declared(scalar: Any) -> None:
    back = came_back(scalar, type(scalar))
    assert (type(back), back.dtype, back) == (type(scalar), scalar.dtype, scalar)


@pytest.mark.parametrize(
    ("scalar", "kind", "expected"),
    [(np.float64(1.5), float, 1.5), (np.int32(3), int, 3), (np.bool_(True), bool, True), (np.int64(3), Any, 3)],
    ids=["float", "int", "bool", "any"],
)
def test_a_numpy_number_may_be_declared_a_plain_one_and_then_is_one(scalar: Any, kind: Any, expected: Any) -> None:
    back = came_back(scalar, kind)
    assert (type(back), back) == (type(expected), expected)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, float, 3.0),
        (Colour.RED, str, "red"),
        (collections.Counter("aab"), dict[str, int], {"a": 2, "b": 1}),
        (Pair(1, "x"), tuple[int, str], (1, "x")),
    ],
    ids=["int for float", "StrEnum for str", "Counter for dict", "NamedTuple for tuple"],
)
def test_the_annotation_says_what_an_equal_value_comes_back_as(value: Any, kind: Any, expected: Any) -> None:
    back = came_back(value, kind)
    assert (type(back), back) == (type(expected), expected)


@pytest.mark.parametrize(
    "zone", [dt.timezone(dt.timedelta(hours=2)), ZoneInfo("Europe/Berlin")], ids=["offset", "zone"]
)
def test_a_moment_of_another_zone_comes_back_as_the_same_moment_in_utc(zone: dt.tzinfo) -> None:
    local = dt.datetime(2026, 7, 1, 12, tzinfo=zone)
    back = came_back(local, dt.datetime)
    assert (back, back.tzinfo) == (local, UTC)


def holding_itself() -> list[Any]:
    loop: list[Any] = [1]
    loop.append(loop)
    return loop


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


REFUSALS: list[tuple[Any, Any, str, str]] = [
    ((1, 2), Any, "$", "a tuple would come back as a list"),
    ({"a": [0, (1, 2)]}, Any, "$.a[1]", "a tuple would come back as a list"),
    ([1, (2,)], list, "$[1]", "a tuple would come back as a list"),
    ({1}, Any, "$", "a set would come back as a list"),
    (Colour.RED, Any, "$", "a tests.test_values.Colour would come back as a str"),
    ({"a": Colour.RED}, dict, "$.a", "a tests.test_values.Colour would come back as a str"),
    ({Colour.RED: 1}, Any, "$", "of its key <Colour.RED: 'red'>, a tests.test_values.Colour would come back as a str"),
    ({Colour.RED}, set, "$", "a tests.test_values.Colour would come back as a str"),
    ({Level.LOW}, set[Any], "$", "a tests.test_values.Level would come back as an int"),
    ([Level.LOW], Sequence, "$[0]", "a tests.test_values.Level would come back as an int"),
    (Level.LOW, Any, "$", "a tests.test_values.Level would come back as an int"),
    (Pair(1), Any, "$", "a tests.test_values.Pair would come back as a list"),
    (Point(1), Any, "$", "a tests.test_values.Point would come back as a dict"),
    (Point3(1), Point, "$", "a tests.test_values.Point3 would come back as a tests.test_values.Point"),
    ([Point3(1)], list[Point], "$[0]", "a tests.test_values.Point3 would come back as a tests.test_values.Point"),
    (Special(name="x"), Model, "$", "a tests.test_values.Special would come back as a tests.test_values.Model"),
    (
        Holder(model=Special(name="x", more=1)),
        Holder,
        "$.model",
        "a tests.test_values.Special would come back as a tests.test_values.Model",
    ),
    (Loose((1,)), Loose, "$.part", "a tuple would come back as a list"),
    (Loose(Colour.RED), Loose, "$.part", "a tests.test_values.Colour would come back as a str"),
    (LooseModel(part=(1,)), LooseModel, "$.part", "a tuple would come back as a list"),
    (LooseModel(part=Colour.RED), LooseModel, "$.part", "a tests.test_values.Colour would come back as a str"),
    (LoosePair(Colour.RED), LoosePair, "$[0]", "a tests.test_values.Colour would come back as a str"),
    ({"depth": Level.LOW}, LooseOptions, "$.depth", "a tests.test_values.Level would come back as an int"),
    (Private().keep(5), Private, "$._secret", "an int would not come back equal"),
    (Box((1,)), Box, "$.content", "a tuple would come back as a list"),
    (uuid.UUID(int=1), Any, "$", "an uuid.UUID would come back as a str"),
    (MOMENT.replace(tzinfo=None), Any, "$", "a datetime.datetime would come back as a str"),
    (Decimal(1), Any, "$", "a decimal.Decimal would come back as a str"),
    (Path("a"), Any, "$", f"a {type(Path()).__module__}.PosixPath would come back as a str"),
    (bytearray(b"x"), Any, "$", "a bytearray would come back as a bytes"),
    (collections.Counter("a"), Any, "$", "a collections.Counter would come back as a dict"),
    (np.zeros(2), Any, "$", "a numpy.ndarray would come back as a dict"),
    (np.str_("a"), Any, "$", "a numpy.str_ would come back as a str"),
    (np.ma.array([1], mask=[True]), npt.NDArray[Any], "$", "a numpy.ma.MaskedArray would come back as a numpy.ndarray"),
    (np.array([object()]), npt.NDArray[Any], "$", "a numpy array of dtype object holds Python objects"),
    ({"a": np.array([None])}, dict[str, Any], "$.a", "a numpy array of dtype object holds Python objects"),
    (msgspec.msgpack.Ext(1, b"x" * 32), Any, "$", "an Ext is not a type that can be stored"),
    (1, str, "$", "expected str, got int"),
    (True, int, "$", "expected int, got bool"),
    ("1", int, "$", "expected int, got str"),
    (None, int, "$", "expected int, got None"),
    (1, None, "$", "expected null, got int"),
    ([1, "2"], list[int], "$[1]", "expected int, got str"),
    ({"a": 1}, dict[str, str], "$[...]", "expected str, got int"),
    (Point("1"), Point, "$.x", "expected int, got str"),  # type: ignore[arg-type]
    ("c", Literal["a", "b"], "$", "invalid enum value 'c'"),
    (lambda: 1, Any, "$", "function is not a type that can be stored"),
    (Opaque(), Any, "$", "tests.test_values.Opaque is not a type that can be stored"),
    ({"a": [Opaque()]}, Any, "$.a[0]", "tests.test_values.Opaque is not a type that can be stored"),
    (Stop(Opaque()), Stop, "$.at", "tests.test_values.Opaque is not a type that can be stored"),  # type: ignore[arg-type]
    (LooseModel(part=[Opaque()]), LooseModel, "$.part[0]", "tests.test_values.Opaque is not a type that can be stored"),
    (range(3), Any, "$", "range is not a type that can be stored"),
    ((n for n in [1]), list[int], "$", "generator is not a type that can be stored"),
    (int, type, "$", "type is not a type that can be stored"),
    (ValueError("x"), Any, "$", "ValueError is not a type that can be stored"),
    ("a\ud800", str, "$", "text holds a lone surrogate, U+D800, which no encoding has"),
    ({"k": ["\udfff"]}, Any, "$.k[0]", "text holds a lone surrogate, U+DFFF, which no encoding has"),
    (2**64, int, "$", "an integer needs more than 64 bits"),
    ([-(2**63) - 1], list[int], "$[0]", "an integer needs more than 64 bits"),
]


@pytest.mark.parametrize(("value", "kind", "path", "problem"), REFUSALS, ids=[named(*case[:2]) for case in REFUSALS])
def test_what_would_not_come_back_is_refused_with_its_path(value: Any, kind: Any, path: str, problem: str) -> None:
    with pytest.raises(Unstorable) as refusal:
        Codec(kind, "the result of step 'ocr'").encode(value)
    assert (refusal.value.path, refusal.value.problem) == (path, problem)
    assert str(refusal.value) == f"the result of step 'ocr' cannot be stored: at {path}, {problem}"


@pytest.mark.parametrize("value", [holding_itself(), deep(100_000)], ids=["itself", "deep"])
def test_what_never_ends_is_refused(value: Any) -> None:
    with pytest.raises(Unstorable, match="it is nested too deeply, or holds itself"):
        Codec(Any, "it").encode(value)
    while value and isinstance(value[0], list):  # unwind it here: its own end would recurse as deeply
        value = value[0]


@pytest.mark.parametrize("path", ["$", "$.a[1]"])
def test_a_coroutine_is_named_as_an_unawaited_call(path: str) -> None:
    async def call() -> None: ...

    coroutine: Coroutine[Any, Any, None] = call()
    value = coroutine if path == "$" else {"a": [0, coroutine]}
    with pytest.raises(UnawaitedCall) as refusal:
        encode(value, "the result of step 'ocr'")
    assert str(refusal.value) == (
        f"the result of step 'ocr' holds a call that was not awaited, at {path}: write await before it"
    )
    coroutine.close()


def test_a_union_that_could_not_be_told_apart_inside_a_list_is_refused_when_declared() -> None:
    with pytest.raises(DeclarationError, match="it: Type unions may not contain more than one dataclass"):
        Codec(list[Point | Loose], "it")


# Types of the user's own


class Temperature:
    def __init__(self, celsius: float) -> None:
        self.celsius = celsius


def test_a_registered_type_comes_back_by_its_codec() -> None:
    register_codec(Temperature, lambda t: {"c": t.celsius}, lambda data: Temperature(data["c"]))
    back = came_back([Temperature(21.5)], list[Temperature])
    assert (type(back[0]), back[0].celsius) == (Temperature, 21.5)


def test_a_registered_type_still_needs_its_annotation() -> None:
    register_codec(Temperature, lambda t: {"c": t.celsius}, lambda data: Temperature(data["c"]))
    with pytest.raises(Unstorable, match="would come back as a dict"):
        Codec(Any, "it").encode(Temperature(1))


def test_a_codec_that_loses_something_is_found_out() -> None:
    class Lossy:
        def __init__(self, x: int) -> None:
            self.x = x

    register_codec(Lossy, lambda value: value.x // 2, lambda data: Lossy(data))
    with pytest.raises(Unstorable, match="would not come back equal"):
        Codec(Lossy, "it").encode(Lossy(3))


# Parameters


def signature_of(*fixed: int, when: dt.date, **rest: Point) -> None: ...


def positional(a: int, b: Stop, c: str = "x", /) -> None: ...


async def plain_parameters(a: int, b: Stop | None = None) -> None: ...


@pytest.mark.parametrize(
    ("fn", "args", "kwargs"),
    [
        (signature_of, (1, 2), {"when": MOMENT.date(), "p": Point(1)}),
        (signature_of, (), {"when": MOMENT.date()}),
        (positional, (1, Stop(Point(1))), {}),
        (plain_parameters, (1,), {}),
        (plain_parameters, (1, Stop(Point(2))), {}),
    ],
)
def test_arguments_come_back_for_the_parameters_they_were_passed_to(
    fn: Callable[..., Any], args: Any, kwargs: Any
) -> None:
    inputs, bind = Inputs(fn, "step 'f'"), inspect.signature(fn).bind
    for data in (inputs.encode_typed(args, kwargs), inputs.encode(args, kwargs)):
        back, named = inputs.decode(data)
        assert bind(*back, **named) == bind(*args, **kwargs)


def test_keywords_and_positions_mean_the_same() -> None:
    inputs = Inputs(plain_parameters, "step 'f'")
    assert inputs.encode((1, None), {}) == inputs.encode((), {"a": 1, "b": None}) == inputs.encode((1,), {"b": None})


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, None, 3), {}), ((1,), {"a": 2}), ((1,), {"z": 2})])
def test_arguments_that_do_not_fit_are_refused_with_the_signature(args: Any, kwargs: Any) -> None:
    inputs = Inputs(plain_parameters, "step 'f'")
    for form in (inputs.encode, inputs.encode_typed):
        with pytest.raises(TypeError, match=r"step 'f': .*; it is called as 'f'\(a: int, b: "):
            form(args, kwargs)


def test_an_argument_of_the_wrong_type_is_refused_by_the_parameter() -> None:
    with pytest.raises(Unstorable, match=r"parameter 'a' of step 'f' cannot be stored: at \$, expected int, got str"):
        Inputs(plain_parameters, "step 'f'").encode_typed(("1",), {})


def test_the_same_set_in_another_order_is_the_same_input() -> None:
    async def of_set(names: set[str]) -> None: ...

    inputs = Inputs(of_set, "step 'f'")
    one, other = (b"\x81\xa5names\x92" + order for order in (b"\xa1a\xa1b", b"\xa1b\xa1a"))
    assert inputs.same(one, other)
    assert not inputs.same(one, inputs.encode(({"a"},), {}))


def test_json_becomes_the_annotated_types() -> None:
    given = {"a": 1, "b": {"at": {"x": 1}, "when": "2026-11-22T20:15:30.123456Z"}}
    assert Inputs(plain_parameters, "f").convert(given) == {"a": 1, "b": Stop(Point(1), MOMENT)}


def test_an_annotation_that_exists_only_for_type_checkers_is_named() -> None:
    def fn(x: Any) -> None: ...

    fn.__annotations__["x"] = "Nowhere"

    with pytest.raises(
        DeclarationError, match=r"step 'f': an annotation cannot be resolved .*not only under TYPE_CHECK"
    ):
        _ = Inputs(fn, "step 'f'").codecs


def test_anything_stored_can_be_shown_as_json() -> None:
    assert as_json({"n": float("nan"), "b": b"\xff", 1: {Colour.RED}}) == b'{"n":null,"b":"/w==","1":["red"]}'
    assert plain(None) is None


# Whatever comes


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters())
    | st.binary(max_size=8)
    | st.sampled_from([Colour.RED, Level.LOW, Mood.CALM, uuid.UUID(int=1), Decimal("1.0"), MOMENT, Path("x")])
    | st.dates()
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=2), max_leaves=3)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
        | st.builds(Loose, inner)
    ),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """The value with the type of each part, so that equality sees it."""
    parts: Any = value
    if isinstance(value, dict):
        parts = [(exact(key), exact(part)) for key, part in value.items()]  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(value, set | frozenset):
        parts = sorted(repr(exact(part)) for part in value)  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(value, list | tuple):
        parts = [exact(part) for part in value]  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(value, Loose):
        parts = exact(value.part)
    elif value != value:
        parts = "nan"
    return type(value).__name__, parts  # pyright: ignore[reportUnknownArgumentType]


@settings(max_examples=300, deadline=None)
@given(ANYTHING, st.sampled_from([Any, list, dict, set, tuple, Loose, dict[str, Any], list[Any], tuple[Any, ...]]))
def test_any_value_comes_back_exactly_or_is_refused(value: Any, kind: Any) -> None:
    codec = Codec(kind, "it")
    try:
        data, back = codec.encode(value)
    except Unstorable:
        return
    assert exact(back) == exact(value)
    assert exact(codec.decode(data)) == exact(value)


HOSTILE = [
    Any,
    int,
    str,
    Point,
    Route,
    Model,
    Strict,
    Point | Loose,
    npt.NDArray[Any],
    Path,
    Temperature,
    tuple[int, ...],
]


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=64), st.sampled_from(HOSTILE))
def test_bytes_of_anyone_decode_to_data_or_are_refused(data: bytes, kind: Any) -> None:
    try:
        Codec(kind, "it").decode(data)
    except Unstorable:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",  # a list of 4 billion
        b"\xdf\xff\xff\xff\xff",  # a dict of as many
        b"\xc6\xff\xff\xff\xff",  # as many bytes
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 1_000_000,  # a list in a list in a list …
        b"\x81\xa1a" * 1_000_000,
        b"\xdd\x00\xff\xff\xff" * 1000,
        b"",
        b"\xc1",
        b"\x01\x02",
    ],
    ids=lambda data: data[:5].hex() or "empty",
)
@pytest.mark.parametrize("kind", [Any, list[Any], Route, Model, Point | Loose], ids=str)
def test_a_bomb_is_refused(data: bytes, kind: Any) -> None:
    if data == b"\x01\x02" and kind is Any:
        data = b"\x92\x01"
    with pytest.raises(Unstorable):
        Codec(kind, "it").decode(data)


@pytest.mark.parametrize("dtype", ["O", "|O", [["x", "|O"]], "not a dtype", "f8,O", 7, None, [["x"]], "U99999999999"])
def test_a_stored_array_cannot_smuggle_objects_in(dtype: Any) -> None:
    data = msgspec.msgpack.encode({"dtype": dtype, "shape": [1], "data": b"\0" * 8})
    with pytest.raises(Unstorable):
        Codec(npt.NDArray[Any], "it").decode(data)


@pytest.mark.parametrize("shape", [[-1, -1], [10**12], ["a"], {}, [2, 3]])
def test_a_stored_array_must_fit_its_shape(shape: Any) -> None:
    data = msgspec.msgpack.encode({"dtype": "<f8", "shape": shape, "data": b"\0" * 8})
    with pytest.raises(Unstorable):
        Codec(npt.NDArray[Any], "it").decode(data)


def test_stored_bytes_never_name_code_to_run() -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.remove, ("/",)

    with pytest.raises(Unstorable):
        encode(Evil(), "it")
    with pytest.raises(Unstorable):
        encode({"data": Evil()}, "it")
