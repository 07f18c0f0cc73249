"""Chaos: what goes wrong with models, drawn from a seed and put between a flow and its steps.

Every decision is a function of the seed, the run's id, the step and the attempt, and of nothing else: a run meets the
same faults alone or among others, at once or after a crash, and each attempt draws anew.
"""

import asyncio
import hashlib
import json
import math
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from segue.errors import DeclarationError
from segue.policies import seconds
from segue.values import as_json, encode, plain

if TYPE_CHECKING:
    from segue.runtime.call import Call

RATES = ("fail", "delay", "malform", "duplicate", "kill")


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong, each from 0 to 1.

    Args:
        seed: from which all is drawn.
        fail: attempts of steps that raise an error instead, or lose their answer.
        delay: attempts that begin late.
        delays: by how many seconds, at least and at most.
        malform: attempts whose result comes back the way models break it.
        duplicate: runs that are started a second time, as an event that is delivered twice does.
        kill: journal entries at which the worker dies.

    >>> Faults(seed=7, fail=0.1).rate("fail")
    0.1
    """

    seed: int = 0
    fail: float = 0
    delay: float = 0
    delays: tuple[float, float] = (0.1, 2.0)
    malform: float = 0
    duplicate: float = 0
    kill: float = 0

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"a seed is a whole number, not {self.seed!r}")
        for name in RATES:
            rate: Any = getattr(self, name)
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise DeclarationError(f"{name} is a share between 0 and 1, not {rate!r}")
        shortest, longest = self.delays
        if not (0 <= shortest <= longest and math.isfinite(longest)):
            raise DeclarationError(f"delays are the shortest and the longest, in seconds, not {self.delays!r}")

    @classmethod
    def parse(
        cls,
        *,
        seed: int = 0,
        fail: float = 0,
        delay: str | float = 0,
        malform: float = 0,
        duplicate: float = 0,
        kill: float = 0,
    ) -> Self:
        """From the forms that the command line takes.

        Args:
            delay: ``"0.2"``, ``"0.2:1s"`` or ``"0.2:0.1s..2s"``.

        >>> Faults.parse(seed=7, delay="0.2:0.1s..2s").delays
        (0.1, 2.0)
        """
        share, colon, text = str(delay).partition(":")
        try:
            rate = float(share)
        except ValueError:
            raise DeclarationError(f"delay is a share and a length, such as 0.2:0.1s..2s, not {delay!r}") from None
        shortest, _, longest = text.partition("..")
        lengths = (seconds(shortest), seconds(longest or shortest)) if colon else (0.1, 2.0)
        return cls(seed, fail, rate, lengths, malform, duplicate, kill)

    def rate(self, name: str) -> float:
        """One of the rates, by its name."""
        return float(getattr(self, name))

    def arguments(self) -> list[str]:
        """As the command line takes them; what is 0 is left out."""
        given = [f"--seed={self.seed}"]
        for name in RATES:
            if rate := self.rate(name):
                lengths = f":{self.delays[0]:g}s..{self.delays[1]:g}s" if name == "delay" else ""
                given.append(f"--{name}={rate:g}{lengths}")
        return given

    def chance(self, *where: object) -> random.Random:
        """The source of randomness for one place: the same for the same seed and place."""
        text = "\0".join(map(str, (self.seed, *where)))
        return random.Random(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()))

    def hits(self, name: str, *where: object) -> bool:
        """Whether the fault of that name strikes at this place."""
        rate = self.rate(name)
        return rate > 0 and self.chance(name, *where).random() < rate

    def plan(self, run: str, step: str, attempt: int) -> "Plan":
        """What becomes of one attempt."""
        delay = error = None
        where = (run, step, attempt)
        if self.hits("delay", *where):
            delay = self.chance("length", *where).uniform(*self.delays)
        answer_lost = False
        if self.hits("fail", *where):
            chance = self.chance("error", *where)
            error = chance.choice(_ERRORS)(chance)
            answer_lost = not isinstance(error, HttpError) and chance.random() < 0.25
        return Plan(delay, error, answer_lost, error is None and self.hits("malform", *where))

    def run_id(self, number: int) -> str:
        """The id of the experiment's run of that number.

        >>> Faults(seed=7).run_id(12)
        'chaos-7-0012'
        """
        return f"chaos-{self.seed}-{number:04}"


class Plan(NamedTuple):
    """What becomes of one attempt of a step.

    Attributes:
        delay: seconds that it waits first.
        error: what is raised.
        answer_lost: the error comes after the real attempt, whose effect has happened.
        malform: what it returns is broken.
    """

    delay: float | None
    error: Exception | None
    answer_lost: bool
    malform: bool


class HttpError(Exception):
    """An answer of a service that is none, as its client library would raise it.

    Attributes:
        status: 429 or 503.
        retry_after: the seconds that the service asks to be left alone, if it says so.
    """

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        self.status, self.retry_after = status, retry_after
        said = {429: "Too Many Requests", 503: "Service Unavailable"}.get(status, "error")
        super().__init__(f"{status} {said} (chaos)")


_ERRORS: tuple[Callable[[random.Random], Exception], ...] = (
    lambda chance: ConnectionError("connection reset by peer (chaos)"),
    lambda chance: TimeoutError("no answer in time (chaos)"),
    lambda chance: HttpError(429, round(chance.uniform(0.5, 5), 1)),
    lambda chance: HttpError(503, round(chance.uniform(0.5, 5), 1) if chance.random() < 0.5 else None),
    lambda chance: ValueError("unexpected answer (chaos)"),
)


class Struck(NamedTuple):
    """One fault that struck.

    Attributes:
        kind: ``fail``, ``delay`` or ``malform``.
        what: the error's class, ``"429"``, the kind of malformation.
    """

    run: str
    step: str
    attempt: int
    kind: str
    what: str


@dataclass(slots=True)
class Chaos:
    """Faults between an engine and the attempts of its steps: ``engine.around = Chaos(faults).around``.

    Attributes:
        struck: what struck, each once, however often a crash repeated it.
        bodies: how often the body of each attempt (run, step, attempt) was begun.
        tell: called with each fault when it strikes.
    """

    faults: Faults
    struck: dict[Struck, None] = field(default_factory=dict[Struck, None])
    bodies: dict[tuple[str, str, int], int] = field(default_factory=dict[tuple[str, str, int], int])
    tell: Callable[[Struck], None] | None = None

    async def around(self, call: "Call", real: Callable[[], Awaitable[Any]]) -> Any:
        """Make one attempt, and let go wrong what is drawn for it."""
        where = (call.run.id, str(call.step), call.attempt)
        if call.spec.fn.__module__.startswith("segue."):  # a gate, a clock: ours, and no model
            return await real()
        plan = self.faults.plan(*where)
        if plan.delay is not None:
            self._note(where, "delay", "delay")
            await asyncio.sleep(plan.delay)
        if plan.error is not None and not plan.answer_lost:
            self._note(where, "fail", _name_of(plan.error))
            raise plan.error
        self.bodies[where] = self.bodies.get(where, 0) + 1
        value = await real()
        if plan.error is not None:
            self._note(where, "fail", f"{_name_of(plan.error)} after the effect")
            raise plan.error
        if plan.malform:
            kind, value = defect(value, self.faults.chance("defect", *where))
            self._note(where, "malform", kind)
        return value

    def _note(self, where: tuple[str, str, int], kind: str, what: str) -> None:
        struck = Struck(*where, kind, what)
        if struck not in self.struck:
            self.struck[struck] = None
            if self.tell is not None:
                self.tell(struck)


def _name_of(error: Exception) -> str:
    return str(error.status) if isinstance(error, HttpError) else type(error).__name__


# Malformed values


def malform(value: Any, chance: random.Random) -> Any:
    """The value the way a model breaks it: cut off, of another type, wrapped in prose, empty. Never raises.

    >>> malform({"answer": "yes"}, random.Random(1)) != {"answer": "yes"}
    True
    """
    return defect(value, chance)[1]


def defect(value: Any, chance: random.Random) -> tuple[str, Any]:
    """The same, and what kind of defect it is."""
    data = _as_data(value)
    kinds = list(_kinds(data))
    chance.shuffle(kinds)
    for kind in kinds:
        try:
            broken = _DEFECTS[kind](data, chance)
        except Exception:  # this defect does not fit this value
            continue
        if _differs(data, broken):
            return kind, broken
    return ("null", None) if value is not None else ("empty", "")


def _as_data(value: Any) -> Any:
    """What a model would have written for it: objects as dicts. What has no such form stays as it is."""
    try:
        if type(value).__module__ == "numpy":
            return value.tolist() if value.size <= _MOST else value
        return plain(encode(value, "a value"))
    except Exception:
        return value


def _differs(value: Any, broken: Any) -> bool:
    if type(value) is not type(broken):
        return True
    try:
        return bool(value != broken)
    except Exception:  # arrays, and what compares in its own way
        return value is not broken


_MOST = 500
"""Parts of a value that are looked at for one to break."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_OPENINGS = (
    "Sure! Here is the answer:\n\n{}",
    "Certainly. {}\n\nLet me know if you need anything else!",
    "Based on the information provided, the result is: {}",
    "{}\n\nNote: I have made some assumptions. Please verify before use.",
)
_PAGES = (
    "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>",
    "<!DOCTYPE html><html><body><h1>Too many requests</h1><p>Please slow down.</p></body></html>",
)
_WRAPPERS = ("result", "data", "output", "response", "answer")


def _text_of(data: Any) -> str:
    return data if isinstance(data, str) else as_json(data).decode()


def _kinds(data: Any) -> Iterator[str]:
    """The kinds of defects that this value can have."""
    yield from ("null", "empty", "html", "nested", "prose")
    match data:
        case dict():
            yield from ("fenced", "truncated", "missing brace", "text for dict", "list for dict", "broken JSON")
            yield from ("missing key", "other key", "wrong type", "nan", "empty field")
        case list():
            yield from ("fenced", "truncated", "missing brace", "text for list", "dict for list", "broken JSON")
            yield from ("missing item", "wrong type", "nan", "empty field")
        case str():
            yield from ("fenced", "truncated", "list for text")
            if data.lstrip()[:1] in ("{", "["):
                yield from ("missing brace", "broken JSON", "nan")
        case bool():
            yield "wrong type"
        case int() | float():
            yield from ("wrong type", "nan", "list for number")
        case bytes():
            yield "truncated"
        case None:
            yield "wrong type"
        case _:
            return


def _truncated(data: Any, chance: random.Random) -> Any:
    if isinstance(data, bytes):
        return data[: chance.randrange(len(data))]
    text = _text_of(data)
    return text[: chance.randrange(len(text))]


def _empty(data: Any, chance: random.Random) -> Any:
    same: dict[type, Any] = {dict: {}, list: [], bytes: b""}
    return chance.choice(["", same.get(cast("type[Any]", type(data)), "")])


def _html(data: Any, chance: random.Random) -> Any:
    page = chance.choice(_PAGES)
    return page.encode() if isinstance(data, bytes) else page


def _nested(data: Any, chance: random.Random) -> Any:
    return {chance.choice(_WRAPPERS): data}


def _prose(data: Any, chance: random.Random) -> Any:
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else _text_of(data)
    return chance.choice(_OPENINGS).format(text)


def _fenced(data: Any, chance: random.Random) -> Any:
    return f"```{chance.choice(('json', ''))}\n{_text_of(data)}\n```"


def _missing_brace(data: Any, chance: random.Random) -> Any:
    text = _text_of(data)
    return re.sub(r"[}\]]\s*$", "", text, count=1)


def _broken_json(data: Any, chance: random.Random) -> Any:
    """JSON as people write it, which JSON is not."""
    text = _text_of(data).rstrip()
    forms = (
        text[:-1] + "," + text[-1:],
        text.replace('"', "'"),
        text.replace("true", "True").replace("false", "False").replace("null", "None"),
        text[:1] + " // as requested\n" + text[1:],
    )
    return chance.choice([form for form in forms if not _is_json(form)])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _as_text(data: Any, chance: random.Random) -> Any:
    return _text_of(data)


def _in_list(data: Any, chance: random.Random) -> Any:
    if isinstance(data, dict) and chance.random() < 0.5:
        return list(cast("dict[Any, Any]", data).values())
    return [data]


def _as_dict(data: list[Any], chance: random.Random) -> Any:
    return chance.choice(({"items": data}, {str(i): item for i, item in enumerate(data)}))


def _missing_key(data: dict[Any, Any], chance: random.Random) -> Any:
    lost = chance.choice(list(data))
    return {key: value for key, value in data.items() if key != lost}


def _other_key(data: dict[Any, Any], chance: random.Random) -> Any:
    """A key as another writer would spell it."""
    changed = chance.choice(list(data))
    text = str(changed)
    spelled = [text.upper(), text.title().replace("_", ""), f"{text}_value", text.replace("_", "-")]
    other = chance.choice([name for name in spelled if name not in data])
    return {other if key == changed else key: value for key, value in data.items()}


def _missing_item(data: list[Any], chance: random.Random) -> Any:
    lost = chance.randrange(len(data))
    return data[:lost] + data[lost + 1 :]


def _leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to the parts that have none themselves."""
    if isinstance(data, dict):
        for key, value in cast("dict[Any, Any]", data).items():
            yield from _leaves(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(cast("list[Any]", data)):
            yield from _leaves(value, (*path, index))
    else:
        yield path


def _at(data: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


def _with(data: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The data with another value at this path; the original stays as it is."""
    if not path:
        return new
    copy = data.copy()
    copy[path[0]] = _with(data[path[0]], path[1:], new)
    return copy


def _some_leaf(data: Any, chance: random.Random, wanted: Callable[[Any], bool]) -> tuple[Any, ...]:
    found = [path for path, _ in zip(_leaves(data), range(_MOST), strict=False) if wanted(_at(data, path))]
    return chance.choice(found)


def _mistyped(value: Any, chance: random.Random) -> Any:
    """One value as another type: a number as text, text for a number."""
    match value:
        case bool():
            return chance.choice((str(value).lower(), "yes" if value else "no"))
        case int() | float():
            return chance.choice((str(value), f"about {value}", f"{value}%", "N/A"))
        case str():
            return chance.choice(([value], {"text": value}, len(value), None))
        case None:
            return chance.choice(("null", "N/A", "unknown", "none"))
        case _:
            return "N/A"


def _wrong_type(data: Any, chance: random.Random) -> Any:
    path = _some_leaf(data, chance, lambda value: True)
    return _with(data, path, _mistyped(_at(data, path), chance))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _nan(data: Any, chance: random.Random) -> Any:
    if isinstance(data, str):
        numbers = list(_NUMBER.finditer(data))
        number = chance.choice(numbers)
        return data[: number.start()] + chance.choice(("NaN", "Infinity", "-Infinity")) + data[number.end() :]
    path = _some_leaf(data, chance, _is_finite)
    return _with(data, path, chance.choice((math.nan, math.inf, -math.inf)))


def _empty_field(data: Any, chance: random.Random) -> Any:
    path = _some_leaf(data, chance, lambda value: True)
    return _with(data, path, chance.choice(("", None)))


_DEFECTS: dict[str, Callable[[Any, random.Random], Any]] = {
    "null": lambda data, chance: None,
    "empty": _empty,
    "html": _html,
    "nested": _nested,
    "prose": _prose,
    "fenced": _fenced,
    "truncated": _truncated,
    "missing brace": _missing_brace,
    "broken JSON": _broken_json,
    "text for dict": _as_text,
    "text for list": _as_text,
    "list for dict": _in_list,
    "list for text": _in_list,
    "list for number": _in_list,
    "dict for list": _as_dict,
    "missing key": _missing_key,
    "other key": _other_key,
    "missing item": _missing_item,
    "wrong type": _wrong_type,
    "nan": _nan,
    "empty field": _empty_field,
}
