"""RIS and EndNote's format: whole records, and what a reader finds of awkward ones."""

from typing import Any

import rispy
from csl_strategies import inverted, plain, records
from hypothesis import given
from hypothesis import strategies as st

from bnlens.paper import Citation, works

ARTICLE = {
    "id": "a1", "type": "article-journal", "title": "On noise", "issued": {"date-parts": [["2019", 4, 25]]},
    "author": [{"family": "Berg", "given": "Jan", "non-dropping-particle": "van den", "suffix": "Jr."}],
    "container-title": "Annals", "volume": 7, "issue": "2", "page": "11–19", "DOI": "10.1000/182", "archive": "arXiv",
    "archive_location": "1809.00846", "ISSN": ["1234-5678"], "keyword": "noise; batch, norm", "abstract": "Short.",
    "language": "en",
}  # fmt: skip
PAPER = {
    "id": "c1", "type": "paper-conference", "title": "On noise", "issued": {"date-parts": [[2019, 4, 25]]},
    "author": [{"family": "Bös", "given": "S."}, {"literal": "Centre for Noise"}], "container-title": "Proceedings",
    "editor": [{"family": "Saad", "given": "D."}], "collection-title": "PMLR", "volume": "37", "page": "1-9",
    "publisher-place": "Lille", "DOI": "10.1000/182", "arxiv": "ignored",
}  # fmt: skip
ITEMS = st.lists(records(), min_size=1, max_size=3)


def test_a_journal_article_is_complete_in_ris() -> None:
    assert Citation([ARTICLE]).to_ris().split("\n") == [
        *("TY  - JOUR", "ID  - a1", "AU  - van den Berg, Jan, Jr.", "TI  - On noise", "T2  - Annals", "PY  - 2019"),
        *("DA  - 2019/04/25/", "VL  - 7", "IS  - 2", "SP  - 11", "EP  - 19", "SN  - 1234-5678", "DO  - 10.1000/182"),
        *("UR  - https://arxiv.org/abs/1809.00846", "AN  - arXiv:1809.00846", "KW  - noise", "KW  - batch"),
        *("KW  - norm", "AB  - Short.", "LA  - en", "ER  - ", ""),
    ]


def test_a_conference_paper_is_complete_in_endnote() -> None:
    assert Citation([PAPER]).to_endnote().split("\n") == [
        *("%0 Conference Proceedings", "%F c1", "%A Bös, S.", "%A Centre for Noise,", "%E Saad, D.", "%T On noise"),
        *("%B Proceedings", "%S PMLR", "%D 2019", "%8 April 25", "%V 37", "%P 1-9", "%C Lille", "%R 10.1000/182"),
        *("%U https://doi.org/10.1000/182", ""),
    ]


@given(items=ITEMS)
def test_a_reader_finds_in_ris_what_was_written(items: list[dict[str, Any]]) -> None:
    found = rispy.loads(Citation(items).to_ris())
    assert len(found) == len(items) == len({entry["id"].lower() for entry in found})
    for item, entry in zip(items, found, strict=True):
        assert entry["title"] == plain(item["title"])
        assert entry["authors"] == [inverted(name) for name in item["author"]]
        year, month, day = item["issued"]["date-parts"][0]
        assert (int(entry["year"]), entry["date"]) == (year, f"{year:04d}/{month:02d}/{day:02d}/")
        assert entry.get("secondary_title", "") == plain(item["container-title"])
        assert entry["start_page"] in ("1", "12", "e1234")
        assert entry.get("abstract", "") == plain(item.get("abstract", ""))
        assert entry["doi"] == item["DOI"].removeprefix("https://doi.org/")
        address = "https://doi.org/" + entry["doi"].replace("<", "%3C").replace(">", "%3E").replace("#", "%23")
        assert entry["urls"] == [item.get("URL", address.replace(";", "%3B"))]


@given(items=ITEMS)
def test_a_reader_finds_in_endnote_what_was_written(items: list[dict[str, Any]]) -> None:
    blocks = Citation(items).to_endnote().rstrip("\n").split("\n\n")
    for item, block in zip(items, blocks, strict=True):
        fields: dict[str, list[str]] = {}  # as the format has it: a tag of two characters, a space, the value
        for line in block.split("\n"):
            assert (line[0], line[2]) == ("%", " ")
            fields.setdefault(line[1], []).append(line[3:])
        assert fields["T"] == [plain(item["title"])]
        assert fields["A"] == [
            f"{name['literal']}," if "literal" in name else inverted(name) for name in item["author"]
        ]
        container = "J" if item["type"] == "article-journal" else "B"
        assert fields.get(container, [""]) == [plain(item["container-title"])]
        assert fields["D"] == [str(item["issued"]["date-parts"][0][0])]


def test_every_work_of_the_table_can_be_read() -> None:
    found = rispy.loads(Citation(list(works().values())).to_ris())
    assert [entry["title"] for entry in found] == [work["title"] for work in works().values()]
    assert [len(entry["authors"]) for entry in found] == [len(work["author"]) for work in works().values()]
