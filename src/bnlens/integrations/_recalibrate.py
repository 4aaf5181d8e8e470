"""Population statistics for the weights that are validated or written, in the middle of training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._arguments import check_call
from bnlens._ranks import gather
from bnlens.integrations._loaders import undisturbed
from bnlens.measure import recalibrate

__all__ = ["Recalibrator"]


class Recalibrator:
    """Runs `bnlens.recalibrate` where weights have changed since; all ranks call it together.

    Args:
        loader: of all ranks the samples count.
        options: of `bnlens.recalibrate`.
    """

    def __init__(self, loader: Iterable[Any], options: dict[str, Any]) -> None:
        check_call(recalibrate, loader=loader, **options)
        self.loader, self.options = loader, {"progress": False, **options}
        self._modes: list[tuple[nn.Module, bool]] = []
        self._last = b""

    def note(self, model: nn.Module) -> None:
        """Remember which modules train: in eval mode, in which a trainer validates, frozen layers look like others."""
        if model.training:
            self._modes = [(module, module.training) for module in model.modules()]

    def __call__(self, model: nn.Module) -> None:
        """Set the running statistics of ``model``, unless weights and running statistics are those of the last time."""
        if all(gather(_fingerprint(model) == self._last)):
            return
        self.note(model)
        with undisturbed(self.loader), self._as_in_training():
            recalibrate(model, self.loader, **self.options)
        self._last = _fingerprint(model)

    @torch.no_grad()
    def weights(self, model: nn.Module, state: MutableMapping[str, Any]) -> None:
        """Set the running statistics in a ``state_dict``, in place: those of the weights in it, averages, say.

        Args:
            model: runs with these weights for a while; it is handed back as it was. Where the tensors are its own, its
                running statistics are set.
            state: of the same module.
        """
        own = model.state_dict()
        pairs = [(own[name], value) for name, value in state.items() if isinstance(own.get(name), Tensor)]
        others = [(mine, value, mine.clone()) for mine, value in pairs if mine.data_ptr() != value.data_ptr()]
        try:
            for mine, value, _ in others:
                mine.copy_(value)
            self(model)
            names = [f"{path}.{name}".lstrip(".") for path, name in _running(model)]
            found = {name: own[name].clone() for name in names if name in own and name in state}
        finally:
            for mine, _, before in others:
                mine.copy_(before)
        for name, value in found.items():
            state[name].copy_(value)

    @contextmanager
    def _as_in_training(self) -> Iterator[None]:
        before = [(module, module.training) for module, _ in self._modes]
        try:
            for module, training in self._modes:
                module.training = training
            yield
        finally:
            for module, training in before:
                module.training = training


def _running(model: nn.Module) -> Iterator[tuple[str, str]]:
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            yield from ((path, "running_mean"), (path, "running_var"))


def _fingerprint(model: nn.Module) -> bytes:
    """Return a digest of parameters and running statistics; averaging callbacks write past the tensors' version counters."""
    digest = hashlib.blake2b()
    running = (getattr(model.get_submodule(path), name) for path, name in _running(model))
    for tensor in (*model.parameters(), *running):
        if tensor is not None:
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.digest()
