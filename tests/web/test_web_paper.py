"""The paper's page and its API."""

import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from bnlens.citing import cite
from bnlens.paper import record
from bnlens.web.downloads import CITATION_FORMATS, CitationFormat

TITLE = "Towards Understanding Regularization in Batch Normalization"
AUTHORS = ["Ping Luo", "Xinjiang Wang", "Wenqi Shao", "Zhanglin Peng"]


@pytest.fixture(scope="module")
def page(client: TestClient) -> str:
    response = client.get("/paper")
    assert response.status_code == 200
    return response.text


def test_the_page_has_the_record(page: str):
    text, paper = unescape(page), record()
    assert re.findall(r"<h1[^>]*>([^<]+)</h1>", text) == [TITLE]
    assert all(author in text for author in AUTHORS)
    assert paper.summary in text
    assert all(paragraph in text for paragraph in paper.digest)
    for address in (paper.abstract_url, paper.pdf_url, paper.openreview_url):
        assert f'href="{address}"' in text
    assert all(day.isoformat() in text for day in paper.versions.values())
    assert f'data-testid="references">{paper.page.references}<' in text
    assert f'data-testid="influential">{paper.page.influential}<' in text


def test_the_api_has_the_record(client: TestClient):
    found, paper = client.get("/api/paper").json(), record()
    assert (found["title"], found["authors"], found["year"], found["arxiv"]) == (TITLE, AUTHORS, 2019, "1809.00846")
    assert found["versions"] == {str(number): day.isoformat() for number, day in paper.versions.items()}
    assert found["digest"] == list(paper.digest)
    weights = [term["weight"] for term in found["terms"]["found"]]
    assert weights == sorted(weights, reverse=True)
    assert len(weights) > 5
    assert {term["term"]: term["weight"] for term in found["terms"]["public"]} == dict(paper.page.terms)
    theirs, ours = found["terms"]["public"], found["terms"]["found"]
    overlap = {term["term"] for term in theirs} & {term["term"] for term in ours[: len(theirs)]}
    assert found["terms"]["overlap"] == len(overlap)


def test_the_key_terms_of_page_and_api_agree(client: TestClient, page: str):
    terms = client.get("/api/paper").json()["terms"]
    for heading, expected in ((1, terms["found"][:8]), (2, terms["public"])):
        part = page.partition(f'data-testid="terms-{heading}"')[2].partition("</ol>")[0]
        assert re.findall(r'class="term">([^<]+)<', part) == [term["term"] for term in expected]
        assert re.findall(r'class="weight">([^<]+)<', part) == [f"{term['weight']:.3f}" for term in expected]


@pytest.mark.parametrize("form", list(CITATION_FORMATS))
def test_the_page_leads_to_every_form_of_the_citation(client: TestClient, page: str, form: CitationFormat):
    _, ending, media_type = CITATION_FORMATS[form]
    found = re.search(rf'href="([^"]+)" download="([^"]+)" data-testid="cite-{form}"', page)
    assert found
    response = client.get(found[1])
    assert response.text == cite().to_format(form)
    assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="{found[2]}"'
    assert found[2].endswith(f".{ending}")


def test_the_page_shows_how_to_cite(page: str):
    assert cite().to_text().strip() in unescape(page)
    shown = unescape(page.partition('data-testid="bibtex"')[2].partition("</code>")[0].rpartition("<code>")[2])
    assert shown == cite().to_bibtex().strip()


def test_a_format_that_is_not_there(client: TestClient):
    response = client.get("/api/paper/citation/word")
    assert response.status_code == 422
    assert response.json()["error"].startswith("form: ")
