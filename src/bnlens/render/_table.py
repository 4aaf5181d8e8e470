"""Tables from rows."""

from __future__ import annotations

import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.render._number import number
from bnlens.render._text import Html, escape, framed, signed

__all__ = ["table"]

_STDERR = " stderr"
_NUMBER_TEXT = re.compile(r"[-(]*[\d∞][\d,.]*%?( ± [\d,.]+)?\)?(×10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?|–")


def table(
    rows: Sequence[Mapping[str, Any]], *, caption: object, columns: Sequence[str] | Mapping[str, object] | None = None
) -> Html:
    """Return an HTML table; columns of numbers are right-aligned, everything is escaped.

    A column named ``"X stderr"`` is the standard error of column ``"X"`` and is shown with it, as `number` writes it.
    Booleans read yes and no, a missing value is an en dash.

    Args:
        rows: one mapping of column name to value per row; values are numbers, text, `Html`, booleans or None.
        caption: says what the table shows.
        columns: names of the columns in order, or a mapping of name to heading; by default every name in order of
            appearance.

    >>> print(table([{"M": 16, "gap": 0.0123, "gap stderr": 0.0004}], caption="The gap"))
    <div class="frame" role="region" aria-label="The gap" tabindex="0">
    <table>
    <caption>The gap</caption>
    <thead><tr><th scope="col" class="number">M</th><th scope="col" class="number">gap</th></tr></thead>
    <tbody>
    <tr><td class="number">16</td><td class="number">0.01230 ± 0.00040</td></tr>
    </tbody>
    </table>
    </div>
    """
    names = list(columns) if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if not (name.endswith(_STDERR) and name.removesuffix(_STDERR) in names)]
    headings = columns if isinstance(columns, Mapping) else {name: name for name in names}
    classes = {name: ' class="number"' if _is_numeric([row.get(name) for row in rows]) else "" for name in names}
    head = "".join(f'<th scope="col"{classes[name]}>{escape(headings[name])}</th>' for name in names)
    body = "\n".join(
        "<tr>" + "".join(f"<td{classes[name]}>{_cell(row, name)}</td>" for name in names) + "</tr>" for row in rows
    )
    heads = f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>"
    return framed(f"<table>\n{heads}\n<tbody>\n{body}\n</tbody>\n</table>", caption)


def _cell(row: Mapping[str, Any], name: str) -> Html:
    value = row.get(name)
    if value is None:
        return Html("–")
    if _is_flag(value):
        return Html("yes" if value else "no")
    if isinstance(value, numbers.Real):
        value = int(value) if isinstance(value, numbers.Integral) else float(value)
        return escape(signed(number(value, row.get(name + _STDERR))))
    return escape(value)


def _is_numeric(values: Sequence[Any]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(
        (isinstance(value, numbers.Real) and not _is_flag(value))
        or (isinstance(value, str) and not isinstance(value, Html) and _NUMBER_TEXT.fullmatch(value))
        for value in present
    )


def _is_flag(value: object) -> bool:
    return type(value).__name__ in {"bool", "bool_"}  # Python's and NumPy's, by its names before and in 2.0
