"""The paper's page and its API."""

from __future__ import annotations

import json
import re
from html import unescape

import bibtexparser
import pytest
import rispy
from starlette.testclient import TestClient

from bnlens.citing import cite
from bnlens.paper import record

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
    assert {number: day.isoformat() in text for number, day in paper.versions.items()} == dict.fromkeys(
        paper.versions, True
    )
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


def download(client: TestClient, page: str, form: str) -> tuple[str, str]:
    """Text and name of the file that the page's link gives."""
    found = re.search(rf'href="([^"]+)" download="([^"]+)" data-testid="cite-{form}"', page)
    assert found, form
    response = client.get(found[1])
    assert response.status_code == 200
    name = re.fullmatch(r'attachment; filename="([^"]+)"', response.headers["content-disposition"])
    assert name
    assert name[1].rpartition(".")[2] == found[2].rpartition(".")[2]
    return response.text, name[1]


def test_the_ris_file_is_read_back(client: TestClient, page: str):
    text, name = download(client, page, "ris")
    [entry] = rispy.loads(text)
    assert name.endswith(".ris")
    assert entry["title"] == TITLE
    assert [" ".join(reversed(author.split(", "))) for author in entry["authors"]] == AUTHORS
    assert entry["year"].startswith("2019")


def test_the_bibtex_file_is_read_back(client: TestClient, page: str):
    text, name = download(client, page, "bibtex")
    [entry] = bibtexparser.loads(text).entries
    assert name.endswith(".bib")
    assert re.sub(r"[{}]", "", entry["title"]) == TITLE
    assert [" ".join(reversed(author.split(", "))) for author in entry["author"].split(" and ")] == AUTHORS
    assert entry["year"] == "2019"
    shown = unescape(page.partition('data-testid="bibtex"')[2].partition("</code>")[0].rpartition("<code>")[2])
    assert bibtexparser.loads(shown).entries == [entry]


def test_the_csl_file_is_read_back(client: TestClient, page: str):
    text, name = download(client, page, "csl")
    [entry] = json.loads(text)
    assert name.endswith(".json")
    assert entry["title"] == TITLE
    assert [f"{author['given']} {author['family']}" for author in entry["author"]] == AUTHORS


def test_the_endnote_file_has_its_fields(client: TestClient, page: str):
    text, name = download(client, page, "endnote")
    assert name.endswith(".enw")
    assert f"%T {TITLE}" in text.splitlines()
    assert sum(line.startswith("%A ") for line in text.splitlines()) == len(AUTHORS)


def test_the_text_is_the_librarys(client: TestClient, page: str):
    text, _ = download(client, page, "text")
    assert text == cite().to_text()
    assert text.strip() in unescape(page)


def test_a_format_that_is_not_there(client: TestClient):
    response = client.get("/api/paper/citation/word")
    assert response.status_code == 422
    assert response.json()["error"].startswith("form: ")
