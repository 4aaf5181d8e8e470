"""Running statistics of several models merged without their data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bnlens._arguments import Count, checked
from bnlens._ranks import gather
from bnlens.errors import DataError, ModelError, UsageError
from bnlens.measure._intercept import unwrap
from bnlens.measure._ranks import agreeing

__all__ = ["merge_statistics"]

_MEAN, _VARIANCE, _TRACKED = _BUFFERS = "running_mean", "running_var", "num_batches_tracked"


@checked
def merge_statistics(
    parts: Sequence[nn.Module | Mapping[str, Any]],
    weights: Sequence[float] | None = None,
    *,
    pixels: Count | Mapping[str, Count] | None = None,
    over_ranks: bool = False,
) -> dict[str, Tensor]:
    r"""Return the running statistics over the data of all parts together, from those of each part, without the data.

    An average of running variances leaves out that the means differ. Of parts with n_i values per channel, mean m_i and
    running variance v_i, which is Bessel-corrected, the union of n = sum n_i values has exactly

    .. math:: m = \sum_i \frac{n_i}{n} m_i, \qquad v = \frac{\sum_i (n_i - 1) v_i + n_i (m_i - m)^2}{n - 1},

    if each part's are those of its data (`bnlens.recalibrate`); moving averages of training are merged as they are. With
    proportions p_i in place of counts it is v = sum p_i (v_i + (m_i - m)^2), that of many values. Sums are in float64.

    Uses: clients of federated learning, by their numbers of samples; a source and a target domain, by how many samples the
    source is trusted for and by those of the target. Other entries are for you to average: the new state is
    ``averaged | merge_statistics(states, weights)``; ``load_state_dict(..., strict=False)`` takes the statistics alone.

    Args:
        parts: models, or their ``state_dict``, with the same layers, in which running statistics are known by their names.
        weights: one for each part. Whole numbers are counts of samples, at least two in all; other numbers are proportions,
            of any sum. By default all parts weigh the same.
        pixels: values per channel of one sample, for counts: 1 for inputs (N, C), H W for (N, C, H, W); of all layers, or of
            each by its path, ``{layer.name: layer.pixels for layer in report.layers}``. By default 1, but for layers behind
            a convolution, whose values are taken for many, which leaves v off by a part in their number.
        over_ranks: merge the parts of all ranks of ``torch.distributed``; each calls with its own, perhaps none.

    Returns:
        ``running_mean`` and ``running_var`` of all layers, and the largest ``num_batches_tracked``, under the names and in the
        dtype that they have in the first part, on the CPU. Other entries of the states are left out.

    Raises:
        UsageError: there is no part, or ``weights`` or ``pixels`` cannot be used.
        ModelError: a part has no running statistics, or other layers than the first.
        DataError: running statistics are not finite.

    Example:
        >>> import torch, bnlens
        >>> def state(x):
        ...     model = torch.nn.BatchNorm1d(1).double()
        ...     _ = bnlens.recalibrate(model, [x])
        ...     return model.state_dict()
        >>> one, two = torch.tensor([[1.0], [2.0], [3.0]]).double(), torch.tensor([[7.0], [9.0]]).double()
        >>> merged = merge_statistics([state(one), state(two)], [3, 2])
        >>> [(name, round(value.item(), 9)) for name, value in merged.items()]
        [('running_mean', 4.4), ('running_var', 11.8), ('num_batches_tracked', 0)]
        >>> round(torch.cat([one, two]).var().item(), 9)
        11.8
    """
    with agreeing() if over_ranks else nullcontext():
        weighted = list(zip(_weights(weights, len(parts)), map(_layers, parts, range(len(parts))), strict=True))
    if over_ranks:
        weighted = [part for rank in gather(weighted) for part in rank]
    if not weighted:
        raise UsageError("parts is empty; give the models or state_dicts to merge")
    given, states = [weight for weight, _ in weighted], [state for _, state in weighted]
    for state in states[1:]:
        _check_same(states[0], state)
    values = _values(given, states[0], pixels)
    merged: dict[str, Tensor] = {}
    for path in states[0]:
        found = _union(values[path], [state[path] for state in states])
        merged |= {f"{path}.{name}" if path else name: value for name, value in found.items()}
    return merged


@dataclass(frozen=True)
class _Layer:
    """The running statistics of one layer.

    Attributes:
        buffers: by name, on the CPU.
        behind_convolution: whether the last weights before it in the state are a convolution's, so that a sample has pixels.
    """

    buffers: Mapping[str, Tensor]
    behind_convolution: bool


_Layers: TypeAlias = Mapping[str, _Layer]


def _layers(part: nn.Module | Mapping[str, Any], number: int) -> _Layers:
    """Return the layers of part ``number`` that keep running statistics, by path."""
    state = unwrap(part).state_dict() if isinstance(part, nn.Module) else part
    found: dict[str, dict[str, Tensor]] = {}
    behind: dict[str, bool] = {}
    dimensions = 0
    for key, value in state.items():
        path, _, name = str(key).rpartition(".")
        if isinstance(value, Tensor) and name in _BUFFERS:
            found.setdefault(path, {})[name] = value.detach().cpu()
            behind[path] = dimensions > 2
        elif isinstance(value, Tensor) and value.ndim > 1:
            dimensions = value.ndim
    layers = {
        path: _Layer(buffers, behind[path])
        for path, buffers in found.items()
        if _MEAN in buffers and _VARIANCE in buffers
    }
    if not layers:
        raise ModelError(f"part {number} has no running statistics; give models whose BN layers keep them")
    for path, layer in layers.items():
        if not all(bool(layer.buffers[name].isfinite().all()) for name in (_MEAN, _VARIANCE)):
            raise DataError(
                f"the running statistics of layer {path or '(model)'!r} in part {number} are not finite; "
                "set them (bnlens.recalibrate), or leave the part out"
            )
    return layers


def _weights(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return a weight for each of ``count`` parts; counts stay whole numbers."""
    if weights is None:
        return [1.0] * count
    if negative := [weight for weight in weights if weight < 0]:  # said to all ranks
        raise UsageError(f"weights has {negative[0]!r} in it; give numbers from 0 on, one for each part")
    if len(weights) != count:
        raise UsageError(f"there are {len(weights)} weights for {count} parts; give one for each")
    return list(weights)


def _check_same(first: _Layers, other: _Layers) -> None:
    for path in sorted({*first, *other}):
        if (
            path not in first
            or path not in other
            or first[path].buffers[_MEAN].shape != other[path].buffers[_MEAN].shape
        ):
            raise ModelError(
                f"the parts differ in layer {path or '(model)'!r}: one has it not, or with another number of "
                "channels; give parts of one model, all in the same wrapper or all in none"
            )


def _values(
    weights: Sequence[float], layers: _Layers, pixels: int | Mapping[str, int] | None
) -> dict[str, Sequence[float]]:
    """Return by layer the number of values behind each part, whole numbers, or the parts' proportions, floats."""
    counts = [weight for weight in weights if isinstance(weight, int)]
    total = math.fsum(weights)
    if len(counts) not in (0, len(weights)):
        raise UsageError(
            "some weights are whole numbers, counts of samples, and others proportions; give one or the other"
        )
    if not total > 0 or (counts and total < 2):
        raise UsageError(
            f"the weights add up to {total:g}; give counts of two samples at least, or proportions as floats"
        )
    by_path = _pixels(layers, pixels)
    return {
        path: [weight * by_path[path] for weight in counts]
        if counts and by_path[path]
        else [weight / total for weight in weights]
        for path in layers
    }


def _pixels(layers: _Layers, pixels: int | Mapping[str, int] | None) -> dict[str, int]:
    """Return the values per channel of one sample by layer; 0 where they are not known and many."""
    if pixels is None:
        return {path: 0 if layer.behind_convolution else 1 for path, layer in layers.items()}
    found = dict.fromkeys(layers, 0)
    for name, count in pixels.items() if isinstance(pixels, Mapping) else [(path, pixels) for path in layers]:
        path = name.partition("#")[0]  # `path#2` is a further use of the layer
        if path not in found:
            raise UsageError(f"pixels has {count!r} for {name!r}, no layer of the parts; name layers that they have")
        found[path] += count
    if missing := [path for path, count in found.items() if not count]:
        raise UsageError(f"pixels leaves out layer {missing[0]!r}; give a number for each layer, or one for all")
    return found


def _union(values: Sequence[float], parts: Sequence[_Layer]) -> dict[str, Tensor]:
    """Return the buffers of one layer over all parts."""
    sizes = torch.tensor(values, dtype=torch.float64).unsqueeze(1)
    correction = 1 if isinstance(values[0], int) else 0  # Bessel's
    means, variances = (torch.stack([part.buffers[name].double() for part in parts]) for name in (_MEAN, _VARIANCE))
    mean = (sizes * means).sum(0) / sizes.sum()
    spread = (sizes - correction).clamp(min=0) * variances + sizes * (means - mean).square()
    variance = spread.sum(0) / (sizes.sum() - correction)
    first = parts[0].buffers
    merged = {_MEAN: mean.to(first[_MEAN]), _VARIANCE: variance.to(first[_VARIANCE])}
    if all(_TRACKED in part.buffers for part in parts):
        merged[_TRACKED] = torch.stack([part.buffers[_TRACKED] for part in parts]).amax(0)
    return merged
