"""Virtual time: it jumps when nothing else can run, stands still for what is real, and never hangs."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from segue.runtime.threads import Pool
from segue.testing import Deadlock, VirtualLoop, run_virtual
from segue.testing import clock as clocks


def loop() -> VirtualLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


def test_a_week_takes_no_time_and_comes_to_the_second() -> None:
    async def week() -> float:
        began = loop().time()
        await asyncio.sleep(604800)
        assert loop().wall() == loop().time()
        return loop().time() - began

    began = time.perf_counter()
    assert run_virtual(week()) == 604800.0
    assert time.perf_counter() - began < 1


def test_it_begins_where_it_is_told() -> None:
    async def shown() -> float:
        return loop().wall()

    assert run_virtual(shown()) == 1767225600.0  # 2026-01-01
    assert run_virtual(shown(), start=5.0) == 5.0


@pytest.mark.parametrize("start", [0.0, 1.0, 1767225600.0, 2.0**31 - 1, 1e11])
def test_timers_fire_in_order_at_their_time_wherever_time_stands(start: float) -> None:
    fired: list[tuple[float, float]] = []

    async def wait(length: float) -> None:
        due = loop().time() + length
        await asyncio.sleep(length)
        fired.append((due, loop().time()))

    async def main() -> None:
        await asyncio.gather(*[wait(length) for length in (3, 1e-7, 0.1, 7, 0.1 + 0.2, 86400 * 365 * 3, 7)])

    run_virtual(main(), start=start)
    assert all(due == at for due, at in fired)
    assert [at for _, at in fired] == sorted(at for _, at in fired)


def test_a_timeout_ends_what_takes_longer() -> None:
    async def main() -> float:
        began = loop().time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(90):
                await asyncio.sleep(3600)
        return loop().time() - began

    assert run_virtual(main()) == 90


def test_time_stands_still_for_a_thread() -> None:
    async def main() -> tuple[float, float]:
        gate = threading.Event()
        began = loop().time()
        sleeper = asyncio.create_task(asyncio.sleep(3600))
        threading.Timer(0.02, gate.set).start()
        await asyncio.to_thread(gate.wait)
        between = loop().time() - began
        await sleeper
        return between, loop().time() - began

    assert run_virtual(main()) == (0, 3600)


def _by_pool() -> Callable[[Callable[[], int]], "asyncio.Future[int]"]:
    return Pool("test", 4).submit


def _by_executor() -> Callable[[Callable[[], int]], "asyncio.Future[int]"]:
    executor = ThreadPoolExecutor(4)
    return lambda work: asyncio.get_running_loop().run_in_executor(executor, work)


def _by_wrapping() -> Callable[[Callable[[], int]], "asyncio.Future[int]"]:
    executor = ThreadPoolExecutor(4)
    return lambda work: asyncio.wrap_future(executor.submit(work))


@pytest.mark.parametrize("way", [_by_pool, _by_executor, _by_wrapping])
def test_threads_answer_in_the_order_in_which_they_were_asked(
    way: Callable[[], Callable[[Callable[[], int]], "asyncio.Future[int]"]],
) -> None:
    order: list[int] = []
    later = [threading.Event() for _ in range(4)]

    def work(n: int) -> int:
        if n:
            later[n - 1].set()  # each ends before the one that was asked before it can
        if n < 3:
            later[n].wait(10)
        return n

    async def one(submit: Callable[[Callable[[], int]], "asyncio.Future[int]"], n: int) -> None:
        order.append(await submit(lambda: work(n)))

    async def main() -> None:
        submit = way()
        await asyncio.gather(*[one(submit, n) for n in range(4)])

    run_virtual(main())
    assert order == [0, 1, 2, 3]


def test_a_job_that_nobody_waits_for_holds_nothing_up() -> None:
    gate = threading.Event()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await Pool("test", 1).submit(gate.wait)
        await asyncio.sleep(3600)

    run_virtual(main())
    gate.set()


def test_a_thread_that_takes_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "PATIENCE", 0.05)
    gate = threading.Event()

    def never() -> None:
        gate.wait()

    async def main() -> None:
        await Pool("test", 1).submit(never)

    with pytest.raises(
        Deadlock, match=r"deadlock: virtual time stands still .* test-1 at .*test_clock.py:\d+ in never"
    ):
        run_virtual(main())
    gate.set()


def test_nothing_left_to_wait_for_is_said_and_not_waited_for() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"deadlock: nothing is left that could run: .* at .*test_clock.py:\d+ in main"):
        run_virtual(main())


def test_whoever_asks_learns_of_stillness_instead() -> None:
    async def main() -> float:
        began = loop().time()
        sleeper = asyncio.create_task(asyncio.sleep(60))
        waiter = asyncio.create_task(asyncio.Event().wait())
        await loop().stillness()
        assert sleeper.done()
        assert not waiter.done()
        return loop().time() - began

    assert run_virtual(main()) == 60


def test_settled_is_when_nothing_more_happens_at_this_moment() -> None:
    done: list[str] = []

    async def work() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        await asyncio.to_thread(done.append, "thread")
        done.append("now")
        await asyncio.sleep(0.001)
        done.append("later")

    async def main() -> None:
        task = asyncio.create_task(work())
        await loop().settled()
        assert done == ["thread", "now"]
        await task

    run_virtual(main())


def test_what_polls_for_ever_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "MOST_JUMPS", 1000)

    async def poll() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(60)

    with pytest.raises(Deadlock, match=r"moved 1,000 times and it is 2026-01-01 16:40:00: .* in poll"):
        run_virtual(poll())


def test_tasks_that_are_left_are_cancelled_as_asyncio_run_does() -> None:
    ended: list[str] = []

    async def left() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append("left")

    async def main() -> str:
        task = asyncio.create_task(left())
        await asyncio.sleep(10)
        return task.get_name()

    assert run_virtual(main())
    assert ended == ["left"]


def test_an_executor_of_the_loop_is_shut_down() -> None:
    async def main() -> int:
        return await asyncio.to_thread(int, "7")

    assert run_virtual(main()) == 7


def test_subprocesses_are_waited_for_really() -> None:
    async def main() -> bytes:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print('out')", stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(0.001):  # virtual: it does not pass while the process is at work
            out, _ = await child.communicate()
        return out

    assert run_virtual(main()) == b"out\n"


def test_a_connection_without_news_is_taken_for_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "QUIET", 0.01)

    async def main() -> bytes:
        mine, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=mine)
        with theirs:
            await asyncio.sleep(604800)
            theirs.send(b"hello\n")
            async with asyncio.timeout(5):
                said = await reader.readline()
            writer.close()
            await writer.wait_closed()
        return said

    assert run_virtual(main()) == b"hello\n"


def test_a_killed_loop_runs_nothing_any_more_not_even_finally() -> None:
    ended: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.append("finally")

    async def main() -> None:
        here = loop()
        here.call_later(0.5, here.halt)
        await asyncio.gather(body(), body())

    dying = VirtualLoop()
    task = dying.create_task(main())
    with pytest.raises(RuntimeError, match="stopped before"):
        dying.run_until_complete(task)
    dying.kill()
    del task
    assert ended == []
    assert dying.is_closed()
