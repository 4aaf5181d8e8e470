"""Notes on common mistakes with BN layers, from a model and its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._estimate import Estimate
from bnlens.measure._intercept import is_frozen
from bnlens.measure._results import LayerResult, NetworkResult, Note
from bnlens.render import number

__all__ = ["gradient_notes", "model_notes", "result_notes"]

_STALE_MEAN = 0.1  # sigma_P
_STALE_STD = 0.1  # log
_FIRST_ORDER = 0.2


def model_notes(model: nn.Module, layers: Mapping[str, _BatchNorm]) -> Iterator[Note]:
    """Yield notes that need the model alone: frozen layers, and layers that only look frozen."""
    for name, layer in layers.items():
        parameters = list(layer.parameters(recurse=False))
        if is_frozen(model, layer):
            yield Note(
                "frozen",
                name,
                "is frozen (eval mode in a model in train mode): it normalises by its running statistics, adds no noise, and "
                "is left out of every gap",
            )
        elif parameters and not any(p.requires_grad for p in parameters) and layer.track_running_stats:
            yield Note(
                "moving statistics",
                name,
                "has requires_grad=False but is not in eval mode on its own: in training its running statistics still move and "
                "its batch statistics still add noise; call .eval() on it after every model.train() to freeze it",
            )


def gradient_notes(unreached: Sequence[str]) -> Iterator[Note]:
    """Yield notes on calls that no gradient of the loss reaches."""
    for name in unreached:
        yield Note(
            "no gradient",
            name,
            "gets no gradient, because its output is unused, detached or computed under no_grad: predictions leave out its "
            "part of first order; put the layer in eval mode if it is not trained",
        )


def result_notes(
    layers: Sequence[LayerResult],
    network: NetworkResult,
    modules: Mapping[str, _BatchNorm],
    optimizer: torch.optim.Optimizer | None,
    batch_size: int,
) -> Iterator[Note]:
    """Yield notes on measurements: shared layers, stale statistics, dead channels, limits of the law, weight decay."""
    for layer in layers:
        if "#" in layer.name:
            path, _, call = layer.name.partition("#")
            yield Note(
                "shared layer",
                layer.name,
                f"is call {call} of {path!r}: all its calls share one set of running statistics, while each call has a "
                "population of its own",
            )
        if layer.dead_channels:
            yield Note(
                "dead channels",
                layer.name,
                f"{layer.dead_channels} of {layer.channels} channels have an output that does not vary (standard deviation "
                "below 0.001): pruning them changes nothing",
            )
        if _clearly_above(layer.stale_mean, _STALE_MEAN) or _clearly_above(layer.stale_std, _STALE_STD):
            yield Note(
                "stale statistics",
                layer.name,
                f"running statistics are far from the population's: mean by {layer.stale_mean} sigma, log sigma by "
                f"{layer.stale_std} (rms over channels); recompute them before evaluating (bnlens.recalibrate)",
            )
    discrepancy = network.running_discrepancy
    if discrepancy is not None and abs(discrepancy.value) > max(3 * discrepancy.stderr, 0.01):
        yield Note(
            "stale statistics",
            "",
            f"evaluation with the running statistics changes the loss by {discrepancy} nats against population statistics; "
            "recompute them before evaluating (bnlens.recalibrate)",
        )
    yield from _beyond_first_order(network)
    if optimizer is not None:
        yield from _weight_decay(layers, modules, optimizer, batch_size)


def _beyond_first_order(network: NetworkResult) -> Iterator[Note]:
    gaps = network.gaps
    for size in gaps.measured:
        ratio = gaps.ratio(size)
        if ratio is not None and abs(ratio.value - 1) > max(_FIRST_ORDER, 3 * ratio.stderr):
            yield Note(
                "beyond first order",
                "",
                f"at M = {size} the prediction is {ratio} of the measured gap: the noise of {size} samples is too strong for "
                "the first order in 1/M on this network (common where the loss is close to zero); trust the measurement",
            )


def _weight_decay(
    layers: Sequence[LayerResult], modules: Mapping[str, _BatchNorm], optimizer: torch.optim.Optimizer, batch_size: int
) -> Iterator[Note]:
    decay = {
        id(parameter): float(group.get("weight_decay", 0.0))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for layer in layers:
        module = modules.get(layer.name)
        coefficient = 0.0 if module is None or module.weight is None else decay.get(id(module.weight), 0.0)
        if coefficient == 0.0 or layer.gaps is None:
            continue
        explicit = 0.5 * coefficient * layer.channels * layer.gamma_rms**2
        implicit = layer.gaps.measured[batch_size]
        yield Note(
            "weight decay",
            layer.name,
            f"weight decay {number(coefficient)} on gamma adds {number(explicit)} nats to what BN itself applies at "
            f"M = {batch_size}, {implicit} nats; leave gamma out of weight decay, or count both",
        )


def _clearly_above(estimate: Estimate | None, threshold: float) -> bool:
    return estimate is not None and estimate.value - 3 * estimate.stderr > threshold
