"""``segue prune``: deleting runs that ended long ago, and the artifacts that nothing refers to."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from segue.cli.options import json_output, with_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from segue.stores.pruning import Order, Pruned, Pruner

STATUSES = ["completed", "cancelled", "discarded", "failed", "merged", "expired"]


@click.command(short_help="Delete runs that ended long ago, and what belongs to them.")
@click.option("--older-than", required=True, metavar="AGE", help="Runs that ended longer ago, such as 30d or 12h.")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(STATUSES),
    help="Only runs that ended so; may be repeated. Default: all but failed.",
)
@click.option("--flow", metavar="NAME", help="Only runs of this flow, with those that they called.")
@click.option("--values", is_flag=True, help="Also kept values that are that old.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@json_output
@with_store
def prune(
    older_than: str,
    status: tuple[str, ...],
    flow: str | None,
    values: bool,
    dry_run: bool,
    as_json: bool,
    store: str | None,
) -> None:
    """Delete runs that ended long ago, with their journals, and artifacts that nothing refers to any more.

    A run goes with all the runs that it called, once each of them has ended that long ago. One that failed stays until
    somebody has discarded it, or --status failed. Workers may go on meanwhile; Ctrl-C leaves what is not deleted yet.
    """
    from segue.errors import UsageError
    from segue.retention import SHORTEST, described
    from segue.stores.pruning import USUAL, Order

    if flow is not None and values:
        raise UsageError("kept values belong to no flow: give --values without --flow")
    age = _seconds(older_than)
    if age < SHORTEST:
        raise UsageError(f"--older-than is {SHORTEST:g} s or more: whoever waits for a run's end must still find it")
    with _stoppable() as stopped, _shown(dry_run) as told:
        pruner = _pruner(store, told, stopped)
        _prune(pruner, Order(pruner.clock() - age, status or USUAL, flow, values), dry_run)
        whole = not stopped()
    if as_json:
        from segue.cli.text import as_text

        click.echo(as_text({**pruner.pruned._asdict(), "dry_run": dry_run, "complete": whole}))
    else:
        click.echo(f"{'would delete' if dry_run else 'deleted'} {described(pruner.pruned)}")
    if not whole:
        raise KeyboardInterrupt


def _seconds(age: str) -> float:
    from segue.errors import DeclarationError, UsageError
    from segue.policies import seconds

    try:
        return seconds(age)
    except DeclarationError as error:
        raise UsageError(f"--older-than: {error}") from None


def _pruner(url: str | None, told: "Callable[[Pruned], None]", stopped: "Callable[[], bool]") -> "Pruner":
    from segue.cli.archive import NoStore, artifacts_of
    from segue.errors import UsageError
    from segue.runtime.settings import default_store
    from segue.stores.pruning import Pruner
    from segue.stores.sqlite import SqliteStore
    from segue.stores.urls import open_url

    store = open_url(url or default_store())
    if not isinstance(store, SqliteStore) or store.path is None:
        raise UsageError(f"{store.url} lives in one process, and cannot be pruned from another: name one with --store")
    if not store.path.exists():
        raise NoStore(store.url)
    return Pruner(store, artifacts_of(store), told=told, stopped=stopped)


def _prune(pruner: "Pruner", order: "Order", dry: bool) -> None:
    from segue.errors import StoreBusy

    with pruner.opened():
        if not pruner.take_turn():
            raise StoreBusy(f"another process prunes {pruner.path} now")
        pruner.sweep(dry=dry, doomed=pruner.prune(order, dry=dry))


@contextmanager
def _stoppable() -> "Generator[Callable[[], bool], None, None]":
    """Whether there was a Ctrl-C. The first ends it after the part that it is at, the second at once."""
    import signal

    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _shown(dry: bool) -> "Generator[Callable[[Pruned], None], None, None]":
    """Somebody to tell how far it is: on a terminal a line that says so."""
    import sys

    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from segue.cli.look import err
    from segue.retention import described

    with err().status("looking for old runs …") as status:
        yield lambda pruned: status.update(f"{'found' if dry else 'deleted'} {described(pruned)} …")
