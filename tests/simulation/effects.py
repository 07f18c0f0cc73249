"""Random flows whose steps have effects, and the world outside that remembers them, whatever crashes.

The world honours idempotency keys as a payment service does: what comes a second time under a key changes nothing. What
it can tell to be wrong by itself it notes at once: an undo of what was not done, or for the second time.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any, cast

import segue
from segue import (
    Permanent,
    Retry,
    RunFailed,
    StepFailed,
    ask_human,
    current_run,
    escalate,
    flow,
    idempotency_key,
    step,
    wait_for,
)

Tree = list[Any]
"""A kind, then what belongs to it."""


# The world outside


@dataclass(slots=True)
class Effect:
    """Something that was done.

    Attributes:
        receipt: what the world knows it by.
        run, step, key: who did it, as the step said.
        given: what the step was called with.
        done, undone: at which place in the order of everything that changed the world.
        by: the key under which it was undone.
        final: nothing undoes it.
    """

    receipt: str
    run: str
    step: str
    key: str
    given: tuple[Any, ...]
    done: int
    undone: int | None = None
    by: str = ""
    final: bool = False


@dataclass
class World:
    """What the steps do and undo, in the order in which they did.

    Attributes:
        effects: by the key under which they were done.
        undos: the receipt that was undone, by the key under which that was.
        wrong: what must never happen, and did.
        settled: steps (run, identity) whose bodies must not run any more: with this input, or None for any.
        mended: what failed by itself before does not any longer.
    """

    chance: random.Random = field(default_factory=random.Random)
    effects: dict[str, Effect] = field(default_factory=dict[str, Effect])
    undos: dict[str, str] = field(default_factory=dict[str, str])
    wrong: list[str] = field(default_factory=list[str])
    settled: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    visits: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    tries: dict[str, int] = field(default_factory=dict[str, int])
    mended: bool = False
    order: int = 0

    def begin(self, seed: int) -> None:
        """Forget everything."""
        self.__init__()
        self.chance = random.Random(seed)

    def enter(self, what: str = "", how: str = "") -> tuple[str, str, str]:
        """A body runs. Gives its run, its step, and its key."""
        here, key = current_run(), idempotency_key()
        who = (here.id, str(here.step), key)
        self.visits.append(who)
        self.tries[key] = self.tries.get(key, 0) + 1
        if self.settled.get(who[:2], ()) in (None, (what, how)):
            self.wrong.append(f"{who[1]} of {who[0]} ran again, though its end was recorded")
        return who

    def do(self, who: tuple[str, str, str], *given: Any, final: bool = False) -> str:
        """Have an effect, unless it was had under this key. Gives its receipt."""
        run, step, key = who
        if (known := self.effects.get(key)) is not None:
            if (known.run, known.step) != (run, step):
                self.wrong.append(f"{step} of {run} has the key of {known.step} of {known.run}")
            elif known.given != given:
                self.wrong.append(f"{step} of {run} has the key of what it did with {known.given}, with {given}")
            return known.receipt
        self.order += 1
        receipt = f"{len(self.effects) + 1}:{step}"
        self.effects[key] = Effect(receipt, run, step, key, given, self.order, final=final)
        return receipt

    def undo(self, who: tuple[str, str, str], receipt: str, *given: Any) -> None:
        """Undo an effect, unless something was undone under this key.

        Args:
            given: the inputs that the undo got, all of them or the first ones.
        """
        run, step, key = who
        if (before := self.undos.setdefault(key, receipt)) != receipt:
            self.wrong.append(f"{step} of {run} undoes {receipt} under the key that undid {before}")
            return
        effect = next((effect for effect in self.effects.values() if effect.receipt == receipt), None)
        if effect is None:
            self.wrong.append(f"{step} of {run} undoes {receipt}, which was never done")
        elif effect.run != run:
            self.wrong.append(f"{step} of {run} undoes {receipt}, which run {effect.run} did")
        elif effect.undone is None:
            self.order += 1
            effect.undone, effect.by = self.order, key
        elif effect.by != key:
            self.wrong.append(f"{step} of {run} undoes {receipt}, which was undone under another key")
        if effect is not None and effect.given[: len(given)] != given:
            self.wrong.append(f"{step} of {run} undoes what was done with {effect.given}, with {given}")


world = World()


# Steps. How each goes is said by its input: "how it is done/how that is undone"

DOING = ("well", "well", "well", "before", "after", "once-before", "once-after", "slow", "late", "deaf", "final")
UNDOING = ("well", "well", "well", "once-before", "once-after", "never", "lost")


def _pause() -> float:
    return world.chance.choice((0.0, 0.01, 0.3, 1.1))


def _fails(how: str, when: str, key: str) -> bool:
    if how == f"once-{when}":
        return world.tries[key] == 1
    return how == when and not world.mended


async def _act(what: str, how: str, basket: list[str], *, final: bool = False) -> str:
    """Do it, in the way that is said."""
    who, way = world.enter(what, how), how.partition("/")[0]
    held = tuple(basket)  # the flow may go on, and change its own objects, before a deaf body ends
    if way == "deaf":
        try:
            await asyncio.sleep(_pause())
        except asyncio.CancelledError:
            await asyncio.sleep(world.chance.choice((0.5, 8.0)))
        return world.do(who, what, how, held, final=final)
    await asyncio.sleep(100 if way == "slow" and not world.mended else _pause())
    if _fails(way, "before", who[2]):
        raise ConnectionError("before")
    if way == "final" and not world.mended:
        raise Permanent("no")
    receipt = world.do(who, what, how, held, final=final)
    try:
        await asyncio.sleep(_pause())
    except asyncio.CancelledError:
        if way != "late":
            raise
    if _fails(way, "after", who[2]):
        raise ConnectionError("after")
    return receipt


def _act_in_thread(what: str, how: str, basket: list[str]) -> str:
    who, way = world.enter(what, how), how.partition("/")[0]
    if _fails(way, "before", who[2]):
        raise ConnectionError("before")
    receipt = world.do(who, what, how, tuple(basket))
    if _fails(way, "after", who[2]):
        raise ConnectionError("after")
    return receipt


def _how_undone(receipt: str) -> str:
    found = next((effect for effect in world.effects.values() if effect.receipt == receipt), None)
    return "well" if found is None else str(found.given[1]).partition("/")[2]


def _unact(receipt: str, *given: Any) -> None:
    """Undo it, in the way that was said when it was done."""
    who, way = world.enter(), _how_undone(receipt)
    if way == "never" or _fails(way, "before", who[2]):
        raise ConnectionError("not now")
    world.undo(who, receipt, *given)
    if way == "lost" or _fails(way, "after", who[2]):
        raise ConnectionError("it may have come through")


@step(retry=Retry(2, backoff="2s"))
async def refund(receipt: str, what: str, how: str, basket: list[str]) -> None:
    """Undoes, and takes a while."""
    await asyncio.sleep(_pause())
    _unact(receipt, what, how, tuple(basket))


@step(undo=refund)
async def pay(what: str, how: str, basket: list[str]) -> str:
    """The ordinary one."""
    return await _act(what, how, basket)


@step(undo=refund, retry=Retry(2, backoff="1s"))
async def insist(what: str, how: str, basket: list[str]) -> str:
    """Tries again; an earlier attempt may have had the effect."""
    return await _act(what, how, basket)


@step(undo=refund, timeout="700ms", retry=1)
async def hurry(what: str, how: str, basket: list[str]) -> str:
    """Has little time."""
    return await _act(what, how, basket)


def unbook(receipt: str, what: str) -> None:
    """A plain function, in a thread, that takes fewer inputs."""
    _unact(receipt, what)


@step(undo=unbook)
def book(what: str, how: str, basket: list[str]) -> str:
    """Runs in a thread."""
    return _act_in_thread(what, how, basket)


async def release(receipt: str) -> None:
    """A plain function that undoes two steps."""
    await asyncio.sleep(_pause())
    _unact(receipt)


@step(undo=release)
async def hire(what: str, how: str, basket: list[str]) -> str:
    """Shares its undo."""
    return await _act(what, how, basket)


@step(undo=release)
async def rent(what: str, how: str, basket: list[str]) -> str:
    """Shares its undo."""
    return await _act(what, how, basket)


@step
async def unspare(receipt: str, what: str) -> None:
    """Undoes what a fallback did."""
    _unact(receipt, what)


@step(undo=unspare, retry=Retry(1, backoff="1s"))
async def spare(what: str, how: str, basket: list[str]) -> str:
    """A fallback, with an undo of its own."""
    return await _act(what, how.replace("final", "once-after").replace("before", "well"), basket)


@step(undo=refund, fallback=spare)
async def spared(what: str, how: str, basket: list[str]) -> str:
    """Falls back."""
    return await _act(what, how, basket)


@step(fallback=spare, degraded="nothing")
async def lucky(what: str, how: str, basket: list[str]) -> str:
    """Only its fallback can be undone."""
    return await _act(what, how, basket, final=True)


@step(undo=refund, fallback=escalate("what now?", timeout="3m"))
async def asking(what: str, how: str, basket: list[str]) -> str:
    """A person decides where it fails."""
    return await _act(what, how, basket)


@step(retry=Retry(1, backoff="1s"))
async def send(what: str, how: str, basket: list[str]) -> str:
    """Its effect is final."""
    return await _act(what, how, basket, final=True)


@step(undo=release)
async def each(item: list[str]) -> str:
    """For ``map``."""
    return await _act(item[0], item[1], item[2:])


STEPS: dict[str, Any] = {
    "pay": pay,
    "pay-more": pay.options(timeout="5s", retry=1),
    "insist": insist,
    "hurry": hurry,
    "book": book,
    "hire": hire,
    "hire-more": hire.options(retry=1),
    "rent": rent,
    "spared": spared,
    "lucky": lucky,
    "asking": asking,
    "send": send,
}


# Flows

KINDS = (
    "chain",
    "chain",
    "loop",
    "gather",
    "together",
    "partial",
    "group",
    "task",
    "left",
    "race",
    "try",
    "final",
    "timeout",
    "limit",
    "child",
    "children",
    "map",
    "swallow",
)
LEAVES = ("step", "step", "step", "step", "step", "step", "step", "sleep", "oops", "ask", "signal")


class Oops(Exception):
    """The flow's own code fails."""


CAUGHT = (StepFailed, RunFailed, TimeoutError, Oops, BaseExceptionGroup)


def generate(r: random.Random, names: list[str] | None = None, depth: int = 0) -> Tree:
    """A random program, of few steps, so that the same are asked for on several ways."""
    names = r.sample(list(STEPS), r.randint(2, 6)) if names is None else names
    if depth < 3 and (depth == 0 or r.random() < 0.5):
        kind = r.choice(KINDS)
        parts = [generate(r, names, depth + 1) for _ in range(r.randint(2, 3))]
        return [kind, parts, r.random() < 0.5, round(r.choice((0.2, 1.5, 6.0)), 3)]
    kind = r.choice(LEAVES)
    if kind == "oops" and r.random() < 0.5:
        kind = "step"
    if kind == "step":
        return [kind, r.choice(names), r.choice("abc"), f"{r.choice(DOING)}/{r.choice(UNDOING)}"]
    return [kind, r.random() < 0.5, r.choice((0.4, 2.0, 45.0))]


async def _step(name: str, what: str, how: str) -> str:
    basket = [what]
    try:
        return await STEPS[name](what, how, basket)
    finally:
        if name != "book":  # a thread that was given up may look at it at any time
            basket.append("more")  # the flow's own objects are its own again


async def _leaf(tree: Tree) -> Any:
    kind, flag, time = tree[0], tree[1], tree[2]
    if kind == "step":
        return await _step(tree[1], tree[2], tree[3])
    if kind == "sleep":
        return await segue.sleep(time)
    if kind == "oops":
        raise Oops("the flow's own")
    if kind == "ask":
        given: Any = {"default": True} if flag else {}
        if not await ask_human("go on?", timeout=time * 20 if flag else None, **given):
            raise Oops("declined")
        return "yes"
    assert kind == "signal"
    return await wait_for("go", str, timeout=time * 20 if flag else None)


async def execute(tree: Tree) -> Any:
    """Execute a program."""
    if not isinstance(tree[1], list):
        return await _leaf(tree)
    kind, flag, time = tree[0], tree[2], tree[3]
    parts = cast("list[Tree]", tree[1])
    if kind == "chain":
        return [await execute(part) for part in parts]
    if kind == "loop":
        return [await execute(parts[0]) for _ in range(2)]
    if kind == "gather":
        found = await asyncio.gather(*[execute(part) for part in parts], return_exceptions=flag)
        return [repr(value)[:80] for value in found]
    if kind == "together":
        return list(await segue.gather(*[execute(part) for part in parts]))
    if kind == "partial":
        found = await segue.gather(*[execute(part) for part in parts], partial=True, deadline=time)
        return [outcome.ok for outcome in found]
    if kind == "group":
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(execute(part)) for part in parts]
        return [task.result() for task in tasks]
    if kind == "task":
        task = asyncio.create_task(execute(parts[0]))
        rest = [await execute(part) for part in parts[1:]]
        return [*rest, await task]
    if kind == "left":
        task = asyncio.create_task(execute(parts[0]))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return [await execute(part) for part in parts[1:]]
    if kind == "race":
        tasks = [asyncio.create_task(execute(part)) for part in parts]
        done, late = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        if flag:
            await asyncio.gather(*late, return_exceptions=True)
        return [task.result() for task in done]
    if kind == "try":
        try:
            return await execute(parts[0])
        except CAUGHT:
            await execute(parts[1])
            if flag:
                raise
            return "dealt with"
    if kind == "final":
        try:
            return await execute(parts[0])
        finally:
            await execute(parts[1])
    if kind in ("timeout", "limit"):
        try:
            async with asyncio.timeout(time) if kind == "timeout" else segue.timeout(time):
                return [await execute(part) for part in parts]
        except TimeoutError:
            if flag:
                raise
            return "late"
    if kind == "child":
        return await venture.options(timeout=time * 4 if flag else None, delay=time * 8 if time > 2 else 0)(parts[0])
    if kind == "children":
        return await venture.map(parts)
    if kind == "map":
        found = await each.map([[str(n), f"{way}/well", str(n)] for n, way in enumerate(("well", "late", "after"))])
        return list(found)
    assert kind == "swallow"
    try:
        return [await execute(part) for part in parts]
    except asyncio.CancelledError:
        await execute(parts[0])
        if flag:
            raise
        return "what?"


@flow(name="venture")
async def venture(tree: Tree) -> str:
    """Execute a random program; its result as text."""
    return repr(await execute(tree))
