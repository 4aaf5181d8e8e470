"""Training sets of a teacher and the students fitted to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bnlens._arguments import Count, NotNegative, Seed, checked
from bnlens.errors import UsageError
from bnlens.theory import rectified_product

__all__ = ["Activation", "Student", "TrainingSet", "draw_training_set"]

FloatArray = NDArray[np.float64]
Activation = Literal["linear", "relu"]

_FAR = 9.0  # standard deviations of a Gaussian that count


def _check_shape(name: str, array: FloatArray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise UsageError(f"{name} has shape {array.shape}; it must have {shape}")


@checked
@dataclass(frozen=True)
class TrainingSet:
    """Labels of a teacher on Gaussian inputs.

    Attributes:
        inputs: (P, N), entries of variance 1/N.
        targets: (P,), t = g(inputs @ teacher) + noise.
        teacher: (N,), of squared norm N exactly.
        label_noise: variance of the noise.
        teacher_activation: g, "linear" or "relu".
    """

    inputs: FloatArray
    targets: FloatArray
    teacher: FloatArray
    label_noise: NotNegative
    teacher_activation: Activation = "linear"

    def __post_init__(self) -> None:
        if self.inputs.ndim != 2:
            raise UsageError(f"inputs has shape {self.inputs.shape}; it must have two dimensions, (P, N)")
        _check_shape("targets", self.targets, self.inputs.shape[:1])
        _check_shape("teacher", self.teacher, self.inputs.shape[1:])

    @property
    def samples(self) -> int:
        """P."""
        return len(self.targets)

    @property
    def dimension(self) -> int:
        """N."""
        return len(self.teacher)

    def centred(self) -> TrainingSet:
        """Return the set with the means taken off inputs and targets: least squares on it has an intercept fitted too."""
        return replace(self, inputs=self.inputs - self.inputs.mean(axis=0), targets=self.targets - self.targets.mean())


@dataclass(frozen=True)
class Student:
    """A trained unit, output g(v.x + intercept).

    Attributes:
        weights: v, (N,).
        intercept: added to v.x; zero but for batch normalization.
        activation: g, "linear" or "relu".
        gradient: largest entry of the gradient where the optimiser stopped, in its own coordinates; zero for a direct
            solution. ReLU students come to rest on kinks of their loss, where it does not vanish.
    """

    weights: FloatArray
    intercept: float = 0.0
    activation: Activation = "linear"
    gradient: float = 0.0

    @checked
    def outputs(self, inputs: FloatArray) -> FloatArray:
        """Return the outputs (P,) on inputs (P, N)."""
        _check_shape("inputs", inputs, (*inputs.shape[:1], len(self.weights)))
        fields = inputs @ self.weights + self.intercept
        return np.maximum(fields, 0) if self.activation == "relu" else fields

    def norm(self) -> float:
        """|v|^2 / N."""
        return float(self.weights @ self.weights / len(self.weights))

    @checked
    def overlap(self, teacher: FloatArray) -> float:
        """v.w* / N."""
        _check_shape("teacher", teacher, self.weights.shape)
        return float(self.weights @ teacher / len(teacher))

    @checked
    def training_error(self, data: TrainingSet) -> float:
        """Half the mean squared residual on the training set."""
        return float(np.mean((data.targets - self.outputs(data.inputs)) ** 2) / 2)

    @checked
    def error(self, data: TrainingSet) -> float:
        """Generalization error E[(teacher - student)^2] / 2 on labels without noise, exact for Gaussian inputs.

        Raises:
            UsageError: a linear student of a ReLU teacher, or a ReLU student with an intercept of a linear one.
        """
        norm, overlap = self.norm(), self.overlap(data.teacher)
        if self.activation == "linear":
            if data.teacher_activation == "relu":
                raise UsageError("A linear student of a ReLU teacher has no error here: use a linear teacher.")
            return (1 + norm - 2 * overlap + self.intercept**2) / 2
        cosine = float(np.clip(overlap / np.sqrt(norm), -1, 1)) if norm > 0 else 0.0
        if data.teacher_activation == "relu":
            square, product = _rectified_moments(norm, cosine, self.intercept)
            return (0.5 + square - 2 * product) / 2
        if self.intercept:
            raise UsageError(
                f"A ReLU student with intercept={self.intercept:g} of a linear teacher has no error here: set it to zero."
            )
        return (1 + norm / 2 - overlap) / 2


def _rectified_moments(norm: float, cosine: float, intercept: float) -> tuple[float, float]:
    """Return E y+^2 and E u+ y+ of a Gaussian y = sqrt(norm) z + intercept and a standard Gaussian u, of that cosine with z."""
    length = np.sqrt(norm)
    if not intercept:
        return norm / 2, float(length * rectified_product(cosine))
    first = float(np.clip(-intercept / length, -_FAR, _FAR)) if length > 0 else -np.copysign(_FAR, intercept)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    z = first + (_FAR - first) * (nodes + 1) / 2  # where y is positive
    mass = weights * (_FAR - first) / 2 * _density(z)
    y, mean, spread = length * z + intercept, cosine * z, max(np.sqrt(1 - cosine**2), 1e-12)
    given = mean * ndtr(mean / spread) + spread * _density(mean / spread)  # E u+ at this z
    return float(mass @ y**2), float(mass @ (y * given))


def _density(z: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))


@checked
def draw_training_set(
    *,
    samples: Count,
    dimension: Count,
    label_noise: NotNegative = 0.0,
    teacher: Activation = "linear",
    seed: Seed | np.random.Generator = 0,
) -> TrainingSet:
    """Draw inputs x ~ N(0, I/N), a teacher of squared norm N in a random direction, and labels t = g(w*.x) + s.

    Args:
        samples: P >= 1.
        dimension: N >= 1.
        label_noise: variance of s.
        teacher: activation g of the teacher.
        seed: seed or generator.

    Raises:
        UsageError: for a size below 1, a negative label noise or an unknown teacher.

    >>> data = draw_training_set(samples=30, dimension=20, label_noise=0.25)
    >>> data.inputs.shape, round(float(data.teacher @ data.teacher), 9)
    ((30, 20), 20.0)
    """
    generator = np.random.default_rng(seed)
    direction = generator.standard_normal(dimension)
    weights = direction * np.sqrt(dimension) / np.linalg.norm(direction)
    inputs = generator.standard_normal((samples, dimension)) / np.sqrt(dimension)
    fields = inputs @ weights
    clean = np.maximum(fields, 0) if teacher == "relu" else fields
    targets = clean + np.sqrt(label_noise) * generator.standard_normal(samples)
    return TrainingSet(inputs, targets, weights, float(label_noise), teacher)
