"""Which processes of this machine are alive, told apart from later ones that got the same id."""

import os
from pathlib import Path


def machine() -> str:
    """This boot of this machine and this process namespace: where a process id means what it says."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        return f"{boot.read_text().strip()}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def birth(pid: int) -> int:
    """When a process began, in ticks since boot; 0 if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in ("Z", "X") else int(fields[19])
