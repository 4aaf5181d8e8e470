"""The texts of a report's notes, by kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bnlens.measure._results import Note

__all__ = ["about", "of_network"]

# By kind of note, about one layer and about several; a kind that has more is followed by a colon and what tells them apart.
_OF_LAYERS = {
    "frozen": (
        "is frozen ({0}): it normalises by its running statistics, adds no noise, and is left out of every gap",
        "are frozen ({0}): they normalise by their running statistics, add no noise, and are left out of every gap",
    ),
    "moving statistics": (
        "has requires_grad=False but is not in eval mode on its own: in training its running statistics still move and its "
        "batch statistics still add noise; call .eval() on it after every model.train() to freeze it, or bnlens.freeze",
        "have requires_grad=False but are not in eval mode on their own: in training their running statistics still move and "
        "their batch statistics still add noise; call .eval() on them after every model.train() to freeze them, or "
        "bnlens.freeze",
    ),
    "train mode": (
        "is in train mode inside a model in eval mode: evaluation as it stands normalises by the batch at hand, and moves the "
        "running statistics; call model.eval()",
        "are in train mode inside a model in eval mode: evaluation as it stands normalises by the batch at hand, and moves the "
        "running statistics; call model.eval()",
    ),
    "not finite": (
        "has running statistics that are NaN, infinite or a negative variance in {0} of {1} channels: evaluation gives NaN "
        "for every sample, or a constant; set them anew (bnlens.recalibrate). One batch that is not finite is enough for "
        "that in layers of torch; those of bnlens.nn leave it out",
        "have running statistics that are NaN, infinite or a negative variance in {0} of {1} channels, the most in {2!r}, "
        "{3} of {4}: evaluation gives NaN for every sample, or a constant; set them anew (bnlens.recalibrate). One batch "
        "that is not finite is enough for that in layers of torch; those of bnlens.nn leave it out",
    ),
    "momentum": (
        "has momentum {0}: the running statistics are to {1} those of the last batch in training, whatever came before it; "
        "momentum is the weight of the new batch in torch and of the old ones in Keras, whose {0} is {2} here",
        "have momentum {0}: the running statistics are to {1} those of the last batch in training, whatever came before it; "
        "momentum is the weight of the new batch in torch and of the old ones in Keras, whose {0} is {2} here",
    ),
    "fixed statistics": (
        "normalises by the batch in training, which leaves the running statistics that evaluation uses as they are ({0}): "
        "recompute them before evaluating (bnlens.recalibrate), or freeze the layer (bnlens.freeze) so that training uses "
        "them too",
        "normalise by the batch in training, which leaves the running statistics that evaluation uses as they are ({0}): "
        "recompute them before evaluating (bnlens.recalibrate), or freeze the layers (bnlens.freeze) so that training uses "
        "them too",
    ),
    "epsilon": (
        "has eps {0}, where 1e-5 is usual: inputs whose variance is not far above that are scaled down; the second argument "
        "of a BN layer is eps, and its third is the momentum",
        "have eps {0}, where 1e-5 is usual: inputs whose variance is not far above that are scaled down; the second argument "
        "of a BN layer is eps, and its third is the momentum",
    ),
    "no running statistics": (
        "keeps no running statistics, unlike other layers of the model: evaluation normalises by the batch at hand there, so "
        "that what a sample gives depends on the others in its batch; build the layer with track_running_stats=True",
        "keep no running statistics, unlike other layers of the model: evaluation normalises by the batch at hand there, so "
        "that what a sample gives depends on the others in its batch; build the layers with track_running_stats=True",
    ),
    "initial statistics": (
        "has the running statistics of a new layer, means 0 and variances 1: no batch in train mode has moved them, or they "
        "were not copied along with the weights",
        "have the running statistics of new layers, means 0 and variances 1: no batch in train mode has moved them, or they "
        "were not copied along with the weights",
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
        "{0} of {1} channels have an output that does not vary (standard deviation below 0.001), but need not be zero: "
        "before pruning them fold their constants (bnlens.dead_channels), put through the activation, into the bias of the "
        "next layer; beside zero padding they are no constants there",
        "{0} of {1} channels have an output that does not vary (standard deviation below 0.001), the most in {2!r}, {3} of "
        "{4}, but need not be zero: before pruning them fold their constants (bnlens.dead_channels), put through the "
        "activation, into the bias of the next layer; beside zero padding they are no constants there",
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
    "beyond first order": "the first-order law gives {} of the measured gap: noise so strong is beyond the first order in 1/M "
    "(common where the loss is close to zero)",
    "no law": "the gaps at other sizes leave open what the gap is{}: the curve says {} nats; measure at the M you need",
    "prediction": "the curve through the gaps at other sizes gives {} of the measured gap: trust the measurement",
    "likelihood mismatch": "the gradients of the loss are not those of the likelihood that was given: Fisher and two-term "
    "values are those of another loss; give the likelihood that the loss is the negative logarithm of, or none",
    "padding": "the running statistics leave out padding, as the {} in a batch tell it, and this report does not: give it as "
    "mask= to report and recalibrate, and leave padding out in training (bnlens.masked)",
    "streamed": "the samples were read again for each pass, and groups drawn from {} of the {} at a time, in the loader's "
    "order: if that is sorted by class or source, shuffle the loader, or hold the samples (hold=True)",
    "rows": "BN layers have {0} rows per sample, {1}, as leaving a sample out of a batch shows (samples_of= says so without "
    "that): groups here are of whole samples, while M of a bnlens layer counts rows in training{2}",
    "coupled loss": "the loss couples the samples of a batch, so that each gap is that of whole batches of {} samples, the "
    "loader's size, normalised in groups of M: in batches of another size the loss is another one, and so is its gap",
    "stochastic forward": "two passes over the same samples in eval mode differ, in the losses by {} nats (rms over samples; "
    "the gap at M = {} is {} nats): the model or the loss draws random numbers or changes as it runs. Measured gaps are means "
    "over that noise, and their standard errors count it, but for what it does to the population statistics; predictions and "
    "shares compare passes sample by sample and are biased where it reaches a BN layer. Switch it off for a report without it",
    "coupled samples": "outside its BN layers, too, what the model gives for a sample depends on the others of its batch (a "
    "mean or an attention over dimension 0, say): they are up to {} here, whatever M is, and gap and losses are those of such "
    "batches",
    "loader's batches": "batches as the loader gives them are no random samples of the data: groups of {0} consecutive samples "
    "have a gap of {1} nats, random ones one of {2}; shuffle the loader, or read as_loaded for the gap if training takes them "
    "in that order",
}


def of_network(kind: str, *values: object) -> Note:
    """Return a note about the network."""
    return Note(kind, "", _OF_NETWORK[kind].format(*values))


def about(kind: str, layers: Iterable[str], *values: object) -> Iterator[Note]:
    """Yield one note about all the layers, if there are any."""
    if names := tuple(layers):
        text = _OF_LAYERS[kind][len(names) > 1].format(*values)
        yield Note(kind, names[0] if len(names) == 1 else "", text, names)
