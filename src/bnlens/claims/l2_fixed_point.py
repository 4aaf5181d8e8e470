"""L2: the fixed point of WN with gamma decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from bnlens.claims import _learning as common
from bnlens.claims._claim import Claim, Finding, Job, Setup

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ZETA = 0.1
_GAMMAS = {"linear": 1 / (1 + 2 * _ZETA), "relu": 1 / (1 + 4 * _ZETA)}
_NORMS = {1.0: 15.0, 2.0: 40.0, 4.0: 120.0}  # and the time in which a student settles there
_DECAY = [
    common.Case("GammaDecay", unit, zeta=_ZETA, gamma=_GAMMAS[unit], R=1.0, L=norm, freeze_norm=True, times=(tau,))
    for unit in common.UNITS
    for norm, tau in _NORMS.items()
]
# c_M at M = 8, to float32: true BN without label noise has a fixed point for a linear unit
_TRUE = common.Case(
    "BatchNorm", "linear", batch_size=8, gamma=0.9027033336764101, R=1.0, freeze_norm=True, times=(_NORMS[1.0],)
)
_CASES = [*_DECAY, _TRUE]
_HEADLINE = _DECAY[3]  # ReLU, L = 1


def _jobs(setup: Setup) -> Sequence[Job]:
    return [case.job(setup.scale, seed) for seed, case in enumerate(_CASES, start=700)]


def _row(case: common.Case, results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    from bnlens.theory.learning_rate import stationary_state

    result, state = common.result_of(case, results), stationary_state(case.system(), norm=case.L)
    row = {**case.columns}
    for name, claimed, expected in (("R", 1.0, state.R), ("gamma", case.gamma, state.gamma)):
        row[f"{name}, claimed"] = claimed
        row[f"{name}, simulated"], row[f"{name}, simulated stderr"] = common.last(result, name)
        row[f"{name}, equations"] = expected
    return row


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    rows = {case: _row(case, results) for case in _CASES}
    lost = {
        case: max(1 - row["R, simulated"] - 2 * row["R, simulated stderr"], 0)
        for case, row in rows.items()
        if case != _TRUE
    }
    worst = max(lost.values())
    verdict = "holds" if worst <= 1e-3 else "holds approximately" if worst <= 1e-2 else "does not hold here"
    headline, largest = rows[_HEADLINE], rows[_DECAY[5]]
    falls = ", ".join(f"{1 - rows[case]['R, simulated']:.4f} at L = {case.L:g}" for case in _DECAY[3:])
    correction = (
        "(gamma0, R = 1) is no fixed point of WN with gamma decay at any finite norm: the errors that the shrunk gamma leaves "
        f"keep turning the weights, and 1 - R settles at {falls} for a ReLU unit. It is reached only as L grows. True BN "
        f"without label noise does have one for a linear unit, at gamma = c_M."
    )
    return Finding(
        verdict=verdict,  # type: ignore[arg-type]
        measured=headline["R, simulated"],
        predicted=1.0,
        stderr=headline["R, simulated stderr"],
        summary=(
            f"Started at the claimed point with zeta = {_ZETA:g} and frozen norm, a ReLU student settles at 1 - R = {falls}, "
            f"where the equations have {1 - headline['R, equations']:.4f} to {1 - largest['R, equations']:.4f}. A linear unit "
            f"with true BN, M = {_TRUE.batch_size}, stays at 1 - R = {1 - rows[_TRUE]['R, simulated']:.1e}. Headline: R of the "
            "ReLU student at L = 1."
        ),
        rows=list(rows.values()),
        corrects_paper=None if verdict == "holds" else correction,
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    from bnlens.render import PALETTE, ROLES, new_figure

    figure = new_figure(
        x="norm L", y="1 − R, stationary", xaxis_type="log", yaxis_type="log", height=480, xaxis_tickvals=list(_NORMS)
    )
    for (unit, label), color in zip(common.UNITS.items(), cycle(PALETTE), strict=False):
        chosen = [case for case in _DECAY if case.unit == unit]
        rows = [_row(case, results) for case in chosen]
        norms = [case.L for case in chosen]
        figure.add_scatter(
            x=norms,
            y=[1 - row["R, simulated"] for row in rows],
            error_y={"array": [row["R, simulated stderr"] for row in rows]},
            mode="markers",
            marker={"color": color, "symbol": ROLES["measured"]["symbol"]},
            name=f"{label}, simulated",
        )
        figure.add_scatter(
            x=norms,
            y=[1 - row["R, equations"] for row in rows],
            mode="lines",
            line_color=color,
            name=f"{label}, equations",
        )
    return figure


CLAIM = Claim(
    id="L2",
    title="Fixed point under gamma decay",
    statement=(
        "Learning with WN and gamma decay has the fixed point R = 1, gamma0 = 1/(1 + 2 zeta) for a linear and 1/(1 + 4 zeta) "
        "for a ReLU unit."
    ),
    source="arXiv 1809.00846, section on dynamics; theory sheet B.2",
    agreement=(
        "Students put at the claimed point, zeta = 0.1, no label noise, norms frozen at 1, 2 and 4. Holds: 1 - R stays below "
        "0.001 for every norm and unit, two standard errors forgiven; approximately: below 0.01; else it does not."
    ),
    works=("salimans2016weight", "saad1995online"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
