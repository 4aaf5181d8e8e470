"""An independent twin of a model: BN layers written out by hand, with parameters of their own for each call."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._first_look import first_look
from bnlens.measure._groups import Perturbation
from bnlens.measure._intercept import Interceptor, batch_norm_layers, handed_back
from bnlens.measure._loss import SampleLoss
from bnlens.measure._pool import Batch, SamplePool
from bnlens.measure._population import estimate_population
from bnlens.measure._probe import Probe, default_forward
from bnlens.measure._rows import SampleRows
from bnlens.measure._sampling import Sampler, ZeroNode

GROUP = 6


class TwinNorm(nn.Module):
    """Normalises by the statistics of the first batch it sees, call by call, from then on."""

    def __init__(self, name: str, layer: _BatchNorm) -> None:
        super().__init__()
        self.name, self.eps, self.act = name, layer.eps, getattr(layer, "act", None)
        self.scale = torch.ones(layer.num_features) if layer.weight is None else layer.weight.detach()
        self.offset = torch.zeros(layer.num_features) if layer.bias is None else layer.bias.detach()
        self.statistics: dict[str, tuple[Tensor, Tensor]] = {}
        self.affine: dict[str, tuple[Tensor, Tensor]] = {}
        self.count = 0

    def forward(self, h: Tensor) -> Tensor:
        self.count += 1
        call = self.name if self.count == 1 else f"{self.name}#{self.count}"
        axes = (0, *range(2, h.ndim))
        if call not in self.statistics:
            variance = h.detach().var(axes, unbiased=False)
            self.statistics[call] = (h.detach().mean(axes), (variance + self.eps).sqrt())
            scale, offset = (tensor.to(h.dtype).clone().requires_grad_() for tensor in (self.scale, self.offset))
            self.affine[call] = scale, offset
        shape = (1, -1, *[1] * (h.ndim - 2))
        mean, std = self.statistics[call]
        gamma, beta = self.affine[call]
        y = gamma.view(shape) * (h - mean.view(shape)) / std.view(shape) + beta.view(shape)
        return y if self.act is None else self.act(y)


class Twin:
    """A float64 copy of ``model`` under population statistics of ``batch``, taken in one full-batch pass."""

    def __init__(self, model: nn.Module, batch: Any, loss_fn: Any) -> None:
        self.model = nn.Sequential(copy.deepcopy(model).double().eval())  # a parent, so that any layer can be replaced
        self.norms = []
        for name, layer in list(self.model[0].named_modules()):
            if isinstance(layer, _BatchNorm):
                parent, _, child = f"0.{name}".rpartition(".") if name else ("", "", "0")
                self.norms.append(TwinNorm(name or "(model)", layer))
                setattr(self.model.get_submodule(parent), child, self.norms[-1])
        self.batch = double(batch)
        self.loss_fn = loss_fn
        self(slice(None))

    def __call__(self, rows: slice | list[int]) -> tuple[Tensor, Tensor]:
        for norm in self.norms:
            norm.count = 0
        return default_forward(self.model[0], take(self.batch, rows))

    def loss(self, sample: int) -> Tensor:
        """The loss of a batch of one."""
        value: Tensor = self.loss_fn(*self(slice(sample, sample + 1)))
        return value.mean()

    def losses(self, rows: list[int]) -> Tensor:
        """The loss of each of these samples, from one pass."""
        output, target = self(rows)
        return torch.stack([self.loss_fn(output[j : j + 1], target[j : j + 1]).mean() for j in range(len(rows))])

    def work(self, rows: list[int], eps: Mapping[str, tuple[Tensor, Tensor]], t: float) -> Tensor:
        """eps . (gradient of the mean loss of these samples) at (gamma, beta) + t eps, by call; eps in that order."""
        scales, shifts = ({name: t * pair[i] for name, pair in eps.items()} for i in (0, 1))
        with self.shifted(scales, shifts):
            leaves = [leaf for name in eps for leaf in self.affine[name]]
            found = torch.autograd.grad(self.losses(rows).mean(), leaves)
        parts = [
            (leaf * gradient).sum() for leaf, gradient in zip((e for p in eps.values() for e in p), found, strict=True)
        ]
        return torch.stack([torch.stack(parts[i : i + 2]).sum() for i in range(0, len(parts), 2)])

    @property
    def affine(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {call: pair for norm in self.norms for call, pair in norm.affine.items()}

    @property
    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {call: pair for norm in self.norms for call, pair in norm.statistics.items()}

    @contextmanager
    def shifted(self, scales: Mapping[str, Tensor], shifts: Mapping[str, Tensor]) -> Iterator[None]:
        """Within this context gamma and beta of each call are moved by the given amounts."""
        affine = self.affine
        saved = {call: [tensor.detach().clone() for tensor in pair] for call, pair in affine.items()}
        with torch.no_grad():
            for call, (gamma, beta) in affine.items():
                gamma += scales[call]
                beta += shifts[call]
        yield
        with torch.no_grad():
            for call, pair in affine.items():
                for tensor, before in zip(pair, saved[call], strict=True):
                    tensor.copy_(before)


def double(tree: Any) -> Any:
    return torch.utils._pytree.tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, tree)


def take(tree: Any, rows: Any) -> Any:
    return torch.utils._pytree.tree_map(lambda leaf: leaf[rows], tree)


@contextmanager
def probing(
    model: nn.Module,
    loader: Any,
    loss_fn: Any,
    batch_size: int = 16,
    rows: Any = None,
    mask: Any = None,
    **options: Any,
) -> Iterator[Probe]:
    """A probe of ``model``, with its loss checked as a report does."""
    layers = batch_norm_layers(model)
    interceptor = Interceptor(layers)
    with handed_back(model), interceptor.attached():
        pool = SamplePool.from_loader(loader, 4096)
        probe = Probe(model, interceptor, pool, SampleLoss(loss_fn, **options), default_forward, batch_size)
        probe.rows, probe.mask = SampleRows(rows, pool), mask
        first_look(probe, layers)
        yield probe


@dataclass(frozen=True)
class Bench:
    """A sampler on all samples as one batch, in order (or ``rows`` of them), and the twin of its model."""

    sampler: Sampler
    batch: Batch
    zero: ZeroNode
    twin: Twin

    def members(self, group: int, size: int = GROUP) -> list[int]:
        """The samples of a group."""
        found: list[int] = self.batch.indices[group * size : (group + 1) * size].tolist()
        return found

    def recorded(self, group: int, size: int = GROUP) -> dict[str, tuple[Tensor, Tensor]]:
        """What the statistics of a group amount to in each call: the changes of gamma and of beta."""
        law = self.sampler.law(self.batch, size, self.zero, list(self.sampler.populations), keep=True)
        moved: Mapping[str, Perturbation] = law.recorded
        return {name: (p.scale[group], p.shift[group]) for name, p in moved.items()}


@contextmanager
def bench(
    model: nn.Module, loader: Any, loss_fn: Any, *, nodes: int = 3, size: int = GROUP, rows: Tensor | None = None
) -> Iterator[Bench]:
    """Set up in float64, with the quadrature fixed."""
    model = model.double()
    with probing(model, double(loader), loss_fn) as probe:
        populations, _ = estimate_population(probe, tolerance=1e-13)
        sampler = Sampler(probe, populations, {size: nodes})
        everything = probe.pool.take(torch.arange(len(probe.pool)))
        batch = everything if rows is None else probe.pool.take(rows)
        yield Bench(sampler, batch, sampler.zero(batch), Twin(model, everything.data, loss_fn))
