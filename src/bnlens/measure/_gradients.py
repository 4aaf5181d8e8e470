"""Per-sample gradients of gamma and beta, from each BN layer's own output gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens.measure._intercept import Handler
from bnlens.measure._population import Population, normalise
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
    populations: Mapping[str, Population],
    *,
    given: bool = True,
    drawn: torch.Generator | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[dict[str, SampleGradients], dict[str, SampleGradients]]:
    """One forward pass over the pool, and one backward pass for each kind of label, under population statistics.

    A hook on each BN layer's output reduces its gradient dy to per-sample sums as soon as it arrives. No weight gradient is
    formed and no per-sample backward is run, so a pass costs less than a training step on the same data.

    Args:
        probe: the model on its samples, its parameters not requiring gradients.
        populations: population statistics of all calls.
        given: whether to take gradients at the data's own targets.
        drawn: a generator on the CPU: take gradients at curvature draws of the outputs (labels drawn from the model).
        advance: called after each forward pass of ``probe.batch_size`` samples.

    Returns:
        Gradients by call name: at the given targets, and at the drawn ones; empty where not asked for.
    """
    size = len(probe.pool)
    results: list[dict[str, SampleGradients]] = [{}, {}]
    for indices in probe.pool.batches(probe.batch_size):
        sink = _Sink(results[0], indices, size)
        with torch.enable_grad():
            output, target = probe.outputs(indices, _hooked(populations, sink))
            if given:
                total = probe.loss.total(output, target)
                total.backward(retain_graph=drawn is not None)  # type: ignore[no-untyped-call]
            if drawn is not None:
                sink.gradients = results[1]
                output.backward(probe.loss.curvature_draw(output, drawn))  # type: ignore[no-untyped-call]
        advance()
    return results[0], results[1]


@dataclass
class _Sink:
    """Where the hooks of one forward pass put the rows ``indices`` of the per-sample gradients."""

    gradients: dict[str, SampleGradients]
    indices: Tensor
    size: int

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


def _hooked(populations: Mapping[str, Population], sink: _Sink) -> Handler:
    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if not h.requires_grad:  # nothing upstream needs a gradient, so the graph starts here
            h = h.detach().requires_grad_()
        y = normalise(h, populations[name], gamma, beta)
        # registered before any in-place activation that follows, so it sees the gradient of the BN output itself
        y.register_hook(lambda dy: sink.add(name, dy, h, populations[name]))  # type: ignore[no-untyped-call]
        return y

    return handle
