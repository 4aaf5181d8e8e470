"""Students of finite size: one step of each way of training, for many runs at once.

Everything here is the algorithm as it would be written down for a network, on real weight vectors: activations, losses and
backward passes. No average of the theory enters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bnlens.errors import UsageError
from bnlens.theory.dynamics import SGD, BatchNorm, GammaDecay, System, WeightNorm

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]


class Students:
    """The weights and gammas of some runs, float32 weights with the teacher along their first axis.

    Inputs are isotropic, so the teacher's direction is free: w* = sqrt(N) times the first unit vector, and the teacher's
    field is the first component of a standardised input.

    Args:
        system: how they are trained.
        weights: (runs, N), changed in place.
        gamma: gamma at the start; ignored by `SGD`.
        freeze_norm: whether the norm at the start is restored after each step.

    Raises:
        UsageError: if it is unknown how to train the system.
    """

    def __init__(self, system: System, weights: Float32Array, gamma: float, *, freeze_norm: bool = False) -> None:
        rules = {
            SGD: self._plain,
            WeightNorm: self._weight_norm,
            GammaDecay: self._weight_norm,
            BatchNorm: self._batch_norm,
        }
        if type(system) not in rules:
            raise UsageError(f"No simulation is known for {type(system).__name__}: use one of bnlens.theory.dynamics.")
        self._rule = rules[type(system)]
        self._system, self._weights, self._gamma = system, weights, np.full(len(weights), gamma)
        self._rate = system.learning_rate / system.batch_size
        self._zeta = system.zeta if isinstance(system, GammaDecay) else 0.0
        self._rectified = system.unit == "relu"
        self._noise = np.sqrt(system.label_noise)
        self._kept_norm = self.norm if freeze_norm else None

    @property
    def gamma(self) -> FloatArray:
        """(runs,), output scale; of plain SGD the norm."""
        return self.norm if self._system.tied else self._gamma.copy()

    @property
    def norm(self) -> FloatArray:
        """(runs,), L = |w| / sqrt(N)."""
        square = np.matmul(self._weights[:, None, :], self._weights[:, :, None])[:, 0, 0]
        return np.asarray(np.sqrt(square.astype(np.float64) / self._weights.shape[1]))

    @property
    def overlap(self) -> FloatArray:
        """(runs,), R, the cosine of the angle between student and teacher."""
        return np.asarray(np.clip(self._weights[:, 0] / (self.norm * np.sqrt(self._weights.shape[1])), -1, 1))

    def step(self, inputs: Float32Array, noise: Float32Array | None) -> None:
        """Take one step on new samples.

        Args:
            inputs: (runs, M, N), standard Gaussian; the inputs of the theory times sqrt(N).
            noise: (runs, M), standard Gaussian label noise, or None without.
        """
        fields = np.matmul(inputs, self._weights[:, :, None])[:, :, 0].astype(np.float64) / np.sqrt(inputs.shape[2])
        labels = inputs[:, :, 0].astype(np.float64)
        if self._rectified:
            labels = np.maximum(labels, 0)
        if noise is not None:
            labels = labels + self._noise * noise
        push = self._rule(fields, labels) / np.sqrt(inputs.shape[2])
        self._weights += np.matmul(push.astype(np.float32)[:, None, :], inputs)[:, 0]
        if self._kept_norm is not None:
            self._weights *= (self._kept_norm / self.norm).astype(np.float32)[:, None]

    # Each rule takes w . x (runs, M) and labels, moves gamma, and returns by how much of each input to move the weights.

    def _plain(self, fields: FloatArray, labels: FloatArray) -> FloatArray:
        return self._rate * self._errors(fields, labels)

    def _weight_norm(self, fields: FloatArray, labels: FloatArray) -> FloatArray:
        norm, gamma, size = self.norm[:, None], self._gamma[:, None], self._weights.shape[1]
        z = fields / norm
        delta = self._errors(gamma * z, labels)
        push = self._rate * gamma / norm * delta
        slope = np.sum(delta * z, axis=1)
        # dz/dw = x/L - z w/(N L^2): the part along w
        self._weights *= (1 - self._rate * self._gamma * slope / (size * norm[:, 0] ** 2)).astype(np.float32)[:, None]
        self._gamma += (self._rate * slope - 2 * self._system.learning_rate * self._zeta * self._gamma) / size
        return push

    def _batch_norm(self, fields: FloatArray, labels: FloatArray) -> FloatArray:
        size, gamma = fields.shape[1], self._gamma[:, None]
        centred = fields - fields.sum(axis=1, keepdims=True) / size
        deviation = np.sqrt(np.sum(centred**2, axis=1, keepdims=True) / size)
        normalised = centred / deviation
        delta = self._errors(gamma * normalised, labels)
        slope = np.sum(delta * normalised, axis=1, keepdims=True)
        through = delta - delta.sum(axis=1, keepdims=True) / size - normalised * slope / size
        push: FloatArray = self._rate * gamma / deviation * through
        self._gamma += self._rate * slope[:, 0] / self._weights.shape[1]
        return push

    def _errors(self, outputs: FloatArray, labels: FloatArray) -> FloatArray:
        """Minus the gradient of (label - g(y))^2 / 2 in the pre-activation y."""
        if not self._rectified:
            return labels - outputs
        return np.where(outputs > 0, labels - outputs, 0.0)
