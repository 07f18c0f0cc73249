"""Reads the submit log, the effect sink and the store by plain SQL, and says what was broken. Knows no engine."""

import json
from collections import Counter, defaultdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from .looking import connected

OK = 1


def lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a kill may have cut the last."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


class Snapshot:
    """What was recorded, and what had been seen of it outside, at one moment."""

    def __init__(self, folder: Path) -> None:
        self.effects = len(lines(folder / "sink"))
        self.recorded: dict[tuple[str, str], bytes] = {}
        if (folder / "segue.db").exists():
            db = connected(folder / "segue.db")
            if db.table_exists(None, "entries"):
                rows = db.execute("select run, step, output from entries where kind = ?", (OK,))
                self.recorded = {(run, step): output for run, step, output in rows}
            db.close()


def value(folder: Path, data: bytes) -> Any:
    """A stored value, in the journal or beside it."""
    if len(data) == 35 and data.startswith(b"\xc7\x20\x01"):
        digest = data[3:].hex()
        data = (folder / "segue.artifacts" / digest[:2] / digest[2:]).read_bytes()
        assert sha256(data).hexdigest() == digest
    return msgspec.msgpack.decode(data)


def problems(folder: Path, expected: dict[int, Any], moments: list[Snapshot]) -> list[str]:
    """Everything that is not as promised.

    Args:
        expected: the result of each run, by the number that it was submitted with.
        moments: one snapshot for each kill.
    """
    found: list[str] = []
    submitted, sink = lines(folder / "submits"), lines(folder / "sink")
    db = connected(folder / "segue.db")
    runs: dict[str, tuple[str, bytes | None]] = {
        id: (status, result) for id, status, result in db.execute("select id, status, result from runs")
    }
    for said in submitted:
        status, result = runs.get(said["run"], ("lost", None))
        if status == "lost":
            found.append(f"acknowledged run {said} is not in the store")
        elif status == "completed" and value(folder, result or b"") != expected[said["number"]]:
            found.append(f"run {said} has the result {value(folder, result or b'')!r:.100}")
    for id, (status, result) in runs.items():
        if status != "completed":
            found.append(f"run {id} is {status}: {result!r:.300}")
    found += [
        f"{run} has a gap in its journal"
        for (run,) in db.execute("select run from entries group by run having max(seq) + 1 != count(*)")
    ]
    found += [
        f"{run}/{step} ended twice"
        for run, step in db.execute(
            "select run, step from entries where kind in (1, 2, 3, 5) group by run, step having count(*) > 1"
        )
    ]
    now = Snapshot(folder)
    for moment in moments:
        for line in sink[moment.effects :]:
            if (line["run"], line["step"]) in moment.recorded:
                found.append(f"recorded step ran again: {line}")
        for step, output in moment.recorded.items():
            if now.recorded.get(step) != output:
                found.append(f"the recorded result of {step} changed")
    keys: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for line in sink:
        keys[line["run"], line["step"]].add(line["key"])
    found += [f"{step} has {len(of)} idempotency keys" for step, of in keys.items() if len(of) != 1]
    if len(set[str]().union(*keys.values())) != len(keys):
        found.append("two steps share an idempotency key")
    times = Counter((line["pid"], line["run"], line["step"], line["attempt"]) for line in sink)
    found += [f"an attempt ran {count} times in one life: {which}" for which, count in times.items() if count > 1]
    found += [f"integrity: {row}" for (row,) in db.execute("pragma integrity_check") if row != "ok"]
    left = next(iter(db.execute("select count(*) from workers")))[0]
    if left:
        found.append(f"{left} workers are still registered")
    db.close()
    return found
