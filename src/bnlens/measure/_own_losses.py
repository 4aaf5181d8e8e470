"""PyTorch's own losses, as modules, functions or partials of functions: their options, and the same without a reduction."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from bnlens.likelihood import Likelihood

__all__ = ["LossFunction", "Reduction", "declared_reduction", "is_own", "option", "plain", "recognise", "unreduced"]

LossFunction = Callable[[Any, Any], Tensor]
Reduction = Literal["mean", "sum", "none"]

_FUNCTIONS: dict[Any, Likelihood] = {
    F.cross_entropy: "cross_entropy",
    F.binary_cross_entropy_with_logits: "binary_cross_entropy",
    F.mse_loss: "mean_squared_error",
}
_MODULES: dict[type[nn.Module], Likelihood] = {
    nn.CrossEntropyLoss: "cross_entropy",
    nn.BCEWithLogitsLoss: "binary_cross_entropy",
    nn.MSELoss: "mean_squared_error",
}


def plain(loss_fn: LossFunction) -> LossFunction:
    """Return the function inside a ``functools.partial`` that adds nothing."""
    while isinstance(loss_fn, functools.partial) and not loss_fn.args and not loss_fn.keywords:
        loss_fn = loss_fn.func
    return loss_fn


def is_own(loss_fn: LossFunction) -> bool:
    """Return whether a loss is PyTorch's own and has a reduction; a subclass of one may do anything and is not."""
    if isinstance(loss_fn, nn.Module):
        return type(loss_fn).__module__ == nn.L1Loss.__module__ and hasattr(loss_fn, "reduction")
    function = loss_fn.func if isinstance(loss_fn, functools.partial) and not loss_fn.args else loss_fn
    return (
        isinstance(function, FunctionType)
        and function.__module__ == F.__name__
        and "reduction" in inspect.signature(function).parameters
    )


def option(loss_fn: LossFunction, name: str) -> Any:
    """Return an attribute of a loss, or else the default of its argument of that name, which a partial sets; else None."""
    if (value := getattr(loss_fn, name, None)) is not None:
        return value
    try:
        parameter = inspect.signature(loss_fn).parameters.get(name)
    except (TypeError, ValueError):  # a function in C may have no signature
        return None
    return None if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def declared_reduction(loss_fn: LossFunction) -> Reduction | None:
    """Return the reduction that a loss says it has; None if it says nothing, or ``"batchmean"``."""
    declared = option(loss_fn, "reduction")
    if declared is None and isinstance(loss_fn, functools.partial):
        return declared_reduction(loss_fn.func)
    return declared if declared in ("mean", "sum", "none") else None


def recognise(loss_fn: LossFunction) -> Likelihood | None:
    """Return the likelihood of a plain loss of PyTorch; None for a weighted one, whose curvature depends on the label."""
    if isinstance(loss_fn, functools.partial):
        unweighted = not loss_fn.args and set(loss_fn.keywords) <= {"reduction", "label_smoothing", "ignore_index"}
        return recognise(loss_fn.func) if unweighted else None
    if isinstance(loss_fn, nn.Module):
        weighted = any(getattr(loss_fn, name, None) is not None for name in ("weight", "pos_weight"))
        return None if weighted else _MODULES.get(type(loss_fn))
    return next((name for function, name in _FUNCTIONS.items() if function is loss_fn), None)


def unreduced(loss_fn: LossFunction) -> LossFunction | None:
    """Return the same loss with ``reduction="none"``; None if it is not PyTorch's own."""
    if not is_own(loss_fn):
        return None
    if isinstance(loss_fn, nn.Module):
        module = copy.copy(loss_fn)  # with the same buffers
        setattr(module, "reduction", "none")  # noqa: B010 - which a type checker takes for a tensor
        return module
    return functools.partial(cast("Callable[..., Tensor]", loss_fn), reduction="none")
