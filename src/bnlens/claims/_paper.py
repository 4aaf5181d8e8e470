"""The paper's side of a claim: what it says, in our words, and how surely we know it.

The full text of the paper (arXiv 1809.00846) is not bundled with bnlens: its statements are restated, never quoted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bnlens.render import MathText

__all__ = ["Known", "PaperStatement", "with_formulas"]

Known = Literal["abstract", "introduction", "figure caption", "as remembered"]


@dataclass(frozen=True)
class PaperStatement:
    """A statement of the paper, apart from what is tested.

    Attributes:
        words: what it says, in our words.
        section: where, by its name.
        known: how surely we know that it says so: from its ``"abstract"``, its ``"introduction"`` or a public ``"figure
            caption"``, or only ``"as remembered"``.
        differs: where the statement that is tested is not that of the paper, and why; None where it is.
    """

    words: str
    section: str
    known: Known
    differs: str | None = None

    def __post_init__(self) -> None:
        with_formulas(self, "words", "differs")


def with_formulas(owner: object, *names: str) -> None:
    """Make texts of a frozen dataclass `MathText`, in place; None stays."""
    for name in names:
        text = getattr(owner, name)
        object.__setattr__(owner, name, None if text is None else MathText(text))
