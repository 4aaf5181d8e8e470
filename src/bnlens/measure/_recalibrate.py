"""Population statistics as running statistics: what evaluation should normalise with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnlens._arguments import NotNegative, checked
from bnlens._masks import Mask
from bnlens._progress import progress_bar
from bnlens._ranks import gather, world
from bnlens.errors import DataError, ModelError
from bnlens.measure._arguments import Loader, check_runs
from bnlens.measure._columns import Layout, concatenate
from bnlens.measure._intercept import Handler, Interceptor, batch_norm_layers, handed_back, is_frozen, unwrap
from bnlens.measure._memory import Footprint
from bnlens.measure._own_code import running
from bnlens.measure._population import normalise_by_batch, settle_population
from bnlens.measure._probe import run_inputs
from bnlens.measure._ranks import agreeing
from bnlens.measure._running import check_frozen

__all__ = ["Recalibration", "recalibrate"]


@dataclass(frozen=True)
class Recalibration:
    """The outcome of ``recalibrate``.

    Attributes:
        layers: BN layers whose running statistics were set.
        passes: passes over the samples until no statistic moved any more: two if the first was of all samples at once, more
            where that is not confirmed to rounding or a layer is used several times.
        samples: samples in one pass, over all ranks.
    """

    layers: int
    passes: int
    samples: int


@checked
def recalibrate(
    model: nn.Module,
    loader: Loader,
    *,
    forward: Callable[[nn.Module, Any], Any] = run_inputs,
    mask: Callable[[Any], Mask] | None = None,
    tolerance: NotNegative | None = None,
    progress: bool | None = None,
) -> Recalibration:
    """Set the running statistics of all BN layers to the population statistics at the present weights.

    The moving averages of training lag behind the weights and carry the noise of the last batches. One pass in train mode
    (``torch.optim.swa_utils.update_bn``) still normalises each layer's input by the noisy statistics of single batches.
    Here each layer's statistics are taken with all earlier layers normalised by theirs, as evaluation will: one more pass in
    eval mode over the same batches finds, to rounding, at the input of every layer the mean and the variance that were
    written, whatever the number of samples. The loader is passed over until nothing moves by more than ``tolerance``. Where
    all samples fit in memory as one batch (2 GiB on a CPU, half of what is free on a GPU) they go through the model at
    once, and a second pass confirms what that gave. Batches may be of any size; sums are exact. If ``torch.distributed``
    is initialised, the samples of all ranks count.

    The running mean becomes the mean and the running variance the Bessel-corrected variance over samples and pixels, as
    PyTorch keeps it, which evaluation normalises by. (`bnlens.report` normalises by the biased one, the theory's, which
    differs by a part in the number of values.) Mode, momentum, ``num_batches_tracked``, gradients, hooks and random number
    generators stay as they are; on an error or an interrupt the running statistics do, too. Layers that are frozen, by
    `bnlens.freeze` or in eval mode inside a model that is being trained, keep their running statistics; layers that keep
    none normalise by the batch at hand, as in evaluation. A module used several times gets the statistics of all its uses.

    Args:
        model: any module with BN layers; runs in eval mode.
        loader: yields batches as `bnlens.report` takes them; targets are not used and may be missing. It is iterated
            several times, so a generator will not do. Data augmentation should be off.
        forward: ``(model, batch)`` runs the model on a batch, for models that take something else.
        mask: for padded samples: from a batch, as ``forward`` gets it, to what :func:`bnlens.masked` takes. Statistics are then
            those of valid values, as they are of a model that enters that context itself.
        tolerance: in standard deviations for a mean, as a fraction for a standard deviation; by default rounding, 2e-6 in
            float32 and 1e-12 in float64.
        progress: show how far it is on standard error (a bar in a terminal, a line now and then elsewhere) or in the notebook.

    Raises:
        ModelError: no BN layer of the model keeps running statistics, or all are frozen; one is frozen that makes NaN; or the
            model does not run the same layers each time.
        UsageError: the mask is no function, or does not fit a layer.
        DataError: the loader is empty (on any rank) or cannot be iterated again, or a layer's input is not finite or one
            value per channel in all, which has no variance.

    Warns:
        UserWarning: statistics still moved by more than 1e-4 in the last pass, as they do where the forward pass draws random
            numbers or the loader gives other samples each time.

    Example:
        >>> import torch, bnlens
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))
        >>> bnlens.recalibrate(model, [torch.tensor([[1.0], [2.0]]), torch.tensor([[6.0]])])
        Recalibration(layers=1, passes=2, samples=3)
        >>> model[0].running_mean.item(), model[0].running_var.item()
        (3.0, 7.0)
    """
    model = unwrap(model)
    check_runs(model)
    found = batch_norm_layers(model)
    layers = {name: layer for name, layer in found.items() if not is_frozen(model, layer)}
    check_frozen({name: layer for name, layer in found.items() if name not in layers})
    tracked = {name: layer for name, layer in layers.items() if layer.running_mean is not None}
    if not tracked:
        raise ModelError(
            f"{type(model).__name__} has no BatchNorm layer with running statistics that is not frozen; nothing to recalibrate "
            "(build layers with track_running_stats=True, or unfreeze them: bnlens.unfreeze, .train() or .eval() on the model)"
        )
    untracked = frozenset(layers) - frozenset(tracked)
    run = _Passes(model, loader, forward, Interceptor(layers), mask, untracked)
    with progress_bar(progress) as bar, handed_back(model), run.interceptor.attached():
        advance = bar.stage("statistics")
        with agreeing():
            whole = run.whole()
        at_once = None if whole is None else partial(run.forwards, whole)
        populations, passes = settle_population(
            run, at_once=at_once, tolerance=tolerance, evaluation=True, shared=run.shared, advance=advance
        )
    with torch.no_grad():
        for name, population in populations.items():
            for running, value in (("running_mean", population.mean), ("running_var", population.variance)):
                tracked[name].get_buffer(running).copy_(value)
    return Recalibration(len(populations), passes, sum(gather(run.samples)))


@dataclass
class _Passes:
    """Runs the model over the loader once for each call; all uses of a layer count as one, and those used again are noted."""

    model: nn.Module
    loader: Iterable[Any]
    forward: Callable[[nn.Module, Any], Any]
    interceptor: Interceptor
    mask: Callable[[Any], Mask] | None
    untracked: frozenset[str]
    samples: int = 0
    shared: set[str] = field(default_factory=set)

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
            path, again, _ = name.partition("#")
            if path in self.untracked:
                return normalise_by_batch(name, h, gamma, beta, eps)
            if again:
                self.shared.add(path)
            return handler(path, h, gamma, beta, eps)

        first = next(self.model.parameters(), next(self.model.buffers(), None))
        device = torch.device("cpu") if first is None else first.device
        moved = pytree.tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, batch)
        mask = None if self.mask is None else self.mask(moved)
        with self.interceptor.handling(by_layer, mask), running(self.model, moved):
            self.forward(self.model, moved)
