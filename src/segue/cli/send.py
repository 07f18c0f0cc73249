"""``segue send``: start a run for each line of a file, in bounded memory, however long that is."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from segue.cli.options import json_output, with_store

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Generator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from segue.cli.session import Stop
    from segue.runtime.engine import Engine
    from segue.runtime.intake import Started
    from segue.runtime.spec import FlowSpec
    from segue.values import Codec

LONGEST_LINE = 1 << 20
"""Bytes of a line at most."""

AT_ONCE = 1 << 20
"""Bytes that are read at a time. A pipe gives less: what has come by then."""

SHOWN = 64 << 10
"""Characters of a rejected line that are kept."""

FULL_FOR = 0.2
"""Seconds until a queue that is full is looked at again."""


@click.command(short_help="Start a run for each line of a file.")
@click.argument("target")
@click.option("--jsonl", "source", metavar="FILE", required=True, help="JSON lines, an event each. - is stdin.")
@click.option("--rejects", metavar="FILE", help="Where lines that cannot be taken go. Default: FILE.rejects.jsonl.")
@click.option("--from", "start", metavar="LINE", default=1, type=click.IntRange(1), help="Begin at this line.")
@json_output
@with_store
def send(target: str, source: str, rejects: str | None, start: int, as_json: bool, store: str | None) -> int:
    """Start a run of the flow TARGET for each line; workers execute them.

    A line is the flow's parameter as JSON. With @flow(dedupe=…) a line that was sent before starts nothing, so that a
    file can be sent again. A line that cannot be taken is written to the rejects file with its number and the reason,
    and keeps none of the others back.

    \b
    Exit codes: 0 all lines were taken, 1 some were rejected or the store failed, 2 wrong use, 130 interrupted.
    """
    from pathlib import Path

    from segue.cli.given import stdin
    from segue.cli.run import store_of
    from segue.cli.session import run_loop, show_logs, stdout_kept
    from segue.errors import UsageError
    from segue.loading import find_flow

    found = find_flow(target)
    event = found.flow.spec.event
    if source == "-":
        opened = stdin("--jsonl")
    else:
        try:
            opened = Path(source).open("rb", buffering=0)  # noqa: SIM115 - closed below
        except OSError as error:
            raise UsageError(f"--jsonl: {source} cannot be read: {error.strerror}") from None
    file = (
        Path(rejects) if rejects is not None else Path("rejects.jsonl" if source == "-" else f"{source}.rejects.jsonl")
    )
    with opened, stdout_kept() as show:
        show_logs()
        sending = _Sending(found.flow.spec, event, opened, file, start)
        return run_loop(_send(sending, store_of(store, found.settings), show if as_json else None))


class _Line(NamedTuple):
    """A line that is no event.

    Attributes:
        number: from 1.
    """

    number: int
    text: bytes
    problem: str


class _Sending:
    """One file on its way into the store."""

    def __init__(self, spec: "FlowSpec", event: "Codec", source: "BinaryIO", rejects: "Path", start: int) -> None:
        self.spec, self.event, self.source, self.rejects, self.start = spec, event, source, rejects, start
        self.lines = self.bytes = self.accepted = self.duplicates = self.rejected = 0
        """The last line that was dealt with, durably; bytes that were read; and what became of the lines."""
        self.tell: Callable[[_Sending], None] = lambda _: None

    @property
    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("lines", "accepted", "duplicates", "rejected")}

    async def to(self, engine: "Engine", stop: "Stop") -> None:
        """Send it all, or until the person wants to stop."""
        async for lines in self._read(engine, stop):
            events: list[Any] = []
            numbers: list[int] = []
            bad: list[_Line] = []
            for number, text in lines:
                event = self._event(number, text)
                if isinstance(event, _Line):
                    bad.append(event)
                else:
                    events.append(event)
                    numbers.append(number)
            try:
                await self._take_in(engine, stop, events, numbers, dict(lines), bad)
                if not stop.asked:
                    self.lines = lines[-1][0]
            finally:
                self._reject(sorted(line for line in bad if line.number <= self.lines))
            self.tell(self)

    async def _take_in(
        self,
        engine: "Engine",
        stop: "Stop",
        events: list[Any],
        numbers: list[int],
        texts: dict[int, bytes],
        bad: list[_Line],
    ) -> None:
        """Start runs for these. One that finds the queue full waits, and all behind it."""
        from segue.errors import QueueFull
        from segue.runtime.intake import take_in
        from segue.runtime.tickets import Options

        while events and not stop.asked:
            place, waiting = 0, list[int]()
            async for batch in take_in(engine, self.spec, events, Options()):
                for one in batch:
                    if isinstance(one.problem, QueueFull):
                        waiting.append(place)
                    elif one.problem is not None:
                        bad.append(_Line(numbers[place], texts[numbers[place]], str(one.problem)))
                    else:
                        self._count(one)
                    place += 1
                if dealt := waiting[0] if waiting else place:
                    self.lines = numbers[dealt - 1]
                self.tell(self)
            events, numbers = [events[n] for n in waiting], [numbers[n] for n in waiting]
            if events:
                await stop.wait(FULL_FOR)

    def _count(self, one: "Started") -> None:
        self.accepted += not one.duplicate
        self.duplicates += one.duplicate

    def _event(self, number: int, text: bytes) -> Any:
        import msgspec

        from segue.errors import Unstorable

        if len(text) > LONGEST_LINE:
            return _Line(number, text, f"it is longer than {LONGEST_LINE >> 20} MiB")
        try:
            return self.event.convert(msgspec.json.decode(text))
        except Unstorable as error:
            return _Line(number, text, str(error))
        except RecursionError:
            return _Line(number, text, "it is nested too deeply to be read")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _Line(number, text, f"it is not JSON: {error}")

    async def _read(self, engine: "Engine", stop: "Stop") -> "AsyncIterator[list[tuple[int, bytes]]]":
        """The lines with their numbers, as many at a time as one read gives."""
        number, rest, over = 0, b"", False
        while not over and not stop.asked:
            reading = engine.aside.submit(lambda: self.source.read(AT_ONCE))
            if (data := await _or_stop(reading, stop)) is None:
                return
            over = not data
            self.bytes += len(data)
            *whole, rest = (rest + data).split(b"\n") if data else ([rest, b""] if rest else [b""])
            if len(rest) > 2 * LONGEST_LINE:  # it is too long already: its end does not matter
                rest = rest[: 2 * LONGEST_LINE]
            lines: list[tuple[int, bytes]] = []
            for text in whole:
                number += 1
                if number >= self.start and (text := text.strip()):
                    lines.append((number, text))
            if number == 0 or not lines:
                continue
            if lines[0][0] == 1:
                lines[0] = (1, lines[0][1].removeprefix(b"\xef\xbb\xbf"))
            yield lines

    def _reject(self, lines: "Sequence[_Line]") -> None:
        if not lines:
            return
        import msgspec

        with self.rejects.open("ab") as file:
            for line in lines:
                text = line.text[:SHOWN].decode("utf-8", "replace")
                record = {"line": line.number, "reason": line.problem, "text": text}
                file.write(msgspec.json.encode(record) + b"\n")
        self.rejected += len(lines)


async def _or_stop(reading: "asyncio.Future[bytes]", stop: "Stop") -> bytes | None:
    """What is read, or None as soon as the person wants to stop: a pipe may give nothing for hours."""
    import asyncio

    asked = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([reading, asked], return_when=asyncio.FIRST_COMPLETED)
        return await reading if reading.done() else None
    finally:
        asked.cancel()


@contextmanager
def _progress(sending: _Sending) -> "Generator[None, None, None]":
    """Show how far it is: a bar on a terminal, else a line now and then."""
    import os
    import sys
    import time

    from segue.cli.text import say

    if not sys.stderr.isatty():
        began = told = time.monotonic()

        def line(sending: _Sending) -> None:
            nonlocal told
            if (now := time.monotonic()) - told >= _TELL_EVERY:
                told = now
                say(f"segue: {sending.lines:,} lines, {sending.lines / (now - began):,.0f} a second")

        sending.tell = line
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    size = os.fstat(sending.source.fileno()).st_size or None
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=size)

        def show(sending: _Sending) -> None:
            counts = f"{sending.accepted:,} new, {sending.duplicates:,} duplicates, {sending.rejected:,} rejected"
            bar.update(task, completed=sending.bytes, description=counts)

        sending.tell = show
        yield


_TELL_EVERY = 10.0
"""Seconds."""


async def _send(sending: _Sending, store: str, show: Any) -> int:
    from segue.cli.session import Stop
    from segue.cli.text import as_text, say
    from segue.errors import StoreError
    from segue.runtime.engine import Engine

    stop, problem = Stop(), ""
    with stop.installed(), _progress(sending):
        async with Engine(store, execute=False) as engine:
            try:
                await sending.to(engine, stop)
            except StoreError as error:
                problem = str(error)
    if show is not None:
        show(as_text(sending.counts))
    counts = f"{sending.accepted:,} new runs, {sending.duplicates:,} duplicates, {sending.rejected:,} rejected"
    say(f"segue: {counts}" + (f": see {sending.rejects}" if sending.rejected else ""))
    if problem or stop.asked:
        say(f"segue: {problem or 'interrupted'}; to go on: --from {sending.lines + 1}")
    return 128 + stop.signal if stop.asked else 1 if problem or sending.rejected else 0
