"""`bnlens.report`: one call that measures and predicts the gap of a network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bnlens._progress import progress_bar
from bnlens.errors import DataError, ModelError, UsageError
from bnlens.measure._estimate import mean_estimate
from bnlens.measure._intercept import Handler, Interceptor, batch_norm_layers, handed_back, is_frozen, unwrap
from bnlens.measure._loss import Likelihood, LossFunction, Reduction, SampleLoss
from bnlens.measure._measurement import Collected, Measurement
from bnlens.measure._notes import gradient_notes, model_notes, result_notes
from bnlens.measure._pool import SamplePool
from bnlens.measure._population import estimate_population
from bnlens.measure._probe import Forward, Probe, default_forward
from bnlens.measure._report import Report
from bnlens.measure._results import NetworkResult

__all__ = ["report"]


def report(
    model: nn.Module,
    loader: Iterable[Any],
    loss_fn: LossFunction,
    *,
    statistics_batch_size: int | Sequence[int] = (16, 64),
    prediction_batch_size: int | None = None,
    rounds: int = 4,
    per_layer: bool = True,
    max_samples: int = 4096,
    likelihood: Likelihood | Callable[[Tensor, torch.Generator], Any] | None = None,
    reduction: Reduction | None = None,
    forward: Forward = default_forward,
    optimizer: torch.optim.Optimizer | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Report:
    """Measure and predict how much batch normalization regularises ``model``, per layer and as a whole.

    The samples of ``loader`` (up to ``max_samples``) are the population. The gap of M is the mean loss with the statistics
    of random disjoint groups of M samples less that with population statistics, at the present weights, without dropout.
    It is *measured* by running such groups, and *predicted* from groups of another size M0 by the expansion of theory sheet
    D.1 and D.2, with the true Fisher matrix and with the exact (antithetic) second order. Standard errors are over the
    random groups and curvature draws.

    The model is handed back as it came (mode, ``requires_grad``, gradients, buffers, hooks, random number generators),
    also when something raises or the user interrupts.

    Args:
        model: any module with BatchNorm1d/2d/3d layers or subclasses that normalise by ``F.batch_norm``. A BN layer in eval
            mode inside a model in train mode counts as frozen and keeps its running statistics.
        loader: yields (inputs, ..., target) or a dict with the target under ``labels``, ``label``, ``targets``, ``target``
            or ``y``; anything else needs ``forward``.
        loss_fn: ``loss_fn(output, target)``: a mean or a sum over samples, or one value per sample.
        statistics_batch_size: the M to measure at, one or several, at least 2.
        prediction_batch_size: M0, none of the measured M; by default their geometric mean, or for a single M
            2M (M/2 if the samples do not suffice).
        rounds: how often the pool is reshuffled for each gap; errors fall as 1/sqrt(rounds).
        per_layer: whether to measure each layer alone, which takes one run of the network per layer.
        max_samples: at most this many samples are read and held in memory.
        likelihood: behind the loss: ``"cross_entropy"``, ``"binary_cross_entropy"`` (on logits), ``"mean_squared_error"``,
            or a function ``(output, generator) -> target`` that draws targets, on the CPU; recognised for PyTorch's own
            losses. Without one there are no Fisher and no two-term values.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; found out if not given.
        forward: ``(model, batch) -> (output, target)`` for models that take or return something else.
        optimizer: if given, weight decay on gamma is set beside what BN applies.
        seed: of groups and curvature draws.
        progress: show a bar on standard error; by default if that is a terminal.

    Returns:
        The report; its ``repr`` is a table.

    Raises:
        ModelError: the model has no BN layer in use, or does not return a tensor.
        DataError: the loader is empty, or has fewer than 2M samples.
        LossError: the loss is not finite, labels are out of range, or it is neither a mean nor a sum over samples.
        UsageError: an argument is out of range.

    Example:
        >>> import torch, bnlens
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> batches = [(torch.randn(64, 4), torch.randint(3, (64,))) for _ in range(4)]
        >>> report = bnlens.report(model, batches, torch.nn.functional.cross_entropy, statistics_batch_size=8)
        >>> report.samples, report.prediction_batch_size, report.layers[0].name
        (256, 16, '1')
    """
    started = time.perf_counter()
    if not isinstance(model, nn.Module):
        raise ModelError(f"model is of type {type(model).__name__}; give a torch.nn.Module")
    if not (hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")):
        raise DataError(
            f"loader is of type {type(loader).__name__}; give one that yields batches, such as a DataLoader"
        )
    if not callable(loss_fn):
        raise UsageError(f"loss_fn is {loss_fn!r}; give a function loss_fn(output, target)")
    sizes, source = _check_sizes(statistics_batch_size, prediction_batch_size)
    rounds, max_samples = _at_least("rounds", rounds, 1), _at_least("max_samples", max_samples, 2)
    model = unwrap(model)
    layers = batch_norm_layers(model)
    if not layers:
        raise ModelError(
            f"{type(model).__name__} has no BN layer, so it has no gap; give a model with BatchNorm1d, 2d or 3d layers or "
            "subclasses of them, before they are fused into convolutions"
        )
    if any(is_lazy(parameter) for parameter in (*model.parameters(), *model.buffers())):
        raise ModelError(f"{type(model).__name__} has lazy modules that never ran; run it on one batch first")
    active = {name: layer for name, layer in layers.items() if not is_frozen(model, layer)}
    notes = list(model_notes(model, layers))
    loss = SampleLoss(loss_fn, reduction, likelihood)
    interceptor = Interceptor(active)
    with progress_bar(progress) as bar, handed_back(model), interceptor.attached():
        pool = SamplePool.from_loader(loader, max_samples)
        source = _source(sizes, len(pool)) if source is None else source
        batch_size = _check_samples(pool, max(*sizes, source))
        probe = Probe(model, interceptor, pool, loss, forward, batch_size)
        running = _first_look(probe, active)
        advance = bar.stage("population statistics, passes", None)
        populations, passes = estimate_population(probe, advance=advance)
        if not populations:
            raise ModelError("no BN layer of the model runs in its forward pass, or all are frozen; nothing to report")
        data = Collected.collect(probe, populations, seed, bar)
        gaps = Measurement(probe, populations, data, sizes, source, rounds, seed, bar)
        network = NetworkResult(
            gaps.of(list(populations), "network"),
            mean_estimate(data.baseline),
            None if running is None else mean_estimate(running - data.baseline),
        )
        results = tuple(gaps.layer(name, active[_path(name)], per_layer) for name in populations)
    notes += gradient_notes(data.unreached)
    notes += result_notes(results, network, active, optimizer, min(sizes))
    return Report(
        model=type(model).__name__,
        layers=results,
        network=network,
        notes=tuple(notes),
        statistics_batch_sizes=sizes,
        prediction_batch_size=source,
        samples=len(pool),
        rounds=rounds,
        likelihood=loss.likelihood_name,
        population_passes=passes,
        seed=seed,
        seconds=round(time.perf_counter() - started, 3),
        version=version("bnlens"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _first_look(probe: Probe, layers: dict[str, nn.modules.batchnorm._BatchNorm]) -> Tensor | None:
    """Check loss and outputs on the first batch; return per-sample losses in eval mode, (P,), if all layers allow that."""
    indices, handler = next(probe.pool.batches(probe.batch_size)), _by_running_statistics(layers)
    with torch.no_grad():
        output, target = probe.outputs(indices, handler)
        probe.loss.check(output, target)
    if any(layer.running_mean is None for layer in layers.values()):
        return None
    return torch.cat([probe.losses(indices, handler) for indices in probe.pool.batches(probe.batch_size)])


def _by_running_statistics(layers: dict[str, nn.modules.batchnorm._BatchNorm]) -> Handler:
    """Return a handler that does what the layers do in eval mode."""

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        layer = layers[_path(name)]
        mean, variance = layer.running_mean, layer.running_var
        if mean is None or variance is None:
            return F.batch_norm(h, None, None, gamma, beta, True, 0.0, eps)
        return F.batch_norm(h, mean.to(gamma.dtype), variance.to(gamma.dtype), gamma, beta, False, 0.0, eps)

    return handle


def _check_samples(pool: SamplePool, largest: int) -> int:
    """Return the samples per forward pass: the loader's own batch, or one group where that is larger."""
    if len(pool) < 2 * largest:
        raise DataError(
            f"the loader gave {len(pool)} samples, fewer than twice the group size {largest}; give at least {2 * largest} "
            "samples (max_samples counts too) or a smaller statistics_batch_size and prediction_batch_size"
        )
    return max(pool.batch_size, largest)


def _path(name: str) -> str:
    return name.partition("#")[0]


def _check_sizes(sizes: int | Sequence[int], source: int | None) -> tuple[tuple[int, ...], int | None]:
    given = list(sizes) if isinstance(sizes, Iterable) and not isinstance(sizes, str) else [sizes]
    if not given:
        raise UsageError("statistics_batch_size is empty; give at least one M")
    chosen = tuple(sorted({_at_least("statistics_batch_size", size, 2) for size in given}))
    if source is None:
        return chosen, None
    if _at_least("prediction_batch_size", source, 2) in chosen:
        raise UsageError(
            f"prediction_batch_size {source} is also measured; choose another, so that the prediction is one"
        )
    return chosen, int(source)


def _source(sizes: tuple[int, ...], samples: int) -> int:
    """Return M0 where the user gives none: between the measured M, or twice (half, if samples are few) a single one."""
    smallest, largest = sizes[0], sizes[-1]
    if smallest < largest:
        source = round(math.sqrt(smallest * largest))
    else:
        source = 2 * smallest if 4 * smallest <= samples or smallest < 4 else smallest // 2
    while source in sizes:
        source += 1
    return source


def _at_least(name: str, value: Any, least: int) -> int:
    """Return the value as an int; NumPy's integers count as such."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} is {value!r}; it must be an integer of at least {least}")
    return int(value)
