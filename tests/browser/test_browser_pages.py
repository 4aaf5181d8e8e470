import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_paths import ADDRESSES, LABS
from playwright.sync_api import Browser, Page, expect

from bnlens.citing import cite
from conftest import Reader, Server

CUT_LISTS = """() => [...document.querySelectorAll("select:not([data-reference])")].filter((list) => {
  const whole = list.cloneNode(true);
  whole.style.cssText = "position: absolute; width: auto; max-width: none";
  list.after(whole);
  const width = whole.offsetWidth;
  whole.remove();
  const room = list.form ? list.form.clientWidth - 64 : width;
  return list.offsetWidth > 0 && list.offsetWidth + 1 < Math.min(width, room);
}).map((list) => list.id)"""
"""Lists that are narrower than their longest choice, though their form has room for it."""


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_opens_clean_and_fits_and_axe_finds_nothing_serious(
    browser: Browser, server: Server, serious: Callable[[Page], list[Any]], theme: str, width: int, address: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    reader = Reader(context.new_page())
    page = reader.open(server.url + address)
    assert reader.problems == []
    assert page.locator("h1").count() == 1
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    assert page.evaluate(CUT_LISTS) == []
    outside = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in outside if not name.startswith(server.url)] == []
    if (theme, width) != ("light", 390):  # whose colours and layout are those of others
        assert serious(page) == []
    context.close()


def test_a_knob_changes_address_figure_and_numbers(reader: Reader, server: Server) -> None:
    page = reader.open(f"{server.url}labs/gap")
    figure = page.get_by_test_id("results").locator(".plot .scatterlayer").first
    before, numbers = figure.inner_html(), page.get_by_test_id("headlines").inner_text()
    expect(page.get_by_test_id("compute")).to_be_hidden()  # the answer comes by itself
    page.get_by_test_id("knob-gamma").fill("2.5")
    page.get_by_test_id("knob-gamma").press("Tab")
    page.wait_for_url("**gamma=2.5*")
    expect(page.get_by_test_id("headlines")).not_to_have_text(numbers)
    expect(figure).to_be_attached()
    assert figure.inner_html() != before
    changed = page.get_by_test_id("headlines").inner_text()
    page.reload()
    expect(page.get_by_test_id("headlines")).to_have_text(changed, use_inner_text=True)
    page.go_back()
    expect(page.get_by_test_id("headlines")).to_have_text(numbers, use_inner_text=True)
    assert reader.problems == []


@pytest.mark.parametrize("lab", LABS)
def test_a_lab_hands_out_its_table(reader: Reader, server: Server, lab: str) -> None:
    page = reader.open(f"{server.url}{lab}")
    with page.expect_download() as waiting:
        page.get_by_test_id("csv").click()
    lines = Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) > 2
    assert lines[0].count(",") == lines[1].count(",") >= 1


def test_a_chosen_theme_is_remembered(reader: Reader, server: Server) -> None:
    page = reader.open(server.url)
    colour = "getComputedStyle(document.body).backgroundColor"
    start = page.evaluate(colour)
    button = page.get_by_role("button", name="Theme")
    for _ in range(3):
        button.click()
        if page.evaluate(colour) != start:
            break
    chosen = page.evaluate(colour)
    assert chosen != start
    reader.open(f"{server.url}labs")
    assert page.evaluate(colour) == chosen


def test_citations_are_handed_out(reader: Reader, server: Server) -> None:
    page = reader.open(f"{server.url}paper")
    for form in ("ris", "bibtex"):
        with page.expect_download() as waiting:
            page.locator(f"a[href$='/citation/{form}']").first.click()
        assert Path(waiting.value.path()).read_text(encoding="utf-8") == cite().to_format(form)


def test_the_export_opens_from_disk(reader: Reader, results: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bnlens", "serve", "--folder", results, "--export", tmp_path / "site"]
    subprocess.run(command, check=True, capture_output=True)
    pages = sorted((tmp_path / "site").rglob("index.html"))
    assert {"paper", "findings", "network", "gap", "L4"} <= {path.parent.name for path in pages}
    for path in pages:
        reader.page.goto(path.as_uri())
        assert reader.page.locator("h1").count() == 1
        assert reader.page.locator("form[method=post]").count() == 0
    reader.open((tmp_path / "site/index.html").as_uri())
    caption = reader.page.locator("#figure-noise figcaption")
    before = caption.inner_text()
    reader.page.get_by_label("Batch size M").first.press("ArrowRight")
    expect(caption).not_to_have_text(before)
    reader.open((tmp_path / "site/network/index.html").as_uri())
    reader.page.get_by_test_id("mark-ioffe2015batch").locator("use").click()
    expect(reader.page.get_by_test_id("details-ioffe2015batch")).to_be_visible()
    reader.open((tmp_path / "site/claims/L4/index.html").as_uri())
    expect(reader.page.locator(".plot .main-svg").first).to_be_visible()
    assert reader.problems == []
