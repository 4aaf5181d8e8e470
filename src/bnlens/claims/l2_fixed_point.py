"""L2: the fixed point of WN with gamma decay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

from bnlens.claims import _learning as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding
from bnlens.claims._results import Results

if TYPE_CHECKING:
    from bnlens.theory.learning_rate import StationaryState

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


def _jobs(setup: Setup) -> Sequence[Job]:
    return [case.job(setup.scale, seed) for seed, case in enumerate(_CASES, start=700)]


class _Settled(NamedTuple):
    """Where a student put at the claimed point settles, as simulated and by the equations."""

    case: common.Case
    R: Estimate
    gamma: Estimate
    state: StationaryState

    @property
    def lost(self) -> float:
        """1 - R."""
        return 1 - self.R.value

    @property
    def row(self) -> dict[str, Any]:
        row = {**self.case.columns}
        for name, claimed in (("R", 1.0), ("gamma", self.case.gamma)):
            found: Estimate = getattr(self, name)
            row |= {f"{name}, claimed": claimed, **found.columns(f"{name}, simulated")}
            row[f"{name}, equations"] = getattr(self.state, name)
        return row


def _settled(case: common.Case, results: Results) -> _Settled:
    from bnlens.theory.learning_rate import stationary_state

    result = common.result_of(case, results)
    R, gamma = (common.last(result, name) for name in ("R", "gamma"))
    return _Settled(case, R, gamma, stationary_state(case.system(), norm=case.L))


def _judge(results: Results) -> Finding:
    *decay, true = points = [_settled(case, results) for case in _CASES]
    worst = max(max(point.lost - 2 * point.R.stderr, 0) for point in decay)
    verdict: Verdict = "does not hold here"
    if worst <= 1e-2:
        verdict = "holds" if worst <= 1e-3 else "holds approximately"
    relu = decay[len(_NORMS) :]
    headline, largest = relu[0], relu[-1]
    falls = ", ".join(f"{point.lost:.4f} at L = {point.case.L:g}" for point in relu)
    correction = (
        "(gamma0, R = 1) is no fixed point of WN with gamma decay at any finite norm: the errors that the shrunk gamma leaves "
        f"keep turning the weights, and 1 - R settles at {falls} for a ReLU unit. It is reached only as L grows. True BN "
        f"without label noise does have one for a linear unit, at gamma = c_M."
    )
    summary = (
        f"Started at the claimed point with zeta = {_ZETA:g} and frozen norm, a ReLU student settles at 1 - R = {falls}, "
        f"where the equations have {1 - headline.state.R:.4f} to {1 - largest.state.R:.4f}. A linear unit with true BN, "
        f"M = {_TRUE.batch_size}, stays at 1 - R = {true.lost:.1e}. Headline: R of the ReLU student at L = 1."
    )
    return finding(verdict, headline.R, 1.0, summary, [point.row for point in points], correction)


def _figure(results: Results) -> Figure:
    import numpy as np

    from bnlens.render import PALETTE, new_figure
    from bnlens.theory.learning_rate import stationary_state

    between = np.geomspace(min(_NORMS), max(_NORMS), 60).tolist()
    figure = new_figure(
        x="norm L", y="1 − R, stationary", xaxis_type="log", yaxis_type="log", height=480, xaxis_tickvals=list(_NORMS)
    )
    for (unit, label), color in zip(common.UNITS.items(), cycle(PALETTE), strict=False):
        points = [_settled(case, results) for case in _DECAY if case.unit == unit]
        norms, look = [point.case.L for point in points], {"name": label, "color": color}
        lost = [Estimate(point.lost, point.R.stderr) for point in points]
        common.draw_simulated(figure, norms, lost, **look)
        system = points[0].case.system()
        curve = [1 - stationary_state(system, norm=norm).R for norm in between]
        common.draw_equations(figure, between, curve, **look)
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
