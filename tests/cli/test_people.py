"""The commands by which people answer and repair, as processes: inbox, dead, redrive, discard, fork, cancel, signal."""

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, Project

APP = """
import os
from pathlib import Path
from segue import Retry, ask_human, escalate, flow, step, wait_for

@step
async def refund(receipt: str, amount: int) -> None:
    Path("sink").open("a").write(f"refund {receipt}\\n")

@step(undo=refund)
async def charge(amount: int) -> str:
    Path("sink").open("a").write(f"charge {amount}\\n")
    return f"r{amount}"

@step(retry=Retry(1, backoff=0))
async def ship(what: str, speed: int = 1) -> str:
    Path("sink").open("a").write(f"ship {what} {speed}\\n")
    if Path("broken").exists():
        raise ConnectionError("no lorry \\x1b[31mtoday")
    return f"{what} at {speed}"

@step(check=lambda n: n < 10 or "too many", fallback=escalate("So many?", assignee="clerk"))
async def count(n: int) -> int:
    return n

@flow
async def ask(what: str) -> str:
    how = await ask_human(f"Ship {what}?\\x1b[2J", about={"what": what}, choices=["now", "never"], assignee="ada")
    return f"{what} {how}"

@flow
async def free(what: str) -> int:
    return await ask_human("How many?", answer=int, timeout="2d", remind="1h")

@flow
async def counting(n: int) -> int:
    return await count(n)

@flow
async def order(what: str) -> str:
    await charge(5)
    return await ship(what)

@flow
async def send(what: str) -> str:
    return await ship(what)

@flow
async def signalled() -> int:
    return await wait_for("go", int)
"""


OWN = """
from segue import Permanent, ask_human, flow, step

@step
async def lookup(n: int) -> int:
    raise Permanent("no")

@flow
async def own(n: int) -> int:
    if n:
        raise Permanent("the flow's own")
    return await lookup(n)

@flow
async def hurried() -> bool:
    return await ask_human("now?", assignee=["ada", "the desk"], timeout="1s")
"""


TURNS = """
from segue import ask_human, flow

@flow(key="driver")
async def turns(driver: str) -> bool:
    return await ask_human("go?")
"""


@pytest.fixture
def shop(project: Project) -> Project:
    project.write("app.py", APP)
    project.write("segue.toml", 'flows = ["app.py"]\n')
    return project


def sink(project: Project) -> list[str]:
    file = project.folder / "sink"
    return file.read_text().splitlines() if file.exists() else []


def failed_run(shop: Project, flow: str = "send", what: str = "tea") -> str:
    (shop.folder / "broken").touch()
    done = shop.segue("run", f"app.py:{flow}", "--input", f'"{what}"')
    assert done.code == 1
    (shop.folder / "broken").unlink()
    return shop.segue("runs", "--json", "--limit", "1").json[0]["id"]


def waiting_run(shop: Project, flow: str, given: str) -> tuple[Done, dict[str, Any]]:
    done = shop.segue("run", f"app.py:{flow}", "--input", given)
    assert done.code == 3, done.err
    return done, shop.segue("inbox", "--json").json[-1]


# The inbox


def test_a_run_that_asks_says_how_to_answer_and_the_inbox_holds_it(shop: Project) -> None:
    done, question = waiting_run(shop, "ask", '"tea"')
    assert f"segue inbox answer {question['id']} --value JSON" in done.err
    listed = shop.segue("inbox").out
    assert question["id"] in listed
    assert "ada" in listed
    assert "\x1b" not in listed, "what is asked cannot steer a terminal"
    shown = shop.segue("inbox", "show", question["id"][:6]).out
    for part in ("Ship tea?\\x1b[2J", "for ada", '{"what":"tea"}', 'an answer is "now" or "never"'):
        assert part in shown
    assert shop.segue("inbox", "--assignee", "bob").err.startswith("nobody is asked anything")


@pytest.mark.parametrize("value", ["now", '"now"', "@answer.json", "-"])
def test_an_answer_is_json_or_the_choice_itself(shop: Project, value: str) -> None:
    shop.write("answer.json", '"now"')
    _, question = waiting_run(shop, "ask", '"tea"')
    given = shop.segue("inbox", "answer", question["id"], "--value", value, "--by", "ada", stdin='"now"')
    assert given.code == 0, given.err
    assert shop.segue("resume").code == 0
    run = shop.segue("show", question["run"], "--json").json
    assert (run["status"], run["result"]) == ("completed", "tea now")
    (decided,) = shop.segue("inbox", "--all", "--json").json
    assert (decided["by"], decided["answer"], decided["status"]) == ("ada", "now", "answer")
    assert "answered by ada" in shop.segue("inbox", "show", question["id"]).out


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("maybe", "The answer has to be"),
        ('"maybe"', "It has to be"),
        ("", "--value is empty"),
        ("@nowhere", "cannot be read"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_an_answer_that_does_not_fit_decides_nothing(shop: Project, value: str, said: str) -> None:
    _, question = waiting_run(shop, "ask", '"tea"')
    given = shop.segue("inbox", "answer", question["id"], "--value", value)
    assert given.code == 2
    assert said in given.err
    assert len(shop.segue("inbox", "--json").json) == 1


def test_the_second_answer_is_told_who_was_first(shop: Project) -> None:
    _, question = waiting_run(shop, "free", '"tea"')
    assert "within 1 d" in shop.segue("inbox").out
    assert shop.segue("inbox", "answer", question["id"], "--value", "3", "--by", "ada").code == 0
    second = shop.segue("inbox", "answer", question["id"], "--value", "4", "--by", "bob")
    assert second.code == 1
    assert "was answered by ada at" in second.err


def test_a_question_that_is_not_there(shop: Project) -> None:
    assert shop.segue("inbox").code == 0
    assert "there is no store" in shop.segue("inbox").err
    waiting_run(shop, "ask", '"tea"')
    shown = shop.segue("inbox", "show", "nothing")
    assert (shown.code, "there is no question 'nothing'" in shown.err) == (2, True)


def test_a_step_that_escalates_shows_what_was_refused(shop: Project) -> None:
    _, question = waiting_run(shop, "counting", "50")
    shown = shop.segue("inbox", "show", question["id"]).out
    for part in ("So many?", "for clerk", 'input  {"n":50}', "does not pass", "refused  50", '"accept"'):
        assert part in shown
    assert shop.segue("inbox", "answer", question["id"], "--value", '{"edit": 7}', "--by", "clerk").code == 0
    assert shop.segue("resume").code == 0
    page = shop.segue("show", question["run"])
    assert "edited, the value is a person's: clerk" in page.out
    assert shop.segue("show", question["run"], "--json").json["result"] == 7


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self._screen, its = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "segue", *arguments],
            cwd=project.folder,
            env={**project.environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # it becomes the controlling terminal
        )
        os.close(its)
        self.seen = ""

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self._screen], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self._screen, 65536).decode("utf-8", "replace")
                except OSError:
                    break
        assert text in self.seen, self.seen
        self.seen = self.seen.partition(text)[2]

    def type(self, line: str) -> None:
        os.write(self._screen, f"{line}\n".encode())

    def end(self) -> int:
        while True:
            try:
                if not os.read(self._screen, 65536):
                    break
            except OSError:
                break
        os.close(self._screen)
        return self.process.wait(30)


def test_at_a_terminal_the_question_is_asked_right_there(shop: Project) -> None:
    terminal = Terminal(shop, "run", "app.py:ask", "--input", '"tea"')
    terminal.until("Ship tea?")
    terminal.until("answer (empty: later) > ")
    terminal.type("perhaps")
    terminal.until("has to be")
    terminal.until("answer (empty: later) > ")
    terminal.type("never")
    terminal.until('"tea never"')
    assert terminal.end() == 0
    (decided,) = shop.segue("inbox", "--all", "--json").json
    assert decided["status"] == "answer"
    assert decided["by"]


def test_at_a_terminal_a_question_may_be_left_for_later(shop: Project) -> None:
    terminal = Terminal(shop, "run", "app.py:free", "--input", '"tea"')
    terminal.until("answer (empty: later) > ")
    terminal.type("")
    terminal.until("it stays in the inbox")
    assert terminal.end() == 3
    assert len(shop.segue("inbox", "--json").json) == 1


# Dead letters


def test_dead_letters_say_what_they_failed_of_and_go_on_together(shop: Project) -> None:
    runs = [failed_run(shop, what=what) for what in ("tea", "rice", "figs")]
    other = failed_run(shop, "order")
    listed = shop.segue("dead", "--json").json
    assert [(g["runs"], g["flow"], g["step"], g["error"]) for g in listed] == [
        (3, "app.send", "ship", "ConnectionError"),
        (1, "app.order", "ship", "ConnectionError"),
    ]
    assert "ConnectionError" in shop.segue("dead").out
    page = shop.segue("dead", "show", runs[0]).out
    for part in (
        "failed in step ship",
        "attempt 1",
        "attempt 2",
        '{"what":"tea"}',
        "no lorry \\x1b[31mtoday",
        "all 3 like",
    ):
        assert part in page, page
    assert "\x1b" not in page
    assert shop.segue("dead", "show", runs[0], "--json").json["failed"]["name"] == "ship"
    assert other in shop.segue("dead", "show", "last").out
    again = shop.segue("redrive", "--flow", "app.send", "--error", "ConnectionError", "--by", "ada", "--json")
    assert (again.code, again.json) == (0, {"redriven": runs, "refused": {}})
    assert shop.segue("resume").code == 0
    assert {r["id"]: r["status"] for r in shop.segue("runs", "--json").json if r["id"] in runs} == dict.fromkeys(
        runs, "completed"
    )
    assert [g["flow"] for g in shop.segue("dead", "--json").json] == ["app.order"]


def test_a_redrive_with_an_edited_input_is_on_record(shop: Project) -> None:
    run = failed_run(shop)
    shop.write("speed.json", '{"speed": 9}')
    done = shop.segue("redrive", run, "--edit-input", "@speed.json", "--by", "ada", "--why", "a faster lorry")
    assert done.code == 0, done.err
    assert shop.segue("resume").code == 0
    shown = shop.segue("show", run, "--json").json
    assert shown["result"] == "tea at 9"
    (told,) = shown["interventions"]
    assert (told["by"], told["data"]["inputs"]) == ("ada", {"ship": {"speed": 9}})
    page = shop.segue("show", run).out
    assert "ada let it go on from ship, with an edited input of ship: a faster lorry" in page
    assert sink(shop) == ["ship tea 1", "ship tea 1", "ship tea 9"]


def test_undone_effects_are_shown_and_done_again(shop: Project) -> None:
    run = failed_run(shop, "order")
    assert sink(shop) == ["charge 5", "ship tea 1", "ship tea 1", "refund r5"]
    page = shop.segue("show", run).out
    assert "its effect was undone" in page
    assert "undo charge: refund" in page
    assert "(undone: charge)" in page
    assert "undone: the effect of charge" in shop.segue("dead", "show", run).out
    refused = shop.segue("redrive", run, "--from", "ship")
    assert (refused.code, "the effect of 'charge' was undone" in refused.err) == (2, True)
    assert shop.segue("redrive", run).code == 0
    assert shop.segue("resume").code == 0
    assert sink(shop)[4:] == ["charge 5", "ship tea 1"]


def test_a_given_result_stands_in(shop: Project) -> None:
    run = failed_run(shop)
    assert shop.segue("redrive", run, "--set", 'ship="by hand"').code == 0
    assert shop.segue("resume").code == 0
    assert shop.segue("show", run, "--json").json["result"] == "by hand"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a RUN, or --flow"),
        (("RUN", "--flow", "app.send"), "and not both"),
        (("RUN", "--error", "X"), "a RUN is one already"),
        (("RUN", "--edit-input", "[1]"), "takes an object"),
        (("RUN", "--edit-input", "{"), "--edit-input is not JSON"),
        (("RUN", "--set", "ship"), "--set takes STEP=JSON"),
        (("RUN", "--set", "ship={"), "--set ship is not JSON"),
        (("RUN", "--set", "nothing=1"), "there is no step 'nothing'"),
        (("RUN", "--from", "nothing"), "there is no step 'nothing'"),
        (("nowhere-at-all",), "no run 'nowhere-at-all'"),
    ],
)
def test_a_redrive_that_cannot_be_says_why(shop: Project, arguments: tuple[str, ...], said: str) -> None:
    run = failed_run(shop)
    done = shop.segue("redrive", *(run if part == "RUN" else part for part in arguments))
    assert (done.code, said in done.err) == (2, True), done.err
    assert shop.segue("show", run, "--json").json["status"] == "failed"


def test_a_discarded_run_leaves_the_dead_letters(shop: Project) -> None:
    run = failed_run(shop)
    assert shop.segue("discard", run, "--by", "ada", "--why", "a test").code == 0
    assert shop.segue("dead", "--json").json == []
    assert "ada discarded it: a test" in shop.segue("show", run).out
    assert shop.segue("discard", run).code == 2
    assert "discarded by ada" in shop.segue("redrive", run).err, "who lets it go on learns of that"


def test_what_is_proposed_for_the_flows_own_code_takes_no_other_run(shop: Project) -> None:
    shop.write("own.py", OWN)
    runs = [shop.segue("run", "own.py:own", "--input", n, "--id", f"run-{n}").code for n in "012"]
    assert runs == [1, 1, 1]
    said = shop.segue("dead", "show", "run-1").out
    assert "--edit-input" not in said
    assert "segue redrive --flow own.own --step '' --error Permanent   # all 2 like this one" in said
    done = shop.segue("redrive", "--flow", "own.own", "--step", "", "--error", "Permanent", "--json").json
    assert sorted(done["redriven"]) == ["run-1", "run-2"]
    assert (
        "was not called with 'nn' before, but with n" in shop.segue("redrive", "run-0", "--edit-input", '{"nn": 1}').err
    )


def test_a_question_that_closes_does_not_keep_the_terminal(shop: Project) -> None:
    shop.write("own.py", OWN)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "segue", "run", "own.py:hurried"],
        cwd=shop.folder,
        env=shop.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0) and None,
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    assert process.wait(30) == 1, said
    assert said.count(b"is closed") == 2, said
    assert b"for ada" in said
    assert b"for the desk" in said


def test_a_flow_that_has_no_runs_is_not_taken_for_one_that_has_nothing_to_tell(shop: Project) -> None:
    failed_run(shop)
    for command in (["dead"], ["inbox"], ["runs"], ["redrive"]):
        said = shop.segue(*command, "--flow", "app.ordr").err
        assert "no run of a flow 'app.ordr'" in said, said
        assert "there are runs of app." in said, said
    assert "nobody is asked anything" in shop.segue("inbox", "--flow", "app.send").err


def test_a_fork_is_a_run_of_its_own(shop: Project) -> None:
    run = failed_run(shop)
    new = shop.segue("fork", run, "--by", "ada", "--version", "2").out.strip()
    assert shop.segue("resume").code == 0
    forked = shop.segue("show", new, "--json").json
    assert (forked["status"], forked["version"], forked["result"]) == ("completed", "2", "tea at 1")
    assert shop.segue("show", run, "--json").json["status"] == "failed"
    assert f"ada forked run {run}" in shop.segue("show", new).out


# Cancel and signal


def test_a_queued_run_is_cancelled_at_once_and_one_that_waits_by_a_worker(shop: Project) -> None:
    queued = shop.segue("run", "app.py:order", "--input", '"x"', "--detach").out.strip()
    assert f"run {queued} is cancelled" in shop.segue("cancel", queued, "--by", "ada", "--why", "no").err
    assert "cancelled by ada: no" in shop.segue("show", queued).out
    _, question = waiting_run(shop, "ask", '"tea"')
    done = shop.segue("cancel", question["run"])
    assert "is to be cancelled" in done.err
    assert "segue resume FILE   # the file or module of flow 'app.ask'" in done.err
    assert shop.segue("runs", "--json").json[0]["reason"] == "for a free worker, to cancel it"
    assert shop.segue("resume").code == 1
    assert shop.segue("show", question["run"], "--json").json["status"] == "cancelled"
    assert shop.segue("inbox", "--json").json == []
    assert sink(shop) == []


def test_keys_say_who_is_busy_and_who_waits(shop: Project) -> None:
    shop.write("turns.py", TURNS)
    assert shop.segue("run", "app.py:order", "--input", '"x"').code == 0
    assert "no key is busy" in shop.segue("keys").err
    assert shop.segue("run", "turns.py:turns", "--input", '"ada"', "--id", "first").code == 3
    done = shop.segue("run", "turns.py:turns", "--input", '"ada"', "--id", "second")
    assert done.code == 3
    assert "waits for its turn: run first has key 'ada', and waits for a person to answer" in done.err
    [busy] = shop.segue("keys", "--json").json
    assert (busy["key"], busy["run"], busy["status"], busy["held"]) == ("ada", "first", "waiting", 1)
    listed = shop.segue("keys").out
    for part in ("ada", "turns.turns", "first", "waits for a person"):
        assert part in listed
    assert shop.segue("runs", "--status", "held", "--json").json[0]["id"] == "second"
    assert "another run of key 'ada' goes first" in shop.segue("show", "second").out
    for _ in range(2):
        question = shop.segue("inbox", "--json").json[0]["id"]
        assert shop.segue("inbox", "answer", question, "--value", "yes").code == 0
        shop.segue("resume", "turns.py")
    assert shop.segue("runs", "--status", "completed", "--flow", "turns.turns", "--json").json[0]["id"] == "second"


def test_a_signal_reaches_the_run_that_waits(shop: Project) -> None:
    assert shop.segue("run", "app.py:signalled").code == 3
    run = shop.segue("runs", "--json").json[0]
    assert run["reason"] == "waits for signal 'go'"
    assert shop.segue("signal", run["id"], "go", "--value", "7", "--once", "e1").code == 0
    assert "was sent before under 'e1'" in shop.segue("signal", run["id"], "go", "--value", "8", "--once", "e1").err
    assert shop.segue("resume").code == 0
    assert shop.segue("show", run["id"], "--json").json["result"] == 7
    late = shop.segue("signal", run["id"], "go", "--value", "9")
    assert (late.code, "has ended already (completed)" in late.err) == (1, True)
    assert shop.segue("signal", "nowhere-at-all", "go").code == 2


def test_who_does_something_is_the_login_name_unless_said(shop: Project) -> None:
    import getpass

    run = failed_run(shop)
    assert shop.segue("discard", run).code == 0
    assert f"{getpass.getuser()} discarded it" in shop.segue("show", run).out


def test_a_store_that_does_not_exist_is_not_made(shop: Project, tmp_path: Path) -> None:
    for command in (
        ["inbox"],
        ["dead"],
        ["redrive", "abcd"],
        ["cancel", "abcd"],
        ["fork", "abcd"],
        ["signal", "abcd", "x", "--value", "1"],
    ):
        done = shop.segue(*command, "--store", f"sqlite:{tmp_path / 'none' / 'x.db'}")
        assert "there is no store" in done.err, command
    assert not (tmp_path / "none").exists()
