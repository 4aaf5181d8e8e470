"""`bnlens.report`: one call that measures and predicts the gap of a network."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._progress import Bar, progress_bar
from bnlens.errors import DataError, ModelError, UsageError
from bnlens.measure._arguments import (
    at_least,
    check_alone,
    check_loader,
    check_model,
    check_sizes,
    default_source,
    placed,
    positive,
)
from bnlens.measure._assemble import layer_result, network_result
from bnlens.measure._collect import Collected, collect
from bnlens.measure._intercept import Handler, Interceptor, handed_back, is_frozen
from bnlens.measure._laws import layer_law
from bnlens.measure._loss import Likelihood, LossFunction, Reduction, SampleLoss
from bnlens.measure._measurement import Goal, Measurement
from bnlens.measure._notes import gradient_notes, model_notes, pool_notes, result_notes
from bnlens.measure._pool import Pool, SamplePool
from bnlens.measure._population import Populations, estimate_population
from bnlens.measure._probe import Forward, Probe, default_forward
from bnlens.measure._ranks import agreeing
from bnlens.measure._report import Report
from bnlens.measure._room import device_of, samples_at_once
from bnlens.measure._sampling import Sampler
from bnlens.measure._stream import StreamedPool
from bnlens.measure._tally import LawTally, Tally
from bnlens.theory.noise import noise_scale

__all__ = ["report"]


def report(
    model: nn.Module,
    loader: Iterable[Any],
    loss_fn: LossFunction,
    *,
    statistics_batch_size: int | Sequence[int] = (16, 64),
    prediction_batch_size: int | None = None,
    precision: float = 0.05,
    max_seconds: float | None = None,
    rounds: int | None = None,
    shares: bool = True,
    alone: bool | Sequence[str] = False,
    fisher: bool = False,
    max_samples: int = 4096,
    hold: bool = True,
    device: torch.device | str | None = None,
    likelihood: Likelihood | Callable[[Tensor, torch.Generator], Any] | None = None,
    reduction: Reduction | None = None,
    forward: Forward = default_forward,
    optimizer: torch.optim.Optimizer | None = None,
    seed: int = 0,
    progress: bool | None = None,
    per_layer: bool | None = None,
) -> Report:
    """Measure and predict how much batch normalization regularises ``model``, as a whole and layer by layer.

    The samples of ``loader`` (up to ``max_samples``) are the population. The gap of M is the mean loss with the statistics
    of random disjoint groups of M samples less that with population statistics, at the present weights, without dropout.
    It is *measured* by running such groups, and split among the layers into *shares* that add up to it (theory sheet
    D.3), all from the same passes, whatever the depth. It is *predicted* from groups of another size M0 by the expansion of
    theory sheet D.1 and D.2 with the exact (antithetic) second order. Standard errors are over the random groups and
    curvature draws.

    The model is handed back as it came (mode, ``requires_grad``, gradients, buffers, hooks, random number generators),
    also when something raises or the user interrupts. Autocast is as the caller set it. Where ``torch.distributed`` is
    initialised every rank calls with its own shard of the samples, and gets the report of all.

    Args:
        model: any module with BatchNorm1d/2d/3d layers or subclasses that normalise by ``F.batch_norm``. A BN layer in eval
            mode inside a model in train mode counts as frozen and keeps its running statistics.
        loader: yields (inputs, ..., target) or a dict with the target under ``labels``, ``label``, ``targets``, ``target``
            or ``y``; anything else needs ``forward``.
        loss_fn: ``loss_fn(output, target)``: a mean or a sum over samples, or one value per sample.
        statistics_batch_size: the M to measure at, one or several, at least 2.
        prediction_batch_size: M0, none of the measured M; by default their geometric mean, or for a single M
            2M (M/2 if the samples do not suffice).
        precision: groups are drawn until the standard error of the network's gap at every M is below this part of the gap
            (of one per cent of the loss, where the gap is less), and that of each share below twice that; at most 64
            shuffles of the samples.
        max_seconds: return after about so long with what there is; the report says so.
        rounds: make so many shuffles of the samples instead, whatever the precision; errors fall as 1/sqrt(rounds).
        shares: split the gap among the layers; without, the network's gap takes fewer passes.
        alone: also measure and predict the gap with one layer on group statistics and all others on population
            statistics: of all layers, or of those named. It takes passes for each layer, and such gaps do not add up.
        fisher: also predict with the true Fisher matrix, which takes 16 bytes per sample and BN channel.
        max_samples: at most this many samples are read.
        hold: keep the samples in memory. Without it the loader is read again for each pass and must give the same samples;
            groups are then drawn from a buffer of a few batches, so that they are as random as the loader's order is.
        device: where to run; a copy of the model goes there. By default where the model is.
        likelihood: behind the loss: ``"cross_entropy"``, ``"binary_cross_entropy"`` (on logits), ``"mean_squared_error"``,
            or a function ``(output, generator) -> target`` that draws targets, on the CPU; recognised for PyTorch's own
            losses. Without one there are no Fisher and no two-term values.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; found out if not given.
        forward: ``(model, batch) -> (output, target)`` for models that take or return something else.
        optimizer: if given, weight decay on gamma is set beside what BN applies.
        seed: of groups and curvature draws.
        progress: show a bar on standard error; by default if that is a terminal.
        per_layer: the former name of ``alone``; False also leaves the shares out.

    Returns:
        The report; its ``repr`` is a table.

    Raises:
        ModelError: the model has no BN layer in use, or does not return a tensor.
        DataError: the loader is empty, has fewer than 2M samples, or (``hold=False``) gives other samples when read again.
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
    check_loader(loader)
    if not callable(loss_fn):
        raise UsageError(f"loss_fn is {loss_fn!r}; give a function loss_fn(output, target)")
    sizes, source = check_sizes(statistics_batch_size, prediction_batch_size)
    max_samples = at_least("max_samples", max_samples, 2)
    goal = Goal(
        None if rounds is None else at_least("rounds", rounds, 1),
        positive("precision", precision),
        None if max_seconds is None else started + positive("max_seconds", max_seconds),
    )
    if per_layer is not None:
        advice = "per_layer is deprecated; use alone=True to measure layers alone, shares=False to leave them out"
        warnings.warn(advice, DeprecationWarning, stacklevel=2)
        alone, shares = alone or per_layer, shares and per_layer
    given, layers = check_model(model)
    model = placed(given, device)
    layers = {name: module for name, module in check_model(model)[1].items() if name in layers}
    active = {name: layer for name, layer in layers.items() if not is_frozen(model, layer)}
    notes = list(model_notes(model, layers))
    loss = SampleLoss(loss_fn, reduction, likelihood)
    interceptor = Interceptor(active)
    with progress_bar(progress) as bar, handed_back(model), interceptor.attached(), agreeing():
        bar.stage("reading samples")
        where = device_of(model)
        pool: Pool = (SamplePool if hold else StreamedPool).from_loader(loader, max_samples, where)
        source = default_source(sizes, len(pool)) if source is None else source
        largest = max(*sizes, source)
        _check_samples(pool, largest)
        probe = Probe(model, interceptor, pool, loss, forward, max(pool.batch_size, largest))
        with agreeing():
            running = first_look(probe, active)
            probe.batch_size = samples_at_once(probe, largest, _by_running_statistics(active))
        populations, passes = _population(probe, bar)
        names = check_alone(alone, list(populations))
        data = _collected(probe, populations, running, seed=seed, keep=fisher and loss.likelihood is not None, bar=bar)
        found = _measure(probe, populations, data, sizes, source, names, goal=goal, shares=shares, seed=seed, bar=bar)
        results = tuple(layer_result(name, active[_path(name)], data, found) for name in populations)
        network = network_result(data, found)
    notes += pool_notes(pool, probe.batch_size)
    notes += gradient_notes([name for name, call in data.calls.items() if not call.reached])
    notes += result_notes(results, network, active, optimizer, min(sizes))
    return Report(
        model=type(model).__name__,
        layers=results,
        network=network,
        notes=tuple(notes),
        statistics_batch_sizes=sizes,
        prediction_batch_size=source,
        samples=len(pool),
        rounds=found.rounds,
        likelihood=loss.likelihood_name,
        population_passes=passes,
        seed=seed,
        seconds=round(time.perf_counter() - started, 3),
        version=version("bnlens"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        precision=None if goal.rounds is not None else goal.precision,
        stopped=found.stopped,
        groups={size: tally.count for size, tally in found.network.items()},
    )


def first_look(probe: Probe, layers: dict[str, _BatchNorm]) -> Handler | None:
    """Check loss and outputs on the first batch; return what runs the layers as in eval mode, if all of them allow that."""
    handler = _by_running_statistics(layers)
    with torch.no_grad():
        output, target = probe.outputs(next(probe.pool.shard(probe.batch_size)), handler)
        probe.loss.check(output, target)
    return None if any(layer.running_mean is None for layer in layers.values()) else handler


def _population(probe: Probe, bar: Bar) -> tuple[Populations, int]:
    passes = 0

    def advance() -> None:
        nonlocal passes
        passes += 1
        bar.update(passes, None, title="population statistics, passes")

    populations, passes = estimate_population(probe, advance=advance)
    if not populations:
        raise ModelError("no BN layer of the model runs in its forward pass, or all are frozen; nothing to report")
    return populations, passes


def _collected(
    probe: Probe, populations: Populations, running: Handler | None, *, seed: int, keep: bool, bar: Bar
) -> Collected:
    done, batches = 0, -(-len(probe.pool) // probe.batch_size)

    def advance() -> None:
        nonlocal done
        done += 1
        bar.update(done, batches, title="gradients, batches")

    return collect(probe, populations, seed=seed, other=running, keep=keep, advance=advance)


def _measure(
    probe: Probe,
    populations: Populations,
    data: Collected,
    sizes: tuple[int, ...],
    source: int,
    alone: tuple[str, ...],
    *,
    goal: Goal,
    shares: bool,
    seed: int,
    bar: Bar,
) -> Measurement:
    included = torch.tensor(
        [layer_law(data.calls[name], likelihood=False).self_inclusion for name in populations], dtype=torch.float64
    )
    index = {name: [position] for position, name in enumerate(populations)}

    def tally(size: int, calls: Sequence[int] = range(len(included))) -> Tally:
        return Tally(included[list(calls)] * float(noise_scale(size, len(probe.pool))))

    def law(calls: Sequence[int] = range(len(included))) -> LawTally:
        return LawTally(included[list(calls)] * float(noise_scale(source, len(probe.pool))))

    found = Measurement(
        Sampler(probe, populations),
        data.losses,
        {size: tally(size) for size in sizes},
        {None: law(), **{name: law(index[name]) for name in alone}},
        {(name, size): tally(size, index[name]) for name in alone for size in sizes},
        source,
        goal,
        shares,
        seed,
        keep=data.kept is not None,
        show=lambda part, note: bar.update(round(100 * part), 100, title="gaps, per cent", note=note),
    )
    found.run()
    return found


def _by_running_statistics(layers: dict[str, _BatchNorm]) -> Handler:
    """Return a handler that does what the layers do in eval mode."""

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        layer = layers[_path(name)]
        mean, variance = layer.running_mean, layer.running_var
        if mean is None or variance is None:
            return F.batch_norm(h, None, None, gamma, beta, True, 0.0, eps)
        return F.batch_norm(h, mean.to(gamma.dtype), variance.to(gamma.dtype), gamma, beta, False, 0.0, eps)

    return handle


def _check_samples(pool: Pool, largest: int) -> None:
    if len(pool) < 2 * largest:
        raise DataError(
            f"the loader gave {len(pool)} samples, fewer than twice the group size {largest}; give at least {2 * largest} "
            "samples (max_samples counts too) or a smaller statistics_batch_size and prediction_batch_size"
        )


def _path(name: str) -> str:
    return name.partition("#")[0]
