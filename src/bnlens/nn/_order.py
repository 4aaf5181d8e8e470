"""Which samples a ghost group is of, by choice, and whose the rows are where a sample has several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.nn._base import DialBatchNorm
from bnlens.nn._controls import layers_of, refuse_plain_layers
from bnlens.nn._ghost import group_sizes
from bnlens.nn._partial_noise import PartialNoise1d, PartialNoise2d, PartialNoise3d
from bnlens.nn._ranks import sync_group
from bnlens.nn._scope import scoped

__all__ = ["groups"]


@checked
@contextmanager
def groups(
    model: nn.Module,
    order: Literal["random"] | Tensor | None = None,
    *,
    samples_of: int | Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[None]:
    """Choose which samples make a ghost group, for the forward passes of one batch inside this context.

    Outside, groups are of neighbours in the batch: where it is labelled samples and then unlabelled ones, each is of one kind.
    All layers have the same groups if they have the same M. Gradients are those of this definition. Eval mode and a batch
    that is one group are as outside.

    It holds in the thread that enters it, for this model and not for copies made inside. Inside, a layer is a graph break
    while the model is compiled, and with activation checkpointing the backward pass belongs inside too.

    Args:
        model: a model with bnlens layers, or one layer.
        order: of the samples:

            - None: as they come.
            - ``"random"``: groups are drawn, anew in each context; over ranks (``sync``) each rank shuffles its own samples.
            - labels, (N,): every group has an equal share of each label, to within one sample.
        samples_of: where a sample has several rows in dimension 0, such as time steps or nodes, as of `bnlens.report`: a
            number of rows, the same for each sample in every layer; or offsets, (N + 1,) of an int type, the first row of each
            sample and the end, beside which layers may have one row per sample. Groups then are of whole samples, and
            they and windows count samples, not rows.
        generator: that draws, on the CPU; by default torch's.

    Raises:
        UsageError: the model has no bnlens layer, or another library's BN layer, or a `PartialNoise2d` or the like; an
            argument is none of these; or, in training, a layer's input does not fit, or labels meet statistics over ranks.

    Example:
        >>> import bnlens.nn
        >>> layer, labels = bnlens.nn.BatchNorm1d(1, statistics_batch_size=2), torch.tensor([0, 0, 1, 1])
        >>> x = torch.tensor([[0.0], [0.0], [4.0], [4.0]])
        >>> with groups(layer, labels):
        ...     y = layer(x)
        >>> layer(x).flatten().tolist(), [round(value, 2) for value in y.flatten().tolist()]
        ([0.0, 0.0, 0.0, 0.0], [-1.0, -1.0, 1.0, 1.0])
    """
    layers = layers_of(model)
    refuse_plain_layers(model, "has no groups", "set its statistics batch size")
    if any(isinstance(layer, PartialNoise1d | PartialNoise2d | PartialNoise3d) for layer in layers):
        raise UsageError("PartialNoise layers have groups in the order of the batch; leave the context")
    if not (order is None or order == "random" if not isinstance(order, Tensor) else order.ndim == 1):
        found = f"a tensor of shape {tuple(order.shape)}" if isinstance(order, Tensor) else repr(order)
        raise UsageError(f"order is {found}; give None, 'random' or labels, a tensor (N,)")
    batch = _Order(order, _checked(samples_of), generator)
    with scoped({layer: {"order": partial(batch.forward, layer)} for layer in layers}):
        yield


def _checked(samples_of: Any) -> int | Tensor | None:
    if isinstance(samples_of, Tensor):
        offsets: Tensor = samples_of.detach().cpu()
        sound = offsets.ndim == 1 and len(offsets) > 1 and not offsets.is_floating_point()
        if sound and offsets[0] == 0 and bool((offsets.diff() >= 0).all()):
            return offsets
    elif samples_of is None or (
        isinstance(samples_of, Integral) and not isinstance(samples_of, bool) and int(samples_of) > 0
    ):
        return None if samples_of is None else int(samples_of)
    raise UsageError(
        f"samples_of is {samples_of!r}; give rows per sample (an int from 1 on), or offsets (an int tensor that begins with 0 "
        "and never descends)"
    )


class _Order:
    """The order of one batch in all layers; arguments as of `groups`."""

    def __init__(
        self, order: str | Tensor | None, samples_of: int | Tensor | None, generator: torch.Generator | None
    ) -> None:
        self._order, self._samples_of, self._generator = order, samples_of, generator
        self._drawn: dict[int, Tensor] = {}

    @_disable_dynamo
    def forward(self, layer: DialBatchNorm, x: Tensor, valid: Tensor | None) -> Tensor:
        """Run ``layer`` in training on the samples of ``x`` (rows, C, ...), of which ``valid`` (rows, 1, ...) or all count."""
        rows = self._rows(x)
        if rows is not None:
            shape, place = x.shape, rows
            if valid is None and not bool(rows.all()):
                valid = torch.ones(len(x), *(1 for _ in shape[1:]), dtype=torch.bool, device=x.device)
                valid = valid.expand(-1, 1, *shape[2:])
            x = _folded(x, place)
            valid = None if valid is None else _folded(valid, place)
        order = self._permutation(layer, x, valid)
        if order is None:
            y = _plain(layer, x, valid)
        else:
            order = order.to(x.device)
            y = _plain(layer, x.index_select(0, order), None if valid is None else valid.index_select(0, order))
            y = y.index_select(0, order.argsort())
        return y if rows is None else _unfolded(y, place, shape)

    def _rows(self, x: Tensor) -> Tensor | None:
        """Return which places of a table (N, largest number of rows) are rows of ``x``; None if rows are samples."""
        whose = self._samples_of
        if whose is None or not len(x):
            return None
        if isinstance(whose, int):
            if len(x) % whose:
                raise UsageError(
                    f"a layer is given {len(x)} rows, no multiple of the {whose} that samples_of says each sample has; give "
                    "offsets if samples or layers differ"
                )
            return torch.ones(len(x) // whose, whose, dtype=torch.bool, device=x.device)
        counts = whose.diff()
        if len(x) == len(counts):
            return None
        if len(x) != whose[-1]:
            raise UsageError(
                f"a layer is given {len(x)} rows, and samples_of tells of {int(whose[-1])} rows of {len(counts)} samples; give "
                "the offsets of this batch"
            )
        return (torch.arange(int(counts.max())) < counts.unsqueeze(1)).to(x.device)

    def _permutation(self, layer: DialBatchNorm, x: Tensor, valid: Tensor | None) -> Tensor | None:
        samples, M = len(x), layer.statistics_batch_size
        if isinstance(self._order, Tensor) and len(self._order) != samples:
            raise UsageError(
                f"a layer is given {samples} samples, and there are {len(self._order)} labels; give one of each sample of the "
                "batch, and samples_of where a sample has several rows"
            )
        if self._order is None or M is None or samples < M or float("inf") == M:
            return None
        if not isinstance(self._order, Tensor):
            if samples not in self._drawn:
                self._drawn[samples] = torch.randperm(samples, generator=self._generator)
            return self._drawn[samples]
        if sync_group(layer.sync) is not None:
            raise UsageError("groups by labels are those of one rank; set sync=False on the model's layers")
        counts = torch.ones(samples, dtype=torch.bool) if valid is None else valid.flatten(1).any(1).cpu()
        labels = self._order.detach().cpu()
        among = torch.arange(samples)[counts]
        dealt = among[labels[counts].argsort(stable=True)]  # one to each group in turn
        k = len(group_sizes(max(len(dealt), 2), int(M)))
        in_groups = torch.cat([dealt[group::k] for group in range(k)])
        return torch.cat([in_groups, torch.arange(samples)[~counts]])  # the rest adds to no statistics


def _plain(layer: DialBatchNorm, x: Tensor, valid: Tensor | None) -> Tensor:
    with scoped({layer: {"order": None, "mask": None}}):
        return DialBatchNorm.forward(layer, x, valid)


def _folded(x: Tensor, place: Tensor) -> Tensor:
    """Return rows (rows, C, ...) as pixels of their samples, (N, C, rows of a sample times the first size, ...)."""
    table = x.new_zeros(*place.shape, *x.shape[1:])
    table = x.view_as(table) if bool(place.all()) and x.is_contiguous() else table.index_put((place,), x)
    table = table.transpose(1, 2)
    return (table.flatten(2, 3) if x.ndim > 2 else table).contiguous()


def _unfolded(y: Tensor, place: Tensor, shape: torch.Size) -> Tensor:
    table = y.reshape(*y.shape[:2], place.shape[1], *shape[2:]) if len(shape) > 2 else y
    return table.transpose(1, 2)[place]
