"""A notebook, run without a screen, shows a report."""

from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from bnlens.measure import Report

GOLDEN = Path(__file__).parent / "measure" / "golden"


def test_a_notebook_shows_the_report_as_html(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # the present folders, without a warning about the former ones
    monkeypatch.setenv("COLUMNS", "80")
    notebook = new_notebook(cells=[new_code_cell("import bnlens\n\nbnlens.Report.load('schema1.json')")])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(GOLDEN)}}).execute()
    (output,) = notebook.cells[0].outputs
    report = Report.load(GOLDEN / "schema1.json")
    assert output.output_type == "execute_result"
    assert output.data["text/html"] == report._repr_html_()
    assert output.data["text/plain"] == report.table(width=80)
