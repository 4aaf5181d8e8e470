"""Learning curves: generalization over the load P/N."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.theory._check import FloatArray
from bnlens.theory.generalization._estimator import Estimator, Loads, Status

if TYPE_CHECKING:
    import pandas as pd

    from bnlens.render import Figure

__all__ = ["LearningCurve", "OptimalDecay", "learning_curve", "optimal_decay"]


@dataclass(frozen=True)
class LearningCurve:
    """Generalization of one estimator over the load; arrays are float64, one entry per load.

    Attributes:
        estimator: the estimator.
        alpha: loads P/N.
        error: generalization error E[(teacher - student)^2] / 2 on labels without noise.
        overlap: v.w* / N of student v and teacher w*.
        norm: |v|^2 / N.
        training_error: half the mean squared residual on the training set, noisy labels.
        status: "exact" (an expectation at finite N), "asymptotic" (exact as N -> infinity) or "approximate".
        basis: one sentence that says why.
    """

    estimator: Estimator
    alpha: FloatArray = field(repr=False)
    error: FloatArray
    overlap: FloatArray = field(repr=False)
    norm: FloatArray = field(repr=False)
    training_error: FloatArray = field(repr=False)
    status: Status
    basis: str = field(repr=False)

    @property
    def cosine(self) -> FloatArray:
        """R = overlap / sqrt(norm), the cosine of student and teacher; zero where the norm diverges."""
        return np.asarray(self.overlap / np.sqrt(self.norm))

    @property
    def noisy_error(self) -> FloatArray:
        """Error against labels with noise, error + S / 2."""
        return self.error + self.estimator.label_noise / 2

    def to_frame(self) -> pd.DataFrame:
        """Return one row per load, the index, with the columns error, noisy_error, training_error, overlap, norm, cosine.

        >>> from bnlens.theory.generalization import Ridge
        >>> learning_curve(Ridge(decay=0.1), alpha=[1, 2]).to_frame().round(4)["error"].to_dict()
        {1.0: 0.0781, 2.0: 0.0061}
        """
        import pandas as pd

        columns = ("error", "noisy_error", "training_error", "overlap", "norm", "cosine")
        frame = pd.DataFrame({name: getattr(self, name) for name in columns}, index=pd.Index(self.alpha, name="alpha"))
        frame.attrs |= {"title": self.estimator.title, "status": self.status, "basis": self.basis}
        return frame

    @checked
    def plot(self, figure: Figure | None = None) -> Figure:
        """Draw the error over the load into a Plotly figure, a new one if none is given; dashed if only approximate."""
        from bnlens.render import dense

        dash = "dash" if self.status == "approximate" else "solid"
        curve = learning_curve(self.estimator, dense(self.alpha))
        return _draw(figure, f"{self.estimator.title} ({self.status})", curve.alpha, curve.error, dash=dash)


@dataclass(frozen=True)
class OptimalDecay:
    """The coefficient of least generalization error over the load.

    Attributes:
        estimator: the estimator that was tuned; its own coefficient plays no part.
        alpha: loads P/N.
        decay: best coefficient at each load, in the estimator's convention (lambda of the sum, or zeta).
        error: generalization error there.
        status: of the curve that was minimised.
    """

    estimator: Estimator
    alpha: FloatArray
    decay: FloatArray
    error: FloatArray
    status: Status

    def to_frame(self) -> pd.DataFrame:
        """Return one row per load, the index, with the columns decay and error."""
        import pandas as pd

        return pd.DataFrame({"decay": self.decay, "error": self.error}, index=pd.Index(self.alpha, name="alpha"))

    @checked
    def plot(self, figure: Figure | None = None) -> Figure:
        """Draw the least error over the load into a Plotly figure, a new one if none is given, each load marked."""
        return _draw(figure, f"best decay ({self.status})", self.alpha, self.error).update_traces(
            mode="lines+markers", selector=-1
        )


@checked
def learning_curve(estimator: Estimator, alpha: Loads) -> LearningCurve:
    """Return the generalization of an estimator over the load.

    Args:
        estimator: `LeastSquares`, `Ridge`, `WeightNormDecay`, `BatchNorm` or `ReluRidge`.
        alpha: loads alpha = P/N, training samples per input; a number or a list, in any order.

    Raises:
        UsageError: if a load is not positive, or the estimator has no solution there.

    >>> from bnlens.theory.generalization import Ridge
    >>> curve = learning_curve(Ridge(decay=0.1, label_noise=0.25), alpha=[0.5, 1.0, 2.0])
    >>> curve.error.round(4).tolist(), curve.status
    ([0.3298, 0.2206, 0.0963], 'asymptotic')
    """
    loads = np.asarray(alpha)
    found = vars(estimator.order_parameters(loads))
    return LearningCurve(estimator, loads, **found, status=estimator.status, basis=estimator.basis)


@checked
def optimal_decay(estimator: Estimator, alpha: Loads) -> OptimalDecay:
    """Return the coefficient of least generalization error, load by load.

    It is lambda = S for `Ridge` and the zeta that converts to it for `WeightNormDecay`, at every load; for `ReluRidge` it is
    searched for. Source: theory sheet C.2.

    Args:
        estimator: one with a coefficient; its present value plays no part.
        alpha: loads P/N.

    Raises:
        UsageError: if the estimator has no coefficient, a load is not positive, or labels without noise make the best
            coefficient zero.

    >>> from bnlens.theory.generalization import WeightNormDecay
    >>> best = optimal_decay(WeightNormDecay(zeta=1.0, label_noise=0.25), alpha=[1, 2])
    >>> best.decay.tolist(), best.error.round(4).tolist()
    ([0.125, 0.0625], [0.1952, 0.0877])
    """
    if not (hasattr(estimator, "best_decay") and hasattr(estimator, "with_decay")):
        raise UsageError(f"{type(estimator).__name__} has no decay to tune: use Ridge, WeightNormDecay or ReluRidge.")
    if estimator.label_noise == 0:
        raise UsageError("Without label noise the best decay is zero: give an estimator with label_noise > 0.")
    loads = np.asarray(alpha)
    decays = estimator.best_decay(loads)
    errors = [
        float(estimator.with_decay(float(decay)).order_parameters(np.array([load])).error[0])
        for decay, load in zip(decays, loads, strict=True)
    ]
    return OptimalDecay(estimator, loads, decays, np.array(errors), estimator.status)


def _draw(figure: Figure | None, name: str, alpha: FloatArray, error: FloatArray, **line: str) -> Figure:
    from bnlens import render

    figure = render.figure_or_new(figure, x="load α = P/N", y="generalization error")
    render.add_line(figure, name, alpha, error, **line)
    return figure
