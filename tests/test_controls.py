"""What stands between a step and its attempts: declared, and then at work on a loop whose time jumps."""

import asyncio
import gc
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from functools import wraps
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.errors import DeclarationError, SegueError
from segue.limits import Breaker, Hedge, Limits, Rate, as_breaker, as_concurrency, as_hedge, as_rate
from segue.runtime.controls import BreakerOpen, Control, control, controls, declare, hedged

# What is declared


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ("100/m", Rate(100, 60)),
        ("5/s", Rate(5, 1)),
        ("10/30s", Rate(10, 30)),
        ("1000/h", Rate(1000, 3600)),
        ("2/d", Rate(2, 86400)),
        ("1/1h30m", Rate(1, 5400)),
        ("3/0.5s", Rate(3, 0.5)),
        (" 100 / m ", Rate(100, 60)),
        (Rate(4, "1m"), Rate(4, timedelta(minutes=1))),
        (None, None),
    ],
)
def test_a_rate_is_a_count_and_a_time(given: Any, rate: Rate | None) -> None:
    assert as_rate(given) == rate


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("100", "'100' is not a rate; write a count and a time, such as '100/m' or '10/30s'"),
        ("100/", "'100/' is not a rate; write"),
        ("100/60", "'100/60' is not a rate; write"),
        ("/m", "'/m' is not a rate; write"),
        ("-5/s", "'-5/s' is not a rate; write"),
        ("1.5/s", "'1.5/s' is not a rate; write"),
        ("5/M", "'5/M' is not a rate; write"),
        ("9" * 5000 + "/s", "is not a rate; write"),
        (5, "5 is not a rate; write"),
        ("5/y", "'5/y' is not a rate: '1y' is not a duration"),
        ("5/..5s", "'5/..5s' is not a rate: '..5s' is not a duration"),
        ("0/s", "'0/s' is not a rate: the count of a rate is a number from 1 to 1,000,000,000, not 0"),
        ("5/0s", "'5/0s' is not a rate: the time of a rate is more than 0, not '0s'"),
    ],
)
def test_what_is_no_rate_is_refused(given: Any, said: str) -> None:
    with pytest.raises(DeclarationError, match=said.replace(".", r"\.")):
        as_rate(given)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Rate(0, 1), "the count of a rate is a number from 1 to 1,000,000,000, not 0"),
        (lambda: Rate(True, 1), "the count of a rate is .* not True"),
        (lambda: Rate(1, 0), "the time of a rate is more than 0, not 0"),
        (lambda: Rate(1, "soon"), "'soon' is not a duration"),
        (lambda: Breaker(failures=0), "failures is a number from 1 to 1,000,000,000, not 0"),
        (lambda: as_breaker("often"), "failures is a number from 1 to 1,000,000,000, not 'often'"),  # type: ignore[arg-type]
        (lambda: Breaker(within=0), "within is more than 0, not 0"),
        (lambda: Breaker(reset="0s"), "reset is more than 0, not '0s'"),
        (lambda: Breaker(reset=-1), "a duration is finite and not negative, not -1"),
        (lambda: Hedge(0), "the wait of a hedge is more than 0, not 0"),
        (lambda: Hedge(least=0), "least is a number from 1 to 200, not 0"),
        (lambda: Hedge(least=201), "least is a number from 1 to 200, not 201"),
        (lambda: as_hedge("soon"), "'soon' is not a duration"),
        (lambda: as_concurrency(0), "concurrency is a number from 1 to 1,000,000,000, not 0"),
        (lambda: as_concurrency(True), "concurrency is .* not True"),
        (lambda: as_concurrency(1.5), "concurrency is .* not 1.5"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_limit_is_refused_with_its_value(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        make()


def test_equal_limits_are_equal_however_they_are_written() -> None:
    assert Breaker(5, "1m", "30s") == Breaker(5, 60, timedelta(seconds=30)) == Breaker() == as_breaker(5)
    assert hash(Rate(100, "1m")) == hash(Rate(100, 60.0))
    assert as_breaker(None) is as_concurrency(None) is None
    assert as_concurrency(3) == 3


@pytest.mark.parametrize(
    ("given", "hedge"),
    [
        (None, None),
        (False, None),
        (True, Hedge()),
        ("2s", Hedge(2)),
        (1, Hedge(1)),
        (0.5, Hedge(0.5)),
        (Hedge(least=5), Hedge(None, 5)),
    ],
)
def test_a_hedge_is_written_in_several_ways(given: Any, hedge: Hedge | None) -> None:
    assert as_hedge(given) == hedge


# A loop whose time jumps to the next timer


class _Jump(selectors.SelectSelector):
    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits, and nothing will happen"
        self.now += max(0.0, timeout)
        return super().select(0)


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jump = _Jump()
        super().__init__(self.jump)

    def time(self) -> float:
        return self.jump.now


def jumping(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """An async test, on a loop whose time jumps."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now() -> float:
    return round(asyncio.get_running_loop().time() - 1000, 5)


async def later(seconds: float) -> None:
    """Let so much time pass on this loop, which takes none."""
    await asyncio.sleep(seconds)


async def settle() -> None:
    """Let everybody go as far as they get without time passing."""
    for _ in range(30):
        await asyncio.sleep(0)


def make(
    concurrency: int | None = None, rate: str | None = None, breaker: Breaker | None = None, name: str = "ocr"
) -> Control:
    return Control(name, Limits(concurrency, as_rate(rate), breaker), asyncio.get_running_loop().time)


class Entered:
    """Calls that want to enter a control, and the order in which they did."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.order: list[tuple[int, float]] = []
        self.eras: dict[int, int] = {}
        self._number = count()

    def call(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._enter(next(self._number)))

    async def _enter(self, number: int) -> None:
        self.eras[number] = await self.control.enter()
        self.order.append((number, now()))

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.order]


def step_through(coro: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that does not suspend."""
    with pytest.raises(StopIteration) as stop:
        coro.send(None)
    return stop.value.value


def test_entering_does_not_suspend_when_there_is_room() -> None:
    gate = Control("ocr", Limits(2, Rate(2, "1m"), Breaker()), lambda: 0.0)
    for _ in range(2):  # outside any loop: no future, no timer
        assert step_through(gate.enter()) == 0
    assert gate.state() == ("ocr", 2, 0, "closed", 0)
    for _ in range(2):
        gate.leave(True, 0)
    assert gate.state().running == 0


def test_a_control_without_limits_lets_everything_through() -> None:
    gate = Control("ocr", Limits())
    for _ in range(1000):
        step_through(gate.enter())
    gate.leave(False, 0)
    assert gate.state() == ("ocr", 999, 0, None, 0)


@jumping
async def test_so_many_run_at_once_and_the_others_follow_in_order() -> None:
    calls = Entered(make(concurrency=2))
    for _ in range(5):
        calls.call()
    await settle()
    assert calls.numbers == [0, 1]
    assert calls.control.state()[1:3] == (2, 3)
    calls.control.leave(True, 0)
    calls.call()
    await settle()
    assert calls.numbers == [0, 1, 2]
    for _ in range(2):
        calls.control.leave(True, 0)
    await settle()
    assert calls.numbers == [0, 1, 2, 3, 4]
    calls.control.leave(True, 0)
    await settle()
    assert calls.numbers == [0, 1, 2, 3, 4, 5]


@jumping
async def test_a_newcomer_does_not_overtake_one_whose_turn_has_come() -> None:
    calls = Entered(make(concurrency=1))
    calls.call()
    calls.call()
    await settle()
    task = asyncio.create_task(calls.control.enter())
    calls.control.leave(True, 0)  # the second one is told; the newcomer asks before it has gone
    await settle()
    assert calls.numbers == [0, 1]
    assert not task.done()
    calls.control.leave(True, 0)
    await task


@jumping
async def test_a_rate_lets_a_burst_through_and_then_one_for_each_token() -> None:
    calls = Entered(make(rate="3/6s"))
    await asyncio.gather(*(calls.call() for _ in range(6)))
    assert calls.order == [(0, 0), (1, 0), (2, 0), (3, 2), (4, 4), (5, 6)]


@jumping
async def test_a_timer_that_fires_a_hair_early_is_not_set_again_for_ever() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _JumpingLoop)
    loop.jump.now = 2.0**20  # where time comes in steps of 2 ** -32, and a token in 8388.4 of them
    gate = Control("ocr", Limits(rate=Rate(1, 8388.4 * 2**-32)), loop.time)
    await gate.enter()
    await gate.enter()
    assert 8388.4 * 2**-32 <= loop.time() - 2.0**20 < 4e-6


@jumping
async def test_waiting_for_the_rate_takes_no_place_and_waiting_for_a_place_no_token() -> None:
    calls = Entered(make(concurrency=1, rate="1/10s"))
    for _ in range(3):
        calls.call()
    await settle()
    assert calls.control.state()[1:3] == (1, 2)
    calls.control.leave(True, 0)
    await settle()
    assert calls.control.state()[1:3] == (0, 2)  # its token is still to come
    await later(30)
    assert calls.order == [(0, 0), (1, 10)]
    calls.control.leave(True, 0)
    await settle()
    assert calls.order[2:] == [(2, 30)]  # the token was there, and only one: the line had none of its own
    calls.call()
    calls.control.leave(True, 0)
    await later(20)
    assert calls.order[3:] == [(3, 40)]


# Cancelled at each point


@jumping
async def test_one_cancelled_in_the_middle_of_the_line_leaves_it() -> None:
    calls = Entered(make(concurrency=1))
    tasks = [calls.call() for _ in range(4)]
    await settle()
    tasks[2].cancel()
    await settle()
    assert calls.control.state()[1:3] == (1, 2)
    for _ in range(3):
        calls.control.leave(True, 0)
        await settle()
    assert calls.numbers == [0, 1, 3]
    assert calls.control.state()[1:3] == (0, 0)


@jumping
async def test_one_cancelled_after_its_turn_has_come_passes_it_on() -> None:
    calls = Entered(make(concurrency=1))
    tasks = [calls.call() for _ in range(4)]
    await settle()
    calls.control.leave(True, 0)
    tasks[1].cancel()
    await settle()
    assert calls.numbers == [0, 2]
    calls.control.leave(True, 0)
    tasks[3].cancel()
    await settle()
    assert calls.control.state()[1:3] == (0, 0)
    assert calls.call()
    await settle()
    assert calls.numbers == [0, 2, 4]


@jumping
async def test_one_cancelled_in_the_moment_before_its_turn_passes_it_on() -> None:
    calls = Entered(make(concurrency=1))
    tasks = [calls.call() for _ in range(3)]
    await settle()
    tasks[1].cancel()
    calls.control.leave(True, 0)  # the first in line has not noticed yet that it is cancelled
    await settle()
    assert calls.numbers == [0, 2]


@jumping
async def test_one_cancelled_while_it_waits_for_the_rate_takes_no_token() -> None:
    calls = Entered(make(rate="1/10s"))
    tasks = [calls.call() for _ in range(3)]
    await later(5)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert calls.order == [(0, 0), (2, 10)]
    task = calls.call()
    await settle()
    timer = calls.control._timer  # pyright: ignore[reportPrivateUsage]
    assert timer is not None
    task.cancel()
    await settle()
    assert timer.cancelled()
    await later(20)  # a token has come back meanwhile
    calls.call()
    await settle()
    assert calls.order[2:] == [(4, 30)]


@jumping
async def test_one_cancelled_after_its_token_has_come_leaves_it_to_the_next() -> None:
    gate = make(rate="1/10s")
    calls = Entered(gate)
    tasks = [calls.call() for _ in range(3)]
    await settle()
    asyncio.get_running_loop().call_later(10, tasks[1].cancel)  # after the control's own timer, in the same turn
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [False, True, False]
    assert calls.order == [(0, 0), (2, 10)]


# The circuit

TWICE = Breaker(failures=2, within=60, reset=30)


async def opened(**limits: Any) -> Control:
    gate = make(breaker=TWICE, **limits)
    for _ in range(2):
        gate.leave(False, await gate.enter())
    return gate


@jumping
async def test_an_open_circuit_refuses_at_once_and_says_for_how_long() -> None:
    gate = await opened(rate="2/h")  # which would not let it in either, but it is not to wait for that
    await later(10)
    with pytest.raises(
        BreakerOpen, match=r"^'ocr' is not called: its circuit is open. The next try is in 20.0 s$"
    ) as e:
        step_through(gate.enter())
    assert (e.value.control, e.value.retry_after) == ("ocr", 20)
    assert isinstance(e.value, SegueError)
    assert gate.state() == ("ocr", 0, 0, "open", 2)


@jumping
async def test_after_the_reset_one_call_decides() -> None:
    gate = await opened()
    await later(30)
    assert gate.state().breaker == "half-open"
    probe = await gate.enter()
    with pytest.raises(BreakerOpen) as refused:
        await gate.enter()
    assert refused.value.retry_after == 30
    gate.leave(False, probe)
    assert gate.state().breaker == "open"
    await later(30)
    gate.leave(True, await gate.enter())
    assert gate.state() == ("ocr", 0, 0, "closed", 0)
    await asyncio.gather(gate.enter(), gate.enter())


@jumping
async def test_a_cancelled_probe_lets_the_next_call_be_one() -> None:
    gate = await opened()
    await later(30)
    gate.leave(None, await gate.enter())
    assert gate.state().breaker == "half-open"
    gate.leave(True, await gate.enter())
    assert gate.state().breaker == "closed"


@jumping
async def test_a_call_from_before_the_circuit_opened_is_not_the_probe() -> None:
    gate = make(breaker=TWICE)
    old = [await gate.enter() for _ in range(4)]
    for era in old[:2]:
        gate.leave(False, era)
    await later(30)
    probe = await gate.enter()
    gate.leave(None, old[2])
    gate.leave(True, old[3])
    with pytest.raises(BreakerOpen):
        await gate.enter()
    gate.leave(True, probe)
    assert gate.state() == ("ocr", 0, 0, "closed", 0)


@jumping
async def test_those_in_line_are_refused_as_soon_as_the_circuit_opens() -> None:
    calls = Entered(make(concurrency=2, breaker=TWICE))
    tasks = [calls.call() for _ in range(6)]
    await settle()
    tasks[4].cancel()
    calls.control.leave(False, 0)  # the third one's turn comes, and before it goes the circuit opens
    calls.control.leave(False, 0)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends[2:]] == [BreakerOpen, BreakerOpen, asyncio.CancelledError, BreakerOpen]
    assert calls.control.state()[1:4] == (0, 0, "open")
    await later(30)
    assert await calls.control.enter() > 0


@jumping
async def test_one_that_is_refused_and_cancelled_is_cancelled() -> None:
    calls = Entered(make(concurrency=1, breaker=Breaker(failures=1)))
    tasks = [calls.call() for _ in range(5)]
    await settle()
    tasks[3].cancel()
    calls.control.leave(False, 0)
    tasks[1].cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    cancelled = asyncio.CancelledError
    assert [type(end) for end in ends[1:]] == [cancelled, BreakerOpen, cancelled, BreakerOpen]


@jumping
async def test_one_that_waits_has_not_taken_the_probe() -> None:
    calls = Entered(make(rate="1/100s", breaker=Breaker(failures=1, reset=30)))
    gate = calls.control
    gate.leave(False, await gate.enter())
    await later(30)
    tasks = [calls.call() for _ in range(3)]
    await settle()
    assert gate.state()[1:4] == (0, 3, "half-open")
    tasks[0].cancel()
    await settle()
    assert gate.state()[1:4] == (0, 2, "half-open")
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert calls.order == [(1, 100)]  # the first to go is the probe, and while it is under way the last is refused
    assert isinstance(ends[2], BreakerOpen)
    gate.leave(True, calls.eras[1])
    assert gate.state()[1:4] == (0, 0, "closed")


@jumping
async def test_thousands_in_line_are_refused_without_each_looking_at_all() -> None:
    calls = Entered(make(concurrency=1, breaker=Breaker(failures=1)))
    tasks = [calls.call() for _ in range(20_000)]
    await settle()
    calls.control.leave(False, 0)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(end, BreakerOpen) for end in ends) == 19_999


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["call", "call", "call", "ok", "fail", "stop", "cancel", "turn", "wait"]), st.integers(0, 9)
    ),
    max_size=60,
)


@given(st.none() | st.integers(1, 3), st.none() | st.sampled_from(["1/2s", "2/5s", "3/s"]), st.booleans(), ACTS)
@jumping
async def test_nothing_leaks_whatever_is_cancelled_when(
    concurrency: int | None, rate: str | None, breaks: bool, acts: list[tuple[str, int]]
) -> None:
    gate = make(concurrency, rate, Breaker(failures=2, within=5, reset=3) if breaks else None)
    calls = Entered(gate)
    tasks: list[asyncio.Task[None]] = []
    left: set[int] = set()
    for act, which in acts:
        inside = [number for number in calls.numbers if number not in left]
        if act == "call":
            tasks.append(calls.call())
        elif act == "cancel" and tasks:
            tasks[which % len(tasks)].cancel()
        elif act == "turn":
            await asyncio.sleep(0)
        elif act == "wait":
            await later(which / 2)
        elif act in ("ok", "fail", "stop") and inside:
            number = inside[which % len(inside)]
            left.add(number)
            gate.leave({"ok": True, "fail": False, "stop": None}[act], calls.eras[number])
        inside = [number for number in calls.numbers if number not in left]
        assert gate.state().running == len(inside) <= (concurrency or len(acts))
    # all who are in leave again, and then everybody gets in or is refused
    for _ in range(len(acts) + 1):
        await later(10)
        for number in [number for number in calls.numbers if number not in left]:
            left.add(number)
            gate.leave(True, calls.eras[number])
    assert all(task.done() for task in tasks)
    assert gate.state()[1:4] == (0, 0, gate.state().breaker)
    assert calls.numbers == sorted(calls.numbers)
    started = [at for _, at in calls.order]
    if (bucket := as_rate(rate)) is not None:
        for first in range(len(started)):
            for last in range(first, len(started)):
                most = bucket.count + (started[last] - started[first]) * bucket.count / bucket.per
                assert last - first + 1 <= most + 1e-3
    # nothing was lost: the next burst goes at once
    await later(1000)
    if breaks:
        gate.leave(True, await gate.enter())
        assert gate.state().breaker == "closed"
        await later(1000)
    before = now()
    for _ in range(min(concurrency or 9, bucket.count if bucket else 9)):
        await gate.enter()
    assert now() == before


# Shared by name


@jumping
async def test_one_name_is_one_control_on_each_loop() -> None:
    limits = Limits(2, as_rate("100/m"))
    first = control("gpu", limits)
    assert control("gpu", Limits(2, Rate(100, "60s"))) is first
    step = object()
    mine = control(step, Limits(1), "fetch")
    assert mine is control(step, Limits(1), "fetch")
    assert mine is not control(object(), Limits(1), "fetch")
    await mine.enter()
    assert [(state.name, state.running) for state in controls()] == [("gpu", 0), ("fetch", 1), ("fetch", 0)]


def test_loops_do_not_share_controls() -> None:
    async def gpu() -> Control:
        made = control("gpu", Limits(1))
        assert "gpu" in [state.name for state in controls()]
        return made

    first, second = asyncio.run(gpu()), asyncio.run(gpu())
    assert first is not second


@jumping
async def test_one_name_for_different_limits_is_refused() -> None:
    declare("tested", Limits(2))
    declare("tested", Limits(2))
    with pytest.raises(
        DeclarationError,
        match=r"^steps that share 'tested' declare it differently: concurrency is 2 and 3; "
        r"rate is None and Rate\(count=5, per=1.0\)$",
    ):
        declare("tested", Limits(3, as_rate("5/s")))
    control("tested", Limits(2))
    with pytest.raises(DeclarationError, match="concurrency is 2 and None"):
        control("tested", Limits())


# Hedged


class Requests:
    """What each request does in turn: after so many seconds, a value or an error."""

    def __init__(self, *plans: tuple[float, object]) -> None:
        self.plans = iter(plans)
        self.sent: list[float] = []
        self.ended: list[tuple[int, str]] = []

    async def __call__(self) -> object:
        number = len(self.sent)
        self.sent.append(now())
        takes, what = next(self.plans)
        try:
            await later(takes)
        except asyncio.CancelledError:
            await later(1)  # it takes a while to stop
            self.ended.append((number, f"cancelled at {now():g}"))
            raise
        self.ended.append((number, f"done at {now():g}"))
        if isinstance(what, BaseException):
            raise what
        return what


@pytest.mark.parametrize(
    ("plans", "value", "ended"),
    [
        ([(1, "a")], ("a", 1), ["done at 1"]),
        ([(0, "a")], ("a", 1), ["done at 0"]),
        ([(5, "a"), (10, "b")], ("a", 2), ["done at 5", "cancelled at 6"]),
        ([(50, "a"), (1, "b")], ("b", 2), ["cancelled at 4", "done at 3"]),
        ([(3, "a"), (1, "b")], ("a", 2), ["done at 3", "done at 3"]),
        ([(5, ValueError("a")), (10, "b")], ("b", 2), ["done at 5", "done at 12"]),
        ([(9, "a"), (1, ValueError("b"))], ("a", 2), ["done at 9", "done at 3"]),
        ([(9, asyncio.CancelledError()), (10, "b")], ("b", 2), ["done at 9", "done at 12"]),
    ],
)
@jumping
async def test_the_first_request_to_succeed_wins(
    plans: list[tuple[float, object]], value: tuple[object, int], ended: list[str]
) -> None:
    requests = Requests(*plans)
    assert await hedged(requests, 2) == value
    assert [end for _, end in sorted(requests.ended)] == ended
    assert requests.sent == [0, 2][: len(ended)]
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    ("plans", "error", "said"),
    [
        ([(1, ValueError("a"))], ValueError, "a"),
        ([(5, ValueError("a")), (10, KeyError("b"))], ValueError, "a"),
        ([(9, ValueError("a")), (1, KeyError("b"))], ValueError, "a"),
        ([(5, asyncio.CancelledError("a")), (10, KeyError("b"))], asyncio.CancelledError, ""),
    ],
)
@jumping
async def test_when_both_fail_the_error_is_that_of_the_first(
    plans: list[tuple[float, object]], error: type[BaseException], said: str
) -> None:
    requests = Requests(*plans)
    with pytest.raises(error) as raised:
        await hedged(requests, 2)
    assert said in str(raised.value)
    assert len(requests.ended) == len(plans)


@jumping
async def test_a_request_that_cannot_even_begin_has_failed() -> None:
    async def slow() -> str:
        await later(5)
        return "slow"

    def refuse() -> Awaitable[str]:
        raise OSError("no more connections")

    begins = iter([slow, refuse])
    assert await hedged(lambda: next(begins)(), 2) == ("slow", 2)
    with pytest.raises(OSError, match="no more connections"):
        await hedged(refuse, 2)


@pytest.mark.parametrize(
    ("at", "ended"), [(1, ["cancelled at 2"]), (2, ["cancelled at 3"]), (3, ["cancelled at 4", "cancelled at 4"])]
)
@jumping
async def test_cancelling_cancels_both_and_waits_for_their_ends(at: float, ended: list[str]) -> None:
    requests = Requests((50, "a"), (50, "b"))
    task = asyncio.create_task(hedged(requests, 2))
    asyncio.get_running_loop().call_later(at, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [end for _, end in sorted(requests.ended)] == ended
    assert len(requests.sent) == len(ended)
    assert len(asyncio.all_tasks()) == 1


@jumping
async def test_one_cancelled_before_it_began_sends_nothing() -> None:
    requests = Requests((50, "a"))
    task = asyncio.create_task(hedged(requests, 2))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert requests.sent == []


@jumping
async def test_cancelling_while_the_loser_stops_waits_for_it_all_the_same() -> None:
    requests = Requests((50, "a"), (1, "b"))
    task = asyncio.create_task(hedged(requests, 2))
    asyncio.get_running_loop().call_later(3.5, task.cancel)  # "b" came at 3, "a" would end at 4
    with pytest.raises(asyncio.CancelledError):
        await task
    assert now() == 3.5  # cancelled a second time, it stops at once
    assert len(asyncio.all_tasks()) == 1


@jumping
async def test_a_loser_that_fails_while_it_stops_is_not_heard() -> None:
    async def stubborn() -> str:
        try:
            await later(50)
        except asyncio.CancelledError:
            raise ValueError("while stopping") from None
        return "never"

    async def quick() -> str:
        return "quick"

    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    begins = iter([stubborn, quick])
    assert await hedged(lambda: next(begins)(), 2) == ("quick", 2)
    gc.collect()
    assert heard == []


@jumping
async def test_a_timeout_around_it_ends_both() -> None:
    requests = Requests((50, "a"), (50, "b"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(4):
            await hedged(requests, 2)
    assert sorted(requests.ended) == [(0, "cancelled at 5"), (1, "cancelled at 5")]
