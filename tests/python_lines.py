"""Executes the lines of Python that a lab shows."""

import ast
from typing import Any


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
