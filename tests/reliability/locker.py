"""Holds the store's write lock between two orders, as a backup tool or another program would: without our flock."""

import sys

import apsw

if __name__ == "__main__":
    for line in sys.stdin:
        if line == "lock\n":
            db = apsw.Connection(sys.argv[1])
            db.set_busy_timeout(10_000)
            db.execute("begin immediate")
            print("locked", flush=True)
        else:
            db.execute("commit")  # pyright: ignore[reportPossiblyUnboundVariable]
            print("unlocked", flush=True)
