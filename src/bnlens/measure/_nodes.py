"""Losses and per-sample gradients with (beta, gamma) of every BN call moved sample by sample.

A group of M samples, run with its own statistics, computes what the net under population statistics does at (beta, gamma) +
eps, eps being the group's `bnlens.measure._groups.Perturbation` in each call (theory sheet D.2). A *node* is that net at
(beta, gamma) + t eps for one t, with the gradients of each sample's loss in its own copy of (beta, gamma).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens.measure._groups import affine
from bnlens.measure._intercept import Handler
from bnlens.measure._pool import Batch
from bnlens.measure._population import Population, Populations, population_handler
from bnlens.measure._probe import Probe
from bnlens.measure._rows import SampleRows

__all__ = ["CallGradients", "Move", "Node", "Watch", "node", "standardise"]


@dataclass(frozen=True)
class CallGradients:
    """Gradients of each sample's loss in the affine parameters of one BN call (theory sheet D.1).

    Attributes:
        beta: sum over rows and pixels of dy, (N, C).
        gamma: sum over rows and pixels of dy xhat, (N, C), xhat being normalised by population statistics.
    """

    beta: Tensor
    gamma: Tensor

    @property
    def stacked(self) -> Tensor:
        """(beta, gamma) side by side, (N, 2C)."""
        return torch.cat([self.beta, self.gamma], dim=1)


@dataclass(frozen=True)
class Node:
    """One pass of a batch of N samples.

    Attributes:
        losses: (N,), float64, on the CPU.
        given: gradients by call name at the data's targets; calls that no gradient reaches (their output is unused,
            detached, or computed under ``no_grad``) are missing.
        drawn: the same for a curvature draw of the outputs, whose second moment is the true Fisher matrix.
    """

    losses: Tensor
    given: dict[str, CallGradients]
    drawn: dict[str, CallGradients]

    @classmethod
    def joined(cls, parts: Sequence[Node]) -> Node:
        """Return the node of a batch from those of its parts."""
        if len(parts) == 1:
            return parts[0]
        pairs: list[dict[str, CallGradients]] = []
        for found in ([part.given for part in parts], [part.drawn for part in parts]):
            columns = {name: [gradients[name] for gradients in found] for name in found[0]}
            pairs.append(
                {
                    name: CallGradients(torch.cat([g.beta for g in own]), torch.cat([g.gamma for g in own]))
                    for name, own in columns.items()
                }
            )
        return cls(torch.cat([part.losses for part in parts]), *pairs)


Move = Callable[[str, Tensor, Tensor], tuple[Tensor, Tensor] | None]
"""From (call name, input h, gamma) to what is added to its beta and its gamma, (N, C) each; None for nothing."""

Watch = Callable[[str, Tensor, Tensor], None]
"""Is told (call name, input h, gamma) of every BN call."""


def standardise(h: Tensor, population: Population) -> Tensor:
    """Return xhat = (h - mu_P) / sigma_P as (rows, C, pixels), float32 or wider."""
    x = h.to(population.mean.dtype)
    x = x.flatten(2) if x.ndim > 2 else x.unsqueeze(2)
    return (x - population.mean.unsqueeze(1)) / population.sigma.unsqueeze(1)


def node(
    probe: Probe,
    batch: Batch,
    populations: Populations,
    *,
    move: Move = lambda name, h, gamma: None,
    watch: Watch = lambda name, h, gamma: None,
    draws: torch.Generator | None = None,
) -> Node:
    """Run a batch forward under population statistics, and backward to (beta, gamma) of each sample and call.

    No weight gradient is formed and no per-sample backward is run: one kernel reduces the output gradient dy of a BN call
    to the sums of each sample. Tensors outside the model that require gradients (parameters of the loss, say) get none.

    Args:
        probe: the model, its parameters not requiring gradients.
        batch: N samples.
        populations: population statistics of all calls.
        move: see `Move`.
        watch: see `Watch`.
        draws: a generator on the CPU: take gradients at curvature draws of the outputs, too.
    """
    leaves: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.enable_grad():
        output, target = probe.outputs(batch, _moved(populations, probe.rows, move, watch, leaves))
        losses = probe.loss.per_sample(output.detach(), target).double().cpu()
        if not output.requires_grad:
            return Node(losses, {}, {})
        flat = [leaf for pair in leaves.values() for leaf in pair]
        given = torch.autograd.grad(
            probe.loss.total(output, target), flat, retain_graph=draws is not None, allow_unused=True
        )
        drawn: tuple[Tensor | None, ...] = ()
        if draws is not None:
            draw = probe.loss.curvature_draw(output, target, draws)
            drawn = torch.autograd.grad(output, flat, draw, allow_unused=True)
    return Node(losses, _by_call(leaves, given), _by_call(leaves, drawn))


def _by_call(names: Mapping[str, object], gradients: tuple[Tensor | None, ...]) -> dict[str, CallGradients]:
    pairs = zip(names, gradients[::2], gradients[1::2], strict=False)
    return {name: CallGradients(beta, gamma) for name, beta, gamma in pairs if beta is not None and gamma is not None}


def _moved(
    populations: Populations, rows: SampleRows, move: Move, watch: Watch, leaves: dict[str, tuple[Tensor, Tensor]]
) -> Handler:
    by_population = population_handler(populations)

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if name not in populations:
            return by_population(name, h, gamma, beta, eps)  # which says what is wrong
        watch(name, h.detach(), gamma)
        shift, scale = move(name, h.detach(), gamma) or (beta.new_zeros(()), gamma.new_zeros(()))
        shape = (len(h if rows.counts is None else rows.counts), len(gamma))
        of_beta = (beta + shift).expand(shape).clone().requires_grad_()
        of_gamma = (gamma + scale).expand(shape).clone().requires_grad_()
        leaves[name] = of_beta, of_gamma
        return affine(h, populations[name], of_gamma, of_beta, rows.counts)

    return handle
