"""The places in our source that the theory sheet names: found by reading the files, so that nothing is imported."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import bnlens

__all__ = ["Place", "lines_of", "place_of"]

_ROOT = Path(bnlens.__file__).parent
_DEFINITION = (ast.FunctionDef, ast.ClassDef)


class Place(NamedTuple):
    """A file, relative to the package, and the first line of a definition in it."""

    file: str
    line: int

    @property
    def path(self) -> str:
        """Address of the page that shows it."""
        return f"/derivation/code/{self.file}#L{self.line}"


@lru_cache(maxsize=256)
def place_of(name: str) -> Place | None:
    """Return where a name begins that is written as in a document; None if it is not one of ours.

    >>> place_of("bnlens/theory/zeta.py")
    Place(file='theory/zeta.py', line=1)
    >>> place_of("bnlens.theory.gap_law(unit, distribution)").file
    'theory/gap.py'
    """
    name = name.partition("(")[0]
    if name.startswith("bnlens/"):
        file = _ROOT.parent / name
        return Place(name.removeprefix("bnlens/"), 1) if file.is_file() and file.suffix == ".py" else None
    first, *parts = name.split(".")
    found: tuple[Path, ast.AST] | None = (_ROOT / "__init__.py", _tree(_ROOT / "__init__.py"))
    if first != _ROOT.name:
        return None
    for part in parts:
        found = found and _inside(*found, part)
    return None if found is None else Place(found[0].relative_to(_ROOT).as_posix(), getattr(found[1], "lineno", 1))


def lines_of(file: str) -> list[str]:
    """Return the lines of a file of the package."""
    return (_ROOT / file).read_text(encoding="utf-8").splitlines()


@lru_cache(maxsize=256)
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes())


def _inside(file: Path, scope: ast.AST, name: str) -> tuple[Path, ast.AST] | None:
    """Return the definition that a name has in a module or class, in whichever file it is, or the module of that name."""
    defined = [node for node in getattr(scope, "body", ()) if isinstance(node, _DEFINITION) and node.name == name]
    if defined:
        return file, defined[-1]  # those before it are overloads
    for node in ast.walk(scope):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == _ROOT.name:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    folder = _ROOT.joinpath(*node.module.split(".")[1:])
                    source = _module(folder)
                    return _module(folder / alias.name) or (source and _inside(*source, alias.name))
    return _module(file.parent / name) if file.name == "__init__.py" else None


def _module(path: Path) -> tuple[Path, ast.AST] | None:
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next(((file, _tree(file)) for file in files if file.is_file()), None)
