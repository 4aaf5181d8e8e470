"""The arguments of `bnlens.report`, checked before any work."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Annotated, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset, IterableDataset

from bnlens._arguments import AtLeastTwo, Count, Positive, checked
from bnlens._devices import Device
from bnlens._names import did_you_mean
from bnlens._ranks import world
from bnlens.errors import DataError, ModelError, UsageError
from bnlens.measure._intercept import batch_norm_layers, unwrap

_GROUPS = 4  # at least, of a size that only predictions need
SMALLER = "a smaller statistics_batch_size and prediction_batch_size"
_NAMES = "the names are those of model.named_modules()"

__all__ = [
    "SMALLER",
    "Loader",
    "check_alone",
    "check_model",
    "check_request",
    "check_runs",
    "check_samples",
    "check_sizes",
    "default_others",
    "divisors",
    "few_samples",
    "law_source",
    "placed",
]


def check_model(model: nn.Module) -> tuple[nn.Module, dict[str, _BatchNorm]]:
    """Return the module inside its wrappers, and its BN layers by name.

    Raises:
        ModelError: it cannot be measured.
    """
    model = unwrap(model)
    check_runs(model)
    for name, module in model.named_modules():
        if _is_quantized(module):
            raise ModelError(
                f"layer {name!r} is a quantized {type(module).__name__}, without gradients; give the model before quantization"
            )
    layers = batch_norm_layers(model)
    if not layers:
        raise ModelError(
            f"{type(model).__name__} has no BN layer, so it has no gap; give a model with BatchNorm1d, 2d or 3d layers or "
            "subclasses of them, before they are fused into convolutions (calls of F.batch_norm in other modules are not seen)"
        )
    return model, layers


def check_runs(model: nn.Module) -> None:
    """Raise ModelError where the BN layers of a model cannot be handled, or where tensors have no values."""
    for name, module in model.named_modules():
        where = f"layer {name!r}" if name else "the model"
        if isinstance(module, torch.jit.ScriptModule) and (not name or "BatchNorm" in module.original_name):
            raise ModelError(
                f"{where} is scripted or traced, which hides BN layers; give the model before torch.jit.script or .trace"
            )
        if "BatchNorm" in type(module).__name__ and _is_quantized(module):
            raise ModelError(f"{where} is quantized and has no batch statistics; give the model before quantization")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ModelError(f"{type(model).__name__} has lazy modules that never ran; run it on one batch first")
        if tensor.is_meta:
            raise ModelError(
                f"{name!r} is on the meta device and has no values; call model.to_empty(device='cpu') and load the weights"
            )
        if tensor.is_inference():
            raise ModelError(
                f"{name!r} was made under torch.inference_mode() and has no gradient; build the model outside of it"
            )
    for name, layer in batch_norm_layers(model).items():
        if any(tensor.is_complex() for tensor in (*layer.parameters(), *layer.buffers())):
            raise ModelError(
                f"layer {name!r} has complex numbers, for which there is no variance here; give a real model"
            )


def _is_quantized(module: nn.Module) -> bool:
    home = type(module).__module__
    return home.startswith("torch.") and "quantized" in home.split(".")


def _check_loader(name: str, value: Any) -> Any:
    """Return what yields batches; raise DataError where it yields single samples, or nothing."""
    kind, samples = type(value).__name__, isinstance(value, Dataset) and not isinstance(value, IterableDataset)
    if samples or type(value).__module__.startswith("datasets."):
        raise DataError(
            f"{name} is a dataset, of type {kind}, which gives single samples; wrap it, as in "
            "torch.utils.data.DataLoader(dataset, batch_size=64)"
        )
    iterable = hasattr(value, "__iter__") or hasattr(value, "__getitem__")
    if isinstance(value, tuple | list) and len({leaf.ndim for leaf in value if isinstance(leaf, Tensor)}) > 1:
        raise DataError(f"{name} is one batch, tensors side by side; put it in a list, or give a DataLoader")
    if not iterable or isinstance(value, str | bytes | Mapping | Tensor | nn.Module):
        raise DataError(f"{name} is of type {kind}; give one that yields batches, such as a DataLoader")
    return value


Loader: TypeAlias = Annotated[Iterable[Any], _check_loader]
"""Whatever yields batches."""


def check_sizes(
    sizes: int | Sequence[int], others: int | Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return the M to measure at in ascending order, and those for predictions if they are given."""
    chosen = _sizes("statistics_batch_size", sizes)
    if others is None:
        return chosen, None
    more = _sizes("prediction_batch_size", others)
    for size in more:
        if size in chosen:
            raise UsageError(
                f"prediction_batch_size {size} is also measured; choose another, so that the prediction is one"
            )
    return chosen, more


def _sizes(name: str, given: int | Sequence[int]) -> tuple[int, ...]:
    values = [given] if isinstance(given, int) else given
    if not values:
        raise UsageError(f"{name} is empty; give at least one M")
    return tuple(sorted(set(values)))


def check_samples(loader: Any, largest: int, max_samples: int) -> None:
    """Raise DataError where a loader says before it is read that it has fewer than twice the samples of the largest group."""
    known = isinstance(loader, DataLoader) and loader.batch_size is not None and isinstance(loader.sampler, Sized)
    samples = len(loader.sampler) if known and world()[1] == 1 else max_samples
    if min(samples, max_samples) < 2 * largest:
        found = f"the loader has {samples}" if samples < max_samples else f"max_samples allows {max_samples}"
        raise few_samples(found, f"group size {largest}", largest, SMALLER)


def few_samples(found: str, unit: str, largest: int, fix: str) -> DataError:
    """Return the error of a loader with fewer than twice the ``largest`` samples."""
    return DataError(
        f"{found} samples, fewer than twice the {unit}; give at least {2 * largest} samples "
        f"(max_samples counts too) or {fix}"
    )


@checked
def check_request(
    samples: Count,
    *,
    statistics_batch_size: AtLeastTwo | Sequence[AtLeastTwo],
    prediction_batch_size: AtLeastTwo | Sequence[AtLeastTwo] | None = None,
    precision: Positive = 0.05,
    max_seconds: Positive | None = None,
    device: Device | None = None,
) -> None:
    """Raise what `bnlens.report` would raise of these arguments and so many samples, before long work is done for it.

    Raises:
        UsageError: an argument is out of range.
        DataError: there are fewer than twice the samples of the largest group.
    """
    sizes, others = check_sizes(statistics_batch_size, prediction_batch_size)
    if samples < 2 * (largest := max(*sizes, *(others or ()), 0)):
        raise few_samples(f"there are {samples}", f"group size {largest}", largest, SMALLER)


def default_others(sizes: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """Return sizes for predictions: half the smallest, twice the largest if samples suffice, and between neighbours.

    So each of ``sizes`` has others on both sides, no further than a factor of two where that is possible.
    """
    found = {max(2, sizes[0] // 2), 2 * sizes[-1]}
    found |= {4 * sizes[-1]} if sizes[0] < 4 else set()
    found |= {round(math.sqrt(low * high)) for low, high in itertools.pairwise(sizes) if high >= 3 * low}
    most = max(samples // _GROUPS, 2 * sizes[0])
    return tuple(sorted(size for size in found if size not in sizes and size <= most and 2 * size <= samples))


def divisors(sizes: tuple[int, ...], others: tuple[int, ...] | None, batch_size: int, samples: int) -> tuple[int, ...]:
    """Return sizes for predictions that divide ``batch_size``: ``others``, if they are given, or those nearest to the default.

    Raises:
        UsageError: a size does not divide it.
    """
    found = [size for size in range(2, batch_size + 1) if batch_size % size == 0]
    for name, given in (("statistics_batch_size", sizes), ("prediction_batch_size", others or ())):
        if wrong := [size for size in given if size not in found]:
            raise UsageError(
                f"{name} {wrong[0]} does not divide the loader's batch of {batch_size} samples, which couples=True takes as a "
                f"whole; choose of {', '.join(map(str, found))}, or let the loader make other batches"
            )
    if others is not None:
        return others
    free = [size for size in found if size not in sizes]
    wanted = default_others(sizes, samples) if free else ()
    return tuple(sorted({min(free, key=lambda size: abs(math.log(size / near))) for near in wanted}))


def law_source(sizes: tuple[int, ...], others: tuple[int, ...] | None, samples: int) -> int:
    """Return M0 of the theory's law: the middle of ``sizes``, or what was given nearest to it; twice a single one."""
    middle = math.sqrt(sizes[0] * sizes[-1])
    if others:
        return min(others, key=lambda size: (round(abs(math.log(size / middle)), 9), -size))
    alone = 2 * sizes[0] if 4 * sizes[0] <= samples or sizes[0] < 4 else sizes[0] // 2
    source = round(middle) if len(sizes) > 1 else alone
    while source in sizes:
        source += 1
    return source


def check_alone(alone: bool | Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the calls whose gaps alone are asked for; a layer's name stands for all its calls."""
    if isinstance(alone, bool):
        return tuple(names) if alone else ()
    asked = [alone] if isinstance(alone, str) else list(alone)
    for name in asked:
        if name not in names:
            raise UsageError(
                f"alone names {name!r}, which is no BN layer that runs; {did_you_mean(str(name), names, _NAMES)}"
            )
    return tuple(name for name in names if name in asked or name.partition("#")[0] in asked)


def placed(model: nn.Module, device: Any) -> nn.Module:
    """Return the model, or a copy of it on another device: the one that was given stays where it is.

    Raises:
        ModelError: the model cannot be copied.
    """
    if device is None:
        return model
    target = torch.empty(0, device=device).device
    if all(tensor.device == target for tensor in (*model.parameters(), *model.buffers())):
        return model
    try:
        return copy.deepcopy(model).to(target)
    except Exception as error:  # the model's own code may raise anything
        raise ModelError(
            f"{type(model).__name__} cannot be copied to {target} ({type(error).__name__}: {error}); move it there and leave "
            "device out"
        ) from error
