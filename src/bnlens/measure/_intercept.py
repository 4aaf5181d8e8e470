"""Run a model with each BN layer's normalisation replaced, without touching the model.

The replacement happens where every BN layer of PyTorch ends up, in ``torch.nn.functional.batch_norm``, and only while a BN
module's own ``forward`` is running. So subclasses keep whatever else they do (an activation, a dropout), and a module that
is used twice is seen as two calls.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from bnlens._masks import BatchMask, Mask
from bnlens.errors import ModelError
from bnlens.measure._valid import counting
from bnlens.nn import DialBatchNorm

__all__ = ["Handler", "Interceptor", "batch_norm_layers", "handed_back", "is_frozen", "unwrap"]

# (call name, input h, gamma, beta, eps) -> output; gamma and beta are (C,), float32 or wider, detached
Handler = Callable[[str, Tensor, Tensor, Tensor, float], Tensor]


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel`` wrappers."""
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def batch_norm_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return all BN layers by module path; a shared module appears once, under its first path."""
    return {name or "(model)": module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}


def is_frozen(model: nn.Module, layer: _BatchNorm) -> bool:
    """Return whether training uses the layer's running statistics: by `bnlens.freeze`, whatever the modes, or by its mode.

    By its mode it is frozen where it is in eval mode inside a model that is being trained.
    A model is being trained if it is in train mode and so is a module in it that has parameters to train, or, where no
    parameter requires a gradient, any parameters. A container made around a model after ``model.eval()`` is in train mode,
    with a normalisation of the inputs or a dropout beside it, and has none: such a model counts as evaluated.
    """
    if isinstance(layer, DialBatchNorm) and layer.frozen:
        return True
    if not model.training or layer.training or layer.running_mean is None:
        return False
    none_trains = not any(parameter.requires_grad for parameter in model.parameters())
    return any(
        module.training and any(p.requires_grad or none_trains for p in module.parameters(recurse=False))
        for module in model.modules()
    )


@dataclass
class _Running:
    """A BN layer whose forward is running, the mask that it was given, and whether it reached F.batch_norm."""

    name: str
    layer: nn.Module
    mask: Tensor | None
    reached: bool = False


class Interceptor(TorchFunctionMode):
    """Replaces ``F.batch_norm`` inside the given layers by a handler; see the module's docstring.

    Args:
        layers: BN modules by name. A frozen layer is left out by the caller and runs as it is.
    """

    def __init__(self, layers: Mapping[str, _BatchNorm]) -> None:
        super().__init__()
        self.layers = dict(layers)
        self._handler: Handler | None = None
        self._calls: dict[str, int] = {}
        self._running: list[_Running] = []  # innermost last
        self._mask: BatchMask | None = None
        self._elsewhere: Callable[[Tensor], None] | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Within this context, hooks on the layers tell which of them is running."""
        handles: list[torch.utils.hooks.RemovableHandle] = []
        try:
            for name, layer in self.layers.items():
                handles.append(
                    layer.register_forward_pre_hook(partial(self._enter, name), prepend=True, with_kwargs=True)
                )
                handles.append(layer.register_forward_hook(self._leave, always_call=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def handling(self, handler: Handler, mask: Mask | None = None) -> Iterator[None]:
        """Within this context one forward pass of the model normalises by ``handler``.

        It finds the valid values by `bnlens.measure._valid`: those of a mask that a bnlens layer is given or is in (see
        `bnlens.masked`), else those of ``mask``.
        """
        self._handler = handler
        self._mask = None if mask is None else BatchMask(mask)
        self._calls.clear()
        self._running.clear()
        try:
            with self:
                yield
        finally:
            self._handler = None

    @contextmanager
    def noting(self, elsewhere: Callable[[Tensor], None]) -> Iterator[None]:
        """Within this context ``elsewhere`` is given the input of each batch normalization that is in none of the layers."""
        self._elsewhere = elsewhere
        try:
            yield
        finally:
            self._elsewhere = None

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        if self._handler is None:  # a backward pass that recomputes activations would use other statistics
            raise ModelError(
                f"layer {name!r} runs outside the model's forward pass, as activation checkpointing makes it; "
                "switch checkpointing off for the report"
            )
        takes_mask = isinstance(module, DialBatchNorm) and type(module).forward is DialBatchNorm.forward
        by_place = args[1] if takes_mask and len(args) > 1 else None
        self._running.append(_Running(name, module, kwargs.get("mask", by_place)))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self._running:
            return
        running = self._running.pop()
        if self._running and running.reached:  # a stream of the layer around it
            self._running[-1].reached = True
        if self._handler is not None and not running.reached and output is not None:
            raise ModelError(
                f"layer {running.name!r} ({type(module).__name__}) normalises without torch.nn.functional.batch_norm, so its "
                "statistics cannot be set; call that function in its forward"
            )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm and self._running and self._handler is not None:
            return self._normalise(*args, **kwargs)
        if self._elsewhere is not None and not self._running and _is_batch_norm(func):
            self._elsewhere(args[0] if args else kwargs["input"])
        return func(*args, **kwargs)

    def _normalise(
        self,
        input: Tensor,  # noqa: A002 - the name in F.batch_norm
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        assert self._handler is not None  # noqa: S101 - __torch_function__ checked it
        current = self._running[-1]
        name, current.reached = current.name, True
        call = self._calls[name] = self._calls.get(name, 0) + 1
        dtype = torch.promote_types(input.dtype, torch.float32)
        channels = input.shape[1]
        gamma = input.new_ones(channels, dtype=dtype) if weight is None else weight.detach().to(dtype)
        beta = input.new_zeros(channels, dtype=dtype) if bias is None else bias.detach().to(dtype)
        with counting(self._valid(current, input)):
            return self._handler(name if call == 1 else f"{name}#{call}", input, gamma, beta, eps)

    def _valid(self, current: _Running, h: Tensor) -> Tensor | None:
        if isinstance(current.layer, DialBatchNorm):
            valid = current.layer.valid_values(h, current.mask)
            if valid is not None:
                return valid
        return None if self._mask is None else self._mask.of(current.name, h)


def _is_batch_norm(func: Any) -> bool:
    """Return whether this is F.batch_norm, or torch's or ATen's function behind it, such as native_batch_norm."""
    return getattr(func, "__name__", "").partition(".")[0].endswith("batch_norm")


@contextmanager
def handed_back(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in eval mode without parameter gradients, and hand it back exactly as it came, whatever happens.

    Restored on exit, also on an exception or an interrupt: the mode of every module, ``requires_grad``, all parameters and
    buffers (the same tensors with the same values, also where ``forward`` moves them or assigns new ones), and the random
    number generators of torch (the CPU's and those of the model's CUDA devices), NumPy and Python. A caller's inference mode
    is left for the time being, as gradients are needed.

    Modes are set module by module, as ``model.eval()`` may do more, such as to add the weights of an adapter to others.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    stores: list[dict[str, Any]] = [s for module in model.modules() for s in (module._parameters, module._buffers)]
    places = [(store, name, tensor) for store in stores for name, tensor in store.items()]
    strided = (tensor for _, _, tensor in places if tensor is not None and tensor.layout is torch.strided)
    values = {tensor: _Value.of(tensor) for tensor in strided}
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - users draw from it
    devices = {parameter.device for parameter, _ in flags if parameter.is_cuda}
    with torch.random.fork_rng(devices), torch.inference_mode(False):
        try:
            for module, _ in modes:
                module.training = False
            for parameter, _ in flags:
                parameter.requires_grad_(False)
            with _eager():
                yield
        finally:
            for module, training in modes:
                module.training = training
            for parameter, flag in flags:
                if parameter.requires_grad != flag:
                    parameter.requires_grad_(flag)
            for store, name, tensor in places:
                store[name] = tensor
            for tensor, value in values.items():
                value.put_back(tensor)
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


@dataclass(frozen=True)
class _Value:
    """The memory of a tensor, and a copy of the numbers there."""

    memory: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, tensor: Tensor) -> _Value:
        memory = tensor.detach()
        return cls(memory, memory.clone())

    @torch.no_grad()
    def put_back(self, tensor: Tensor) -> None:
        if tensor.data_ptr() != self.memory.data_ptr():  # ``.data`` was assigned
            tensor.data = self.memory
        if not torch.equal(self.memory, self.numbers):
            self.memory.copy_(self.numbers)


def _eager() -> AbstractContextManager[Any]:
    """Run compiled submodules eagerly, so that the interceptor sees them (torch 2.6 and newer)."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    return nullcontext() if set_stance is None else set_stance("force_eager")
