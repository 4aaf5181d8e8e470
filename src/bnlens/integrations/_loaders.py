"""A user's loader, read without a trace in the random numbers of the training."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bnlens.errors import DataError

__all__ = ["first_samples", "undisturbed"]


@contextmanager
def undisturbed(loader: Any) -> Iterator[None]:
    """Within this context, iterating moves no generator of random numbers: not the global ones, nor those of the loader.

    A DataLoader that shuffles draws from the generator that it, its sampler or its batch sampler was given, the one that may
    order the batches of the training too.
    """
    batches = getattr(loader, "batch_sampler", None)
    parts = (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    found = (value for part in parts for value in getattr(part, "__dict__", {}).values())
    generators = {id(value): value for value in found if isinstance(value, torch.Generator)}
    states = {key: generator.get_state() for key, generator in generators.items()}
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - users draw from it
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        for key, state in states.items():
            generators[key].set_state(state)


def first_samples(loader: Iterable[Any], samples: int, seed: int) -> tuple[list[Any], int]:
    """Return the first batches of a loader, as many as it takes for ``samples``, and how many these have.

    Random choices, the order of a loader that shuffles, say, are by ``seed`` alone, so that a run that goes on finds the same.

    Raises:
        DataError: the loader cannot be iterated, is empty, or a batch holds no tensor.
    """
    batches, size = [], 0
    with undisturbed(loader):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        for given in loader:
            batch = dict(given) if isinstance(given, Mapping) else given  # a UserDict, say, which pytree does not enter
            tensors = (leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim)
            length = next(map(len, tensors), 0)
            if not length:
                raise DataError(
                    "a batch of the loader holds no tensor; yield (inputs, ..., targets) or a dict of tensors"
                )
            batches.append(batch)
            size += length
            if size >= samples:
                break
    if not batches:
        raise DataError("the loader is empty; give a loader that yields batches of samples")
    return batches, size
