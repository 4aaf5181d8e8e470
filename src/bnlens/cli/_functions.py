"""Functions of the user, named on the command line and imported from their code, which may do anything."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from bnlens._names import did_you_mean
from bnlens.errors import ModelError, UsageError

__all__ = ["call_function", "import_function", "looks_like_code"]

_FORM = "package.module:{0} or path/to/file.py:{0}"


def looks_like_code(text: str) -> bool:
    """Return whether a text names a function of the user: it has a colon, a dot or a slash."""
    return any(mark in text for mark in ":./\\")


def import_function(text: str, example: str = "factory") -> Any:
    """Return what ``package.module:name`` or ``path/to/file.py:name`` names.

    Args:
        text: see above; ``name`` may have dots.
        example: stands for the name in errors.

    Raises:
        UsageError: the text has another form, the module cannot be imported, or has no such name.
    """
    place, colon, name = text.rpartition(":")
    form = _FORM.format(example)
    if not (place and name):
        if text.endswith(".py") and not colon:
            raise UsageError(f"{text!r} does not say which function of the file; give {text}:{example}")
        module, dot, last = text.rpartition(".")
        hint = f"use a colon, {module}:{last}" if dot and module and last and not colon else f"give {form}"
        raise UsageError(f"{text!r} names no function; {hint}")
    with _own_arguments(place), _told(f"cannot import {text!r}", "when it was imported", f"give {form}", UsageError):
        with contextlib.redirect_stderr(io.StringIO()) as said:  # the usage of a program that found no arguments
            found: Any = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
        sys.stderr.write(said.getvalue())
    for part in name.split("."):
        if not hasattr(found, part):
            known = [each for each, value in vars(found).items() if callable(value) and each[0] != "_"]
            raise UsageError(f"{place} has no {part!r}; {did_you_mean(part, known, f'give {form}')}")
        found = getattr(found, part)
    return found


def call_function(function: Callable[[], Any], text: str) -> Any:
    """Return what a function without arguments returns; ``text`` is its name in errors.

    Raises:
        ModelError: it raised, or ended the program.
    """
    fix = "it is called without arguments"
    with _own_arguments(text), _told(f"{text!r} failed", "when it was called", fix, ModelError):
        return function()


@contextlib.contextmanager
def _own_arguments(name: str) -> Iterator[None]:
    """Keep the arguments of bnlens from code that reads its own, and its output from standard output."""
    before, sys.argv = sys.argv, [name]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _told(failed: str, when: str, fix: str, kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except SystemExit as error:
        own = 'put what reads arguments or exits under if __name__ == "__main__"'
        raise kind(f"{failed}: it ended the program {when} (exit code {error.code}); {own}") from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise kind(f"{failed}: {reason}; {fix}") from error


def _import_module(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does; it stays, for what the code imports later
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    """Import a file as `python FILE` finds it: its folder comes first in the search path."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    sys.path.insert(0, str(path.resolve().parent))
    name = path.stem if path.stem not in sys.modules else f"bnlens_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
