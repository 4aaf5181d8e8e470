"""The citation network: its page, its API, and files that readers send or put into the folder."""

import json
import re
from collections.abc import Iterable, Iterator
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from bnlens.paper import MOST_NODES, Citation, bundled_network, works
from bnlens.web import create_app
from bnlens.web.network.drawing import NetworkLibrary
from web.readers import URL, send_file

ARXIV = "1809.00846"
SEND = "/network/send"
MARKS = re.compile(r'data-testid="mark-([^"]+)" transform="translate\(([\d.]+) ([\d.]+)\)"')
TICKS = re.compile(r'class="tick" transform="translate\(([\d.]+) [\d.]+\)" data-year="(\d+)"')


def work(number: int, cites: Iterable[int] = (), **fields: Any) -> dict[str, Any]:
    """A work as OpenAlex writes it; number 0 is the paper."""
    return {
        "id": f"https://openalex.org/W{number}",
        "doi": f"https://doi.org/{f'10.1000/{number}' if number else f'10.48550/arxiv.{ARXIV}'}",
        "title": f"Work {number}" if number else "Towards Understanding Regularization in Batch Normalization",
        "publication_year": 2000 + number % 25,
        "authorships": [{"author": {"display_name": f"Ada Nummer {number}"}}],
        "referenced_works": [f"https://openalex.org/W{other}" for other in cites],
        **fields,
    }


def star(count: int) -> bytes:
    """The paper with ``count`` works that cite it, and the first of them cited by the rest."""
    return json.dumps([work(0), work(1, [0]), *(work(number, [0, 1]) for number in range(2, count + 1))]).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, a damaged one, and files that are none."""
    folder = tmp_path_factory.mktemp("networks") / "out"
    (folder / "exports").mkdir(parents=True)
    (folder / "exports" / "works.json").write_bytes(star(3))
    (folder / "cut.json").write_bytes(star(3)[:-20])
    (folder / "other.json").write_text('{"kind": "something else"}')
    (folder.parent / "secret.json").write_bytes(star(2))
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(folder), base_url=URL) as client:
        yield client


def marks(page: str) -> list[str]:
    return re.findall(r'data-testid="mark-([^"]+)"', page)


def listed(page: str) -> list[str]:
    return re.findall(r'<details [^>]*data-testid="work-([^"]+)"', page)


def notes(page: str) -> list[str]:
    return [unescape(note) for note in re.findall(r'data-testid="network-note">([^<]*)<', page)]


def test_the_bundled_network_is_drawn_and_listed_whole(client: TestClient):
    page, network = client.get("/network").text, bundled_network()
    ids = {node.id for node in network.nodes}
    assert sorted(marks(page)) == sorted(listed(page)) == sorted(ids)
    assert f">{network.counts.references}<" in page.replace(" <", "<")
    assert notes(page) == list(network.notes)
    assert page.count('d="M') >= 2
    lines = re.findall(r'class="edges (?:far|near)" d="([^"]*)"', page)
    assert sum(line.count("M") for line in lines) == len(network.edges)


def test_the_api_has_the_same_network(client: TestClient):
    found, network = client.get("/api/network").json(), bundled_network()
    assert [node["id"] for node in found["nodes"]] == [node.id for node in network.nodes]
    assert [(edge["citing"], edge["cited"]) for edge in found["edges"]] == [edge[:2] for edge in network.edges]
    assert all(edge["source"] for edge in found["edges"])
    assert found["roles"] == network.roles()
    paper = found["nodes"][0]
    assert (paper["role"], paper["x"], paper["y"]) == ("paper", 0.0, 0.0)
    assert all(abs(node["x"]) <= 1 and abs(node["y"]) <= 1 for node in found["nodes"])


def test_the_network_stands_over_time(client: TestClient):
    page = client.get("/network").text
    places = {name: (float(x), float(y)) for name, x, y in MARKS.findall(page)}
    dated = sorted((node.year, places[node.id][0]) for node in bundled_network().nodes if node.year)
    assert len(dated) == len(places)
    first, last = dated[0], dated[-1]
    for year, x in dated:  # in proportion to the year
        assert x == pytest.approx(first[1] + (year - first[0]) / (last[0] - first[0]) * (last[1] - first[1]), abs=0.1)
    rows = sorted(y for _, y in places.values())
    assert min(after - before for before, after in pairwise(rows)) >= 38  # a line of text at a phone's width
    ticks = {int(year): float(x) for x, year in TICKS.findall(page)}
    assert len(ticks) >= 3
    for year, x in ticks.items():
        assert all((other < year) == (at < x) for other, at in dated if other != year)


def test_works_without_a_year_stand_apart(client: TestClient):
    works = [work(0, publication_year=2000), *(work(number, [0], publication_year=None) for number in (1, 2))]
    page = send_file(client, SEND, json.dumps(works).encode()).text
    places = {name: float(x) for name, x, _ in MARKS.findall(page)}
    assert places["W1"] == places["W2"] < places["W0"]


def test_the_count_says_how_many_are_entered(client: TestClient):
    page = client.get("/network").text
    network = bundled_network()
    told = page.partition('data-testid="count-references"')[2].partition("</div>")[0]
    assert f">{network.counts.references} " in told
    assert f"{network.roles()['reference']} of them are entered here" in told


def test_works_of_the_table_can_be_cited(client: TestClient):
    page = client.get("/network").text
    for node in bundled_network().nodes:
        assert f'href="/api/works/{node.work}/citation/ris"' in page
        found = client.get(f"/api/works/{node.work}/citation/ris")
        assert found.text == Citation([works()[node.work]]).to_ris()
    assert client.get("/api/works/nobody2000nothing/citation/ris").status_code == 404
    assert client.get("/api/works/luo2019towards/citation/word").status_code == 422


def test_files_of_the_folder_are_listed_and_opened(client: TestClient):
    names = {entry["name"]: entry["page"] for entry in client.get("/api/networks").json()}
    assert {"exports/works.json", "cut.json"} <= set(names)
    assert "other.json" not in names
    assert len(listed(client.get(names["exports/works.json"]).text)) == 4
    found = client.get("/api/network", params={"file": "exports/works.json"}).json()
    assert found["origin"] == "OpenAlex"
    assert found["roles"] == {"paper": 1, "reference": 0, "citation": 3, "other": 0}


@pytest.mark.parametrize("path", ["/network", "/api/network"])
def test_a_damaged_file_is_a_sentence(client: TestClient, path: str):
    response = client.get(path, params={"file": "cut.json"})
    assert response.status_code == 422
    assert "cut.json is not JSON" in unescape(response.text).replace("&#39;", "'")


@pytest.mark.parametrize("path", ["/network", "/api/network"])
@pytest.mark.parametrize("name", ["missing.json", "other.json", "../secret.json", "/etc/passwd", "exports", "sent-0"])
def test_a_name_outside_the_list_is_not_found(client: TestClient, path: str, name: str):
    response = client.get(path, params={"file": name})
    assert response.status_code == 404
    assert "choose one from the list" in response.text


def test_a_sent_file_is_shown_and_not_written(client: TestClient, folder: Path):
    before = sorted(folder.rglob("*"))
    response = send_file(client, SEND, star(5), name="C:\\papers\\mine.json")
    assert (response.status_code, response.url.path, len(listed(response.text))) == (200, "/network", 6)
    name = dict(response.url.params)["file"]
    entry = {"name": name, "label": "mine.json (sent)", "page": f"/network?file={name}"}
    assert entry in client.get("/api/networks").json()
    assert client.get("/api/network", params={"file": name}).json()["roles"]["citation"] == 5
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x80\x04\x95\x10", "no valid JSON"),
        (b'{"kind": "bnlens report"}', "is not a citation network"),
        (b"<!doctype html><script>alert(1)</script>", "is not JSON"),
    ],
)
def test_what_is_no_network_is_refused_in_a_sentence(client: TestClient, content: bytes, sentence: str):
    response = send_file(client, SEND, content)
    assert response.status_code == 422
    shown = re.search(r'data-testid="error">([^<]+)<', response.text)
    assert shown
    assert sentence in unescape(shown[1])
    assert "<script>alert" not in response.text


def test_a_network_without_the_paper_is_shown_and_says_so(client: TestClient):
    page = send_file(client, SEND, json.dumps([work(1, [2]), work(2)]).encode()).text
    assert len(listed(page)) == 3
    assert any(note.startswith("The paper is not among the works of the file") for note in notes(page))


def test_text_of_a_file_is_text(client: TestClient):
    author = {"author": {"display_name": '"><img src=x onerror=alert(1)>'}}
    bad = {"title": "<script>alert(1)</script>", "authorships": [author], "doi": '10.1/"><script>alert(2)</script>'}
    page = send_file(client, SEND, json.dumps([work(0), work(1, [0], **bad)]).encode()).text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for link in re.findall(r'href="([^"]+)"', page):
        assert link.startswith(("/", "#", "https://", "http://")), link


def test_above_the_limit_the_nearest_works_are_drawn_and_a_note_says_so(client: TestClient):
    page = send_file(client, SEND, star(600)).text
    assert len(marks(page)) == len(listed(page)) == 500
    assert any(note.startswith("Limited to 500 of 601 works") for note in notes(page))
    assert "W1" in marks(page)  # the most connected of them


@pytest.fixture(scope="module")
def large() -> bytes:
    """An export of OpenAlex with 20,000 works and 100,000 citations."""
    each = 5
    cited = [
        [(number * 7 + step * step) % number for step in range(1, each + 1)] if number > each else range(number)
        for number in range(20_000)
    ]
    return json.dumps([work(number, others) for number, others in enumerate(cited)]).encode()


@pytest.mark.slow
def test_an_export_with_a_hundred_thousand_citations_can_be_sent(client: TestClient, large: bytes):
    assert len(large) < NetworkLibrary.max_bytes
    response = send_file(client, SEND, large, name="large.json")
    assert response.status_code == 200
    assert len(marks(response.text)) == 500
    found = notes(response.text)
    assert any(note.startswith(f"Limited to 500 of {MOST_NODES:,} works") for note in found)
    assert any(note.startswith(f"Limited to {MOST_NODES:,} of ") for note in found)
    name = dict(response.url.params)["file"]
    assert len(client.get("/api/network", params={"file": name}).json()["nodes"]) == 500


def test_a_larger_file_is_refused(client: TestClient):
    response = send_file(client, SEND, b" " * (NetworkLibrary.max_bytes + 10_000))
    assert response.status_code == 413
    assert f"larger than {NetworkLibrary.max_bytes // 2**20} MiB" in response.text
