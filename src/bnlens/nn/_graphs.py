"""Which graph a forward pass is recorded into, if any."""

from __future__ import annotations

import torch

__all__ = ["is_exporting", "is_tracing"]


def is_exporting() -> bool:
    """Return whether a graph is recorded that holds no ``autograd.Function``: by ``torch.export`` or ``torch.jit.trace``."""
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # from torch 2.7 on
    return is_tracing() or bool(exporting())


def is_tracing() -> bool:
    """Return whether ``torch.jit.trace`` records a graph, as torch's older export to ONNX does."""
    return not torch.compiler.is_compiling() and torch._C._get_tracing_state() is not None
