"""The paper's side of a claim: what it says, in our words, and how surely we know it.

The full text of the paper (arXiv 1809.00846) is not bundled with bnlens: its statements are restated, never quoted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Known", "PaperStatement"]

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
