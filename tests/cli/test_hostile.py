"""What the commands make of damaged stores, of names that steer terminals, and of arguments that are no text."""

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.cli.conftest import Project
from tests.reliability.looking import connected

APP = r"""
from segue import ask_human, flow, step

@step
async def dies(name: str) -> None:
    raise type(name, (Exception,), {})("x")

@flow
async def died(name: str) -> None:
    await dies(name)

@flow
async def asks() -> str:
    return await ask_human("how?", remind="1h")
"""
LOOKS = (["runs"], ["show", "last"], ["dead"], ["dead", "show", "last"], ["inbox"], ["inbox", "--all"])
EVIL = "E\x1b]0;PWNED\x07\u202eY\nrm -rf ~ # "


@pytest.fixture
def victim(project: Project) -> Project:
    project.write("app.py", APP)
    for _ in range(2):
        project.segue("run", "app.py:died", "--input", json.dumps({"name": EVIL}))
    assert project.segue("run", "app.py:asks").code == 3
    return project


def on_a_terminal(project: Project, *command: str) -> str:
    """What a terminal gets: there, unlike in a pipe, nothing is filtered on the way."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "segue", *command]
    process = subprocess.Popen(
        words, cwd=project.folder, env=project.environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):  # EIO: the other end is closed
        while part := os.read(ours, 65536):
            said += part
    os.close(ours)
    process.wait()
    return said.decode()


def harmless(project: Project, *command: str) -> str:
    said = on_a_terminal(project, *command)
    assert "a defect in Segue" not in said, (command, said)
    for sign in ("\x1b]", "\x07", "\u202e", "\x1b[31mX"):
        assert sign not in said, (command, said)
    return said


def test_an_error_whose_name_steers_terminals_is_shown_as_text(victim: Project) -> None:
    for command in LOOKS:
        harmless(victim, *command)
    said = victim.segue("dead", "show", "last").out
    assert "all 2 like this one" in said
    proposed = said.partition("to go on:\n")[2].splitlines()
    assert all(line.startswith("  segue ") for line in proposed), "what is to be pasted is one command a line"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("update questions set decided = 1, decision = x'00ff', by = 'a'", None),
        ("update questions set asked = 1e300", None),
        ("update questions set asked = 9e999", None),
        ("update questions set decided = 1e300, by = 'a', decision = x'00'", None),
        ("update questions set id = char(27) || '[31mX' || id", None),
        ("update questions set body = x'c1'", "is not what was asked"),
        ("update runs set status = 'odd'", "its status 'odd' is not one that was written"),
        ("update runs set ended = 1e300, created = -1e300", None),
        ("update runs set id = char(27) || ']0;P' || id", None),
        ("update runs set worker = char(27) || '[31m', version = char(8238), error = char(27)", None),
        ("update runs set input = x'c1c1'", "its input is not what was written"),
    ],
)
def test_a_damaged_store_is_told_of_and_steers_no_terminal(victim: Project, statement: str, told: str | None) -> None:
    question = victim.segue("inbox", "--json").json[0]["id"]
    db = connected(victim.folder / ".segue" / "segue.db")
    db.execute(statement)
    db.close()
    commands = (*LOOKS, ["inbox", "show", question], ["inbox", "answer", question, "--value", "yes"])
    said = [harmless(victim, *command) for command in commands]
    assert told is None or any(told in one for one in said), said


@pytest.mark.parametrize(
    "command",
    ["show ?", "runs --flow ?", "inbox --assignee ?", "diff ? ?", "redrive last --why ?", "signal last paid --once ?"],
)
def test_arguments_that_are_no_text_are_refused(victim: Project, command: str) -> None:
    words = [b"\xff\xfeab" if word == "?" else word.encode() for word in command.split()]
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"segue", *words],
        cwd=victim.folder,
        env=victim.environment,
        capture_output=True,
    )
    assert done.returncode == 2
    assert b"is not text in UTF-8" in done.stderr


def test_a_closed_stdin_holds_no_answer(victim: Project) -> None:
    question = victim.segue("inbox", "--json").json[0]["id"]
    command = f"exec {sys.executable} -m segue inbox answer {question} --value - <&-"
    done = subprocess.run(["bash", "-c", command], cwd=victim.folder, env=victim.environment, capture_output=True)
    assert (done.returncode, b"stdin is closed" in done.stderr) == (2, True)
