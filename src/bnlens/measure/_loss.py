"""A loss as a report uses it: its value per sample, and draws of its curvature in the outputs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnlens.errors import LossError, UsageError
from bnlens.likelihood import LIKELIHOODS, Likelihood, curvature_root, terms_per_sample

__all__ = ["Likelihood", "LossFunction", "SampleLoss"]

LossFunction = Callable[[Any, Any], Tensor]
Reduction = Literal["mean", "sum", "none"]

_ELEMENTWISE = ("binary_cross_entropy", "mean_squared_error")

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


class SampleLoss:
    """A loss function seen sample by sample.

    The per-sample loss is what ``loss_fn`` gives for a batch of one (nats, if it is a log-likelihood): with reduction
    ``"mean"`` the average over the sample's own outputs (pixels, say), with ``"sum"`` their sum, with ``"none"`` their
    average. All gaps are means over samples of this quantity.

    Args:
        loss_fn: ``loss_fn(output, target)``; returns a mean, a sum, or one value per sample.
        reduction: how ``loss_fn`` reduces a batch; None finds out from its attributes or by calling it.
        likelihood: the likelihood behind the loss, or a function ``(output, generator) -> target`` that draws targets
            from the model; None recognises cross-entropy, binary cross-entropy with logits and mean squared error.

    Raises:
        UsageError: an unknown reduction or likelihood.
    """

    def __init__(
        self,
        loss_fn: LossFunction,
        reduction: Reduction | None = None,
        likelihood: Likelihood | Callable[[Tensor, torch.Generator], Any] | None = None,
    ) -> None:
        if reduction not in (None, "mean", "sum", "none"):
            raise UsageError(f"reduction {reduction!r} is not known; use 'mean', 'sum', 'none' or None")
        if isinstance(likelihood, str) and likelihood not in LIKELIHOODS:
            raise UsageError(f"likelihood {likelihood!r} is not known; use one of {sorted(LIKELIHOODS)} or a function")
        if likelihood is not None and not isinstance(likelihood, str) and not callable(likelihood):
            raise UsageError(f"likelihood is {likelihood!r}; give a name or a function (output, generator) -> target")
        self.loss_fn = _plain(loss_fn)
        self.reduction: Reduction | None = reduction or _declared_reduction(self.loss_fn)
        self.likelihood = likelihood if likelihood is not None else _recognise(self.loss_fn)
        self._vectorised = _without_reduction(self.loss_fn)
        self._ignore_index = _ignore_index(self.loss_fn)

    @property
    def likelihood_name(self) -> str | None:
        """The likelihood's name, ``"given"`` for a user's function, None where none is known."""
        return self.likelihood if isinstance(self.likelihood, str) or self.likelihood is None else "given"

    def check(self, output: Tensor, target: Any) -> None:
        """Try the loss on one batch: labels in range, a finite value, and a reduction that is a mean or a sum.

        Raises:
            LossError: with the cause and the fix.
        """
        if not isinstance(output, Tensor):
            raise LossError(
                f"the model returns {type(output).__name__}, not a tensor; pass forward=(model, batch) -> (output, target)"
            )
        self._check_target(output, target)
        few = min(len(output), 6)
        output, target = output[:few].detach(), _rows(target, slice(few))
        value = self._call(self.loss_fn, output, target)
        if not torch.isfinite(value).all():
            raise LossError(
                "the loss is not finite on the first batch; check the inputs, the targets, the weights and the running "
                "statistics of the BN layers"
            )
        if value.ndim:
            if len(value) != few:
                raise LossError(
                    f"the loss returns shape {tuple(value.shape)} for {few} samples; return one value per sample"
                )
            self.reduction = "none"
            return
        single = self._one_by_one(output, target)
        # a batch of one sample cannot tell a mean from a sum, so it is repeated
        twice = torch.arange(2 * few, device=output.device) % few
        doubled = self._call(self.loss_fn, output[twice], _rows(target, twice))
        tolerance = 1e-3 * float(single.abs().mean()) + 1e-7
        if abs(float(doubled - single.mean())) <= tolerance:
            found: Reduction = "mean"
        elif abs(float(doubled - 2 * single.sum())) <= tolerance * 2 * few:
            found = "sum"
        else:
            raise LossError(
                "the loss of a batch is neither the mean nor the sum of its samples' losses (class weights or ignored "
                "targets do this); return one value per sample, as with reduction='none'"
            )
        self.reduction = found

    def _check_target(self, output: Tensor, target: Any) -> None:
        recognised = _recognise(self.loss_fn)
        if recognised in _ELEMENTWISE and isinstance(target, Tensor) and target.shape != output.shape:
            raise LossError(
                f"the targets have shape {tuple(target.shape)} and the outputs {tuple(output.shape)}, which the loss would "
                "broadcast against each other; give both one shape"
            )
        if self.likelihood != "cross_entropy" or not isinstance(target, Tensor) or target.is_floating_point():
            return
        classes = output.shape[1] if output.ndim > 1 else output.shape[0]
        ignored = target == self._ignore_index
        if self.reduction == "mean" and ignored.any():
            raise LossError(
                f"targets of {self._ignore_index} are ignored, so the loss of a batch is not the mean of its samples' losses; "
                "give a loss with reduction='sum' or 'none', or leave such samples out"
            )
        wrong = target[~ignored & ((target < 0) | (target >= classes))]
        if wrong.numel():
            raise LossError(
                f"label {int(wrong.flatten()[0])} is out of range: the model has {classes} outputs, so labels run from 0 "
                f"to {classes - 1}; fix the labels or the last layer"
            )

    def per_sample(self, output: Tensor, target: Any) -> Tensor:
        """Return the loss of each sample, (N,), float32 or wider.

        Raises:
            LossError: a value is not finite, or a label is out of range.
        """
        self._check_target(output, target)
        if self.reduction == "none":
            losses = self._call(self.loss_fn, output, target)
        elif self._vectorised is not None:
            losses = self._call(self._vectorised, output, target)
        else:
            losses = self._one_by_one(output, target)
        losses = losses.to(torch.promote_types(losses.dtype, torch.float32))
        if losses.ndim > 1:
            losses = losses.flatten(1).sum(1) if self.reduction == "sum" else losses.flatten(1).mean(1)
        if not torch.isfinite(losses).all():
            bad = int((~torch.isfinite(losses)).sum())
            raise LossError(
                f"the loss is not finite for {bad} of {len(losses)} samples; check the data and the weights"
            )
        return losses

    def _one_by_one(self, output: Tensor, target: Any) -> Tensor:
        rows = [slice(i, i + 1) for i in range(len(output))]
        return torch.stack([self._call(self.loss_fn, output[row], _rows(target, row)) for row in rows])

    def _call(self, loss_fn: LossFunction, output: Tensor, target: Any) -> Tensor:
        try:
            value = loss_fn(output, target)
        except (RuntimeError, IndexError, ValueError) as error:
            raise LossError(
                f"the loss cannot be computed from outputs of shape {tuple(output.shape)} ({error}); fix the loss, the "
                "targets or the model's output"
            ) from error
        if not isinstance(value, Tensor):
            raise LossError(f"the loss returns {type(value).__name__}; return a tensor")
        return value

    def total(self, output: Tensor, target: Any) -> Tensor:
        """Return the sum over the batch of the per-sample losses, a scalar that can be differentiated."""
        value = self.loss_fn(output, target)
        if self.reduction == "none":
            return value.flatten(1).mean(1).sum() if value.ndim > 1 else value.sum()
        return value * len(output) if self.reduction == "mean" else value

    def curvature_draw(self, output: Tensor, target: Any, generator: torch.Generator) -> Tensor:
        """Return a random v of the outputs' shape with E[v v^T] = the Hessian of the per-sample loss in its outputs.

        Back-propagating v gives gradients whose second moment is the true Fisher matrix. (The empirical Fisher, at the given
        labels, is far too small on networks that fit their training data.) For a named likelihood v is
        `bnlens.likelihood.curvature_root` of random signs; a likelihood given as a function is drawn from. ``target`` says
        where cross-entropy ignores the output.
        """
        output = output.detach()
        if callable(self.likelihood):
            with torch.no_grad():  # a target that depends on the output, as output + noise, counts as a constant
                target = self.likelihood(output.cpu(), generator)  # where the generator is
                drawn = pytree.tree_map(
                    lambda leaf: leaf.to(output.device) if isinstance(leaf, Tensor) else leaf, target
                )
            with torch.enable_grad():
                leaf = output.clone().requires_grad_()
                return torch.autograd.grad(self.total(leaf, drawn), leaf)[0]
        likelihood = cast("Likelihood", self.likelihood)
        wide = output.to(torch.promote_types(output.dtype, torch.float32))
        bits = torch.randint(2, wide.shape, generator=generator, dtype=torch.int8)
        score = curvature_root(wide, bits.to(wide) * 2 - 1, likelihood)
        if likelihood == "cross_entropy" and isinstance(target, Tensor) and not target.is_floating_point():
            score = score.masked_fill((target == self._ignore_index).unsqueeze(1), 0)
        if self.reduction != "sum":
            score = score / math.sqrt(terms_per_sample(wide, likelihood))
        return score.to(output.dtype)


def _rows(target: Any, rows: slice | Tensor) -> Any:
    """Return the samples ``rows`` of a target, a tensor or a tree of tensors."""
    return pytree.tree_map(lambda leaf: leaf[rows] if isinstance(leaf, Tensor) and leaf.ndim else leaf, target)


def _plain(loss_fn: LossFunction) -> LossFunction:
    """Return the function inside a ``functools.partial`` that adds nothing."""
    while isinstance(loss_fn, functools.partial) and not loss_fn.args and not loss_fn.keywords:
        loss_fn = loss_fn.func
    return loss_fn


def _ignore_index(loss_fn: LossFunction) -> int:
    keywords = loss_fn.keywords if isinstance(loss_fn, functools.partial) else {}
    return int(keywords.get("ignore_index", getattr(loss_fn, "ignore_index", -100)))


def _declared_reduction(loss_fn: LossFunction) -> Reduction | None:
    if isinstance(loss_fn, functools.partial):
        return loss_fn.keywords.get("reduction") or _declared_reduction(loss_fn.func)
    declared = getattr(loss_fn, "reduction", None)
    return declared if declared in ("mean", "sum", "none") else None


def _recognise(loss_fn: LossFunction) -> Likelihood | None:
    """Return the likelihood of a plain loss of PyTorch; None for a weighted one, whose curvature depends on the label."""
    if isinstance(loss_fn, functools.partial):
        plain = not loss_fn.args and set(loss_fn.keywords) <= {"reduction", "label_smoothing", "ignore_index"}
        return _recognise(loss_fn.func) if plain else None
    if isinstance(loss_fn, nn.Module):
        weighted = any(getattr(loss_fn, name, None) is not None for name in ("weight", "pos_weight"))
        return None if weighted else _MODULES.get(type(loss_fn))
    return next((name for function, name in _FUNCTIONS.items() if function is loss_fn), None)


def _without_reduction(loss_fn: LossFunction) -> LossFunction | None:
    """Return the same loss per output element, for PyTorch's own losses; None where it has to be called sample by sample."""
    if _recognise(loss_fn) is None:
        return None
    if isinstance(loss_fn, functools.partial):
        return functools.partial(loss_fn.func, **{**loss_fn.keywords, "reduction": "none"})
    if isinstance(loss_fn, nn.CrossEntropyLoss):
        options: dict[str, Any] = {"label_smoothing": loss_fn.label_smoothing, "ignore_index": loss_fn.ignore_index}
        return functools.partial(F.cross_entropy, **options, reduction="none")
    function = next(f for f, name in _FUNCTIONS.items() if name == _recognise(loss_fn))
    return functools.partial(function, reduction="none")
