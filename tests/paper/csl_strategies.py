"""Records to write and read back, with the titles and names that break exporters."""

import unicodedata
from typing import Any

from hypothesis import strategies as st

AWKWARD = (
    *("{", "}", "\\", "$", "&", "%", "#", "_", "~", "^", "é", "ö", "ł", "ç", "ß", "Ő", "ı", "–", "and", "And", ","),
    *("van", "der", '"', "'", "@", "=", "TY  - ", "ER  - ", "%A", "\n", "\u2028", "\x0b", "漢", "Ω", "BN", "a", "1"),
)
WORDS = st.lists(st.sampled_from(AWKWARD) | st.text("abcdefgXYZ", min_size=1, max_size=6), min_size=1, max_size=8)
TEXT = st.builds(" ".join, WORDS) | st.builds("".join, WORDS)
FAMILY = st.sampled_from(["Bös", "Van Loan", "O'Neil", "de", "And", "Smith and Sons", "Łukasz, III", "Ioffe", "李"])
PARTS = {
    "given": st.sampled_from(["Élodie", "J. P.", "Anne and Marie", "Jean-Luc"]),
    "non-dropping-particle": st.sampled_from(["van den", "von", "de la"]),
    "suffix": st.sampled_from(["Jr.", "III"]),
}
INSTITUTIONS = st.fixed_dictionaries({"literal": st.sampled_from(["Centre for AI and Data", "{ACM}", "R & D, Inc."])})
NAMES = st.one_of(st.fixed_dictionaries({"family": FAMILY}, optional=PARTS), INSTITUTIONS)
DATES = st.dates().map(lambda day: {"date-parts": [[day.year, day.month, day.day]]})


def plain(text: str) -> str:
    """What any format keeps of a text: one line, single spaces; the oracle of `clean`, written without it."""
    for character in map(chr, (*range(32), 127, *range(0x80, 0xA0), 0x2028, 0x2029)):
        text = text.replace(character, " ")
    return " ".join(unicodedata.normalize("NFC", text).split())


def inverted(name: dict[str, str]) -> str:
    """``"van den Berg, Jan, Jr."``."""
    if "literal" in name:
        return name["literal"]
    last = f"{name.get('non-dropping-particle', '')} {name['family']}".strip()
    return ", ".join(part for part in (last, name.get("given", ""), name.get("suffix", "")) if part)


TYPES = ["article-journal", "paper-conference", "book", "report", "thesis", "article", "dataset", "song"]
DOIS = ["10.1000/a_b", "https://doi.org/10.1000/182", "10.1002/(SICI)1:1<1::AID>3.0.CO;2-#"]


def records() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "type": st.sampled_from(TYPES),
            "title": TEXT.filter(plain),
            "author": st.lists(NAMES, min_size=1, max_size=3),
            "issued": DATES,
            "container-title": TEXT,
            "volume": st.sampled_from(["12", "3 & 4", ""]),
            "page": st.sampled_from(["1-9", "1–9", "e1234", "12 -- 34"]),
            "DOI": st.sampled_from(DOIS),
        },
        optional={
            "id": TEXT | st.sampled_from(["key2019", "KEY2019"]),
            "URL": st.sampled_from(["https://example.org/a_b?c=%20#d~e", "https://example.org/{x}"]),
            "abstract": TEXT,
        },
    )
