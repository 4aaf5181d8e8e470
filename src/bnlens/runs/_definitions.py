"""Finds the definitions that compute a function, by following names through the source, without importing anything.

A definition is a function, a method, an assignment or the frame of a class. From a function its names lead to other
definitions, through imports on any level but those for type checkers. Which class an attribute belongs to cannot be told
from the source, so ``x.fit`` leads to every method ``fit`` of every class reached. A class with a base from another package
counts with all its methods, because that package may call them. Texts that could be names count as attributes too, for
``getattr``. So more may be found than is run, never less.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Source", "definitions"]

# They show, word, store or announce a number, and cannot change it.
_WITHOUT_EFFECT = ("_files", "_names", "_progress", "_sqlite", "errors", "measure._notes", "render")
_FOR_DISPLAY = {"__repr__", "__str__", "__rich__", "_repr_html_", "extra_repr"}
_INERT_BASES = {"ABC", "BaseException", "Enum", "Exception", "Generic", "NamedTuple", "Protocol", "object"}
_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


class _Import(NamedTuple):
    """The target of an import: a module, or a name in it."""

    module: str
    name: str | None


@dataclass
class _Module:
    """A parsed module: its names with their definitions, the statements that are run for their effect, its imports."""

    name: str
    bindings: dict[str, _Import | list[ast.stmt]] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)


@dataclass
class _References:
    """All that a definition refers to: dotted names, attributes of anything, its own imports."""

    text: str
    chains: list[tuple[str, ...]] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    bindings: dict[str, _Import] = field(default_factory=dict)
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
        self._modules: dict[str, _Module] = {}
        self._references: dict[ast.stmt, _References] = {}

    def module(self, name: str) -> _Module:
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
        first, *rest = name.split(".")
        if first != self.package:
            return self._others.get(name)
        place = self._root.joinpath(*rest)
        candidates = (place / "__init__.py", place.with_suffix(".py"))
        return next((path for path in candidates if path.is_file()), None)

    def references(self, statement: ast.stmt, package: str) -> _References:
        """Return what a statement refers to."""
        if statement not in self._references:
            found = _References("")
            essence: ast.AST = _Essence().visit(statement)
            found.text = "".join(_text(essence))
            self._refer(essence, package, found)
            self._references[statement] = found
        return self._references[statement]

    def _parsed(self, name: str, tree: ast.Module, package: str) -> _Module:
        module = _Module(name)
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

    def _refer(self, node: ast.AST, package: str, found: _References) -> None:
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


def definitions(source: Source, module: str, name: str) -> dict[str, str]:
    """Return the definitions that compute a function: ``module:name`` to the text of each syntax tree.

    Comments, layout, docstrings and annotations of functions are left out of the texts, and so are methods for display.

    Args:
        source: the source of the package.
        module: of the function.
        name: of the function, on module level.
    """
    walk = _Walk(source)
    walk.symbol(module, name.split(".")[0])
    walk.finish()
    return walk.found


class _Walk:
    """The definitions found so far from one function, and the methods that wait for their name to be used."""

    def __init__(self, source: Source) -> None:
        self.found: dict[str, str] = {}
        self._source = source
        self._waiting: list[tuple[str, str, _References]] = []
        self._attributes: set[str] = set()
        self._methods: dict[str, list[tuple[str, str, ast.stmt]]] = {}
        self._loaded: set[str] = set()
        self._foreign: dict[tuple[str, str], bool] = {}

    def symbol(self, module: str, name: str) -> None:
        """Add what a name of a module is bound to."""
        if not self._counts(module):
            return
        bindings = self._source.module(module).bindings
        self._load(module)
        bound = bindings.get(name)
        if isinstance(bound, _Import):
            self._follow(bound, (), f"{module}:{name}")
        elif bound is not None:
            for index, statement in enumerate(bound):
                place = f"{module}:{name}" + (f"#{index}" if index else "")
                if isinstance(statement, ast.ClassDef):
                    self._add_class(module, name, place, statement)
                else:
                    self._add(module, place, statement)
        elif (target := self._lazy(module, name)) is not None:
            self.symbol(target, name)
        elif not name.startswith("__"):
            self._whole(module)

    def _counts(self, module: str) -> bool:
        package, _, inner = module.partition(".")
        is_idle = any(inner == name or inner.startswith(f"{name}.") for name in _WITHOUT_EFFECT)
        return not (package == self._source.package and is_idle) and self._source.path(module) is not None

    def _lazy(self, module: str, name: str) -> str | None:
        """Return where a package finds a name on first use, by its table ``_NAMES`` of names to rooms."""
        table = self._source.module(module).bindings.get("_NAMES")
        if not isinstance(table, list) or not isinstance(table[0], ast.Assign):
            return None
        room = ast.literal_eval(table[0].value).get(name)
        return None if room is None else f"{module}.{room}"

    def _whole(self, module: str) -> None:
        """Add all of a module: it is passed on as an object, or a name in it cannot be found."""
        self._load(module)
        if f"{module}:*" not in self.found:
            self.found[f"{module}:*"] = ""
            for name in self._source.module(module).bindings:
                self.symbol(module, name)

    def _load(self, module: str) -> None:
        """Add what importing a module does: the effects of it, its packages and all that it imports."""
        for end in range(1, module.count(".") + 2):
            name = ".".join(module.split(".")[:end])
            if name in self._loaded or not self._counts(name):
                continue
            self._loaded.add(name)
            parsed = self._source.module(name)
            for imported in parsed.imports:
                self._load(imported)
            for index, statement in enumerate(parsed.effects):
                self._add(name, f"{name}:!{index}", statement)

    def _follow(self, bound: _Import, rest: tuple[str, ...], where: str) -> None:
        """Add what an import leads to, with the attributes ``rest`` of it."""
        target = bound.module if bound.name is None else f"{bound.module}.{bound.name}"
        if bound.module.split(".")[0] != self._source.package:
            self.found[where] = target  # of another package: by its name
            return
        if bound.name is not None and not self._is_module(bound.module, bound.name):
            self.symbol(bound.module, bound.name)
            return
        while rest and self._is_module(target, rest[0]):
            target, rest = f"{target}.{rest[0]}", rest[1:]
        if rest:
            self.symbol(target, rest[0])
        elif self._counts(target):
            self._whole(target)

    def _is_module(self, package: str, name: str) -> bool:
        """Whether a name of a package is a module in it, and not something else that the package binds to that name."""
        is_file = self._source.path(f"{package}.{name}") is not None
        return is_file and self._bindings(package).get(name) in (None, _Import(package, name))

    def _bindings(self, module: str) -> dict[str, _Import | list[ast.stmt]]:
        return self._source.module(module).bindings if self._source.path(module) else {}

    def _add(self, module: str, place: str, statement: ast.stmt) -> None:
        """Add a definition; what it refers to is followed later."""
        if place in self.found:
            return
        references = self._source.references(statement, self._package(module))
        self.found[place] = references.text
        self._waiting.append((module, place, references))

    def finish(self) -> None:
        """Follow the references of what was added, and of what they lead to, until nothing is new."""
        while self._waiting:
            module, place, references = self._waiting.pop()
            for name in references.attributes:
                self._use(name)
            for imported in references.imports:
                self._load(imported)
            bindings = self._source.module(module).bindings
            for first, *rest in references.chains:
                own = references.bindings.get(first)
                bound = own or bindings.get(first)
                if isinstance(bound, _Import):
                    self._follow(bound, tuple(rest), f"{place}>{first}" if own else f"{module}:{first}")
                elif bound is not None:
                    self.symbol(module, first)

    def _package(self, module: str) -> str:
        path = self._source.path(module)
        return module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]

    def _add_class(self, module: str, name: str, place: str, node: ast.ClassDef) -> None:
        """Add the frame of a class and the methods that Python calls; the others wait for their name to be used."""
        if place in self.found:
            return
        methods = [each for each in node.body if isinstance(each, _Function) and each.name not in _FOR_DISPLAY]
        frame = _framed(node)
        self._add(module, place, frame)
        is_foreign = self._is_foreign(module, name)
        for index, method in enumerate(methods):
            where = f"{place}.{method.name}#{index}"
            if is_foreign or method.name.startswith("__") or method.name in self._attributes:
                self._add(module, where, method)
            else:
                self._methods.setdefault(method.name, []).append((module, where, method))

    def _use(self, name: str) -> None:
        if name not in self._attributes:
            self._attributes.add(name)
            for module, where, method in self._methods.pop(name, []):
                self._add(module, where, method)

    def _is_foreign(self, module: str, name: str) -> bool:
        """Whether a class has a base from another package, whose code may call its methods."""
        if (module, name) not in self._foreign:
            self._foreign[module, name] = False
            bound = self._bindings(module).get(name)
            bases: list[ast.expr] = []
            if isinstance(bound, _Import):
                is_ours = bound.module.split(".")[0] == self._source.package
                answer = self._is_foreign(bound.module, bound.name or "") if is_ours else name not in _INERT_BASES
                self._foreign[module, name] = answer
            elif bound is not None:
                bases = [base for each in bound if isinstance(each, ast.ClassDef) for base in each.bases]
                self._foreign[module, name] = any(self._is_foreign_base(module, base) for base in bases)
            else:
                self._foreign[module, name] = name not in _INERT_BASES and not name.endswith(("Error", "Warning"))
        return self._foreign[module, name]

    def _is_foreign_base(self, module: str, base: ast.expr) -> bool:
        base = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(base, ast.Name):
            return self._is_foreign(module, base.id)
        return not (isinstance(base, ast.Attribute) and base.attr in _INERT_BASES)


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
    if isinstance(statement, (*_Function, ast.ClassDef)):
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


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> tuple[dict[str, _Import], list[str]]:
    """Return what an import binds, and the modules that it loads."""
    if isinstance(node, ast.Import):
        bound = {
            alias.asname or alias.name.split(".")[0]: _Import(
                alias.name if alias.asname else alias.name.split(".")[0], None
            )
            for alias in node.names
        }
        return bound, [alias.name for alias in node.names]
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    return (
        {alias.asname or alias.name: _Import(base, alias.name) for alias in node.names},
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


def _framed(node: ast.ClassDef) -> ast.ClassDef:
    """Return a class without its methods."""
    body = [each for each in node.body if not isinstance(each, _Function)]
    return ast.ClassDef(**{**dict(ast.iter_fields(node)), "body": body})


def _text(node: object) -> Iterator[str]:
    """Yield the parts of a syntax tree as text that is the same in every version of Python."""
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if value is not None and value != []:  # newer versions have more fields, empty as a rule
                yield f"{name}="
                yield from _text(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for each in node:
            yield from _text(each)
        yield "]"
    else:
        yield repr(node) + ","


class _Essence(ast.NodeTransformer):
    """Makes a syntax tree without docstrings and without annotations of functions; the tree it is given stays."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        fields: dict[str, Any] = {name: self._visited(value) for name, value in ast.iter_fields(node)}
        if isinstance(node, (ast.ClassDef, *_Function)) and ast.get_docstring(node, clean=False) is not None:
            fields["body"] = fields["body"][1:]
        if isinstance(node, _Function):
            fields["returns"] = None
        if isinstance(node, ast.arg):
            fields["annotation"] = None
        return type(node)(**fields)

    def _visited(self, value: object) -> object:
        if isinstance(value, list):
            return [self._visited(each) for each in value]
        return self.visit(value) if isinstance(value, ast.AST) else value
