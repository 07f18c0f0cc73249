"""What happens to a run from outside: crashes, cancellations, answers, redrives. Everything as a seed decides."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

from segue import AlreadyDecided, CannotRedrive, RunEnded, UnknownRun, repair
from segue.inbox import Question
from segue.inspection import RunRecord, StepRecord, timeline
from segue.runtime.rehearsal import rehearse
from segue.stores.base import Query, Row, Store
from segue.testing import Env
from segue.testing.world import Trap

from .effects import Tree, generate, venture, world
from .verdicts import faults

POINTS = (
    "before-body",
    "after-body",
    "before-commit",
    "in-commit",
    "after-commit",
    "before-end",
    "after-end",
    "before-claim",
    "after-claim",
    "before-mail",
    "after-mail",
    "after-create",
)
ENOUGH = 60
"""Times that something is waited for, after which a run is stuck."""


class Story:
    """One run of a random program, and all that becomes of it.

    Attributes:
        deeds: what was done to it, for whoever has to find out why it went wrong.
        wrong: what must not have happened.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.r = seed, random.Random(seed)
        self.tree: Tree = generate(self.r)
        self.deeds: list[str] = []
        self.wrong: list[str] = []
        self.run = "run-1"
        world.begin(self.r.randrange(1 << 30))
        self.env = Env(seed=seed)

    def __enter__(self) -> "Story":
        disk = self.disk = self.env._world.disk  # pyright: ignore[reportPrivateUsage]
        bury = disk.bury

        def bury_and_settle(worker: str) -> Any:
            self.note("crash")
            self._settle()
            return bury(worker)

        disk.bury = bury_and_settle
        return self

    def __exit__(self, *_: object) -> None:
        self.env.close()

    def note(self, what: str) -> None:
        """For the report."""
        self.deeds.append(f"{self.env.now - 1767225600:.2f}: {what}")

    def _settle(self) -> None:
        """What is recorded now must not run again."""
        redrives = dict(self.disk.db.execute("select run, max(seq) from entries where kind in (13, 14) group by run"))
        ends = self.disk.db.execute("select run, seq, step from entries where kind in (1, 2, 3, 8)")
        for run, seq, step in ends:
            if seq > redrives.get(run, -1):
                world.settled[run, step] = None

    # What is done to it

    def plan_crashes(self, most: int) -> None:
        """Let some lives end somewhere."""
        self.env._world.traps.clear()  # pyright: ignore[reportPrivateUsage]
        for _ in range(self.r.randint(0, most)):
            if self.r.random() < 0.5:
                place = self.r.randint(1, 12)
                self.env.plan_crash(place, written=self.r.random() < 0.5)
                self.deeds.append(f"plan: crash at entry {place}")
            else:
                trap = Trap(self.r.choice(POINTS), self.r.randint(1, 5), optional=True)
                self.env._world.traps.append(trap)  # pyright: ignore[reportPrivateUsage]
                self.deeds.append(f"plan: crash at {trap.at}:{trap.left}")

    def begin(self) -> None:
        """Start it, and perhaps cancel it on the way."""
        self.plan_crashes(3)
        options = venture.options(timeout=20) if self.r.random() < 0.15 else venture
        self.env.start(options, self.tree)
        self.disturb(0.4)

    def disturb(self, likely: float) -> bool:
        """Perhaps cancel it, or a child of it, once or twice."""
        disturbed = False
        while self.r.random() < likely:
            self.env.advance(self.r.choice((0.0, 0.01, 0.31, 1.0, 2.5, 6.0, 40.0)))
            targets = [self.run] if self.r.random() < 0.8 else [row.id for row in self.family()]
            target = self.r.choice(targets)
            with suppress(RunEnded, UnknownRun):
                self.env.cancel(target, by="ada")
                self.note(f"cancel {target}")
                disturbed = True
        return disturbed

    def end(self) -> None:
        """Let it go on until it has ended, with people who answer."""
        left: list[Row] = []
        for _ in range(ENOUGH):
            self.env.finish(self.run)
            left = [row for row in self.family() if not row.status.terminal]
            if not left:
                return
            for question in self.env.questions()[:1]:
                answer = self.r.choice(self._answers(question))
                with suppress(AlreadyDecided, RunEnded):
                    self.env.answer(question, answer, by="ada")
                    self.note(f"answer {answer} to {question.step}")
            for row in left:
                if row.reason is not None and "signal" in row.reason:
                    with suppress(RunEnded):
                        self.env.send(row.id, "go", f"signal {len(self.deeds)}")
                        self.note(f"signal to {row.id}")
            self.env.advance(self.r.choice((0.0, 1.0, 100.0)))
        self.wrong += [f"stuck: {row.id} is {row.status}, {row.reason}" for row in left]

    def _answers(self, question: Question) -> list[Any]:
        if question.step.rpartition("/")[2].startswith("asking"):
            good: list[Any] = ["retry", {"edit": "by hand"}]
            return good if world.mended else [*good, {"reject": "no"}, "reject"]
        return [True, True, False] if not world.mended else [True]

    def mend(self, work: Callable[[Store], Awaitable[Any]]) -> Any:
        """Let a function of ``repair`` work on the store, and happen what happens at once."""

        async def scene(life: Any) -> Any:
            found = await work(life.mount)
            life.engine.look_for_mail()
            await life.loop.settled()
            return found

        return self.env._play(scene, None)  # pyright: ignore[reportPrivateUsage]

    def redrive(self) -> bool:
        """Let it go on, in one of the ways that there are."""
        r, record = self.r, self.record(self.run)
        self.env._world.traps.clear()  # pyright: ignore[reportPrivateUsage]
        world.mended = r.random() < 0.7
        if r.random() < 0.3:
            self.env.advance(r.choice((1.0, 3600.0, 1e6)))
        if r.random() < 0.1 and record.status == "failed" and record.row.reason is None:
            self.mend(lambda store: repair.discard(self.run, by="bob", store=store))
            self.note("discard")
        given = self._way(record)
        before, world.settled = world.settled, self._recorded_before(record, given)
        try:
            if r.random() < 0.1:
                repaired = self._twice(given)
            else:
                repaired = self.mend(lambda store: repair.redrive(self.run, by="ada", store=store, **given))
        except CannotRedrive as problem:
            self.note(f"no redrive {given}: {problem}")
            world.settled = before
            return False
        self.note(f"redrive {given}, mended {world.mended}: {[(one.run, one.step) for one in repaired]}")
        return True

    def _twice(self, given: dict[str, Any]) -> list[repair.Repaired]:
        async def both(store: Store) -> list[Any]:
            calls = [repair.redrive(self.run, by=by, store=store, **given) for by in ("ada", "bob")]
            return await asyncio.gather(*calls, return_exceptions=True)

        results: list[Any] = self.mend(both)
        done: list[list[repair.Repaired]] = [result for result in results if isinstance(result, list)]
        problems = [result for result in results if isinstance(result, Exception)]
        if len(done) > 1 or any(not isinstance(problem, CannotRedrive) for problem in problems):
            self.wrong.append(f"two redrives at once gave {results}")
        if not done:
            raise problems[0]
        return done[0]

    def redrive_a_child(self) -> bool:
        """Let one of its children go on, whatever its parent does."""
        ended = [row for row in self.family() if row.parent is not None and row.status in ("failed", "cancelled")]
        if not ended:
            return False
        row = self.r.choice(ended)
        world.mended, world.settled = True, {}
        self.env._world.traps.clear()  # pyright: ignore[reportPrivateUsage]
        try:
            repaired = self.mend(lambda store: repair.redrive(row.id, by="ada", store=store))
        except CannotRedrive as problem:
            self.wrong.append(f"no redrive of child {row.id}: {problem}")
            return False
        self.note(f"redrive of child: {[(one.run, one.step) for one in repaired]}")
        return True

    def fork(self) -> bool:
        """Go on with a new run of its past in its place."""
        steps = [step.id for step in self.record(self.run).steps if step.kind == "step" and step.undoes is None]
        steps = [step for step in steps if not step.rpartition("/")[2].startswith("@")]
        start = self.r.choice([None, "start", *steps])
        world.settled = {}
        self.env._world.traps.clear()  # pyright: ignore[reportPrivateUsage]
        try:
            self.run = self.mend(lambda store: repair.fork(self.run, by="ada", start=start, id="fork", store=store))
        except CannotRedrive as problem:
            self.note(f"no fork from {start}: {problem}")
            return False
        self.note(f"fork from {start}")
        return True

    def _way(self, record: RunRecord) -> dict[str, Any]:
        """How to redrive it."""
        r = self.r
        steps = [
            s for s in record.steps if s.kind == "step" and s.undoes is None and not s.name.startswith(("signal", "@"))
        ]
        steps = [s for s in steps if s.name != "ask_human"]
        given: dict[str, Any] = {}
        how = r.choice(("plain", "plain", "plain", "from", "from", "start", "edit", "edit", "set", "set-failed"))
        failed = record.error.step if record.error is not None else ""
        if how == "start":
            given["start"] = "start"
        elif how == "from" and steps:
            given["start"] = r.choice(steps).id
        elif how == "edit" and (
            editable := [s for s in steps if _given(s) not in (None, (None, None)) and "item" not in s.input]
        ):
            chosen = r.choice(editable)
            given |= {"start": chosen.id, "input": {"what": f"{chosen.input['what']}!"}}
        elif how == "set" and steps:
            given["results"] = {r.choice(steps).id: "by hand"}
        elif how == "set-failed" and failed in [s.id for s in steps]:
            given["results"] = {failed: "by hand"}
        return given

    def _recorded_before(self, record: RunRecord, given: dict[str, Any]) -> dict[tuple[str, str], Any]:
        """What must not run again after a redrive, by the record: what ended well before the place it goes on from."""
        done = [s for s in record.steps if s.status == "completed" and s.undoes is None and s.kind != "timer"]
        late = record.error is not None and record.error.type in ("TimeoutError", "RunTimedOut")
        if given.get("start") == "start" or record.row.id == "fork" or late:
            return {}
        named = {given.get("start"), *given.get("results", {})} - {None}
        if record.error is not None and record.error.step:
            named.add(record.error.step)
        undone = [s for s in done if s.undo == "undone"]
        if set(named) - {record.error.step if record.error else ""} or undone:
            again = [s for s in record.steps if s.id in named or s in undone]
            places = [s.started if s.status == "cancelled" else s.attempts[-1].ended for s in again]
            if record.status == "cancelled":
                places += [one.time for one in record.interventions if one.kind == "cancel"]
            first = min((place for place in places if place is not None), default=0.0)
            done = [s for s in done if s.ended is not None and s.ended < first]
        settled = {(record.id, step.id): _given(step) for step in done if step.run is None}
        for step in done:
            if step.run is not None:
                settled |= {(step.run, one.id): None for one in self.record(step.run).steps}
        return settled

    # What is found

    def family(self) -> list[Row]:
        """The run and its children, and theirs."""
        return list(self.disk._find(Query(limit=1000)))[::-1]  # pyright: ignore[reportPrivateUsage]

    def record(self, id: str) -> RunRecord:
        """A run as the journal tells it."""
        loaded = self.disk._load(id)  # pyright: ignore[reportPrivateUsage]
        assert loaded is not None
        row, entries = loaded
        children = self.disk._find(Query(parent=id, limit=1000))[::-1]  # pyright: ignore[reportPrivateUsage]
        return timeline(row, entries, children, self.env._world.artifacts.fetch)  # pyright: ignore[reportPrivateUsage]

    def judge(self) -> None:
        """Look at every run that has ended."""
        for row in self.family():
            self.wrong += [f"{row.id}: {fault}" for fault in faults(self.record(row.id), world.effects.values())]
            loaded = self.disk._load(row.id)  # pyright: ignore[reportPrivateUsage]
            assert loaded is not None
            verdict = rehearse(venture.spec, *loaded, self.env._world.artifacts)  # pyright: ignore[reportPrivateUsage]
            self.wrong += [f"{row.id}: its replay differs: {one.said}" for one in verdict.differences]
        self.wrong += world.wrong
        world.wrong = []
        if questions := self.env.questions():
            self.wrong.append(f"questions stay open: {questions}")

    def expect_progress(self, before: RunRecord, seen: int) -> None:
        """After a redrive, with nothing in its way, a run does not end as it did without having tried anything."""
        after = self.record(self.run)
        if after.status == "completed" or before.error is None or after.error is None:
            return
        if before.status == "cancelled" == after.status:
            self.wrong.append("it is cancelled again, and nobody asked for that")
        failed = before.error.step
        late = after.row.error == "DeadlineTooClose"  # nothing is begun after the flow's time was up
        if after.status == "failed" and failed and failed == after.error.step and not late:
            step = next(step for step in before.steps if step.id == failed)
            tried = {(run, one) for run, one, _ in world.visits[seen:]}
            if step.run is None and (self.run, failed) not in tried and not failed.rpartition("/")[2].startswith("ask"):
                self.wrong.append(f"it fails of {failed} again, which was not tried again")

    def tell(self) -> str:
        """All of it, for a failed test."""
        lines = [f"seed {self.seed}: {self.tree}", *self.deeds, "wrong:", *self.wrong]
        for row in self.family():
            record = self.record(row.id)
            lines.append(f"{row.id}: {record.status} {record.error}")
            loaded = self.disk._load(row.id)  # pyright: ignore[reportPrivateUsage]
            assert loaded is not None
            lines += [f"  {e.seq} {e.kind.name} {e.step} {e.attempt} {e.ended - row.created:.2f}" for e in loaded[1]]
        return "\n".join(lines)


def _given(step: StepRecord) -> tuple[Any, Any] | None:
    given: Any = step.input
    if not isinstance(given, dict):
        return None
    given = cast("dict[str, Any]", given)
    what, how = given.get("item", [given.get("what"), given.get("how")])[:2]
    return what, how


def play(seed: int, redrives: int) -> Story:
    """A run from its start, through so many redrives at most."""
    with Story(seed) as story:
        story.begin()
        story.end()
        story.judge()
        for _ in range(redrives):
            if story.wrong or story.record(story.run).status == "completed":
                break
            before, seen, plain = story.record(story.run), len(world.visits), False
            how = story.r.random()
            if how < 0.15 and story.run != "fork":
                if not story.fork():
                    continue
            elif how < 0.3:
                if not story.redrive_a_child():
                    continue
            else:
                if not story.redrive():
                    continue
                plain = "redrive {}, mended True" in story.deeds[-1]
            story.plan_crashes(2)
            disturbed = story.disturb(0.2)
            story.end()
            story.judge()
            if plain and not disturbed:
                story.expect_progress(before, seen)
        assert not story.wrong, story.tell()
        return story
