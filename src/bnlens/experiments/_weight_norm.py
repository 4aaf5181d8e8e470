r"""Weight normalization in place of batch normalization, alone or with the noise of one batch statistic.

A layer of directions v, (C, ...), with gain g and bias b, (C,), computes per channel, from h = v.x / \|v\| (Salimans and Kingma
2016, arXiv 1602.07868),

- y = g h + b: weight normalization;
- y = g (h - mu_B) + b with noise ``"mean"``: their mean-only batch normalization;
- y = g (h + b) / sqrt(sigma_B^2 + eps) with noise ``"std"``: variance-only batch normalization.

In training mu_B and sigma_B^2 (biased, around mu_B) are over the pixels of a group of M samples and carry their gradient, in
evaluation they are the population's. With both at once it would be batch normalization over M, which is blind to the norm of v.
The gain comes after the statistic, where sigma_B cannot divide it out, and like gamma it is not decayed. The bias comes after
mu_B, which would take it away, and before sigma_B: the noise then scales the deviation from a centre, as that of batch
normalization does, and not the mean of h, which can be many standard deviations.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from bnlens.errors import UsageError
from bnlens.moments import Moments
from bnlens.train import ImageData, evaluate

__all__ = ["WeightNormGain", "settle_statistics", "use_weight_norm"]


class _Direction(nn.Module):
    """Makes v, (C, ...), a weight of norm 1 for each output channel."""

    def forward(self, v: Tensor) -> Tensor:
        """Return v over its norm."""
        return nn.functional.normalize(v.flatten(1)).view_as(v)


class WeightNormGain(nn.Module):
    """Gain and bias of a weight-normalised layer, behind a statistic of groups of M samples; see the module.

    Args:
        num_features: C.
        noise: ``"mean"``, ``"std"``, or None for weight normalization alone.
        M: samples per group; groups differ by at most one sample where M does not divide the batch. None without noise.
        eps: added to variances.
        momentum: of the running statistics.

    Shape:
        Input and output (N, C) or (N, C, ...).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, num_features: int, *, noise: str | None, M: int | None, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.noise, self.M, self.eps, self.momentum = noise, M, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, h: Tensor) -> Tensor:
        """Return y."""
        gain: Tensor = self.weight
        bias: Tensor = self.bias
        if self.noise is not None:
            mean, variance = self._of_groups(h) if self.training else (self.running_mean, self.running_var)
            if self.noise == "mean":
                bias = bias - gain * mean
            else:
                gain = gain / (variance + self.eps).sqrt()
                bias = gain * bias
        values = h.reshape(*h.shape[:2], -1)
        return (gain.unsqueeze(-1) * values + bias.unsqueeze(-1)).reshape(h.shape)

    def _of_groups(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance of each sample's group, (N, C), and update the running statistics."""
        assert self.M is not None  # noqa: S101 - noise has an M
        values = h.reshape(*h.shape[:2], -1)  # (N, C, pixels)
        groups = max(1, (2 * len(h) + self.M) // (2 * self.M))
        mean = _group_means(values.mean(2), groups)
        variance = _group_means((values - mean.unsqueeze(2)).square().mean(2), groups)
        with torch.no_grad():
            self.running_mean.lerp_(mean.mean(0), self.momentum)
            self.running_var.lerp_(variance.mean(0) + mean.var(0, correction=0), self.momentum)
        return mean, variance

    @torch.no_grad()
    def start(self) -> None:
        """Set gain and bias so that y is h normalised by the running statistics."""
        std = (self.running_var + self.eps).sqrt()
        if self.noise == "std":
            self.bias.copy_(-self.running_mean)
        else:
            self.weight.copy_(1 / std)
        if self.noise is None:
            self.bias.copy_(-self.running_mean / std)

    def extra_repr(self) -> str:
        """Return the layer's arguments."""
        return f"{len(self.bias)}, noise={self.noise}, M={self.M}, eps={self.eps}, momentum={self.momentum}"


def use_weight_norm(model: nn.Module, noise: str | None, M: int | None) -> None:
    """Give the layer before each BN layer weights of norm 1, and replace the BN layer by a `WeightNormGain`, in place.

    Args:
        model: a net whose BN layers each follow a convolution or linear layer in an ``nn.Sequential``.
        noise: see `WeightNormGain`.
        M: likewise.

    Raises:
        UsageError: the net is another one.
    """
    for chain in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for index, (layer, norm) in enumerate(pairwise(chain), start=1):
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and isinstance(norm, _BatchNorm):
                parametrize.register_parametrization(layer, "weight", _Direction())
                chain[index] = WeightNormGain(norm.num_features, noise=noise, M=M)
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise UsageError(
            f"{type(model).__name__} has BN layers that do not follow a convolution or linear layer in an nn.Sequential, "
            "so that weight normalization cannot take their place; use a plain net, such as 'cnn-fc'"
        )


def settle_statistics(model: nn.Module, images: ImageData, *, start: bool = False) -> None:
    """Set the running statistics to the population's at the present weights, layer after layer, as `bnlens.recalibrate` does.

    Args:
        model: of :func:`use_weight_norm`.
        images: the population.
        start: whether to set each layer's gain and bias, too, see `WeightNormGain.start`, before the next layer's turn.
    """
    for layer in model.modules():
        if isinstance(layer, WeightNormGain):
            moments = Moments(len(layer.bias))

            def add(_layer: nn.Module, inputs: tuple[Any, ...], moments: Moments = moments) -> None:
                moments.update(inputs[0])

            handle = layer.register_forward_pre_hook(add)
            try:
                evaluate(model, images)
            finally:
                handle.remove()
            found = moments.compute(bessel=True)
            layer.running_mean.copy_(found.mean)
            layer.running_var.copy_(found.variance)
            if start:
                layer.start()


def _group_means(values: Tensor, groups: int) -> Tensor:
    """Return the mean over each sample's group, (N, C), of values (N, C)."""
    parts = values.tensor_split(groups)
    return torch.cat([part.mean(0, keepdim=True).expand_as(part) for part in parts])
