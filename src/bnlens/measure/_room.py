"""How many samples a pass may hold."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnlens._ranks import gather
from bnlens.measure._intercept import Handler
from bnlens.measure._probe import Probe

__all__ = ["device_of", "samples_at_once"]

_LIMIT = 2**30  # bytes that a backward pass may keep
_FORWARD = 8  # times as many samples fit through a pass that keeps nothing
_LEAST = 2  # samples: one alone is not what models are written for
_TRIED = 8  # samples, on which that is measured


def samples_at_once(probe: Probe, largest: int, handler: Handler) -> tuple[int, int]:
    """Return the samples per forward pass, whole groups of the ``largest`` size, and those per pass with a graph.

    They hold about the loader's batch. Passes with a graph are smaller where a backward pass would keep more than 1 GiB (on a
    GPU, a quarter of what is free), forward passes where it would keep eight times that.

    Args:
        probe: the model on its samples.
        largest: the largest group size.
        handler: normalises the trial pass.
    """
    batch = next(probe.pool.shard(probe.batch_size))
    batch = batch.head(min(_TRIED, batch.size))
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter) and tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def tracked(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        return handler(name, h if h.requires_grad else h.detach().requires_grad_(), gamma, beta, eps)

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        _outputs = probe.outputs(batch, tracked)  # holds the graph, and with it what it keeps, until all is counted
        each = max(1, sum(kept.values()) // batch.size)
    device = device_of(probe.model)
    limit = _LIMIT if device.type != "cuda" else torch.cuda.mem_get_info(device)[0] // 4
    groups = min(-(-probe.pool.batch_size // largest), _FORWARD * limit // (each * largest))
    rows = largest * max(1, groups)
    return min(gather((rows, min(rows, max(_LEAST, limit // each)))))


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's parameters are, or its buffers where it has none."""
    first = next(model.parameters(), next(model.buffers(), None))
    return torch.device("cpu") if first is None else first.device
