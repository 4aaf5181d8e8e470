"""Executes the lines of Python that a lab shows."""

import ast
import contextlib
import io
import re
from typing import Any


def printed(code: str) -> list[float]:
    """Execute lines of Python as a script and return the numbers that they print."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "lab", "exec"), {})  # noqa: S102 - our own text
    return [float(word) for word in re.findall(r"(?<![\w.])[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf|nan)\b", out.getvalue())]


def run(code: str) -> list[Any]:
    """Execute lines of Python and return the values of those that have one."""
    names: dict[str, Any] = {}
    values = []
    for line in ast.parse(code).body:
        if isinstance(line, ast.Expr):
            values.append(eval(compile(ast.Expression(line.value), "lab", "eval"), names))  # noqa: S307 - our own text
        else:
            exec(compile(ast.Module([line], []), "lab", "exec"), names)  # noqa: S102
    return values
