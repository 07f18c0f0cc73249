"""What the documents say is true: their code runs, their links lead somewhere, their commands exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import segue
from segue.cli import MODULES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\[[^\]]+\]\(([^)#]+)\)")


def _blocks() -> list[tuple[str, str]]:
    return [
        (f"{page.stem}-{number}", code)
        for page in PAGES
        if page.name != "pipelines.md"  # its blocks build on each other: tests/test_pipelines.py runs them
        for number, code in enumerate(BLOCK.findall(page.read_text()), 1)
    ]


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in _blocks()])
def test_code_blocks_run(code: str, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(code)
    environment = {**os.environ, "SEGUE_STORE": f"sqlite:{tmp_path / 'runs.db'}?durability=process"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    if "def test_" in code:
        (tmp_path / "test_block.py").write_text(code)
        tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_block.py"]
        done = subprocess.run(tests, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for command in MODULES:
        assert f"segue {command}" in readme, command


def test_every_public_name_says_what_it_is() -> None:
    for name in segue.__all__:
        thing = getattr(segue, name)
        assert name in ("Duration", "log") or (thing.__doc__ or "").strip(), name


def test_the_architecture_names_every_module_of_the_core() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    for module in (ROOT / "src/segue/core").glob("[a-z]*.py"):
        assert module.stem in page, module.stem
