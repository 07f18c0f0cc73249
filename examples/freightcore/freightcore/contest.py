"""The race: a driver clocks out as a delivery arrives for him, over and over, on several workers.

``update_driver`` has a key, so that each driver's events are handled one at a time, in order. ``update_anybody`` is the
same without: how it broke at FreightCore.
"""

import asyncio
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from segue import current_run, flow, idempotency_key, step

What = Literal["begin", "end", "deliver", "withdraw", "hand over", "clock out"]


@dataclass(frozen=True)
class Signal:
    """One of the two things that happen at once.

    Attributes:
        desk: the folder of what drivers are told.
        shift: a driver clocks out once in each of his shifts.
        delivery: what arrives; None for the clocking out.
    """

    id: str
    desk: str
    driver_id: str
    shift: int
    delivery: str | None = None


@dataclass(frozen=True)
class Told:
    """A line of what a driver was told, or what was noted about him.

    Attributes:
        key: of the effect: a line that is there twice under one key was tried again, and counts once.
        worker: the process that wrote it.
    """

    key: str
    run: str
    shift: int
    what: What
    delivery: str | None = None
    worker: int = 0


@flow(key="signal.driver_id", dedupe="signal.id")
async def update_driver(signal: Signal) -> None:
    await tell_driver(signal, await look_up(signal))


@flow(dedupe="signal.id")
async def update_anybody(signal: Signal) -> None:
    await tell_driver(signal, await look_up(signal))


@step
async def look_up(signal: Signal) -> list[Told]:
    """What the driver was told in this shift."""
    _write(signal, [("begin", None)])
    return [line for line in told(signal.desk, signal.driver_id) if line.shift == signal.shift]


@step
async def tell_driver(signal: Signal, known: list[Told]) -> None:
    """Give him the delivery, or somebody else; or take from him what he has and let him go home."""
    await asyncio.sleep(0)  # other runs of this worker get between, as they do where a model is asked
    if signal.delivery is not None:
        off = any(line.what == "clock out" for line in known)
        _write(signal, [("hand over" if off else "deliver", signal.delivery), ("end", None)])
        return
    has = [line.delivery for line in known if line.what == "deliver"]
    back: list[tuple[What, str | None]] = [(what, id) for id in has for what in ("withdraw", "hand over")]
    _write(signal, [*back, ("clock out", None), ("end", None)])


def _write(signal: Signal, lines: list[tuple[What, str | None]]) -> None:
    """Append, all of it at once: the order of the lines is that of the instructions."""
    key, run = idempotency_key(), current_run().id
    data = b"".join(
        msgspec.json.encode(Told(f"{key}/{what}/{delivery}", run, signal.shift, what, delivery, os.getpid())) + b"\n"
        for what, delivery in lines
    )
    file = os.open(_file(signal.desk, signal.driver_id), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, data)
    finally:
        os.close(file)


def told(desk: str, driver: str) -> list[Told]:
    """All that a driver was told, each once, in order."""
    file = _file(desk, driver)
    lines = msgspec.json.Decoder(Told).decode_lines(file.read_bytes()) if file.exists() else []
    return list({line.key: line for line in reversed(lines)}.values())[::-1]


def _file(desk: str, driver: str) -> Path:
    return Path(desk) / f"{driver}.jsonl"


# The verifier reads what was submitted and what was told, and nothing of how that came about.


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        rounds: how often a driver clocked out as a delivery arrived.
        too_late: deliveries that came after the clocking out, and went to somebody else at once.
        shares: how many signals each worker has handled.
        conflicts: each with the driver and the shift.
    """

    rounds: int
    too_late: int
    shares: list[int]
    conflicts: list[str]


def verify(submitted: list[Signal]) -> Verdict:
    """Hold what drivers were told to what was submitted."""
    rounds: dict[tuple[str, int], list[Signal]] = {}
    for signal in submitted:
        rounds.setdefault((signal.driver_id, signal.shift), []).append(signal)
    conflicts: list[str] = []
    too_late, shares = 0, Counter[int]()
    for driver in sorted({signal.driver_id for signal in submitted}):
        lines = told(submitted[0].desk, driver)
        conflicts += _overlaps(driver, lines)
        shares.update(line.worker for line in lines if line.what == "end")
        for (whose, shift), both in rounds.items():
            if whose == driver:
                mine = [line for line in lines if line.shift == shift]
                conflicts += [f"{driver}, shift {shift}: {said}" for said in _wrong(mine, both)]
                too_late += [line.what for line in mine if line.what in ("deliver", "clock out")][:1] == ["clock out"]
    return Verdict(len(rounds), too_late, sorted(shares.values()), conflicts)


def _overlaps(driver: str, lines: list[Told]) -> list[str]:
    """Runs that were at work on one driver at the same time, and shifts that came before an earlier one was over."""
    found: list[str] = []
    at_work: str | None = None
    latest = 0
    for line in lines:
        if line.what == "begin":
            if at_work is not None:
                found.append(f"{driver}, shift {line.shift}: run {line.run} began within {at_work}")
            if line.shift < latest:
                found.append(f"{driver}: shift {line.shift} after shift {latest}")
            at_work, latest = line.run, max(latest, line.shift)
        elif line.what == "end":
            at_work = None
    return found


def _wrong(lines: list[Told], both: list[Signal]) -> list[str]:
    """What is wrong with one shift of one driver."""
    found: list[str] = []
    whats = [line.what for line in lines]
    if whats.count("clock out") != 1 or whats.count("end") != len(both):
        return [f"clocked out {whats.count('clock out')} times, and {whats.count('end')} of {len(both)} were handled"]
    if "deliver" in whats[whats.index("clock out") :]:
        found.append("told to deliver after he clocked out")
    for delivery in [signal.delivery for signal in both if signal.delivery is not None]:
        mine = [line.what for line in lines if line.delivery == delivery]
        if mine not in (["hand over"], ["deliver", "withdraw", "hand over"]):
            found.append(f"{delivery} is lost or has two drivers: {', '.join(mine) or 'nobody was told'}")
    return found
