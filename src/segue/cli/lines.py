"""Styled lines by click alone, for commands that are over before rich would be imported."""

import os
import sys
from itertools import groupby
from typing import Any, TextIO

import click

from segue.cli.text import visible


class Text:
    """A line in one or more styles, such as ``"bold red"``.

    Args:
        style: of all of it; parts that are appended add theirs.
    """

    def __init__(self, text: str = "", style: str = "") -> None:
        self.style = style
        self.parts: list[tuple[str, str]] = [(text, "")]

    def append(self, text: str, style: str = "") -> "Text":
        """Add a part."""
        self.parts.append((text, style))
        return self

    def append_text(self, text: "Text") -> "Text":
        """Add other text, in its styles."""
        self.parts += [(part, f"{text.style} {style}") for part, style in text.parts]
        return self

    @property
    def plain(self) -> str:
        """The text without its styles."""
        return "".join(part for part, _ in self.parts)

    def __len__(self) -> int:
        return len(self.plain)

    def styled(self) -> str:
        """The text with its styles as a terminal takes them. What it says itself cannot steer the terminal."""
        alike = groupby(self.parts, lambda part: part[1])
        return "".join(
            _painted(visible("".join(text for text, _ in parts)), f"{self.style} {style}") for style, parts in alike
        )


def _painted(text: str, style: str) -> str:
    words = style.split()
    colour = next((word for word in reversed(words) if word not in ("bold", "dim", "default")), None)
    look: dict[str, Any] = {} if colour is None or os.environ.get("NO_COLOR") else {"fg": colour}
    look |= dict.fromkeys({"bold", "dim"} & {*words}, True)
    return click.style(text, **look) if look and text else text


class Console:
    """Where lines are printed. What is not a terminal gets them without styles."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.width = file, 160
        """A pipe has no width: long lines are then better than cut ones."""
        if file.isatty():
            from shutil import get_terminal_size

            self.width = get_terminal_size().columns

    def print(self, text: Text | str = "", *, indent: int = 0) -> None:
        """Print a line. The terminal breaks it where it is too long; with an indent it is broken between words."""
        if indent:
            assert isinstance(text, Text)
            pad = " " * indent
            text = Text(click.wrap_text(text.plain, self.width, pad, pad), text.style)
        click.echo(text.styled() if isinstance(text, Text) else text, self.file)


def out() -> Console:
    """What was asked for goes here."""
    return Console(sys.stdout)


def err() -> Console:
    """What is said beside it goes here."""
    return Console(sys.stderr)
