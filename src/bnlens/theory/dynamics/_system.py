"""The driver that all systems of order parameters share, and its result, their trajectory."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from bnlens._arguments import Count, NotNegative, Positive, checked
from bnlens.errors import UsageError
from bnlens.theory._check import Correlation, FloatArray
from bnlens.theory.dynamics._averages import Averages, UnitName, generalization_error

if TYPE_CHECKING:
    import pandas as pd

    from bnlens.render import Figure

__all__ = ["COLUMNS", "System", "Trajectory"]

COLUMNS = {"gamma": "gamma", "R": "overlap R", "L": "norm L", "generalization_error": "generalization error"}
"""The order parameters by field, with the words for a figure."""

_DIVERGED = 1e6
# Before SciPy 1.17 the state of LSODA is global: two integrations at once raise. Explicit methods, which may run side by
# side, take ten times as long where a large learning rate makes the equations stiff.
_SOLVING = threading.Lock()


@checked
@dataclass(frozen=True, kw_only=True)
class System(ABC):
    """Online learning of one unit from a teacher of the same kind, described by its order parameters as N -> infinity.

    Inputs x are N-dimensional Gaussians of variance 1/N per component, u = w* . x and z = sqrt(N) w . x / |w| standard
    Gaussians of correlation R, labels t = g(u) + noise, outputs g(gamma z). The loss is (t - y)^2 / 2; weights learn with
    rate eta, gamma with eta / N, and every step sees new samples. Time is tau = steps / N. With e = eta gamma / L^2 and
    the `Averages` of the system

        dgamma/dtau = eta * gain,   dR/dtau = e * alignment - R e^2/2 * noise,   dL/dtau = L e^2/2 * noise.

    Source: theory sheet B.0.

    Attributes:
        unit: ``"linear"`` or ``"relu"``, activation of student and teacher.
        learning_rate: eta > 0.
        batch_size: samples per step, M; each step counts as one, whatever M.
        label_noise: S >= 0, variance of the noise on the labels.
    """

    unit: UnitName
    learning_rate: Positive
    batch_size: Count = 1
    label_noise: NotNegative = 0.0

    smallest_batch: ClassVar[int] = 1
    """The smallest batch size for which the averages are finite."""
    tied: ClassVar[bool] = False
    """Whether gamma is the norm of the weights and not a parameter of its own."""

    def __post_init__(self) -> None:
        if self.batch_size < self.smallest_batch:
            raise UsageError(
                f"batch_size={self.batch_size!r} is not possible: {type(self).__name__} needs a whole number of "
                f"samples, {self.smallest_batch} or more."
            )

    @abstractmethod
    def averages(self, gamma: float, R: Correlation) -> Averages:
        """Return the averages over inputs, labels and batches that drive the order parameters.

        Args:
            gamma: output scale, at least 0 for a ReLU unit.
            R: overlap in [-1, 1].
        """

    @checked
    def drift(
        self, gamma: float, R: Correlation, L: Positive, *, freeze_norm: bool = False
    ) -> tuple[float, float, float]:
        """Return (dgamma/dtau, dR/dtau, dL/dtau) at norm L > 0; see `averages` and, for `freeze_norm`, `solve`."""
        return self._drift(gamma, R, L, freeze_norm)

    def _drift(self, gamma: float, R: float, L: float, freeze_norm: bool) -> tuple[float, float, float]:
        gain, alignment, noise = self.averages(gamma, R)
        rate = self.learning_rate * gamma / L**2
        wander = rate**2 / 2 * noise
        growth = L * wander
        if self.tied:
            growth += self.learning_rate * gain
            return growth, rate * alignment - R * wander, growth
        return self.learning_rate * gain, rate * alignment - R * wander, 0.0 if freeze_norm else growth

    @checked
    def solve(
        self,
        tau: ArrayLike,
        *,
        gamma: float | None = None,
        R: Correlation = 0.0,
        L: Positive = 1.0,
        freeze_norm: bool = False,
    ) -> Trajectory:
        """Solve for the order parameters at given times (relative error 1e-8 per step of the solver).

        Args:
            tau: (T,), times to return, increasing, from 0 on; the start is at tau = 0.
            gamma: output scale at the start, at least 0 for a ReLU unit; 1 if not given. `SGD` has none.
            R: overlap at the start, in [-1, 1].
            L: norm |w| / sqrt(N) at the start.
            freeze_norm: whether |w| is restored after each step, so that L stays.

        Raises:
            UsageError: for a start or times that are not possible, or weights that grow without bound.
        """
        start = self.start(gamma, R, L, freeze_norm=freeze_norm)
        times = self.times(tau)
        values = np.repeat(np.array(start)[:, None], len(times), axis=1)
        if times[-1] > 0:
            values = self._integrate(times, start, freeze_norm)
        overlaps, norms = np.clip(values[1], -1, 1), values[2]
        gammas = norms if self.tied else values[0]
        error = generalization_error(self.unit, gammas, overlaps)
        return Trajectory(self, tau=times, gamma=gammas, R=overlaps, L=norms, generalization_error=error)

    @checked
    def start(
        self, gamma: float | None, R: Correlation, L: Positive, *, freeze_norm: bool = False
    ) -> tuple[float, float, float]:
        """Check a start and return it as (gamma, R, L); without gamma it is 1, or L if the two are tied.

        Raises:
            UsageError: if the system cannot start there.
        """
        if self.tied and freeze_norm:
            raise UsageError(f"freeze_norm=True has no meaning for {type(self).__name__}: its norm is its gamma.")
        if self.tied and gamma is not None and gamma != L:
            raise UsageError(f"gamma={gamma!r} cannot be set for {type(self).__name__}: it is the norm, set L alone.")
        if gamma is None:
            gamma = L if self.tied else 1.0
        if self.unit == "relu" and gamma < 0:
            raise UsageError(
                f"gamma={gamma!r} is not possible; a ReLU unit starts with gamma >= 0 (turn the signs of gamma and R)."
            )
        return float(gamma), float(R), float(L)

    @staticmethod
    def times(tau: ArrayLike) -> FloatArray:
        """Check times and return them as a float64 array.

        Raises:
            UsageError: if they are negative or not increasing.
        """
        times = np.atleast_1d(np.asarray(tau, dtype=np.float64))
        if times.ndim != 1 or not len(times) or not np.all(np.isfinite(times)):
            raise UsageError("tau must be a list of one or more finite times.")
        if times[0] < 0 or np.any(np.diff(times) <= 0):
            raise UsageError(f"tau must increase from 0 on; it begins with {times[:3].tolist()}.")
        return times

    def _integrate(self, times: FloatArray, start: tuple[float, float, float], freeze_norm: bool) -> FloatArray:
        def drift(_: float, state: FloatArray) -> tuple[float, float, float]:
            gamma, R, L = state.tolist()
            # The solver may try a point just outside of the domain.
            inside = max(gamma, 0.0) if self.unit == "relu" else gamma
            return self._drift(inside, min(max(R, -1.0), 1.0), max(L, 1e-12), freeze_norm)

        def diverged(_: float, state: FloatArray) -> float:
            return float(max(abs(state[0]), state[2]) - _DIVERGED * max(abs(start[0]), start[2], 1.0))

        diverged.terminal = True  # type: ignore[attr-defined]
        span = (0.0, float(times[-1]))
        with _SOLVING:
            solution = solve_ivp(
                drift, span, start, method="LSODA", t_eval=times, events=diverged, rtol=1e-8, atol=1e-10
            )
        if solution.status != 0:
            raise UsageError(
                f"{type(self).__name__} with learning_rate={self.learning_rate} diverges before tau={times[-1]:g}: "
                "use a smaller learning rate or end earlier."
            )
        return np.asarray(solution.y)


@dataclass(frozen=True)
class Trajectory:
    """The order parameters of one student at some times, N -> infinity.

    Attributes:
        system: the system that was solved, with its rates and sizes.
        tau: (T,), time in steps per weight, tau = steps / N.
        gamma: (T,), output scale.
        R: (T,), overlap w . w* / (|w| |w*|) of student and teacher.
        L: (T,), norm |w| / sqrt(N) of the weights.
        generalization_error: (T,), E[(clean label - output)^2] / 2 with population statistics. Errors against noisy labels
            are higher by half the label noise.
    """

    system: System
    tau: FloatArray
    gamma: FloatArray
    R: FloatArray
    L: FloatArray
    generalization_error: FloatArray

    @property
    def effective_learning_rate(self) -> FloatArray:
        """(T,), eta gamma / L^2: the learning rate that turns the weights of norm one as fast."""
        return self.system.learning_rate * self.gamma / self.L**2

    def to_frame(self) -> pd.DataFrame:
        """Return one row per time, indexed by tau, one column per order parameter."""
        import pandas as pd

        columns = {name: getattr(self, name) for name in COLUMNS}
        return pd.DataFrame(columns, index=pd.Index(self.tau, name="tau"))

    @checked
    def plot(self, figure: Figure | None = None) -> Figure:
        """Draw the order parameters from the first tau to the last into a Plotly figure, a new one if none is given."""
        from bnlens import render

        figure = render.figure_or_new(figure, x="tau = steps / N", y="order parameter")
        curve = self._dense(render.dense(self.tau))
        for (name, label), color in zip(COLUMNS.items(), render.PALETTE, strict=False):
            render.add_line(figure, label, curve.tau, getattr(curve, name), color=color)
        return figure

    def _dense(self, tau: list[float]) -> Trajectory:
        """Return the trajectory at more times from its first on; the equations do not know what time it is."""
        gamma, R, L = (float(values[0]) for values in (self.gamma, self.R, self.L))
        gamma = max(gamma, 0.0) if self.system.unit == "relu" else gamma  # solved to 1e-8
        frozen = not self.system.tied and len(set(self.L.tolist())) == 1  # a norm that stayed would stay when frozen
        since = [time - self.tau[0] for time in tau]
        found = self.system.solve(since, gamma=None if self.system.tied else gamma, R=R, L=L, freeze_norm=frozen)
        return replace(found, tau=np.array(tau))
