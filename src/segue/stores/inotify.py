"""A file descriptor that is readable once a file was written to: Linux's inotify(7), which Python has no call for."""

import ctypes
import os
from pathlib import Path

_MODIFIED = 0x2  # IN_MODIFY, as in <sys/inotify.h>


def watch(file: Path) -> int | None:
    """A descriptor to read and throw away when it is readable, and to close. None: this system has no such thing."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, AttributeError):
        return None
    if descriptor < 0:
        return None
    if libc.inotify_add_watch(descriptor, os.fsencode(file), _MODIFIED) < 0:
        os.close(descriptor)
        return None
    return descriptor
