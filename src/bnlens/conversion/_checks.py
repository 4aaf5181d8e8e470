"""Checks before anything is changed, with a sentence for each that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from bnlens._names import did_you_mean
from bnlens.conversion._changes import names_of_ours
from bnlens.conversion._registry import full_name
from bnlens.errors import (
    ConversionError,
    ModelError,
    NeedsRuleError,
    NotConvertibleError,
    NotYetConvertibleError,
    UsageError,
)
from bnlens.nn import DialBatchNorm

__all__ = [
    "check_layer",
    "check_parametrizations",
    "nothing_to_convert",
    "parameter_pairs",
    "refuse_scripts",
    "selection",
]


def refuse_scripts(model: nn.Module) -> None:
    """Raise NotConvertibleError where a part of the model is scripted."""
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise NotConvertibleError(
                f"module {path or type(model).__name__!r} is scripted or traced, its layers are compiled code; "
                "convert the model before torch.jit"
            )


def check_parametrizations(path: str, layer: nn.Module) -> None:
    """Raise NotYetConvertibleError where a parameter is parametrized: taking that off later would undo a change of class."""
    if parametrize.is_parametrized(layer):
        name = next(iter(layer.parametrizations))  # type: ignore[arg-type]
        raise NotYetConvertibleError(
            f"layer {path!r} has a parametrized {name!r}; call torch.nn.utils.parametrize.remove_parametrizations(layer, "
            f"{name!r}) first, and register the parametrization again afterwards"
        )


def check_layer(path: str, layer: _BatchNorm) -> None:
    """Raise where a subclass of torch's BN cannot take on our class as it stands.

    Raises:
        NotYetConvertibleError: parameters are parametrized, or a tool has put a ``forward`` on the instance.
        NeedsRuleError: an attribute has a name that our layers use.
    """
    check_parametrizations(path, layer)
    if "forward" in vars(layer):
        raise NotYetConvertibleError(
            f"layer {path!r} has a forward set on the instance, as accelerate and some profilers do, which would hide the new "
            "one; take it off (accelerate.hooks.remove_hook_from_module(layer)) and put it on again afterwards"
        )
    present = {*vars(layer), *layer._buffers, *layer._parameters, *layer._modules}
    if taken := sorted(names_of_ours() & present):
        raise NeedsRuleError(
            f"layer {path!r} ({full_name(type(layer))}) has an attribute {taken[0]!r}, a name that bnlens layers use; rename "
            "it, or register_rule(kind, to=..., back=...)"
        )


def selection(model: nn.Module, layers: Iterable[str] | str | None) -> Callable[[nn.Module], str | None]:
    """Return a function that gives a chosen module's path, and None for others.

    A path chooses the module and everything in it. A module that is used in several places is chosen by any of its paths,
    and its first one is given.

    Raises:
        UsageError: a path is not in the model.
    """
    paths: dict[nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(module, []).append(path)
    if layers is None:
        return lambda module: _shown(paths[module][0])
    chosen = [layers] if isinstance(layers, str) else list(layers)
    known = [path for several in paths.values() for path in several]
    for path in chosen:
        if path not in known:
            hint = did_you_mean(str(path), known, "paths are those of model.named_modules()", cutoff=0.6)
            raise UsageError(f"layers names {path!r}, which {type(model).__name__} has not; {hint}")

    def path_if_chosen(module: nn.Module) -> str | None:
        inside = any(f"{path}.".startswith(f"{prefix}.") or not prefix for path in paths[module] for prefix in chosen)
        return _shown(paths[module][0]) if inside else None

    return path_if_chosen


def nothing_to_convert(model: nn.Module, layers: Iterable[str] | str | None) -> ModelError:
    """Return the error for a model, or a choice of its layers, without a layer to convert."""
    name = type(model).__name__
    if layers is not None:
        return ModelError(
            f"there is no BN layer to convert in what layers= chooses of {name}; choose others, or leave it out"
        )
    if any(isinstance(module, DialBatchNorm) for module in model.modules()):
        return ModelError(
            f"all BN layers of {name} are bnlens layers already; bnlens.set_statistics_batch_size sets their M"
        )
    like = next(
        ((path, module) for path, module in model.named_modules() if "batchnorm" in type(module).__name__.lower()), None
    )
    if like is not None:
        return NeedsRuleError(
            f"{name} has no BN layer that derives from torch's; for layers such as {_shown(like[0])!r} "
            f"({full_name(type(like[1]))}) say how by bnlens.conversion.register_rule(kind, to=..., back=...)"
        )
    return ModelError(
        f"{name} has no BN layer to convert; give a model with torch.nn.BatchNorm1d, 2d, 3d or a subclass"
    )


def parameter_pairs(path: str, old: nn.Module, new: nn.Module) -> Mapping[nn.Parameter, nn.Parameter]:
    """Return the parameters of ``old`` that ``new`` does not have, with those of the same name in ``new``.

    Raises:
        ConversionError: there is none of this name and shape.
    """
    kept, named = set(new.parameters()), dict(new.named_parameters())
    pairs = {}
    for name, parameter in old.named_parameters():
        if parameter in kept:
            continue
        other = named.get(name)
        if other is None or other.shape != parameter.shape:
            raise ConversionError(
                f"layer {path!r} ({full_name(type(old))}) has a parameter {name!r} of shape {tuple(parameter.shape)} in place "
                "of which its rule gives none, so an optimizer would lose it; keep name and shape in the rule, or the object"
            )
        pairs[parameter] = other
    return pairs


def _shown(path: str) -> str:
    return path or "(model)"
