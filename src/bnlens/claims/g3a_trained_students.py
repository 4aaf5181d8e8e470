"""G3a: students trained by SGD for a finite time, as in the paper's first figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnlens.claims import _generalization as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Scale, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding, grade, worst
from bnlens.claims._figures import add_estimates, panels
from bnlens.claims._results import Results
from bnlens.experiments.generalization import train_by_sgd

_M, _RATE, _EPOCHS, _SEED = 32, 8.0, 100, 440
_LOADS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)
_PEAK = (0.75, 1.0, 1.25)
_LONGER = (25, 50, 100, 200, 400, 800)
_UNITS = {"linear": "linear", "relu": "ReLU"}
# The paper's loss has no factor 1/2: its zeta = 1/(2M) and 0.25 are half as large with ours, lambda = alpha/(2M) and alpha/4.
_STRONG = 0.125
_STUDENTS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "BN": ("BatchNorm", {}),
    "decay": ("GammaDecay", {"zeta": 1 / (4 * _M)}),
    "strong": ("GammaDecay", {"zeta": _STRONG}),
    "SGD": ("SGD", {}),
}
_NAMES = {"BN": "BN", "decay": "WN + decay, 1/(2M)", "strong": "WN + decay, 0.25", "SGD": "SGD"}
_CURVES = {"decay": {"kind": "gamma decay", "zeta": 1 / (4 * _M)}, "strong": {"kind": "gamma decay", "zeta": _STRONG}}
_SCALES: Mapping[Scale, Mapping[str, int]] = {
    "quick": {"dimension": 200, "runs": 16},
    "full": {"dimension": 400, "runs": 40},
}


def _config(name: str, unit: str, loads: Sequence[float], epochs: Sequence[int]) -> dict[str, Any]:
    kind, more = _STUDENTS[name]
    parameters = {"unit": unit, "learning_rate": _RATE, "batch_size": _M, **more}
    return {"kind": kind, "parameters": parameters, "alpha": list(loads), "epochs": list(epochs), "seed": _SEED}


def _jobs(setup: Setup) -> Sequence[Job]:
    scale = _SCALES[setup.scale]
    cost = (scale["dimension"] / 200) ** 2 * scale["runs"] / 16
    jobs = [
        Job(f"{name}-{unit}", train_by_sgd, {**_config(name, unit, _LOADS, [_EPOCHS]), **scale}, 5 * cost)
        for unit in _UNITS
        for name in _STUDENTS
    ]
    longer = [(name, _config(name, "linear", _PEAK, _LONGER)) for name in ("BN", "decay", "SGD")]
    return [*jobs, *(Job(f"{name}-longer", train_by_sgd, {**config, **scale}, 12 * cost) for name, config in longer)]


class _Load(NamedTuple):
    """Errors of all students of a unit at a load, by training set."""

    unit: str
    load: float
    errors: Mapping[str, NDArray[np.float64]]

    @property
    def near(self) -> Estimate:
        """BN's error over that of gamma decay, 1/(2M), less 1: its closed curve, for a ReLU unit students trained alike."""
        found = estimate(self.errors["BN"])
        if self.unit == "linear":
            (curve,) = common.theory_curve(_CURVES["decay"], [self.load])
            return Estimate(found.value / curve - 1, found.stderr / curve)
        decay = self.errors["decay"].mean()
        return Estimate(found.value / decay - 1, estimate(self.errors["BN"] - self.errors["decay"]).stderr / decay)

    @property
    def above_sgd(self) -> Estimate:
        """BN's error less that of plain SGD, paired by training set."""
        return estimate(self.errors["BN"] - self.errors["SGD"])

    @property
    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"unit": _UNITS[self.unit], "load": self.load}
        for name, label in _NAMES.items():
            row |= estimate(self.errors[name]).columns(label)
        if self.unit == "linear":
            curves = (common.theory_curve(curve, [self.load])[0] for curve in _CURVES.values())
            row |= dict(zip(("curve, 1/(2M)", "curve, 0.25"), curves, strict=True))
        return row | self.above_sgd.columns("BN less SGD")


def _loads(results: Results, unit: str) -> list[_Load]:
    found = {
        name: np.array(results.one(**_config(name, unit, _LOADS, [_EPOCHS]))["errors"])[:, 0] for name in _STUDENTS
    }
    return [_Load(unit, load, {name: errors[at] for name, errors in found.items()}) for at, load in enumerate(_LOADS)]


def _longer(results: Results, name: str) -> NDArray[np.float64]:
    """Return errors at the loads around 1, (loads, epochs, runs)."""
    return np.array(results.one(**_config(name, "linear", _PEAK, _LONGER))["errors"])


def _peak(errors: Sequence[NDArray[np.float64]]) -> Estimate:
    """Return by how much the error at a load of 1 is above the larger of its neighbours."""
    below, at, above = map(estimate, errors)
    highest = max(below, above)
    return Estimate(at.value - highest.value, float(np.hypot(at.stderr, highest.stderr)))


def _judged(loads: Sequence[_Load]) -> Iterator[tuple[str, Verdict]]:
    unit, judged = _UNITS[loads[0].unit], [one for one in loads if one.load >= 1]
    yield f"{unit}, near gamma decay", grade((one.near for one in judged), close=0.1, near=0.25)
    gained = [one.above_sgd.in_errors <= -2 for one in judged]
    worse = [one.above_sgd.value - 2 * one.above_sgd.stderr > 0.1 * one.errors["SGD"].mean() for one in judged]
    below: Verdict = "does not hold here"
    if 2 * sum(gained) >= len(judged) and not any(worse):
        below = "holds" if all(gained) else "holds approximately"
    yield f"{unit}, below SGD", below
    around = [one for one in loads if one.load in _PEAK]
    of_sgd, of_bn = (_peak([one.errors[name] for one in around]) for name in ("SGD", "BN"))
    if of_sgd.in_errors < 2:
        yield f"{unit}, without the peak of SGD", "premise not met"
    else:
        yield f"{unit}, without the peak of SGD", "holds" if of_bn.in_errors < 2 else "does not hold here"


def _judge(results: Results) -> Finding:
    loads = {unit: _loads(results, unit) for unit in _UNITS}
    parts = dict(part for one in loads.values() for part in _judged(one))
    at_one = next(one for one in loads["linear"] if one.load == 1)
    headline, (curve,) = estimate(at_one.errors["BN"]), common.theory_curve(_CURVES["decay"], [1.0])
    peaks = {name: _peak([one.errors[name] for one in loads["linear"] if one.load in _PEAK]) for name in ("SGD", "BN")}
    longer = {name: _longer(results, name)[1].mean(-1) for name in ("BN", "SGD", "decay")}
    grown = " and ".join(f"{values[-1]:.2f} with {_NAMES[name]}" for name, values in longer.items() if name != "decay")
    summary = (
        rf"After {_EPOCHS} epochs a linear student at $\alpha = 1$ has an error of {headline.text} with BN over {_M}, "
        f"{estimate(at_one.errors['SGD']).text} with plain SGD; the closed curve of gamma decay has {curve:.3f}, students "
        rf"trained alike with it {estimate(at_one.errors['decay']).text}. The error of SGD at $\alpha = 1$ is above both "
        f"neighbours by {peaks['SGD'].text}, that of BN by {peaks['BN'].text}. After {_LONGER[-1]} epochs the errors at "
        rf"$\alpha = 1$ are {grown}, and {longer['decay'][-1]:.2f} with gamma decay. Headline: the linear student with BN."
    )
    rows = [load.row for one in loads.values() for load in one]
    return finding(worst(parts.values()), headline, curve, summary, rows, parts=parts)


def _figure(results: Results) -> Figure:
    from bnlens.render import PALETTE

    titles = [*(f"{label} students, {_EPOCHS} epochs" for label in _UNITS.values()), "linear students, α = 1"]
    axes = [(x, "generalization error") for x in ("load α = P/N", "load α = P/N", "epochs")]
    figure = panels([titles], [axes], height=460)
    for name, color in zip(_STUDENTS, PALETTE, strict=False):
        look = {"mode": "lines+markers", "line": {"color": color}, "marker": {"color": color}, "legendgroup": name}
        for column, unit in enumerate(_UNITS, start=1):
            means = [estimate(one.errors[name]) for one in _loads(results, unit)]
            add_estimates(figure, _NAMES[name], _LOADS, means, **look, showlegend=column == 1, row=1, col=column)
        if name != "strong":
            means = [estimate(errors) for errors in _longer(results, name)[1]]
            add_estimates(figure, _NAMES[name], _LONGER, means, **look, showlegend=False, row=1, col=3)
    x = np.geomspace(_LOADS[0], _LOADS[-1], 60)
    for name, color in zip(_CURVES, PALETTE[1:], strict=False):
        line, label = {"color": color, "dash": "dot"}, f"{_NAMES[name]}, closed curve"
        figure.add_scatter(
            name=label, mode="lines", x=x, y=common.theory_curve(_CURVES[name], x), line=line, row=1, col=1
        )
    figure.update_xaxes(type="log", tickvals=list(_LONGER), col=3)
    return figure


CLAIM = Claim(
    id="G3a",
    title="Students trained for a finite time",
    statement=(
        "Trained by SGD for a finite time on a fixed training set, a student with BN over 32 samples generalises nearly as "
        r"one with weight normalization and gamma decay of $\zeta = 1/(2M)$, and better than with plain SGD, without its "
        "peak at $P = N$."
    ),
    source="arXiv 1809.00846, generalization and first figure; theory sheet C.2, C.3",
    paper=PaperStatement(
        words=(
            "Over the load, linear and ReLU students trained with BN over $M = 32$ lie near those of WN with gamma decay of "
            r"$\zeta = 1/(2M)$, beside $\zeta = 0.25$, and below vanilla SGD."
        ),
        section="Generalization analysis; the curves are those that the caption of the first figure names",
        known="as remembered",
    ),
    agreement=(
        f"SGD of batch {_M}, one learning rate, {_EPOCHS} epochs, linear and ReLU; judged at loads of 1 and more, below which "
        "the start decides. Near: BN within 10% of gamma decay (closed curve; ReLU: students trained alike), approximately "
        "25%, two standard errors forgiven. Below SGD: everywhere by two standard errors, paired; approximately: at half of "
        "the loads, and nowhere above by 10%. Peak: an error at load 1 above both neighbours by two standard errors. Premise "
        "not met: plain SGD trained as long has no peak. Holds: all parts whose premise is met do; approximately: none fails; "
        "else it does not."
    ),
    quantity="generalization error, half the mean squared error, of the linear student trained with BN at α = 1",
    works=("ioffe2015batch", "salimans2016weight", "krogh1992generalization", "hastie2022surprises"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
