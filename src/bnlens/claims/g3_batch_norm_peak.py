"""G3: true batch normalization on a fixed training set, and the peak at P = N."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims import _generalization as common
from bnlens.claims._claim import Claim, Finding, Job, Scale, Setup
from bnlens.claims._decomposition import grade, ratios, span

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_LOADS = (0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 4.0)
_SIZES = (8, 32)
_SCALES: Mapping[Scale, Mapping[str, int]] = {
    "quick": {"dimension": 100, "runs": 40},
    "full": {"dimension": 200, "runs": 100},
}
_HEADLINE = (8, 1.5)
_SEED = 420  # one for all sizes, which then meet the same training sets


def compare(*, batch_size: int, alpha: Sequence[float], dimension: int, runs: int, seed: int) -> dict[str, Any]:
    """Job: batch norm at its stationary point, least squares, and the ridge of the paper, on the same training sets.

    Errors are medians over the runs, because near P = N means hang on few of them; the standard error of a median is
    1.25 times that of a mean of Gaussian runs with the same interquartile range. Least squares and ridge have an
    intercept fitted, as batch norm has one. Cosines and norms are means.
    """
    import numpy as np

    from bnlens.simulate.generalization import Student, draw_training_set, fit_student
    from bnlens.theory.generalization import paper_gamma_decay

    estimators = {
        "batch norm": common.make_estimator("batch norm", batch_size=batch_size),
        "least squares": common.make_estimator("least squares"),
        "ridge": common.make_estimator("gamma decay", zeta=paper_gamma_decay(batch_size)),
    }
    per_load = []
    for load in alpha:
        P = round(load * dimension)
        columns: dict[str, list[float]] = {}
        for run in range(runs):
            generator = np.random.default_rng([seed, P, run])
            data = draw_training_set(samples=P, dimension=dimension, label_noise=common.LABEL_NOISE, seed=generator)
            students = {}
            for name, estimator in estimators.items():
                student = fit_student(estimator, data if name == "batch norm" else data.centred(), seed=generator)
                intercept = float(np.mean(data.targets) - np.mean(data.inputs, axis=0) @ student.weights)
                students[name] = Student(student.weights, student.intercept or intercept)
                columns.setdefault(name, []).append(students[name].error(data))
            weights = {name: student.weights for name, student in students.items()}
            for name in ("least squares", "ridge"):
                columns.setdefault(f"cosine with {name}", []).append(
                    common.cosine(weights["batch norm"], weights[name])
                )
            columns.setdefault("norm ratio", []).append(
                float(np.linalg.norm(weights["batch norm"]) / np.linalg.norm(weights["least squares"]))
            )
        quartiles = np.percentile(columns["batch norm"], [25, 75])
        row = {name: float(np.median(columns[name])) for name in estimators}
        row |= {name: float(np.mean(values)) for name, values in columns.items() if name not in estimators}
        row["stderr"] = float(1.2533 * (quartiles[1] - quartiles[0]) / 1.349 / np.sqrt(runs))
        per_load.append(row)
    return {"loads": per_load, "dimension": dimension}


def _jobs(setup: Setup) -> Sequence[Job]:
    return [
        Job(
            name=f"M{size}",
            function=compare,
            config={"batch_size": size, "alpha": list(_LOADS), **_SCALES[setup.scale], "seed": _SEED},
            cost=8 if setup.scale == "quick" else 120,
        )
        for size in _SIZES
    ]


def _rows(results: Mapping[str, dict[str, Any]]) -> dict[tuple[int, float], dict[str, Any]]:
    rows = {}
    for size in _SIZES:
        dimension = results[f"M{size}"]["dimension"]
        for alpha, result in zip(_LOADS, results[f"M{size}"]["loads"], strict=True):
            rows[size, alpha] = {
                "M": size,
                "load": alpha,
                "batch norm": result["batch norm"],
                "batch norm stderr": result["stderr"],
                "least squares": result["least squares"],
                "ridge, λ = 3α/(2M)": result["ridge"],
                **ratios("batch norm", result["batch norm"], result["stderr"], {"ridge": result["ridge"]}),
                "cosine with least squares": result["cosine with least squares"],
                "cosine with ridge": result["cosine with ridge"],
                "norm / least squares": result["norm ratio"],
                "c": _shrink_factor(size, alpha, dimension),
            }
    return rows


def _shrink_factor(size: int, alpha: float, dimension: int) -> float:
    from bnlens.theory import mean_std

    return float(mean_std(size)) / float(mean_std(round(alpha * dimension)))


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    rows = _rows(results)
    verdict = grade((row["ridge / batch norm"] - 1, row["ridge / batch norm stderr"]) for row in rows.values())
    peak = [rows[size, 1.0] for size in _SIZES]
    away = [row for (_, alpha), row in rows.items() if alpha >= 1.5]
    cosines = span((row["cosine with least squares"] for row in away), 4)
    shrink_error = max(abs(row["norm / least squares"] / row["c"] - 1) for row in away)
    heights = " and ".join(f"{row['batch norm']:.3g} at M = {row['M']}" for row in peak)
    ridges = " and ".join(f"{row['ridge, λ = 3α/(2M)']:.2f}" for row in peak)
    headline = rows[_HEADLINE]
    correction = (
        "On a fixed training set batch normalization is least squares shrunk by c_M/c_P, not ridge: its loss depends on the "
        "weights through the normalised training fields alone and cannot see the small eigenvalues that make the peak, so "
        f"at α = 1 its error is {heights} where the ridge of gamma decay has {ridges}."
    )
    return Finding(
        verdict=verdict,
        measured=headline["batch norm"],
        predicted=headline["ridge, λ = 3α/(2M)"],
        stderr=headline["batch norm stderr"],
        summary=(
            f"Trained to the stationary point of its loss, batch normalization has at α = 1 an error of {heights} (ridge: "
            f"{ridges}). From α = 1.5 its weights have a cosine of {cosines} with least squares and its norm is that of least "
            f"squares times c_M/c_P within {shrink_error:.1%}. Headline: error at M = {_HEADLINE[0]} and α = {_HEADLINE[1]}."
        ),
        rows=list(rows.values()),
        corrects_paper=None if verdict == "holds" else correction,
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    import numpy as np

    from bnlens.render import PALETTE
    from bnlens.theory.generalization import paper_gamma_decay

    sides = [np.geomspace(0.4, 0.99, 60).tolist(), np.geomspace(1.01, 5, 60).tolist()]
    lines, points = [], []
    for color, size in zip(PALETTE, _SIZES, strict=False):
        estimator = {"kind": "batch norm", "batch_size": size}
        x, y = [*sides[0], None, *sides[1]], [common.theory_curve(estimator, side) for side in sides]
        lines.append({"name": f"shrunken least squares, M = {size}", "x": x, "y": [*y[0], None, *y[1]], "color": color})
        decay = {"kind": "gamma decay", "zeta": paper_gamma_decay(size)}
        ridge = [*common.theory_curve(decay, sides[0]), None, *common.theory_curve(decay, sides[1])]
        lines.append({"name": f"gamma decay, M = {size}", "x": x, "y": ridge, "color": color, "dash": "dash"})
        found = results[f"M{size}"]["loads"]
        points.append(
            {
                "name": f"batch norm, M = {size}",
                "x": _LOADS,
                "y": [row["batch norm"] for row in found],
                "stderr": [row["stderr"] for row in found],
                "color": color,
            }
        )
    return common.curve_figure(lines, points, yaxis_type="log")


CLAIM = Claim(
    id="G3",
    title="Batch norm on a fixed training set",
    statement=(
        "Batch normalization generalises as population normalization with gamma decay does, that is as ridge with λ = 2αζ "
        "and ζ = 3/(4M), and so removes the peak of the error at P = N."
    ),
    source="arXiv 1809.00846, generalization; theory sheet C.3",
    agreement=(
        "Ridge with λ = 3α/(2M) against true batch normalization descended to the stationary point of its expected loss over "
        "shuffled batches, linear unit, M = 8 and 32, loads 0.5 to 4; medians over training sets. Holds: errors within 5% at "
        "every load, two standard errors forgiven; approximately: within 15%; else it does not."
    ),
    works=("ioffe2015batch", "hoerl1970ridge", "krogh1992generalization", "hastie2022surprises"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
