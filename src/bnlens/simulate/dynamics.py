"""Online training of students of finite size, to hold the equations of `bnlens.theory.dynamics` against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from bnlens._arguments import AtLeastTwo, Seed, checked
from bnlens.errors import UsageError
from bnlens.simulate._students import Float32Array, FloatArray, Students
from bnlens.theory.dynamics import COLUMNS, System, generalization_error

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from bnlens.render import Figure

__all__ = ["SimulatedTrajectory", "simulate_dynamics"]

_BLOCK_VALUES = 2**15  # random numbers that one run draws at a time
_GROUP_VALUES = 2**25  # and all runs that are trained together


@dataclass(frozen=True)
class SimulatedTrajectory:
    """Order parameters of students of N weights: means over independent runs, with their standard errors.

    Attributes:
        system: how they were trained.
        size: N.
        runs: how many.
        seed: of the random numbers.
        tau: (T,), times, whole numbers of steps over N.
        gamma: (T,), output scale.
        R: (T,), overlap of student and teacher.
        L: (T,), norm |w| / sqrt(N).
        generalization_error: (T,), against clean labels, with population statistics, from each run's gamma and R.
        gamma_stderr: (T,), standard error of the mean of gamma; likewise the next three.
        R_stderr: (T,).
        L_stderr: (T,).
        generalization_error_stderr: (T,).
    """

    system: System
    size: int
    runs: int
    seed: int
    tau: FloatArray
    gamma: FloatArray
    R: FloatArray
    L: FloatArray
    generalization_error: FloatArray
    gamma_stderr: FloatArray
    R_stderr: FloatArray
    L_stderr: FloatArray
    generalization_error_stderr: FloatArray

    def to_frame(self) -> pd.DataFrame:
        """Return one row per time, indexed by tau; columns end in ``_stderr`` where they are standard errors."""
        import pandas as pd

        names = [name for base in COLUMNS for name in (base, f"{base}_stderr")]
        columns = {name: getattr(self, name) for name in names}
        return pd.DataFrame(columns, index=pd.Index(self.tau, name="tau"))

    @checked
    def plot(self, figure: Figure | None = None) -> Figure:
        """Draw the order parameters over tau with error bars into a Plotly figure, a new one if none is given."""
        from bnlens import render

        figure = render.figure_or_new(figure, x="tau = steps / N", y="order parameter")
        for (name, label), color in zip(COLUMNS.items(), render.PALETTE, strict=False):
            stderr = getattr(self, f"{name}_stderr")
            render.add_points(figure, f"{label}, N = {self.size}", self.tau, getattr(self, name), stderr, color=color)
        return figure


@checked
def simulate_dynamics(
    system: System,
    tau: ArrayLike,
    *,
    gamma: float | None = None,
    R: float = 0.0,
    L: float = 1.0,
    freeze_norm: bool = False,
    size: AtLeastTwo = 1000,
    runs: AtLeastTwo = 16,
    seed: Seed = 0,
    progress: Callable[[int, int], object] | None = None,
) -> SimulatedTrajectory:
    """Train students on a teacher, each step on new samples, and record their order parameters.

    Weight vectors of N components learn from Gaussian inputs by the algorithm itself; BN with statistics and backward pass
    of each batch. Expected distance to the equations: of the order 1/N, besides the standard error. Every run starts at
    exactly the given order parameters, in a random direction. Memory does not grow with tau: inputs are drawn in
    blocks, in float32.

    Args:
        system: one of `bnlens.theory.dynamics`, with its rates and batch size.
        tau: (T,), times to record, increasing, from 0 on; rounded to whole steps.
        gamma: output scale at the start; 1 if not given. `SGD` has none.
        R: overlap at the start, in [-1, 1].
        L: norm |w| / sqrt(N) at the start.
        freeze_norm: whether |w| is restored after each step.
        size: N, well above the batch size.
        runs: independent students, 2 or more; run k draws the same numbers whatever the number of runs.
        seed: seed of all runs, 0 or more.
        progress: is called with the steps done and the steps to do, all runs counted, after each block.

    Raises:
        UsageError: for a start, times or sizes that are not possible, or weights that grow without bound.

    Source: theory sheet B.0.

    >>> from bnlens.theory.dynamics import BatchNorm
    >>> system = BatchNorm(unit="linear", learning_rate=1.0, batch_size=8, label_noise=0.25)
    >>> simulated = simulate_dynamics(system, [4], gamma=0.3, R=0.2, size=200, runs=8)
    >>> expected = system.solve([4], gamma=0.3, R=0.2)
    >>> bool(abs(simulated.R - expected.R)[0] < 3 * simulated.R_stderr[0] + 2 / 200)
    True
    """
    start = system.start(gamma, R, L, freeze_norm=freeze_norm)
    steps = np.rint(system.times(tau) * size).astype(np.int64)
    if np.any(np.diff(steps) <= 0):
        raise UsageError(f"tau has times less than one step, 1/{size}, apart: record fewer or raise size.")

    together = max(1, min(runs, _GROUP_VALUES // max(_BLOCK_VALUES, system.batch_size * size)))
    groups = [range(first, min(first + together, runs)) for first in range(0, runs, together)]

    def train(group: range) -> FloatArray:
        """Train some runs; return (gamma, R, L) of all at each recorded step, (times, 3, runs)."""
        gamma, R, L = start
        draws = _Draws(seed, group, system.batch_size, size, noisy=system.label_noise > 0)
        students = Students(system, draws.weights(R, L), gamma, freeze_norm=freeze_norm)
        rows, taken = [], 0
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # divergence is found at the end
            for target in steps.tolist():
                while taken < target:
                    block = min(draws.block, target - taken)
                    inputs, noise = draws.samples(block)
                    for index in range(block):
                        students.step(inputs[:, index], None if noise is None else noise[:, index])
                    taken += block
                    if progress is not None:
                        progress(group.start * int(steps[-1]) + taken * len(group), runs * int(steps[-1]))
                rows.append([students.gamma, students.overlap, students.norm])
        return np.array(rows)

    values = np.concatenate([train(group) for group in groups], axis=2)  # (times, order parameters, runs)
    if not np.all(np.isfinite(values)):
        raise UsageError(
            f"{type(system).__name__} with learning_rate={system.learning_rate} diverges before tau={steps[-1] / size:g}: "
            "use a smaller learning rate or end earlier."
        )
    # max(-y, 0) is the rectifier of the opposite direction
    signs = np.where(values[:, 0] < 0, -1.0, 1.0) if system.unit == "relu" else np.ones_like(values[:, 0])
    error = generalization_error(system.unit, signs * values[:, 0], signs * values[:, 1])
    means, stderrs = {}, {}
    for name, value in zip(COLUMNS, (*np.moveaxis(values, 1, 0), error), strict=True):
        means[name] = value.mean(axis=1)
        stderrs[f"{name}_stderr"] = value.std(axis=1, ddof=1) / np.sqrt(runs)
    return SimulatedTrajectory(system, int(size), int(runs), int(seed), steps / size, **means, **stderrs)


class _Draws:
    """The random numbers of some runs, each from its own generator, in buffers that are used again.

    PyTorch draws float32 Gaussians three times as fast as NumPy on one core.
    """

    def __init__(self, seed: int, group: range, batch_size: int, size: int, *, noisy: bool) -> None:
        import torch

        self.block = max(1, _BLOCK_VALUES // (batch_size * size))
        self._generators = [
            torch.Generator().manual_seed(int(np.random.SeedSequence([seed, run]).generate_state(1)[0]))
            for run in group
        ]
        self._size = size
        self._inputs = torch.empty(len(group), self.block, batch_size, size)
        self._noise = torch.empty(len(group), self.block, batch_size) if noisy else None

    def weights(self, R: float, L: float) -> Float32Array:
        """Weights (runs, N) of norm L sqrt(N) and overlap R with the first axis, the rest of them random."""
        import torch

        rest = torch.stack(
            [torch.randn(self._size - 1, generator=generator) for generator in self._generators]
        ).double()
        rest *= np.sqrt(1 - R**2) / rest.norm(dim=1, keepdim=True)
        weights = torch.cat([torch.full((len(rest), 1), R, dtype=torch.float64), rest], dim=1)
        return np.asarray((L * np.sqrt(self._size) * weights).float().numpy())

    def samples(self, steps: int) -> tuple[Float32Array, Float32Array | None]:
        """Inputs (runs, steps, M, N) and label noise (runs, steps, M), valid until the next call."""
        inputs = self._filled(self._inputs, steps)
        return inputs, None if self._noise is None else self._filled(self._noise, steps)

    def _filled(self, buffer: torch.Tensor, steps: int) -> Float32Array:
        for values, generator in zip(buffer, self._generators, strict=True):
            values[:steps].normal_(generator=generator)
        return np.asarray(buffer[:, :steps].numpy())
