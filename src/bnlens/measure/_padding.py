"""Padding that a report was not told of: something in its batches marks the values that the running statistics are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from bnlens._ranks import gather
from bnlens.errors import BnlensError
from bnlens.measure._population import Populations, estimate_population
from bnlens.measure._probe import Probe, default_forward, target_of
from bnlens.measure._ranks import agreeing

__all__ = ["STALE_MEAN", "STALE_STD", "find_padding"]

STALE_MEAN = 0.1  # sigma_P, from which running statistics count as stale
STALE_STD = 0.1  # log

_RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "lengths": lambda leaf: leaf,
    "non-zero entries": lambda leaf: leaf != 0,
    "non-zero channels": lambda leaf: (leaf != 0).any(1),
    "non-zero features": lambda leaf: (leaf != 0).any(-1),
}


@torch.no_grad()
def find_padding(probe: Probe, layers: Mapping[str, _BatchNorm]) -> str | None:
    """Return by which entry of a batch the running statistics leave padding out, "lengths of [1]"; None if by none.

    Tried are masks, lengths, tokens that are zero at padding, and inputs that are zero there in all channels or features. Each
    takes the passes of `bnlens.measure._population.estimate_population`; all ranks call it.
    """
    with agreeing():
        data = next(probe.pool.shard(probe.batch_size)).data
        own = list(_places(data, target_of(data) if probe.forward is default_forward else None))
    places = {place for found in gather(own) for place in found}
    for place in sorted(places, key=lambda place: (list(_RULES).index(place[0]), place[1])):
        try:
            populations, _ = estimate_population(replace(probe, mask=partial(_mask, place)))
        except BnlensError:  # it fits no layer
            continue
        if _are_running(populations, layers):
            return " of ".join(place)
    return None


def _places(data: Any, target: Any) -> Iterator[tuple[str, str]]:
    """Yield the rules by which entries of a batch, all but the target, may tell padding, with the places of these."""
    for path, leaf in pytree.tree_flatten_with_path(data)[0]:
        if not isinstance(leaf, Tensor) or leaf is target or not leaf.numel() or leaf.is_complex():
            continue
        if leaf.ndim == 1:
            rules = [] if leaf.is_floating_point() or leaf.dtype == torch.bool else ["lengths"]
        elif not leaf.is_floating_point() or bool(((leaf == 0) | (leaf == 1)).all()):
            rules = ["non-zero entries"]
        else:
            rules = ["non-zero channels", "non-zero features"][: 1 + (leaf.ndim == 3)] if leaf.ndim > 2 else []
        yield from ((rule, pytree.keystr(path)) for rule in rules if rule == "lengths" or not _RULES[rule](leaf).all())


def _mask(place: tuple[str, str], data: Any) -> Tensor:
    rule, key = place
    leaf = next(leaf for path, leaf in pytree.tree_flatten_with_path(data)[0] if pytree.keystr(path) == key)
    return _RULES[rule](leaf)


def _are_running(populations: Populations, layers: Mapping[str, _BatchNorm]) -> bool:
    """Return whether no layer's running statistics are as far from these as stale ones are."""
    for name, population in populations.items():
        layer = layers[name.partition("#")[0]]
        if layer.running_mean is None or layer.running_var is None:
            continue
        mean = (layer.running_mean - population.mean) / population.sigma
        std = (layer.running_var + population.eps).log() / 2 - population.sigma.log()
        if not (mean.square().mean().sqrt() <= STALE_MEAN and std.square().mean().sqrt() <= STALE_STD):
            return False
    return True
