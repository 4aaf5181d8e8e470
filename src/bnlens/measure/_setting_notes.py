"""Notes that need the model alone: frozen layers, and settings of BN layers that make evaluation surprise its user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._intercept import is_frozen
from bnlens.measure._note_texts import about
from bnlens.measure._results import Note, listed
from bnlens.measure._running import invalid_channels
from bnlens.nn import DialBatchNorm
from bnlens.render import number

__all__ = ["has_initial_statistics", "model_notes"]

_MOMENTUM = 0.5  # of torch; 0.1 is usual, 0.01 for long averages
_EPS = 0.01  # ten times Keras's


def model_notes(model: nn.Module, layers: Mapping[str, _BatchNorm]) -> Iterator[Note]:
    """Yield notes that need the model alone."""
    frozen = {name: layer for name, layer in layers.items() if is_frozen(model, layer)}
    by_call = [isinstance(layer, DialBatchNorm) and layer.frozen for layer in frozen.values()]
    ways = ["bnlens.freeze"] * any(by_call) + ["eval mode in a model in train mode"] * (not all(by_call))
    yield from about("frozen", frozen, " or ".join(ways))
    rest = {name: layer for name, layer in layers.items() if name not in frozen}
    yield from about("moving statistics", [name for name, layer in rest.items() if _only_looks_frozen(layer)])
    if not model.training:
        yield from about("train mode", [name for name, layer in rest.items() if layer.training])
    yield from _not_finite(rest)
    yield from _settings(rest)


def _only_looks_frozen(layer: _BatchNorm) -> bool:
    parameters = list(layer.parameters(recurse=False))
    return bool(parameters) and not any(p.requires_grad for p in parameters) and layer.track_running_stats


def _not_finite(layers: Mapping[str, _BatchNorm]) -> Iterator[Note]:
    found = {name: invalid for name, layer in layers.items() if (invalid := invalid_channels(layer))}
    if found:
        worst = max(found, key=lambda name: found[name])
        channels = sum(layers[name].num_features for name in found)
        yield from about(
            "not finite", found, sum(found.values()), channels, worst, found[worst], layers[worst].num_features
        )


def _settings(layers: Mapping[str, _BatchNorm]) -> Iterator[Note]:
    tracked = {name: layer for name, layer in layers.items() if layer.running_mean is not None}
    if tracked:  # without them everywhere it is a choice
        yield from about("no running statistics", [name for name in layers if name not in tracked])
    moved = {
        name: layer.momentum
        for name, layer in tracked.items()
        if layer.momentum is not None and layer.track_running_stats
    }
    large = {name: momentum for name, momentum in moved.items() if momentum >= _MOMENTUM}
    if large:
        values = sorted(set(large.values()))
        theirs = listed([number(1 - value) for value in values])
        yield from about("momentum", large, listed([number(value) for value in values]), f"{max(values):.0%}", theirs)
    untracked = [name for name, layer in tracked.items() if not layer.track_running_stats]
    still = [name for name, momentum in moved.items() if momentum == 0]
    ways = ["momentum=0"] * bool(still) + ["track_running_stats=False"] * bool(untracked)
    yield from about("fixed statistics", [name for name in tracked if name in (*still, *untracked)], " or ".join(ways))
    large_eps = {name: layer.eps for name, layer in layers.items() if layer.eps > _EPS}
    yield from about("epsilon", large_eps, listed([number(value) for value in sorted(set(large_eps.values()))] or [""]))


def has_initial_statistics(layer: _BatchNorm) -> bool:
    """Return whether the running statistics are those of a new layer."""
    mean, variance = layer.running_mean, layer.running_var
    return mean is not None and variance is not None and bool((mean == 0).all() and (variance == 1).all())
