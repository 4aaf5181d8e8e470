"""Checks of a loss: does that of a sample depend on the other samples of its batch, and does a likelihood fit it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bnlens.errors import LossError
from bnlens.likelihood import Likelihood, expected_target

__all__ = ["adds_up", "curvature_ratio", "is_unbiased", "mixes_outputs", "mixes_samples", "target_rows", "tolerance"]

_DRAWS, _FEW_DRAWS = 4096, 128  # as many as the size of the outputs allows
_AT_ONCE, _AT_ALL = 2**17, 2**24  # numbers in the outputs of one call of the loss, and of all
_RARE = 64  # draws; an event rarer than that says little about a mean
_COMPONENTS = 64  # of a sample's score, of which the mean is judged
_ERRORS = 5

Loss = Callable[[Tensor, Any], Tensor]


def target_rows(target: Any, rows: slice | Tensor) -> Any:
    """Return the samples ``rows``, on the CPU, of a target, a tensor or a tree of tensors on any device."""
    return pytree.tree_map(lambda leaf: leaf[rows] if isinstance(leaf, Tensor) and leaf.ndim else leaf, target)


def tolerance(device: torch.device) -> float:
    """Return how far two values of one loss may be apart, relative, that were computed in batches of other shapes."""
    return 3e-2 if torch.is_autocast_enabled(device.type) else 1e-3


def mixes_samples(loss: Loss, output: Tensor, target: Any) -> bool:
    """Return whether the value of a sample changes with the samples beside it, for a loss that gives (N,) or (N, ...).

    Each row is compared with itself among permuted rows, repeated ones, and some of the rows; never alone, if there are two,
    as losses that squeeze their outputs take no batch of one.
    """
    value = loss(output, target)
    noise = 10 * (loss(output, target) - value).abs().max()  # of a random loss, or one that counts its calls
    bound = tolerance(output.device) * value.abs().nanmean() + noise + 1e-7
    whole = torch.arange(len(output))
    for rows in (whole.flip(0), whole.repeat(2), whole[::2].repeat(2), whole[len(whole) // 3 :]):
        try:
            other = loss(output[rows], target_rows(target, rows))
        except LossError:
            return True
        if other.shape != value[rows].shape or bool(((other - value[rows]).abs() > bound).any()):
            return True
    return False


def adds_up(loss: Loss, mean: bool, output: Tensor, target: Any, scale: float) -> bool:
    """Return whether a scalar loss, a mean or a sum of values of ``scale``, of all rows is that of two parts put together."""

    def total(rows: Tensor) -> Tensor:
        return loss(output[rows], target_rows(target, rows)) * (len(rows) if mean else 1)

    whole = torch.arange(len(output))
    third = len(whole) // 3 + 1
    parts = [(whole, whole), (whole[::2], whole[1::2]), (whole[:third], whole[third:])]
    try:
        for one, other in parts:
            if len(other):
                together, apart = total(torch.cat([one, other])), total(one) + total(other)
                bound = tolerance(output.device) * max(scale * len(whole), float(together.abs())) + 1e-7 * len(whole)
                if float((together - apart).abs()) > bound:
                    return False
    except LossError:
        return False
    return True


def mixes_outputs(loss: Loss, output: Tensor, target: Any) -> bool:
    """Return whether the gradient of a loss in a sample's output changes with the outputs of others, at the same targets.

    It does not for sums and means, weighted ones included, whose weights come from the targets.
    """
    kept = (torch.arange(len(output), device=output.device) % 2 == 0).view(-1, *[1] * (output.ndim - 1))
    # rolled, as cosines are blind to scale, and halved, as Dice is nearly blind to a permutation
    others = torch.where(kept, output, output.roll(1, 0) / 2)
    try:
        first, again, moved = (
            kept * _gradient(lambda leaf: loss(leaf, target).mean(), values) for values in (output, output, others)
        )
    except (LossError, RuntimeError):  # a loss without a gradient, say
        return False
    noise = 10 * (again - first).abs().max()
    return bool((moved - first).abs().max() > tolerance(output.device) * first.abs().max() + noise)


def curvature_ratio(
    total: Callable[[Tensor], Tensor], output: Tensor, likelihood: Likelihood, kept: Tensor | None
) -> float | None:
    """Return c where the summed loss is c times the likelihood's negative logarithm, as a function of the outputs.

    The gradients of the two are compared, less what they are at other outputs: terms that are linear in the outputs,
    as label smoothing adds, are no curvature.

    Args:
        total: from outputs to the sum over samples of the loss.
        output: (N, ...).
        likelihood: a name.
        kept: where cross-entropy counts the output, (N, 1, ...); None is everywhere.

    Returns:
        The ratio; None if there is none.
    """
    constrained = _constraint(output)
    uniform = torch.rand(output.shape, generator=torch.Generator().manual_seed(0)).to(output)
    other = constrained((output + uniform) / 10)  # of probabilities and rates still such, and not sure of any class
    found = _gradient(total, output, constrained) - _gradient(total, other, constrained)
    named = expected_target(output, likelihood) - expected_target(other, likelihood)
    if kept is not None:
        named = named * kept
    ratio = float((found * named).sum() / named.square().sum())
    apart = (found - ratio * named).norm()
    return ratio if bool(apart <= 10 * tolerance(output.device) * found.norm()) else None


def is_unbiased(
    total: Callable[[Tensor, Any], Tensor], draw: Callable[[Tensor, torch.Generator], Any], output: Tensor
) -> bool:
    """Return whether gradients of a loss at targets that its likelihood draws have mean zero, within five standard errors.

    They have where the loss is the likelihood's negative logarithm, but for a factor. Components that hardly vary over the
    draws are not judged: their mean comes from targets too rare to be drawn.

    Args:
        total: from outputs and targets to the sum over samples of the loss.
        draw: the likelihood.
        output: of a few samples, (N, ...).
    """
    generator = torch.Generator().manual_seed(0)
    output = output[: max(_AT_ONCE // output[0].numel(), 1)]
    constrained = _constraint(output)
    draws = min(max(_AT_ALL // output.numel(), _FEW_DRAWS), _DRAWS)
    repeats = min(max(_AT_ONCE // output.numel(), 1), draws)
    many, scores = output.repeat(repeats, *[1] * (output.ndim - 1)), []
    for _ in range(draws // repeats):
        target = draw(many, generator)
        score = _gradient(lambda leaf, drawn=target: total(leaf, drawn), many, constrained)  # type: ignore[misc]
        score = score.view(repeats, len(output), -1)
        scores.append(score[..., :: score.shape[2] // _COMPONENTS + 1].double().cpu())
    found = torch.cat(scores)
    usual = (found - found.median(0).values).abs() <= 1e-6 * found.abs().amax(0)
    judged = (~usual).sum(0) >= _RARE
    errors = found.std(0) / len(found) ** 0.5
    return not bool((judged & (found.mean(0).abs() > _ERRORS * errors)).any())


def _gradient(
    total: Callable[[Tensor], Tensor], output: Tensor, constrained: Callable[[Tensor], Tensor] = torch.Tensor.clone
) -> Tensor:
    with torch.enable_grad():
        leaf = output.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(total(constrained(leaf)), leaf, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def _constraint(output: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what leaves logarithms of probabilities, or probabilities, as they are: only along these can a model move them."""
    if output.ndim > 1 and output.shape[1] > 1:
        if float(output.logsumexp(1).abs().max()) < 1e-3:
            return lambda values: values.log_softmax(1)
        if float(output.min()) >= 0 and float((output.sum(1) - 1).abs().max()) < 1e-3:
            return lambda values: values / values.sum(1, keepdim=True)
    return torch.Tensor.clone
