"""Docstrings are text first: formulas in them, which reStructuredText takes for markup, stay as they are written."""

import contextlib
import inspect
import re
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

_CODE = r"``.+?``|^ *(?:>>>|\.\.\.)[^\n]*"
_BAR = re.compile(rf"({_CODE})|\|", re.MULTILINE | re.DOTALL)  # |w| is no substitution
_LETTER = re.compile(r"^( +(?:\w+: )?)(?=[A-Za-z]\.(?: |$))", re.MULTILINE)  # "size: N." begins no list
_KINDS = {"ArrayLike": ArrayLike, "NDArray[float64]": NDArray[np.float64]}
_SHORT = {"<factory>": "..."} | {stringify_annotation(kind, "smart"): name for name, kind in _KINDS.items()}
_OPENS = re.compile(r"\w[\w ]*:$|[-*] |\.\. ")  # what may have paragraphs inside: a section, a list, a directive


def kept(text: str) -> str:
    """The text of a docstring with its formulas marked: those on indented lines of their own as they stand there."""
    opened, found = "", []
    for paragraph in re.split(r"\n{2,}", text):
        alone = all(line.startswith("    ") for line in paragraph.splitlines())
        if alone and opened and not _OPENS.match(opened):
            found += ["::", paragraph]
        else:
            found.append(_LETTER.sub(r"\1\\", _BAR.sub(lambda bar: bar[1] or r"\|", paragraph)))
        if not paragraph.startswith(" "):
            opened = paragraph.split("\n")[0]
    return "\n\n".join(found)


def keep(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Mark the formulas in a docstring, in place."""
    lines[:] = kept("\n".join(lines)).split("\n")


def shorten(
    app: Sphinx, what: str, name: str, value: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write NumPy's types of arrays by their names, and defaults that are made anew as what Python reads."""

    def short(text: str | None) -> str | None:
        for long, name in _SHORT.items():
            text = text and text.replace(long, name)
        return text

    return short(signature), short(returns)


def simplify(app: Sphinx, value: Any, bound: bool) -> None:
    """Leave out of the annotations of a function what narrows them (`bnlens._arguments`), which its docstring tells."""
    function = inspect.unwrap(value)
    with contextlib.suppress(AttributeError, NameError, TypeError):  # for names of type checkers alone
        function.__annotations__.update(get_type_hints(function))


def skip(app: Sphinx, what: str, name: str, value: object, skipped: bool, options: object) -> bool | None:
    """Leave out the fields of named tuples, which their class explains."""
    return True if (value.__doc__ or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Come before napoleon, which takes the sections apart."""
    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-before-process-signature", simplify)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
