"""L4: the ordering of effective learning rates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.claims import _learning as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding
from bnlens.claims._results import Results

_M = 8
_TIMES = (2.0, 5.0, 10.0, 20.0)
_KINDS = ("WeightNorm", "GammaDecay", "BatchNorm")


def _case(unit: str, frozen: bool, kind: str) -> common.Case:
    return common.Case(kind, unit, 1.0, _M, label_noise=0.25, freeze_norm=frozen, times=_TIMES)


_CASES = {key: _case(*key) for key in itertools.product(common.UNITS, (True, False), _KINDS)}
_HEADLINE = ("linear", True)


def _jobs(setup: Setup) -> Sequence[Job]:
    size = common.SIZE[setup.scale] // 2  # gamma and L are near their limits for few weights already
    return [case.job(setup.scale, seed, size=size) for seed, case in enumerate(_CASES.values(), start=900)]


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
    shortfalls = []
    for unit, frozen in {(unit, frozen) for unit, frozen, _ in _CASES}:
        of_bn, of_wn = (rates[unit, frozen, kind] for kind in ("BatchNorm", "WeightNorm"))
        shortfall = of_wn.value - of_bn.value - 2 * (of_bn.stderr**2 + of_wn.stderr**2) ** 0.5
        shortfalls.append((shortfall, shortfall + _zeta(unit)))
    verdict: Verdict = "does not hold here"
    if all(below_wn <= 0 for below_wn, _ in shortfalls):
        verdict = "holds" if all(below_bound <= 0 for _, below_bound in shortfalls) else "holds approximately"
    plain, model, true = (rates[(*_HEADLINE, kind)] for kind in _KINDS)
    bound = plain.value + _zeta(_HEADLINE[0])
    correction = (
        "At one learning rate and norm BN has a lower effective learning rate than WN, in the decay model and in truth, "
        f"because gamma is smaller: {true.value:.3f} with true BN and {model.value:.3f} with gamma decay against "
        f"{plain.value:.3f} (linear unit, M = {_M}, tau = {_TIMES[-1]:g})."
    )
    summary = (
        f"eta gamma/L^2 at tau = {_TIMES[-1]:g}, frozen norm, linear unit, M = {_M}, eta = 1: {true.value:.3f} with "
        f"true BN, {model.value:.3f} with gamma decay, {plain.value:.3f} with WN; the claim asks of BN for "
        f"{bound:.3f}. Headline: true BN."
    )
    return finding(verdict, true, bound, summary, [_row(key, rates) for key in _CASES], correction)


def _row(key: tuple[str, bool, str], rates: Mapping[tuple[str, bool, str], Estimate]) -> dict[str, Any]:
    unit, frozen, kind = key
    return {
        **_CASES[key].columns,
        **rates[key].columns("eta_eff, simulated"),
        "eta_eff, equations": float(_CASES[key].solve().effective_learning_rate[-1]),
        "claimed at least": None if kind == "WeightNorm" else rates[unit, frozen, "WeightNorm"].value + _zeta(unit),
    }


def _figure(results: Results) -> Figure:
    from bnlens.render import PALETTE, new_figure

    figure = new_figure(x="tau = steps / N", y="effective learning rate η γ / L²", height=480)
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
