"""Per-sample gradients of gamma and beta, from each BN layer's own output gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnlens.measure._intercept import Handler
from bnlens.measure._population import Population, Populations, normalise
from bnlens.measure._probe import Probe

__all__ = ["SampleGradients", "collect_gradients"]


@dataclass(frozen=True)
class SampleGradients:
    """Gradients of each sample's loss in the affine parameters of one BN call (theory sheet D.1).

    Attributes:
        beta: sum over pixels of dy, (P, C), float32.
        gamma: sum over pixels of dy xhat, (P, C), float32.
    """

    beta: Tensor
    gamma: Tensor

    @property
    def stacked(self) -> Tensor:
        """(beta, gamma) side by side, (P, 2C)."""
        return torch.cat([self.beta, self.gamma], dim=1)


def collect_gradients(
    probe: Probe,
    populations: Populations,
    *,
    given: bool = True,
    drawn: torch.Generator | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[dict[str, SampleGradients], dict[str, SampleGradients]]:
    """Make one forward pass over the pool, and one backward pass for each kind of label, under population statistics.

    A hook on each BN layer's output reduces its gradient dy to per-sample sums as soon as it arrives. No weight gradient is
    formed and no per-sample backward is run, so a pass costs less than a training step on the same data. Tensors outside
    the model that require gradients (parameters of the loss, say) get none.

    Args:
        probe: the model on its samples, its parameters not requiring gradients.
        populations: population statistics of all calls.
        given: whether to take gradients at the data's own targets.
        drawn: a generator on the CPU: take gradients at curvature draws of the outputs, for the true Fisher matrix.
        advance: called after each forward pass of ``probe.batch_size`` samples.

    Returns:
        Gradients by call name: at the given targets, and at the drawn ones; empty where not asked for. Calls that no
        gradient reaches (their output is unused, detached, or computed under ``no_grad``) are missing.
    """
    size = len(probe.pool)
    results: list[dict[str, SampleGradients]] = [{}, {}]
    for indices in probe.pool.batches(probe.batch_size):
        sink = _Sink(results[0], indices, size)
        with torch.enable_grad():
            output, target = probe.outputs(indices, _hooked(populations, sink))
            if not output.requires_grad:
                continue
            if given:
                total = probe.loss.total(output, target)
                torch.autograd.grad(total, sink.starts, retain_graph=drawn is not None, allow_unused=True)
            if drawn is not None:
                sink.gradients = results[1]
                draw = probe.loss.curvature_draw(output, target, drawn)
                torch.autograd.grad(output, sink.starts, draw, allow_unused=True)
        advance()
    return results[0], results[1]


@dataclass
class _Sink:
    """Takes the rows ``indices`` of the per-sample gradients from the hooks of one forward pass.

    ``starts`` are the tensors in which the graph of the pass starts, the inputs of its first BN layers.
    """

    gradients: dict[str, SampleGradients]
    indices: Tensor
    size: int
    starts: list[Tensor] = field(default_factory=list)

    def add(self, name: str, dy: Tensor, h: Tensor, population: Population) -> None:
        wide = population.mean.dtype
        axes = tuple(range(2, dy.ndim))
        beta = dy.sum(axes, dtype=wide) if axes else dy.to(wide)
        product = dy.to(wide) * h.detach().to(wide)
        raw = product.sum(axes) if axes else product
        gamma = (raw - population.mean * beta) / population.sigma
        if name not in self.gradients:
            shape = (self.size, dy.shape[1])
            self.gradients[name] = SampleGradients(torch.zeros(shape), torch.zeros(shape))
        self.gradients[name].beta[self.indices] = beta.float().cpu()
        self.gradients[name].gamma[self.indices] = gamma.float().cpu()


def _hooked(populations: Populations, sink: _Sink) -> Handler:
    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if not h.requires_grad:  # nothing upstream needs a gradient, so the graph starts here
            h = h.detach().requires_grad_()
            sink.starts.append(h)
        y = normalise(h, populations[name], gamma, beta)
        if not y.requires_grad:  # the model runs this layer under no_grad
            return y
        # registered before any in-place activation that follows, so it sees the gradient of the BN output itself
        y.register_hook(lambda dy: sink.add(name, dy, h, populations[name]))  # type: ignore[no-untyped-call]
        return y

    return handle
