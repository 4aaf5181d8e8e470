"""L1: training follows the equations of the order parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bnlens.claims import _learning as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding
from bnlens.claims._results import Results

if TYPE_CHECKING:
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
_HEADLINE = 9  # BN, ReLU, M = 8, eta = 1

# Where the distance is far above its error: its order in N.
_DISTANT = _case("WeightNorm", "linear", label_noise=1.0, times=(4.0,))
_SIZES, _WEIGHTS = (25, 100), {"quick": 40_000, "full": 640_000}  # weights of all runs together


def _jobs(setup: Setup) -> Sequence[Job]:
    jobs = [case.job(setup.scale, seed) for seed, case in enumerate(_CASES, start=600)]
    distant = (_DISTANT.job(setup.scale, 650 + size, size=size, runs=_WEIGHTS[setup.scale] // size) for size in _SIZES)
    return [*jobs, *distant]


class _Compared(NamedTuple):
    """A case as simulated and by the equations."""

    case: common.Case
    result: Mapping[str, Any]
    path: Trajectory

    def inside(self, path: Trajectory) -> list[bool]:
        """Return whether each order parameter at each time lies within three standard errors and 2/N of a path."""
        inside = []
        for name in common.LETTERS:
            if name == "L" and self.case.kind == "SGD":
                continue  # it is gamma
            values, errors = self.result[name], self.result[f"{name}_stderr"]
            inside += [
                bool(abs(value - exact) <= 3 * error + common.FINITE_SIZE / self.result["size"])
                for value, exact, error in zip(values, getattr(path, name), errors, strict=True)
            ]
        return inside

    @property
    def row(self) -> dict[str, Any]:
        inside = self.inside(self.path)
        row = {**self.case.columns, "points within": f"{sum(inside)} of {len(inside)}"}
        for name, letter in common.LETTERS.items():
            row |= common.last(self.result, name).columns(f"{letter}, simulated")
            row[f"{letter}, equations"] = float(getattr(self.path, name)[-1])
        return row


def _distances(results: Results) -> list[Estimate]:
    """Return N times the distance of the generalization error to the equations at the two sizes."""
    exact = float(_DISTANT.solve().generalization_error[-1])
    ends = (common.last(common.result_of(_DISTANT, results, size=size), "generalization_error") for size in _SIZES)
    return [Estimate(size * (end.value - exact), size * end.stderr) for size, end in zip(_SIZES, ends, strict=True)]


def _judge(results: Results) -> Finding:
    compared = [_Compared(case, common.result_of(case, results), case.solve()) for case in _CASES]
    inside = [point for one in compared for point in one.inside(one.path)]
    of_bn = [one for one in compared if one.case.kind == "BatchNorm"]
    of_model = [point for one in of_bn for point in one.inside(one.case.as_gamma_decay().solve())]
    share = sum(inside) / len(inside)
    far, near = _distances(results)
    falls = abs(near.value - far.value) <= 3 * (far.stderr**2 + near.stderr**2) ** 0.5
    verdict: Verdict = "does not hold here"
    if share >= 0.85:
        verdict = "holds" if share >= 0.95 and falls else "holds approximately"
    headline = compared[_HEADLINE]
    error = common.last(headline.result, "generalization_error")
    summary = (
        f"{sum(inside)} of {len(inside)} simulated points ({share:.1%}) of {len(_CASES)} configurations are within 3 "
        f"standard errors and ${common.FINITE_SIZE:g}/N$ of the equations. Where the distance is largest, $N$ times it is "
        f"{far.value:.2f} ± {far.stderr:.2f} at $N = {_SIZES[0]}$ and {near.value:.2f} ± {near.stderr:.2f} at "
        f"$N = {_SIZES[1]}$: it falls as {'' if falls else 'something other than '}$1/N$. For true BN the decay model "
        f"accounts for {sum(of_model)} of {len(of_model)} points. Headline: generalization error of a ReLU unit with true "
        f"BN, $M = 8$, at $\\tau = {_TIMES[-1]:g}$."
    )
    predicted = float(headline.path.generalization_error[-1])
    return finding(verdict, error, predicted, summary, [one.row for one in compared])


def _figure(results: Results) -> Figure:
    from bnlens.render import PALETTE, new_figure

    figure = new_figure(x="τ = steps / N", y="overlap R of student and teacher", height=480)
    shown = [case for case in _CASES if case.unit == "relu" and case.learning_rate == 1 and case.batch_size < 32]
    for case, color in zip(shown, PALETTE, strict=False):
        result, look = common.result_of(case, results), {"name": common.NAMES[case.kind], "color": color}
        path = case.curve()
        common.draw_equations(figure, path.tau, path.R, **look)
        common.draw_simulated(figure, result["tau"], map(Estimate, result["R"], result["R_stderr"]), **look)
    return figure


CLAIM = Claim(
    id="L1",
    title="Order parameters of training",
    statement=(
        r"Online learning of one normalised unit follows closed differential equations for $\gamma$, the overlap $R$ and the "
        "norm $L$ as the number $N$ of weights grows."
    ),
    source="arXiv 1809.00846, section on dynamics; theory sheet B.0 to B.3",
    paper=PaperStatement(
        words=(
            r"As the number of weights grows, learning follows differential equations for $\gamma$, the overlap $R$ and the "
            "norm $L$, with SGD, WN, and WN with gamma decay as the model of BN."
        ),
        section="Optimization with regularization",
        known="as remembered",
        differs="the equations of true BN are ours.",
    ),
    agreement=(
        "Equations against students of $N$ weights under SGD, WN, WN + gamma decay and true BN, linear and ReLU, at six "
        "times. Holds: 95% of the points within 3 standard errors and $2/N$, and the distance falls as $1/N$; approximately: "
        "85%; else it does not."
    ),
    quantity="generalization error, half the mean squared error, of a ReLU unit with BN at M = 8, at the end",
    works=("ioffe2015batch", "salimans2016weight", "saad1995exact", "saad1995online"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
