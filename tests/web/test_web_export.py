"""The static export: whole, and linked within itself."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from bnlens.errors import StoreError
from bnlens.theory import gap_law
from bnlens.web import export
from bnlens.web.labs.lab import LABS, Lab


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    patch = pytest.MonkeyPatch()  # simulations of examples are tested elsewhere
    exported = Lab.exported
    patch.setattr(Lab, "exported", lambda lab: [state for state in exported(lab) if not lab.is_slow(state)])
    target = tmp_path_factory.mktemp("site")
    assert export.export_site(folder, target) == target / "index.html"
    patch.undo()
    return target


def links(page: Path) -> list[str]:
    return [unescape(link) for link in re.findall(r'\s(?:href|src|action)="([^"]*)"', page.read_text())]


def outside(page: Path) -> set[str]:
    """Where a reader may go from the page, in the web: nothing that the page itself loads."""
    return {unescape(link) for link in re.findall(r'<a [^>]*href="(https://[^"]*)"', page.read_text())}


def test_links_resolve_inside_the_folder(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        for link in links(page):
            parts = urlsplit(link)
            if link in outside(page):
                continue
            assert (parts.scheme, parts.netloc, link.startswith("/")) == ("", "", False)
            if not parts.path:
                continue
            target = (page.parent / unquote(parts.path)).resolve()
            assert target.is_file(), (page, link)
            assert target.is_relative_to(site.resolve())


def test_every_lab_has_pages_with_numbers_and_tables(site: Path):
    for lab in LABS:
        page = (site / "labs" / lab.id / "index.html").read_text()
        for text in ('data-testid="headlines"', "<fieldset disabled>", 'data-testid="static-note"'):
            assert text in page
        assert (site / "api" / "labs" / f"{lab.id}.csv").is_file()
    [network] = (site / "labs" / "network").glob("report-nets-small.json-*.html")
    assert "multipart" not in network.read_text()


def test_a_precomputed_state_has_its_own_numbers(site: Path):
    [table] = (site / "api" / "labs" / "gap").glob("unit-relu-distribution-laplace-*.csv")
    law = gap_law("relu", "laplace", gamma=0.7, beta=0.2)
    row = next(line.split(",") for line in table.read_text().splitlines() if line.startswith("32,"))
    assert float(row[1]) == pytest.approx(law.gap(32, "own"), rel=1e-12)


def test_targets_that_cannot_be_written(folder: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="it is a file"):
        export.export_site(folder, tmp_path / "file")
