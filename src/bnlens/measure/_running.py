"""Running statistics as evaluation uses them: can it, and does it find in its inputs what is written?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._ranks import gather
from bnlens.errors import ModelError
from bnlens.measure._intercept import Handler
from bnlens.measure._lockstep import Seen, observing, over_ranks
from bnlens.measure._population import normalise_by_batch
from bnlens.measure._probe import Probe
from bnlens.measure._ranks import agreeing
from bnlens.moments import compute_moments, merge_moments

__all__ = [
    "by_running_statistics",
    "call_path",
    "check_frozen",
    "evaluate",
    "evaluates_by_running_statistics",
    "finds_what_is_written",
    "invalid_channels",
    "mean_outputs",
]

_ROUNDING = 1e-3  # standard deviations, or their relative change: rounding in a deep net, and no more


def invalid_channels(layer: _BatchNorm) -> int:
    """Return how many channels evaluation cannot use, for a NaN, an infinity or a negative variance."""
    if layer.running_mean is None or layer.running_var is None:
        return 0
    valid = layer.running_mean.isfinite() & layer.running_var.isfinite() & (layer.running_var >= 0)
    return int((~valid).sum())


def evaluates_by_running_statistics(layer: _BatchNorm) -> bool:
    """Return whether the layer keeps running statistics and evaluation can use all of them."""
    return layer.running_mean is not None and not invalid_channels(layer)


def check_frozen(layers: Mapping[str, _BatchNorm]) -> None:
    """Raise ModelError where a frozen layer makes its output NaN."""
    for name, layer in layers.items():
        if invalid := invalid_channels(layer):
            raise ModelError(
                f"layer {name!r} is frozen with running statistics that are NaN, infinite or a negative variance in {invalid} "
                f"of {layer.num_features} channels; unfreeze it and set them (bnlens.recalibrate), or load a sound state"
            )


def by_running_statistics(layers: Mapping[str, _BatchNorm]) -> Handler:
    """Return a handler that does what the layers do in eval mode, by batch statistics where running ones cannot be used."""
    usable = {path for path, layer in layers.items() if evaluates_by_running_statistics(layer)}

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        layer = layers[call_path(name)]
        mean, variance = layer.running_mean, layer.running_var
        if call_path(name) not in usable or mean is None or variance is None:
            return normalise_by_batch(name, h, gamma, beta, eps)
        return F.batch_norm(h, mean.to(gamma.dtype), variance.to(gamma.dtype), gamma, beta, False, 0.0, eps)

    return handle


def call_path(name: str) -> str:
    """Return the path of the module that a call, ``path#2`` say, is of."""
    return name.partition("#")[0]


@torch.no_grad()
def evaluate(probe: Probe, running: Handler) -> dict[str, Seen]:
    """Run the pool once as ``running`` does, and return the inputs of each call on this rank."""
    seen: dict[str, Seen] = {}
    with agreeing():
        for batch in probe.pool.shard(probe.batch_size):
            probe.outputs(batch, observing(seen, running))
    return seen


def finds_what_is_written(layers: Mapping[str, _BatchNorm], seen: Mapping[str, Seen]) -> bool:
    """Return whether the inputs of all layers in evaluation have the statistics that are written, as `recalibrate` leaves them.

    All uses of a layer count as one, and variances are Bessel-corrected. Each rank calls it.

    Args:
        layers: by path, with running statistics.
        seen: from `evaluate`.
    """
    shares = gather({name: item.moments.sums.to("cpu") for name, item in seen.items()})
    for path in {call_path(name) for name in seen}:
        (running_mean, running_var), eps = _written(layers[path]), layers[path].eps
        parts = [share[name] for share in shares for name in share if call_path(name) == path]
        found = compute_moments(reduce(merge_moments, parts), bessel=True)
        sigma = (found.variance + eps).sqrt()
        mean, std = (running_mean - found.mean) / sigma, (running_var + eps).sqrt() / sigma - 1
        if not torch.stack([mean, std]).abs().max() <= _ROUNDING:
            return False
    return True


def mean_outputs(layers: Mapping[str, _BatchNorm], seen: Mapping[str, Seen]) -> dict[str, Tensor]:
    """Return the mean over all ranks' samples of what each channel of each call puts out in evaluation, (C,), float64.

    Where that is not finite, as the running statistics do not fit, it is beta: the mean under population statistics. Takes
    the arguments of `finds_what_is_written`; each rank calls it.
    """
    found = {}
    for name, result in over_ranks(seen).items():
        (mean, variance), own = _written(layers[call_path(name)]), seen[name]
        gamma, beta = own.like.double().cpu(), own.beta.double().cpu()
        output = beta + gamma * (result.mean - mean) / (variance + own.eps).sqrt()
        found[name] = torch.where(output.isfinite(), output, beta)
    return found


def _written(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return running mean and running variance, float64, on the CPU."""
    mean, variance = (layer.get_buffer(name).detach().double().cpu() for name in ("running_mean", "running_var"))
    return mean, variance
