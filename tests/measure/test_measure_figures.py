"""The figures of a report: their numbers, and that all of these are to be seen."""

import dataclasses
import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from measure_reports import full, gaps

from bnlens.measure import Estimate, Report
from bnlens.measure._figures import gap_by_layer, share_by_layer

P = 2048


def changed(values: dict[int, float] | None = None, **changes: Any) -> Report:
    """The report with other gaps of the network, known to a tenth; then there are no logits."""
    found = gaps(1.0)
    if values is not None:
        measured = {size: Estimate(values[size], abs(values[size]) / 10) for size in (16, 64)}
        others = {size: Estimate(values[size], abs(values[size]) / 10) for size in (32, 128)}
        found = dataclasses.replace(found, measured=measured, others=others, logits={})
    network = dataclasses.replace(full().network, gaps=dataclasses.replace(found, **changes))
    return dataclasses.replace(full(), network=network)


def series(figure: go.Figure) -> dict[str, dict[Any, float]]:
    """The named traces, as value by position."""
    return {trace.name: dict(zip(trace.x, trace.y, strict=True)) for trace in figure.data if trace.name}


def noise(size: int) -> float:
    """Variance of the mean of a batch from the pool, in that of one sample."""
    return (P - size) / (size * (P - 1))


def assert_all_is_seen(figure: go.Figure) -> None:
    """No axis cuts anything: none has a range of its own, and logarithmic ones no value that they cannot show."""
    assert all(axis.range is None for axis in (*figure.select_xaxes(), *figure.select_yaxes()))
    for trace in figure.data:
        for values, axis in ((trace.x, figure.layout.xaxis), (trace.y, figure.layout.yaxis)):
            if axis.type != "category":
                assert all(math.isfinite(value) and (value > 0 or axis.type != "log") for value in values)


def test_numbers_of_the_gap_over_m() -> None:
    figure = full().plot()
    drawn = series(figure)
    assert drawn["measured"] == {16: 0.0312, 64: 0.00731}
    assert drawn["for predictions"] == {32: 0.0152, 128: 0.00344}
    [bars] = [trace.error_y.array for trace in figure.data if trace.name == "measured"]
    assert list(bars) == [0.0011, 0.00032]
    for name, value in (("first order", 0.0151), ("first order, Fisher", 0.0137), ("two-term (paper)", 0.0204)):
        assert len(drawn[name]) > 50
        assert (min(drawn[name]), max(drawn[name])) == (8, 256)
        assert drawn[name] == {size: pytest.approx(value * noise(size) / noise(32)) for size in drawn[name]}
    assert figure.layout.yaxis.type == "log"
    assert_all_is_seen(figure)


def test_the_curve_goes_through_gaps_that_follow_it_with_two_errors_around() -> None:
    exact = {size: 0.6 * noise(size) + 1.5 * noise(size) ** 2 for size in (16, 32, 64, 128)}
    figure = changed(exact).plot()
    drawn = series(figure)["predicted"]
    assert not set(drawn) & set(exact)  # at a size that it goes through it would leave that one out
    assert drawn == {size: pytest.approx(0.6 * noise(size) + 1.5 * noise(size) ** 2, rel=1e-6) for size in drawn}
    low, high = (np.array(trace.y) for trace in figure.data[:2])
    assert (low + high) / 2 == pytest.approx(list(drawn.values()), rel=1e-6)
    assert (high > low).all()


@pytest.mark.parametrize(
    "signs",
    [(-1, -1, -1, -1), (1, 1, 1, -1), (-1, 1, 1, 1), (1, -1, 1, 1), (0, 1, 1, 1)],
    ids=str,
)
def test_gaps_at_or_below_zero_are_drawn(signs: tuple[int, ...]) -> None:
    values = {size: sign * 0.5 / size for size, sign in zip((16, 32, 64, 128), signs, strict=True)}
    report = changed(values)
    for figure in (report.plot(), report.predict([24, 48]).plot()):
        assert figure.layout.yaxis.type == "linear"
        drawn = series(figure)
        assert drawn["measured"] | drawn["for predictions"] == values
        assert all(16 <= size <= 128 for size in drawn["predicted"])
        assert_all_is_seen(figure)


def test_a_law_below_zero_is_drawn() -> None:
    figure = changed(first_order=Estimate(-0.0151, 0.02)).plot()
    assert figure.layout.yaxis.type == "linear"
    assert max(series(figure)["first order"].values()) < 0
    assert_all_is_seen(figure)


def test_a_curve_that_falls_below_zero_past_the_gaps_leaves_the_axis_logarithmic() -> None:
    values = {size: 2 * noise(size) - 0.001 / noise(size) ** 0.25 for size in (16, 32, 64, 128)}
    assert min(values.values()) > 0
    figure = changed({**values, 128: 1e-4}).plot()
    assert figure.layout.yaxis.type == "log"
    assert_all_is_seen(figure)


def test_shares_by_layer_are_per_cent_of_a_gap_above_zero_and_nats_of_another() -> None:
    figure = share_by_layer(full())
    assert figure.layout.xaxis.title.text == "share (per cent of the gap)"
    assert dict(zip(figure.data[0].y, figure.data[0].x, strict=True)) == {
        "stem.1": pytest.approx(50),
        "blocks.0.bn": pytest.approx(25),
        "head.bn": pytest.approx(-12.5),
    }
    assert_all_is_seen(figure)
    for gap in (Estimate(-0.0312, 0.0011), Estimate(0.0312, 0.02)):
        measured = {**gaps(1.0).measured, 16: gap}
        figure = share_by_layer(changed(measured=measured))
        assert figure.layout.xaxis.title.text == "share (nats per sample)"
        assert figure.data[0].x[0] == 0.0312 / 2


def test_layers_alone_with_a_place_for_each() -> None:
    figure = gap_by_layer(full(), 16)
    [measured] = [trace for trace in figure.data if trace.name == "measured, M = 16"]
    assert (measured.y, measured.x) == (("stem.1", "blocks.0.bn"), (0.0312 / 2, 0.0312 / 4))
    assert {trace.orientation for trace in figure.data} == {"h"}
    assert_all_is_seen(figure)


def test_names_of_many_layers_are_read() -> None:
    names = [f"encoder.stages.{place // 10}.blocks.{place % 10}.norm" for place in range(60)]
    layers = tuple(dataclasses.replace(full().layers[0], name=name) for name in names)
    figure = share_by_layer(dataclasses.replace(full(), layers=layers))
    axis = figure.layout.yaxis
    assert list(axis.tickvals) == names
    assert len(set(axis.ticktext)) == 60
    assert all(
        len(text) <= 24 and name.endswith(text.lstrip("…")) for name, text in zip(names, axis.ticktext, strict=True)
    )
    assert figure.layout.height > 60 * 18
