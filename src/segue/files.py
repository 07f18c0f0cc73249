"""``File``: a file that steps pass on, without copying it."""

from pathlib import Path

import msgspec

from segue.errors import UsageError
from segue.runtime.context import HERE
from segue.stores.artifacts import Artifacts


class File(msgspec.Struct, frozen=True):
    """A file in the artifact store, known by what it holds. Steps take and return it; its bytes stay where they are.

    Attributes:
        sha256: the hash of its content.
        name: what to call it, such as ``"clip.mp4"``.
        size: in bytes.

    >>> @step
    ... def extract(video: File) -> File:
    ...     with tempfile.TemporaryDirectory() as folder:
    ...         run_ffmpeg(video.path, wav := Path(folder, "audio.wav"))
    ...         return File.save(wav)
    """

    sha256: str
    name: str
    size: int

    @classmethod
    def save(cls, path: str | Path, name: str | None = None) -> "File":
        """Put a finished file into the artifact store of the run.

        Args:
            path: the file. It is copied; what happens to it afterwards does not matter.
            name: what to call it; by default its own name.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it cannot be written.
        """
        source = Path(path)
        return cls(_artifacts().put_file(source), name if name is not None else source.name, source.stat().st_size)

    @property
    def path(self) -> Path:
        """Where the content is: read it, do not write it. It has no extension; ``name`` has."""
        return _artifacts().path(self.sha256)

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            CorruptRecord: it is gone, or not what was saved.
        """
        return _artifacts().get(self.sha256)


def _artifacts() -> Artifacts:
    here = HERE.get()
    if here is not None:
        return here.artifacts
    return default_artifacts()


def default_artifacts() -> Artifacts:
    """The artifact store beside the open engine's store, or the one that is used when none is named."""
    from segue.runtime.default import entered
    from segue.runtime.settings import default_store
    from segue.stores.sqlite import SqliteStore
    from segue.stores.urls import open_url

    if (engine := entered()) is not None:
        return engine.artifacts
    store = open_url(default_store())
    if not isinstance(store, SqliteStore) or store.path is None:
        raise UsageError("outside a run, a File needs an open engine or a store on disk to be found in")
    return Artifacts.beside(store.path)
