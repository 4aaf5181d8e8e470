"""Batch normalization by statistics over ranks: of the joint batch, of its ghost groups, or of its window.

A ghost group of the joint batch may span ranks. A rank holds *parts*, the intersections of its own samples with groups.
Every rank knows how many samples each has, works out the same parts, and takes part in the same exchanges, also with
no sample at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnlens.nn._ghost import normalise_by_groups
from bnlens.nn._ranks import JointBatch, gather_rows, merged
from bnlens.nn._statistics import batch_statistics, statistics_dtype

__all__ = ["Piece", "normalise_by_joint_batch", "normalise_by_joint_groups", "pieces_of_groups"]


class Piece(NamedTuple):
    """The part of a group that one rank holds: ``samples`` of them, as its ``part``-th."""

    rank: int
    part: int
    samples: int


def pieces_of_groups(samples: Sequence[int], sizes: Sequence[int]) -> list[list[Piece]]:
    """Return the pieces of each group of the joint batch, from the samples of each rank and those of each group.

    >>> [[tuple(piece) for piece in group] for group in pieces_of_groups([3, 0, 4], [2, 3, 2])]
    [[(0, 0, 2)], [(0, 1, 1), (2, 0, 2)], [(2, 1, 2)]]
    """
    left, parts, rank = list(samples), [0] * len(samples), 0
    groups: list[list[Piece]] = []
    for size in sizes:
        groups.append([])
        while size:
            if taken := min(size, left[rank]):
                groups[-1].append(Piece(rank, parts[rank], taken))
                parts[rank] += 1
                left[rank] -= taken
                size -= taken
            else:
                rank += 1
    return groups


def normalise_by_joint_batch(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, joint: JointBatch, window: Tensor | None = None
) -> Tensor:
    """Normalise this rank's samples by the joint batch, or by the window that it is part of.

    Arguments and formula are those of `bnlens.nn._window.normalise_by_window`, but for ``joint``, the joint batch, through
    which the gradient goes; ``x`` may have no sample. Gradients of gamma and beta are sums over this rank's samples.
    """
    samples = joint.samples[joint.rank]
    sizes = [samples] if samples else []
    plan = _Plan(joint.group, sizes, [joint.statistics.values] * len(sizes), [0] * len(sizes), 1)
    of_batch = torch.stack([joint.statistics.mean, joint.statistics.variance])
    by = of_batch if window is None else window[:2]
    batch, by = (rows.expand(len(sizes), -1, -1) for rows in (of_batch, by))
    y: Tensor = _Joint.apply(x, weight, bias, eps, batch, by, plan)  # type: ignore[no-untyped-call]
    return y


def normalise_by_joint_groups(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, joint: JointBatch, sizes: Sequence[int]
) -> Tensor:
    """Normalise this rank's samples by the groups of the joint batch that they belong to.

    Nothing is exchanged where no group spans ranks, and no statistics where those that do consist of whole ranks.

    Arguments as in `normalise_by_joint_batch`, and ``sizes``: samples of the groups, in the order of the joint batch.
    """
    groups = pieces_of_groups(joint.samples, sizes)
    mine = [(group, piece) for group in groups for piece in group if piece.rank == joint.rank]
    counts = [piece.samples for _, piece in mine]
    spanning = [group for group in groups if len(group) > 1]
    if mine and not spanning:
        return normalise_by_groups(x, weight, bias, eps, counts)[0]
    statistics = _group_statistics(x, joint, groups)
    values = [sum(piece.samples * joint.pixels[piece.rank] for piece in group) for group, _ in mine]
    slots = [spanning.index(group) if group in spanning else None for group, _ in mine]
    plan = _Plan(joint.group, counts, values, slots, len(spanning))
    y: Tensor = _Joint.apply(x, weight, bias, eps, statistics, statistics, plan)  # type: ignore[no-untyped-call]
    return y


@torch.no_grad()
def _group_statistics(x: Tensor, joint: JointBatch, groups: list[list[Piece]]) -> Tensor:
    """Return the mean and biased variance of the group of each of this rank's parts, (parts, 2, C)."""
    parts = [0] * len(joint.samples)
    for group in groups:
        for piece in group:
            parts[piece.rank] += 1
    own = joint.rows[joint.rank][None]
    if parts[joint.rank] > 1:
        counts = [piece.samples for group in groups for piece in group if piece.rank == joint.rank]
        rows = [torch.stack(batch_statistics(part)[:2]) for part in torch.split(x, counts)]
        own = torch.stack(rows).to(own.dtype)
    # Only the first and the last part of a rank can belong to groups that span ranks.
    ends = torch.stack([joint.rows, joint.rows], 1)
    if any(len(group) > 1 and any(parts[piece.rank] > 1 for piece in group) for group in groups):
        ends = gather_rows(torch.stack([own[0], own[-1]]).flatten(), joint.group).view(ends.shape)
    found = []
    for group in groups:
        part = next((piece.part for piece in group if piece.rank == joint.rank), None)
        if part is None:
            continue
        if len(group) == 1:
            found.append(own[part])
            continue
        values = [piece.samples * joint.pixels[piece.rank] for piece in group]
        found.append(merged(values, torch.stack([ends[piece.rank, min(piece.part, 1)] for piece in group])))
    return (torch.stack(found) if found else own[:0]).to(statistics_dtype(x))


class _Plan(NamedTuple):
    """The parts of groups that this rank holds.

    Attributes:
        group: the ranks.
        sizes: samples in each part.
        values: values per channel, on all ranks, of each part's group.
        slots: the number of each part's group among those that span ranks; None for a group that does not.
        spanning: how many groups span ranks.
    """

    group: dist.ProcessGroup
    sizes: list[int]
    values: list[int]
    slots: Sequence[int | None]
    spanning: int


class _Joint(torch.autograd.Function):
    """Each part is normalised by given statistics, and the gradient goes through those of its group.

    With dy the gradient of the output, xhat the input normalised by its group and <.> the mean over the group's values,
    dx = gamma (dy - <dy> - xhat <dy xhat>) / sigma. The backward pass exchanges these two means and nothing else.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float, batch: Tensor, by: Tensor, plan: _Plan) -> Tensor:
        """Normalise each part by its row of ``by``, (parts, 2, C): mean and variance."""
        outputs = [
            torch.native_batch_norm(part, weight, bias, mean, variance, False, 0.0, eps)[0]
            for part, (mean, variance) in zip(_split(x, plan), by, strict=True)
        ]
        return _joined(outputs, x, plan)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the input and the statistics."""
        x, weight, _, ctx.eps, batch, by, ctx.plan = inputs
        ctx.save_for_backward(x, weight, batch, by)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x``, and of ``weight`` and ``bias`` summed over this rank's samples."""
        x, weight, batch, by = ctx.saved_tensors
        plan: _Plan = ctx.plan
        pairs = list(zip(_split(grad, plan), _split(x, plan), strict=True))
        means, invstds, scales = batch[:, 0], (batch[:, 1] + ctx.eps).rsqrt(), (by[:, 1] + ctx.eps).rsqrt()
        sums = torch.zeros_like(batch)  # of dy and of dy xhat
        for (dy, part), mean, invstd, row in zip(pairs, means, invstds, sums, strict=True):
            _, row[1], row[0] = torch.ops.aten.native_batch_norm_backward(
                dy, part, weight, None, None, mean, invstd, True, ctx.eps, [False, True, True]
            )
        # The output is gamma (r xhat + d) + beta with r and d constant, 1 and 0 but for the window.
        r, d = scales / invstds, (means - by[:, 0]) * scales
        dweight, dbias = (r * sums[:, 1] + d * sums[:, 0]).sum(0), sums[:, 0].sum(0)
        if not ctx.needs_input_grad[0]:
            return None, dweight, dbias, None, None, None, None
        averages = _over_ranks(sums, plan) / sums.new_tensor(plan.values).view(-1, 1, 1)
        slopes = weight * scales
        shape = (1, -1) + (1,) * (x.ndim - 2)
        results = []
        for (dy, part), mean, invstd, slope, (a, b) in zip(pairs, means, invstds, slopes, averages, strict=True):
            # slope (dy - a - b xhat), as slope dy + curve x + shift
            curve = -slope * b * invstd
            shift = -slope * a - curve * mean
            dx = torch.addcmul(shift.view(shape), part, curve.view(shape))
            results.append(dx.addcmul_(dy, slope.view(shape)))
        return _joined(results, x, plan), dweight, dbias, None, None, None, None


def _over_ranks(sums: Tensor, plan: _Plan) -> Tensor:
    """Return sums over the whole groups of the parts. Each rank takes part, also one without a part in a spanning group."""
    if not plan.spanning:
        return sums
    spanning, whole = sums.new_zeros(plan.spanning, *sums.shape[1:]), sums.clone()
    held = [(part, slot) for part, slot in enumerate(plan.slots) if slot is not None]
    for part, slot in held:
        spanning[slot] = sums[part]
    dist.all_reduce(spanning, group=plan.group)
    for part, slot in held:
        whole[part] = spanning[slot]
    return whole


def _split(x: Tensor, plan: _Plan) -> tuple[Tensor, ...]:
    return torch.split(x, plan.sizes) if plan.sizes else ()


def _joined(parts: list[Tensor], like: Tensor, plan: _Plan) -> Tensor:
    if len(parts) == 1:
        return parts[0].to(like.dtype)
    joined = torch.empty_like(like)
    for out, part in zip(_split(joined, plan), parts, strict=True):
        out.copy_(part)
    return joined
