"""Findings and claims: what the pages say is what the newest run in the folder says."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import asdict
from html import unescape
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bnlens.citing import cite
from bnlens.claims import TONES, Reproduction, claims, reproduce
from bnlens.render import escape, number
from bnlens.web import create_app
from bnlens.web.claims.findings import STANDINGS, facets
from bnlens.web.labs.claims import lab_link
from web import fake_claims
from web.readers import URL

FACETS = ["methodology", "results", "significance", "contribution", "novelty", "limitations", "future-work"]
COMPUTED = ["D1", "D2", "D3", "D4", "G1", "G3a", "G3b", "E1", "N3", "N4"]


def compute(folder: Path, *ids: str, scale: str = "quick") -> Reproduction:
    return reproduce([fake_claims.register()[name] for name in ids], out=folder, scale=scale, workers=1)  # type: ignore[arg-type]


def reader(folder: Path) -> TestClient:
    return TestClient(create_app(folder, register=fake_claims.register), base_url=URL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of ten claims, of which D4 failed."""
    folder = tmp_path_factory.mktemp("claims")
    compute(folder, *COMPUTED)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with reader(folder) as client:
        yield client


def shown(text: str) -> str:
    """A text as it stands in a page, its formulas as MathML."""
    return unescape(escape(text))


def article(text: str, start: str, end: str) -> str:
    """The part of a page from one mark to the next."""
    assert text.count(start) == 1, start
    return text.partition(start)[2].partition(end)[0]


def rows(page: str) -> list[str]:
    """The claims in the table of a page, in their order."""
    return re.findall(r'<tr data-claim="([^"]+)"', page)


def test_the_seven_facets_stand_in_order_with_every_sentence(client: TestClient):
    page = client.get("/findings").text
    assert re.findall(r'<section id="([^"]+)" aria-labelledby="[^"]+" data-testid="facet">', page) == FACETS
    assert [facet.id for facet in facets()] == FACETS
    sentences = [str(escape(finding.text)) for facet in facets() for finding in facet.findings]
    assert re.findall(r'class="sentence">(.+?)</p>', page) == sentences


def test_each_sentence_is_tied_to_claims_that_exist(client: TestClient):
    page, shown = client.get("/findings").text, []
    found = [finding for facet in facets() for finding in facet.findings]
    assert len({finding.id for finding in found}) == len(found) >= 7
    for finding in found:
        assert finding.claims
        assert set(finding.claims) <= set(claims())
        assert set(finding.claims.values()) <= {"supports", "opposes"}
        part = article(page, f'id="{finding.id}" data-testid="finding"', "</section>")
        part = part.partition('data-testid="finding"')[0]
        cards, mentions = (re.findall(rf'data-{kind}="([^"]+)"', part) for kind in ("claim", "mention"))
        assert sorted(cards + mentions) == sorted(finding.claims)
        assert set(mentions) <= set(shown)
        shown += cards
        for claim in finding.claims:
            assert f'href="/claims/{claim}"' in part
            assert f'href="/findings#{finding.id}"' in client.get(f"/claims/{claim}").text
    assert len(shown) == len(set(shown))


# D1 holds at the optimum alone, D2 approximately, D3, E1 and G3a do not, D4 failed, N3, G1 and G3b hold, the premise of N4 is
# not met; the others were not computed.
STANDING = {
    "small-network": "borne out in part",  # D1 and D2
    "gamma-decay": "not borne out",  # D3
    "not-quadratic": "confirmed limitation",  # against D3
    "not-ridge": "confirmed limitation",  # G3b
    "one-account": "not borne out",  # G3a
    "terms-left-out": "confirmed limitation",  # against D1 away from the optimum; D4 counts for nothing
    "better-penalty": "premise not met",  # N4
    "networks": "borne out in part",  # E1 and N3
    "not-layer-by-layer": "borne out in part",  # against both
    "order-parameters": "not computed yet",  # L1
}


@pytest.mark.parametrize(("finding", "expected"), STANDING.items())
def test_a_findings_standing_follows_from_its_verdicts(client: TestClient, finding: str, expected: str):
    page = client.get("/findings").text
    assert f'data-testid="standing-{finding}">{expected}<' in page
    entries = {entry["id"]: entry for facet in client.get("/api/findings").json() for entry in facet["findings"]}
    assert entries[finding]["standing"] == expected
    assert expected in STANDINGS


def test_one_is_told_in_the_singular_and_more_in_the_plural(client: TestClient):
    entries = [entry for facet in client.get("/api/findings").json() for entry in facet["findings"]]
    limits = sum(entry["standing"] == "confirmed limitation" for entry in entries)
    assert limits > 1
    for page in ("/findings", "/paper"):
        assert f">{limits} confirmed limitations<" in client.get(page).text
    for claim in COMPUTED:
        seeds = client.get(f"/api/claims/{claim}").json()["result"]["seeds"]
        page = client.get(f"/claims/{claim}").text
        assert re.findall(r"<dt>(Seeds?)</dt>", page) == ([] if not seeds else ["Seeds" if "," in seeds else "Seed"])
        rows = len(client.get(f"/api/claims/{claim}").json()["rows"])
        assert re.findall(r"\d+ rows?(?=</summary>)", page) == (
            [f"{rows} row{'s' if rows > 1 else ''}"] if rows else []
        )


def test_a_finding_says_which_part_of_it_came_out_how(client: TestClient):
    page = unescape(client.get("/findings").text)
    told = article(page, 'data-testid="outcome-small-network">', "</p>")
    D1, D2 = (claims()[name].title for name in ("D1", "D2"))
    assert told == (
        f"holds: {D1} (D1, at the optimum); does not hold here: {D1} (D1, away from the optimum); "
        f"holds approximately: {D2} (D2)."
    )
    only = article(page, 'data-testid="outcome-terms-left-out">', "</p>")
    assert only == f"does not hold here: {D1} (D1, away from the optimum)."
    assert 'data-testid="outcome-order-parameters"' not in page
    assert (
        "Judged apart: at the optimum: holds; away from the optimum: does not hold here."
        in client.get("/claims/D1").text
    )


def test_the_papers_words_stand_apart_from_what_is_tested(client: TestClient):
    listed = client.get("/claims").text
    for claim in claims().values():
        entry = client.get(f"/api/claims/{claim.id}").json()["paper"]
        page = client.get(f"/claims/{claim.id}").text
        assert ("The paper, in our words" in page) == (claim.paper is not None)
        if claim.paper is None:
            assert entry is None
            continue
        assert entry == asdict(claim.paper)
        for part in filter(None, (claim.paper.words, claim.paper.section, claim.paper.known, claim.paper.differs)):
            assert str(escape(part)) in listed, claim.id
            assert str(escape(part)) in page, claim.id


def test_a_name_that_has_parts_by_now_leads_to_them(client: TestClient):
    assert client.get("/api/claims/l3A").json()["id"] == "L3a"
    gone = client.get("/api/claims/L3")
    assert (gone.status_code, "There is no claim 'L3'; there are its parts L3a and L3b." in gone.text) == (404, True)
    for name, parts in {"L3": ["L3a", "L3b"], "g3": ["G3a", "G3b"]}.items():
        page = client.get(f"/claims/{name}")
        assert (page.status_code, rows(page.text)) == (200, parts)


def test_a_claim_that_failed_says_so_and_counts_for_nothing(client: TestClient):
    page = client.get("/findings").text
    part = article(page, 'id="terms-left-out" data-testid="finding"', 'data-testid="finding"')
    assert 'data-mention="D4"' in part  # its card is above
    card = article(page, 'data-claim="D4"', "</article>")
    for text in ("not judged", "the matrix is singular", 'data-testid="run-D4"'):  # it can be tried again
        assert text in card
    assert "1 of 2 claims computed" in part
    entry = client.get("/api/claims/D4").json()
    assert (entry["result"]["verdict"], entry["result"]["measured"], entry["rows"]) == ("not judged", None, [])
    assert any("the matrix is singular" in error for error in entry["result"]["errors"])
    assert client.get("/api/claims/D4/table.csv").status_code == 404
    assert "the matrix is singular" in client.get("/claims/D4").text


@pytest.mark.parametrize("last", ["quick", "full"])
def test_the_newest_run_wins(tmp_path: Path, last: str):
    for scale in ("full", "quick") if last == "quick" else ("quick", "full"):
        compute(tmp_path, "G1", scale=scale)
    with reader(tmp_path) as client:
        result = client.get("/api/claims/G1").json()["result"]
        verdict, measured = {"quick": ("holds", 1.0), "full": ("does not hold here", 2.0)}[last]
        assert (result["scale"], result["verdict"], result["measured"]) == (last, verdict, measured)
        assert f'data-testid="verdict-G1">{verdict}<' in client.get("/claims").text


def test_a_run_that_ends_while_the_server_is_up_is_seen(tmp_path: Path):
    with reader(tmp_path) as client:
        assert client.get("/api/claims/D1").json()["result"] is None
        assert 'data-testid="verdict-D1">not run yet<' in client.get("/findings").text
        compute(tmp_path, "D1")
        assert client.get("/api/claims/D1").json()["result"]["verdict"] == "holds"
        assert 'data-testid="verdict-D1">holds<' in client.get("/findings").text


def test_a_damaged_results_file_is_a_sentence_on_every_page(tmp_path: Path):
    (tmp_path / "runs.sqlite").write_bytes(b"no database" * 500)
    with reader(tmp_path) as client:
        for path in ("/findings", "/claims", "/claims/D1"):
            page = client.get(path)
            assert page.status_code == 200
            assert "runs.sqlite" in article(page.text, 'role="alert" data-testid="problem">', "</p>")
        assert client.get("/paper").status_code == 200
        assert client.get("/api/claims").status_code == 200


def test_every_claim_is_listed_with_its_verdict(client: TestClient):
    page, listed = client.get("/claims").text, client.get("/api/claims").json()
    assert [entry["id"] for entry in listed] == list(claims())
    assert sorted(rows(page)) == sorted(claims())
    assert re.findall(r'scope="rowgroup"[^>]*>([^<]+)<', page)[0] == "Decomposition of the gap"
    for entry in listed:
        claim = claims()[entry["id"]]
        assert {name: entry[name] for name in ("title", "statement", "agreement", "quantity")}.items() <= vars(
            claim
        ).items()
        assert (entry["result"] is not None) == (entry["id"] in COMPUTED)


def test_claims_are_searched_and_sorted_by_verdict(client: TestClient):
    assert rows(client.get("/claims", params={"search": "Two-Term  gap"}).text) == ["D1"]
    assert rows(client.get("/claims", params={"search": "premise met"}).text) == ["N4"]
    nothing = client.get("/claims", params={"search": '"><b>'}).text
    assert 'data-testid="no-claim"' in nothing
    assert '"><b>' not in nothing
    page = client.get("/claims?sort=verdict").text
    assert sorted(rows(page)) == sorted(claims())
    verdicts = re.findall(r'data-testid="verdict-[^"]+">([^<]+)<', page)
    order = list(dict.fromkeys(verdicts))
    assert order == [*TONES, "not run yet"]
    assert verdicts == sorted(verdicts, key=order.index)
    assert client.get("/claims?sort=colour").status_code == 422


def test_every_number_has_its_quantity(client: TestClient):
    listed, findings = unescape(client.get("/claims").text), unescape(client.get("/findings").text)
    for claim in claims().values():
        assert claim.quantity in listed
        assert claim.quantity in findings
        page = unescape(client.get(f"/claims/{claim.id}").text)
        assert article(page, 'data-testid="quantity">', "</dd>") == claim.quantity


def test_a_claim_says_first_how_it_came_out_and_then_why(tmp_path: Path):
    compute(tmp_path, "D3")
    with reader(tmp_path) as client:
        page = client.get("/claims/D3").text
    marks = ["verdict-D3", "number-D3", 'class="plot"', "What agreement means", 'data-testid="rows"', 'id="paths"']
    places = [page.index(mark) for mark in marks]
    assert places == sorted(places)
    assert '<details data-testid="rows">' in page


def test_a_claim_leads_to_lab_derivation_code_and_findings(client: TestClient):
    paths = article(client.get("/claims/D1").text, 'data-testid="paths"', "</section>")
    lab = lab_link("D1", client.app.state.site.labs)  # type: ignore[attr-defined]
    assert lab is not None
    for address in (lab[1], "/derivation/A#A.2", "/derivation/code/theory/gap.py", "/findings#decomposition"):
        assert f'href="{address}"' in unescape(paths)
        assert client.get(address).status_code == 200
    pages = (article(client.get(f"/claims/{claim}").text, '<section id="paths"', "</section>") for claim in claims())
    for address in {address for page in pages for address in re.findall(r'href="(/[^"#]+)', unescape(page))}:
        assert client.get(address).status_code == 200, address


def test_a_finding_shows_its_claims_figure_in_small(client: TestClient):
    page = client.get("/findings").text
    drawn = article(page, 'data-testid="plot-gamma-decay"', "</a>")
    assert "<svg" in drawn
    assert drawn.count("<polyline") == 1  # the figure of the claim has one curve
    assert 'data-testid="plot-order-parameters"' not in page
    part = article(page, 'id="order-parameters" data-testid="finding"', "<details")
    assert "Not computed on this machine yet." in part
    assert 'data-testid="run-L1"' in part
    assert 'data-testid="expected-L1"' in part


def test_a_claims_page_has_number_verdict_table_and_figure(client: TestClient):
    page = client.get("/claims/D3").text
    for text in ("does not hold here", 'class="plot"', 'href="/api/claims/D3/table.csv"', "a &lt; b, =c"):
        assert text in page
    assert article(page, 'data-testid="number-D3">', "<") == number(1.0, 0.25)
    assert "<td>a < b" not in page
    answer = client.get("/api/claims/d3").json()
    assert answer["id"] == "D3"
    assert answer["rows"] == [{"job": 0, "value": 1.0, "note": "a < b, =c"}]
    table = client.get("/api/claims/D3/table.csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert list(csv.DictReader(io.StringIO(table.text))) == [{"job": "0", "value": "1.0", "note": "a < b, =c"}]


def test_a_claim_that_was_not_run_says_what_it_says(client: TestClient):
    page = client.get("/claims/L2").text
    L2 = claims()["L2"]
    for text in ("not run yet", str(escape(L2.statement)), str(escape(L2.agreement)), "bnlens reproduce L2"):
        assert text in page
    assert client.get("/api/claims/L2/table.csv").status_code == 404


@pytest.mark.parametrize("form", ["ris", "bibtex", "csl", "endnote", "text"])
def test_the_works_behind_a_claim_can_be_cited(client: TestClient, form: str):
    response = client.get(f"/api/claims/l2/citation/{form}")
    assert response.headers["content-disposition"].startswith('attachment; filename="bnlens-l2.')
    assert response.text == cite("L2").to_format(form)
    if form == "csl":
        assert response.json() == client.get("/api/claims/L2").json()["works"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("D99", 404),
        ("d0", 404),
        ("D1x", 404),
        *((name, 422) for name in ("1D", "D", "D1xy", "D1'--", "%00", "D" * 30 + "1")),
    ],
)
def test_a_claim_that_is_not_there(client: TestClient, name: str, status: int):
    for path in (f"/api/claims/{name}", f"/api/claims/{name}/table.csv", f"/api/claims/{name}/citation/ris"):
        response = client.get(path)
        assert response.status_code == status
        assert status == 422 or response.json()["error"].startswith(f"There is no claim '{name}'; there are D1,")
    assert client.get(f"/claims/{name}").status_code == 404
