"""The reference: a page for each public module, every public name once, under its shortest name, from its docstring."""

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.autodoc.mock import mock
from sphinx.pycode import ModuleAnalyzer

TRAINERS = (
    "bnlens.integrations.lightning",
    "bnlens.integrations.transformers",
)  # names of no package: they import these
MOCKED = ["lightning", "pytorch_lightning", "transformers"]  # the same with them and without
Names = dict[str, dict[str, Any]]


def public_modules(name: str = "bnlens") -> Iterator[str]:
    """Names of a module and of the public modules in it."""
    yield name
    module = importlib.import_module(name)
    for inner in module.__all__:
        if inspect.ismodule(getattr(module, inner)):
            yield from public_modules(f"{name}.{inner}")


def public_names() -> Names:
    """Module -> name -> object, modules left out."""
    with mock(MOCKED):
        named = {module: importlib.import_module(module) for module in (*public_modules(), *TRAINERS)}
    return {
        name: {key: value for key in module.__all__ if not inspect.ismodule(value := getattr(module, key))}
        for name, module in named.items()
    }


def shortest(names: Names) -> dict[int, str]:
    """Identity of a public object -> the name that it has in the reference."""
    found: dict[int, str] = {}
    for module, inside in names.items():
        for name, value in inside.items():
            found.setdefault(id(value), f"{module}.{name}")
    return found


def entry(full_name: str, value: object) -> str:
    """The reStructuredText of one name."""
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, Exception) else "class"
        bases = "" if value.__bases__ == (object,) else "   :show-inheritance:\n"
        return f".. auto{kind}:: {full_name}\n   :members:\n{bases}"
    if inspect.isroutine(value):
        return f".. autofunction:: {full_name}\n"
    module, _, name = full_name.rpartition(".")
    if get_origin(value) is Annotated:
        value = get_args(value)[0]
    text = value if isinstance(value, str) else str(value).replace("typing.", "")
    shown = f"   :value: {text}\n" if len(text) < 200 else ""
    return f".. py:data:: {name}\n   :module: {module}\n{shown}\n" + "".join(
        f"   {line}\n" for line in described(module, name)
    )


def described(package: str, name: str) -> list[str]:
    """The text below a constant, in whichever module of the package it is defined."""
    for source in sorted(each for each in sys.modules if f"{each}.".startswith(f"{package}.")):
        if text := ModuleAnalyzer.for_module(source).find_attr_docs().get(("", name)):
            return text
    return []


def write_pages(app: Sphinx) -> None:
    """Write the pages into the folder `reference`, those that changed alone."""
    names = public_names()
    canonical = shortest(names)
    app.config.public_names = aliases(names, canonical)
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    for module, inside in names.items():
        entries = [
            entry(f"{module}.{name}", value)
            for name, value in sorted(inside.items(), key=lambda item: item[0].lower())
            if canonical[id(value)] == f"{module}.{name}"
        ]
        head = f"{module}\n{'=' * len(module)}\n\n.. automodule:: {module}\n\n"
        write_changed(folder / f"{module}.rst", head + "\n".join(entries))
    listed = "".join(f"   {module}\n" for module in names)
    write_changed(folder / "index.rst", f"Reference\n=========\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}")


def aliases(names: Names, canonical: dict[int, str]) -> dict[str, str]:
    """Every other full name of a public object -> the one in the reference."""
    found = {}
    for module, inside in names.items():
        for name, value in inside.items():
            defined = f"{getattr(value, '__module__', module)}.{getattr(value, '__qualname__', name)}"
            found |= {f"{module}.{name}": canonical[id(value)], defined: canonical[id(value)]}
    return found


def write_changed(path: Path, text: str) -> None:
    """Write a file unless it holds the text already: Sphinx reads again what is newer."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Lead names that an object has elsewhere, ``bnlens.measure._report.Report``, to its place in the reference."""
    known: dict[str, str] = app.config.public_names
    target = node.get("reftarget", "")
    inside = node.get("py:module", "")
    owner, _, attribute = target.rpartition(".")
    full = known.get(target) or known.get(f"{inside}.{target}")
    if full is None and owner in known:
        full = f"{known[owner]}.{attribute}"
    if node.get("refdomain") != "py" or full is None:
        return None
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before the build, and resolve names while it runs."""
    app.add_config_value("public_names", {}, "")
    app.config.autodoc_mock_imports = MOCKED
    app.connect("builder-inited", write_pages)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
