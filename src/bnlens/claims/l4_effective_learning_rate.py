"""L4: the ordering of effective learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims import _learning as common
from bnlens.claims._claim import Claim, Finding, Job, Setup

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_M = 8
_ZETAS = {"linear": 0.75 / _M, "relu": 0.375 / _M}  # the paper's
_TIMES = (2.0, 5.0, 10.0, 20.0)
_KINDS = ("WeightNorm", "GammaDecay", "BatchNorm")
_CASES = {
    (unit, frozen, kind): common.Case(
        kind,
        unit,
        batch_size=_M,
        label_noise=0.25,
        zeta=_ZETAS[unit] if kind == "GammaDecay" else None,
        freeze_norm=frozen,
        times=_TIMES,
    )
    for unit in common.UNITS
    for frozen in (True, False)
    for kind in _KINDS
}
_HEADLINE = ("linear", True)


def _jobs(setup: Setup) -> Sequence[Job]:
    size = common.SIZE[setup.scale] // 2  # gamma and L are near their limits for few weights already
    return [case.job(setup.scale, seed, size=size) for seed, case in enumerate(_CASES.values(), start=900)]


def _rate(case: common.Case, results: Mapping[str, dict[str, Any]]) -> tuple[float, float]:
    """Return eta gamma/L^2 at the last time; the errors of gamma and L as if independent."""
    result = common.result_of(case, results)
    (gamma, gamma_error), (norm, norm_error) = common.last(result, "gamma"), common.last(result, "L")
    rate = case.learning_rate * gamma / norm**2
    return rate, rate * ((gamma_error / gamma) ** 2 + (2 * norm_error / norm) ** 2) ** 0.5


def _rows(results: Mapping[str, dict[str, Any]]) -> dict[tuple[str, bool, str], dict[str, Any]]:
    rows = {}
    for (unit, frozen, kind), case in _CASES.items():
        rate, error = _rate(case, results)
        bound = _rate(_CASES[unit, frozen, "WeightNorm"], results)[0] + _ZETAS[unit]
        rows[unit, frozen, kind] = {
            **case.columns,
            "eta_eff, simulated": rate,
            "eta_eff, simulated stderr": error,
            "eta_eff, equations": float(case.solve().effective_learning_rate[-1]),
            "claimed at least": None if kind == "WeightNorm" else bound,
        }
    return rows


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    rows = _rows(results)
    shortfalls = []
    for unit, frozen in {(unit, frozen) for unit, frozen, _ in _CASES}:
        true, plain = (rows[unit, frozen, kind] for kind in ("BatchNorm", "WeightNorm"))
        slack = 2 * (true["eta_eff, simulated stderr"] ** 2 + plain["eta_eff, simulated stderr"] ** 2) ** 0.5
        shortfall = plain["eta_eff, simulated"] - true["eta_eff, simulated"] - slack
        shortfalls.append((shortfall, shortfall + _ZETAS[unit]))
    holds = all(with_zeta <= 0 for _, with_zeta in shortfalls)
    verdict = (
        "holds" if holds else "holds approximately" if all(s <= 0 for s, _ in shortfalls) else "does not hold here"
    )
    true, model, plain = (rows[(*_HEADLINE, kind)] for kind in ("BatchNorm", "GammaDecay", "WeightNorm"))
    values = {name: row["eta_eff, simulated"] for name, row in (("true", true), ("model", model), ("plain", plain))}
    correction = (
        "At one learning rate and norm BN has a lower effective learning rate than WN, in the decay model and in truth, "
        f"because gamma is smaller: {values['true']:.3f} with true BN and {values['model']:.3f} with gamma decay against "
        f"{values['plain']:.3f} (linear unit, M = {_M}, tau = {_TIMES[-1]:g})."
    )
    return Finding(
        verdict=verdict,  # type: ignore[arg-type]
        measured=values["true"],
        predicted=true["claimed at least"],
        stderr=true["eta_eff, simulated stderr"],
        summary=(
            f"eta gamma/L^2 at tau = {_TIMES[-1]:g}, frozen norm, linear unit, M = {_M}, eta = 1: {values['true']:.3f} with "
            f"true BN, {values['model']:.3f} with gamma decay, {values['plain']:.3f} with WN; the claim asks of BN for "
            f"{true['claimed at least']:.3f}. Headline: true BN."
        ),
        rows=list(rows.values()),
        corrects_paper=None if verdict == "holds" else correction,
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    from bnlens.render import PALETTE, ROLES, new_figure

    unit, frozen = _HEADLINE
    figure = new_figure(x="tau = steps / N", y="effective learning rate η γ / L²", height=480)
    for kind, color in zip(_KINDS, PALETTE, strict=False):
        case = _CASES[unit, frozen, kind]
        result, path = common.result_of(case, results), case.solve()
        figure.add_scatter(
            x=path.tau,
            y=path.effective_learning_rate,
            mode="lines",
            line_color=color,
            name=f"{common.NAMES[kind]}, equations",
        )
        figure.add_scatter(
            x=result["tau"],
            y=[case.learning_rate * gamma / norm**2 for gamma, norm in zip(result["gamma"], result["L"], strict=True)],
            error_y={"array": [case.learning_rate * error for error in result["gamma_stderr"]]},
            mode="markers",
            marker={"color": color, "symbol": ROLES["measured"]["symbol"]},
            name=f"{common.NAMES[kind]}, simulated",
        )
    return figure


CLAIM = Claim(
    id="L4",
    title="Effective learning rate",
    statement="BN raises the effective learning rate eta gamma/L^2 above that of WN and SGD by at least zeta.",
    source="arXiv 1809.00846, section on dynamics; theory sheet B.2",
    agreement=(
        "Simulated true BN against WN plus zeta at one learning rate, M = 8, linear and ReLU, frozen and free norm. Holds: not "
        "below in any case, two standard errors forgiven; approximately: not below WN; else it does not."
    ),
    works=("ioffe2015batch", "salimans2016weight", "vanlaarhoven2017l2", "hoffer2018norm"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
