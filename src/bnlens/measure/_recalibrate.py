"""Population statistics as running statistics: what evaluation should normalise with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnlens._masks import Mask
from bnlens._progress import progress_bar
from bnlens.errors import DataError, ModelError
from bnlens.measure._arguments import check_mask
from bnlens.measure._columns import Layout, concatenate
from bnlens.measure._intercept import Handler, Interceptor, batch_norm_layers, handed_back, is_frozen, unwrap
from bnlens.measure._memory import Footprint
from bnlens.measure._population import normalise_by_batch, settle_population
from bnlens.measure._probe import run_inputs
from bnlens.measure._ranks import agreeing, gather, world

__all__ = ["Recalibration", "recalibrate"]


@dataclass(frozen=True)
class Recalibration:
    """The outcome of ``recalibrate``.

    Attributes:
        layers: BN layers whose running statistics were set.
        passes: passes over the samples until no statistic moved any more: two if the first was of all samples at once.
        samples: samples in one pass, over all ranks.
    """

    layers: int
    passes: int
    samples: int


def recalibrate(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    forward: Callable[[nn.Module, Any], Any] = run_inputs,
    mask: Callable[[Any], Mask] | None = None,
    tolerance: float = 1e-4,
    progress: bool | None = None,
) -> Recalibration:
    """Set the running statistics of all BN layers to the population statistics at the present weights.

    The moving averages of training lag behind the weights and carry the noise of the last batches. One pass in train mode
    (``torch.optim.swa_utils.update_bn``) still normalises each layer's input by the noisy statistics of single batches.
    Here each layer's statistics are taken with all earlier layers normalised by theirs: the loader is passed over until no
    mean moves by more than ``tolerance`` standard deviations and no standard deviation by more than that fraction. Where
    all samples fit in memory as one batch (2 GiB on a CPU, half of what is free on a GPU) they go through the model at
    once, and a second pass confirms what that gave. Batches may be of any size; sums are exact. If ``torch.distributed``
    is initialised, the samples of all ranks count.

    The running mean becomes mu_P and the running variance the Bessel-corrected variance over samples and pixels, as
    PyTorch keeps it. Mode, momentum, ``num_batches_tracked``, gradients, hooks and random number generators stay as they
    are; on an error or an interrupt the running statistics do, too. Layers that keep no running statistics, and layers that
    are frozen (in eval mode inside a model that is being trained), are left alone. A module used several times gets the
    statistics of all its uses.

    Args:
        model: any module with BN layers; runs in eval mode.
        loader: yields batches as `bnlens.report` takes them; targets are not used and may be missing. It is iterated
            several times, so a generator will not do. Data augmentation should be off.
        forward: ``(model, batch)`` runs the model on a batch, for models that take something else.
        mask: for padded samples: from a batch, as ``forward`` gets it, to what :func:`bnlens.masked` takes. Statistics are then
            those of valid values, as they are of a model that enters that context itself.
        tolerance: see above.
        progress: show a bar on standard error; by default if that is a terminal.

    Raises:
        ModelError: no BN layer of the model keeps running statistics, or the model does not run the same layers each time.
        UsageError: the mask is no function, or does not fit a layer.
        DataError: the loader is empty (on any rank) or cannot be iterated again, or a layer's input is not finite.

    Example:
        >>> import torch, bnlens
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))
        >>> bnlens.recalibrate(model, [torch.tensor([[1.0], [2.0]]), torch.tensor([[6.0]])])
        Recalibration(layers=1, passes=2, samples=3)
        >>> model[0].running_mean.item(), model[0].running_var.item()
        (3.0, 7.0)
    """
    model = unwrap(model)
    layers = {name: layer for name, layer in batch_norm_layers(model).items() if not is_frozen(model, layer)}
    tracked = {name: layer for name, layer in layers.items() if layer.running_mean is not None}
    if not tracked:
        raise ModelError(
            f"{type(model).__name__} has no BatchNorm layer with running statistics that is not frozen; nothing to recalibrate "
            "(build layers with track_running_stats=True, or unfreeze them: .train() or .eval() on all of the model)"
        )
    run = _Passes(model, loader, forward, Interceptor(layers), check_mask(mask))
    with progress_bar(progress) as bar, handed_back(model), run.interceptor.attached():
        advance = bar.stage("population statistics, passes", None)
        with agreeing():
            whole = run.whole()
        at_once = None if whole is None else partial(run.forwards, whole)
        populations, passes = settle_population(run, at_once=at_once, tolerance=tolerance, advance=advance)
    written = 0
    with torch.no_grad():
        for name, population in populations.items():
            layer = tracked.get(name)
            if layer is None or layer.running_mean is None or layer.running_var is None:
                continue
            count = population.count
            layer.running_mean.copy_(population.mean)
            layer.running_var.copy_(population.variance * (count / max(count - 1, 1)))
            written += 1
    return Recalibration(written, passes, sum(gather(run.samples)))


@dataclass
class _Passes:
    """Runs the model over the loader once for each call; all uses of a layer count as one."""

    model: nn.Module
    loader: Iterable[Any]
    forward: Callable[[nn.Module, Any], Any]
    interceptor: Interceptor
    mask: Callable[[Any], Mask] | None
    samples: int = 0

    def __call__(self, handler: Handler) -> None:
        samples = 0
        for batch in self.loader:
            tensors = (leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim)
            samples += next(map(len, tensors), 0)
            self.forwards(batch, handler)
        if not samples:
            where = f" on rank {world()[0]}" if world()[1] > 1 else ""
            again = " the second time; give one that can be iterated again, such as a DataLoader"
            fix = again if self.samples else "; give a loader that yields batches of samples"
            raise DataError(f"the loader is empty{where}{fix}")
        self.samples = samples

    @torch.no_grad()
    def whole(self) -> Any | None:
        """Return all samples as one batch; None if they do not fit in memory, or not together."""
        layout, parts, size = Layout(), [], 0
        footprint: Footprint | None = None
        for batch in self.loader:
            try:
                rows, length = layout.rows(batch)
            except DataError:
                return None
            if footprint is None:
                footprint = Footprint(batch, length)
                self.forwards(batch, footprint.noting(normalise_by_batch))
            parts.append(rows)
            self.samples = size = size + length
            if size > footprint.samples:
                return None
        return layout.tree(concatenate(parts), None) if parts else None

    def forwards(self, batch: Any, handler: Handler) -> None:
        """Run the model on one batch."""

        def by_layer(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
            return handler(name.partition("#")[0], h, gamma, beta, eps)

        first = next(self.model.parameters(), next(self.model.buffers(), None))
        device = torch.device("cpu") if first is None else first.device
        moved = pytree.tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, batch)
        with self.interceptor.handling(by_layer, None if self.mask is None else self.mask(moved)):
            self.forward(self.model, moved)
