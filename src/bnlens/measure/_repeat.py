"""The first batch, run twice: do passes over the same samples differ, and is batch normalization called outside BN layers?

And run in halves: does what a sample gives depend on the others there?
"""

from __future__ import annotations

import math
import pickle
import random
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._ranks import gather
from bnlens.measure._intercept import Handler
from bnlens.measure._pool import Batch
from bnlens.measure._probe import Probe

__all__ = ["Place", "Repeat", "interacts", "run_again"]

_TRIES = 8
_COMPARED = 64  # samples, in halves


@dataclass(frozen=True)
class Place:
    """Where a function is called.

    Attributes:
        path: of the innermost module of the model that was running; empty where none was.
        line: file and line.
    """

    path: str
    line: str


@dataclass(frozen=True)
class Repeat:
    """The outcome of `run_again`.

    Attributes:
        difference: of the losses, rms over the samples, nats; None where the passes are the same up to rounding.
        elsewhere: calls of batch normalization outside BN layers in one forward pass, by place.
    """

    difference: float | None = None
    elsewhere: Mapping[Place, int] = field(default_factory=dict)

    def over_ranks(self) -> Repeat:
        """Return the same on all ranks, which all call it: the rms of the differences, and the first rank's places."""
        found = gather(self)
        squares = [repeat.difference**2 for repeat in found if repeat.difference is not None]
        return Repeat(math.sqrt(math.fsum(squares) / len(found)) if squares else None, found[0].elsewhere)


@torch.no_grad()
def run_again(probe: Probe, batch: Batch, handler: Handler, output: Tensor, target: Any) -> Repeat:
    """Run a batch again and compare with ``output`` and ``target``, which ``handler`` gave, and their losses.

    Sums in another order, as some kernels of a GPU make them, count as the same: outputs have to differ by more than the
    root of the machine epsilon, in the least precise type that is seen, of their size. A model that draws random numbers and
    gives the same all the same, as it does where it drops a block for a whole batch now and then, is run up to eight times.
    """
    rounding = _Rounding(torch.finfo(output.dtype).eps)
    names = {module: name or "(model)" for name, module in probe.model.named_modules()}
    elsewhere: Counter[Place] = Counter()

    def note(h: Tensor) -> None:
        if h.ndim and len(h) == 1 < batch.size:  # instance normalization, or that of a convolution's weights
            return
        if (place := _place(sys._getframe(2), names)) is not None:
            elsewhere[place] += 1

    for _ in range(_TRIES):
        elsewhere.clear()
        before = _generators()
        with probe.interceptor.noting(note):
            again, target_again = probe.outputs(batch, rounding.noting(handler))
        one, two = probe.loss.per_sample(output, target), probe.loss.per_sample(again, target_again)
        if _differ(output, again, rounding.eps) or _differ(one, two, rounding.eps):
            return Repeat(float((two - one).square().mean().sqrt()), dict(elsewhere))
        if _generators() == before:
            break
    return Repeat(elsewhere=dict(elsewhere))


@torch.no_grad()
def interacts(probe: Probe, handler: Handler) -> bool:
    """Return whether what a sample gives depends on the others of its batch under ``handler``, which normalises it alone."""
    batch = next(probe.pool.shard(probe.batch_size))
    batch = batch.head(min(_COMPARED, batch.size))
    if batch.size < 2:
        return False
    rounding = _Rounding()
    whole, *parts = (
        probe.outputs(batch.part(start, stop), rounding.noting(handler))[0]
        for start, stop in ((0, batch.size), (0, batch.size // 2), (batch.size // 2, batch.size))
    )
    return _differ(whole, torch.cat(parts), rounding.eps)


@dataclass
class _Rounding:
    """The machine epsilon of the least precise type that the inputs of BN layers have."""

    eps: float = torch.finfo(torch.float32).eps

    def noting(self, then: Handler) -> Handler:
        def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
            self.eps = max(self.eps, torch.finfo(h.dtype).eps)
            return then(name, h, gamma, beta, eps)

        return handle


def _generators() -> bytes:
    """Return the states of the generators of random numbers, of which a choice for a whole batch takes few."""
    return pickle.dumps((random.getstate(), np.random.get_state(), torch.get_rng_state().numpy()))  # noqa: NPY002


def _differ(one: Tensor, two: Tensor, eps: float) -> bool:
    if one.shape != two.shape:
        return True
    finite = one.isfinite()
    if not torch.equal(finite, two.isfinite()):
        return True
    return bool((two - one)[finite].norm() > math.sqrt(eps) * one[finite].norm())


def _place(frame: FrameType | None, names: Mapping[nn.Module, str]) -> Place | None:
    """Return where the call that ``frame`` makes comes from; None in a BN layer that is frozen or another network's."""
    path = line = ""
    while frame is not None and not path:
        if not line and not f"{frame.f_globals.get('__name__')}.".startswith("torch."):
            line = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        module = frame.f_locals.get("self")
        if isinstance(module, nn.Module) and module in names:
            if isinstance(module, _BatchNorm):
                return None
            path = names[module]
        elif isinstance(module, _BatchNorm) and not module.training and module.running_mean is not None:
            return None
        frame = frame.f_back
    return Place(path, line)
