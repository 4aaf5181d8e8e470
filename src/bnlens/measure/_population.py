"""Population statistics of every BN call, under population propagation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from bnlens._ranks import gather
from bnlens.errors import DataError, ModelError
from bnlens.measure._intercept import Handler
from bnlens.measure._lockstep import Seen, lock_step, observing, over_ranks
from bnlens.measure._memory import Footprint
from bnlens.measure._mixing import Mixing
from bnlens.measure._probe import Probe
from bnlens.measure._ranks import agreeing
from bnlens.measure._stream import StreamedPool
from bnlens.measure._valid import counted, valid_now
from bnlens.moments import MomentEstimates

__all__ = [
    "Population",
    "Populations",
    "estimate_population",
    "normalise",
    "normalise_by_batch",
    "population_handler",
    "settle_population",
]

_SAME = "the model must run the same layers every time"
_SETTLED = 0.1  # standard deviations, or their relative change
_LOOSE = 1e-4  # if it stays above, something moves that is no rounding
_MIXED = 100  # passes more where a layer is used several times

Run: TypeAlias = Callable[[Handler], None]
"""Runs the model with a handler."""


@dataclass(frozen=True)
class Population:
    """Population statistics of one BN call, over samples and pixels.

    Attributes:
        mean: mu_P, (C,), float32 or wider.
        variance: sigma_P^2, (C,): biased, but where running statistics are sought.
        eps: the layer's epsilon; ``sigma`` includes it, as the layer's own normalisation does.
        count: samples times pixels behind the statistics.
        skewness: s of the pre-activations, (C,); nan where they are constant, and where nothing is known.
        excess_kurtosis: rho of the pre-activations, (C,); nan as above.
    """

    mean: Tensor
    variance: Tensor
    eps: float
    count: int = 0
    skewness: Tensor = field(default_factory=lambda: torch.tensor(torch.nan))
    excess_kurtosis: Tensor = field(default_factory=lambda: torch.tensor(torch.nan))

    @property
    def square(self) -> Tensor:
        """Mean over the pool of xhat^2, (C,): 1 but for epsilon."""
        return self.variance / (self.variance + self.eps)

    @property
    def sigma(self) -> Tensor:
        """sqrt(variance + eps), (C,)."""
        return (self.variance + self.eps).sqrt()


Populations: TypeAlias = Mapping[str, Population]
"""Population statistics of all calls, by call name."""


def normalise(h: Tensor, population: Population, gamma: Tensor, beta: Tensor) -> Tensor:
    """Return gamma (h - mu_P) / sigma_P + beta, in the dtype of ``h``."""
    return F.batch_norm(h, population.mean, population.variance, gamma, beta, False, 0.0, population.eps)


def normalise_by_batch(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """Normalise by the statistics of the batch; a handler."""
    valid = valid_now()
    if valid is not None and bool(valid.any()):
        variance, mean = torch.var_mean(counted(h.detach(), valid).to(gamma.dtype), 0, correction=0)
        return F.batch_norm(h, mean, variance, gamma, beta, False, 0.0, eps)
    # not F.batch_norm, which refuses a last batch of one sample; its output is beta, and later passes put that right
    return torch.batch_norm(h, gamma, beta, None, None, True, 0.0, eps, torch.backends.cudnn.enabled)


def population_handler(populations: Populations) -> Handler:
    """Return a handler that normalises every call by its population statistics; calls that have none are a ModelError."""

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if name not in populations:
            raise ModelError(f"call {name!r} of a BN layer was not seen before; {_SAME}")
        return normalise(h, populations[name], gamma, beta)

    return handle


@torch.no_grad()
def estimate_population(
    probe: Probe, *, tolerance: float = 1e-5, max_passes: int | None = None, advance: Callable[[], None] = lambda: None
) -> tuple[dict[str, Population], int]:
    """Run `settle_population` over the whole pool: at once where one batch of this rank's samples fits in memory."""
    pool = probe.pool

    def run(handler: Handler) -> None:
        for batch in pool.shard(probe.batch_size):
            probe.outputs(batch, handler)

    def at_once(handler: Handler) -> None:
        probe.outputs(next(pool.shard(pool.own)), handler)

    fits = not isinstance(pool, StreamedPool)  # whose memory is not to grow with its samples
    with agreeing():
        if fits and pool.own > probe.batch_size:
            first = next(pool.shard(probe.batch_size))
            footprint = Footprint(first.data, first.size)
            probe.outputs(first, footprint.noting(normalise_by_batch))
            fits = pool.own <= footprint.samples
    return settle_population(
        run, at_once=at_once if fits else None, tolerance=tolerance, max_passes=max_passes, advance=advance
    )


@torch.no_grad()
def settle_population(
    run: Run,
    *,
    at_once: Run | None = None,
    tolerance: float | None = 1e-5,
    max_passes: int | None = None,
    evaluation: bool = False,
    shared: Set[str] = frozenset(),
    advance: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Population], int]:
    """Return the statistics of all calls over all samples of all ranks, each with all earlier layers normalised by theirs.

    Where all samples of a rank go through the model as one batch, in lock-step with the other ranks, one pass finds them:
    each call merges the statistics of its input over the ranks and normalises by the result. That is one batch, not one
    thread for each batch, as forward passes that take turns break modules that keep state in their forward. A second pass,
    batch by batch, has to confirm it. If it does not, or if one batch is impossible (memory, shapes), passes do it alone.

    Of these the first normalises by batch statistics; each later one by the statistics of the pass before, and makes at
    least one more layer exact. A layer whose statistics still move by more than a tenth keeps to batch statistics, or
    errors would multiply from layer to layer (a plain net of 60 layers overflowed). Passes are repeated until no mean moves
    by more than ``tolerance`` standard deviations and no standard deviation by more than that fraction.

    A call that stands for several uses of a layer sees what its own statistics made, so no number of passes makes it exact;
    these are mixed from pass to pass (`bnlens.measure._mixing`), and at most a hundred more are made.

    Args:
        run: runs the model over all samples of this rank, batch by batch.
        at_once: the same as one batch; None where that does not fit. It is used if all ranks have it.
        tolerance: see above; None for what rounding leaves, 16 roundings of the statistics' dtype or 1e-12.
        max_passes: at most so many; None for what the number of layers can need, which is enough.
        evaluation: take Bessel-corrected variances, and normalise by them too, as evaluation will if they become running
            statistics. Returned then are the statistics that the last pass ran under and found again.
        shared: calls that stand for several uses of a layer; filled as these are met.
        advance: called after each pass.

    Returns:
        Populations by call name in the order of execution, and the number of passes: two where the first was at once.

    Raises:
        DataError: a layer's input is not finite, or (``evaluation``) is one value per channel.
        ModelError: the model does not run the same layers every time, or on every rank.
    """
    current: dict[str, Population] = {}
    unsettled: set[str] = set()
    mixing = Mixing()
    passes, change = 0, math.inf
    if all(gather(at_once is not None)) and at_once is not None:
        started: dict[str, Seen] = {}
        found = lock_step(at_once, started, bessel=evaluation)
        current = {name: _population(name, started[name], result) for name, result in found.items()}
        if current:
            passes = 1
            advance()
    while passes < (max_passes or len(current) + 3 + (_MIXED if shared else 0)):
        passes += 1
        seen: dict[str, Seen] = {}
        with agreeing():
            run(observing(seen, _settling(current, unsettled) if current else normalise_by_batch))
            if missing := [name for name in current if name not in seen]:
                raise ModelError(
                    f"call {missing[0]!r} of a BN layer was seen in one pass over the data and not in the next; {_SAME}"
                )
        advance()
        updated, changes = {}, {}
        for name, result in over_ranks(seen, bessel=evaluation).items():
            if result.skipped_batches and not (current and passes <= len(current)):
                raise DataError(f"the input of layer {name!r} is not finite; check the data and the model's weights")
            updated[name] = _population(name, seen[name], result)
            if result.skipped_batches:  # statistics that do not fit yet can overflow a deep net
                updated[name], changes[name] = current[name], float("inf")
            elif current:
                changes[name] = _change(updated[name], current[name])
        change = max(changes.values(), default=math.inf)
        if not updated:
            break
        limit = _rounding(updated) if tolerance is None else tolerance
        if not unsettled and change <= limit:
            return current if evaluation else updated, passes
        # later on, batch statistics in some layers would keep a shared one before them from its fixed point
        early = not shared or passes <= len(updated)
        unsettled = _unsettled(changes, limit) - shared if early else set()
        mixes = bool(shared and current) and not unsettled
        current = _mixed(mixing, updated, current) if mixes else updated
    if evaluation and current and change > _LOOSE:
        warnings.warn(
            f"the statistics of BN layers still moved by {change:.1g} standard deviations in pass {passes}, as they do where "
            "the forward pass or the loader draws random numbers; the last ones were taken",
            UserWarning,
            stacklevel=5,  # past torch.no_grad, `recalibrate` and its checks
        )
    return current, passes


def _population(name: str, seen: Seen, result: MomentEstimates) -> Population:
    mean, variance = result.mean.to(seen.like), result.variance.to(seen.like)
    if result.count == 1 and bool(variance.isnan().any()):
        raise DataError(
            f"layer {name!r} is given one value per channel in all, which has no variance; give more samples"
        )
    higher = result.skewness.to(seen.like), result.excess_kurtosis.to(seen.like)
    return Population(mean, variance, seen.eps, int(result.count), *higher)


def _rounding(populations: Populations) -> float:
    coarsest = max(torch.finfo(population.mean.dtype).eps for population in populations.values())
    return max(16 * coarsest, 1e-12)


def _unsettled(changes: Mapping[str, float], tolerance: float) -> set[str]:
    """Return calls that moved too far to be used; not the first one that moved, whose statistics are exact by now."""
    chosen, exact = set(), True
    for name, change in changes.items():  # in the order of execution
        if not exact and not change <= _SETTLED:
            chosen.add(name)
        exact = exact and change <= tolerance
    return chosen


def _settling(populations: Populations, unsettled: set[str]) -> Handler:
    by_population = population_handler(populations)

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        return (normalise_by_batch if name in unsettled else by_population)(name, h, gamma, beta, eps)

    return handle


def _change(new: Population, old: Population) -> float:
    mean = ((new.mean - old.mean) / old.sigma).abs().max()
    return float(torch.maximum(mean, (new.sigma / old.sigma - 1).abs().max()))


def _mixed(mixing: Mixing, found: Populations, given: Populations) -> dict[str, Population]:
    """Return the statistics for the next pass; those found, where mixing makes a variance negative."""
    flat, change = [], []
    for name, new in found.items():
        old, sigma = given[name], given[name].sigma
        flat += [new.mean, new.variance]
        change += [(new.mean - old.mean) / sigma, (new.variance - old.variance) / (2 * sigma.square())]
    joined = mixing.next(*(torch.cat([part.double().cpu() for part in parts]) for parts in (flat, change)))
    parts = iter(torch.split(joined, [len(part) for part in flat]))
    mixed = {
        name: replace(new, mean=next(parts).to(new.mean), variance=next(parts).to(new.mean))
        for name, new in found.items()
    }
    if all(bool((population.variance >= 0).all()) for population in mixed.values()):
        return mixed
    mixing.reset()
    return dict(found)
