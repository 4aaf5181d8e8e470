"""The source of a package as definitions: each module parsed once, with what its names are bound to."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

__all__ = ["FUNCTION", "Bindings", "Import", "References", "Source", "names"]

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


class Import(NamedTuple):
    """The target of an import: a module, or a name in it."""

    module: str
    name: str | None


Bindings: TypeAlias = dict[str, Import | list[ast.stmt]]


@dataclass
class Module:
    """A parsed module: its names with their definitions, the statements that are run for their effect, its imports."""

    name: str
    bindings: Bindings = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)


@dataclass
class References:
    """All that a definition refers to: dotted names, attributes of anything, its own imports, names in annotations."""

    text: str
    chains: list[tuple[str, ...]] = field(default_factory=list)
    annotations: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    bindings: dict[str, Import] = field(default_factory=dict)
    imports: list[str] = field(default_factory=list)


class Source:
    """The source of a package, each file parsed once.

    Args:
        root: folder of the package; its name is the package's.
        others: files of further modules, by name.
    """

    def __init__(self, root: Path, others: dict[str, Path] | None = None) -> None:
        self.package = root.name
        self._root = root
        self._others = others or {}
        self._modules: dict[str, Module] = {}
        self._paths: dict[str, Path | None] = {}
        self._references: dict[ast.stmt, References] = {}

    def module(self, name: str) -> Module:
        """Return a module, parsed."""
        if name not in self._modules:
            path = self.path(name)
            assert path is not None  # noqa: S101 - asked for only where `path` finds it
            tree = ast.parse(path.read_bytes())
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            self._modules[name] = self._parsed(name, tree, package)
        return self._modules[name]

    def path(self, name: str) -> Path | None:
        """Return the file of a module, None if it is not of this package and not among the others."""
        if name not in self._paths:
            self._paths[name] = self._find(name)
        return self._paths[name]

    def _find(self, name: str) -> Path | None:
        first, *rest = name.split(".")
        if first != self.package:
            return self._others.get(name)
        place = self._root.joinpath(*rest)
        candidates = (place / "__init__.py", place.with_suffix(".py"))
        return next((path for path in candidates if path.is_file()), None)

    def references(self, statement: ast.stmt, package: str) -> References:
        """Return what a statement refers to."""
        if statement not in self._references:
            found = References("")
            essence: ast.AST = _Essence().visit(statement)
            parts: list[str] = []
            _add_text(essence, parts)
            found.text = "".join(parts)
            self._refer(essence, package, found)
            annotations = (
                node.annotation for node in ast.walk(statement) if isinstance(node, ast.arg) and node.annotation
            )
            found.annotations.update(*map(names, annotations))
            self._references[statement] = found
        return self._references[statement]

    def _parsed(self, name: str, tree: ast.Module, package: str) -> Module:
        module = Module(name)
        for statement in _statements(tree.body):
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                bound, loaded = _imported(statement, package)
                module.bindings.update(bound)
                module.imports += loaded
            elif names := list(_bound(statement)):
                for bound_name in names:
                    kept = module.bindings.setdefault(bound_name, [])
                    if isinstance(kept, list):
                        kept.append(statement)
                if isinstance(statement, (ast.If, ast.Try)):  # a name may be imported in one of its branches
                    module.imports += [each for node in _imports_in(statement) for each in _imported(node, package)[1]]
            elif not _is_idle(statement):
                module.effects.append(statement)
        return module

    def _refer(self, node: ast.AST, package: str, found: References) -> None:
        if isinstance(node, ast.Attribute):
            chain = _chain(node)
            found.attributes.add(node.attr)
            if chain:
                found.chains.append(chain)
                found.attributes.update(chain[1:])
                return
        elif isinstance(node, ast.Name):
            found.chains.append((node.id,))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found.attributes.add(node.value)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound, loaded = _imported(node, package)
            found.bindings.update(bound)
            found.imports += loaded
        elif isinstance(node, ast.If) and _is_for_checkers(node):
            for statement in node.orelse:
                self._refer(statement, package, found)
            return
        for child in ast.iter_child_nodes(node):
            self._refer(child, package, found)


def names(expression: ast.expr) -> Iterator[str]:
    """Yield the names in an expression."""
    yield from (node.id for node in ast.walk(expression) if isinstance(node, ast.Name))


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module that are run, without those for type checkers alone."""
    for statement in body:
        if isinstance(statement, ast.If) and _is_for_checkers(statement):
            yield from _statements(statement.orelse)
        else:
            yield statement


def _is_for_checkers(node: ast.If) -> bool:
    return ast.unparse(node.test).endswith("TYPE_CHECKING")


def _is_idle(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)
    )


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of a module binds."""
    if isinstance(statement, (*FUNCTION, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [node for target in targets for node in ast.walk(target)]
        if all(isinstance(node, (ast.Name, ast.Tuple, ast.List, ast.Starred, ast.expr_context)) for node in names):
            yield from (node.id for node in names if isinstance(node, ast.Name))
    elif isinstance(statement, (ast.If, ast.Try)):
        for node in ast.walk(statement):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _imports_in(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    return (each for each in ast.walk(node) if isinstance(each, (ast.Import, ast.ImportFrom)))


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> tuple[dict[str, Import], list[str]]:
    """Return what an import binds, and the modules that it loads."""
    if isinstance(node, ast.Import):
        bound = {
            alias.asname or alias.name.split(".")[0]: Import(
                alias.name if alias.asname else alias.name.split(".")[0], None
            )
            for alias in node.names
        }
        return bound, [alias.name for alias in node.names]
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    return (
        {alias.asname or alias.name: Import(base, alias.name) for alias in node.names},
        [base, *(f"{base}.{alias.name}" for alias in node.names)],
    )


def _chain(node: ast.Attribute) -> tuple[str, ...]:
    """Return ``("a", "b", "c")`` for ``a.b.c``, nothing where it does not begin with a name."""
    names: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        names.append(inner.attr)
        inner = inner.value
    return (inner.id, *reversed(names)) if isinstance(inner, ast.Name) else ()


def _add_text(node: object, parts: list[str]) -> None:
    """Add the parts of a syntax tree as text that is the same in every version of Python."""
    if isinstance(node, ast.AST):
        parts.append(f"{type(node).__name__}(")
        for name, value in ast.iter_fields(node):
            if value is not None and value != []:  # newer versions have more fields, empty as a rule
                parts.append(f"{name}=")
                _add_text(value, parts)
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for each in node:
            _add_text(each, parts)
        parts.append("]")
    else:
        parts.append(f"{node!r},")


class _Essence(ast.NodeTransformer):
    """Makes a syntax tree without docstrings and without annotations of functions; the tree it is given stays."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        fields: dict[str, Any] = {name: self._visited(value) for name, value in ast.iter_fields(node)}
        if isinstance(node, (ast.ClassDef, *FUNCTION)) and ast.get_docstring(node, clean=False) is not None:
            fields["body"] = fields["body"][1:]
        if isinstance(node, FUNCTION):
            fields["returns"] = None
        if isinstance(node, ast.arg):
            fields["annotation"] = None
        return type(node)(**fields)

    def _visited(self, value: object) -> object:
        if isinstance(value, list):
            return [self._visited(each) for each in value]
        return self.visit(value) if isinstance(value, ast.AST) else value
