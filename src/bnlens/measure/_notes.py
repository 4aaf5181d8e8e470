"""Notes on common mistakes with BN layers, from a model and its report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from scipy.special import ndtr, stdtrit
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._estimate import Estimate
from bnlens.measure._intercept import is_frozen
from bnlens.measure._padding import STALE_MEAN, STALE_STD
from bnlens.measure._pool import Pool
from bnlens.measure._repeat import Place, Repeat
from bnlens.measure._results import Gaps, LayerResult, NetworkResult, Note, listed
from bnlens.measure._stream import StreamedPool
from bnlens.render import number

__all__ = [
    "differs",
    "elsewhere_hint",
    "gradient_notes",
    "loss_notes",
    "model_notes",
    "pool_notes",
    "repeat_notes",
    "result_notes",
    "told_padding",
]

_FIRST_ORDER = 0.2
_THREE_SIGMA = float(ndtr(3.0))


# By kind of note, about one layer and about several; a kind that has more is followed by a colon and what tells them apart.
_OF_LAYERS = {
    "frozen": (
        "is frozen (eval mode in a model in train mode): it normalises by its running statistics, adds no noise, and is left "
        "out of every gap",
        "are frozen (eval mode in a model in train mode): they normalise by their running statistics, add no noise, and are "
        "left out of every gap",
    ),
    "moving statistics": (
        "has requires_grad=False but is not in eval mode on its own: in training its running statistics still move and its "
        "batch statistics still add noise; call .eval() on it after every model.train() to freeze it",
        "have requires_grad=False but are not in eval mode on their own: in training their running statistics still move and "
        "their batch statistics still add noise; call .eval() on them after every model.train() to freeze them",
    ),
    "no gradient": (
        "gets no gradient, because its output is unused, detached or computed under no_grad: predictions leave out its part "
        "of first order; put the layer in eval mode if it is not trained",
        "get no gradient, because their outputs are unused, detached or computed under no_grad: predictions leave out their "
        "parts of first order; put the layers in eval mode if they are not trained",
    ),
    "shared layer": (
        "is call {0} of {1!r}: all its calls share one set of running statistics, while each call has a population of its own",
        "are further calls of modules that are used several times (up to call {0}, of {1!r}): all calls of a module share one "
        "set of running statistics, while each call has a population of its own",
    ),
    "dead channels": (
        "{0} of {1} channels have an output that does not vary (standard deviation below 0.001): pruning them changes nothing",
        "{0} of {1} channels have an output that does not vary (standard deviation below 0.001), the most in {2!r}, {3} of "
        "{4}: pruning them changes nothing",
    ),
    "stale statistics": (
        "running statistics are far from the population's: mean by {0} sigma, log sigma by {2} (rms over channels); recompute "
        "them before evaluating (bnlens.recalibrate)",
        "running statistics are far from the population's: mean by up to {0} sigma (in {1!r}), log sigma by up to {2} (in "
        "{3!r}; rms over channels); recompute them before evaluating (bnlens.recalibrate)",
    ),
    "weight decay": (
        "weight decay {0} on gamma adds {1} nats to the layer's share of what BN itself applies at M = {2}, {3} nats; leave "
        "gamma out of weight decay, or count both",
        "weight decay {0} on gamma adds {4} nats in all to the layers' shares of what BN itself applies at M = {2}; the most "
        "in {5!r}, {1} nats beside {3} nats; leave gamma out of weight decay, or count both",
    ),
    "functional batch norm": (
        "calls batch normalization as a function, outside a BN layer ({0}): it keeps its own statistics and is in no gap; put "
        "it in the forward of a subclass of BatchNorm to have it measured",
        "call batch normalization as a function, outside a BN layer ({0}): they keep their own statistics and are in no gap; "
        "put it in the forward of a subclass of BatchNorm to have it measured",
    ),
}
_OF_NETWORK = {
    "functional batch norm": "batch normalization is called as a function, outside a BN layer ({}): it keeps its own "
    "statistics and is in no gap; put it in the forward of a subclass of BatchNorm to have it measured, or in eval mode if it "
    "belongs to another network",
    "stale statistics": "evaluation with the running statistics changes the loss by {} nats against population statistics; "
    "recompute them before evaluating (bnlens.recalibrate)",
    "padding": "the running statistics leave out padding, as the {} in a batch tell it, and this report does not: give it as "
    "mask= to report and recalibrate, and leave padding out in training (bnlens.masked)",
    "beyond first order": "the first-order law gives {} of the measured gap: noise so strong is beyond the first order in 1/M "
    "(common where the loss is close to zero)",
    "no law": "the gaps at other sizes leave open what the gap is{}: the curve says {} nats; measure at the M you need",
    "prediction": "the curve through the gaps at other sizes gives {} of the measured gap: trust the measurement",
    "likelihood mismatch": "the gradients of the loss are not those of the likelihood that was given: Fisher and two-term "
    "values are those of another loss; give the likelihood that the loss is the negative logarithm of, or none",
    "streamed": "the samples were read again for each pass, and groups drawn from {} of the {} at a time, in the loader's "
    "order: if that is sorted by class or source, shuffle the loader, or hold the samples (hold=True)",
    "coupled loss": "the loss couples the samples of a batch, so that each gap is that of whole batches of {} samples, the "
    "loader's size, normalised in groups of M: in batches of another size the loss is another one, and so is its gap",
    "stochastic forward": "two passes over the same samples in eval mode differ, in the losses by {} nats (rms over samples; "
    "the gap at M = {} is {} nats): the model draws random numbers or changes as it runs. Measured gaps are means over that "
    "noise, and their standard errors count it, but for what it does to the population statistics; predictions and shares "
    "compare passes sample by sample and are biased where it reaches a BN layer. Switch it off for a report without it",
    "loader's batches": "batches as the loader gives them are no random samples of the data: groups of {0} consecutive samples "
    "have a gap of {1} nats, random ones one of {2}; shuffle the loader, or read as_loaded for the gap if training takes them "
    "in that order",
}


def _note(kind: str, *values: object) -> Note:
    return Note(kind, "", _OF_NETWORK[kind].format(*values))


def _about(kind: str, layers: Iterable[str], *values: object) -> Iterator[Note]:
    """Yield one note about all the layers, if there are any."""
    if names := tuple(layers):
        text = _OF_LAYERS[kind][len(names) > 1].format(*values)
        yield Note(kind, names[0] if len(names) == 1 else "", text, names)


def model_notes(model: nn.Module, layers: Mapping[str, _BatchNorm]) -> Iterator[Note]:
    """Yield notes that need the model alone: frozen layers, and layers that only look frozen."""
    frozen = [name for name, layer in layers.items() if is_frozen(model, layer)]
    yield from _about("frozen", frozen)
    yield from _about(
        "moving statistics",
        (name for name, layer in layers.items() if name not in frozen and _only_looks_frozen(layer)),
    )


def _only_looks_frozen(layer: _BatchNorm) -> bool:
    parameters = list(layer.parameters(recurse=False))
    return bool(parameters) and not any(p.requires_grad for p in parameters) and layer.track_running_stats


def pool_notes(pool: Pool, batch_size: int) -> Iterator[Note]:
    """Yield notes on how groups are drawn."""
    if isinstance(pool, StreamedPool) and (buffered := pool.buffered(batch_size)) < pool.own:
        yield _note("streamed", buffered, pool.own)


def loss_notes(mismatch: bool, coupled: int | None) -> Iterator[Note]:
    """Yield notes on a likelihood that is not that of the loss, and on a loss that couples so many samples."""
    if mismatch:
        yield _note("likelihood mismatch")
    if coupled is not None:
        yield _note("coupled loss", coupled)


def gradient_notes(unreached: Sequence[str]) -> Iterator[Note]:
    """Yield notes on calls that no gradient of the loss reaches."""
    yield from _about("no gradient", unreached)


def repeat_notes(repeat: Repeat, network: NetworkResult) -> Iterator[Note]:
    """Yield notes on passes that differ, and on batch normalization outside BN layers."""
    if repeat.difference is not None:
        size = min(network.gaps.measured)
        yield _note("stochastic forward", number(repeat.difference), size, network.gaps.measured[size])
    if repeat.elsewhere:
        paths = dict.fromkeys(place.path for place in repeat.elsewhere)
        if "" in paths:  # called by no module
            yield _note("functional batch norm", _lines(repeat.elsewhere))
        else:
            yield from _about("functional batch norm", paths, _lines(repeat.elsewhere))


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
) -> Iterator[Note]:
    """Yield notes on measurements: shared layers, stale statistics, dead channels, limits of the law, weight decay.

    Args:
        layers: results by call.
        network: results of all calls at once.
        modules: the BN layers by path.
        optimizer: whose weight decay is set beside the shares at ``batch_size``.
        batch_size: M.
        coupled: samples that share one value of the loss.
    """
    yield from _shared(layers)
    yield from _dead_channels(layers)
    yield from _stale(layers)
    discrepancy = network.running_discrepancy
    if discrepancy is not None and abs(discrepancy.value) > max(3 * discrepancy.stderr, 0.01):
        yield _note("stale statistics", discrepancy)
    for size, as_loaded in network.as_loaded.items():
        if differs(as_loaded, network.gaps.measured[size], network.gaps.population // max(size, coupled)):
            yield _note("loader's batches", size, as_loaded, network.gaps.measured[size])
            break
    yield from _prediction_notes(layers, network.gaps)
    if optimizer is not None:
        yield from _weight_decay(layers, modules, optimizer, batch_size)


def told_padding(notes: Sequence[Note], place: str | None) -> list[Note]:
    """Return the notes; if ``place`` in a batch marks the values whose statistics the running ones are, these are not stale."""
    if place is None:
        return list(notes)
    return [note for note in notes if note.kind != "stale statistics"] + [_note("padding", place)]


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
            yield _note(kind, *([_cause(layers, gaps)] if kind == "no law" else []), text)


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
        yield from _about("shared layer", calls, calls[last], last.partition("#")[0])


def _dead_channels(layers: Sequence[LayerResult]) -> Iterator[Note]:
    found = [layer for layer in layers if layer.dead_channels]
    if found:
        worst = max(found, key=lambda layer: layer.dead_channels)
        dead, channels = (sum(getattr(layer, name) for layer in found) for name in ("dead_channels", "channels"))
        names = (layer.name for layer in found)
        yield from _about("dead channels", names, dead, channels, worst.name, worst.dead_channels, worst.channels)


def _stale(layers: Sequence[LayerResult]) -> Iterator[Note]:
    found = {
        layer.name: (layer.stale_mean, layer.stale_std)
        for layer in layers
        if layer.stale_mean is not None and layer.stale_std is not None
        if _clearly_above(layer.stale_mean, STALE_MEAN) or _clearly_above(layer.stale_std, STALE_STD)
    }
    if found:
        by_mean, by_std = (max(found, key=lambda name: found[name][part].value) for part in (0, 1))
        yield from _about("stale statistics", found, found[by_mean][0], by_mean, found[by_std][1], by_std)


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
        yield from _about("weight decay", found, coefficients, number(explicit), batch_size, share, total, worst)


def differs(few: Estimate, many: Estimate, groups: int) -> bool:
    """Return whether a mean over few groups differs from one over many, by three standard errors had there been many."""
    difference = few - many
    return abs(difference.value) > float(stdtrit(groups - 1, _THREE_SIGMA)) * difference.stderr


def _clearly_above(estimate: Estimate, threshold: float) -> bool:
    return estimate.value - 3 * estimate.stderr > threshold
