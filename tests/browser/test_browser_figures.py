"""Figures as a reader sees them: every value within its axes, every word within the figure, on a phone and on a desk."""

import dataclasses
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from bnlens import render
from bnlens.labs import LABS
from bnlens.measure import Report
from conftest import HERE, Reader
from measure.measure_reports import full, gaps

# What a reader cannot see: values beyond the axes or without a place on them, words and marks that are cut off.
UNSEEN = """
() => [...document.querySelectorAll(".plot")].flatMap((plot, index) => {
  const found = [], box = plot.getBoundingClientRect(), layout = plot._fullLayout;
  for (const trace of plot._fullData)
    for (const [letter, name] of [["x", trace.xaxis], ["y", trace.yaxis]]) {
      const axis = layout[name.replace(letter, `${letter}axis`)];
      for (const value of trace[letter]) {
        if (value === null || value === undefined) continue;
        const place = axis.d2p(value);
        if (!(place >= -1 && place <= axis._length + 1)) found.push([index, trace.name, letter, value, place]);
      }
    }
  for (const text of plot.querySelectorAll("svg text")) {
    const own = text.getBoundingClientRect();
    const inside = own.left > box.left - 1 && own.right < box.right + 1 && own.top > box.top - 1 && own.bottom < box.bottom + 1;
    if (own.width && !inside) found.push([index, "text", text.textContent]);
  }
  const marks = plot._fullData.filter((trace) => trace.mode?.includes("markers")).flatMap((trace) => [...trace.y]);
  const drawn = plot.querySelectorAll(".scatterlayer .points path").length;
  if (drawn !== marks.length) found.push([index, "marks", drawn, marks.length]);
  if (layout._size.h < 170 || layout._size.w < 120) found.push([index, "small", layout._size.w, layout._size.h]);
  return found;
})
"""


def negative() -> Report:
    """A report of a network whose gap is below zero."""
    return dataclasses.replace(full(), network=dataclasses.replace(full().network, gaps=gaps(-1.0)))


def deep() -> Report:
    """A report with many layers of long names."""
    names = [f"backbone.encoder.stages.{place // 10}.blocks.{place % 10}.normalization" for place in range(60)]
    layers = tuple(dataclasses.replace(full().layers[0], name=name) for name in names)
    return dataclasses.replace(full(), layers=layers, model="A" * 60)


def panels() -> str:
    """A page with three panels side by side."""
    from plotly.subplots import make_subplots

    fig = make_subplots(1, 3, subplot_titles=["Train loss of all", "Test loss of all", "Gap of the network"])
    for column in (1, 2, 3):
        fig.add_scatter(
            x=[1, 2, 3], y=[0.3, 0.2, -0.1], mode="lines+markers", name=f"series {column}", row=1, col=column
        )
    return render.page("Panels", render.figure(fig, caption="Three panels"))


def lab(name: str) -> str:
    """A page with the figure of a lab at its defaults."""
    [found] = [lab for lab in LABS if lab.id == name]
    return render.page(found.title, found.compute(found.settle(found.defaults)).figure_html)


PAGES = {
    "report": lambda: full().to_html(),
    "negative": lambda: negative().to_html(),
    "deep": lambda: deep().to_html(),
    "panels": panels,
    **{name: lambda name=name: lab(name) for name in ("gap", "dynamics", "rates", "generalization")},
}


def draw_all(page: Page) -> None:
    """Have every figure drawn, as printing does."""
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")


@pytest.mark.parametrize("name", PAGES)
def test_all_of_a_figure_is_seen(browser: Browser, name: str, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(PAGES[name](), encoding="utf-8")
    for width, theme in ((400, "light"), (400, "dark"), (1280, "light")):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        reader = Reader(context.new_page())
        page = reader.open(file.as_uri())
        draw_all(page)
        plots = page.locator(".plot").count()
        assert page.locator(".plot > .plot-container").count() == plots > 0
        assert page.evaluate(UNSEEN) == [], (width, theme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert reader.problems == []
        context.close()


def edge(page: Page) -> float:
    """How much darker than its inside the right edge of the first wide frame is."""
    frame = page.locator(".frame").first
    image = np.asarray(Image.open(io.BytesIO(frame.screenshot())).convert("L"), dtype=float)
    return float(np.median(image[:10]) - np.median(image[:10, -4:]))


def test_a_table_shows_that_it_scrolls(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    rows = [{f"column {index}": 0.123456 for index in range(12)}]
    file.write_text(render.page("t", render.table(rows, caption="Numbers")), encoding="utf-8")
    page = browser.new_page(viewport={"width": 400, "height": 600}, color_scheme="light")
    page.goto(file.as_uri())
    assert edge(page) > 20
    page.locator(".frame").first.evaluate("frame => frame.scrollTo(frame.scrollWidth, 0)")
    assert abs(edge(page)) < 5
    page.close()


def test_a_page_prints_all_figures_as_soon_as_it_is_loaded(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(full().to_html(), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri(), wait_until="load")
    page.pdf()
    assert page.locator(".plot > .plot-container").count() == page.locator(".plot").count() == 3
    page.close()


def test_plotly_is_the_published_one() -> None:
    published = HERE / "node_modules" / "plotly.js-basic-dist-min"
    own = Path(render.__file__).parent / "plotly"
    for name in ("plotly-basic.min.js", "LICENSE"):
        assert (own / name).read_bytes() == (published / name).read_bytes()


def test_kaleido_draws_the_same_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Any = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "matplotlib" else found(name))
    negative().savefig(tmp_path / "x.png")
    image = Image.open(tmp_path / "x.png")
    assert image.size == (2000, 1120)
    blue = (np.asarray(image.convert("RGB")) == (0x2B, 0x6F, 0xE0)).all(axis=-1)
    assert blue.sum() > 500  # the measured gaps
