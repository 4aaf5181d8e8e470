"""The first batch, run twice: do passes over the same samples differ, and is batch normalization called outside BN layers?"""

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
from torch.utils import _pytree as pytree

from bnlens.measure._intercept import Handler
from bnlens.measure._pool import Batch
from bnlens.measure._probe import Probe
from bnlens.measure._ranks import gather

__all__ = ["Place", "Repeat", "run_again"]

_TRIES = 8


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
    """Run a batch again and compare with ``output`` and ``target``, which ``handler`` gave.

    Sums in another order, as some kernels of a GPU make them, count as the same: outputs have to differ by more than the
    root of the machine epsilon, in the least precise type that is seen, of their size. A model that draws random numbers and
    gives the same all the same, as it does where it drops a block for a whole batch now and then, is run up to eight times.
    """
    eps = torch.finfo(output.dtype).eps

    def noting(name: str, h: Tensor, gamma: Tensor, beta: Tensor, own_eps: float) -> Tensor:
        nonlocal eps
        eps = max(eps, torch.finfo(h.dtype).eps)
        return handler(name, h, gamma, beta, own_eps)

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
            again, target_again = probe.outputs(batch, noting)
        differ = _differ(output, again, eps)
        if differ or not _same(target, target_again):
            one, two = probe.loss.per_sample(output, target), probe.loss.per_sample(again, target_again)
            if differ or _differ(one, two, eps):
                return Repeat(float((two - one).square().mean().sqrt()), dict(elsewhere))
        if _generators() == before:
            break
    return Repeat(elsewhere=dict(elsewhere))


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


def _same(one: Any, two: Any) -> bool:
    """Return whether all tensors of two targets are the same."""
    ones, twos = pytree.tree_leaves(one), pytree.tree_leaves(two)
    return len(ones) == len(twos) and all(
        a is b or not isinstance(a, Tensor) or torch.equal(a, b) for a, b in zip(ones, twos, strict=True)
    )


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
