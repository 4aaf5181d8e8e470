"""Finds the definitions that compute a function, by following names through the source, without importing anything.

A definition is a function, a method, an assignment or the frame of a class. From a function its names lead to other
definitions, through imports on any level but those for type checkers. Which class an attribute belongs to cannot be told
from the source, so ``x.fit`` leads to every method ``fit`` of every class reached. A class with a base from another package
counts with all its methods, because that package may call them. Texts that could be names count as attributes too, for
``getattr``. Annotations lead only to the functions in them, as in ``Annotated[ArrayLike, _loads]``: `bnlens._arguments.checked`
calls these on what is passed. So more may be found than is run, never less.
"""

from __future__ import annotations

import ast

from bnlens.runs._source import FUNCTION, Bindings, Import, References, Source, names

__all__ = ["definitions"]

# They check, show, word, store or announce a number, and cannot change it.
_WITHOUT_EFFECT = (
    "_arguments",
    "_devices",
    "_files",
    "_kinds",
    "_names",
    "_progress",
    "_sqlite",
    "errors",
    "measure._notes",
    "measure._trust_notes",
    "render",
)
_FOR_DISPLAY = {"__repr__", "__str__", "__rich_console__", "_repr_html_", "extra_repr"}
_INERT_BASES = {"ABC", "BaseException", "Enum", "Exception", "Generic", "NamedTuple", "Protocol", "object"}


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
        self._waiting: list[tuple[str, str, References]] = []
        self._attributes: set[str] = set()
        self._methods: dict[str, list[tuple[str, str, ast.stmt]]] = {}
        self._annotated: set[tuple[str, str]] = set()
        self._asked: set[str] = set()
        self._loaded: set[str] = set()
        self._foreign: dict[tuple[str, str], bool] = {}

    def symbol(self, module: str, name: str) -> None:
        """Add what a name of a module is bound to."""
        if not self._counts(module):
            return
        bindings = self._source.module(module).bindings
        self._load(module)
        bound = bindings.get(name)
        if isinstance(bound, Import):
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
        if module in self._asked:
            return
        self._asked.add(module)
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

    def _follow(self, bound: Import, rest: tuple[str, ...], where: str) -> None:
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
        return is_file and self._bindings(package).get(name) in (None, Import(package, name))

    def _bindings(self, module: str) -> Bindings:
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
            for name in references.annotations:
                self._annotation(module, name)
            bindings = self._source.module(module).bindings
            for first, *rest in references.chains:
                own = references.bindings.get(first)
                bound = own or bindings.get(first)
                if isinstance(bound, Import):
                    self._follow(bound, tuple(rest), f"{place}>{first}" if own else f"{module}:{first}")
                elif bound is not None:
                    self.symbol(module, first)

    def _annotation(self, module: str, name: str) -> None:
        """Add the functions that a name in an annotation stands for, itself or through a name for a type."""
        if (module, name) in self._annotated:
            return
        self._annotated.add((module, name))
        bound = self._bindings(module).get(name, [])
        if isinstance(bound, Import):
            self._annotation(bound.module, bound.name or "")
            return
        for statement in bound:
            if isinstance(statement, FUNCTION):
                self.symbol(module, name)
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
                for inner in names(statement.value):
                    self._annotation(module, inner)

    def _package(self, module: str) -> str:
        path = self._source.path(module)
        return module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]

    def _add_class(self, module: str, name: str, place: str, node: ast.ClassDef) -> None:
        """Add the frame of a class and the methods that Python calls; the others wait for their name to be used."""
        if place in self.found:
            return
        methods = [each for each in node.body if isinstance(each, FUNCTION) and each.name not in _FOR_DISPLAY]
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
            if isinstance(bound, Import):
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


def _framed(node: ast.ClassDef) -> ast.ClassDef:
    """Return a class without its methods."""
    body = [each for each in node.body if not isinstance(each, FUNCTION)]
    return ast.ClassDef(**{**dict(ast.iter_fields(node)), "body": body})
