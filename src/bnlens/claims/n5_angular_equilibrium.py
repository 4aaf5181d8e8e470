"""N5: the angle of a step before a BN layer, under weight decay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bnlens.claims._claim import Claim, Figure, Finding, Job, Scale, Setup
from bnlens.claims._estimate import Estimate, finding, grade, span
from bnlens.claims._figures import add_estimates
from bnlens.claims._results import Results
from bnlens.experiments.equilibrium import measure_step_angle

# eta, lambda and momentum
_SETTINGS = ((0.1, 0.01, 0.0), (0.1, 0.002, 0.0), (0.1, 0.01, 0.5), (0.02, 0.01, 0.9))
_STEPS: Mapping[Scale, tuple[int, int]] = {"quick": (6_000, 2_000), "full": (40_000, 20_000)}


def _config(setting: tuple[float, float, float]) -> dict[str, Any]:
    return dict(zip(("learning_rate", "weight_decay", "momentum"), setting, strict=True))


def _jobs(setup: Setup) -> Sequence[Job]:
    settle, steps = _STEPS[setup.scale]
    cost = 2e-4 * (settle + steps)
    return [
        Job("eta{}-lambda{}-momentum{}".format(*one), measure_step_angle, {**_config(one), **more, "seed": seed}, cost)
        for seed, one in enumerate(_SETTINGS, start=950)
        for more in ({"settle": settle, "steps": steps},)
    ]


class _Angle(NamedTuple):
    """The angle of a step at a setting, in radians."""

    setting: tuple[float, float, float]
    measured: Estimate

    @property
    def predicted(self) -> float:
        rate, decay, momentum = self.setting
        return math.sqrt(2 * rate * decay / (1 + momentum))

    @property
    def ratio(self) -> Estimate:
        return self.measured.under(self.predicted)

    @property
    def row(self) -> dict[str, Any]:
        named = dict(zip(("η", "λ", "momentum"), self.setting, strict=True))
        return {
            **named,
            **self.measured.columns("angle (rad)"),
            "predicted": self.predicted,
            **self.ratio.columns("ratio"),
        }


def _angles(results: Results) -> list[_Angle]:
    found = ((one, results.one(**_config(one))) for one in _SETTINGS)
    return [_Angle(one, Estimate(result["angle"], result["stderr"])) for one, result in found]


def _judge(results: Results) -> Finding:
    angles = _angles(results)
    ratios = span((one.ratio.value for one in angles), 3)
    first = angles[0]
    summary = (
        f"Over {len(angles)} settings of learning rate, weight decay and momentum the formula is {ratios} times the measured "
        f"angle. Headline: $\\eta = {first.setting[0]:g}$, $\\lambda = {first.setting[1]:g}$, no momentum, radians."
    )
    verdict = grade((one.ratio.less(1) for one in angles), close=0.02, near=0.1)
    return finding(verdict, first.measured, first.predicted, summary, [one.row for one in angles])


def _figure(results: Results) -> Figure:
    from bnlens.render import ROLES, new_figure

    angles = _angles(results)
    figure = new_figure(x="√(2ηλ/(1 + momentum))", y="angle of a step (rad)", xaxis_type="log", yaxis_type="log")
    x = sorted(one.predicted for one in angles)
    figure.add_scatter(x=x, y=x, mode="lines", name="formula", line={"color": ROLES["predicted"]["color"]})
    marker = {"color": ROLES["measured"]["color"], "symbol": ROLES["measured"]["symbol"]}
    add_estimates(
        figure, "measured", [one.predicted for one in angles], [one.measured for one in angles], marker=marker
    )
    return figure


CLAIM = Claim(
    id="N5",
    title="Angular equilibrium under weight decay",
    statement=(
        r"Weight decay $\lambda$ and the steps of SGD hold the norm of weights before a BN layer in balance, where each step "
        r"turns them by $\sqrt{2\eta\lambda/(1 + \text{momentum})}$, whatever the loss."
    ),
    source="known of scale-invariant weights; beside arXiv 1809.00846, whose effective learning rate is without weight decay",
    agreement=(
        "Root mean square angle of the steps of 16 neurons with BN, SGD of torch, labels without a rule, four settings. Holds: "
        "within 2% everywhere, two standard errors forgiven; approximately: within 10%; else it does not."
    ),
    quantity="angle of a step in radians, at the first of the settings",
    works=("ioffe2015batch", "vanlaarhoven2017l2", "hoffer2018norm"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
