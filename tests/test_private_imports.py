"""A module whose name begins with an underscore is for its own package: others import what the package's face gives."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import bnlens

ROOT = Path(bnlens.__file__).parent.parent


def imported(source: str) -> Iterator[str]:
    """Full names of all that a module imports, for type checkers and inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_private(name: str, importer: tuple[str, ...]) -> bool:
    """Whether ``name`` is private to a package that ``importer`` is not in; what lies in bnlens itself is for all rooms."""
    parts = tuple(name.split("."))
    hidden = [depth for depth, part in enumerate(parts) if part.startswith("_") and not part.endswith("__")]
    return any(depth > 1 and importer[:depth] != parts[:depth] for depth in hidden)


def test_no_module_imports_what_is_private_to_another_package():
    found = {
        (".".join(importer), name)
        for path in sorted((ROOT / "bnlens").rglob("*.py"))
        for importer in [path.relative_to(ROOT).with_suffix("").parts]
        for name in imported(path.read_text(encoding="utf-8"))
        if name.startswith("bnlens.") and is_private(name, importer)
    }
    assert found == set()


def test_the_rule():
    web = ("bnlens", "web", "pages", "labs")
    assert is_private("bnlens.claims._content.job_key", web)
    assert is_private("bnlens.web.labs._lab.Lab", web)
    assert is_private("bnlens.web.labs.gap._zeta", web)
    assert not is_private("bnlens.web._optional.require", web)
    assert not is_private("bnlens._files.write_atomic", web)
    assert list(imported("if TYPE_CHECKING:\n    from a._b import c\ndef f():\n    import a._d")) == ["a._b.c", "a._d"]
