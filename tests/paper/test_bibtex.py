import calendar
import re
from typing import Any

import bibtexparser
import pytest
from bibtexparser.bparser import BibTexParser
from bibtexparser.customization import splitname
from csl_strategies import plain, records
from hypothesis import given
from hypothesis import strategies as st

from bnlens.paper import Citation, works

# What the writer escapes, read by rules of TeX that are written down here once more, from TeX's side.
COMMANDS = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "ss": "ß", "l": "ł", "L": "Ł"}
COMMANDS |= {"textbraceleft": "\ufffe", "textbraceright": "\uffff"}  # braces of the text, told from those of TeX
ACCENTS = {"'": "\u0301", '"': "\u0308", "c": "\u0327", "H": "\u030b"}


def read(text: str) -> list[dict[str, str]]:
    parser = BibTexParser(ignore_nonstandard_types=False, common_strings=True)
    return list(bibtexparser.loads(text, parser=parser).entries)


def typeset(field: str) -> str:
    """What TeX prints for a field."""
    accent = re.compile(r"\{\\(['\"cH])\{?([a-zA-Z])\}?\}")
    field = re.sub(r"\{\\([A-Za-z]+)\}", lambda found: COMMANDS.get(found[1], found[0]), field)
    field = accent.sub(lambda found: found[2] + ACCENTS[found[1]], field)
    field = field.replace("{\\i}", "ı")
    field = re.sub(r"\\([$&%#_])", r"\1", field).replace("{", "").replace("}", "").replace("--", "–")
    return plain(field.replace("\ufffe", "{").replace("\uffff", "}"))


def split_people(field: str) -> list[str]:
    """Split at *and* outside braces, as BibTeX does."""
    depth, parts, current = 0, [], []
    for word in field.split(" "):
        if depth == 0 and word.lower() == "and":
            parts.append(" ".join(current))
            current = []
        else:
            current.append(word)
            depth += word.count("{") - word.count("}")
    return [*parts, " ".join(current)]


def split_name(person: str) -> dict[str, list[str]]:
    parts = splitname(person, strict_mode=True)
    is_particle = len(parts["first"]) == 1 and person[0].islower()
    if "," not in person and is_particle:  # of two words it does not ask for the case
        parts["von"], parts["first"] = parts["first"], []
    return parts


def test_a_preprint_is_complete() -> None:
    item = {
        "id": "http://zotero.org/items/X1", "type": "article", "title": "50% of {BN} & the $\\gamma$ of O'Neil_2",
        "author": [{"family": "Pébay", "given": "Zoë"}, {"literal": "Centre for Noise and Norms"}],
        "issued": {"date-parts": [[2019, 4]]}, "number": "arXiv:1809.00846", "note": "two\nlines",
    }  # fmt: skip
    assert Citation([item]).to_bibtex().split("\n") == [
        "@misc{pebay201950,",
        r"  title = {{50\% of {\textbraceleft}BN{\textbraceright} \& the \${\textbackslash}gamma\$ of O'Neil\_2}},",
        r"  author = {P{\'e}bay, Zo{\"e} and {Centre for Noise and Norms}},",
        *("  year = {2019},", "  month = apr,", "  eprint = {1809.00846},", "  archiveprefix = {arXiv},"),
        *("  primaryclass = {cs.LG},", "  url = {https://arxiv.org/abs/1809.00846},", "  note = {two lines}", "}", ""),
    ]


@given(items=st.lists(records(), min_size=1, max_size=3))
def test_a_reader_finds_what_was_written(items: list[dict[str, Any]]) -> None:
    text = Citation(items).to_bibtex()
    entries = read(text)
    assert len(entries) == len(items)
    assert len({entry["ID"].lower() for entry in entries}) == len(items)
    assert all(re.fullmatch(r"[A-Za-z][\w:.+-]*", entry["ID"], re.ASCII) for entry in entries)
    for item, entry in zip(items, entries, strict=True):
        assert typeset(entry["title"]) == plain(item["title"]).replace("--", "–")
        year, month, _ = item["issued"]["date-parts"][0]
        assert int(entry["year"]) == year
        assert entry["month"] == calendar.month_name[month]
        assert entry["pages"] in ("1--9", "e1234", "12--34")
        assert entry["doi"] == item["DOI"].removeprefix("https://doi.org/")
        people = split_people(entry["author"])
        assert len(people) == len(item["author"])
        for name, person in zip(item["author"], people, strict=True):
            parts = split_name(person)
            von, last = " ".join(parts["von"]), " ".join(parts["last"])
            if "literal" in name:
                assert (typeset(last), parts["first"], von) == (name["literal"], [], "")
            else:
                expected = f"{name.get('non-dropping-particle', '')} {name['family']}".strip()
                assert typeset(f"{von} {last}".strip()) == expected
                assert typeset(" ".join(parts["first"])) == name.get("given", "")
                assert " ".join(parts["jr"]) == name.get("suffix", "")


def test_particles_are_told_from_family_names() -> None:
    names = [{"family": "Berg", "given": "Jan", "non-dropping-particle": "van den"}, {"family": "de", "given": "Soham"}]
    people = split_people(read(Citation([{"type": "book", "title": "T", "author": names}]).to_bibtex())[0]["author"])
    first, second = (splitname(person) for person in people)
    assert (first["von"], first["last"]) == (["van", "den"], ["Berg"])
    assert (second["von"], second["last"]) == ([], ["{de}"])


@pytest.mark.parametrize("count", [2, 30])
def test_equal_keys_are_told_apart(count: int) -> None:
    items = [{"id": "Key", "type": "book", "title": "T"}, {"id": "key", "type": "book", "title": "T"}]
    keys = [entry["ID"] for entry in read(Citation((items * count)[:count]).to_bibtex())]
    assert len({key.lower() for key in keys}) == count
    assert keys[:2] == ["Key", "keya"]


def test_every_work_of_the_table_can_be_read() -> None:
    entries = read(Citation(list(works().values())).to_bibtex())
    assert [entry["ID"] for entry in entries] == list(works())
    assert all(entry["author"] and entry["year"].isdigit() for entry in entries)
