"""Notes on common mistakes with BN layers, from a model and its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._estimate import Estimate
from bnlens.measure._intercept import is_frozen
from bnlens.measure._pool import Pool
from bnlens.measure._results import LayerResult, NetworkResult, Note
from bnlens.measure._stream import StreamedPool
from bnlens.render import number

__all__ = ["gradient_notes", "model_notes", "pool_notes", "result_notes"]

_STALE_MEAN = 0.1  # sigma_P
_STALE_STD = 0.1  # log
_FIRST_ORDER = 0.2


# By kind of note; a kind that has two is followed by a colon and what tells them apart.
_TEXTS = {
    "frozen": "is frozen (eval mode in a model in train mode): it normalises by its running statistics, adds no noise, and "
    "is left out of every gap",
    "moving statistics": "has requires_grad=False but is not in eval mode on its own: in training its running statistics "
    "still move and its batch statistics still add noise; call .eval() on it after every model.train() to freeze it",
    "no gradient": "gets no gradient, because its output is unused, detached or computed under no_grad: predictions leave "
    "out its part of first order; put the layer in eval mode if it is not trained",
    "shared layer": "is call {} of {!r}: all its calls share one set of running statistics, while each call has a "
    "population of its own",
    "dead channels": "{} of {} channels have an output that does not vary (standard deviation below 0.001): pruning them "
    "changes nothing",
    "stale statistics": "running statistics are far from the population's: mean by {} sigma, log sigma by {} (rms over "
    "channels); recompute them before evaluating (bnlens.recalibrate)",
    "stale statistics:network": "evaluation with the running statistics changes the loss by {} nats against population "
    "statistics; recompute them before evaluating (bnlens.recalibrate)",
    "beyond first order": "at M = {0} the prediction is {1} of the measured gap: the noise of {0} samples is too strong for "
    "the first order in 1/M on this network (common where the loss is close to zero); trust the measurement",
    "streamed": "the samples were read again for each pass, and groups drawn from {} of the {} at a time, in the loader's "
    "order: if that is sorted by class or source, shuffle the loader, or hold the samples (hold=True)",
    "weight decay": "weight decay {} on gamma adds {} nats to the layer's share of what BN itself applies at M = {}, {} "
    "nats; leave gamma out of weight decay, or count both",
}


def _note(kind: str, layer: str, *values: object) -> Note:
    return Note(kind.partition(":")[0], layer, _TEXTS[kind].format(*values))


def model_notes(model: nn.Module, layers: Mapping[str, _BatchNorm]) -> Iterator[Note]:
    """Yield notes that need the model alone: frozen layers, and layers that only look frozen."""
    for name, layer in layers.items():
        parameters = list(layer.parameters(recurse=False))
        if is_frozen(model, layer):
            yield _note("frozen", name)
        elif parameters and not any(p.requires_grad for p in parameters) and layer.track_running_stats:
            yield _note("moving statistics", name)


def pool_notes(pool: Pool, batch_size: int) -> Iterator[Note]:
    """Yield notes on how groups are drawn."""
    if isinstance(pool, StreamedPool) and (buffered := pool.buffered(batch_size)) < pool.own:
        yield _note("streamed", "", buffered, pool.own)


def gradient_notes(unreached: Sequence[str]) -> Iterator[Note]:
    """Yield notes on calls that no gradient of the loss reaches."""
    yield from (_note("no gradient", name) for name in unreached)


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
            yield _note("shared layer", layer.name, call, path)
        if layer.dead_channels:
            yield _note("dead channels", layer.name, layer.dead_channels, layer.channels)
        if _clearly_above(layer.stale_mean, _STALE_MEAN) or _clearly_above(layer.stale_std, _STALE_STD):
            yield _note("stale statistics", layer.name, layer.stale_mean, layer.stale_std)
    discrepancy = network.running_discrepancy
    if discrepancy is not None and abs(discrepancy.value) > max(3 * discrepancy.stderr, 0.01):
        yield _note("stale statistics:network", "", discrepancy)
    for size in network.gaps.measured:
        ratio = network.gaps.ratio(size)
        if ratio is not None and abs(ratio.value - 1) > max(_FIRST_ORDER, 3 * ratio.stderr):
            yield _note("beyond first order", "", size, ratio)
    if optimizer is not None:
        yield from _weight_decay(layers, modules, optimizer, batch_size)


def _weight_decay(
    layers: Sequence[LayerResult], modules: Mapping[str, _BatchNorm], optimizer: torch.optim.Optimizer, batch_size: int
) -> Iterator[Note]:
    groups = optimizer.param_groups
    decay = {id(p): float(group.get("weight_decay", 0.0)) for group in groups for p in group["params"]}
    for layer in layers:
        module = modules.get(layer.name)
        coefficient = 0.0 if module is None or module.weight is None else decay.get(id(module.weight), 0.0)
        if coefficient == 0.0 or batch_size not in layer.share:
            continue
        explicit = number(0.5 * coefficient * layer.channels * layer.gamma_rms**2)
        implicit = layer.share[batch_size]
        yield _note("weight decay", layer.name, number(coefficient), explicit, batch_size, implicit)


def _clearly_above(estimate: Estimate | None, threshold: float) -> bool:
    return estimate is not None and estimate.value - 3 * estimate.stderr > threshold
