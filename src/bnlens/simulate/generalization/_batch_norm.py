"""A linear unit with true batch normalization, trained to the stationary point of its loss over batches."""

from __future__ import annotations

import numpy as np

from bnlens.errors import UsageError
from bnlens.simulate.generalization._descent import descend
from bnlens.simulate.generalization.training_set import FloatArray, Student, TrainingSet

__all__ = ["BatchLoss", "fit_batch_norm"]

_CHUNK = 1 << 17  # samples of the batches held at once
_RANK = 1e-10


class BatchLoss:
    """E over batches of mean (t - gamma zh - beta)^2 / 2 with zh = (z - m)/S, minimised over gamma and beta.

    Every batch has mean zh = 0 and mean zh^2 = 1 exactly, so that beta = E t, gamma = J := E mean(t zh) and the loss is
    [E t^2 - beta^2 - J^2] / 2: only J depends on the fields z = X w. The batches are drawn once, so that J is a smooth
    function; how much it still hangs on them falls as one over the number of epochs.

    Args:
        targets: t, (P,).
        batch_size: M.
        replacement: whether batches are drawn with replacement; else epochs are shuffled and an incomplete last batch
            is left out.
        epochs: epochs to draw.
        generator: draws them.
    """

    def __init__(
        self, targets: FloatArray, *, batch_size: int, replacement: bool, epochs: int, generator: np.random.Generator
    ) -> None:
        samples, used = len(targets), len(targets) // batch_size * batch_size
        if used == 0:
            raise UsageError(f"batch_size={batch_size} exceeds the {samples} training samples: use a smaller batch.")
        if replacement:
            order = generator.integers(samples, size=(epochs, used), dtype=np.int32)
        else:
            order = generator.permuted(np.tile(np.arange(samples, dtype=np.int32), (epochs, 1)), axis=1)[:, :used]
        self._targets = targets
        self._batches = order.reshape(-1, batch_size)
        self.beta = float(np.mean(targets[self._batches]))

    def gamma(self, fields: FloatArray) -> tuple[float, FloatArray]:
        """Return J at fields z (P,) and its gradient in z, which is that of batch normalization's backward pass."""
        total, gradient = 0.0, np.zeros_like(fields)
        count, rows = self._batches.size, max(1, _CHUNK // self._batches.shape[1])
        for start in range(0, len(self._batches), rows):
            batch = self._batches[start : start + rows]
            z, t = fields[batch], self._targets[batch]
            centred = z - z.mean(axis=1, keepdims=True)
            std = np.sqrt(np.mean(centred**2, axis=1, keepdims=True))
            normalised = centred / std
            t = t - t.mean(axis=1, keepdims=True)
            slope = np.mean(t * normalised, axis=1, keepdims=True)
            total += float(slope.sum()) * batch.shape[1]
            back = (t - normalised * slope) / std
            gradient += np.bincount(batch.ravel(), weights=back.ravel(), minlength=len(fields))
        return total / count, gradient / count


def fit_batch_norm(
    data: TrainingSet, *, batch_size: int, replacement: bool, epochs: int, generator: np.random.Generator
) -> Student:
    """Minimise the expected loss over batches and return the unit with the statistics of the whole training set.

    The loss depends on w through the centred fields alone, whatever the conditioning of the inputs, and its gradient in w
    lies in the row space of the centred inputs Xc, where descent from small weights stays. In coordinates c with Xc w = U c,
    the columns of U orthonormal, its Hessian is near isotropic, and descent converges in tens of steps where descent in w
    takes 1e4 near P = N. The start is w = Xc^T t, the first step of gradient descent without normalization.
    The other arguments are those of `BatchLoss`.
    """
    batch_loss = BatchLoss(
        data.targets, batch_size=batch_size, replacement=replacement, epochs=epochs, generator=generator
    )
    inputs = data.centred().inputs
    U, spectrum, Vt = np.linalg.svd(inputs, full_matrices=False)
    kept = spectrum > _RANK * spectrum[0]  # centring takes one direction away when P <= N
    U, spectrum, Vt = U[:, kept], spectrum[kept], Vt[kept]
    scale = np.sqrt(data.samples)

    def loss(place: FloatArray) -> tuple[float, FloatArray]:
        gamma, gradient = batch_loss.gamma(scale * (U @ place))
        return -gamma, -scale * (U.T @ gradient)

    start = spectrum**2 * (U.T @ data.targets)
    place, gradient = descend(loss, start / np.linalg.norm(start), tolerance=1e-8, steps=2_000)
    fields = scale * (U @ place)
    gamma, _ = batch_loss.gamma(fields)
    weights = scale * (Vt.T @ (place / spectrum)) * gamma / fields.std()
    intercept = batch_loss.beta - data.inputs.mean(axis=0) @ weights
    return Student(weights, intercept=float(intercept), gradient=gradient)
