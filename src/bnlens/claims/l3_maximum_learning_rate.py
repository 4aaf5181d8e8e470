"""L3: the ordering of maximum learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims import _learning as common
from bnlens.claims._claim import Claim, Finding, Job, Setup

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_M = 8
_ZETA = 0.75 / _M  # the paper's, for a linear unit
_BELOW, _ABOVE = (8.0, 12.0), (20.0, 28.0)
_TIMES = tuple(range(4, 11))
_SYSTEMS = {"WeightNorm": None, "BatchNorm": None, "GammaDecay": _ZETA}
_CASES = {
    kind: [
        common.Case(
            kind,
            "linear",
            learning_rate=eta,
            batch_size=_M,
            zeta=zeta,
            gamma=0.8,
            R=0.9,
            freeze_norm=True,
            times=_TIMES,
        )
        for eta in (*_BELOW, *_ABOVE)
    ]
    for kind, zeta in _SYSTEMS.items()
}


def _jobs(setup: Setup) -> Sequence[Job]:
    cases = [case for cases in _CASES.values() for case in cases]
    return [case.job(setup.scale, seed) for seed, case in enumerate(cases, start=800)]


def _square(case: common.Case, results: Mapping[str, dict[str, Any]]) -> tuple[float, float]:
    """R^2, averaged over the times, and its standard error, as if the times said the same."""
    result = common.result_of(case, results)
    R, error = (sum(result[name]) / len(_TIMES) for name in ("R", "R_stderr"))
    return R**2, 2 * R * error


def _maximum(kind: str, results: Mapping[str, dict[str, Any]]) -> tuple[float, float]:
    """eta_max = eta R^2 from the learning rates above it, weighted by their errors."""
    found = []
    for case in _CASES[kind]:
        if case.learning_rate in _ABOVE:
            square, error = _square(case, results)
            found.append((case.learning_rate * square, case.learning_rate * max(error, 1e-9)))
    weights = [error**-2 for _, error in found]
    mean = sum(value * weight for (value, _), weight in zip(found, weights, strict=True)) / sum(weights)
    return mean, sum(weights) ** -0.5


def _rows(results: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    from bnlens.theory.learning_rate import max_learning_rate, stationary_state

    rows = []
    for cases in _CASES.values():
        for case in cases:
            square, error = _square(case, results)
            system = case.system()
            rows.append(
                {
                    **case.columns,
                    "R^2, simulated": square,
                    "R^2, simulated stderr": error,
                    "R^2, equations": stationary_state(system).R ** 2,
                    "eta_max, equations": max_learning_rate(system),
                }
            )
    return rows


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    from bnlens.theory.learning_rate import orderings

    found, error = _maximum("BatchNorm", results)
    plain, plain_error = _maximum("WeightNorm", results)
    bound = plain + 2 * _ZETA
    slack = 2 * (error**2 + plain_error**2) ** 0.5
    holds = found + slack >= bound
    verdict = "holds" if holds else "holds approximately" if found + slack >= plain else "does not hold here"
    model, true = orderings("linear", _M)[:2]
    bent = _square(_CASES["GammaDecay"][2], results)[0], _square(_CASES["BatchNorm"][2], results)[0]
    correction = (
        f"The ordering is one of the decay model at frozen norm, not of BN: with batches of {_M} true BN turns away from the "
        f"teacher from eta = {found:.1f} on, before WN ({plain:.1f}), where the model promises {model.rate:.1f}. With a free "
        "norm none of them has a maximum."
    )
    return Finding(
        verdict=verdict,  # type: ignore[arg-type]
        measured=found,
        predicted=bound,
        stderr=error,
        summary=(
            f"Maximum learning rates at frozen norm, linear unit, M = {_M}, from eta R^2 above them: true BN {found:.2f} +- "
            f"{error:.2f} (equations {true.rate:.2f}), WN {plain:.2f} +- {plain_error:.2f} ({2 * _M}); the claim asks for "
            f"{bound:.2f}. The decay model keeps R^2 = {bent[0]:.3f} at eta = {_ABOVE[0]:g}, true BN {bent[1]:.3f}. "
            "Headline: eta_max of true BN."
        ),
        rows=_rows(results),
        corrects_paper=None if verdict == "holds" else correction,
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    import numpy as np

    from bnlens.render import PALETTE, ROLES, new_figure
    from bnlens.theory.learning_rate import stationary_state

    figure = new_figure(x="learning rate, norm frozen at 1", y="R², stationary", height=480)
    rates = np.linspace(_BELOW[0] - 1, _ABOVE[-1] + 1, 61)
    for (kind, cases), color in zip(_CASES.items(), PALETTE, strict=False):
        squares = [_square(case, results) for case in cases]
        parameters = {"unit": "linear", "batch_size": _M, **({"zeta": _ZETA} if kind == "GammaDecay" else {})}
        systems = [common.make_system(kind, learning_rate=float(rate), **parameters) for rate in rates]
        figure.add_scatter(
            x=rates,
            y=[stationary_state(system).R ** 2 for system in systems],
            mode="lines",
            line_color=color,
            name=f"{common.NAMES[kind]}, equations",
        )
        figure.add_scatter(
            x=[case.learning_rate for case in cases],
            y=[square for square, _ in squares],
            error_y={"array": [error for _, error in squares]},
            mode="markers",
            marker={"color": color, "symbol": ROLES["measured"]["symbol"]},
            name=f"{common.NAMES[kind]}, simulated",
        )
    return figure


CLAIM = Claim(
    id="L3",
    title="Maximum learning rate",
    statement="BN allows larger learning rates: its maximum exceeds that of WN and SGD by at least 2 zeta.",
    source="arXiv 1809.00846, section on dynamics; theory sheet B.2, B.3",
    agreement=(
        "Maximum of true BN from students of frozen norm, linear unit, M = 8, as eta R^2 above it, against that of WN plus 2 "
        "zeta. Holds: not below, two standard errors forgiven; approximately: not below that of WN; else it does not."
    ),
    works=("ioffe2015batch", "salimans2016weight", "saad1995online"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
