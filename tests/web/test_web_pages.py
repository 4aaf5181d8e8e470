"""Navigation, errors, and the front page."""

import gzip
import re
from collections.abc import Mapping

import pytest
from starlette.testclient import TestClient

from bnlens.web.assets import assets
from bnlens.web.pages import PAGES


def test_every_page_of_the_navigation_answers(client: TestClient):
    front = client.get("/").text
    for page in PAGES:
        assert client.get(page.path).status_code == 200
        assert f'href="{page.path}"' in front


@pytest.mark.parametrize("path", ["/", "/labs", "/labs/gap", "/labs/network", "/missing"])
def test_pages_have_landmarks_one_heading_and_labelled_fields(client: TestClient, path: str):
    text = client.get(path).text
    assert '<html lang="en">' in text
    assert text.count("<h1") == text.count("<main") == 1
    assert 'class="skip" href="#content"' in text
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for field in re.findall(r'<(?:select|input(?! type="hidden"))[^>]*\sid="([^"]+)"', text):
        assert f'<label for="{field}"' in text
    for described in re.findall(r'aria-(?:describedby|labelledby)="([^"]+)"', text):
        assert set(described.split()) <= set(ids)


def test_internal_links_lead_somewhere(client: TestClient):
    seen, waiting = set(), ["/"]
    while waiting:
        path = waiting.pop()
        response = client.get(path)
        assert response.status_code == 200, path
        if not response.headers["content-type"].startswith("text/html"):
            continue
        for link in re.findall(r'<a [^>]*href="(/[^"#]*)', response.text):
            link = link.replace("&amp;", "&")
            if link not in seen and "simulate=yes" not in link:
                seen.add(link)
                waiting.append(link)
    assert {"/labs/gap", "/api/openapi.json"} <= seen


def test_errors_of_pages_are_pages(client: TestClient):
    for path in ("/missing", "/labs/missing", "/static/page.css"):
        response = client.get(path)
        assert response.status_code == 404
        assert 'data-testid="error"' in response.text


def test_errors_of_the_api_are_sentences(client: TestClient):
    assert client.get("/api/missing").json() == {"error": "There is no page '/api/missing' here."}
    response = client.post("/api/labs/gap")
    assert response.status_code == 405
    assert response.headers["allow"]
    assert "error" in response.json()
    assert "no parameter 'gama'" in client.get("/api/labs/gap?gama=1").json()["error"]


def test_the_address_of_the_old_api_page_leads_to_the_schema(client: TestClient):
    assert client.get("/api/docs").url.path == "/api/openapi.json"


@pytest.mark.parametrize("path", ["/", "/findings", "/labs/gap", "/api/claims", assets()["plotly.js"].path])
def test_text_is_sent_compressed(client: TestClient, path: str):
    def sent(encoding: str) -> tuple[bytes, Mapping[str, str]]:
        with client.stream("GET", path, headers={"Accept-Encoding": encoding}) as answer:
            return b"".join(answer.iter_raw()), answer.headers

    (packed, headers), (plain, others) = sent("gzip"), sent("identity")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain
    assert int(headers["content-length"]) == len(packed) < len(plain) / 2
    assert "Accept-Encoding" in headers["vary"]
    assert "content-encoding" not in others


def test_small_answers_are_sent_as_they_are(client: TestClient):
    answer = client.get("/api/missing", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_the_network_lab_without_a_report_says_how_to_make_one(tmp_path):
    from bnlens.web import create_app

    client = TestClient(create_app(tmp_path / "missing"), base_url="http://127.0.0.1")
    page = client.get("/labs/network")
    assert page.status_code == 200
    assert 'data-testid="hint"' in page.text
    assert client.get("/api/labs/network").status_code == 422
    assert client.get("/api/reports").json() == []


def test_the_network_lab_opens_the_newest_report(client: TestClient):
    response = client.get("/labs/network", follow_redirects=False)
    assert response.status_code == 303
    assert "report=" in response.headers["location"]
