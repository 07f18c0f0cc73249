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
