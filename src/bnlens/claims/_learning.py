"""Systems as data and their simulated trajectories, for the claims on learning dynamics, L1 to L4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bnlens.claims._claim import Figure, Job, Scale, Verdict
from bnlens.claims._estimate import Estimate
from bnlens.claims._figures import add_estimates
from bnlens.claims._results import Results
from bnlens.experiments.dynamics import make_system, simulate_trajectory

if TYPE_CHECKING:
    from bnlens.theory.dynamics import System, Trajectory

RUNS: Mapping[Scale, int] = {"quick": 16, "full": 64}
"""Students per simulation."""

SIZE: Mapping[Scale, int] = {"quick": 400, "full": 1000}
"""Their weights N."""

FINITE_SIZE = 2.0
"""Distance to the equations that N weights are allowed beside the standard errors, times N."""

NAMES: Mapping[str, str] = {"SGD": "SGD", "WeightNorm": "WN", "GammaDecay": "WN + gamma decay", "BatchNorm": "BN"}
UNITS: Mapping[str, str] = {"linear": "linear", "relu": "ReLU"}
LETTERS: Mapping[str, str] = {"gamma": "γ", "R": "R", "L": "L", "generalization_error": "error"}


@dataclass(frozen=True)
class Case:
    """A system, its start and the times at which it is looked at.

    Attributes:
        kind: class of `bnlens.theory.dynamics`.
        unit: ``"linear"`` or ``"relu"``.
        learning_rate: eta.
        batch_size: M.
        label_noise: S.
        zeta: of `GammaDecay`; None for the paper's.
        gamma: at the start; None for `SGD`.
        R: at the start.
        L: at the start.
        freeze_norm: whether |w| is restored after each step.
        times: tau.
    """

    kind: str
    unit: str
    learning_rate: float = 1.0
    batch_size: int = 1
    label_noise: float = 0.0
    zeta: float | None = None
    gamma: float | None = 0.3
    R: float = 0.2
    L: float = 1.0
    freeze_norm: bool = False
    times: Sequence[float] = field(default=(1.0,), hash=False)

    @property
    def key(self) -> str:
        """Name of the case inside job names."""
        frozen = "-frozen" if self.freeze_norm else ""
        zeta = "" if self.zeta is None else f"-zeta{self.zeta:g}"
        rates = f"M{self.batch_size}-eta{self.learning_rate:g}-S{self.label_noise:g}{zeta}"
        return f"{self.kind}-{self.unit}-{rates}-L{self.L:g}{frozen}"

    @property
    def columns(self) -> dict[str, Any]:
        """The first columns of the rows of this case in a table."""
        return {
            "trained by": NAMES[self.kind],
            "unit": UNITS[self.unit],
            "M": self.batch_size,
            "η": self.learning_rate,
            "norm": f"{self.L:g}, frozen" if self.freeze_norm else "free",
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments of the system."""
        from bnlens.theory import paper_zeta

        unit: Any = self.unit
        names = ("unit", "learning_rate", "batch_size", "label_noise")
        found = {name: getattr(self, name) for name in names}
        if self.kind == "GammaDecay":
            found["zeta"] = paper_zeta(unit, self.batch_size) if self.zeta is None else self.zeta
        return found

    @property
    def start(self) -> dict[str, Any]:
        """Where it starts."""
        return {"gamma": self.gamma, "R": self.R, "L": self.L, "freeze_norm": self.freeze_norm}

    def system(self) -> System:
        """Return the system."""
        return make_system(self.kind, **self.parameters)

    def solve(self) -> Trajectory:
        """Return the solution of the equations at the times."""
        return self.system().solve(self.times, **self.start)

    def curve(self) -> Trajectory:
        """Return the solution of the equations from the start to the last time, at times enough for a figure."""
        from bnlens.render import dense

        return self.system().solve(dense([0.0, *self.times]), **self.start)

    def as_gamma_decay(self) -> Case:
        """Return the paper's model of a case of BN."""
        return replace(self, kind="GammaDecay")

    def config(self) -> dict[str, Any]:
        """Return the arguments that say the case to `bnlens.experiments.dynamics.simulate_trajectory`."""
        return {"kind": self.kind, "parameters": self.parameters, "start": self.start, "times": list(self.times)}

    def job(self, scale: Scale, seed: int, *, size: int | None = None, runs: int | None = None) -> Job:
        """Return the job that simulates the case."""
        size, runs = size or SIZE[scale], runs or RUNS[scale]
        config = {**self.config(), "size": size, "runs": runs, "seed": seed}
        # On one core: 3 ns per random number, 4 us per step and student.
        cost = self.times[-1] * size * runs * (3e-9 * self.batch_size * size + 4e-6)
        return Job(name=f"{self.key}-N{size}", function=simulate_trajectory, config=config, cost=cost)


def result_of(case: Case, results: Results, **more: Any) -> Mapping[str, Any]:
    """Return the result of the job of a case; ``more`` entries of its configuration tell sizes apart."""
    return results.one(**case.config(), **more)


def last(result: Mapping[str, Any], name: str) -> Estimate:
    """Return an order parameter at the last time."""
    return Estimate(result[name][-1], result[f"{name}_stderr"][-1])


def reaches(rate: Estimate, of_wn: Estimate, more: float) -> Verdict:
    """Return whether a learning rate reaches WN's plus ``more``, or at least WN's, two standard errors forgiven."""
    reached = rate.value + 2 * math.hypot(rate.stderr, of_wn.stderr)
    if reached < of_wn.value:
        return "does not hold here"
    return "holds" if reached >= of_wn.value + more else "holds approximately"


def draw_equations(figure: Figure, x: Iterable[float], y: Iterable[float], *, name: str, color: str) -> None:
    """Add a line of the equations."""
    figure.add_scatter(x=x, y=y, mode="lines", line_color=color, name=f"{name}, equations")


def draw_simulated(figure: Figure, x: Iterable[float], found: Iterable[Estimate], *, name: str, color: str) -> None:
    """Add simulated points."""
    from bnlens.render import ROLES

    add_estimates(
        figure, f"{name}, simulated", x, found, marker={"color": color, "symbol": ROLES["measured"]["symbol"]}
    )
