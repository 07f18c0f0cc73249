"""``segue run`` at a terminal: what the run asks a person is asked right there."""

import asyncio
import select
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from segue.cli.text import say

if TYPE_CHECKING:
    from segue.cli.session import Stop
    from segue.cli.view import View
    from segue.inbox import Question
    from segue.runtime.engine import Engine


_LOOK = 0.2
"""Seconds between two looks whether a question is still open."""


class Prompt:
    """Puts the questions of one run, and of its child runs, to whoever sits at the terminal."""

    def __init__(self, engine: "Engine", run: str) -> None:
        self._engine, self._run = engine, run
        self._left: set[str] = set()
        """Questions that the person wants to leave in the inbox."""

    async def next(self) -> "Question | None":
        """A question that waits, if there is one."""
        from segue import inbox
        from segue.cli.archive import EVERY
        from segue.stores.base import Query

        runs, seen = [self._run], set[str]()
        while runs:
            run = runs.pop()
            seen.add(run)
            for question in await inbox.questions(run=run, store=self._engine.store):
                if question.id not in self._left:
                    return question
            children = await self._engine.store.find(Query(parent=run, limit=EVERY))
            runs += [child.id for child in children if not child.status.terminal and child.id not in seen]
        return None

    async def put(self, question: "Question", view: "View", stop: "Stop") -> None:
        """Ask, until there is an answer that fits, or the person leaves it."""
        from segue.cli.inbox import print_question

        view.stop()
        print_question(question, how=False)
        try:
            while not stop.asked:
                line = await _line(self._closed(question), stop)
                if line is None:
                    said = f"it stays in the inbox: segue inbox answer {question.id}"
                    say(f"\n{said if stop.asked else f'question {question.id} is closed'}")
                    return
                if await self._answered(question, line):
                    return
        finally:
            view.start()

    async def _closed(self, question: "Question") -> None:
        """Wait until nobody needs to answer any more: somebody has, the time is up, or the run has ended."""
        from segue import inbox

        store = self._engine.store  # another process may close it: there is no event
        while (await inbox.question(question.id, store=store)).decided is None:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)

    async def _answered(self, question: "Question", line: str) -> bool:
        from segue import inbox
        from segue.cli.inbox import read_answer
        from segue.cli.options import name_of_user
        from segue.errors import SegueError, UsageError

        if not line.strip():
            self._left.add(question.id)
            say(f"it stays in the inbox: segue inbox answer {question.id}")
            return True
        try:
            value = read_answer(question, line.strip())
            await inbox.answer(question.id, value, by=name_of_user(None), store=self._engine.store)
        except UsageError as error:
            say(str(error))
            return False
        except SegueError as error:
            say(str(error))
        self._engine.look_for_mail()
        return True


async def _line(closed: Coroutine[Any, Any, None], stop: "Stop") -> str | None:
    """What the person types; None if the question is closed meanwhile, or the program stopped."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()
    over = threading.Event()

    def give(line: str) -> None:
        if not typed.done():
            typed.set_result(line)

    def read() -> None:
        # The program's own stdin is closed for the user's code. A thread, since nothing else can wait for a terminal;
        # not one of a pool, which would be waited for at the end.
        try:
            line = _typed(over)
        except OSError:
            line = b""
        if line is not None:
            loop.call_soon_threadsafe(give, line.decode("utf-8", "replace"))

    threading.Thread(target=read, name="segue-terminal", daemon=True).start()
    others = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(closed)]
    await asyncio.wait((typed, *others), return_when=asyncio.FIRST_COMPLETED)
    over.set()
    for other in others:
        other.cancel()
    return typed.result() if typed.done() else None


def _typed(over: threading.Event) -> bytes | None:
    """A line from the terminal; None if nobody wants it any more, who then has not lost what is typed next."""
    with open("/dev/tty", "r+b", buffering=0) as terminal:
        terminal.write(b"answer (empty: later) > ")
        line = b""
        while not line.endswith(b"\n"):
            if over.is_set():
                return None
            if select.select([terminal], [], [], _LOOK)[0]:
                if not (more := terminal.read(1)):
                    break
                line += more
        return line
