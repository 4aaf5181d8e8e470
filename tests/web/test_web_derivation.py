"""The theory sheet as pages: sections, what leads to them and from them, and formulas that are set right everywhere."""

import importlib
import inspect
import re
from collections.abc import Iterator
from html import unescape
from importlib.resources import files
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import pytest
from starlette.testclient import TestClient

import bnlens
from bnlens.claims import claims
from bnlens.theory import gap_law
from bnlens.theory.dynamics import BatchNorm
from bnlens.web import create_app
from bnlens.web.derivation.code import place_of
from bnlens.web.derivation.sheet import linked, mentioned, parts, places
from web.markup import Page
from web.readers import URL

PARTS = ("A", "B", "C", "D")
PAGES = ["/derivation", *(f"/derivation/{part}" for part in PARTS)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(tmp_path_factory.mktemp("empty")), base_url=URL) as client:
        yield client


def visible(page: str) -> str:
    """The text of a page, without its formulas and code."""
    return unescape(re.sub(r"<(math|code|script|pre)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL))


def source(part: str) -> str:
    return files("bnlens.theory").joinpath("sheet", f"{part}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_has_all_its_sections_and_formulas(reader: TestClient, part: str) -> None:
    text = source(part)
    page = Page(reader.get(f"/derivation/{part}").text)
    headings = dict(re.findall(r"^### ([A-D]\.\d) (.+)$", text, re.MULTILINE))
    assert {found.attributes["id"] for found in page.find("section")} == set(headings)
    for number, title in headings.items():
        assert page.one(id=f"{number}-heading").text == f"{number} {title}"
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    assert len(page.find("math")) == len(re.findall(r"\$\$.+?\$\$|\$[^$]+\$", prose, re.DOTALL))


@pytest.mark.parametrize(
    "path", [*PAGES, "/claims", "/findings", "/paper", "/labs/gap", "/labs/rates", "/labs/dynamics"]
)
def test_no_formula_is_left_as_it_was_written(reader: TestClient, path: str) -> None:
    text = visible(reader.get(path).text)
    assert re.findall(r"\S*(?:[$\\^]|\bzeta\b|sigma_|mu_B|\+-)\S*", text) == []


def test_no_claim_shows_a_raw_formula(reader: TestClient) -> None:
    for name in claims():
        page = reader.get(f"/claims/{name}").text
        assert (
            re.findall(
                r"\S*(?:[$\\]|\bzeta\b|sigma_|mu_B|gamma_|gamma\^|\+-)\S*", re.sub(r"\S+\.py\b", "", visible(page))
            )
            == []
        ), name


def test_links_lead_to_a_place(reader: TestClient) -> None:
    seen: dict[str, set[str]] = {}
    for start in (*PAGES, "/claims/D1", "/labs/gap"):
        for found in Page(reader.get(start).text).find("a"):
            address, anchor = urldefrag(urljoin(start, found.attributes["href"]))
            if not address.startswith("/"):
                continue
            if address not in seen:
                answer = reader.get(address)
                assert answer.status_code == 200, (start, address)
                seen[address] = {element.attributes.get("id", "") for element in Page(answer.text).elements}
            assert not anchor or anchor in seen[address], (start, address, anchor)
    assert len(seen) > 60


def test_claims_and_sections_lead_to_each_other(reader: TestClient) -> None:
    assert mentioned(claims()["L1"].source) == ["B.0", "B.1", "B.2", "B.3"]
    assert mentioned(claims()["D3"].source) == ["A.3", "A.5"]
    citing = {name: mentioned(claim.source) for name, claim in claims().items() if "theory sheet" in claim.source}
    assert len(citing) > 15
    for name, sections in citing.items():
        assert sections, name
        links = {link.attributes["href"] for link in Page(reader.get(f"/claims/{name}").text).find("a")}
        for section in sections:
            page = Page(reader.get(f"/derivation/{section[0]}").text)
            box = page.one("div", data_testid=f"carried-{section}")
            assert any(
                f'href="/claims/{name}"' in str(link) or link.attributes["href"] == f"/claims/{name}"
                for link in page.find("a")
                if box in link.inside
            )
        assert any(link.startswith("/derivation/") for link in links), name
    assert any(link.attributes["href"] == "/labs/rates" for link in Page(reader.get("/derivation/B").text).find("a"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bnlens.theory.gap_law(unit, distribution)", gap_law),
        ("bnlens.theory.dynamics.BatchNorm", BatchNorm),
        ("bnlens.report", bnlens.report),
        ("bnlens.Report.predict", bnlens.Report.predict),
    ],
)
def test_a_name_leads_to_its_definition(name: str, value: object) -> None:
    place = place_of(name)
    assert place is not None
    inner = inspect.unwrap(value)  # type: ignore[arg-type]
    assert Path(bnlens.__file__).parent / place.file == Path(inspect.getsourcefile(inner) or "")
    lines, first = inspect.getsourcelines(inner)
    assert first <= place.line < first + len(lines)
    assert lines[place.line - first].lstrip().startswith((f"def {inner.__name__}", f"class {inner.__name__}"))  # type: ignore[attr-defined]


def test_every_name_of_ours_in_the_sheet_is_there() -> None:
    for part in PARTS:
        for name in re.findall(r"`(bnlens[./][^`\n]*)`", source(part)):
            assert place_of(name) is not None, name
            if "/" not in name:
                module, _, attribute = name.partition("(")[0].rpartition(".")
                owner = bnlens.Report if module == "bnlens.Report" else importlib.import_module(module)
                assert hasattr(owner, attribute), name


@pytest.mark.parametrize(
    "name", ["numpy.sum", "bnlens.nothing", "bnlens.theory.gap_law.x", "bnlens/../x.py", "bnlens/py.typed"]
)
def test_other_names_have_no_place(name: str) -> None:
    assert place_of(name) is None


def test_each_section_with_formulas_names_its_code() -> None:
    named = {section.id for found in places().values() for section in found}
    assert {section.id for part in parts().values() for section in part.sections} == named


@pytest.mark.parametrize(
    "path",
    [
        "/derivation/E",
        "/derivation/A.9",
        "/derivation/%3Cb%3E",
        "/derivation/code/errors.py",
        "/derivation/code/..%2F..%2Fpyproject.toml",
    ],
)
def test_there_is_no_other_page(reader: TestClient, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 404
    assert "<b>" not in answer.text


def test_the_address_of_a_section_leads_to_it(reader: TestClient) -> None:
    answer = reader.get("/derivation/b.2", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/derivation/B#B.2")


def test_a_source_is_escaped() -> None:
    text = linked("<script>; theory sheet A.2 & <b>B.1</b>; A.3")
    assert text == (
        '&lt;script&gt;; theory sheet <a href="/derivation/A#A.2">A.2</a> &amp; &lt;b&gt;'
        '<a href="/derivation/B#B.1">B.1</a>&lt;/b&gt;; A.3'
    )
