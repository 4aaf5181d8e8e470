"""L2: the fixed point of WN with gamma decay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bnlens.claims import _learning as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding
from bnlens.claims._results import Results
from bnlens.render import number

if TYPE_CHECKING:
    from bnlens.theory.learning_rate import StationaryState

_ZETA, _SMALLER = 0.1, (0.05, 0.025, 0.0125)
_SHRINK = {"linear": 2, "relu": 4}  # gamma0 = 1/(1 + this zeta)
_NORMS = {1.0: 15.0, 2.0: 40.0, 4.0: 120.0}  # and the time in which a student settles there
_M, _PAPER_ZETA = 32, {"linear": 3 / 128, "relu": 3 / 256}  # the paper's example


def _decay(unit: str, zeta: float, batch_size: int = 1, norm: float = 1.0) -> common.Case:
    """A student put at the claimed point."""
    start: dict[str, Any] = {"gamma": 1 / (1 + _SHRINK[unit] * zeta), "R": 1.0, "L": norm, "freeze_norm": True}
    return common.Case("GammaDecay", unit, zeta=zeta, batch_size=batch_size, **start, times=(_NORMS[norm],))


_DECAY = [_decay(unit, _ZETA, norm=norm) for unit in common.UNITS for norm in _NORMS]
_OWN = {M: [_decay(unit, zeta, M) for unit, zeta in _PAPER_ZETA.items()] for M in (_M, 1)}
_FITTED = {unit: [_decay(unit, zeta) for zeta in (_ZETA, *_SMALLER)] for unit in common.UNITS}
# c_M at M = 8, to float32: true BN without label noise has a fixed point for a linear unit
_TRUE = common.Case(
    "BatchNorm", "linear", batch_size=8, gamma=0.9027033336764101, R=1.0, freeze_norm=True, times=(_NORMS[1.0],)
)
_CASES = [*_DECAY, _TRUE, *_OWN[_M], *_OWN[1], *(case for cases in _FITTED.values() for case in cases[1:])]


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
        row = {**self.case.columns, "ζ": self.case.zeta}
        for name, symbol, claimed in (("R", "R", 1.0), ("gamma", "γ", self.case.gamma)):
            found: Estimate = getattr(self, name)
            row |= {f"{symbol}, claimed": claimed, **found.columns(f"{symbol}, simulated")}
            row[f"{symbol}, equations"] = getattr(self.state, name)
        return row


def _settled(case: common.Case, results: Results) -> _Settled:
    from bnlens.theory.learning_rate import stationary_state

    result = common.result_of(case, results)
    R, gamma = (common.last(result, name) for name in ("R", "gamma"))
    return _Settled(case, R, gamma, stationary_state(case.system(), norm=case.L))


def _stays(points: Iterable[_Settled]) -> Verdict:
    """Return whether students stay where they were put, two standard errors forgiven."""
    worst = max(max(point.lost - 2 * point.R.stderr, 0) for point in points)
    if worst <= 1e-2:
        return "holds" if worst <= 1e-3 else "holds approximately"
    return "does not hold here"


def _power(points: Sequence[_Settled]) -> Estimate:
    """Return p of 1 - R = a zeta^p gamma0^k, fitted with weights."""
    zeta, gamma = (np.array([getattr(point.case, name) for point in points], dtype=float) for name in ("zeta", "gamma"))
    lost, error = np.array([(max(point.lost, 1e-12), point.R.stderr) for point in points]).T
    terms, weights = (
        np.stack([np.ones_like(zeta), np.log(zeta), np.log(gamma)], axis=1),
        lost / np.maximum(error, 1e-12),
    )
    covariance = np.linalg.inv((terms * weights[:, None] ** 2).T @ terms)
    found = covariance @ (terms * weights[:, None] ** 2).T @ np.log(lost)
    return Estimate(float(found[1]), float(np.sqrt(covariance[1, 1])))


def _judge(results: Results) -> Finding:
    settled = {case: _settled(case, results) for case in _CASES}
    decay = [settled[case] for case in _DECAY]
    own, single = ([settled[case] for case in _OWN[M]] for M in (_M, 1))
    powers = {unit: _power([settled[case] for case in cases]) for unit, cases in _FITTED.items()}
    first_order = all(abs(power.value - 2) - 2 * power.stderr <= 0.2 for power in powers.values())
    at_own = _stays(own)
    parts: dict[str, Verdict] = {
        f"ζ of M = {_M}, batches of {_M}": at_own,
        f"ζ of M = {_M}, single samples": _stays(single),
        f"ζ = {_ZETA:g}, single samples": _stays(decay),
        "to first order in ζ": "holds" if first_order else "does not hold here",
    }
    verdict: Verdict = "does not hold here"
    if set(parts.values()) == {"holds"}:
        verdict = "holds"
    elif first_order and at_own == "holds":
        verdict = "holds approximately"
    relu = decay[len(_NORMS) :]
    falls = ", ".join(f"{point.lost:.4f} at $L = {point.case.L:g}$" for point in relu)
    told = " and ".join(
        f"{power.value:.2f} ± {power.stderr:.2f} ({common.UNITS[unit]})" for unit, power in powers.items()
    )
    correction = (
        r"The point $(\gamma_0, 1)$ is a fixed point to first order in $\zeta$, not exactly, at any finite norm: the errors "
        rf"that the shrunk $\gamma$ leaves keep turning the weights, and $1 - R = O(\zeta^2)$. At $\zeta = {_ZETA:g}$ it "
        f"settles at {falls} for a ReLU unit. True BN without label noise does have a fixed point for a linear unit, at "
        r"$\gamma = c_M$."
    )
    summary = (
        f"Started at the claimed point, frozen norm, $1 - R$ settles at {number(own[0].lost)} (linear) and "
        rf"{number(own[1].lost)} (ReLU) with the $\zeta$ of $M = {_M}$ and batches of {_M}, at {number(single[0].lost)} and "
        rf"{number(single[1].lost)} with single samples, and at $\zeta = {_ZETA:g}$ at {falls} for a ReLU unit. The power of "
        rf"$\zeta$ in $1 - R$, fitted over $\zeta = {min(_SMALLER):g}$ to {_ZETA:g}, is {told}. A linear unit with true BN, "
        f"$M = {_TRUE.batch_size}$, has $1 - R$ at {number(settled[_TRUE].lost)}. Headline: $R$ of the ReLU student at $M = "
        f"{_M}$."
    )
    return finding(verdict, own[1].R, 1.0, summary, [point.row for point in settled.values()], correction, parts)


def _figure(results: Results) -> Figure:
    from bnlens.render import PALETTE, new_figure
    from bnlens.theory.learning_rate import stationary_state

    between = np.geomspace(min(_SMALLER), _ZETA, 40).tolist()
    figure = new_figure(x="ζ", y="1 − R, stationary", xaxis_type="log", yaxis_type="log", height=480)
    for (unit, label), color in zip(common.UNITS.items(), cycle(PALETTE), strict=False):
        points, look = [_settled(case, results) for case in _FITTED[unit]], {"name": label, "color": color}
        lost = [Estimate(point.lost, point.R.stderr) for point in points]
        common.draw_simulated(figure, [_ZETA, *_SMALLER], lost, **look)
        curve = [1 - stationary_state(_decay(unit, zeta).system()).R for zeta in between]
        common.draw_equations(figure, between, curve, **look)
    return figure


CLAIM = Claim(
    id="L2",
    title="Fixed point under gamma decay",
    statement=(
        r"Learning with WN and gamma decay has the fixed point $R = 1$, $\gamma_0 = \frac{1}{1 + 2\zeta}$ for a linear and "
        r"$\frac{1}{1 + 4\zeta}$ for a ReLU unit."
    ),
    source="arXiv 1809.00846, section on dynamics; theory sheet B.2",
    paper=PaperStatement(
        words=(
            r"In a table of fixed points WN with gamma decay has $R = 1$ with $\gamma_0 = \frac{1}{1 + 2\zeta}$ for a linear "
            r"unit and $\frac{1}{1 + 4\zeta}$ for a ReLU unit; $M = 32$ is its example."
        ),
        section="Optimization with regularization, table of fixed points",
        known="as remembered",
    ),
    agreement=(
        r"Students put at the claimed point, no label noise: $\zeta$ of $M = 32$ with batches of 32 and with single samples, "
        r"and $\zeta = 0.1$ with single samples and norms frozen at 1, 2 and 4; a power of $\zeta$ fitted to $1 - R$. Holds: "
        r"$1 - R$ stays below 0.001 everywhere, two standard errors forgiven; approximately: with the $\zeta$ of $M = 32$ "
        r"and batches of 32, and the power is within 0.2 of 2, so that it holds to first order in $\zeta$; else it does not."
    ),
    quantity="overlap R of the ReLU student with its teacher at the ζ of M = 32",
    works=("salimans2016weight", "saad1995online"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
