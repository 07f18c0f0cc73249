"""The thread that keeps a worker's lease, whatever its event loop is busy with, and watches that loop.

It renews the lease, takes over from workers that died, and throws an error into a flow's code that has not given the
loop back for too long: such a flow would stop every other run of the process.
"""

import asyncio
import ctypes
import logging
import threading
import time
from collections.abc import Callable

from segue.errors import SegueError, StoreError
from segue.stores.base import Lost, Store

log = logging.getLogger("segue")

LEASE = 15.0
"""Seconds after which a worker that does not renew is taken for dead."""

PATIENCE = 10.0
"""Seconds that a flow's code may run between two awaits."""


class NeverAwaits(SegueError):
    """A flow's code kept the event loop too long. Work belongs in steps; a flow awaits them."""

    def __init__(self) -> None:
        super().__init__(
            f"the flow's own code ran for more than {PATIENCE:g} s without an await, and held up every other run of "
            "this process. Put the work into a step"
        )


class Stopwatch:
    """Which thread is inside a flow's code, and since when."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._thread = 0
        self._thrown = False

    def start(self) -> None:
        """A flow's code is about to run on this thread."""
        self._thread = threading.get_ident()
        self._since = time.monotonic()

    def stop(self) -> bool:
        """It has given the loop back. True: an error was thrown into it meanwhile."""
        since, self._since = self._since, None
        if not self._thrown and (since is None or time.monotonic() - since < PATIENCE / 2):
            return False  # too early for the other thread to have thrown anything
        with self._lock:
            thrown, self._thrown = self._thrown, False
            if thrown:  # it may not have arrived yet: take it back, or it would hit whatever runs next
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), None)
        return thrown

    def check(self) -> None:
        """Called from the other thread: throw, if it has taken too long."""
        with self._lock:
            since = self._since
            if since is not None and time.monotonic() - since > PATIENCE:
                self._thrown = True
                self._since = time.monotonic()  # again after as long: its code may have caught this one
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(NeverAwaits))


class Lease:
    """Keeps one worker registered, on a thread of its own.

    Args:
        store: a connection of its own.
        lost: called on that thread when the worker turns out to be swept.
        swept: called on that thread with the runs taken from other workers.
        alive: whether the engine's loop still exists; when it does not, the lease ends.
    """

    def __init__(
        self,
        store: Store,
        worker: str,
        *,
        lost: Callable[[], None],
        swept: Callable[[list[Lost]], None],
        alive: Callable[[], bool],
        watch: Stopwatch,
        length: float = LEASE,
        sweeps: bool = True,
    ) -> None:
        self.store, self.worker, self.length = store, worker, length
        self._lost, self._swept, self._alive, self._watch = lost, swept, alive, watch
        self._sweeps = sweeps
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="segue-lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing. The worker stays registered until it leaves or lapses."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(5)

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._keep())

    async def _opened(self) -> bool:
        try:
            await self.store.open()
        except StoreError as error:
            log.warning("the lease of %s could not be renewed yet: %s", self.worker, error)
            return False
        return True

    async def _keep(self) -> None:
        while not await self._opened():
            if self._stop.wait(min(0.5, self.length / 6)):
                return
        renew_at = sweep_at = time.monotonic()
        while True:
            if not self._alive():
                await self.store.leave(self.worker)
                break
            now = time.monotonic()
            try:
                if now >= renew_at:
                    renew_at = now + self.length / 3
                    if not await self.store.renew(self.worker, self.length):
                        self._lost()
                        break
                if self._sweeps and now >= sweep_at:
                    sweep_at = now + min(1.0, self.length / 3)
                    if lost := await self.store.sweep(self.worker):
                        self._swept(lost)
            except StoreError as error:
                renew_at = now + min(1.0, self.length / 10)
                log.warning("the lease of %s could not be renewed yet: %s", self.worker, error)
            self._watch.check()
            if self._stop.wait(min(0.5, self.length / 6)):
                break
        await self.store.close()
