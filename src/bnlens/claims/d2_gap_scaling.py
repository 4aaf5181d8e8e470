"""D2: the gap falls as 1/M."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from bnlens.claims import _decomposition as common
from bnlens.claims._claim import Claim, Finding, Job, Setup

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_SIZES = (16, 32, 64, 128)
_CASES = common.cases(at_optimum=False)


def _jobs(setup: Setup) -> Sequence[Job]:
    samples = common.SAMPLES[setup.scale]
    return [
        Job(
            name=case.key,
            function=common.simulate,
            config={**case.config(), "batch_sizes": list(_SIZES), "samples": samples, "seed": seed},
            cost=samples / 2e6 * len(_SIZES),
        )
        for seed, case in enumerate(_CASES, start=200)
    ]


def _curve(result: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    estimates = [result[f"both-M{size}"] for size in _SIZES]
    return np.array([e["gap"] for e in estimates]), np.array([e["stderr"] for e in estimates])


def _slope(gap: np.ndarray, stderr: np.ndarray) -> tuple[float, float]:
    """Return the weighted least-squares slope of log gap over log M and its standard error."""
    weights = (gap / stderr) ** 2
    x = np.log(_SIZES) - np.average(np.log(_SIZES), weights=weights)
    spread = np.sum(weights * x**2)
    return float(np.sum(weights * x * np.log(gap)) / spread), float(spread**-0.5)


def _rows(results: Mapping[str, dict[str, Any]]) -> dict[common.Case, dict[str, Any]]:
    rows = {}
    for case in _CASES:
        gap, stderr = _curve(results[case.key])
        slope, error = _slope(gap, stderr)
        columns = {"unit": common.UNIT_NAMES[case.unit], "pre-activations": case.distribution}
        rows[case] = {**columns, "slope": slope, "slope stderr": error}
        for index, size in enumerate(_SIZES):
            rows[case][f"M x gap, M = {size}"] = size * gap[index]
            rows[case][f"M x gap, M = {size} stderr"] = size * stderr[index]
        rows[case]["own-batch law"] = case.law().coefficient("own")
    return rows


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    rows = _rows(results)
    gaussian = [row["slope"] for case, row in rows.items() if case.distribution == "gaussian"]
    headline = rows[common.PAPER_CASE]
    return Finding(
        verdict=common.grade((row["slope"] + 1, row["slope stderr"]) for row in rows.values()),
        measured=headline["slope"],
        predicted=-1.0,
        stderr=headline["slope stderr"],
        summary=(
            f"Slope of log gap over log M on M = {_SIZES[0]} to {_SIZES[-1]}: {common.span(gaussian)} for Gaussian "
            f"pre-activations, {common.span(row['slope'] for row in rows.values())} over all {len(rows)} cases; heavy tails "
            "and skew bring corrections of order 1/M^2. Headline: the paper's softplus unit on Gaussian pre-activations."
        ),
        rows=list(rows.values()),
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    from bnlens.render import PALETTE, new_figure

    figure = new_figure(
        x="statistics batch size M", y="M × gap / own-batch law", xaxis_type="log", xaxis_tickvals=_SIZES, height=480
    )
    looks = dict(zip(common.DISTRIBUTIONS, (("solid", "circle"), ("dash", "diamond"), ("dot", "square")), strict=True))
    colors = dict(zip(common.UNIT_NAMES, cycle(PALETTE), strict=False))
    for case in _CASES:
        gap, stderr = _curve(results[case.key])
        scale = np.array(_SIZES) / case.law().coefficient("own")
        dash, symbol = looks[case.distribution]
        color = colors[case.unit]
        figure.add_scatter(
            name=f"{common.UNIT_NAMES[case.unit]}, {case.distribution}",
            x=_SIZES,
            y=(scale * gap).tolist(),
            error_y={"array": (scale * stderr).tolist()},
            line={"dash": dash, "color": color},
            marker={"symbol": symbol, "color": color},
        )
    common.line_at_one(figure)
    return figure


CLAIM = Claim(
    id="D2",
    title="Scaling of the gap with the batch size",
    statement="The gap falls as 1/M with the statistics batch size M.",
    source="arXiv 1809.00846, Theorem 1; theory sheet A.2, A.4",
    agreement=(
        "Slope of log gap over log M on M = 16 to 128, five units on three distributions away from the optimum. Holds: "
        "within 0.05 of -1 in every case, two standard errors forgiven; approximately: within 0.15; else it does not."
    ),
    works=("ioffe2015batch",),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
