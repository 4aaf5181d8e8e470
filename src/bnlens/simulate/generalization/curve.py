"""Simulated learning curves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bnlens._arguments import AtLeastTwo, Count, Seed, checked
from bnlens._progress import Counter, counter
from bnlens.errors import UsageError
from bnlens.simulate.generalization.fit import Start, fit_student
from bnlens.simulate.generalization.training_set import FloatArray, draw_training_set
from bnlens.theory.generalization import Estimator, Loads, ReluRidge

if TYPE_CHECKING:
    import pandas as pd

    from bnlens.render import Figure

__all__ = ["SimulatedCurve", "simulate_learning_curve"]

_COLUMNS = ("error", "overlap", "norm", "training_error")
_DIMENSION = 200
_MOST = 2**31


@dataclass(frozen=True)
class SimulatedCurve:
    """Generalization of trained students over the load; arrays are float64.

    Attributes:
        estimator: how they were trained.
        alpha: loads P/N, with P a whole number, (loads,).
        dimension: N.
        seed: seed of the training sets.
        error: generalization error on labels without noise, mean over runs, (loads,).
        error_stderr: standard error of that mean. Near alpha = 1 single runs are heavy-tailed: look at `run_errors`.
        overlap: v.w* / N, mean.
        overlap_stderr: its standard error.
        norm: |v|^2 / N, mean.
        norm_stderr: its standard error.
        training_error: half the mean squared residual on the training set, mean.
        training_error_stderr: its standard error.
        run_errors: generalization error of every run, (loads, runs).
    """

    estimator: Estimator
    alpha: FloatArray = field(repr=False)
    dimension: int
    seed: int
    error: FloatArray
    error_stderr: FloatArray
    overlap: FloatArray = field(repr=False)
    overlap_stderr: FloatArray = field(repr=False)
    norm: FloatArray = field(repr=False)
    norm_stderr: FloatArray = field(repr=False)
    training_error: FloatArray = field(repr=False)
    training_error_stderr: FloatArray = field(repr=False)
    run_errors: FloatArray = field(repr=False)

    @property
    def runs(self) -> int:
        """Training sets per load."""
        return int(self.run_errors.shape[1])

    def to_frame(self) -> pd.DataFrame:
        """Return one row per load, the index; a column that ends in ``_stderr`` is the error of the one before."""
        import pandas as pd

        columns = [name for column in _COLUMNS for name in (column, f"{column}_stderr")]
        return pd.DataFrame({name: getattr(self, name) for name in columns}, index=pd.Index(self.alpha, name="alpha"))

    @checked
    def plot(self, figure: Figure | None = None) -> Figure:
        """Draw the error over the load with error bars into a Plotly figure, a new one if none is given."""
        from bnlens import render

        figure = render.figure_or_new(figure, x="load α = P/N", y="generalization error")
        name = f"{self.estimator.title}, simulated at N = {self.dimension}"
        render.add_points(figure, name, self.alpha, self.error, self.error_stderr)
        return figure


@checked
def simulate_learning_curve(
    estimator: Estimator,
    alpha: Loads,
    *,
    dimension: Count | None = None,
    runs: AtLeastTwo = 20,
    seed: Seed = 0,
    start: Start = "small",
    epochs: Count = 200,
    progress: bool | Counter = False,
) -> SimulatedCurve:
    """Train students on drawn training sets and average their generalization over them.

    Training set and batches of run r at P samples follow from the seed, N, P and r alone: other loads, more runs or
    another order change nothing, and different estimators meet the same training sets. Runs come one after the other, so
    that memory holds one training set of P N numbers, and every estimator works on matrices that large.

    Args:
        estimator: of `bnlens.theory.generalization`; see `fit_student` for how each is trained.
        alpha: loads P/N, rounded to whole P.
        dimension: N, by default that of the estimator, or 200.
        runs: training sets per load, at least 2.
        seed: seed.
        start: where a ReLU student starts, "small" or "teacher".
        epochs: epochs of batches that the loss of `BatchNorm` is averaged over.
        progress: whether to show a progress bar on standard error, or a function called with (runs done, all runs).

    Raises:
        UsageError: for a load or size out of range, or a dimension other than the estimator's.

    >>> from bnlens.theory.generalization import Ridge, learning_curve
    >>> ridge = Ridge(decay=0.1, label_noise=0.25)
    >>> simulated = simulate_learning_curve(ridge, alpha=[0.5, 2.0], runs=10)
    >>> bool(np.all(np.abs(simulated.error - learning_curve(ridge, [0.5, 2.0]).error) < 4 * simulated.error_stderr))
    True
    """
    size = _dimension(estimator, dimension)
    loads = np.asarray(alpha)
    if (loads * size).max() > _MOST:
        raise UsageError(f"alpha has {loads.max():g} in it, more than {_MOST} training samples; give smaller loads")
    samples = np.maximum(np.rint(loads * size), 1).astype(int)
    teacher = estimator.teacher if isinstance(estimator, ReluRidge) else "linear"
    values = np.empty((len(_COLUMNS), len(samples), runs))
    with counter(estimator.title, progress is True) as bar:
        report = progress if callable(progress) else bar
        for index, P in enumerate(samples.tolist()):
            for run in range(runs):
                generator = np.random.default_rng([seed, size, P, run])
                data = draw_training_set(
                    samples=P, dimension=size, label_noise=estimator.label_noise, teacher=teacher, seed=generator
                )
                student = fit_student(estimator, data, seed=generator, start=start, epochs=epochs)
                found = (student.error(data), student.overlap(data.teacher), student.norm())
                values[:, index, run] = (*found, student.training_error(data))
                report(index * runs + run + 1, samples.size * runs)
    means, stderrs = values.mean(axis=2), values.std(axis=2, ddof=1) / np.sqrt(runs)
    columns = dict(zip(_COLUMNS, means, strict=True))
    columns |= {f"{name}_stderr": stderr for name, stderr in zip(_COLUMNS, stderrs, strict=True)}
    return SimulatedCurve(estimator, samples / size, size, seed, run_errors=values[0], **columns)


def _dimension(estimator: Estimator, dimension: int | None) -> int:
    own = getattr(estimator, "dimension", None)
    if own is not None and dimension is not None and own != dimension:
        raise UsageError(f"dimension={dimension} is not the estimator's {own}: give one of them.")
    size = dimension or own or _DIMENSION
    return int(size)
