"""Holds the store's write lock between two orders, as a backup tool or another program would: without our flock."""

import sys
from pathlib import Path

from .looking import connected

if __name__ == "__main__":
    for line in sys.stdin:
        if line == "lock\n":
            db = connected(Path(sys.argv[1]))
            db.execute("begin immediate")
            print("locked", flush=True)
        else:
            db.execute("commit")  # pyright: ignore[reportPossiblyUnboundVariable]
            print("unlocked", flush=True)
