"""The gap and the running statistics of a network while it trains."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Annotated, Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnlens._arguments import AtLeastTwo, Count, Range, Seed, Whole, check_call, checked
from bnlens._ranks import world
from bnlens.errors import DataError, LossError
from bnlens.integrations._loaders import first_samples
from bnlens.measure import Loader, report

__all__ = ["GapMonitor"]


class GapMonitor:
    """Measures now and then, on images held fixed, how much batch normalization regularises the network that trains.

    The first ``samples`` samples of ``loader`` are read once, when it is made, and `bnlens.report` runs on them in one shuffle
    (``rounds=`` or ``precision=`` ask for more), the same every time: differences between steps are those of the weights. The
    model stays as it is, with its mode, gradients and running statistics, and so do all generators of random numbers. One
    measurement takes about as long as five training steps of as many images as ``samples``.

    In a process group all ranks measure together; each takes its part of the samples, so give the same loader on every rank.

    Args:
        loader: yields batches as `bnlens.report` takes them, without data augmentation.
        loss_fn: ``loss_fn(output, target)``, as `bnlens.report` takes it.
        statistics_batch_size: M, at least 2.
        samples: images to hold, at least 2 M.
        every_n_steps: steps from one measurement to the next.
        seed: of the groups, and of the order of a loader that shuffles.
        options: of `bnlens.report`, such as ``forward`` or ``samples_of``.

    Raises:
        UsageError: a number is out of range.
        DataError: the loader is empty, has fewer than 2 M samples, or holds no tensors.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        >>> held = [(torch.randn(64, 4), torch.randint(3, (64,)))]
        >>> monitor = GapMonitor(held, torch.nn.functional.cross_entropy, statistics_batch_size=8, every_n_steps=100)
        >>> list(monitor(model, step=200)), monitor(model, step=201)
        (['bnlens/gap_8', 'bnlens/gap_8_stderr', 'bnlens/running_discrepancy'], {})
    """

    @checked
    def __init__(
        self,
        loader: Loader,
        loss_fn: Callable[..., Any],
        *,
        statistics_batch_size: AtLeastTwo = 16,
        samples: Annotated[int, Range(4)] = 128,
        every_n_steps: Count = 500,
        seed: Seed = 0,
        **options: Any,
    ) -> None:
        self.statistics_batch_size, self.samples, self.every_n_steps = statistics_batch_size, samples, every_n_steps
        self.loss_fn, self.seed, self.options = loss_fn, seed, options
        check_call(report, **options)
        self._batches, found = first_samples(loader, samples, seed)
        if min(found, samples) < 2 * statistics_batch_size:
            raise DataError(
                f"{min(found, samples)} samples are held, fewer than twice the group size {statistics_batch_size}; give "
                f"samples={2 * statistics_batch_size} or more, from a loader that has them"
            )

    @checked
    def __call__(self, model: nn.Module, step: Whole) -> dict[str, float]:
        """Return `measure` where ``step``, the number of optimizer steps done, is a multiple of ``every_n_steps``; else {}."""
        return self.measure(model) if step % self.every_n_steps == 0 else {}

    @checked
    def measure(self, model: nn.Module) -> dict[str, float]:
        """Return the numbers by the names that a logger takes, nats per sample.

        ``bnlens/gap_M`` and ``bnlens/gap_M_stderr`` are the network's gap at M and its standard error;
        ``bnlens/running_discrepancy`` is the loss with the running statistics less that with population statistics, missing
        where a layer keeps none.

        Raises:
            ModelError, UsageError: as `bnlens.report`.

        Warns:
            UserWarning: nothing can be measured, since the loss is not finite, say; the result is empty and training goes on.
        """
        number, ranks = world()
        held = self._batches if ranks == 1 else [pytree.tree_map(_every(number, ranks), b) for b in self._batches]
        rounds = None if "precision" in self.options else 1
        options = {"shares": False, "rounds": rounds, "progress": False, "max_samples": self.samples, **self.options}
        M = self.statistics_batch_size
        try:
            network = report(model, held, self.loss_fn, statistics_batch_size=M, seed=self.seed, **options).network
        except (LossError, DataError) as error:
            warnings.warn(f"the gap is not measured: {error}", UserWarning, stacklevel=3)
            return {}
        gap, discrepancy = network.gaps.measured[M], network.running_discrepancy
        found = {f"bnlens/gap_{M}": gap.value, f"bnlens/gap_{M}_stderr": gap.stderr}
        return found if discrepancy is None else {**found, "bnlens/running_discrepancy": discrepancy.value}


def _every(number: int, ranks: int) -> Any:
    return lambda leaf: leaf[number::ranks] if isinstance(leaf, Tensor) and leaf.ndim else leaf
