"""What modules of bnlens import from each other; imports in functions and those for type checkers count too.

No module imports itself by way of others. A module whose name begins with an underscore is for its own package: others import
what the package's face gives.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import bnlens

ROOT = Path(bnlens.__file__).parent


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Module and full name of all that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in {source}"
            yield from ((str(node.module), f"{node.module}.{alias.name}") for alias in node.names)


def sources(root: Path) -> dict[tuple[str, ...], str]:
    """Path of a file, in parts without its ending, -> its text."""
    files = sorted(root.rglob("*.py"))
    return {path.relative_to(root.parent).with_suffix("").parts: path.read_text(encoding="utf-8") for path in files}


def cycle(root: Path) -> list[str]:
    """Return one cycle among the modules of a package, empty if there is none."""
    files = {".".join(parts[:-1] if parts[-1] == "__init__" else parts): text for parts, text in sources(root).items()}
    # a name from a package is a module of it, or the package
    modules = {
        name: {full if full in files else module for module, full in imported(text)} & set(files)
        for name, text in files.items()
    }
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def is_private(name: str, importer: tuple[str, ...]) -> bool:
    """Whether ``name`` is private to a package that ``importer`` is not in; what lies in bnlens itself is for all rooms."""
    parts = tuple(name.split("."))
    hidden = [depth for depth, part in enumerate(parts) if part.startswith("_") and not part.endswith("__")]
    return any(depth > 1 and importer[:depth] != parts[:depth] for depth in hidden)


def test_no_module_imports_itself_by_way_of_others():
    assert len(sources(ROOT)) > 200
    assert cycle(ROOT) == []


def test_circles_in_functions_and_for_type_checkers_are_found(tmp_path: Path):
    room = tmp_path / "house" / "room"
    room.mkdir(parents=True)
    (room.parent / "__init__.py").touch()
    (room / "__init__.py").write_text("from house.room.a import f\n")
    (room / "a.py").write_text("def f():\n    from house.room import b\n    return b\n")
    (room / "b.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.c\n")
    (room.parent / "c.py").write_text("import os\nimport house\n")
    assert cycle(room.parent) == []
    (room.parent / "c.py").write_text("from house.room import f\n")
    assert set(cycle(room.parent)) == {"house.room", "house.room.a", "house.room.b", "house.c"}


def test_no_module_imports_what_is_private_to_another_package():
    found = {
        (".".join(importer), name)
        for importer, text in sources(ROOT).items()
        for _, name in imported(text)
        if name.startswith("bnlens.") and is_private(name, importer)
    }
    assert found == set()


def test_the_rule_of_private_names():
    web = ("bnlens", "web", "pages", "labs")
    assert is_private("bnlens.claims._content.job_key", web)
    assert is_private("bnlens.web.labs._lab.Lab", web)
    assert is_private("bnlens.web.labs.gap._zeta", web)
    assert not is_private("bnlens.web._optional.require", web)
    assert not is_private("bnlens._files.write_atomic", web)
    code = "if TYPE_CHECKING:\n    from a._b import c\ndef f():\n    import a._d"
    assert [name for _, name in imported(code)] == ["a._b.c", "a._d"]
