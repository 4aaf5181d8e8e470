"""Functions of the user on the command line, whatever their code does when it is imported or called."""

import sys
from pathlib import Path

import pytest

from bnlens.cli._functions import call_function, import_function
from bnlens.errors import BnlensError, ModelError, UsageError

FILES = {
    "own_net.py": "def make():\n    return 'net'\nclass Nets:\n    small = 3\n",
    "own_parser.py": "import argparse\np = argparse.ArgumentParser()\np.add_argument('file')\np.parse_args()\n",
    "own_defaults.py": "import argparse, sys\nargparse.ArgumentParser().parse_args()\n"
    "print('loaded')\ndef make(): return sys.argv\n",
    "own_exit.py": "import sys\nsys.exit('no GPU')\n",
    "own_lines.py": "raise ValueError('one\\ntwo')\n",
    "own_syntax.py": "def make(:\n",
    "sub/own_deep.py": "from own_beside import value\ndef make():\n    return value\n",
    "sub/own_beside.py": "value = 7\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in FILES:
        sys.modules.pop(Path(name).stem, None)


def test_a_function_of_a_module_or_of_a_file(folder):
    assert import_function("own_net:make")() == "net"
    assert import_function("own_net:Nets.small") == 3
    assert import_function("own_net.py:make")() == "net"
    assert import_function(f"{folder}/sub/own_deep.py:make")() == 7  # finds what lies beside it


def test_code_that_reads_arguments_finds_none_and_prints_to_standard_error(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bnlens", "report", "own_defaults:make"])
    assert call_function(import_function("own_defaults:make"), "own_defaults:make") == ["own_defaults:make"]
    assert sys.argv[0] == "bnlens"
    assert capsys.readouterr() == ("", "loaded\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("own_net.make", "'own_net.make' names no function; use a colon, own_net:make"),
        ("own_net.py", "does not say which function of the file; give own_net.py:factory"),
        ("own_net:", "names no function; give package.module:factory or path/to/file.py:factory"),
        (":make", "names no function; give package.module:factory"),
        ("own_net:mke", "own_net has no 'mke'; did you mean 'make'"),
        ("own_net:zzz", "own_net has no 'zzz'; give package.module:factory"),
        ("missing_for_bnlens:make", "No module named 'missing_for_bnlens'"),
        ("missing.py:make", "there is no file missing.py"),
        ("own_parser:make", r"it ended the program when it was imported \(exit code 2\); put what reads arguments"),
        ("own_exit.py:make", r"it ended the program when it was imported \(exit code no GPU\)"),
        ("own_lines:make", "ValueError: one two; give package.module"),
        ("own_syntax:make", "SyntaxError"),
    ],
)
def test_one_sentence_for_code_that_cannot_be_imported(text, words, capsys):
    with pytest.raises(UsageError, match=words) as caught:
        import_function(text)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise KeyError('weights')", "KeyError: 'weights'; it is called without arguments"),
        ("exit(7)", r"\(exit code 7\)"),
    ],
)
def test_one_sentence_for_code_that_cannot_be_called(code, words):
    def make():
        exec(code)  # noqa: S102

    with pytest.raises(ModelError, match=f"'net:make' failed: .*{words}") as caught:
        call_function(make, "net:make")
    assert isinstance(caught.value, BnlensError)
