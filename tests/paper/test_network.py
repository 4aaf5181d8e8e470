import json
import math
import re
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from exports import TITLE, crossref, openalex, openalex_paper

from bnlens.errors import DataError, UsageError
from bnlens.paper import Edge, Network, bundled_network, layout, parse_network, read_network, record, works


def read(found: Any, limit: int = 5000) -> Network:
    return parse_network(json.dumps(found), "file.json", limit)


def roles(network: Network) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in network.nodes:
        found.setdefault(node.role, set()).add(node.title if node.role != "paper" else "paper")
    return found


def test_the_bundled_network_holds_known_works_and_a_source_for_every_edge() -> None:
    network = bundled_network()
    assert (network.paper.id, network.paper.role) == (record().id, "paper")
    assert {node.work for node in network.nodes} == {node.id for node in network.nodes} <= set(works())
    assert {edge.source for edge in network.edges} == set(network.sources)
    year = {node.id: node.year for node in network.nodes}
    for edge in network.edges:
        assert year[edge.citing] >= year[edge.cited] - 1, edge  # type: ignore[operator] # preprints are read a year early
    assert network.counts.references == record().page.references > network.roles()["reference"] > 8
    assert network.counts.citations is None
    assert network.notes[0].startswith("Partial:")
    assert all(node.url.startswith("https://") for node in network.nodes if node.url)


OPENALEX = [
    openalex(1, []),
    openalex(2, [1]),
    openalex_paper(3, [1, 2, 77], referenced_works_count=46, cited_by_count=300),
    openalex(4, [3, 1, 88]),
    openalex(5, [4, 1]),
]


@pytest.mark.parametrize(
    "found",
    [OPENALEX, {"meta": {"count": 5}, "results": OPENALEX}, [{"results": OPENALEX[:2]}, {"results": OPENALEX[2:]}]],
)
def test_openalex(found: Any) -> None:
    network = read(found)
    assert network.origin == "OpenAlex"
    around = {"reference": {"Work 1", "Work 2", ""}, "citation": {"Work 4"}, "other": {"Work 5"}}
    assert roles(network) == {"paper": {"paper"}, **around}
    edges = [(2, 1), (3, 1), (3, 2), (3, 77), (4, 3), (4, 1), (5, 4), (5, 1)]
    assert set(network.edges) == {Edge(f"W{a}", f"W{b}") for a, b in edges}
    work = next(node for node in network.nodes if node.id == "W4")
    assert (work.authors, work.year, work.url) == (("Ada Nummer 4",), 2004, "https://doi.org/10.1000/4")
    assert next(node for node in network.nodes if node.id == "W77").url == "https://openalex.org/W77"
    assert (network.counts.references, network.counts.citations, network.counts.influential) == (46, 300, None)
    assert network.notes == ("Citations of works that the file has no record of are left out: 1.",)
    assert (network.paper.work, network.paper.authors) == (record().id, record().authors)


def test_openalex_one_work_per_line() -> None:
    assert parse_network("\n".join(map(json.dumps, OPENALEX)) + "\n") == read(OPENALEX)


def test_preprint_and_publication_become_one_paper() -> None:
    network = read([openalex_paper(1, [3]), openalex(2, [], title=TITLE.upper()), openalex(3, []), openalex(4, [2])])
    assert network.paper.id == "W1"
    assert roles(network) == {"paper": {"paper"}, "reference": {"Work 3"}, "citation": {"Work 4"}}


def test_csl_with_reference_lists() -> None:
    paper = crossref(0, [1, 9], title=TITLE, DOI="10.48550/arXiv.1809.00846", **{"is-referenced-by-count": 12})
    book = {"key": "u", "unstructured": "Someone, Some book, 1990.", "year": "1990a", "author": "Someone"}
    paper["reference"].append(book)
    network = read([crossref(1, []), paper, crossref(2, [1], reference=[{"key": "a", "article-title": TITLE}])])
    assert network.origin == "CSL-JSON"
    cited = {"Work 1", "", "Someone, Some book, 1990."}
    assert roles(network) == {"paper": {"paper"}, "reference": cited, "citation": {"Work 2"}}
    assert network.counts.citations == 12
    node = next(node for node in network.nodes if node.title.startswith("Someone"))
    assert (node.year, node.authors, node.url) == (1990, ("Someone",), "")


def test_csl_with_ids() -> None:
    records = [
        {"type": "book", "id": 7, "title": "On Noise", "URL": "javascript:alert(1)"},
        {"type": "article", "id": "p", "title": TITLE, "custom": {"references": [7, "gone"]}},
    ]
    network = read(records)
    assert roles(network) == {"paper": {"paper"}, "reference": {"On Noise"}}
    assert network.nodes[1].url == ""
    assert "has no record of" in network.notes[0]
    assert "without saying which cites which" in read(records[:1]).notes[-1]


def test_a_file_without_the_paper_says_so() -> None:
    network = read([openalex(1, []), openalex(2, [1])])
    assert roles(network) == {"paper": {"paper"}, "other": {"Work 1", "Work 2"}}
    assert "The paper is not among the works" in network.notes[0]


def test_citations_count_once_and_nothing_cites_itself() -> None:
    network = read([openalex_paper(1, [1, 2, 2]), openalex(2, [2])])
    assert network.edges == (Edge("W1", "W2"),)


def chain(length: int) -> list[dict[str, Any]]:
    """The paper, two works that cite it, each with a tail of works that cite the one before; work 3 is cited more."""
    records = [openalex_paper(0, []), openalex(1, [0]), openalex(2, [0])]
    records += [openalex(n, [n - 2]) for n in range(3, length)]
    return [*records, openalex(length, [3]), openalex(length + 1, [3])]


@pytest.mark.parametrize("count", [1, 2, 4, 9, 30])
def test_the_nearest_and_most_connected_works_are_kept(count: int) -> None:
    whole = read(chain(40))
    neighbours: dict[str, set[str]] = {node.id: set() for node in whole.nodes}
    for edge in whole.edges:
        neighbours[edge.citing].add(edge.cited)
        neighbours[edge.cited].add(edge.citing)
    distance, waiting = {"W0": 0}, deque(["W0"])
    while waiting:
        here = waiting.popleft()
        for other in neighbours[here] - distance.keys():
            distance[other] = distance[here] + 1
            waiting.append(other)

    def rank(name: str) -> tuple[int, int]:
        return distance[name], -len(neighbours[name])

    small = read(chain(40), limit=count)
    kept = {node.id for node in small.nodes}
    assert len(kept) == count
    assert small.paper.id == "W0"
    assert max(map(rank, kept)) <= min(map(rank, neighbours.keys() - kept))
    assert set(small.edges) == {edge for edge in whole.edges if {edge.citing, edge.cited} <= kept}
    assert small.notes[0].startswith(f"Limited to {count} of {len(whole.nodes)} works")


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="count is 0; it must be an integer of at least 1"):
        bundled_network().limited(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"id": 1}\n{', "is not JSON"),
        (b"\xff\xfe{}", "not text in UTF-8"),
        (b"[]", "has no works in it"),
        (b'{"results": []}', "has no works in it"),
        (b"3", "holds a number, not works"),
        (b"null", "holds nothing, not works"),
        (b"[1, 2]", "entry 1 of .* is a number, not a work"),
        (b'[{"id": "https://openalex.org/W1"}, "b"]', "entry 2 of .* is text, not a work"),
        (b'{"kind": "bnlens report"}', "is not a citation network that bnlens knows"),
        (b"[" * 200_000, "nested too deeply|is not JSON"),
    ],
)
def test_bad_files_get_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_network(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert "export works of OpenAlex" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"cannot read .*missing"):
        read_network(tmp_path / "missing.json")
    with pytest.raises(DataError, match="cannot read"):
        read_network(tmp_path)
    (tmp_path / "file.json").write_text(json.dumps(OPENALEX))
    assert read_network(tmp_path / "file.json") == read(OPENALEX)
    monkeypatch.setattr("bnlens.paper._network_files._MOST_BYTES", 100)
    with pytest.raises(DataError, match="MiB, more than"):
        read_network(tmp_path / "file.json")


ODD: list[Any] = [None, 3, -1.5, "text", [], {}, [None], [3], {"a": 1}, True, math.inf, 10**30, "\ud800"]


@pytest.mark.parametrize("base", [openalex_paper(1, [2]), crossref(1, [2])], ids=["openalex", "csl"])
def test_fields_of_an_odd_type_do_no_harm(base: dict[str, Any]) -> None:
    fields = {*base, "ids", "references", "citations", "reference", "custom", "DOI", "URL"}
    for name in fields - {"type"}:
        for value in ODD:
            network = parse_network(json.dumps([{**base, name: value}, base]), "file.json")
            assert network.paper.role == "paper"
            for node in network.nodes:
                assert node.year is None or 1000 <= node.year < 3000
                assert node.url == "" or re.match(r"https?://\S+$", node.url)


def test_the_layout_is_the_same_every_time_and_has_the_paper_at_the_origin() -> None:
    network = bundled_network()
    found = layout(network, seed=1)
    assert layout(network, seed=1) == found != layout(network, seed=2)
    assert set(found) == {node.id for node in network.nodes}
    assert found[network.paper.id] == (0, 0)
    assert max(abs(value) for place in found.values() for value in place) == pytest.approx(1)
    places = list(found.values())
    apart = min(math.dist(a, b) for i, a in enumerate(places) for b in places[:i])
    assert apart > 0.05


@pytest.mark.parametrize("length", [60, 900])
def test_works_that_cite_each_other_lie_nearer(length: int) -> None:
    network = read(chain(length))
    found = layout(network)
    places = [found[node.id] for node in network.nodes]
    linked = sorted(math.dist(found[edge.citing], found[edge.cited]) for edge in network.edges)
    any_two = sorted(math.dist(places[i], places[(i * 7 + 31) % len(places)]) for i in range(len(places)))
    assert linked[len(linked) // 2] < 0.5 * any_two[len(any_two) // 2]
    assert layout(network) == found


def test_the_layout_of_a_paper_alone_and_of_works_apart() -> None:
    alone = read([openalex_paper(1, [])])
    assert layout(alone) == {"W1": (0, 0)}
    apart = read([openalex_paper(1, []), openalex(2, []), openalex(3, []), openalex(4, [3])])
    assert all(math.isfinite(value) for place in layout(apart).values() for value in place)


def test_a_layout_without_igraph_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(UsageError, match=r"pip install -c constraints.txt '.\[web\]'"):
        layout(bundled_network())
