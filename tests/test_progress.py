"""The progress bar: what it shows in a terminal, in a notebook and elsewhere, and that it is silent otherwise."""

import io
import subprocess
import sys

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from rich.console import Console

from bnlens._progress import counter, progress_bar


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self):
        return self.now


def shown(width=120, **options):
    return Console(file=io.StringIO(), width=width, **options)


def last_lines(console):
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_one_line_with_the_present_stage_the_share_done_and_a_note():
    console = shown()
    with progress_bar(keep=True, console=console) as bar:
        advance = bar.stage("passes")  # of unknown length
        advance()
        advance()
        bar.stage("[groups]", 5)  # no markup
        bar.update(3, 5, note="loss [0.25]")
    (line,) = last_lines(console)
    assert line.startswith("[groups] ")
    assert "60%" in line
    assert line.endswith("left loss [0.25]")


@pytest.mark.parametrize("width", [40, 80])
def test_one_line_fits_the_terminal(width):
    console = shown(width)
    with progress_bar(keep=True, console=console) as bar:
        bar.stage("computing", 7)
        bar.update(2, 7, note="1/3 jobs: " + "a long name " * 10)
    (line,) = last_lines(console)
    assert len(line) <= width
    assert "29%" in line
    assert " left " in line
    assert line.endswith("…")


def test_another_title_begins_a_stage_and_a_training_begins_with_its_steps():
    console = shown()
    with progress_bar(keep=True, console=console) as bar:
        bar.update(4, 4, title="reading", note="so far")
        bar.stage("training", 100)
    (line,) = last_lines(console)
    assert line.startswith("training ")
    assert " 0% " in line
    assert "so far" not in line


def test_a_line_now_and_then_where_there_is_no_terminal(capsys):
    clock = Clock()
    with progress_bar(clock=clock) as bar:
        bar.stage("training", 10)
        for step in range(1, 11):
            clock.now += 10
            bar.update(step, 10, note=f"loss {1 / step:.1f}")
        bar.stage("passes")
        clock.now += 40
        bar.update(3)
    assert capsys.readouterr() == (
        "",
        "training: 30%, 70 s left, loss 0.3\ntraining: 60%, 40 s left, loss 0.2\ntraining: 90%, 10 s left, loss 0.1\n"
        "passes: 3 done\n",
    )


def test_short_work_and_work_without_a_bar_are_silent(capsys):
    with counter("writing") as report:
        report(1, 2)
    clock = Clock()
    with progress_bar(False, clock=clock) as bar:
        bar.stage("training", 10)
        clock.now = 1000.0
        bar.update(5, 10)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_has_a_widget(monkeypatch):
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # the present folders, without a warning about the former ones
    code = (
        "from bnlens._progress import progress_bar\nwith progress_bar(keep={}) as bar:\n    bar.stage('training', 4)\n"
    )
    code += "    bar.update(4, 4, note='loss <1>')"
    notebook = new_notebook(cells=[new_code_cell(code.format(keep)) for keep in (True, False)])
    NotebookClient(notebook, timeout=300).execute()
    (kept,), (gone,) = (cell.outputs for cell in notebook.cells)
    assert kept.data["text/html"].startswith('<progress value="1.000"></progress> training: 100%')
    assert kept.data["text/html"].endswith("loss &lt;1&gt;")
    assert gone.data == {"text/plain": "", "text/html": ""}


def test_rich_is_not_loaded_before_a_bar_is_shown():
    code = (
        "import sys\nfrom bnlens._progress import counter\n"
        "with counter('x') as report: report(1, 2)\nassert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE)
