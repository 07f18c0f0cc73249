"""From a URL to a store."""

from pathlib import Path
from urllib.parse import parse_qsl

from segue.errors import DeclarationError
from segue.stores.base import Store


def open_url(url: str) -> Store:
    """The store that a URL names: ``sqlite:PATH``, ``sqlite:PATH?durability=process``, ``memory:``, or a bare path.

    Raises:
        DeclarationError: no store is named like that.
    """
    from segue.stores.sqlite import SqliteStore  # apsw is slow to load, and not every command needs a store

    address, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    durability = options.pop("durability", "disk")
    if options:
        raise DeclarationError(
            f"store {url!r}: {', '.join(options)} is not an option; there is durability=disk|process"
        )
    if durability not in ("disk", "process"):
        raise DeclarationError(f"store {url!r}: durability is 'disk' or 'process', not {durability!r}")
    if address == "memory:":
        return SqliteStore(None)
    kind, colon, path = address.partition(":")
    if colon and kind == "sqlite":
        path = path.removeprefix("//")
    elif colon and len(kind) > 1:
        raise DeclarationError(f"store {url!r}: there is no {kind!r} store; there are sqlite:PATH and memory:")
    else:
        path = address
    if not path:
        raise DeclarationError(f"store {url!r} names no file: sqlite:PATH")
    return SqliteStore(Path(path).expanduser().resolve(), durability=durability)
