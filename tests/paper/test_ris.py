from __future__ import annotations

from typing import Any

import rispy
from csl_strategies import inverted, plain, records
from hypothesis import given
from hypothesis import strategies as st

from bnlens.paper import Citation, works


def test_a_journal_article_is_complete() -> None:
    item = {
        "id": "a1",
        "type": "article-journal",
        "title": "On noise",
        "author": [{"family": "Berg", "given": "Jan", "non-dropping-particle": "van den", "suffix": "Jr."}],
        "issued": {"date-parts": [["2019", 4, 25]]},
        "container-title": "Annals",
        "volume": 7,
        "issue": "2",
        "page": "11–19",
        "DOI": "10.1000/182",
        "archive": "arXiv",
        "archive_location": "1809.00846",
        "ISSN": ["1234-5678"],
        "keyword": "noise; batch, norm",
        "abstract": "Short.",
        "language": "en",
    }
    assert Citation([item]).to_ris().split("\n") == [
        *("TY  - JOUR", "ID  - a1", "AU  - van den Berg, Jan, Jr.", "TI  - On noise", "T2  - Annals", "PY  - 2019"),
        *("DA  - 2019/04/25/", "VL  - 7", "IS  - 2", "SP  - 11", "EP  - 19", "SN  - 1234-5678", "DO  - 10.1000/182"),
        *("UR  - https://arxiv.org/abs/1809.00846", "AN  - arXiv:1809.00846", "KW  - noise", "KW  - batch"),
        *("KW  - norm", "AB  - Short.", "LA  - en", "ER  - ", ""),
    ]


@given(items=st.lists(records(), min_size=1, max_size=3))
def test_a_reader_finds_what_was_written(items: list[dict[str, Any]]) -> None:
    found = rispy.loads(Citation(items).to_ris())
    assert len(found) == len(items)
    assert len({entry["id"].lower() for entry in found}) == len(items)
    for item, entry in zip(items, found, strict=True):
        assert entry["title"] == plain(item["title"])
        assert entry["authors"] == [inverted(name) for name in item["author"]]
        year, month, day = item["issued"]["date-parts"][0]
        assert int(entry["year"]) == year
        assert entry["date"] == f"{year:04d}/{month:02d}/{day:02d}/"
        assert entry.get("secondary_title", "") == plain(item["container-title"])
        assert entry["start_page"] in ("1", "12", "e1234")
        assert entry.get("abstract", "") == plain(item.get("abstract", ""))
        assert entry["doi"] == item["DOI"].removeprefix("https://doi.org/")
        address = "https://doi.org/" + entry["doi"].replace("<", "%3C").replace(">", "%3E").replace("#", "%23")
        assert entry["urls"] == [item.get("URL", address.replace(";", "%3B"))]


def test_every_work_of_the_table_can_be_read() -> None:
    found = rispy.loads(Citation(list(works().values())).to_ris())
    assert [entry["title"] for entry in found] == [work["title"] for work in works().values()]
    assert [len(entry["authors"]) for entry in found] == [len(work["author"]) for work in works().values()]
