"""Pictures: what is drawn is the figure's data, all of it to be seen; formats; what a user is told."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from plotly.subplots import make_subplots

from bnlens import render
from bnlens.errors import StoreError, UsageError

Draw = Callable[[go.Figure], matplotlib.figure.Figure]


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Draw:
    """Returns what matplotlib was given to draw of a figure."""
    made: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig

    def kept(self: matplotlib.figure.Figure, *args: Any, **options: Any) -> None:
        made.append(self)
        save(self, *args, **options)

    def drawn(fig: go.Figure) -> matplotlib.figure.Figure:
        render.save_picture(fig, tmp_path / "x.svg", title="A title")
        return made[-1]

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", kept)
    return drawn


def points(axes: Any) -> dict[str, list[tuple[float, float]]]:
    """Data of the lines and points with errors of a panel, by colour and marker."""
    return {
        f"{to_hex(bars.lines[0].get_color())} {bars.lines[0].get_marker()}": list(
            zip(*map(np.ndarray.tolist, map(np.asarray, bars.lines[0].get_data())), strict=True)
        )
        for bars in axes.containers
    }


def assert_within(axes: Any) -> None:
    """All points, their bars and the bands lie within the axes."""
    low, high = np.sort(axes.get_xlim()), np.sort(axes.get_ylim())
    for bars in axes.containers:
        ends = [path for bar in bars.lines[2] for path in bar.get_segments()]
        for x, y in np.concatenate([np.transpose(bars.lines[0].get_data()), *ends]):
            assert np.isnan(y) or (low[0] <= x <= low[1] and high[0] <= y <= high[1])


def test_measured_points_with_errors_and_a_curve(draw: Draw) -> None:
    fig = render.new_figure(x="M", y="gap", xaxis_type="log", yaxis_type="log")
    render.add_line(fig, "law", [4, 8, 16], [0.4, 0.2, np.nan], color="#112233", dash="dash")
    render.add_points(fig, "measured", [8, 16], [0.21, 0.09], [0.02, 0.01], color="#445566", symbol="square")
    drawn = draw(fig)
    [axes] = drawn.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("M", "gap")
    found = points(axes)
    assert found["#445566 s"] == [(8, 0.21), (16, 0.09)]
    assert found["#112233 none"][:2] == [(4, 0.4), (8, 0.2)]
    assert np.isnan(found["#112233 none"][2][1])
    segments = axes.containers[1].lines[2][0].get_segments()
    assert np.allclose([segment[:, 1] for segment in segments], [[0.19, 0.23], [0.08, 0.10]])
    assert_within(axes)
    [legend] = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == ["law", "measured"]
    assert "A title" in [text.get_text() for text in drawn.texts]


def test_values_without_a_logarithm_are_drawn(draw: Draw) -> None:
    fig = render.new_figure(x="M", y="gap", xaxis_type="log", yaxis_type="log")
    render.add_points(fig, "measured", [8, 16, 32], [0.2, 0.0, -0.1], [0.01, 0.01, 0.3], color="#445566")
    [axes] = draw(fig).axes
    assert axes.get_yscale() == "linear"
    assert points(axes)["#445566 o"] == [(8, 0.2), (16, 0.0), (32, -0.1)]
    assert axes.get_ylim()[0] < -0.4
    assert_within(axes)


def test_bands_panels_and_lines_across(draw: Draw) -> None:
    fig = make_subplots(1, 2, subplot_titles=["Left", "Right<br>below"])
    fig.add_scatter(x=[1, 2], y=[1, 2], mode="lines", line={"width": 0, "color": "#123456"}, showlegend=False)
    fig.add_scatter(x=[1, 2], y=[3, 4], mode="lines", line={"width": 0, "color": "#123456"}, fill="tonexty")
    fig.add_scatter(x=[1, 2, 2, 1], y=[7, 8, 5, 4], fill="toself", fillcolor="rgba(255,0,0,0.2)", row=1, col=2)
    fig.add_hline(y=9, row=1, col=2)
    drawn = draw(fig)
    left, right = drawn.axes
    assert {"Left", "Right\nbelow"} < {text.get_text() for text in drawn.texts}
    band = left.collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in band} == {(1, 1), (2, 2), (2, 4), (1, 3)}
    [ring] = right.patches
    assert (to_hex(ring.get_facecolor(), keep_alpha=True), ring.get_xy()[:4].tolist()) == (
        "#ff000033",
        [[1, 7], [2, 8], [2, 5], [1, 4]],
    )
    assert right.get_ylim()[1] > 9
    assert [9, 9] in [list(line.get_ydata()) for line in right.lines]
    assert left.get_position().x1 < right.get_position().x0


@pytest.mark.parametrize("orientation", ["v", "h"])
def test_categories_lie_side_by_side(draw: Draw, orientation: str) -> None:
    fig = render.new_figure(x="", y="", scattermode="group")
    names, values = ["stem$1$", "head"], [2.0, -1.0]
    for color in ("#111111", "#222222"):
        x, y = (names, values) if orientation == "v" else (values, names)
        fig.add_scatter(x=x, y=y, mode="markers", marker_color=color, orientation=orientation)
    [axes] = draw(fig).axes
    axis = axes.xaxis if orientation == "v" else axes.yaxis
    assert [text.get_text() for text in axis.get_ticklabels()] == names
    place = 0 if orientation == "v" else 1
    found = [[point[place] for point in series] for series in points(axes).values()]
    assert np.allclose(found, [[-0.2, 0.8], [0.2, 1.2]])
    assert_within(axes)


def test_formats_and_sizes(tmp_path: Path) -> None:
    fig = render.new_figure(x="x", y="y").add_scatter(x=[1, 2], y=[1, 2])
    before = fig.to_json()
    for ending, head in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")):
        path = render.save_picture(fig, tmp_path / f"new/x{ending}")
        assert path.read_bytes().startswith(head)
        assert render.save_picture(fig, tmp_path / f"again{ending}").read_bytes() == path.read_bytes()
    assert fig.to_json() == before
    width, height = Image.open(io.BytesIO((tmp_path / "new/x.png").read_bytes())).size
    assert (1700 < width < 2300, 900 < height < 1300) == (True, True)


def test_what_cannot_be_drawn_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fig = render.new_figure(x="x", y="y").add_scatter(y=[1, 2])
    with pytest.raises(UsageError, match=r"x.gif ends in '.gif'; give a file that ends in .png, .svg or .pdf"):
        render.save_picture(fig, tmp_path / "x.gif")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(StoreError, match="is a folder; give a file name"):
        render.save_picture(fig, tmp_path / "folder.png")
    with pytest.raises(UsageError, match="traces of type heatmap"):
        render.save_picture(go.Figure(go.Heatmap(z=[[1]])), tmp_path / "x.png")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"x.png needs matplotlib or kaleido to be drawn; install bnlens\[png\]"):
        render.save_picture(fig, tmp_path / "x.png")


def test_kaleido_draws_where_there_is_no_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "matplotlib" else name)
    asked: dict[str, Any] = {}

    def to_image(self: go.Figure, kind: str, **options: Any) -> bytes:
        asked.update(options, kind=kind, figure=self)
        return b"drawn"

    monkeypatch.setattr(go.Figure, "to_image", to_image)
    fig = render.new_figure(x="x", y="y", yaxis_type="log").add_scatter(y=[1, -2])
    assert render.save_picture(fig, tmp_path / "x.pdf", title="A title").read_bytes() == b"drawn"
    assert (asked["kind"], asked["figure"].layout.title.text) == ("pdf", "A title")
    assert (asked["figure"].layout.yaxis.type, fig.layout.yaxis.type) == ("linear", "log")

    def fail(self: go.Figure, kind: str, **options: Any) -> bytes:
        raise RuntimeError("\nno browser\nhere")

    monkeypatch.setattr(go.Figure, "to_image", fail)
    with pytest.raises(UsageError, match=r"cannot draw .*x.png \(no browser\); install matplotlib, or a Chromium"):
        render.save_picture(fig, tmp_path / "x.png")
