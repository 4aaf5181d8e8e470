"""L1: training follows the equations of the order parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims import _learning as common
from bnlens.claims._claim import Claim, Finding, Job, Setup

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from bnlens.theory.dynamics import Trajectory

_TIMES = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0)
_NOISE = 0.25


def _case(kind: str, unit: str, **changes: Any) -> common.Case:
    gamma = None if kind == "SGD" else 0.3
    return common.Case(kind, unit, **{"label_noise": _NOISE, "times": _TIMES, "gamma": gamma, **changes})


_CASES = [
    *(_case("SGD", unit) for unit in common.UNITS),
    *(_case("WeightNorm", unit) for unit in common.UNITS),
    *(_case("GammaDecay", unit, zeta=0.1) for unit in common.UNITS),
    *(_case("GammaDecay", unit, zeta=0.1, batch_size=8, learning_rate=4.0) for unit in common.UNITS),
    *(_case("BatchNorm", unit, batch_size=8) for unit in common.UNITS),
    *(_case("BatchNorm", unit, batch_size=8, learning_rate=4.0) for unit in common.UNITS),
    *(_case("BatchNorm", unit, batch_size=32) for unit in common.UNITS),
]
_HEADLINE = _CASES[9]  # BN, ReLU, M = 8, eta = 1

# Where the distance is far above its error: its order in N.
_DISTANT = _case("WeightNorm", "linear", label_noise=1.0, times=(4.0,))
_SIZES, _WEIGHTS = (25, 100), {"quick": 40_000, "full": 640_000}  # weights of all runs together


def _jobs(setup: Setup) -> Sequence[Job]:
    jobs = [case.job(setup.scale, seed) for seed, case in enumerate(_CASES, start=600)]
    distant = (_DISTANT.job(setup.scale, 650 + size, size=size, runs=_WEIGHTS[setup.scale] // size) for size in _SIZES)
    return [*jobs, *distant]


def _points(case: common.Case, result: Mapping[str, Any], path: Trajectory) -> list[bool]:
    """Whether each order parameter at each time lies within three standard errors and c/N of the path."""
    inside = []
    for name in common.LETTERS:
        if name == "L" and case.kind == "SGD":
            continue  # it is gamma
        allowed = [3 * error + common.FINITE_SIZE / result["size"] for error in result[f"{name}_stderr"]]
        inside += [
            bool(abs(value - exact) <= most)
            for value, exact, most in zip(result[name], getattr(path, name), allowed, strict=True)
        ]
    return inside


def _distances(results: Mapping[str, dict[str, Any]]) -> list[tuple[float, float]]:
    """N times the distance of the generalization error to the equations, with its error, at the two sizes."""
    exact = float(_DISTANT.solve().generalization_error[-1])
    found = []
    for size in _SIZES:
        value, error = common.last(results[f"{_DISTANT.key}-N{size}"], "generalization_error")
        found.append((size * (value - exact), size * error))
    return found


def _rows(results: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for case in _CASES:
        result, path = common.result_of(case, results), case.solve()
        inside = _points(case, result, path)
        row = {**case.columns, "points within": f"{sum(inside)} of {len(inside)}"}
        for name, letter in common.LETTERS.items():
            row[f"{letter}, simulated"], row[f"{letter}, simulated stderr"] = common.last(result, name)
            row[f"{letter}, equations"] = float(getattr(path, name)[-1])
        rows.append(row)
    return rows


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    inside, of_model = [], []
    for case in _CASES:
        result = common.result_of(case, results)
        inside += _points(case, result, case.solve())
        if case.kind == "BatchNorm":
            of_model += _points(case, result, case.as_gamma_decay().solve())
    share = sum(inside) / len(inside)
    (far, far_error), (near, near_error) = _distances(results)
    falls = abs(near - far) <= 3 * (far_error**2 + near_error**2) ** 0.5
    verdict = "holds" if share >= 0.95 and falls else "holds approximately" if share >= 0.85 else "does not hold here"
    measured, stderr = common.last(common.result_of(_HEADLINE, results), "generalization_error")
    return Finding(
        verdict=verdict,  # type: ignore[arg-type]
        measured=measured,
        predicted=float(_HEADLINE.solve().generalization_error[-1]),
        stderr=stderr,
        summary=(
            f"{sum(inside)} of {len(inside)} simulated points ({share:.1%}) of {len(_CASES)} configurations are within 3 "
            f"standard errors and {common.FINITE_SIZE:g}/N of the equations. Where the distance is largest, N times it is "
            f"{far:.2f} +- {far_error:.2f} at N = {_SIZES[0]} and {near:.2f} +- {near_error:.2f} at N = {_SIZES[1]}: it falls "
            f"as {'1/N' if falls else 'something other than 1/N'}. For true BN the decay model accounts for "
            f"{sum(of_model)} of {len(of_model)} points. Headline: generalization error of a ReLU unit with true BN, M = 8, at "
            f"tau = {_TIMES[-1]:g}."
        ),
        rows=_rows(results),
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    from bnlens.render import PALETTE, ROLES, new_figure

    figure = new_figure(x="tau = steps / N", y="overlap R of student and teacher", height=480)
    shown = [case for case in _CASES if case.unit == "relu" and case.learning_rate == 1 and case.batch_size < 32]
    for case, color in zip(shown, PALETTE, strict=False):
        result = common.result_of(case, results)
        style = {"color": color}
        figure.add_scatter(
            x=list(case.times), y=case.solve().R, mode="lines", line=style, name=f"{common.NAMES[case.kind]}, equations"
        )
        figure.add_scatter(
            x=result["tau"],
            y=result["R"],
            error_y={"array": result["R_stderr"]},
            mode="markers",
            marker={**style, "symbol": ROLES["measured"]["symbol"]},
            name=f"{common.NAMES[case.kind]}, simulated",
        )
    return figure


CLAIM = Claim(
    id="L1",
    title="Order parameters of training",
    statement=(
        "Online learning of one normalised unit follows closed differential equations for gamma, the overlap R and the norm L "
        "as the number N of weights grows."
    ),
    source="arXiv 1809.00846, section on dynamics; theory sheet B.0 to B.3",
    agreement=(
        "Equations against students of N weights under SGD, WN, WN + gamma decay and true BN, linear and ReLU, at six times. "
        "Holds: 95% of the points within 3 standard errors and 2/N, and the distance falls as 1/N; approximately: 85%; else it "
        "does not."
    ),
    works=("ioffe2015batch", "salimans2016weight", "saad1995exact", "saad1995online"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
