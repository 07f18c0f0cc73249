"""``files``: a file that was put into a folder starts a run.

A file counts once it has stood still between two looks. The run's id is made of its name, size and time: whoever looks
after a crash finds the run that is there.
"""

import asyncio
import errno
import logging
import os
import stat
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from segue.errors import Conflict, DeclarationError, OwnKey, QueueFull, StoreError, Unstorable, UsageError
from segue.files import File
from segue.policies import Duration, seconds
from segue.runtime.threads import Pool
from segue.runtime.tickets import Options
from segue.stores.base import Query
from segue.triggers.webhooks import digest_of, made_reject, specs_of

if TYPE_CHECKING:
    from segue.runtime.engine import Engine
    from segue.runtime.spec import FlowSpec

log = logging.getLogger("segue")

MOST = 100_000
"""Files of one pattern that are looked at; the others wait until some are gone."""


@dataclass(frozen=True, slots=True)
class Files:
    """See ``files``."""

    pattern: str
    every: float

    def problem(self, spec: "FlowSpec") -> str:
        """Why it cannot start this flow; nothing if it can."""
        try:
            kind = spec.event.kind
        except UsageError as error:
            return str(error)
        except (DeclarationError, ValueError):  # an annotation names what is defined further down
            return ""
        if kind in (File, str, Path, Any):
            return ""
        return f"a file comes as File, Path or str, and the flow takes {getattr(kind, '__name__', kind)}"


def files(pattern: str, *, every: Duration = "1s") -> Files:
    """Start a run for each file that a pattern fits, once the file is no longer written to.

    The flow takes a ``File``, whose content is kept with the run, or a ``Path`` or ``str``: the file's place relative
    to the project's folder. Links are not followed.

    Args:
        pattern: such as ``"inbox/*.pdf"``, from the project's folder.
        every: how often to look.

    Raises:
        DeclarationError: the pattern leads out of the project's folder, or one is never to look.

    >>> @flow(on=[files("inbox/*.pdf")])
    ... async def read(document: File) -> None: ...
    """
    if not isinstance(pattern, str) or not pattern or "\0" in pattern:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"files: a pattern is text such as 'inbox/*.pdf', not {pattern!r:.80}")
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise DeclarationError(f"files({pattern!r:.80}): a pattern stays within the project's folder")
    if any("**" in part and part != "**" for part in path.parts):
        raise DeclarationError(f"files({pattern!r:.80}): ** is a part of a path by itself, as in 'inbox/**/*.pdf'")
    if seconds(every) <= 0:
        raise DeclarationError(f"files({pattern!r:.80}): every is more than nothing")
    return Files(pattern, seconds(every))


class _Stamp(NamedTuple):
    """What tells whether a file is still the same."""

    device: int
    inode: int
    size: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> "_Stamp":
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class _Bad(Exception):
    """A file that cannot be taken, and will not be."""


class _Moving(Exception):
    """It is not what it was a moment ago."""


class Folder:
    """The files of one trigger, for one flow.

    Args:
        root: the project's folder.
    """

    def __init__(self, engine: "Engine", spec: "FlowSpec", trigger: Files, root: Path, pool: Pool) -> None:
        self.engine, self.spec, self.trigger, self.pool = engine, spec, trigger, pool
        self.root = root.resolve()
        self.kind = spec.event.kind
        self._seen: dict[str, _Stamp] = {}
        self._dealt: dict[str, _Stamp] = {}

    async def look(self) -> int:
        """Start runs for what has stood still since the last look. Gives how many files were dealt with.

        Raises:
            QueueFull, StoreError: some have to wait; the next look finds them again.
        """
        found = await self.pool.submit(self._scan)
        before, self._seen = self._seen, found
        self._dealt = {name: stamp for name, stamp in self._dealt.items() if found.get(name) == stamp}
        dealt, trouble = 0, None
        for name, stamp in found.items():
            if before.get(name) != stamp or name in self._dealt:
                continue
            try:
                await self._take(name, stamp)
            except _Moving:
                continue
            except StoreError as error:  # it may be of this one alone
                trouble = error
                continue
            self._dealt[name] = stamp
            dealt += 1
        if trouble is not None:
            raise trouble
        return dealt

    def _scan(self) -> dict[str, _Stamp]:
        found: dict[str, _Stamp] = {}
        with suppress(OSError):
            for path in islice(self.root.glob(self.trigger.pattern), MOST):
                with suppress(OSError):
                    state = path.lstat()
                    if not stat.S_ISDIR(state.st_mode):
                        found[str(path.relative_to(self.root))] = _Stamp.of(state)
        return found

    async def _take(self, name: str, stamp: _Stamp) -> None:
        source = f"file {name}"
        id = digest_of(self.spec.name, self.trigger.pattern, name, str(stamp.size), str(stamp.changed))
        run = f"file-{id}"
        if await self.engine.store.find(Query(id=run)):
            return
        try:
            event = await self.pool.submit(lambda: self._read(name, stamp))
            await self.engine.launch(self.spec, self.spec.taking(event), {}, Options(id=run), wait=True)
        except (_Bad, Conflict, Unstorable, OwnKey, UsageError) as error:
            if not self.engine.is_open:
                raise _Moving from None
            log.warning("file %r cannot be taken: %s; see: segue rejects", name, error)
            await self.engine.store.reject(made_reject(source, str(error), self.spec.name, run, b"", stamp.size))

    def _read(self, name: str, stamp: _Stamp) -> Any:
        path = self.root / name
        try:
            name.encode()
        except UnicodeEncodeError:
            raise _Bad("its name is not UTF-8") from None
        try:
            return self._opened(name, path, stamp)
        except FileNotFoundError:
            raise _Moving from None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # ours, not the file's
                raise StoreError(f"{name!r} cannot be opened now: {error.strerror}") from None
            raise _Bad(f"it cannot be read: {error.strerror}") from None

    def _opened(self, name: str, path: Path, stamp: _Stamp) -> Any:
        if stat.S_ISLNK(path.lstat().st_mode):
            raise _Bad("it is a symbolic link; those are not followed")
        if path.resolve() != path:
            raise _Bad("a folder on its way is a symbolic link; those are not followed")
        if not stat.S_ISREG(path.lstat().st_mode):
            raise _Bad("it is no regular file")
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if _Stamp.of(os.fstat(handle)) != stamp:
                raise _Moving
            if self.kind is not File:
                return path.relative_to(self.root) if self.kind is Path else name
            with open(handle, "rb", closefd=False) as file:
                digest = self.engine.artifacts.put_open(file)
            if _Stamp.of(os.fstat(handle)) != stamp:
                raise _Moving
            return File(digest, path.name, stamp.size)
        finally:
            os.close(handle)


async def _watch(folder: Folder) -> None:
    trouble = ""
    while True:
        try:
            await folder.look()
            trouble = ""
        except (QueueFull, StoreError) as error:
            if str(error) != trouble:  # said once, however long it lasts
                trouble = str(error)
                log.warning("files(%r) wait: %s", folder.trigger.pattern, error)
        except Exception:
            log.exception("a defect in Segue: files(%r) could not be looked at", folder.trigger.pattern)
        await asyncio.sleep(folder.trigger.every)


@asynccontextmanager
async def watching(engine: "Engine", flows: Collection[Any], root: Path) -> AsyncGenerator[list[Folder], None]:
    """Watch for the files of some flows, until the block is left.

    Args:
        flows: those without ``files`` do not matter.
        root: the project's folder, from which patterns count.
    """
    found = [(spec, trigger) for spec in specs_of(flows) for trigger in spec.on if isinstance(trigger, Files)]
    pool = Pool("segue-files", max(1, min(4, len(found))))
    folders = [Folder(engine, spec, trigger, root, pool) for spec, trigger in found]
    tasks = [asyncio.create_task(_watch(folder)) for folder in folders]
    try:
        yield folders
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        pool.close()
