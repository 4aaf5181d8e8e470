"""No module of bnlens imports itself by way of others: imports in functions and those for type checkers count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import bnlens

ROOT = Path(bnlens.__file__).parent


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, modules: set[str]) -> Iterator[str]:
    """The modules that a file imports, wherever in it; a name from a package is a module of it, or the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in modules else str(node.module) for name in names)


def graph(root: Path) -> dict[str, set[str]]:
    """Module -> the modules of the same package that it imports."""
    files = {module_name(path, root): path for path in root.rglob("*.py")}
    return {name: set(imported(path, set(files))) & set(files) for name, path in files.items()}


def cycle(modules: dict[str, set[str]]) -> list[str]:
    """Return one cycle among the modules, empty if there is none."""
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others():
    modules = graph(ROOT)
    assert len(modules) > 200
    assert cycle(modules) == []


def test_circles_in_functions_and_for_type_checkers_are_found(tmp_path: Path):
    room = tmp_path / "house" / "room"
    room.mkdir(parents=True)
    (room.parent / "__init__.py").touch()
    (room / "__init__.py").write_text("from house.room.a import f\n")
    (room / "a.py").write_text("def f():\n    from house.room import b\n    return b\n")
    (room / "b.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.c\n")
    (room.parent / "c.py").write_text("import os\nimport house\n")
    assert cycle(graph(room.parent)) == []
    (room.parent / "c.py").write_text("from house.room import f\n")
    assert set(cycle(graph(room.parent))) == {"house.room", "house.room.a", "house.room.b", "house.c"}
