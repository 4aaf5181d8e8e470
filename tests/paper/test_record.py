import dataclasses
import json
import re
from datetime import date
from pathlib import Path

import pytest

from bnlens.errors import DataError, StoreError, UsageError
from bnlens.paper import FORMATS, Citation, get_works, record, works


def test_the_record_has_the_facts_of_the_paper() -> None:
    paper = record()
    assert paper.title == "Towards Understanding Regularization in Batch Normalization"
    assert paper.authors == ("Ping Luo", "Xinjiang Wang", "Wenqi Shao", "Zhanglin Peng")
    assert (paper.arxiv, paper.openreview, paper.venue, paper.year) == ("1809.00846", "HJlLKjR9FQ", "ICLR 2019", 2019)
    assert paper.versions == {1: date(2018, 9, 4), 4: date(2019, 4, 25)}
    assert paper.categories == ("cs.LG", "cs.CV", "cs.SY", "stat.ML")
    assert paper.abstract_url == "https://arxiv.org/abs/1809.00846"
    assert paper.pdf_url == "https://arxiv.org/pdf/1809.00846"
    assert paper.openreview_url == "https://openreview.net/forum?id=HJlLKjR9FQ"
    assert (paper.page.references, paper.page.influential, len(paper.page.terms)) == (46, 4, 8)


def test_the_record_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        record().title = "Another"  # type: ignore[misc]
    with pytest.raises(TypeError):
        record().csl["title"] = "Another"  # type: ignore[index]
    with pytest.raises(TypeError):
        works()["luo2019towards"]["title"] = "Another"  # type: ignore[index]


def test_works_are_complete() -> None:
    assert next(iter(works())) == record().id
    assert len(works()) > 70
    arxiv = [work["archive_location"] for work in works().values() if "archive" in work]
    dois = [work["DOI"] for work in works().values() if "DOI" in work]
    assert len(set(arxiv)) == len(arxiv)
    assert len(set(dois)) == len(dois)
    assert all(re.fullmatch(r"\d{4}\.\d{4,5}", number) for number in arxiv)
    assert all(re.fullmatch(r"10\.\d{4,5}/\S+", doi) for doi in dois)
    for work_id, work in works().items():
        year = work["issued"]["date-parts"][0][0]
        assert 1950 < year < 2030
        assert str(year) in work_id
        assert all({"family", "given"} <= set(name) for name in work["author"])
        assert work.get("container-title") or work.get("publisher")


def test_works_are_found_by_id() -> None:
    found = get_works(["WU2018group", "ba2016layer", "wu2018group"])
    assert [work["id"] for work in found] == ["wu2018group", "ba2016layer"]
    with pytest.raises(UsageError, match=r"unknown work 'wu2018groups'; did you mean 'wu2018group'\?"):
        get_works(["wu2018groups"])
    with pytest.raises(UsageError, match=r"unknown work '§'; bnlens\.paper\.works\(\) lists the table"):
        get_works(["§"])


def test_text_names_what_a_reader_needs() -> None:
    assert str(Citation([record().csl])) == (
        "Luo, P., Wang, X., Shao, W., & Peng, Z. (2019). Towards Understanding Regularization in Batch Normalization. "
        "In International Conference on Learning Representations. https://arxiv.org/abs/1809.00846"
    )
    assert str(Citation(get_works(["belkin2019reconciling"]))).endswith(
        "Proceedings of the National Academy of Sciences, 116(32), 15849–15854. doi:10.1073/pnas.1903070116. "
        "https://arxiv.org/abs/1812.11118"
    )


def test_csl_goes_out_and_comes_back() -> None:
    book = {"type": "book", "title": "T", "custom": {"a": 1}}
    citation = Citation([*get_works(["wu2018group", "pebay2008formulas"]), book])
    back = Citation.from_csl(citation.to_csl())
    assert [dict(item) for item in back.items[:2]] == [dict(item) for item in citation.items[:2]]
    assert back.items[2] == {"type": "book", "title": "T"}
    assert Citation.from_csl('{"type": "book", "title": "T"}').items == ({"type": "book", "title": "T"},)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is not JSON"),
        ("[1]", "entry 1 of the text is int, not a CSL-JSON record"),
        ('[{"type": "book", "title": "T"}, {"title": "T"}]', "entry 2 of the text has no type"),
        ('[{"type": "book", "title": " "}]', "entry 1 of the text has no title, author or URL"),
    ],
)
def test_what_is_no_csl_is_named(text: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        Citation.from_csl(text)


@pytest.mark.parametrize(
    "issued", [*({"date-parts": parts} for parts in ([], [[None]], [["x"]], 3)), {}, {"raw": "spring"}, "2019", None]
)
def test_strange_dates_are_no_error(issued: object) -> None:
    citation = Citation([{"type": "book", "title": "T", "issued": issued}])
    assert all(citation.to_format(name) for name in FORMATS)
    assert "T" in citation.to_ris()


@pytest.mark.parametrize(
    ("issued", "expected"),
    [
        ({"date-parts": [["2019", "4"]]}, "DA  - 2019/04//"),
        ({"raw": "2019-04-25"}, "DA  - 2019/04/25/"),
        ({"date-parts": [[2019, 13, 1]]}, "PY  - 2019"),
        ({"literal": "forthcoming"}, "PY  - forthcoming"),
    ],
)
def test_dates_are_read_as_programs_write_them(issued: object, expected: str) -> None:
    assert expected in Citation([{"type": "book", "title": "T", "issued": issued}]).to_ris().split("\n")


def test_files(tmp_path: Path) -> None:
    citation = Citation([record().csl])
    for name in FORMATS:
        citation.save(tmp_path / name, name)
        assert (tmp_path / name).read_text(encoding="utf-8") == citation.to_format(name)
    assert json.loads((tmp_path / "csl").read_text())[0]["id"] == record().id
    with pytest.raises(UsageError, match="unknown format 'word'"):
        citation.to_format("word")
    with pytest.raises(StoreError, match="cannot write"):
        citation.save(tmp_path / "ris" / "x", "ris")
