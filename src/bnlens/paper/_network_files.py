"""Networks from files: works of OpenAlex, and CSL-JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlens._arguments import Count, checked
from bnlens.errors import DataError
from bnlens.paper._csl_network import read_csl
from bnlens.paper._network import Network
from bnlens.paper._openalex import read_openalex

__all__ = ["MOST_NODES", "parse_network", "read_network"]

MOST_NODES = 5000
_MOST_BYTES = 256 * 2**20
_HOW = "export works of OpenAlex, or CSL-JSON"
_LISTS = ("results", "items")

_Item = Mapping[str, Any]
_READERS: tuple[tuple[Callable[[_Item], bool], Callable[[Sequence[_Item]], Network]], ...] = (
    (
        lambda item: str(item.get("id", "")).startswith("https://openalex.org/") or "referenced_works" in item,
        read_openalex,
    ),
    (
        lambda item: isinstance(item.get("type"), str) and not item.keys().isdisjoint({"title", "author", "DOI"}),
        read_csl,
    ),
)


@checked
def read_network(path: str | os.PathLike[str], limit: Count = MOST_NODES) -> Network:
    """Read the network around the paper from an export; what kind of export it is, its content says.

    OpenAlex: works as the API gives them (a list, an answer with ``results``, or one work per line).
    CSL-JSON: records with ``reference`` lists, as DOI registrars hand them out, or ``custom.references``, a list of ids.

    Args:
        path: the file, UTF-8, at most 256 MiB.
        limit: most nodes; beyond, those nearest to the paper and most connected are kept, and a note says so.

    Raises:
        DataError: the file cannot be read or is none of these.
        UsageError: ``limit`` is below 1.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise DataError(
                f"{path} has {size / 2**20:.0f} MiB, more than {_MOST_BYTES // 2**20}; export fewer works or fewer fields"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8; {_HOW}") from error
    return parse_network(text, str(path), limit)


@checked
def parse_network(text: str, name: str = "the text", limit: Count = MOST_NODES) -> Network:
    """Read a network as `read_network` does, from a file's text; ``name`` is what messages call it."""
    items = _items(_json(text, name), name)
    for index, item in enumerate(items, start=1):
        if not isinstance(item, Mapping):
            raise DataError(f"entry {index} of {name} is {_kind(item)}, not a work; {_HOW}")
    for is_ours, read in _READERS:
        if is_ours(items[0]):
            return read(items).limited(limit)
    raise DataError(f"{name} is not a citation network that bnlens knows; {_HOW}")


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DataError(f"{name} is nested too deeply; {_HOW}") from error
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            if len(lines) < 2:
                raise error
            return [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            raise DataError(f"{name} is not JSON ({error}); {_HOW}") from error


def _items(found: Any, name: str) -> Sequence[Any]:
    """Return the works of an answer, of several answers, or of a plain list."""
    if isinstance(found, Mapping):
        items = _listed(found)
    elif isinstance(found, list):
        items = [item for part in found for item in (_listed(part) if isinstance(part, Mapping) else [part])]
    else:
        raise DataError(f"{name} holds {_kind(found)}, not works; {_HOW}")
    if not items:
        raise DataError(f"{name} has no works in it; {_HOW}")
    return items


def _listed(answer: Mapping[str, Any]) -> list[Any]:
    """Return the works that an answer lists; without a list it is one itself."""
    return next((answer[key] for key in _LISTS if isinstance(answer.get(key), list)), [answer])


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")
