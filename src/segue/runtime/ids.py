"""Ids of runs and workers: random, and ordered by time."""

import hashlib
import os
import time

from segue.errors import UsageError

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letters to mistake
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
_SHIFTS = tuple(range(120, -10, -10))


def new_id() -> str:
    """An id as ULIDs are: 48 bits of time in milliseconds, 80 of randomness, 26 characters."""
    number = (time.time_ns() // 1_000_000) << 82 | int.from_bytes(os.urandom(10)) << 2
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


def short_id(digest: bytes) -> str:
    """The 60 leading bits of a hash, in 12 characters that can be read out."""
    number = int.from_bytes(digest[:8]) >> 4
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(50, -10, -10)])


def child_id(run: str, step: str, fresh: int = 0) -> str:
    """The id of a child run, unless its flow was called with another one.

    Args:
        fresh: how often a redrive of its parent has made it another run.
    """
    key = f"{run}\0{step}\0again {fresh}" if fresh else f"{run}\0{step}"
    return f"{run[:40]}.{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}"


def worker_id() -> str:
    """The name of one start of one engine."""
    return f"{os.uname().nodename}:{os.getpid()}:{os.urandom(4).hex()}"


def checked(id: str) -> str:
    """An id that the caller chose.

    Raises:
        UsageError: it is empty, longer than 200 characters, or has characters that do not print.
    """
    if not isinstance(id, str) or not id or len(id) > 200 or not id.isprintable() or not id.isascii():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"a run's id is 1 to 200 printable ASCII characters, not {id!r:.220}")
    return id
