"""Runs tests that know nothing of devices on another one than the CPU; see ``BNLENS_TEST_DEVICE`` in CONTRIBUTING.md."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

DEVICE = torch.device(os.environ.get("BNLENS_TEST_DEVICE", "cpu"))
MOVED = ("nn", "conversion")  # folders whose tests run there
LEFT = (  # of the CPU's own kernels and of processes that start on it
    "test_nn_cpu", "test_nn_gpu", "test_nn_sync", "test_nn_sync_use", "test_nn_pages", "test_nn_torch_modules",
    "test_conversion_sync",
)  # fmt: skip


class OnDevice(TorchFunctionMode):
    """Makes tensors on a device, as ``with torch.device(...)`` does, and also where a generator of the CPU draws them."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _device_constructors() and kwargs.get("device") is None:
            if kwargs.get("generator") is None:
                return func(*args, **{**kwargs, "device": self.device})
            made = func(*args, **{**kwargs, "device": "cpu"})
            return made.detach().to(self.device).requires_grad_(made.requires_grad)
        return func(*args, **kwargs)


@contextmanager
def on_device(module: str, folder: str) -> Iterator[None]:
    """Have the test of a module make its tensors on the device asked for, if it is one of those that can."""
    if DEVICE.type == "cpu" and DEVICE.index is None:
        yield
        return
    backend = torch.backends.cudnn
    with backend.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        if folder in MOVED and module not in LEFT:
            with OnDevice(DEVICE):
                yield
        else:
            yield
