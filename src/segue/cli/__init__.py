"""The command line. Only click and the command that is given are imported: none waits for what it does not need."""

import atexit
import os
import sys
from importlib import import_module

import click

from segue.cli.text import say, visible

FAILED, USAGE, INTERRUPTED = 1, 2, 130

MODULES = {
    **{name: name for name in ("run", "graph", "chaos", "runs", "show", "inbox", "dead", "keys", "drift", "alerts")},
    **{name: name for name in ("diff", "replay", "doctor")},
    **{name: name for name in ("send", "serve", "rejects")},
    **dict.fromkeys(("resume", "worker"), "work"),
    **dict.fromkeys(("cancel", "signal", "redrive", "discard", "fork"), "mend"),
    "prune": "prune",
}
"""Each command, and the module that it is in."""


class _Commands(click.Group):
    """The commands by name. Each is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in MODULES:
            return None
        return getattr(import_module(f"segue.cli.{MODULES[cmd_name]}"), cmd_name)


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"segue {version('segue')}")
    except PackageNotFoundError:
        click.echo("segue (run from its source; not installed)")
    context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version and exit."
)
def cli() -> None:
    """Durable pipelines: run flows, carry on what was interrupted, and see what happened."""


def main() -> None:
    """The entry point: every expected error becomes a message and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
    code = _answer(sys.argv[1:])
    calls = sys.modules.get("segue.runtime.calls")
    if calls is not None and calls.THREADS.busy:
        # A step's thread is still in native code. The interpreter's end would unwind it, and abort the process.
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _answer(arguments: list[str]) -> int:
    for given in arguments:
        if any("\ud800" <= character <= "\udfff" for character in given):
            say(f"segue: {given!r} is not text in UTF-8; for JSON in another form: @FILE")
            return USAGE
    try:
        code = cli.main(arguments, prog_name="segue", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        help = f"\nHow to use it: {error.ctx.command_path} --help" if error.ctx else ""
        say(f"segue: {error.format_message()}{help}")
        return USAGE
    except click.ClickException as error:
        say(f"segue: {error.format_message()}")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("segue: interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _explained(error)


def _explained(error: Exception) -> int:
    from segue.errors import Conflict, DeclarationError, SegueError, UnknownRun, Unstorable, UsageError

    if not isinstance(error, SegueError):
        import traceback

        say(f"segue: a defect in Segue, or a disk or system that does not answer: {type(error).__name__}: {error}")
        say(traceback.format_exc())
        return FAILED
    say(f"segue: {visible(str(error))}")
    if trace := getattr(error, "trace", ""):
        say(f"\n{trace.rstrip()}")
    wrong_use = isinstance(error, Conflict | DeclarationError | UnknownRun | Unstorable | UsageError)
    return USAGE if wrong_use else FAILED
