"""The front page: its figures stay in view and turn by keyboard, and it reads without scripts, on paper, on a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from conftest import Reader, Server

FIGURES = ("noise", "theorem", "unit", "network", "rates", "students")
CONTRAST = """() => {
  const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const luminance = (colour) => {
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    const parts = [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255);
    const linear = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return linear[0] * 0.2126 + linear[1] * 0.7152 + linear[2] * 0.0722 + 0.05;
  };
  const ground = luminance(getComputedStyle(document.body).backgroundColor);
  const seen = [];
  for (const mark of document.querySelectorAll(".live svg text, .live svg .line, .live svg .dots, .live svg .band")) {
    const style = getComputedStyle(mark);
    const ink = luminance(mark.matches("text, .band") ? style.fill : style.stroke);
    seen.push([mark.getAttribute("class"), Math.max(ink / ground, ground / ink)]);
  }
  return seen;
}"""


@pytest.mark.parametrize("name", FIGURES)
def test_knobs_turn_by_keyboard(reader: Reader, server: Server, name: str) -> None:
    page = reader.open(server.url)
    figure = page.locator(f"#figure-{name}")
    for knob in figure.locator("input, select").all():
        before, caption = figure.locator("svg").first.inner_html(), figure.locator("figcaption").inner_text()
        knob.focus()
        page.keyboard.press("ArrowDown" if knob.evaluate("knob => knob.tagName") == "SELECT" else "ArrowRight")
        expect(figure.locator("figcaption")).not_to_have_text(caption)
        assert figure.locator("svg").first.inner_html() != before
    assert reader.problems == []


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_a_figure_stays_in_view(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = Reader(context.new_page()).open(server.url)
    for scene in ("noise", "generalization"):
        page.locator(f"#{scene} .text p").nth(3).evaluate("p => p.scrollIntoView({block: 'end', behavior: 'instant'})")
        box = page.locator(f"#{scene} .stage").bounding_box()
        assert box is not None
        assert box["y"] >= -1
        assert box["y"] + box["height"] <= size[1]
        text = page.locator(f"#{scene} .text p").nth(3).bounding_box()
        assert text is not None
        assert size[0] > 1000 or text["y"] + text["height"] > box["y"] + box["height"]
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_it_readably(
    browser: Browser, server: Server, serious: Callable[[Page], list[Any]], theme: str
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=theme, bypass_csp=True)
    page = Reader(context.new_page()).open(server.url)
    assert serious(page) == []
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 100
    assert [found for found in contrasts if found[1] < 4.5] == []
    sizes = page.evaluate(
        "[...document.querySelectorAll('.live svg text')].map(t => parseFloat(getComputedStyle(t).fontSize)"
        " * t.getScreenCTM().a)"
    )
    assert min(sizes) > 8.5
    context.close()


def test_without_scripts_and_on_paper_the_figures_are_there(browser: Browser, server: Server, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = Reader(context.new_page()).open(server.url)
    for name in ("ratios", *FIGURES):
        expect(page.locator(f"#figure-{name} svg").first).to_be_visible()
    for told in (".turn", ".turning"):
        expect(page.locator(told).first).to_be_hidden()
    context.close()
    context = browser.new_context()
    page = Reader(context.new_page()).open(server.url)
    for media, seen in (("screen", True), ("print", False)):
        page.emulate_media(media=media)
        for told in (".turn", ".turning"):
            expect(page.locator(told).first).to_be_visible(visible=seen)
    expect(page.locator("#figure-students svg").first).to_be_visible()
    assert page.locator("#figure-students").evaluate("one => getComputedStyle(one).position") == "static"
    context.close()
