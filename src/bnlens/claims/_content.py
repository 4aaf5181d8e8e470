"""Content keys: a stored result is reused only for the same job, computed by the same code."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bnlens.claims._claim import Job

__all__ = ["code_version", "job_key"]

_PACKAGE = "bnlens"
_ROOT = Path(__file__).parent.parent
# What shows, words or stores a number cannot change it.
_WITHOUT_EFFECT = {"__init__", "__main__", "_files", "cli", "errors", "render"}
_MACHINERY = {
    "__init__",
    "_claim",
    "_content",
    "_dask",
    "_dask_worker",
    "_data",
    "_fingerprint",
    "_html",
    "_pool",
    "_setup",
    "_stored",
    "_table",
    "_threads",
    "_worker",
    "register",
    "runner",
    "store",
}


def job_key(job: Job, contents: Mapping[str, str] | None = None) -> str:
    """Return the key under which the result of ``job`` is stored.

    It is a SHA-256 over the qualified name of its function, its configuration and the `code_version` of the function, so
    claims that ask for the same computation share its result. The versions of other packages are recorded with a
    result, not part of its key.

    Args:
        job: the job.
        contents: by data folder, as it stands in the configuration under ``data``, what counts in its place: a
            fingerprint of its content, so that the same images elsewhere are the same computation.

    Raises:
        TypeError: the configuration is not JSON data.
    """
    function = f"{job.function.__module__}:{job.function.__qualname__}"
    config = dict(job.config)
    if contents and config.get("data") in contents:
        config["data"] = contents[config["data"]]
    content = [function, config, code_version(job.function)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def code_version(function: Callable[..., Any]) -> str:
    """Return a hash of the source that computes ``function``: its module and every room of bnlens that it builds on.

    The imports of the module are followed, those inside functions included and those for type checkers left out. A room
    counts as a whole; of ``bnlens.claims`` only the modules imported count. Comments, layout and docstrings do not.
    ``import bnlens`` counts as importing every room.
    """
    return _module_version(function.__module__)


@functools.lru_cache(maxsize=256)
def _module_version(module: str) -> str:
    digest = hashlib.sha256()
    for name, source in sorted(_sources(module).items()):
        digest.update(f"{name}\0{source}\0".encode())
    return digest.hexdigest()


def _sources(start: str) -> dict[str, str]:
    sources: dict[str, str] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if name in sources or path is None:
            continue
        tree = ast.parse(path.read_bytes())
        waiting += [found for imported in _imports(tree, name, path) for found in _counted(imported)]
        sources[name] = ast.dump(_Essence().visit(tree))
    return sources


def _path(module: str) -> Path | None:
    first, *rest = module.split(".")
    if first != _PACKAGE:
        file = getattr(sys.modules.get(module), "__file__", None)
        return Path(file) if file else None
    place = _ROOT.joinpath(*rest)
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _imports(tree: ast.Module, module: str, path: Path) -> Iterator[str]:
    """Yield the modules of bnlens that ``tree`` imports; the package itself stands for all of it."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name if alias.asname else _PACKAGE for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            parent = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (parent, node.module) if part)
            if _is_ours(base):
                yield from (_imported(base, alias.name) for alias in node.names if alias.name != "__version__")


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for_checkers = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        waiting += node.orelse if for_checkers and isinstance(node, ast.If) else ast.iter_child_nodes(node)


def _is_ours(module: str) -> bool:
    return module.split(".")[0] == _PACKAGE


def _imported(base: str, name: str) -> str:
    return f"{base}.{name}" if _path(f"{base}.{name}") else base


def _counted(module: str) -> list[str]:
    """Return the modules whose source counts when ``module`` is imported."""
    parts = module.split(".")
    if len(parts) == 1:
        rooms = {path.stem for path in _ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
        return [found for room in sorted(rooms - {"claims"}) for found in _counted(f"{_PACKAGE}.{room}")]
    if parts[1] in _WITHOUT_EFFECT:
        return []
    if parts[1] == "claims":
        return [module] if len(parts) > 2 and parts[2] not in _MACHINERY else []
    room = _ROOT / parts[1]
    files = sorted(room.rglob("*.py")) if room.is_dir() else [room.with_suffix(".py")]
    return [".".join((_PACKAGE, *_parts(path.relative_to(_ROOT)))) for path in files]


def _parts(path: Path) -> tuple[str, ...]:
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


class _Essence(ast.NodeTransformer):
    """Takes docstrings out of a syntax tree."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
        return node
