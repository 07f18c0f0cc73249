"""``segue run``."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from .conftest import Project, until_said


def test_result_is_all_of_stdout(project: Project) -> None:
    done = project.segue("run", "app.py:good", "--input", '{"n": 1}')
    assert (done.code, done.json) == (0, {"a": 2, "b": 12})
    assert "noise from a step" in done.err
    assert "1/double  completed" in done.err


def test_module_target_and_default_store(project: Project) -> None:
    assert project.segue("run", "app:good", "--input", '{"n": 1, "m": 2}').json == {"a": 2, "b": 8}
    assert (project.folder / ".segue" / "segue.db").exists()


def test_json_says_nothing_else(project: Project) -> None:
    done = project.segue("run", "app.py:numbers", "--input", "[1, 2.5]", "--json")
    assert (done.code, done.out, done.err) == (0, "3.5\n", "")


def test_failure(project: Project) -> None:
    done = project.segue("run", "app.py:bad", "--input", '{"n": 7}')
    assert (done.code, done.out) == (1, "")
    assert "failed in step broken, attempt 1: ValueError: no customer 14" in done.err
    assert 'raise ValueError(f"no customer {n}")' in done.err
    assert "/segue/runtime/" not in done.err


def test_retries_are_told_and_control_characters_shown(project: Project) -> None:
    done = project.segue("run", "app.py:retried", "--input", "5")
    assert done.json == 5
    assert r"attempt 1 failed, again now: ConnectionError: gone \x1b[31m[bold]away[/bold]\x07" in done.err
    assert "completed after" in done.err
    assert "3 attempts" in done.err
    assert "\x1b" not in done.err


def test_result_cannot_steer_the_terminal(project: Project) -> None:
    done = project.segue("run", "app.py:evil")
    assert done.out == '"\\u001b[31m\\u009b31m\\u202e"\n'


def test_waiting(project: Project) -> None:
    done = project.segue("run", "app.py:sleeper", "--id", "nap")
    assert done.code == 3
    assert "run nap sleeps, until" in done.err
    assert "segue resume app.py:sleeper" in done.err
    row = project.segue("runs", "--json").json[0]
    assert (row["id"], row["status"], row["worker"]) == ("nap", "waiting", None)


def test_pipeline_file(project: Project) -> None:
    project.write(
        "models.py", "def two(x: int) -> int:\n    return 2 * x\n\ndef add(a: int, b: int) -> int:\n    return a + b\n"
    )
    project.write(
        "sums/sum.yaml",
        "nodes:\n  a: {model: 'models:two'}\n  b: {model: 'models:two'}\n"
        "  total: {depends_on: [a, b], model: 'models:add'}\n",
    )
    assert project.segue("run", "sums/sum.yaml", "--input", '{"x": 3}').json["total"] == 12
    assert project.segue("graph", "sums/sum.yaml").out.splitlines() == [
        "flowchart TD",
        '    n0["a"]',
        '    n1["b"]',
        '    n2["total"]',
        "    n0 --> n2",
        "    n1 --> n2",
    ]
    project.write("bad.yaml", "nodes:\n  a: {model: 'models:two', depends_on: [none]}\n")
    done = project.segue("run", "bad.yaml")
    assert (done.code, done.out) == (2, "")
    assert "pipeline 'bad' cannot run:" in done.err


def test_live_tree(project: Project) -> None:
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    environment = {**project.environment, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "segue", "run", "app.py:retried", "--input", "5"]
    with subprocess.Popen(command, cwd=project.folder, env=environment, stdout=subprocess.PIPE, stderr=end) as process:
        os.close(end)
        seen = _all_of(terminal)
        assert process.stdout is not None
        assert process.stdout.read() == b"5\n"
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).replace("\r", "").splitlines()[-2:]
    assert "✓ app.retried" in last[0]
    assert re.search(r"  ✓ flaky .* 3 attempts  → 5", last[1])


def _all_of(terminal: int) -> str:
    """What is written to a terminal, until nobody holds it any more."""
    seen = b""
    try:
        while part := os.read(terminal, 65536):
            seen += part
    except OSError:  # how Linux says so
        pass
    os.close(terminal)
    return seen.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_hands_the_run_back(project: Project, number: signal.Signals) -> None:
    process = project.start("run", "app.py:stuck", "--input", "1", "--id", "one")
    until_said(process, "hanging")
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert process.stderr is not None
    assert "run one is handed back after 1 step" in (said := process.stderr.read())
    assert "segue resume app.py:stuck" in said
    assert project.segue("runs", "--json").json[0]["status"] == "queued"
    project.write("go", "")
    done = project.segue("run", "app.py:stuck", "--input", "1", "--id", "one")
    assert (done.code, done.json) == (0, 2)
    assert (project.folder / "ran-1").read_text() == "x"


def test_killed_run_is_carried_on_by_its_id(project: Project) -> None:
    process = project.start("run", "app.py:stuck", "--input", "1", "--id", "one")
    until_said(process, "hanging")
    process.kill()
    process.wait()
    project.write("go", "")
    assert project.segue("run", "app.py:stuck", "--input", "1", "--id", "one").json == 2
    assert (project.folder / "ran-1").read_text() == "x"


def test_same_id_other_input(project: Project) -> None:
    assert project.segue("run", "app.py:numbers", "--input", "[1]", "--id", "sum").json == 1
    assert project.segue("run", "app.py:numbers", "--input", "[1]", "--id", "sum").json == 1
    done = project.segue("run", "app.py:numbers", "--input", "[2]", "--id", "sum")
    assert done.code == 2
    assert "belongs to a run of 'app.numbers' with input" in done.err


def test_detach_only_queues(project: Project) -> None:
    done = project.segue("run", "app.py:good", "--input", '{"n": 1}', "--detach", "--id", "later")
    assert (done.code, done.out) == (0, "later\n")
    assert "segue worker app.py:good" in done.err
    assert not (project.folder / "ran-1").exists()
    assert project.segue("runs", "--json").json[0]["status"] == "queued"


def test_process_steps_find_their_code(project: Project) -> None:
    project.write("my-app.py", (project.folder / "app.py").read_text())
    assert project.segue("run", "my-app.py:spawned", "--input", "4").json == 4


# Input


@pytest.mark.parametrize(
    ("flow", "given", "said"),
    [
        ("numbers", "[NaN]", "JSON has no NaN"),
        ("numbers", "[1, 2", "ends too early"),
        ("numbers", "[1,,2]", "line 1, column 4"),
        ("numbers", "", "--input is empty"),
        ("numbers", '["x"]', "at $[0], expected float, got str"),
        ("numbers", '{"xs": [1], "ys": 2}', "has no parameter 'ys'"),
        ("good", "[1]", "--input is an array, and must be an object"),
        ("good", '{"n": 1, "k": 2, "j": 3}', "has no parameters 'k', 'j'"),
        ("good", "{}", "parameter 'n' of flow 'app.good' missing; it takes (n: int, m: int = 3)"),
        ("good", '{"n": "1"}', "parameter 'n' of flow 'app.good': at $, expected int, got str"),
        ("good", '{"n": 123456789012345678901234567890}', "an integer needs more than 64 bits"),
        ("order", '{"numbr": 1}', "all of it is taken as 'order', since it has no such key"),
        ("sleeper", '{"x": 1}', "it takes no parameters"),
        ("numbers", "@none.json", "none.json cannot be read: No such file"),
        ("evil", '{"\x1b[31m": 1}', "\\x1b[31m"),
    ],
)
def test_wrong_input(project: Project, flow: str, given: str, said: str) -> None:
    done = project.segue("run", f"app.py:{flow}", "--input", given)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err


def test_input_nested_too_deeply(project: Project) -> None:
    project.write("deep.json", "[" * 100_000 + "]" * 100_000)
    done = project.segue("run", "app.py:numbers", "--input", "@deep.json")
    assert (done.code, done.err) == (2, "segue: --input is nested too deeply to be read\n")


def test_input_too_large(project: Project) -> None:
    with (project.folder / "large.json").open("wb") as file:
        file.truncate((64 << 20) + 1)
    done = project.segue("run", "app.py:numbers", "--input", "@large.json")
    assert done.code == 2
    assert "larger than 64 MiB" in done.err


def test_input_from_file_and_stdin(project: Project) -> None:
    project.write("in.json", '\ufeff{"xs": [1, 2]}')
    assert project.segue("run", "app.py:numbers", "--input", "@in.json").json == 3
    assert project.segue("run", "app.py:numbers", "--input", "-", stdin="[4]").json == 4
    assert project.segue("run", "app.py:order", "--input", '{"number": 5, "note": "!"}').json == "5!"
    assert project.segue("run", "app.py:order", "--input", '{"order": {"number": 5}}').json == "5"


# Targets


def test_folder_with_report_and_default_input(project: Project) -> None:
    project.write("shop/segue.toml", 'main = "main.py:sell"\nreport = "tell.py:report"\ninput = { n = 4 }\n')
    project.write(
        "shop/main.py",
        "from dataclasses import dataclass\nfrom segue import flow\n"
        "@dataclass\nclass Sold:\n    n: int\n"
        "@flow\nasync def sell(n: int) -> Sold:\n    return Sold(n)\n",
    )
    report = "from main import Sold\ndef report(sold: Sold) -> str:\n    return f'sold {sold.n}'\n"
    project.write("shop/tell.py", report)
    done = project.segue("run", "shop")
    assert (done.code, done.json) == (0, {"n": 4})
    assert done.err.endswith("sold 4\n")
    assert "sold" not in project.segue("run", "shop", "--json").err
    project.write("shop/tell.py", "def report(sold):\n    print('plain', sold['n'], sold['m'])\n")
    done = project.segue("run", "shop", "--input", '{"n": 5}')
    assert (done.code, done.json) == (0, {"n": 5})
    assert "its report failed" in done.err
    assert "KeyError: 'm'" in done.err


def test_file_in_a_package_keeps_its_dotted_name(project: Project) -> None:
    project.write("pack/__init__.py", "")
    project.write("pack/inner/__init__.py", "")
    code = "from segue import flow\n\n@flow\nasync def one() -> str:\n    return __name__\n"
    project.write("pack/inner/flows.py", code)
    assert project.segue("run", "pack/inner/flows.py").json == "pack.inner.flows"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("none.py:flow", "there is no file none.py"),
        ("none:flow", "there is no module 'none' to import"),
        ("app.py:none", "app has no 'none'; its flows are child, good"),
        ("app.py", "flows; say which: app.py:child, app.py:good"),
        ("app.py:double", "is a Step, not a flow"),
        ("app.py:", "names no flow behind the colon"),
        ("none.yaml", "there is no file none.yaml"),
        ("sub", "names no main flow"),
        ("sub/random.py:flow", "rename the file"),
        ("\x1b[31m:flow", "\\x1b[31m"),
    ],
)
def test_wrong_target(project: Project, target: str, said: str) -> None:
    project.write("sub/random.py", "")
    done = project.segue("run", target)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f():\n    return 1 / 0\nf()\n", "ZeroDivisionError"),
        ("import nothing_like_this\n", "No module named 'nothing_like_this'"),
        ("def f(:\n", "SyntaxError"),
        ("import sys\nsys.exit(3)\n", "ends the program when it is imported (exit code 3) (faulty.py, line 2)"),
        (
            "from segue import flow\n\n@flow\ndef f(): ...\n",
            "'f' is not: write async def (faulty.py, line 3)",
        ),
    ],
)
def test_faulty_code(project: Project, code: str, said: str) -> None:
    project.write("faulty.py", code)
    done = project.segue("run", "faulty.py:f")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "importlib" not in done.err
    assert str(Path("segue") / "loading.py") not in done.err


def test_store_option_and_hint(project: Project) -> None:
    done = project.segue("run", "app.py:sleeper", "--store", "sqlite:other.db")
    assert done.code == 3
    assert "--store sqlite:other.db" in done.err
    assert (project.folder / "other.db").exists()
    assert not (project.folder / ".segue").exists()


def test_unknown_store(project: Project) -> None:
    done = project.segue("run", "app.py:sleeper", "--store", "oracle:x")
    assert done.code == 2
    assert done.err.startswith("segue: store 'oracle:x': there is no 'oracle' store")


def test_show_json_has_the_promised_shape(project: Project) -> None:
    project.segue("run", "app.py:good", "--input", '{"n": 1}', "--id", "shape")
    shown = project.segue("show", "shape", "--json").json
    assert list(shown) == ["id", "flow", "version", "status", "input", "result", "error", "steps"]
    assert (shown["id"], shown["flow"], shown["status"]) == ("shape", "app.good", "completed")
    assert (shown["input"], shown["result"], shown["error"]) == ({"n": 1}, {"a": 2, "b": 12}, None)
    assert [step["name"] for step in shown["steps"]] == ["double", "double", "app.child"]
    first, _, last = shown["steps"]
    assert list(first) == ["id", "name", "attempts", "input", "output"]
    assert (first["input"], first["output"], last["run"][:6]) == ({"n": 1}, 2, "shape.")
    assert list(first["attempts"][0]) == ["started", "ended", "status", "error"]
    json.dumps(shown, allow_nan=False)
