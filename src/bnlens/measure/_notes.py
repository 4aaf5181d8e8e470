"""Notes on what was measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch
from scipy.special import ndtr, stdtrit
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._estimate import Estimate
from bnlens.measure._note_texts import about, of_network
from bnlens.measure._padding import STALE_MEAN, STALE_STD
from bnlens.measure._pool import Pool
from bnlens.measure._repeat import Place, Repeat
from bnlens.measure._results import Gaps, LayerResult, NetworkResult, Note, listed
from bnlens.measure._rows import Interleaved, SampleRows
from bnlens.measure._running import call_path
from bnlens.measure._setting_notes import has_initial_statistics
from bnlens.measure._stream import StreamedPool
from bnlens.render import number

__all__ = [
    "differs",
    "elsewhere_hint",
    "gradient_notes",
    "looks_stale",
    "loss_notes",
    "pool_notes",
    "repeat_notes",
    "result_notes",
    "row_notes",
    "told_padding",
]

_FIRST_ORDER = 0.2
_THREE_SIGMA = float(ndtr(3.0))


def pool_notes(pool: Pool, batch_size: int) -> Iterator[Note]:
    """Yield notes on how groups are drawn."""
    if isinstance(pool, StreamedPool) and (buffered := pool.buffered(batch_size)) < pool.own:
        yield of_network("streamed", buffered, pool.own)


def row_notes(rows: SampleRows) -> Iterator[Note]:
    """Yield a note on rows whose samples were found, not given."""
    if isinstance(rows.samples_of, Interleaved):
        yield of_network("rows", rows.samples_of.rows, "as in (rows, samples)", "")
    elif isinstance(rows.samples_of, int):
        samples = f" unless in bnlens.groups(model, samples_of={rows.samples_of})"
        yield of_network("rows", rows.samples_of, "one after the other", samples)


def loss_notes(mismatch: bool, coupled: int | None) -> Iterator[Note]:
    """Yield notes on a likelihood that is not that of the loss, and on a loss that couples so many samples."""
    if mismatch:
        yield of_network("likelihood mismatch")
    if coupled is not None:
        yield of_network("coupled loss", coupled)


def gradient_notes(unreached: Sequence[str]) -> Iterator[Note]:
    """Yield notes on calls that no gradient of the loss reaches."""
    yield from about("no gradient", unreached)


def repeat_notes(repeat: Repeat, network: NetworkResult, coupled: int) -> Iterator[Note]:
    """Yield notes on passes that differ, on batch normalization outside BN layers, and on so many samples that interact."""
    if coupled:
        yield of_network("coupled samples", coupled)
    if repeat.difference is not None:
        size = min(network.gaps.measured)
        yield of_network("stochastic forward", number(repeat.difference), size, network.gaps.measured[size])
    if repeat.elsewhere:
        paths = dict.fromkeys(place.path for place in repeat.elsewhere)
        if "" in paths:  # called by no module
            yield of_network("functional batch norm", _lines(repeat.elsewhere))
        else:
            yield from about("functional batch norm", paths, _lines(repeat.elsewhere))


def elsewhere_hint(elsewhere: Mapping[Place, int]) -> str:
    """Return the end of a sentence that says where batch normalization is called outside BN layers; empty if nowhere."""
    return f"; it is called as a function ({_lines(elsewhere)}), which is not measured" if elsewhere else ""


def _lines(elsewhere: Mapping[Place, int]) -> str:
    """Return how often which lines of code call it, in words."""
    calls: Counter[str] = Counter()
    for place, count in elsewhere.items():
        calls[place.line] += count
    each = [f"{count} {'call' if count == 1 else 'calls'} at {line}" for line, count in calls.items()]
    return f"{listed(each)} in a forward pass"


def result_notes(
    layers: Sequence[LayerResult],
    network: NetworkResult,
    modules: Mapping[str, _BatchNorm],
    optimizer: torch.optim.Optimizer | None,
    batch_size: int,
    coupled: int = 1,
    *,
    settled: bool = False,
) -> Iterator[Note]:
    """Yield notes on measurements: shared layers, stale statistics, dead channels, limits of the law, weight decay.

    Args:
        layers: results by call.
        network: results of all calls at once.
        modules: the BN layers by path.
        optimizer: whose weight decay is set beside the shares at ``batch_size``.
        batch_size: M.
        coupled: samples that share one value of the loss.
        settled: evaluation finds what the running statistics say, as after `bnlens.recalibrate`, so that none is stale: what
            is left between them and the population's is Bessel's correction, and that all uses of a layer share them.
    """
    yield from _shared(layers)
    yield from _dead_channels(layers)
    if not settled:
        yield from _stale(layers, modules, network.running_discrepancy)
    for size, as_loaded in network.as_loaded.items():
        if differs(as_loaded, network.gaps.measured[size], network.gaps.population // max(size, coupled)):
            yield of_network("loader's batches", size, as_loaded, network.gaps.measured[size])
            break
    yield from _prediction_notes(layers, network.gaps)
    if optimizer is not None:
        yield from _weight_decay(layers, modules, optimizer, batch_size)


def told_padding(notes: Sequence[Note], place: str | None) -> list[Note]:
    """Return the notes; if ``place`` in a batch marks the values whose statistics the running ones are, these are not stale."""
    if place is None:
        return list(notes)
    return [note for note in notes if note.kind != "stale statistics"] + [of_network("padding", place)]


def _prediction_notes(layers: Sequence[LayerResult], gaps: Gaps) -> Iterator[Note]:
    found: dict[str, dict[int, Estimate]] = {"no law": {}, "prediction": {}, "beyond first order": {}}
    for size, measured in gaps.measured.items():
        if not abs(measured.value) > 3 * measured.stderr:
            continue
        predicted, ratio = gaps.predicted(size, population=gaps.population), gaps.ratio(size)
        if predicted is not None and not gaps.has_law(size):
            found["no law"][size] = predicted
        elif gaps.kind == "curve" and ratio is not None and _is_off(ratio):
            found["prediction"][size] = ratio
        law = gaps.predicted(size, "first_order", population=gaps.population)
        if law is not None and _is_off(part := law.over(measured)):
            found["beyond first order"][size] = part
    for kind, values in found.items():
        if values:
            text = ", ".join(f"{value} at M = {size}" for size, value in values.items())
            yield of_network(kind, *([_cause(layers, gaps)] if kind == "no law" else []), text)


def _cause(layers: Sequence[LayerResult], gaps: Gaps) -> str:
    heavy = [layer for layer in layers if layer.kurtosis.value == gaps.kurtosis]
    if not gaps.is_heavy or not heavy:
        return ""
    return f" (heavy tails: layer {heavy[0].name!r} has an excess kurtosis of {heavy[0].kurtosis})"


def _is_off(ratio: Estimate) -> bool:
    return abs(ratio.value - 1) > max(_FIRST_ORDER, 3 * ratio.stderr)


def _shared(layers: Sequence[LayerResult]) -> Iterator[Note]:
    calls = {layer.name: int(layer.name.partition("#")[2]) for layer in layers if "#" in layer.name}
    if calls:
        last = max(calls, key=lambda name: calls[name])
        yield from about("shared layer", calls, calls[last], last.partition("#")[0])


def _dead_channels(layers: Sequence[LayerResult]) -> Iterator[Note]:
    found = [layer for layer in layers if layer.dead_channels]
    if found:
        worst = max(found, key=lambda layer: layer.dead_channels)
        dead, channels = (sum(getattr(layer, name) for layer in found) for name in ("dead_channels", "channels"))
        names = (layer.name for layer in found)
        yield from about("dead channels", names, dead, channels, worst.name, worst.dead_channels, worst.channels)


def looks_stale(layers: Sequence[LayerResult], network: NetworkResult) -> bool:
    """Return whether running statistics are so far from the population's that a note says so, if evaluation bears it out."""
    discrepancy = network.running_discrepancy
    return bool(_far(layers)) or (discrepancy is not None and _changes_the_loss(discrepancy))


def _far(layers: Sequence[LayerResult]) -> dict[str, tuple[Estimate, Estimate]]:
    return {
        layer.name: (layer.stale_mean, layer.stale_std)
        for layer in layers
        if layer.stale_mean is not None and layer.stale_std is not None
        if _clearly_above(layer.stale_mean, STALE_MEAN) or _clearly_above(layer.stale_std, STALE_STD)
    }


def _changes_the_loss(discrepancy: Estimate) -> bool:
    return abs(discrepancy.value) > max(3 * discrepancy.stderr, 0.01)


def _stale(
    layers: Sequence[LayerResult], modules: Mapping[str, _BatchNorm], discrepancy: Estimate | None
) -> Iterator[Note]:
    found = _far(layers)
    for names in (
        [[name] for name in found] if len(found) < 3 else [list(found)]
    ):  # one or two have each its own numbers
        by_mean, by_std = (max(names, key=lambda name: found[name][part].value) for part in (0, 1))
        yield from about("stale statistics", names, found[by_mean][0], by_mean, found[by_std][1], by_std)
    new = {path for path, module in modules.items() if has_initial_statistics(module)}
    yield from about("initial statistics", [name for name in found if call_path(name) in new])
    if discrepancy is not None and _changes_the_loss(discrepancy):
        yield of_network("stale statistics", discrepancy)


def _weight_decay(
    layers: Sequence[LayerResult], modules: Mapping[str, _BatchNorm], optimizer: torch.optim.Optimizer, batch_size: int
) -> Iterator[Note]:
    groups = optimizer.param_groups
    decay = {id(p): float(group.get("weight_decay", 0.0)) for group in groups for p in group["params"]}
    found: dict[str, tuple[float, float, Estimate]] = {}
    for layer in layers:
        module = modules.get(layer.name)
        coefficient = 0.0 if module is None or module.weight is None else decay.get(id(module.weight), 0.0)
        if coefficient != 0.0 and batch_size in layer.share:
            explicit = 0.5 * coefficient * layer.channels * layer.gamma_rms**2
            found[layer.name] = coefficient, explicit, layer.share[batch_size]
    if found:
        worst = max(found, key=lambda name: found[name][1])
        coefficients = listed(
            [number(value) for value in sorted({coefficient for coefficient, _, _ in found.values()})]
        )
        _, explicit, share = found[worst]
        total = number(math.fsum(added for _, added, _ in found.values()))
        yield from about("weight decay", found, coefficients, number(explicit), batch_size, share, total, worst)


def differs(few: Estimate, many: Estimate, groups: int) -> bool:
    """Return whether a mean over few groups differs from one over many, by three standard errors had there been many."""
    difference = few - many
    return abs(difference.value) > float(stdtrit(groups - 1, _THREE_SIGMA)) * difference.stderr


def _clearly_above(estimate: Estimate, threshold: float) -> bool:
    return estimate.value - 3 * estimate.stderr > threshold
