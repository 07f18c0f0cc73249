"""Events of one key that came before its run began, made one input for it."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from segue.core.entries import Entry, Kind
from segue.stores.base import Row

if TYPE_CHECKING:
    from segue.runtime.spec import FlowSpec
    from segue.stores.artifacts import Artifacts

ALL, LATEST = "all", "latest"


class Mailbox(NamedTuple):
    """What becomes of events that come while their key is busy.

    Attributes:
        merge: ``"latest"``: the last one counts; ``"all"``: the lists that they are become one; or a function of an
            earlier and a later one, which gives one.
        parameter: the flow's only parameter, which holds the event; of no meaning for ``"latest"``.
        quiet: seconds that must pass without another event before a run begins; None for none.
        patience: seconds after which it begins although there is no end of events.
    """

    merge: Literal["all", "latest"] | Callable[[Any, Any], Any]
    parameter: str = ""
    quiet: float | None = None
    patience: float = float("inf")


class Taken(NamedTuple):
    """An event that a run took along, or the one that it was created for.

    Attributes:
        run: the run that was created for it.
        at: when, seconds since the epoch.
        input: that run's encoded input.
    """

    run: str
    at: float
    input: bytes


_events = msgspec.msgpack.Decoder(list[Taken])
_named = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_items = msgspec.msgpack.Decoder(list[msgspec.Raw])


def events_of(entry: Entry) -> list[Taken]:
    """The events in an entry of kind ``EVENTS``, in the order in which they came; the first is the run's own."""
    return _events.decode(entry.output or b"\x90")


def own_input(row: Row, entries: Sequence[Entry]) -> bytes:
    """The input that a run was created with, before it took events along."""
    for entry in entries[:1]:
        if entry.kind is Kind.EVENTS:
            return events_of(entry)[0].input
    return row.input


def merged(spec: "FlowSpec", entries: Sequence[Entry], artifacts: "Artifacts") -> bytes:
    """One input of the events that a run took along."""
    (entry,) = [entry for entry in entries if entry.kind is Kind.EVENTS]
    inputs = [artifacts.fetch(event.input) or b"" for event in events_of(entry)]
    box = spec.mailbox
    if box is None or box.merge == LATEST:  # the declaration may have changed since they were merged
        return inputs[-1]
    name = box.parameter
    if box.merge == ALL:
        items = [item for input in inputs for item in _items.decode(_named.decode(input)[name])]
        return msgspec.msgpack.encode({name: items})
    values = (spec.inputs.decode(input)[1][name] for input in inputs)
    return spec.inputs.encode_typed((), {name: functools.reduce(box.merge, values)})
