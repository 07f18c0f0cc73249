"""What several commands take."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_store = click.option(
    "--store",
    metavar="URL",
    help="Where the runs are: sqlite:PATH. Default: SEGUE_STORE, else the project's segue.toml, else .segue/segue.db.",
)


def with_store(command: F) -> F:
    """Give a command its ``--store``."""
    return _store(command)


json_output = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

_by = click.option("--by", metavar="NAME", help="Who does it; it is recorded. Default: your login name.")
why_option = click.option("--why", metavar="TEXT", default="", help="The reason; it is recorded.")


def with_name(command: F) -> F:
    """Give a command its ``--by``."""
    return _by(command)


def name_of_user(by: str | None) -> str:
    """Who it is that does something."""
    if by is not None:
        return by
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise click.UsageError("this system does not know who you are: say it with --by NAME") from None


def with_store_argument(store: str | None) -> str:
    """What to add to a command that is proposed, so that it finds this store."""
    import shlex

    return "" if store is None else f" --store {shlex.quote(store)}"
