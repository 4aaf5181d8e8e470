"""Plain text laid out for a width: paragraphs, boxes, and tables of as many columns as fit."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence

__all__ = ["aligned", "boxed", "columns_of_terminal", "fitted", "wrapped"]

_MOST = 120  # columns: longer lines are hard to read
_LEAST_NAME = 12  # of the first column, where it is folded

Row = Sequence[str]


def columns_of_terminal() -> int:
    """Return the width of the terminal, at most 120; 80 where there is none."""
    return min(shutil.get_terminal_size((80, 24)).columns, _MOST)


def aligned(rows: Sequence[Row]) -> str:
    """Return rows of text as columns two spaces apart: the first column to the left, the others to the right."""
    widths = _widths(rows)
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def fitted(rows: Sequence[Row], width: int, *, keys: int = 1) -> list[str]:
    """Return a table as one table or more, each no wider than ``width``, in the order of the columns.

    Names in the first column are folded where one further column would not fit beside them.

    Args:
        rows: headings first.
        width: in characters.
        keys: how many columns each of the tables begins with.
    """
    widths = _widths(rows)
    others = sum(width + 2 for width in widths[1:keys])
    room = max(_LEAST_NAME, width - others - max((2 + wide for wide in widths[keys:]), default=0))
    if widths[0] > room:
        rows = [line for row in rows for line in _folded(row, room)]
        widths = _widths(rows)
    used = start = widths[0] + others
    blocks: list[list[int]] = [[]]
    for index in range(keys, len(widths)):
        if blocks[-1] and used + 2 + widths[index] > width:
            blocks.append([])
            used = start
        blocks[-1].append(index)
        used += 2 + widths[index]
    return [aligned([[*row[:keys], *(row[index] for index in block)] for row in rows]) for block in blocks]


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Return a paragraph in lines of at most ``width`` characters, all but the first after ``indent``."""
    return "\n".join(_lines(text, width, indent))


def boxed(title: str, items: Sequence[tuple[str, str | None]], width: int) -> str:
    """Return a box of exactly ``width`` characters with a title, and items: a text after a dash, a command after an arrow."""
    lines = []
    for text, command in items:
        lines += _lines(f"- {text}", width - 4, "  ")
        lines += _lines(f"→ {command}", width - 4, "  ") if command else []
    head = f"┌─ {title} "
    body = [f"│ {line.ljust(width - 4)} │" for line in lines]
    return "\n".join([f"{head}{'─' * (width - len(head) - 1)}┐", *body, f"└{'─' * (width - 2)}┘"])


def _lines(text: str, width: int, indent: str) -> list[str]:
    held = re.sub(r" ([±=]) ", "\xa0\\1\xa0", text)  # a number stays with its error, M with its value
    lines = textwrap.wrap(held, width, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace("\xa0", " ") for line in lines]


def _widths(rows: Sequence[Row]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _folded(row: Row, width: int) -> list[Row]:
    """Return a row in several, its name in parts that end after a point, a space or a slash where there is one."""
    name, *cells = row
    parts = []
    while len(name) > width:
        end = max(name.rfind(mark, 0, width) + 1 for mark in ". /") or width
        parts.append(name[:end].rstrip())
        name = name[end:]
    parts.append(name)
    return [[parts[0], *cells], *([part, *[""] * len(cells)] for part in parts[1:])]
