"""Steps that run in processes of their own: what is imported there must be quick to import."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import segue
from segue import File, Permanent, Retry, step


@dataclass
class Job:
    count: int
    folder: Path


@step(process=True)
def pid() -> int:
    return os.getpid()


@step(process=True)
def typed(job: Job) -> dict[str, int | str]:
    return {"count": job.count + 1, "folder": str(job.folder)}


@step(process=True)
def fails() -> None:
    raise ValueError("not today")


@step(process=True)
def dies() -> None:
    os._exit(7)


@step(process=True, timeout=3)
def hangs(folder: str) -> None:
    Path(folder, "pid").write_text(str(os.getpid()))
    threading.Event().wait()


@step(process=True, retry=Retry(2, backoff=0, on=OSError))
def fails_with(kind: str) -> None:
    segue.log.info("about to fail")
    raise {"connection": ConnectionError, "value": ValueError, "permanent": Permanent}[kind](kind)


@step(process=True)
def knows() -> list[str]:
    run = segue.current_run()
    return [run.id, run.flow, str(run.step), str(run.attempt), segue.idempotency_key()]


@step(process=True)
def saves(folder: str) -> File:
    path = Path(folder, "made.txt")
    path.write_text("madehere")
    return File.save(path)
