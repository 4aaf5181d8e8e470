"""The progress bar: what it shows, where, and that it is silent otherwise."""

import io
import subprocess
import sys

from rich.console import Console

from bnlens._progress import counter, progress_bar


def shown(**options):
    return Console(file=io.StringIO(), width=120, **options)


def test_shows_every_stage_with_its_steps_and_note():
    console = shown()
    with progress_bar(True, keep=True, console=console) as bar:
        advance = bar.stage("passes")  # of unknown length
        advance()
        advance()
        bar.stage("[groups]", 5)  # no markup
        bar.update(3, note="loss [0.25]")
    passes, groups = console.file.getvalue().splitlines()
    assert passes.split()[0] == "passes"
    assert "2/2" in passes  # ended by the next stage
    assert groups.split()[0] == "[groups]"
    assert "3/5" in groups
    assert groups.rstrip().endswith("loss [0.25]")


def test_a_title_can_count_in_place_of_the_steps():
    console = shown()
    with progress_bar(True, keep=True, counted=False, console=console) as bar:
        bar.stage("planning", 7)
        bar.update(2, 7, title="1/3 jobs")
    assert "1/3 jobs" in console.file.getvalue()
    assert "2/7" not in console.file.getvalue()


def test_goes_to_standard_error_of_a_terminal_alone(capsys, monkeypatch):
    with counter("writing") as report:
        report(1, 2)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich draws transient bars on terminals only
    with counter("writing", show=True) as report:
        report(1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "writing" in captured.err
    assert "1/2" in captured.err


def test_rich_is_not_loaded_before_a_bar_is_shown():
    code = (
        "import sys\nfrom bnlens._progress import counter\n"
        "with counter('x', False) as report: report(1, 2)\nassert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
