"""Layers in which one of the two batch statistics carries the noise of M samples and the other one the population's."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.nn._base import DialBatchNorm
from bnlens.nn._ghost import group_sizes
from bnlens.nn._layers import BatchNorm1d, BatchNorm2d, BatchNorm3d
from bnlens.nn._scope import Scope
from bnlens.nn._state import is_settled, settle
from bnlens.nn._statistics import BatchStatistics, check_eps

__all__ = ["NOISES", "Noise", "PartialNoise1d", "PartialNoise2d", "PartialNoise3d", "use_partial_noise"]

Noise: TypeAlias = Literal["both", "mean", "std", "none"]
NOISES: tuple[Noise, ...] = ("both", "mean", "std", "none")


class _PartialNoise(DialBatchNorm):
    r"""Batch normalization with a mean and a standard deviation from different sources, see :class:`PartialNoise2d`."""

    @checked
    def __init__(self, num_features: int, *, noise: Noise, **kwargs: Any) -> None:
        super().__init__(num_features, **kwargs)
        self.noise: Noise = noise

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:  # noqa: A002 - torch's name
        """Normalise ``input``, (N, C, ...); in eval mode by the running statistics, as torch does."""
        if not self.training or self.frozen:
            return super().forward(input, mask)
        self._refuse_other_statistics(mask)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        check_eps(self.eps)
        if not is_settled(self, input.dtype):
            settle(self, input.device, input.dtype)
        samples = input.shape[0]
        values = input.numel() // input.shape[1]
        if values < 2:
            raise UsageError(f"one value per channel in training, input shape {tuple(input.shape)}; give more samples")
        M = self.statistics_batch_size
        sizes = [samples] if M is None or samples <= M else group_sizes(samples, int(M))
        gamma, beta = self._affine(input)
        # Around the batch's mean, and squares around each image's own, so that nothing cancels.
        centre = input.detach().transpose(0, 1).flatten(1).mean(1).to(gamma.dtype)
        centred = (input.to(gamma.dtype) - _spread(centre.unsqueeze(0), input.ndim)).reshape(*input.shape[:2], -1)
        first = centred.mean(2)
        second = (centred - first.unsqueeze(2)).square().mean(2)  # around the image's own mean, (N, C)
        mean, variance = first.mean(0), (second + (first - first.mean(0)).square()).mean(0)
        batch = BatchStatistics(mean.detach() + centre, variance.detach(), values)
        window = self._advance(batch, samples, math.inf)
        population_mean, population_std = window[0] - centre, (window[1] + self.eps).sqrt()
        group_mean, group_variance = _by_groups(first, second, sizes)

        noisy_mean, noisy_std = self.noise in ("both", "mean"), self.noise in ("both", "std")
        std = ((group_variance if noisy_std else variance) + self.eps).sqrt()
        target_std = std.detach() if noisy_std else population_std
        used_mean = group_mean if noisy_mean else mean
        shift = 0.0 if noisy_mean else ((mean - population_mean) / target_std).detach()
        scale = gamma * (std.detach() / target_std) / std
        offset = beta + gamma * shift - scale * used_mean
        y = centred * scale.unsqueeze(-1) + offset.unsqueeze(-1)
        return y.reshape(input.shape).to(input.dtype)

    @_disable_dynamo
    def _refuse_other_statistics(self, mask: Tensor | None) -> None:
        """Raise where something asks for statistics that these layers do not take."""
        scope = Scope() if self._scope is None or not self._scope.is_here else self._scope
        asked = {
            "takes statistics of all values; leave the mask out": mask is not None or scope.mask is not None,
            "takes statistics of one pass; leave bnlens.shared_statistics": scope.shared is not None,
            "takes statistics of one rank; set sync=False on the model's layers": self.sync is not False,
            f"has groups beside a window; set regime='auto', not {self.regime!r}": self.regime != "auto",
        }
        for reason, is_asked in asked.items():
            if is_asked:
                raise UsageError(f"{type(self).__name__} {reason}")

    def _has_window(self) -> bool:
        return True

    def extra_repr(self) -> str:
        """Return the layer's arguments and its noise."""
        return f"{super().extra_repr()}, noise={self.noise}"


class PartialNoise1d(_PartialNoise, BatchNorm1d):
    """:class:`PartialNoise2d` for input (N, C) or (N, C, L)."""


class PartialNoise2d(_PartialNoise, BatchNorm2d):
    r"""Batch normalization over M samples of which only the mean, or only the standard deviation, is a batch's.

    In training :math:`y = \gamma (x - m) / s + \beta` with

    - ``noise="mean"``: m of each ghost group of M samples, s of the population;
    - ``noise="std"``: m of the population, s of each ghost group (around the group's own mean);
    - ``noise="both"``: both of the group, which is `bnlens.nn.BatchNorm2d` at M in value and gradient;
    - ``noise="none"``: both of the population, which is `bnlens.nn.PopulationBatchNorm2d` in value and gradient.

    The population's statistics are those of a window of max(3m, 128) samples that includes the m at hand. What is a group's
    carries its gradient. What is the population's has the value of the window and the gradient of the whole batch at
    hand, as in batch renormalization: without it a net does not train.

    Args:
        num_features: C.
        noise: see above.
        **kwargs: as of `bnlens.nn.BatchNorm2d`.

    Shape:
        Input and output (N, C, H, W).

    Raises:
        UsageError: ``noise`` is unknown; or, in training, there is one value per channel, or ``sync``, a fixed ``regime``, a
            mask or `bnlens.shared_statistics` asks for other statistics.
    """


class PartialNoise3d(_PartialNoise, BatchNorm3d):
    """:class:`PartialNoise2d` for input (N, C, D, H, W)."""


_KINDS: dict[type[nn.Module], type[_PartialNoise]] = {
    nn.BatchNorm1d: PartialNoise1d,
    nn.BatchNorm2d: PartialNoise2d,
    nn.BatchNorm3d: PartialNoise3d,
}


@checked
def use_partial_noise(model: nn.Module, noise: Noise) -> int:
    """Replace the BN layers of ``model`` by layers with that noise, in place, and return how many there are.

    Parameters, buffers and their names stay.

    Raises:
        UsageError: the noise is unknown, or the model has a BN layer of another kind than torch's three, or none, or is one.
    """
    count = 0
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, nn.modules.batchnorm._BatchNorm):
            continue
        kind = next((ours for torchs, ours in _KINDS.items() if isinstance(layer, torchs)), None)
        if kind is None or not name:
            raise UsageError(
                f"layer {name!r} is {type(layer).__name__}; use a net with BatchNorm1d, 2d or 3d layers in it"
            )
        options = {name: getattr(layer, name) for name in ("eps", "momentum", "affine", "track_running_stats")}
        new = kind(layer.num_features, noise=noise, **options)
        new.load_state_dict(layer.state_dict())
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, new)
        count += 1
    if not count:
        raise UsageError(f"{type(model).__name__} has no BN layer to give noise to")
    return count


def _by_groups(first: Tensor, second: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the mean and biased variance of each image's group, (N, C) each, from those of the images."""
    members = torch.tensor(sizes, device=first.device)
    group = torch.arange(len(sizes), device=first.device).repeat_interleave(members)
    share = torch.zeros(len(sizes), len(group), dtype=first.dtype, device=first.device)
    share[group, torch.arange(len(group), device=first.device)] = (1 / members.to(first.dtype))[group]
    mean = (share @ first)[group]
    return mean, (share @ (second + (first - mean).square()))[group]


def _spread(table: Tensor, ndim: int) -> Tensor:
    """Return ``table`` (N or 1, C) over the pixels."""
    return table.reshape(*table.shape, *(1 for _ in range(ndim - 2)))
