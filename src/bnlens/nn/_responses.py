"""Backward statistics of samples whose backward pass is yet to come, for shared statistics: guessed from past contexts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens.nn._statistics import BatchStatistics

__all__ = ["Means", "Responses", "begin"]

_CONTEXTS = 12  # so many streams in turn are told apart without names
_MEMORY = 0.9
_MARGIN = 1.25  # by so much must another guess be better than the last context


@dataclass
class Means:
    """Means over all samples of a context of dy and of dy xhat, with dy the gradient of the layer's output.

    Attributes:
        batch: statistics of all samples.
        scale: of the loss.
        similar: number of the past context with the most similar statistics, shape (); None where there is no past.
        guess: the means of the samples whose backward pass is yet to come, (2, C); None where there is no past.
        sums: over the finite micro-batches so far, (2, C).
        seen: values per channel in these, shape ().
    """

    batch: BatchStatistics
    scale: float
    similar: Tensor | None
    guess: Tensor | None
    sums: Tensor
    seen: Tensor

    def take(self, sums: Tensor, values: int, *, keep: bool) -> Tensor:
        """Return the means, (2, C), as far as known with a micro-batch, whose sums, (2, C), are added if ``keep``."""
        total, seen = self.sums + sums, self.seen + values
        if keep:
            finite = total.isfinite().all()
            self.sums, self.seen = torch.where(finite, total, self.sums), torch.where(finite, seen, self.seen)
        if self.guess is None:
            return total / seen.clamp_min(1)  # a padded micro-batch may have none
        whole = self.batch.values
        return (total + (whole - seen).clamp_min(0) * self.guess) / seen.clamp_min(whole)


@dataclass
class Responses:
    """The means of the last contexts of one layer, newest first, and how well each way to guess the next has done.

    The guesses are the means of the last context, of the one before it, and so on, and of the one with the most similar
    statistics. Where streams take turns, such as real and generated images, one of these is the stream's own; the best so far
    is used.

    Attributes:
        means: as in `Means`, (k, 2, C), over the scale of the loss.
        statistics: mean and logarithm of the variance of the samples, (k, 2, C).
        errors: of each guess, (13,), exponential averages of squared distances relative to those of all guesses; the last is of
            the one by statistics.
        tried: weight of the contexts in these, (13,).
        contexts: how many there were.
    """

    means: Tensor
    statistics: Tensor
    errors: Tensor
    tried: Tensor
    contexts: int = 0

    @staticmethod
    def empty(batch: BatchStatistics) -> Responses:
        """Return those of a layer without a past."""
        rows, each = batch.mean.new_zeros(0, 2, len(batch.mean)), batch.mean.new_zeros(_CONTEXTS + 1)
        return Responses(rows, rows, each, each)

    def end(self, means: Means) -> None:
        """Note what a context has found."""
        if not means.seen:
            return
        found, described = means.sums / (means.scale * means.seen), _described(means.batch)
        past, statistics, errors, tried = (
            tensor.to(found) for tensor in (self.means, self.statistics, self.errors, self.tried)
        )
        if means.similar is not None:
            error = (past - found).square().sum((1, 2))
            which = torch.tensor([*range(len(error)), _CONTEXTS], device=found.device)
            error = torch.cat([error, error[means.similar].view(1)])
            error = error / error.mean().clamp_min(torch.finfo(error.dtype).tiny)
            errors = (_MEMORY * errors).index_add(0, which, (1 - _MEMORY) * error)
            tried = (_MEMORY * tried).index_add(0, which, torch.full_like(error, 1 - _MEMORY))
        self.means = torch.cat([found[None], past])[:_CONTEXTS]
        self.statistics = torch.cat([described[None], statistics])[:_CONTEXTS]
        self.errors, self.tried, self.contexts = errors, tried, self.contexts + 1


def begin(layers: Iterable[tuple[Responses, BatchStatistics]], scale: float) -> list[Means]:
    """Return the means of a context, of a loss with this scale, for each layer, given its past and the samples' statistics.

    Layers that have run in the same contexts choose together: normalised by the layers before, the inputs of a late one say
    less.
    """
    together: dict[int, list[Means]] = {}
    pasts: dict[int, list[Responses]] = {}
    result = []
    for past, batch in layers:
        sums = torch.zeros_like(torch.stack(batch[:2]))
        result.append(Means(batch, scale, None, None, sums, sums.new_zeros(())))
        if len(past.means):
            together.setdefault(past.contexts, []).append(result[-1])
            pasts.setdefault(past.contexts, []).append(past)
    for contexts, several in together.items():
        own = pasts[contexts]
        place = several[0].sums
        away = torch.stack([_distances(*each).to(place) for each in zip(own, several, strict=True)]).sum(0)
        error = torch.stack([past.errors.to(place) for past in own]).sum(0)
        tried = torch.stack([past.tried.to(place) for past in own]).sum(0)
        error = torch.where(tried > 0, error / tried, torch.inf)
        error[0] = torch.where(tried[0] > 0, error[0] / _MARGIN, 0)  # the last context, as long as nothing is known
        best, similar = error.argmin(), away.argmin()
        chosen = torch.where(best == _CONTEXTS, similar, best)
        for past, means in zip(own, several, strict=True):
            means.similar = similar.to(past.means.device)
            means.guess = scale * past.means[chosen.to(past.means.device)].to(means.sums)
    return result


def _distances(past: Responses, means: Means) -> Tensor:
    """Return how far the statistics of each past context are from those of this one, (k,)."""
    described = _described(means.batch)
    change = past.statistics.to(described) - described
    shift, spread = change[:, 0] * (-described[1] / 2).exp(), change[:, 1]
    return (shift.square() + spread.square()).sum(1)


def _described(batch: BatchStatistics) -> Tensor:
    return torch.stack([batch.mean, batch.variance.clamp_min(torch.finfo(batch.variance.dtype).tiny).log()])
