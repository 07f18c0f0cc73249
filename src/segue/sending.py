"""What can be sent to a run by its id, wherever it executes: a signal, the wish that it be cancelled."""

import secrets
from typing import Any

from segue.core.branches import SIGNAL
from segue.core.lifecycle import Status
from segue.errors import Failure, RunEnded, UnknownRun, UsageError
from segue.naming import check_name
from segue.runtime.redrives import Deed, pack_deed
from segue.stores.base import Mail, Receipt, Store
from segue.values import encode

LARGEST = 1 << 20
"""Bytes that a signal or an answer may take."""


async def send_signal(store: Store, run: str, name: str, value: Any, *, once: str | None = None) -> bool:
    """Send a signal to a run. False: one of this ``once`` was sent before.

    Raises:
        RunEnded: it has ended already.
        UnknownRun: there is no such run.
        Unstorable, UsageError: the value cannot be sent.
    """
    own = once if once is not None else secrets.token_hex(16)
    receipt = await store.send(Mail(run, f"{SIGNAL}{name}:{own}", f"{SIGNAL}{name}", _as_signal(name, value)))
    if not receipt.ok and receipt.first is None:
        raise _refused(store, run, receipt, f"signal {name!r} was not sent")
    return receipt.ok


async def cancel_run(store: Store, run: str, *, by: str = "", why: str = "") -> Status:
    """Have a run cancelled. Gives how it stands: ``cancelled`` if that has come true, as where it had not begun.

    Raises:
        RunEnded: it has ended already.
        UnknownRun: there is no such run.
    """
    said = (f"cancelled by {by}" if by else "cancelled") + (f": {why}" if why else "")
    unbegun = encode(Failure("RunCancelled", said), "failure")
    receipt = await store.send(Mail(run, "cancel", "cancel", pack_deed(Deed(by, why))), unbegun=unbegun)
    status = receipt.status
    if status is None or (status.terminal and status is not Status.CANCELLED):
        raise _refused(store, run, receipt, "it was not cancelled")
    return status


def _refused(store: Store, run: str, receipt: Receipt, what: str) -> Exception:
    if receipt.status is None:
        return UnknownRun(f"no run has the id {run!r} in {store.url}: {what}")
    return RunEnded(f"run {run} has ended already ({receipt.status}): {what}. To see it: segue show {run}")


def _as_signal(name: str, value: Any) -> bytes:
    """The body of the mail that brings a signal.

    Raises:
        UsageError: the value is too large to be sent; it says what to do instead.
        Unstorable: it cannot be sent at all.
    """
    data = encode(value, f"signal {check_name('signal', name)!r}")
    if len(data) > LARGEST:
        raise UsageError(
            f"signal {name!r} takes {len(data):,} bytes, and {LARGEST:,} may be sent: send a segue.File, or an id"
        )
    return data
