"""Convert the BN layers of a model in place, all or none, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

import bnlens.conversion.rules  # noqa: F401 - registers the rules of bnlens
from bnlens._arguments import checked
from bnlens.conversion import _checks
from bnlens.conversion._changes import change_class, new_state, replace_module, swap_parameters
from bnlens.conversion._classes import converted_class, original_class
from bnlens.conversion._registry import Rule, find_rule, full_name, registered
from bnlens.errors import ModelError, NeedsRuleError, NotYetConvertibleError
from bnlens.nn import DialBatchNorm, StatisticsBatchSize, set_statistics_batch_size, unwatch_rows, watch_rows

__all__ = ["convert", "revert"]

_KIND = "_bnlens_kind"  # on a module that a rule put in the place of another: name of the rule

Change = Callable[[ExitStack], None]


@checked
def convert(
    model: nn.Module,
    *,
    optimizer: Optimizer | None = None,
    statistics_batch_size: StatisticsBatchSize = None,
    sync: bool | dist.ProcessGroup | None = None,
    layers: Iterable[str] | str | None = None,
) -> nn.Module:
    """Turn the BN layers of a live model into layers of `bnlens.nn`, in place, all or none.

    A layer stays the object it is and takes on a class that derives from its own and from `bnlens.nn.BatchNorm2d` (or 1d,
    3d). So parameters, buffers, ``state_dict`` keys, device, dtype, mode, ``requires_grad``, hooks, everything a subclass does
    beside normalising, and every reference to the layer stay as they are; an optimizer needs no change, nor do wrappers
    (``torch.compile``, ``DataParallel``).

    Converted are ``torch.nn.BatchNorm1d``, ``2d`` and ``3d``, ``SyncBatchNorm``, lazy layers after their first batch,
    subclasses of these whose ``forward`` calls ``super().forward``, and kinds that a rule says how to treat (see
    `bnlens.conversion.register_rule`), timm's ``BatchNormAct2d`` among them. Layers of `bnlens.nn` and other
    normalizations are left alone.

    With ``statistics_batch_size=None`` a converted layer computes what it did before, in training too; a ``SyncBatchNorm``
    goes on to take statistics over its ranks.

    Args:
        model: any module; may be a BN layer itself.
        optimizer: needed only where a user's rule puts new parameters in the place of old ones; these are exchanged in it,
            state included.
        statistics_batch_size: M of the converted layers; None (the batch at hand), an int from 2 on, or ``math.inf``.
        sync: whether these take statistics over ranks, so that M counts the samples of all of them: True, a process group, or
            False; by default layers that were ``SyncBatchNorm`` do, over their group, and others do not.
        layers: paths of layers, or of modules whose layers are meant; None for all.

    Returns:
        ``model``; where a user's rule replaces the model itself, the replacement.

    Warns:
        UserWarning: in the first training pass, see `bnlens.nn.watch_rows`.

    Raises:
        UsageError: an argument cannot be used.
        ModelError: there is no BN layer to convert.
        NotConvertibleError: a layer can never be converted.
        NotYetConvertibleError: a layer can be after one step: a lazy layer must run, a parametrization be taken off.
        NeedsRuleError: it takes a rule to know what a layer does.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU())
        >>> convert(model, statistics_batch_size=32)[1]
        BatchNorm1d(8, eps=1e-05, momentum=0.1, ..., statistics_batch_size=32)
        >>> revert(model)[1]
        BatchNorm1d(8, eps=1e-05, momentum=0.1, affine=True, ...)
    """
    _checks.refuse_scripts(model)
    chosen_path = _checks.selection(model, layers)
    tensor = next(iter([*model.parameters(), *model.buffers()]), None)
    device = torch.get_default_device() if tensor is None else tensor.device
    changes: list[Change] = []
    result, inner = model, set[nn.Module]()
    for module in model.modules():
        path, found = chosen_path(module), find_rule(type(module))
        if path is None or found is None or module in inner or isinstance(module, DialBatchNorm):
            continue
        rule = found[1]
        if rule.refusal is not None:
            error, reason = rule.refusal
            raise error(f"layer {path!r} ({type(module).__name__}) {reason}")
        if rule.to is not None:
            new = _replacement(path, module, rule, rule.to)
            set_statistics_batch_size(new, statistics_batch_size, sync=sync)
            setattr(new, _KIND, rule.name)
            changes.append(_exchange(model, path, module, new, optimizer))
            inner.update(module.modules())
            result = new if module is model else result
            continue
        assert isinstance(module, _BatchNorm)  # noqa: S101 - other rules are for its subclasses
        _checks.check_layer(path, module)
        cls = converted_class(type(module), path)
        over_ranks = isinstance(module, nn.SyncBatchNorm) if sync is None else sync
        state = new_state(module, statistics_batch_size, over_ranks, device)
        changes.append(partial(change_class, module, cls, state=state, path=path))
    if not changes:
        raise _checks.nothing_to_convert(model, layers)
    _all_or_none(changes)
    if statistics_batch_size is not None and math.inf > statistics_batch_size:
        watch_rows(result)
    return result


@checked
def revert(model: nn.Module, *, optimizer: Optimizer | None = None) -> nn.Module:
    """Turn layers of `bnlens.nn` back into what `convert` found, or into torch's, in place, all or none.

    Parameters, buffers, mode, hooks and attributes stay the same objects, as in `convert`; the window, the count of
    skipped batches and streams go.

    Args:
        model: a model with layers of `bnlens.nn`, whether made by `convert` or built with them.
        optimizer: as for `convert`.

    Returns:
        ``model``; where a user's rule replaces the model itself, the replacement.

    Raises:
        UsageError: an argument cannot be used.
        ModelError: there is no layer of `bnlens.nn`.
        NotYetConvertibleError: a layer is frozen or parametrized.
        NeedsRuleError: a layer is of a class that was derived from ours, or its rule is no longer registered.
    """
    _checks.refuse_scripts(model)
    changes: list[Change] = []
    result, inner = model, set[nn.Module]()
    for path, module in model.named_modules():
        path = path or "(model)"
        if module in inner:
            continue
        if (kind := vars(module).get(_KIND)) is not None:
            rule = registered(kind)
            if rule is None or rule.back is None:
                raise NeedsRuleError(
                    f"layer {path!r} was converted by a rule for {kind} that is no longer there; register it again"
                )
            new = rule.back(module)
            changes.append(_exchange(model, path, module, new, optimizer))
            inner.update(module.modules())
            result = new if module is model else result
        elif isinstance(module, DialBatchNorm):
            changes.append(partial(change_class, module, _class_before(path, module), state=None, path=path))
            inner.update(module.streams and module.streams.modules())
    if not changes:
        raise ModelError(f"{type(model).__name__} has no bnlens layer to revert; nothing was converted in it")
    _all_or_none(changes)
    unwatch_rows(result)
    return result


def _replacement(path: str, layer: nn.Module, rule: Rule, to: Callable[[nn.Module], nn.Module]) -> nn.Module:
    new = to(layer)
    if not isinstance(new, nn.Module) or not any(isinstance(part, DialBatchNorm) for part in new.modules()):
        raise NeedsRuleError(
            f"layer {path!r}: the rule for {rule.name} returned {type(new).__name__}, which is no bnlens layer and contains "
            "none; build one of bnlens.nn in it"
        )
    return new


def _exchange(model: nn.Module, path: str, old: nn.Module, new: nn.Module, optimizer: Optimizer | None) -> Change:
    pairs = {} if optimizer is None else _checks.parameter_pairs(path, old, new)

    def change(undo: ExitStack) -> None:
        replace_module(model, old, new, undo)
        if optimizer is not None and pairs:
            swap_parameters(optimizer, pairs, undo)

    return change


def _class_before(path: str, layer: DialBatchNorm) -> type[nn.Module]:
    _checks.check_parametrizations(path, layer)
    if layer.frozen:
        raise NotYetConvertibleError(
            f"layer {path!r} is frozen, which train() would end once it is torch's; call bnlens.unfreeze(model) first"
        )
    if (cls := original_class(type(layer))) is None:
        raise NeedsRuleError(
            f"layer {path!r} is {full_name(type(layer))}, derived from a bnlens layer, so there is nothing it was before; "
            "register_rule(kind, to=..., back=...), or build the model with another layer"
        )
    return cls


def _all_or_none(changes: Iterable[Change]) -> None:
    with ExitStack() as undo:
        for change in changes:
            change(undo)
        undo.pop_all()
