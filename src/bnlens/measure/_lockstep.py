"""Moments of the inputs of all BN calls: of many batches, or of one that is normalised by them as it goes; over all ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce

import torch.nn.functional as F
from torch import Tensor

from bnlens._ranks import gather
from bnlens.errors import DataError, ModelError
from bnlens.measure._intercept import Handler
from bnlens.measure._valid import counted, valid_now
from bnlens.moments import MomentEstimates, Moments, MomentSums, compute_moments, merge_moments

__all__ = ["Seen", "lock_step", "observing", "over_ranks"]


@dataclass(frozen=True)
class Seen:
    """The inputs of one BN call on this rank.

    Attributes:
        moments: of its inputs.
        eps: the layer's epsilon.
        like: gamma, (C,), of the dtype and on the device that its statistics shall have.
        beta: (C,).
    """

    moments: Moments
    eps: float
    like: Tensor
    beta: Tensor


def observing(seen: dict[str, Seen], then: Handler) -> Handler:
    """Return a handler that adds the input of each call to ``seen`` and goes on with ``then``."""

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if name not in seen:
            seen[name] = Seen(Moments(h.shape[1], device=h.device), eps, gamma, beta)
        seen[name].moments.update(counted(h, valid_now()))
        return then(name, h, gamma, beta, eps)

    return handle


def over_ranks(seen: Mapping[str, Seen], *, bessel: bool = False) -> dict[str, MomentEstimates]:
    """Return the estimates of all calls from the samples of all ranks, variances with Bessel's correction if asked for.

    Raises:
        ModelError: the ranks ran different layers.
    """
    shares = gather({name: item.moments.sums.to("cpu") for name, item in seen.items()})
    if any(list(share) != list(shares[0]) for share in shares):
        raise ModelError("the ranks ran different BN layers; give every rank the same model")
    return {
        name: compute_moments(reduce(merge_moments, [share[name] for share in shares]), bessel=bessel)
        for name in shares[0]
    }


def lock_step(
    at_once: Callable[[Handler], None], seen: dict[str, Seen], *, bessel: bool = False
) -> dict[str, MomentEstimates]:
    """Run one batch on each rank, every call being normalised by the statistics of all ranks' input to it.

    Args:
        at_once: runs the model with a handler; each call must be reached once for the statistics to be exact.
        seen: is filled with the inputs of this rank.
        bessel: variances, also those that calls are normalised by, are Bessel-corrected.

    Returns:
        The estimates by call name in the order of execution; nothing if a rank could not go through with it.
    """
    found: dict[str, MomentEstimates] = {}

    def by_all_ranks(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        sums = _in_step((name, seen[name].moments.sums.to("cpu")))
        found[name] = result = compute_moments(reduce(merge_moments, sums), bessel=bessel)
        if result.skipped_batches:
            raise DataError(f"the input of layer {name!r} is not finite")
        return F.batch_norm(h, result.mean.to(gamma), result.variance.to(gamma), gamma, beta, False, 0.0, eps)

    try:
        at_once(observing(seen, by_all_ranks))
        _in_step(("", None))
    except _OutOfStepError:
        return {}
    except Exception:  # noqa: BLE001 - whatever one batch cannot do, passes can, or they say it better
        with suppress(_OutOfStepError):
            _in_step(None)
        return {}
    return found


class _OutOfStepError(RuntimeError):
    """The ranks are not at the same call; raised on all of them."""


def _in_step(entry: tuple[str, MomentSums | None] | None) -> list[MomentSums]:
    """Return the sums of all ranks at one call; None says that this rank cannot go on."""
    entries = gather(entry)
    if len({None if found is None else found[0] for found in entries}) > 1:
        raise _OutOfStepError
    return [found[1] for found in entries if found is not None and found[1] is not None]
