"""Styled lines: what a terminal gets, and what a pipe gets."""

import io

import pytest

from segue.cli.lines import Console, Text


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "10")


def printed(text: Text, file: io.StringIO, indent: int = 0) -> str:
    Console(file).print(text, indent=indent)
    return file.getvalue()


def line() -> Text:
    return Text("a", "bold red").append("b").append_text(Text("c", "green").append("d", "dim")).append("e", "default")


def test_a_pipe_gets_the_text_alone() -> None:
    assert printed(line(), io.StringIO()) == "abcde\n"
    assert line().plain == "abcde"
    assert len(line()) == 5


def test_a_terminal_gets_styles_and_the_last_colour_counts() -> None:
    red, green = "\x1b[31m\x1b[1m", "\x1b[32m\x1b[1m"
    said = f"{red}ab\x1b[0m{green}c\x1b[0m\x1b[32m\x1b[1m\x1b[2md\x1b[0m{red}e\x1b[0m\n"
    assert printed(line(), Screen()) == said


def test_no_color_leaves_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(Text("a", "bold red"), Screen()) == "\x1b[1ma\x1b[0m\n"


def test_what_is_indented_is_broken_between_words() -> None:
    words = Text("one two three four five six")
    assert printed(words, Screen(), indent=4) == "    one two three\n    four five six\n"
    assert printed(words, io.StringIO(), indent=4) == "    one two three four five six\n"


def test_the_width_of_a_pipe_is_long() -> None:
    assert Console(io.StringIO()).width == 160
    assert Console(Screen()).width == 20
