"""Population statistics of every BN call, under population propagation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from bnlens.errors import DataError, ModelError
from bnlens.measure._intercept import Handler
from bnlens.measure._probe import Probe
from bnlens.moments import Moments

__all__ = ["Population", "Populations", "estimate_population", "normalise", "population_handler", "settle_population"]

_SAME = "the model must run the same layers every time"
_SETTLED = 0.1  # standard deviations, or their relative change


@dataclass(frozen=True)
class Population:
    """Population statistics of one BN call.

    Attributes:
        mean: mu_P, (C,), float32 or wider, over samples and pixels.
        variance: sigma_P^2, (C,), biased.
        eps: the layer's epsilon; ``sigma`` includes it, as the layer's own normalisation does.
        count: samples times pixels behind the statistics.
    """

    mean: Tensor
    variance: Tensor
    eps: float
    count: int = 0

    @property
    def sigma(self) -> Tensor:
        """sqrt(variance + eps), (C,)."""
        return (self.variance + self.eps).sqrt()


Populations: TypeAlias = Mapping[str, Population]
"""Population statistics of all calls, by call name."""


def normalise(h: Tensor, population: Population, gamma: Tensor, beta: Tensor) -> Tensor:
    """Return gamma (h - mu_P) / sigma_P + beta, in the dtype of ``h``."""
    return F.batch_norm(h, population.mean, population.variance, gamma, beta, False, 0.0, population.eps)


def population_handler(populations: Populations) -> Handler:
    """Return a handler that normalises every call by its population statistics; calls that have none are a ModelError."""

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if name not in populations:
            raise ModelError(f"call {name!r} of a BN layer was not seen before; {_SAME}")
        return normalise(h, populations[name], gamma, beta)

    return handle


def estimate_population(
    probe: Probe, *, tolerance: float = 1e-5, max_passes: int | None = None, advance: Callable[[], None] = lambda: None
) -> tuple[dict[str, Population], int]:
    """Run `settle_population` over the whole pool."""

    def run(handler: Handler) -> None:
        for indices in probe.pool.batches(probe.batch_size):
            probe.outputs(indices, handler)

    return settle_population(run, tolerance=tolerance, max_passes=max_passes, advance=advance)


@torch.no_grad()
def settle_population(
    run: Callable[[Handler], None],
    *,
    tolerance: float = 1e-5,
    max_passes: int | None = None,
    merge: Callable[[Moments], Moments] = lambda moments: moments,
    advance: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Population], int]:
    """Return the statistics of all calls over all samples, each with all earlier layers normalised by theirs.

    The first pass normalises by batch statistics; each later one by the statistics of the pass before, and makes at least
    one more layer exact. A layer whose statistics still move by more than a tenth keeps to batch statistics, or errors
    would multiply from layer to layer (a plain net of 60 layers overflowed). Passes are repeated until no mean moves by
    more than ``tolerance`` standard deviations and no standard deviation by more than that fraction.

    Args:
        run: runs the model over all samples with a handler.
        tolerance: see above.
        max_passes: at most so many; None for what the number of layers can need, which is enough.
        merge: joins the moments of one call with those of other processes.
        advance: called after each pass.

    Returns:
        Populations by call name in the order of execution, and the number of passes.

    Raises:
        DataError: a layer's input is not finite.
        ModelError: the model does not run the same layers every time.
    """
    current: dict[str, Population] = {}
    unsettled: set[str] = set()
    passes = 0
    while passes < (max_passes or len(current) + 3):
        passes += 1
        seen: dict[str, tuple[Moments, float, torch.dtype]] = {}
        run(_observing(seen, _settling(current, unsettled) if current else _by_batch))
        advance()
        if missing := [name for name in current if name not in seen]:
            raise ModelError(
                f"call {missing[0]!r} of a BN layer was seen in one pass over the data and not in the next; {_SAME}"
            )
        updated, changes = {}, {}
        for name, (moments, eps, dtype) in seen.items():
            result = merge(moments).compute()
            if result.skipped_batches and not (current and passes <= len(current)):
                raise DataError(f"the input of layer {name!r} is not finite; check the data and the model's weights")
            updated[name] = Population(result.mean.to(dtype), result.variance.to(dtype), eps, int(result.count))
            if result.skipped_batches:  # statistics that do not fit yet can overflow a deep net
                updated[name], changes[name] = current[name], float("inf")
            elif current:
                changes[name] = _change(updated[name], current[name])
        settled = bool(changes) and not unsettled and max(changes.values()) <= tolerance
        unsettled = _unsettled(changes, tolerance)
        current = updated
        if settled or not current:
            break
    return current, passes


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
        return (_by_batch if name in unsettled else by_population)(name, h, gamma, beta, eps)

    return handle


def _observing(seen: dict[str, tuple[Moments, float, torch.dtype]], then: Handler) -> Handler:
    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        moments = seen[name][0] if name in seen else Moments(h.shape[1], device=h.device)
        seen[name] = moments, eps, gamma.dtype
        moments.update(h)
        return then(name, h, gamma, beta, eps)

    return handle


def _by_batch(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    # not F.batch_norm, which refuses a last batch of one sample; its output is beta, and later passes put that right
    return torch.batch_norm(h, gamma, beta, None, None, True, 0.0, eps, torch.backends.cudnn.enabled)


def _change(new: Population, old: Population) -> float:
    mean = ((new.mean - old.mean) / old.sigma).abs().max()
    return float(torch.maximum(mean, (new.sigma / old.sigma - 1).abs().max()))
