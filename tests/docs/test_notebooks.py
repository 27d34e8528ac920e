"""The notebooks of the documentation run from their first to their last cell, each in a kernel of its own.

The one that builds a study takes minutes: `make docs-test` and `make docs` run it, `make test` does not.
"""

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="notebooks need the packages of the extra `docs`")
import jupytext
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.py"))


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """Kernels of this Python in a folder of their own, with no variable that chooses a study."""
    for name in ("FLY64_STUDY", "FLY64_DATA_ROOT", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_its_text_speaks_of(path, kernels):
    notebook = jupytext.read(path, fmt="py:percent")
    if "fly64_command" in path.read_text() and os.environ.get("FLY64_TUTORIALS") != "full":
        pytest.skip("it builds a study: `make docs-test` runs it")
    assert notebook.metadata.kernelspec["name"] == "python3"
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(kernels)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds  # at least one figure and one table
    as_text = [output for output in outputs if output.get("data", {}).get("text/plain", "").startswith("<Figure")]
    assert all("image/png" in output["data"] for output in as_text)  # pictures, not their names
    said = "".join(output.get("text", "") for output in outputs)
    assert "Traceback" not in said
    assert f"python{sys.version_info.major}.{sys.version_info.minor}" not in said  # no path of this machine is shown


def test_there_are_three_notebooks_and_they_are_kept_as_text():
    assert [path.stem for path in NOTEBOOKS] == ["first-look", "reading-a-study", "your-own-frames"]
    assert not list((ROOT / "docs").glob("notebooks/*.ipynb"))
