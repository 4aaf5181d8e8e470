"""The built site, docs/_build/html: `make docs` makes it and runs these tests."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image
from site_reference import public_names, shortest
from sphinx.util.inventory import InventoryFile

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "_build" / "html"
PAGES = sorted(SITE.rglob("*.html"))


class Page(HTMLParser):
    """The targets of links and files that a page needs, and the ids in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name == "src" and value:
                self.loads.add(value)
            elif name == "href" and value:
                (self.loads if tag == "link" else self.links).add(value)


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    return {path: Page(path) for path in PAGES}


def broken(path: Path, link: str, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return True
    return bool(parts.fragment) and target in pages and unquote(parts.fragment) not in pages[target].ids


def test_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    inside = {
        (path, link)
        for path, page in pages.items()
        for link in page.links | page.loads
        if not urlsplit(link).scheme and link != "#" and path.name != "search.html"
    }
    assert len(inside) > 1000
    assert [(path.name, link) for path, link in sorted(inside) if broken(path, link, pages)] == []


def test_pages_load_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    found = {load for page in pages.values() for load in page.loads if urlsplit(load).netloc}
    assert found == set()


def test_every_document_is_a_page() -> None:
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert documents <= {path.stem for path in PAGES}
    menu = Page(SITE / "index.html").links
    assert {f"{name}.html" for name in documents - {"index"}} <= menu


def test_every_public_name_is_in_the_reference() -> None:
    inventory = InventoryFile.loads((SITE / "objects.inv").read_bytes(), uri="").data
    there = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    names = public_names()
    assert (
        {"bnlens.nn", "bnlens.theory.dynamics", "bnlens.integrations.lightning", "bnlens.errors"} <= {*names} <= there
    )
    canonical = shortest(names)
    missing = {
        f"{module}.{name}"
        for module, inside in names.items()
        for name, value in inside.items()
        if canonical[id(value)] not in there
    }
    assert missing == set()
    assert "bnlens.report" in there
    assert "bnlens.Report.predict" in there


def test_formulas_of_docstrings_are_as_written() -> None:
    theory = (SITE / "reference" / "bnlens.theory.html").read_text(encoding="utf-8")
    assert "<p>Return E[m | x] = f x, the batch mean" in theory
    lines = re.sub(r"<[^>]+>", "", theory).splitlines()
    assert any(line.startswith("Var m = f (exact)            Var S = K f / 4") for line in lines)
    layers = (SITE / "reference" / "bnlens.nn.html").read_text(encoding="utf-8")
    assert "<strong>num_features</strong> – C.</p>" in layers
    assert "<math" in layers


EXAMPLES = sorted((ROOT / "docs" / "gallery").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_ends_in_a_figure_and_says_what_to_read_off(example: Path) -> None:
    text = (SITE / "examples" / f"{example.stem}.html").read_text(encoding="utf-8")
    assert re.search(r"[Rr]ead off", text)
    code, figure = text.rindex("highlight-Python"), text.rindex("sphx-glr-single-img")
    assert code < figure
    with Image.open(SITE / "_images" / f"sphx_glr_{example.stem}_001.png") as drawn:
        assert drawn.convert("RGB").getcolors(20) is None  # more than twenty colours: curves, not an empty sheet


def test_there_are_eight_examples() -> None:
    assert len(EXAMPLES) == 8
