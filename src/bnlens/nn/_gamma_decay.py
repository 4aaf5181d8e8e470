"""The paper's explicit regulariser: gamma decay."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnlens._arguments import checked
from bnlens.likelihood import curvature_root, terms_per_sample
from bnlens.nn._base import DialBatchNorm, Normalise
from bnlens.nn._regulariser import Regulariser
from bnlens.nn._statistics import BatchStatistics
from bnlens.nn._window import normalise_by_window
from bnlens.theory.zeta import zeta

__all__ = ["GammaDecay"]


class _Call(NamedTuple):
    """One use of a layer: gamma, the output, and of the normalised input its wide copy."""

    name: str
    gamma: Tensor | None
    output: Tensor
    normalised: Tensor


class GammaDecay(Regulariser):
    r"""The paper's gamma decay on population layers: :math:`\sum_c \zeta_c \gamma_c^2` over all channels and layers.

    .. math:: \zeta_c = \frac{1}{2M} \left( E[a_c^2]\, E[g_{\beta,c}^2] + E[q_c^2]\, E[g_{\gamma,c}^2] \right)

    with a and q the means over an image's pixels of xhat and (xhat^2 - 1) / 2, g the image's gradients of beta and gamma
    at outputs drawn from the model (the true Fisher matrix, by one more backward pass through the activations), and E
    the mean over the batch. Where an image is one value of Gaussian h this is the paper's coefficient,
    (rho + 2) I_gamma / (8M) + I_beta / (2M) (Theorem 1; theory sheet A.2). Zeta counts as a constant: the gradient of the
    penalty is 2 zeta gamma.

    It is here as the paper's baseline, not as a recommendation: where another normalization follows, the scale of gamma is
    free, and a detached penalty drives it towards zero instead of regularising as BN does. :class:`CurvaturePenalty` comes
    nearer. Measured use, cost and limits of both: docs/regularisers.md.

    Arguments and errors are those of :class:`bnlens.nn.Regulariser`.

    Attributes:
        zeta: of the last forward pass in training, (C,) by layer name, nats per sample.

    Example:
        >>> import bnlens.nn
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), bnlens.nn.PopulationBatchNorm1d(8), torch.nn.Linear(8, 3))
        >>> regularised = GammaDecay(model, 16)
        >>> output, penalty = regularised(torch.randn(32, 4))  # in place of output = model(...)
        >>> loss = torch.nn.functional.cross_entropy(output, torch.randint(3, (32,))) + penalty
    """

    zeta: dict[str, Tensor]

    @checked
    def __call__(self, *inputs: Any, **keywords: Any) -> tuple[Any, Tensor]:
        """Run the model and return its output and the penalty, nats per sample, a scalar; 0 in eval mode."""
        calls: list[_Call] = []
        with self._observed(lambda name, layer: _recording(name, layer, calls)):
            output = self.model(*inputs, **keywords)
        logits = self._logits(output)
        penalty = logits.new_zeros((), dtype=torch.promote_types(logits.dtype, torch.float32))
        if not calls:
            return output, penalty
        self.zeta = {}
        root = self._root(logits.detach())
        gradients = torch.autograd.grad(
            logits, [call.output for call in calls], root, retain_graph=True, allow_unused=True
        )
        for call, dy in zip(calls, gradients, strict=True):
            if dy is None:
                continue
            zeta = _zeta(call.normalised, dy.to(call.normalised.dtype)) / self.statistics_batch_size
            self.zeta[call.name] = self.zeta.get(call.name, 0) + zeta
            if call.gamma is not None:
                penalty = penalty + (zeta * call.gamma.to(zeta.dtype).square()).sum()
        return output, penalty

    def _root(self, logits: Tensor) -> Tensor:
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        signs = torch.randint(2, wide.shape, device=wide.device, dtype=torch.int8).to(wide) * 2 - 1
        scale = math.sqrt(terms_per_sample(wide, self.likelihood))  # the loss is the mean over a sample's outputs
        return (curvature_root(wide, signs, self.likelihood) / scale).to(logits.dtype)


def _recording(name: str, layer: DialBatchNorm, calls: list[_Call]) -> Normalise:
    def normalise(
        x: Tensor, weight: Tensor, bias: Tensor, eps: float, batch: BatchStatistics, window: Tensor
    ) -> Tensor:
        y = normalise_by_window(x, weight, bias, eps, batch, window)
        if not y.requires_grad:
            return y
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, variance = (row.view(shape) for row in window[:2])
        normalised = (x.detach().to(window.dtype) - mean) * (variance + eps).rsqrt()
        calls.append(_Call(name, layer.weight, y, normalised))
        return y

    return normalise


@torch.no_grad()
def _zeta(xhat: Tensor, dy: Tensor) -> Tensor:
    """Return M zeta, (C,): the Fisher information stands for the curvature."""
    xhat, dy = (t.flatten(2) if t.ndim > 2 else t.unsqueeze(2) for t in (xhat, dy))  # (N, C, pixels)
    a, q = xhat.mean(2), (xhat.square().mean(2) - 1) / 2
    g_beta, g_gamma = dy.sum(2), (dy * xhat).sum(2)
    result: Tensor = zeta(*(values.square().mean(0) for values in (a, q, g_beta, g_gamma)))
    return result
