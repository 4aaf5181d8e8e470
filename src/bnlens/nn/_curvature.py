"""The explicit regulariser that behaves like batch normalization: a curvature penalty."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.utils import _pytree as pytree

from bnlens._arguments import checked
from bnlens.errors import ModelError
from bnlens.likelihood import curvature_form
from bnlens.nn._base import DialBatchNorm, Normalise
from bnlens.nn._regulariser import Regulariser
from bnlens.nn._statistics import BatchStatistics

__all__ = ["CurvaturePenalty"]


class CurvaturePenalty(Regulariser):
    r"""The Gauss-Newton form of the statistics' noise, for population layers: what BN over M samples adds to the loss.

    .. math:: \tfrac{1}{2}\, E_i\, E_\epsilon \left[ u_i^T H_i u_i \right], \qquad u_i = J_i \epsilon

    where epsilon is the change of (beta, gamma) of *all* layers that the statistics of M random samples make,
    (-gamma A, -gamma Q) with A and Q averages of a and q (means over an image's pixels of xhat and (xhat^2 - 1) / 2) over
    these samples (theory sheet D.1, D.2), J_i the Jacobian of the logits of sample i, and H_i the Hessian of the loss in
    them. One draw per forward pass takes random signs for the images at hand, the same in all layers, so that the
    covariance of epsilon is 1/M times theirs between channels and layers; u comes from forward-mode differentiation
    alongside the forward pass. A and Q count as constants, gamma, the Jacobian and H do not.

    A later layer answers an upstream shift that is common to the batch by taking it out again, as BN does: its tangent passes
    through the normalisation by the batch. Without that the penalty would count noise that BN cancels.

    Measured use, cost and limits: docs/regularisers.md. The model must run under forward-mode differentiation, which
    convolutions, linear layers and common activations do; BN layers of `bnlens.nn` below infinity do not. Its forward pass
    is in the precision of its weights, also under autocast.

    Arguments and errors are those of :class:`bnlens.nn.Regulariser`.

    Raises:
        ModelError: (when called) the model has an operation that forward-mode differentiation does not know.

    Example:
        >>> import bnlens.nn
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), bnlens.nn.PopulationBatchNorm1d(8), torch.nn.Linear(8, 3))
        >>> regularised = CurvaturePenalty(model, 16)
        >>> output, penalty = regularised(torch.randn(32, 4))  # in place of output = model(...)
        >>> loss = torch.nn.functional.cross_entropy(output, torch.randint(3, (32,))) + penalty
    """

    @checked
    def __call__(self, *inputs: Any, **keywords: Any) -> tuple[Any, Tensor]:
        """Run the model and return its output and the penalty, nats per sample, a scalar; 0 in eval mode."""
        noise = _Noise(self.statistics_batch_size)
        device = next(iter(self.layers.values())).skipped_batches.device
        with _forward_mode(device), self._observed(noise.enter):
            try:
                output = self.model(*inputs, **keywords)
            except (RuntimeError, NotImplementedError) as error:
                if "forward AD" not in str(error) and "forward mode AD" not in str(error):
                    raise
                raise ModelError(
                    f"{type(self.model).__name__} cannot be differentiated forward ({str(error).splitlines()[0]}); leave "
                    "the operation out of the model, or use GammaDecay"
                ) from error
            logits, tangent = forward_ad.unpack_dual(self._logits(output))  # type: ignore[no-untyped-call]
            output = pytree.tree_map(_primal, output)
        wide = torch.promote_types(logits.dtype, torch.float32)
        if tangent is None:
            return output, logits.new_zeros((), dtype=wide)
        return output, curvature_form(logits.to(wide), tangent.to(wide), self.likelihood).mean() / 2


@contextmanager
def _forward_mode(device: torch.device) -> Iterator[None]:
    """Enter forward-mode differentiation, in full precision: torch's rules for it mix precisions under autocast."""
    with warnings.catch_warnings(), torch.autocast(device.type, enabled=False), forward_ad.dual_level():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)  # by these rules
        yield


class _Noise:
    """One draw of the statistics' noise, of M samples, the same images in all layers."""

    def __init__(self, statistics_batch_size: int) -> None:
        self.statistics_batch_size = statistics_batch_size
        self._weights: dict[int, Tensor] = {}  # by number of images

    def enter(self, name: str, layer: DialBatchNorm) -> Normalise:
        return self.normalise

    def normalise(
        self, x: Tensor, weight: Tensor, bias: Tensor, eps: float, batch: BatchStatistics, window: Tensor
    ) -> Tensor:
        """Normalise by the window, as without a penalty, and carry the tangent."""
        invstd = (window[1] + eps).rsqrt()
        r, d = (batch.variance + eps).sqrt() * invstd, (batch.mean - window[0]) * invstd
        a, q = _image_statistics(_primal(x), window[0], invstd)
        images = self._weights_of(len(a), a)
        A, Q = images @ a, images @ q
        gamma = forward_ad.make_dual(weight, -weight * Q)  # type: ignore[no-untyped-call]
        beta = forward_ad.make_dual(bias, -weight * A)  # type: ignore[no-untyped-call]
        return torch.batch_norm(
            x, gamma * r, beta + gamma * d, None, None, True, 0.0, eps, torch.backends.cudnn.enabled
        )

    def _weights_of(self, images: int, like: Tensor) -> Tensor:
        """Return random signs over sqrt(images M), whose sum over images has 1/M of an image's covariance."""
        if images not in self._weights:
            signs = torch.randint(2, (images,), device=like.device, dtype=torch.int8).to(like) * 2 - 1
            self._weights[images] = signs / math.sqrt(images * self.statistics_batch_size)
        return self._weights[images]


@torch.no_grad()
def _image_statistics(x: Tensor, mean: Tensor, invstd: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means over each image's pixels of xhat and (xhat^2 - 1) / 2, (N, C)."""
    pixels = (x.flatten(2) if x.ndim > 2 else x.unsqueeze(2)).to(mean.dtype)
    xhat = (pixels - mean.view(-1, 1)) * invstd.view(-1, 1)
    return xhat.mean(2), (xhat.square().mean(2) - 1) / 2


def _primal(leaf: Any) -> Any:
    return forward_ad.unpack_dual(leaf).primal if isinstance(leaf, Tensor) else leaf  # type: ignore[no-untyped-call]
