"""Values as bytes and back: data, never code.

MessagePack through msgspec, typed by the annotations of the step or flow. What a step returns is encoded, decoded
again by its return annotation, and compared, at the moment it is made: a flow gets the decoded value, live and on
replay alike, and what would not come back is refused with the path to the offending part.
"""

import dataclasses
import functools
import hashlib
import inspect
import math
import re
import sys
import types
from collections.abc import Callable, Coroutine
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar, Union, Unpack, cast, get_args, get_origin, get_type_hints

import msgspec

from segue.errors import DeclarationError, UnawaitedCall, Unstorable

T = TypeVar("T")


class _Custom(NamedTuple):
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _pair_of(first: str, second: str) -> Callable[[Any], Any]:
    return lambda value: [getattr(value, first), getattr(value, second)]


def _made_of(kind: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda parts: kind(*parts)


_custom: dict[type, _Custom] = {
    PurePath: _Custom(str, Path),
    complex: _Custom(_pair_of("real", "imag"), _made_of(complex)),
    Fraction: _Custom(_pair_of("numerator", "denominator"), _made_of(Fraction)),
}


def register_codec(type: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Teach Segue to store a type of yours.

    Args:
        type: the class; its subclasses are not included.
        encode: gives what can be stored already: numbers, text, bytes, lists, dicts with text keys.
        decode: makes the value again from that.

    >>> class Point:
    ...     def __init__(self, x, y): self.x, self.y = x, y
    ...     def __eq__(self, other): return (self.x, self.y) == (other.x, other.y)
    >>> register_codec(Point, lambda p: [p.x, p.y], lambda pair: Point(*pair))
    """
    _custom[type] = _Custom(encode, decode)


# numpy is looked up among the modules already loaded: without it there is no array to store.


def _numpy() -> Any:
    return sys.modules.get("numpy")


def _array_to_data(array: Any) -> Any:
    if array.dtype.hasobject:
        raise TypeError(f"a numpy array of dtype {array.dtype} holds Python objects")
    dtype = array.dtype.str if array.dtype.names is None else _numpy().lib.format.dtype_to_descr(array.dtype)
    return {"dtype": dtype, "shape": list(array.shape), "data": array.tobytes()}


def _described(dtype: Any) -> Any:
    """A structured dtype's description as numpy wants it: with tuples, which are stored as lists."""
    if isinstance(dtype, str):
        return dtype
    return [
        (
            tuple(cast("list[str]", name)) if isinstance(name, list) else name,
            _described(kind),
            *(tuple(shape) for shape in shapes),
        )
        for name, kind, *shapes in dtype
    ]


def _array_from_data(data: Any) -> Any:
    import numpy

    dtype = numpy.lib.format.descr_to_dtype(_described(data["dtype"]))
    if dtype.hasobject:
        raise ValueError("a stored array cannot hold Python objects")
    return numpy.frombuffer(bytearray(data["data"]), dtype).reshape(data["shape"])


def _scalar_from_data(kind: Any, data: Any) -> Any:
    if isinstance(data, dict):
        return _array_from_data(data)[()]
    return kind(complex(*cast("list[float]", data))) if isinstance(data, list) else kind(data)


def _is_model(kind: Any) -> bool:
    """Whether the type is a pydantic model; pydantic itself may not be there."""
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_dump")


def _to_data(value: Any) -> Any:
    kind = cast("type[Any]", type(value))
    for base in kind.__mro__:
        if base in _custom:
            return _custom[base].encode(value)
    if _is_model(kind):
        return value.model_dump(round_trip=True, by_alias=False, warnings=False)  # what is lost, ``difference`` finds
    numpy = _numpy()
    if numpy is not None:
        if isinstance(value, numpy.ndarray) or (isinstance(value, numpy.generic) and value.dtype.kind in "mMV"):
            return _array_to_data(value)
        if isinstance(value, numpy.generic) and not isinstance(item := value.item(), numpy.generic):
            return item
    raise TypeError(f"{_named(kind)} is not a type that can be stored")


def _from_data(kind: Any, data: Any) -> Any:
    cls = get_origin(kind) or kind
    if cls in _custom:
        return _custom[cls].decode(data)
    if hasattr(cls, "model_validate"):
        return cls.model_validate(data, strict=False, by_alias=True, by_name=True)
    if isinstance(cls, type):
        if issubclass(cls, PurePath):
            return cls(data)
        if cls.__module__ == "numpy":
            return _array_from_data(data) if cls.__name__ == "ndarray" else _scalar_from_data(cls, data)
    raise TypeError(f"{_named(cls)} is not a type that can be stored")


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_data)
_sorted = msgspec.msgpack.Encoder(enc_hook=_to_data, order="deterministic")
_plain = msgspec.msgpack.Decoder()


def _named(kind: Any) -> str:
    name = getattr(kind, "__qualname__", None) or str(kind)
    module = getattr(kind, "__module__", "builtins")
    return name if module in ("builtins", "typing", "__main__") else f"{module}.{name}"


# Encoding, with a path when it fails


def encode(value: Any, where: str) -> bytes:
    """The value as bytes.

    Raises:
        Unstorable: naming ``where``, and the path to the part that cannot be stored.
        UnawaitedCall: a part of it is a coroutine.
    """
    try:
        return _encoder.encode(value)
    except Exception as error:
        path, problem = _locate(value, "$", 0) or ("$", _said(error))
        if problem == _COROUTINE:
            raise UnawaitedCall(
                f"{where} holds a call that was not awaited, at {path}: write await before it"
            ) from None
        raise Unstorable(where, path, problem) from error


_COROUTINE = "coroutine"


def _said(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or holds itself"
    if isinstance(error, OverflowError):
        return "an integer needs more than 64 bits"
    if isinstance(error, UnicodeEncodeError):
        return f"text holds a lone surrogate, U+{ord(error.object[error.start]):04X}, which no encoding has"
    return str(error) or type(error).__name__


def _parts(value: Any) -> list[tuple[str, Any]]:
    """The value's direct parts, each with its path."""
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value).items()
        return [(f"[{k!r}]" if not isinstance(k, str) or not k.isidentifier() else f".{k}", v) for k, v in pairs]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{i}]", part) for i, part in enumerate(cast("list[Any]", value))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value) if hasattr(value, f.name)]
    if isinstance(value, msgspec.Struct):
        return [(f".{name}", getattr(value, name)) for name in value.__struct_fields__]
    kind: Any = cast("type[Any]", type(value))
    if _is_model(kind):
        fields: dict[str, Any] = {name: getattr(value, name) for name in kind.model_fields}
        for more in ("__pydantic_extra__", "__pydantic_private__"):
            fields |= getattr(value, more) or {}
        return [(f".{name}", part) for name, part in fields.items()]
    return []


def _locate(value: Any, path: str, depth: int) -> tuple[str, str] | None:
    """The deepest part that cannot be encoded by itself, and why."""
    if isinstance(value, Coroutine):
        return path, _COROUTINE
    try:
        _encoder.encode(value)
        return None
    except Exception as error:
        problem = _said(error)
    if depth < 64:
        for step, part in _parts(value):
            if found := _locate(part, path + step, depth + 1):
                return found
    return path, problem


# Comparing what went in with what comes out


def difference(value: Any, back: Any, path: str = "$") -> tuple[str, str] | None:
    """Where two values differ in type or content, or None. ``nan`` equals itself here."""
    kind = cast("type[Any]", type(value))
    if kind is not type(back):
        if isinstance(back, int | float) and _is_number(value) and _equal(value, back):
            return None  # 3 where a float is declared, numpy.float64 for float
        return path, f"{_article(kind)} would come back as {_article(cast('type[Any]', type(back)))}"
    if isinstance(value, float):
        return None if value == back or (math.isnan(value) and math.isnan(back)) else (path, f"{value!r} != {back!r}")
    if isinstance(value, set | frozenset):
        if value != back:
            return path, "the set would not come back the same"
        twins = {part: part for part in cast("set[Any]", back)}  # an enum's member equals its value: look at the types
        pairs = [(part, twins[part]) for part in cast("set[Any]", value)]
        return next((found for pair in pairs if (found := difference(*pair, path))), None)
    if isinstance(value, dict):
        for key, other in zip(cast("dict[Any, Any]", value), back, strict=False):
            if found := difference(key, other, path):
                return path, f"of its key {key!r}, {found[1]}"
    if isinstance(value, msgspec.msgpack.Ext):
        return path, "an Ext is not a type that can be stored"
    parts, others = _parts(value), _parts(back)
    if parts or others:
        if [name for name, _ in parts] != [name for name, _ in others]:
            return path, "it would come back with other parts"
        for (name, part), (_, other) in zip(parts, others, strict=True):
            if found := difference(part, other, path + name):
                return found
        return None
    if _equal(value, back):
        return None
    try:
        same = _sorted.encode(value) == _sorted.encode(back)
    except Exception:
        same = False
    return None if same else (path, f"{_article(kind)} would not come back equal")


def _is_number(value: Any) -> bool:
    numpy = _numpy()
    return type(value) in (int, float) or (numpy is not None and isinstance(value, numpy.generic))


def _equal(value: Any, back: Any) -> bool:
    try:
        return bool(value == back)
    except Exception:
        return False


def _article(kind: type) -> str:
    name = _named(kind)
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


# Codecs, one for each annotation

_EXACT: frozenset[Any] = frozenset({int, float, str, bool, bytes})
"""Types of which every value comes back the same, if it can be encoded at all."""

_CONTAINERS: tuple[Any, ...] = (dict, list, tuple, set, frozenset)
_WITH_FIELDS = ("__struct_fields__", "__pydantic_fields__", "__required_keys__", "_fields")
"""What marks a class with annotated fields: msgspec's, pydantic's, a TypedDict, a NamedTuple."""


def _is_loose(kind: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether some part of the type is left open, so that decoding alone doesn't prove a round trip."""
    if kind is Any or kind is object or isinstance(kind, TypeVar):
        return True
    origin = get_origin(kind) or kind
    if not get_args(kind) and (origin in _CONTAINERS or getattr(origin, "__module__", "") == "collections.abc"):
        return True
    if _named(origin) == "numpy.ndarray":  # arrays compare by element, so their types are compared apart
        return True
    try:
        if kind in seen:
            return False
        seen |= {kind}
    except TypeError:
        pass
    if args := get_args(kind):
        return any(_is_loose(arg, seen) for arg in args)
    if _is_model(kind) and kind.model_config.get("extra") == "allow":
        return True
    if dataclasses.is_dataclass(kind) or any(hasattr(kind, mark) for mark in _WITH_FIELDS):
        try:
            return any(_is_loose(hint, seen) for hint in get_type_hints(kind).values())
        except Exception:
            return True
    return False


def _mismatch(where: str, path: str, problem: str) -> Unstorable:
    error = Unstorable(where, path, problem)
    error.mismatch = True
    return error


class Codec:
    """Bytes and back for one annotation.

    Args:
        kind: the annotated type.
        where: what the values are, for errors, such as ``"the result of step 'ocr'"``.

    Raises:
        DeclarationError: values of this type cannot be told apart when they come back.
    """

    def __init__(self, kind: Any, where: str) -> None:
        self.kind = Any if kind is inspect.Parameter.empty else kind
        self.where = where
        self.loose = _is_loose(self.kind)
        self._union: list[Codec] = []
        self._decode: Callable[[bytes], Any]
        try:
            self._decode = msgspec.msgpack.Decoder(self.kind, dec_hook=_from_data).decode
        except TypeError as error:
            members = get_args(self.kind) if get_origin(self.kind) in (Union, types.UnionType) else ()
            if not members:
                raise DeclarationError(f"{where}: {error}") from error
            # msgspec cannot tell two classes apart by their fields; a number in front of the value does.
            self._union = [Codec(member, where) for member in members]
            self._decode = self._decode_member

    def encode(self, value: Any) -> tuple[bytes, Any]:
        """The value as bytes, and as it will come back.

        Raises:
            Unstorable: it would not come back as the annotation says, or not equal.
        """
        if type(value) is self.kind and self.kind in _EXACT:
            return encode(value, self.where), value
        if self._union:
            return self._encode_member(value)
        data = encode(value, self.where)
        try:
            back = self._decode(data)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise self._unfit(error) from None
        except Exception as error:
            raise Unstorable(self.where, "$", f"it would not come back: {error}") from error
        if self.loose or not _equal(value, back):
            found = difference(value, back)
            if found is not None:
                raise (Unstorable if self.loose else _mismatch)(self.where, *found)
        return data, back

    def decode(self, data: bytes) -> Any:
        """The value again.

        Raises:
            Unstorable: the annotation has changed since, and what was stored does not fit it any more.
        """
        try:
            return self._decode(data)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise self._unfit(error) from None
        except Exception as error:  # a codec of the user's, on data that it never made
            raise Unstorable(self.where, "$", f"what is stored cannot be read: {_said(error)}") from error

    def from_plain(self, data: bytes) -> Any:
        """A value that a person gave as JSON, stored as such, as the annotated type.

        Raises:
            Unstorable: it does not fit.
        """
        return self.convert(plain(data))

    def convert(self, value: Any) -> Any:
        """A value that came as JSON, as the annotated type.

        Raises:
            Unstorable: it does not fit.
        """
        if self._union:
            for member in self._union:
                try:
                    return member.convert(value)
                except Unstorable:
                    continue
            raise Unstorable(self.where, "$", f"it is none of {', '.join(_named(m.kind) for m in self._union)}")
        try:
            return msgspec.convert(value, self.kind, dec_hook=_from_data)
        except msgspec.ValidationError as error:
            raise self._unfit(error) from None
        except RecursionError:
            raise
        except Exception as error:  # a codec of the user's, on data that it never made
            raise Unstorable(self.where, "$", f"it cannot be read: {_said(error)}") from error

    def _unfit(self, error: Exception) -> Unstorable:
        text, _, path = str(error).partition(" - at ")
        text = re.sub(r"`(\w+)`", r"\1", text)
        return _mismatch(self.where, path.strip("`") or "$", text[:1].lower() + text[1:])

    def _encode_member(self, value: Any) -> tuple[bytes, Any]:
        fits = [
            (get_origin(m.kind) or m.kind) is type(value) or (value is None and m.kind is type(None))
            for m in self._union
        ]
        order = sorted(range(len(fits)), key=lambda i: not fits[i])
        problem: Unstorable | None = None
        for index in order:
            try:
                data, back = self._union[index].encode(value)
            except Unstorable as error:
                problem = problem or error
                continue
            return _encoder.encode([index, msgspec.Raw(data)]), back
        raise problem or Unstorable(self.where, "$", "it fits no member of the union")

    def _decode_member(self, data: bytes) -> Any:
        index, raw = _member.decode(data)
        return self._union[index].decode(bytes(raw))


_member = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_named_raw = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_NOTHING = b"\x80"


class Unread(Codec):
    """Of results that nobody reads, such as what an undo returns: they are not stored, so they need not be storable.

    Args:
        where: as for ``Codec``.
    """

    def __init__(self, where: str) -> None:
        super().__init__(Any, where)

    def encode(self, value: Any) -> tuple[bytes, Any]:
        """None, in place of the value."""
        return super().encode(None)


class Inputs:
    """The parameters of a step or flow: binding compiled once, not at each call.

    Args:
        fn: the function.
        what: it, for errors, such as ``"step 'ocr'"``.
        skip: parameters that are filled in by the engine and not recorded.

    Attributes:
        simple: every parameter can be given by its name.
    """

    def __init__(self, fn: Callable[..., Any], what: str, skip: frozenset[str] = frozenset()) -> None:
        self.fn, self.what = fn, what
        given = [p for p in inspect.signature(fn).parameters.values() if p.name not in skip]
        self.signature = inspect.Signature(given)
        self.simple = simple = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in given)
        self._names: tuple[str, ...] = tuple(p.name for p in given) if simple else ()
        self._least = sum(p.default is p.empty for p in given) if simple else 1
        self._most = len(given) if simple else 0
        self._head = b"\x81" + _encoder.encode(given[0].name) if self._most == 1 else b""

    @functools.cached_property
    def codecs(self) -> dict[str, Codec]:
        """One codec for each parameter."""
        hints = hints_of(self.fn, self.what)
        return {
            name: Codec(_gathered(p, hints.get(name, Any)), f"parameter {name!r} of {self.what}")
            for name, p in self.signature.parameters.items()
        }

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The arguments as bytes.

        Raises:
            TypeError: they don't fit the function's parameters.
            Unstorable, UnawaitedCall: one of them cannot be stored.
        """
        bound = self._bound(args, kwargs)
        if not bound:
            return _NOTHING
        try:
            return _encoder.encode(bound)
        except Exception:
            return encode(bound, f"the input of {self.what}")

    def encode_typed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The same, with each argument checked to come back as its annotation says: for runs, which others execute."""
        codecs = self.codecs
        if self._head and len(args) == 1 and not kwargs:  # most events are so, and come by the thousand
            try:
                return self._head + codecs[self._names[0]].encode(args[0])[0]
            except (Unstorable, UnawaitedCall):
                pass
        bound = self._bound(args, kwargs)
        try:
            return _encoder.encode({name: msgspec.Raw(codecs[name].encode(value)[0]) for name, value in bound.items()})
        except (Unstorable, UnawaitedCall):
            encode(bound, f"the input of {self.what}")  # names an unawaited call before a type is named
            raise

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments again, each as its annotation says."""
        codecs = self.codecs
        given = {
            name: codecs[name].decode(bytes(raw)) if name in codecs else _plain.decode(raw)
            for name, raw in _named_raw.decode(data).items()
        }
        return self.arranged(given)

    def convert(self, given: dict[str, Any]) -> dict[str, Any]:
        """Arguments that came as JSON, as the annotated types."""
        return {name: self.codecs[name].convert(v) if name in self.codecs else v for name, v in given.items()}

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name, with the defaults of those that were not given."""
        if not kwargs and len(args) == self._most and self.simple:
            return dict(zip(self._names, args, strict=True))
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def replaced(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], **values: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, with some of them given anew."""
        if not any(name in self._names[: len(args)] for name in values):
            return args, {**kwargs, **values}
        return self.arranged({**self._bind(args, kwargs), **values})

    def arranged(self, named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments by name, as the function takes them: some only by position."""
        if self.simple:
            return (), named
        bound = inspect.BoundArguments(self.signature, cast("Any", named))
        return bound.args, bound.kwargs

    def same(self, recorded: bytes, asked: bytes) -> bool:
        """Whether two encoded inputs mean the same: sets and dicts may have been encoded in another order."""
        if recorded == asked:
            return True
        try:
            return _sorted.encode(self.decode(recorded)) == _sorted.encode(self.decode(asked))
        except Exception:
            return False

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if not kwargs and self._least <= len(args) <= self._most:
            return dict(zip(self._names, args, strict=False))
        return self._bind(args, kwargs)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return dict(self.signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            for value in (*args, *kwargs.values()):
                if isinstance(value, Coroutine):
                    cast("Coroutine[Any, Any, Any]", value).close()
            raise TypeError(f"{self.what}: {error}; it is called as {self.what.split()[-1]}{self.signature}") from None


def _gathered(parameter: inspect.Parameter, kind: Any) -> Any:
    """What a parameter holds: for ``*args`` and ``**kwargs``, all of them."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return tuple[kind, ...]
    if parameter.kind is parameter.VAR_KEYWORD:
        return get_args(kind)[0] if get_origin(kind) is Unpack else dict[str, kind]
    return kind


def hints_of(fn: Callable[..., Any], what: str) -> dict[str, Any]:
    """The function's annotations, resolved.

    Raises:
        DeclarationError: one of them names something that does not exist at run time.
    """
    closure: dict[str, Any] = dict(inspect.getclosurevars(fn).nonlocals) if hasattr(fn, "__code__") else {}
    try:
        return get_type_hints(fn, localns=closure or None, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{what}: an annotation cannot be resolved ({error}). Values are stored by their types, so the name must "
            "be imported at run time, not only under TYPE_CHECKING"
        ) from error


def digest(value: Any) -> str:
    """A short hash of what the value is: equal values have the same, whatever the order of their keys.

    Raises:
        Unstorable: it cannot be stored.
    """
    try:
        data = _sorted.encode(value)
    except Exception:
        data = encode(value, "the key of a kept value")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def plain(data: bytes | None) -> Any:
    """Stored bytes as plain data, without their types: for showing."""
    return None if data is None else _plain.decode(data)


def as_json(value: Any, indent: int = 0) -> bytes:
    """Any value as JSON, for showing: bytes in base64, ``nan`` and infinities as null."""
    try:
        data = msgspec.json.encode(value, enc_hook=_to_data)
    except Exception:
        data = msgspec.json.encode(msgspec.to_builtins(value, str_keys=True, enc_hook=_to_data))
    return msgspec.json.format(data, indent=indent) if indent else data
