"""L4: the ordering of effective learning rates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnlens.claims import _learning as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding, span, worst
from bnlens.claims._results import Results
from bnlens.experiments.dynamics import solve_effective_rates

_M = 8
_TIMES = (2.0, 5.0, 10.0, 20.0)
_KINDS = ("WeightNorm", "GammaDecay", "BatchNorm")


def _case(unit: str, frozen: bool, kind: str) -> common.Case:
    return common.Case(kind, unit, 1.0, _M, label_noise=0.25, freeze_norm=frozen, times=_TIMES)


_CASES = {key: _case(*key) for key in itertools.product(common.UNITS, (True, False), _KINDS)}
_HEADLINE = ("linear", True)

# The equations alone, over units, M, learning rates, label noise, and norms frozen and free.
_SCANNED = list(itertools.product(common.UNITS, (8, 32, 128), (0.5, 1.0, 4.0), (0.0, 0.25, 1.0), (True, False)))


def _scan() -> dict[str, Any]:
    cases = [
        common.Case(kind, unit, rate, M, label_noise=noise, freeze_norm=frozen)
        for unit, M, rate, noise, frozen in _SCANNED
        for kind in _KINDS
    ]
    systems = [{"kind": case.kind, "parameters": case.parameters, "start": case.start} for case in cases]
    return {"systems": systems, "tau": _TIMES[-1]}


def _jobs(setup: Setup) -> Sequence[Job]:
    size = common.SIZE[setup.scale] // 2  # gamma and L are near their limits for few weights already
    jobs = [case.job(setup.scale, seed, size=size) for seed, case in enumerate(_CASES.values(), start=900)]
    return [*jobs, Job("scan", solve_effective_rates, _scan(), cost=6.0)]


def _rate(case: common.Case, results: Results) -> Estimate:
    """Return eta gamma/L^2 at the last time; the errors of gamma and L as if independent."""
    result = common.result_of(case, results)
    gamma, norm = common.last(result, "gamma"), common.last(result, "L")
    rate = case.learning_rate * gamma.value / norm.value**2
    return Estimate(rate, rate * ((gamma.stderr / gamma.value) ** 2 + (2 * norm.stderr / norm.value) ** 2) ** 0.5)


def _zeta(unit: Any) -> float:
    from bnlens.theory import paper_zeta

    return float(paper_zeta(unit, _M))


def _judge(results: Results) -> Finding:
    rates = {key: _rate(case, results) for key, case in _CASES.items()}
    names = {"BatchNorm": "true BN", "GammaDecay": "its model, WN with gamma decay"}
    parts = {name: _ordered(kind, rates) for kind, name in names.items()}
    verdict = parts[names["BatchNorm"]]
    scanned = np.array(results.one(**_scan())["rates"]).reshape(-1, len(_KINDS))
    reached = {kind: int((scanned[:, at] >= scanned[:, 0]).sum()) for at, kind in enumerate(_KINDS)}
    ratios = span(scanned[:, 2] / scanned[:, 0])
    plain, model, true = (rates[(*_HEADLINE, kind)] for kind in _KINDS)
    bound = plain.value + _zeta(_HEADLINE[0])
    correction = (
        "At one learning rate and norm BN has a lower effective learning rate than WN, in the decay model and in truth, "
        f"because $\\gamma$ is smaller: {true.value:.3f} with true BN and {model.value:.3f} with gamma decay against "
        f"{plain.value:.3f} (linear unit, $M = {_M}$, $\\tau = {_TIMES[-1]:g}$)."
    )
    summary = (
        rf"$\eta\gamma/L^2$ at $\tau = {_TIMES[-1]:g}$, frozen norm, linear unit, $M = {_M}$, $\eta = 1$: {true.value:.3f} "
        f"with true BN, {model.value:.3f} with gamma decay, {plain.value:.3f} with WN; the claim asks of BN for {bound:.3f}. "
        rf"By the equations at $\tau = {_TIMES[-1]:g}$, of {len(_SCANNED)} settings (linear and ReLU, $M = 8$ to 128, $\eta "
        f"= 0.5$ to 4, label noise 0 to 1, norm frozen and free) true BN reaches the rate of WN in {reached['BatchNorm']} "
        f"and the decay model in {reached['GammaDecay']}; true BN has {ratios} times that of WN. Headline: true BN."
    )
    return finding(verdict, true, bound, summary, [_row(key, rates) for key in _CASES], correction, parts)


def _ordered(kind: str, rates: Mapping[tuple[str, bool, str], Estimate]) -> Verdict:
    """Return whether a system's rates reach WN's plus zeta, or at least WN's, two standard errors forgiven."""
    places = {(unit, frozen) for unit, frozen, _ in _CASES}
    return worst(
        common.reaches(rates[unit, frozen, kind], rates[unit, frozen, "WeightNorm"], _zeta(unit))
        for unit, frozen in places
    )


def _row(key: tuple[str, bool, str], rates: Mapping[tuple[str, bool, str], Estimate]) -> dict[str, Any]:
    unit, frozen, kind = key
    return {
        **_CASES[key].columns,
        **rates[key].columns("η_eff, simulated"),
        "η_eff, equations": float(_CASES[key].solve().effective_learning_rate[-1]),
        "claimed at least": None if kind == "WeightNorm" else rates[unit, frozen, "WeightNorm"].value + _zeta(unit),
    }


def _figure(results: Results) -> Figure:
    from bnlens.render import PALETTE, new_figure

    figure = new_figure(x="τ = steps / N", y="effective learning rate η γ / L²", height=480)
    for kind, color in zip(_KINDS, PALETTE, strict=False):
        case = _CASES[(*_HEADLINE, kind)]
        result, path = common.result_of(case, results), case.curve()
        look = {"name": common.NAMES[kind], "color": color}
        common.draw_equations(figure, path.tau, path.effective_learning_rate, **look)
        rates = [case.learning_rate * gamma / norm**2 for gamma, norm in zip(result["gamma"], result["L"], strict=True)]
        errors = [case.learning_rate * error for error in result["gamma_stderr"]]
        common.draw_simulated(figure, result["tau"], map(Estimate, rates, errors), **look)
    return figure


CLAIM = Claim(
    id="L4",
    title="Effective learning rate",
    statement=(
        r"BN raises the effective learning rate, $\eta\gamma/L^2$ at one $\eta$, the rate at which the direction of the "
        r"weights moves, above that of WN and SGD by at least $\zeta$."
    ),
    source="arXiv 1809.00846, section on dynamics; theory sheet B.2",
    paper=PaperStatement(
        words=r"With a ReLU unit the effective learning rate of BN is at least that of WN and SGD plus $\zeta$.",
        section="Optimization with regularization, on maximum and effective learning rates",
        known="as remembered",
    ),
    agreement=(
        r"Simulated true BN, and the decay model apart, against WN plus $\zeta$ at one learning rate, $M = 8$, linear and "
        "ReLU, frozen and free norm. Holds: not below in any case, two standard errors forgiven; approximately: not below "
        "WN; else it does not. A scan of the equations stands beside."
    ),
    quantity="effective learning rate ηγ/L² of BN, linear unit; the claim is a lower bound",
    works=("ioffe2015batch", "salimans2016weight", "vanlaarhoven2017l2", "hoffer2018norm"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
