from __future__ import annotations

from typing import Any

from csl_strategies import inverted, plain, records
from hypothesis import given
from hypothesis import strategies as st

from bnlens.paper import Citation


def read(text: str) -> list[dict[str, list[str]]]:
    """Read the format as its description has it: a tag of two characters, a space, the value; blank lines between works."""
    found = []
    for block in text.rstrip("\n").split("\n\n"):
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            assert (line[0], line[2]) == ("%", " ")
            fields.setdefault(line[1], []).append(line[3:])
        found.append(fields)
    return found


def test_a_conference_paper_is_complete() -> None:
    item = {
        "id": "c1",
        "type": "paper-conference",
        "title": "On noise",
        "author": [{"family": "Bös", "given": "S."}, {"literal": "Centre for Noise"}],
        "editor": [{"family": "Saad", "given": "D."}],
        "issued": {"date-parts": [[2019, 4, 25]]},
        "container-title": "Proceedings",
        "collection-title": "PMLR",
        "volume": "37",
        "page": "1-9",
        "publisher-place": "Lille",
        "DOI": "10.1000/182",
        "arxiv": "ignored",
    }
    assert Citation([item]).to_endnote().split("\n") == [
        *("%0 Conference Proceedings", "%F c1", "%A Bös, S.", "%A Centre for Noise,", "%E Saad, D.", "%T On noise"),
        *("%B Proceedings", "%S PMLR", "%D 2019", "%8 April 25", "%V 37", "%P 1-9", "%C Lille", "%R 10.1000/182"),
        *("%U https://doi.org/10.1000/182", ""),
    ]


@given(items=st.lists(records(), min_size=1, max_size=3))
def test_fields_survive(items: list[dict[str, Any]]) -> None:
    found = read(Citation(items).to_endnote())
    assert len(found) == len(items)
    for item, fields in zip(items, found, strict=True):
        assert fields["T"] == [plain(item["title"])]
        people = [f"{name['literal']}," if "literal" in name else inverted(name) for name in item["author"]]
        assert fields["A"] == people
        container = "J" if item["type"] == "article-journal" else "B"
        assert fields.get(container, [""]) == [plain(item["container-title"])]
        assert fields["D"] == [str(item["issued"]["date-parts"][0][0])]
