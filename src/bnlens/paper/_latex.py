r"""Text for BibTeX: what TeX would read as a command is escaped, and accented Latin letters become TeX's accents.

Classic BibTeX sorts and changes the case of bytes, so that an accented letter is safest as ``{\'e}``. Letters of other
scripts stay as they are, for programs that read UTF-8.
"""

from __future__ import annotations

import unicodedata

__all__ = ["escape", "verbatim"]

# {\textbraceleft}, not \{: BibTeX counts braces even behind a backslash, and a field must balance.
_COMMANDS = ("textbackslash", "textbraceleft", "textbraceright", "textasciitilde", "textasciicircum", "ss", "o", "O")
_LETTERS = ("l", "L", "ae", "AE", "oe", "OE", "aa", "AA", "i")
_SPECIAL = {
    **{text: rf"{{\{name}}}" for text, name in zip("\\{}~^ßøØłŁæÆœŒåÅı", _COMMANDS + _LETTERS, strict=True)},
    **{text: rf"\{text}" for text in "$&%#_"},
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
}
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING MACRON}": "=",
    "\N{COMBINING DOT ABOVE}": ".",
    "\N{COMBINING BREVE}": "u",
    "\N{COMBINING CARON}": "v",
    "\N{COMBINING DOUBLE ACUTE ACCENT}": "H",
    "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING OGONEK}": "k",
    "\N{COMBINING DOT BELOW}": "d",
    "\N{COMBINING MACRON BELOW}": "b",
}
_DOTLESS = {"i": r"\i", "j": r"\j"}  # under an accent from above
_BELOW = "ckdb"


def escape(text: str) -> str:
    r"""Return ``text`` such that TeX prints it, with balanced braces.

    >>> print(escape("Pébay & Bös: 100% {noise}"))
    P{\'e}bay \& B{\"o}s: 100\% {\textbraceleft}noise{\textbraceright}
    """
    return "".join(_SPECIAL.get(character) or _accented(character) for character in text)


def _accented(character: str) -> str:
    parts = unicodedata.normalize("NFD", character)
    if len(parts) != 2 or not (parts[0].isascii() and parts[0].isalpha()) or parts[1] not in _ACCENTS:
        return character
    letter, accent = parts[0], _ACCENTS[parts[1]]
    base = _DOTLESS.get(letter, letter) if accent not in _BELOW else letter
    if accent.isalpha():
        return f"{{\\{accent}{{{base}}}}}"
    return f"{{\\{accent}{base}}}"


def verbatim(text: str) -> str:
    """Return an identifier or address for a field that is not typeset: only what would end the field is encoded."""
    for character in "\\{} ":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
