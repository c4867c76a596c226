"""Executes the notebook on a run, and returns what its cells print."""

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path("notebooks/quickstart.ipynb")


def outputs(run: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The text and HTML of all outputs of the notebook, executed on the folder of a run.

    Jupyter's own files go to ``scratch``. Raises nbclient's `CellExecutionError` for a cell that
    fails.
    """
    monkeypatch.setenv("TINYMATHREASON_RUN", str(run.resolve()))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(scratch / name.lower()))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    found = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in found if output.get("name") == "stderr"]
    return "\n".join(
        str(output.get("text") or output["data"].get("text/html") or output["data"]["text/plain"])
        for output in found
    )
