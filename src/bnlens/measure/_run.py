"""`bnlens.report`: one call that measures and predicts the gap of a network."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from bnlens._arguments import AtLeastTwo, Count, Positive, Seed, checked
from bnlens._devices import Device
from bnlens._masks import Mask
from bnlens._progress import Bar, progress_bar
from bnlens._ranks import gather
from bnlens.errors import DataError, ModelError, UsageError
from bnlens.measure._arguments import (
    SMALLER,
    Loader,
    check_alone,
    check_model,
    check_samples,
    check_sizes,
    default_others,
    divisors,
    few_samples,
    law_source,
    placed,
)
from bnlens.measure._assemble import layer_result, network_result, unmeasured, with_constants
from bnlens.measure._collect import Collected, collect
from bnlens.measure._first_look import count_targets, first_look
from bnlens.measure._intercept import Handler, Interceptor, handed_back, is_frozen
from bnlens.measure._logits import OutputNoise
from bnlens.measure._loss import Likelihood, LossFunction, Reduction, SampleLoss
from bnlens.measure._measurement import Goal
from bnlens.measure._notes import (
    elsewhere_hint,
    gradient_notes,
    looks_stale,
    loss_notes,
    pool_notes,
    repeat_notes,
    result_notes,
    row_notes,
    told_padding,
)
from bnlens.measure._padding import find_padding
from bnlens.measure._pool import Pool, SamplePool, WholeBatches
from bnlens.measure._population import Populations, estimate_population, population_handler
from bnlens.measure._probe import Forward, Probe, default_forward
from bnlens.measure._ranks import agreeing
from bnlens.measure._repeat import Repeat, interacts
from bnlens.measure._report import Report
from bnlens.measure._room import device_of, samples_at_once
from bnlens.measure._rows import SampleRows, SamplesOf, check_samples_of
from bnlens.measure._running import (
    by_running_statistics,
    call_path,
    check_frozen,
    evaluate,
    finds_what_is_written,
    mean_outputs,
)
from bnlens.measure._setting_notes import model_notes
from bnlens.measure._stream import StreamedPool
from bnlens.measure._trust_notes import gap_notes, weight_notes

__all__ = ["report"]


@checked
def report(
    model: nn.Module,
    loader: Loader,
    loss_fn: LossFunction,
    *,
    statistics_batch_size: AtLeastTwo | Sequence[AtLeastTwo] = (16, 64),
    prediction_batch_size: AtLeastTwo | Sequence[AtLeastTwo] | None = None,
    precision: Positive = 0.05,
    max_seconds: Positive | None = None,
    rounds: Count | None = None,
    shares: bool = True,
    alone: bool | str | Sequence[str] = False,
    first_order: bool = False,
    fisher: bool = False,
    logits: bool = False,
    max_samples: AtLeastTwo = 4096,
    hold: bool = True,
    device: Device | None = None,
    likelihood: Likelihood | Callable[[Tensor, torch.Generator], Any] | None = None,
    reduction: Reduction | None = None,
    forward: Forward = default_forward,
    optimizer: torch.optim.Optimizer | None = None,
    samples_of: SamplesOf | None = None,
    mask: Callable[[Any], Mask] | None = None,
    couples: bool = False,
    seed: Seed = 0,
    progress: bool | None = None,
    per_layer: bool | None = None,
) -> Report:
    """Measure and predict how much batch normalization regularises ``model``, as a whole and layer by layer.

    The samples of ``loader`` (up to ``max_samples``) are the population. The gap of M is the mean loss with the statistics
    of random disjoint groups of M samples less that with population statistics, at the present weights, without dropout.
    It is *measured* by running such groups, and split among the layers into *shares* that add up to it (theory sheet
    D.3), all from the same passes, whatever the depth. It is *predicted* by a curve through the gaps at other sizes
    (docs/prediction.md). Standard errors are over the random groups and curvature draws, those of predictions with the error
    of the curve.

    The model is handed back as it came (mode, ``requires_grad``, gradients, buffers, hooks, random number generators),
    also when something raises or the user interrupts. Autocast is as the caller set it. Where ``torch.distributed`` is
    initialised every rank calls with its own shard of the samples, and gets the report of all.

    Args:
        model: any module with BatchNorm1d/2d/3d layers or subclasses that normalise by ``F.batch_norm``. A BN layer after
            `bnlens.freeze`, or in eval mode inside a model in train mode, counts as frozen and keeps its running statistics;
            a model in eval mode inside a new container counts as evaluated.
        loader: yields (inputs, ..., target) or a dict with the target under ``labels``, ``label``, ``targets``, ``target``
            or ``y``; anything else needs ``forward``.
        loss_fn: ``loss_fn(output, target)``: a mean or a sum over samples, or one value per sample. Class weights and ignored
            targets are understood in PyTorch's own losses, passed as they are.
        statistics_batch_size: the M to measure at, one or several, at least 2.
        prediction_batch_size: other M, one or several, none of the measured ones, to measure at for predictions; by default
            half the smallest, twice the largest and between. They take part in few of the shuffles.
        precision: groups are drawn until the standard error of the network's gap at every M is below this part of the gap
            (of one per cent of the loss, where the gap is less), and that of each share below twice that; at most 64
            shuffles of the samples.
        max_seconds: return after about so long with what there is; the report says so.
        rounds: make so many shuffles of the samples instead, whatever the precision; errors fall as 1/sqrt(rounds).
        shares: split the gap among the layers; without, the network's gap takes fewer passes.
        alone: also measure and predict the gap with one layer on group statistics and all others on population
            statistics: of all layers, or of those named. It takes passes for each layer, and such gaps do not add up.
        first_order: also predict by the theory's first-order law with the antithetic second order (theory sheet D.1, D.2), from
            groups of one of these sizes, M0; it takes two forward passes a shuffle.
        logits: also predict by rescaling the noise of the model's outputs in groups of M0; it keeps the outputs of some
            shuffles, up to 256 MiB.
        fisher: also predict with the true Fisher matrix, in the law; it takes 16 bytes per sample and BN channel.
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
        samples_of: whose the rows of a BN layer's input are, where a sample has several (time steps, nodes, boxes, views in
            dimension 0). An integer T: T rows in a row for each sample. A tensor of offsets, int64 (P + 1,), from 0: sample j
            of the pool, in the loader's order (with several ranks each its own), has rows ``offsets[j]`` to
            ``offsets[j + 1]``; it needs ``hold=True``. A function ``(batch) -> (rows,)``: from a batch as ``forward`` gets
            it to the sample, 0 to N - 1, of each row. Layers with one row per sample remain as they are. The statistics of a
            group are those of all rows of its samples. The output has one row per sample in any case.
        mask: for padded samples, a function ``(batch) -> mask`` from a batch as ``forward`` gets it to what
            :func:`bnlens.masked` takes: bool, True at valid values, lengths, or a function for each layer. Statistics, of
            groups and of the population, are then those of valid values, in layers of torch too; padding is normalised by
            the statistics of its sample's group. A model that enters that context itself needs none.
        couples: the loss of a sample depends on the other samples of its batch (contrastive losses, in-batch negatives, a
            Dice loss over the batch). The gap of M is then a mean over random batches of as many samples as the loader's
            have: the loss of a batch normalised in groups of M of its samples, less its loss under population statistics, as
            ``loss_fn`` gives it (the mean, if that is several values). M has to divide their number, batches go through the
            model whole, whatever memory that takes, and samples that fill none only count for the population. Predictions
            are by the curve alone.
        seed: of groups and curvature draws.
        progress: show how far it is on standard error (a bar in a terminal, a line now and then elsewhere) or in the notebook.
        per_layer: the former name of ``alone``; False also leaves the shares out.

    Returns:
        The report; its ``repr`` says what BN does, and what is wrong, above a table.

    Raises:
        ModelError: the model has no BN layer in use, or a frozen one that makes NaN, does not return a tensor, or its rows are
            not those of ``samples_of``.
        DataError: the loader is empty, has fewer than twice the samples of the largest group (of a batch, with
            ``couples``; less than one batch on a rank), (``hold=False``) gives other
            samples when read again, or ``samples_of`` has offsets of another number of samples or leaves a group without rows.
        LossError: the loss is not finite, labels are out of range, or, without ``couples``, it is neither a mean nor a sum
            over samples, or that of a sample depends on the other samples of its batch.
        UsageError: an argument is out of range, does not go with ``couples``, or is an M that does not divide a coupled batch,
            or the mask does not fit a layer.

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
    if logits and not hold:
        raise UsageError("logits=True needs the samples held (hold=True)")
    if couples:
        _check_uncoupled(first_order=first_order, fisher=fisher, logits=logits, likelihood=likelihood is not None)
    sizes, others = check_sizes(statistics_batch_size, prediction_batch_size)
    if not couples:
        check_samples(loader, max(*sizes, *(others or ()), 0), max_samples)
    if inspect.isclass(loss_fn):
        raise UsageError(f"loss_fn is the class {loss_fn.__name__}; give an instance of it, {loss_fn.__name__}()")
    goal = Goal(rounds, precision, None if max_seconds is None else started + max_seconds)
    check_samples_of(samples_of, hold)
    if per_layer is not None:
        advice = "per_layer is deprecated; use alone=True to measure layers alone, shares=False to leave them out"
        warnings.warn(advice, DeprecationWarning, stacklevel=3)
        alone, shares = alone or per_layer, shares and per_layer
    given, layers = check_model(model)
    model = placed(given, device)
    layers = {name: module for name, module in check_model(model)[1].items() if name in layers}
    active = {name: layer for name, layer in layers.items() if not is_frozen(model, layer)}
    check_frozen({name: layer for name, layer in layers.items() if name not in active})
    notes = [*model_notes(model, layers), *weight_notes(active.values())]
    loss = SampleLoss(loss_fn, reduction, likelihood, couples=couples)
    interceptor = Interceptor(active)
    with progress_bar(progress) as bar, handed_back(model), interceptor.attached(), agreeing():
        bar.stage("1/4 samples")
        where = device_of(model)
        pool: Pool = (SamplePool if hold else StreamedPool).from_loader(loader, max_samples, where)
        others = divisors(sizes, others, pool.batch_size, len(pool)) if couples else others
        source = law_source(sizes, others, len(pool))
        others = default_others(sizes, len(pool)) if others is None else others
        others = tuple(sorted({*others, source})) if logits else others
        law = first_order or fisher
        largest = max(*sizes, *others, source if law else 0)
        with agreeing():
            _check_samples(pool, pool.batch_size if couples else largest, couples)
        rows = SampleRows(samples_of, pool)
        whole = WholeBatches(pool) if couples else pool
        probe = Probe(model, interceptor, whole, loss, forward, max(pool.batch_size, largest), rows=rows, mask=mask)
        with agreeing():
            running, repeat = first_look(probe, active)
            if not couples:
                probe.batch_size, probe.graph_rows = samples_at_once(probe, largest, by_running_statistics(active))
        repeat = repeat.over_ranks()
        probe.stochastic = repeat.difference is not None
        count_targets(probe, by_running_statistics(active))
        populations, passes = _population(replace(probe, pool=pool), bar, repeat)
        known = couples or probe.stochastic or repeat.elsewhere  # then halves may differ, and a note says so
        coupled_samples = not known and any(gather(interacts(probe, population_handler(populations))))
        names = check_alone(alone, list(populations))
        fisher = fisher and loss.likelihood is not None
        data = _collected(probe, populations, running, seed=seed, fisher=fisher, bar=bar)
        found = unmeasured(probe, populations, data, sizes, others, source, names, law)
        found.goal, found.shares, found.seed, found.keep = goal, shares, seed, fisher
        found.noise = OutputNoise(source, len(pool)) if logits else None
        found.show = lambda part, note: bar.update(part, 1, title="4/4 gaps", note=note)
        found.run()
        results = tuple(layer_result(name, active[call_path(name)], data, found) for name in populations)
        network = network_result(results, data, found)
        settled = False
        if running is not None and (looks_stale(results, network) or any(layer.dead for layer in results)):
            evaluation = evaluate(replace(probe, pool=pool), running)
            settled = finds_what_is_written(active, evaluation)
            outputs = mean_outputs(active, evaluation)
            results = tuple(with_constants(layer, outputs[layer.name]) for layer in results)
        unit = pool.batch_size if couples else 1
        about_results = list(result_notes(results, network, active, optimizer, min(sizes), unit, settled=settled))
        if mask is None and any(note.kind == "stale statistics" for note in about_results):
            about_results = told_padding(about_results, find_padding(replace(probe, pool=pool), active))
    notes += pool_notes(pool, probe.batch_size)
    notes += row_notes(probe.rows) if samples_of is None else ()
    coupled = pool.batch_size if couples else None
    notes += loss_notes(any(gather(loss.mismatch)), coupled)
    notes += gradient_notes([name for name, call in data.calls.items() if not call.reached])
    notes += about_results
    notes += repeat_notes(repeat, network, probe.batch_size * coupled_samples)
    notes += gap_notes(network.gaps)
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
        groups={size: tally.count * max(1, (coupled or 0) // size) for size, tally in found.network.items()},
    )


def _population(probe: Probe, bar: Bar, repeat: Repeat) -> tuple[Populations, int]:
    passes = 0

    def advance() -> None:
        nonlocal passes
        passes += 1
        bar.update(passes, None, title="2/4 statistics")

    populations, passes = estimate_population(probe, advance=advance)
    if not populations:
        raise ModelError(
            "no BN layer of the model runs in its forward pass, or all are frozen; to measure layers in eval mode, call "
            f".eval() on the whole model, and bnlens.unfreeze if bnlens.freeze was called{elsewhere_hint(repeat.elsewhere)}"
        )
    return populations, passes


def _collected(
    probe: Probe, populations: Populations, running: Handler | None, *, seed: int, fisher: bool, bar: Bar
) -> Collected:
    done, batches = 0, -(-len(probe.pool) // (probe.graph_rows or probe.batch_size))

    def advance() -> None:
        nonlocal done
        done += 1
        bar.update(done, batches, title="3/4 gradients")

    return collect(probe, populations, seed=seed, other=running, fisher=fisher, advance=advance)


def _check_uncoupled(**options: bool) -> None:
    if given := [name for name, value in options.items() if value]:
        raise UsageError(
            f"{given[0]} needs a loss of each sample for itself, which couples=True says there is not; leave out one of the two"
        )


def _check_samples(pool: Pool, largest: int, couples: bool) -> None:
    if len(pool) < 2 * largest:
        unit, fix = (
            (f"batch size {largest} of a loss that couples samples", "smaller batches")
            if couples
            else (f"group size {largest}", SMALLER)
        )
        raise few_samples(f"the loader gave {len(pool)}", unit, largest, fix)
    if couples and pool.own < largest:
        raise DataError(
            f"a rank has {pool.own} samples, fewer than one batch of {largest}; give each rank at least one"
        )
