import base64
import gzip
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from plotly.subplots import make_subplots

from bnlens import render

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Reader(HTMLParser):
    """Collects elements, their text, and everything a browser would load."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        names = ("src", "srcset", "poster", *(("href",) if tag == "link" else ()))
        self.loads += [address for name in names if (address := attributes.get(name))]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def assert_loads_nothing(text: str) -> None:
    reader = Reader(text)
    assert reader.open == []
    assert [address for address in reader.loads if not address.startswith("data:")] == []
    style = " ".join(reader.text("style"))
    assert "@import" not in style
    assert "url(" not in style


def a_figure() -> go.Figure:
    fig = render.new_figure(x="M", y="gap")
    return fig.add_scatter(x=np.array([8, 16]), y=np.array([0.2, 0.1]), name="</script><b>measured</b>")


def test_page_is_whole_and_loads_nothing() -> None:
    body = render.section("Gap", render.figure(a_figure(), caption="The gap < 1"), anchor="gap")
    text = render.page("A & B", body, description="What <this> is")
    assert_loads_nothing(text)
    reader = Reader(text)
    assert reader.all("html") == [{"lang": "en"}]
    assert reader.text("h1") == reader.text("title") == ["A & B"]
    assert {"name": "description", "content": "What <this> is"} in reader.all("meta")
    assert reader.all("section")[0]["aria-labelledby"] == "gap-heading"


def test_plotly_is_embedded_once_and_only_for_figures() -> None:
    figures = render.figure(a_figure(), caption="One") + render.figure(a_figure(), caption="Two")
    page = render.page("t", figures)
    assert len(Reader(page).all("script")) == 2 + 2
    assert len(page) < 600_000
    [packed] = [text for text in Reader(page).text("script") if text.startswith("H4sI")]
    assert "window.Plotly = Plotly" in gzip.decompress(base64.b64decode(packed)).decode()
    assert Reader(render.page("t", render.paragraph("No figure."))).all("script") == []


def test_figure_data_survive_the_page() -> None:
    fig = a_figure()
    reader = Reader(render.page("t", render.figure(fig, caption="The <gap>")))
    plot = next(attributes for attributes in reader.all("div") if attributes.get("class") == "plot")
    assert (plot["role"], plot["aria-label"]) == ("group", "The <gap>")
    drawn = json.loads(next(text for text in reader.text("script") if text.startswith("{")))
    assert drawn["data"][0]["name"] == "</script><b>measured</b>"
    assert fig.layout.xaxis.title.text == drawn["layout"]["xaxis"]["title"]["text"]


def test_figure_without_a_template_gets_the_look_and_is_not_changed() -> None:
    fig = go.Figure(go.Bar(x=[1], y=[2]))
    before = fig.to_json()
    assert render.PALETTE[0] in render.figure_html(fig)
    assert fig.to_json() == before


def drawn_axes(fig: go.Figure) -> dict[str, Any]:
    """The axes of a figure as a page draws it."""
    layout = json.loads(Reader(render.figure_html(fig)).text("script")[0])["layout"]
    return {name: axis for name, axis in layout.items() if re.fullmatch(r"[xy]axis\d*", name)}


def test_logarithmic_axes_get_full_labels_unless_the_figure_has_its_own() -> None:
    fig = render.new_figure(x="M", y="gap", xaxis_type="log", yaxis_type="log").add_scatter(x=[8, 16], y=[0.002, 3])
    fig.update_xaxes(tickvals=[8, 16])
    axes = drawn_axes(fig)
    assert axes["xaxis"]["tickvals"] == [8, 16]
    assert dict(zip(axes["yaxis"]["tickvals"], axes["yaxis"]["ticktext"], strict=True))[0.003] == "0.003"


@given(st.floats(1e-9, 1e9), st.floats(0, 15))
def test_a_logarithmic_axis_has_ticks_enough_and_not_too_many(low: float, decades: float) -> None:
    high = low * 10**decades
    fig = render.new_figure(x="x", y="y", yaxis_type="log").add_scatter(y=[low, high])
    render.settle_log_axes(fig)
    ticks = list(fig.layout.yaxis.tickvals)
    assert ticks == sorted(set(ticks))
    if high > 1.02 * low:
        assert 5 <= sum(low <= tick <= high for tick in ticks) <= 16
    assert ticks[0] < low <= high < ticks[-1]


def test_an_axis_with_a_value_that_has_no_logarithm_is_linear() -> None:
    fig = make_subplots(1, 2).update_yaxes(type="log")
    fig.add_scatter(x=[1, 2], y=[0.5, -0.001], row=1, col=1)
    fig.add_scatter(x=[1, 2], y=[0.5, 0.001], error_y={"array": [0.1, 0.01]}, row=1, col=2)
    fig.add_scatter(x=[1, 2], y=[-1, 0.1], line={"width": 0}, row=1, col=2)  # the edge of a band
    axes = drawn_axes(fig)
    assert (axes["yaxis"]["type"], axes["yaxis2"]["type"]) == ("linear", "log")
    assert "tickvals" not in axes["yaxis"]


def test_panels_side_by_side_scroll_in_a_frame() -> None:
    def frame(columns: int) -> tuple[bool, str | None]:
        reader = Reader(render.figure_html(make_subplots(1, columns).add_scatter(y=[1, 2])))
        divs = {attributes["class"]: attributes for attributes in reader.all("div")}
        return "frame" in divs, divs["plot"]["style"]

    assert frame(1) == (False, "height:420px")
    assert frame(3) == (True, "height:420px;min-width:66rem")


def test_groups_of_categories_have_room_for_their_labels() -> None:
    grouped = [["linear"] * 3 + ["ReLU"] * 3, ["Gauss", "Laplace", "exp."] * 2]
    for x, style in (
        (grouped, "height:420px;min-width:25.5rem"),
        (["ab", "cd"], "height:420px"),
        ([1, 2], "height:420px"),
    ):
        reader = Reader(render.figure_html(go.Figure(go.Scatter(x=x, y=[1.0] * 6))))
        divs = {attributes["class"]: attributes for attributes in reader.all("div")}
        assert (divs["plot"]["style"], "frame" in divs) == (style, x is grouped)


def test_a_trace_that_pages_cannot_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot draw traces of type heatmap; use bar, pie, scatter"):
        render.figure_html(go.Figure(go.Heatmap(z=[[1]])))


def test_a_dense_grid_has_the_values_and_steps_between_that_are_even() -> None:
    grid = render.dense([4, 1, 2, 2], 100)
    assert {1, 2, 4} < set(grid)
    assert (grid[0], grid[-1], len(grid)) == (1, 4, 103)
    assert np.allclose(np.diff(grid), [1 / 51] * 51 + [2 / 51] * 51)
    assert (render.dense([3]), render.dense([])) == ([3.0], [])


def test_a_curve_of_one_point_is_seen() -> None:
    fig = render.new_figure(x="x", y="y")
    render.add_line(fig, "many", [1, 2], [1, 2])
    render.add_line(fig, "one", [1], [1])
    assert [trace.mode for trace in fig.data] == ["lines", "lines+markers"]


def test_table_merges_errors_aligns_numbers_and_escapes() -> None:
    rows: list[dict[str, Any]] = [
        {"layer": "<bn1>", "gap": np.float32(0.0312), "gap stderr": 0.0014, "M": np.int64(16), "dead": np.bool_(False)},
        {"layer": "bn2", "gap": None, "M": 12345, "dead": True, "extra": render.badge("holds", "good")},
    ]
    reader = Reader(render.table(rows, caption="Layers & gaps"))
    assert reader.text("caption") == ["Layers & gaps"]
    assert reader.text("th") == ["layer", "gap", "M", "dead", "extra"]
    assert [attributes.get("class") for attributes in reader.all("th")] == [None, "number", "number", None, None]
    assert reader.text("td") == ["<bn1>", "0.0312 ± 0.0014", "16", "no", "–", "bn2", "–", "12,345", "yes"]
    assert reader.text("span") == ["holds"]


def test_table_takes_names_or_headings_and_aligns_numbers_written_by_number() -> None:
    rows = [{"gap": render.number(3.1e-9, 2e-10), "date": "2024-01-01"}, {"gap": render.number(-0.5), "date": "x"}]
    classes = [attributes.get("class") for attributes in Reader(render.table(rows, caption="t")).all("th")]
    assert classes == ["number", None]
    assert Reader(render.table(rows[1:], caption="t", columns=["date", "gap"])).text("td") == ["x", "-0.5"]
    assert Reader(render.table(rows, caption="t", columns={"gap": "Gap"})).text("th") == ["Gap"]


def test_download_holds_the_text() -> None:
    [link] = Reader(render.download('a,"ü"\n', filename="x.csv", label="CSV", media_type="text/csv")).all("a")
    address = "data:text/csv;charset=utf-8,a%2C%22%C3%BC%22%0A"
    assert link == {"class": "download", "download": "x.csv", "href": address}


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (0.0, None, "0"),
        (-0.0312, 0.00996, "-0.031 ± 0.010"),
        (0.00001, 0.5, "0.00 ± 0.50"),
        (99.99999, None, "100"),
        (123456.7, None, "123,457"),
        (1.0, 0.0, "1"),
        (1.0, math.nan, "1"),
        (math.nan, 0.1, "–"),
        (-math.inf, None, "-∞"),
        (2.5e12, 1e11, "(2.50 ± 0.10)×10¹²"),
        (0.99996, None, "1"),
        (16, 0.01, "16.000 ± 0.010"),
        (123456789, None, "123,456,789"),
    ],
)
def test_number(value: float, stderr: float | None, text: str) -> None:
    assert render.number(value, stderr) == text


def read_number(text: str) -> float:
    plain = text.replace(",", "").strip("(")
    power = plain.partition("×10")[2].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(re.split(r" ±|\)|×", plain)[0]) * 10.0 ** int(power or 0)


@given(st.floats(-1e250, 1e250).filter(lambda value: value == 0 or abs(value) > 1e-250))
def test_number_keeps_four_digits(value: float) -> None:
    assert read_number(render.number(value)) == pytest.approx(value, rel=5.1e-4)


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e9))
def test_number_is_right_to_a_tenth_of_its_error(value: float, stderr: float) -> None:
    assume(stderr > 1e-11 * abs(value))  # less may be what rounding makes of zero
    assert abs(read_number(render.number(value, stderr)) - value) <= 0.051 * stderr + 1e-12 * abs(value)


@given(st.text())
def test_text_is_escaped(text: str) -> None:
    parsed = Reader(render.paragraph(text) + render.table([{"x": text}], caption=text))
    assert {name for name, _ in parsed.elements} <= {"p", "div", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert_loads_nothing(render.page(text, render.paragraph(text)))
