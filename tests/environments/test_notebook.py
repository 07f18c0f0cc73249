"""In a notebook: a real one, executed by a real kernel."""

import asyncio
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = [
    """
from segue import flow, step, wait

@step
async def double(x: int) -> int:
    return 2 * x

@flow
async def quadruple(x: int) -> int:
    return await double(await double(x))
""",
    "print(await quadruple(1))",
    "print(quadruple.run(2))",
    "handle = wait(quadruple.start(3)); print(wait(handle.result()))",
    "print(double.run(4), await double(5))",
    """
@step
async def double(x: int) -> int:
    return 20 * x
""",
    "print(await quadruple(1), quadruple.name)",
    """
@flow
async def quadruple(x: int) -> int:
    return await double(x) + 1
""",
    "print(quadruple.run(1))",
    "import asyncio; print(await asyncio.gather(*[quadruple(n) for n in range(3)]))",
]
SAID = ["4", "8", "12", "8 10", "400 __main__.quadruple", "21", "[1, 21, 41]"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning")
def test_flows_run_in_a_notebook_and_cells_may_be_defined_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = tmp_path / "kernels" / "here"
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text(
        f'{{"argv": ["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"],'
        ' "display_name": "here", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("SEGUE_STORE", f"sqlite:{tmp_path}/runs.db?durability=process")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])  # pyright: ignore

    async def execute() -> None:
        client = NotebookClient(
            notebook, timeout=60, kernel_name="here", resources={"metadata": {"path": str(tmp_path)}}
        )
        await client.async_execute()

    asyncio.run(execute())
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert [str(output.text).strip() for output in outputs if output.get("name") == "stdout"] == SAID
    assert [str(output.text) for output in outputs if output.get("name") == "stderr"] == []
