"""A loss as a report uses it: its value per sample, and draws of its curvature in the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from bnlens._arguments import reason
from bnlens.errors import LossError
from bnlens.likelihood import Likelihood, curvature_root, terms_per_sample
from bnlens.measure._loss_checks import (
    adds_up,
    curvature_ratio,
    is_unbiased,
    mixes_outputs,
    mixes_samples,
    target_rows,
    tolerance,
)
from bnlens.measure._own_losses import (
    LossFunction,
    Reduction,
    declared_reduction,
    is_own,
    option,
    plain,
    recognise,
    unreduced,
)

__all__ = ["Likelihood", "LossFunction", "Reduction", "SampleLoss"]

_TRIED = 6  # samples, one by one
_COMPARED = 256  # samples, in batches


class SampleLoss:
    """A loss function seen sample by sample.

    The per-sample loss is what ``loss_fn`` gives for a batch of one (nats, if it is a log-likelihood): with reduction
    ``"mean"`` the average over the sample's own outputs (pixels, say), with ``"sum"`` their sum, with ``"none"`` their
    average. All gaps are means over samples of this quantity.

    PyTorch's cross-entropies with class weights or ignored targets take a weighted mean, sum_j w_j l_j / sum_j w_j. Of these
    a sample's loss is its part of the numerator over the denominator per sample of the whole pool, so that the mean over the
    pool is the loss of the pool as one batch; a sample whose targets are all ignored has loss 0.

    Args:
        loss_fn: ``loss_fn(output, target)``; returns a mean, a sum, or one value per sample.
        reduction: how ``loss_fn`` reduces a batch; None finds out from its attributes or by calling it.
        likelihood: the likelihood behind the loss, or a function ``(output, generator) -> target`` that draws targets
            from the model; None recognises cross-entropy, binary cross-entropy with logits and mean squared error.
        couples: the loss of a sample depends on the other samples of its batch. Each sample then has the loss of the batch
            (the mean, if ``loss_fn`` returns several values), and no likelihood is used.

    Attributes:
        terms: the denominator per sample of a weighted mean over the pool, see `counts`; None takes that of each batch.
        mismatch: whether `check` found that the likelihood given is not that of the loss.
    """

    def __init__(
        self,
        loss_fn: LossFunction,
        reduction: Reduction | None = None,
        likelihood: Likelihood | Callable[[Tensor, torch.Generator], Any] | None = None,
        *,
        couples: bool = False,
    ) -> None:
        self.loss_fn, self.couples = plain(loss_fn), couples
        declared, self._own = declared_reduction(self.loss_fn), is_own(self.loss_fn)
        self.reduction: Reduction | None = (declared if self._own else None) or reduction or declared
        self._recognised = recognise(self.loss_fn)
        self.likelihood = None if couples else likelihood if likelihood is not None else self._recognised
        self.mismatch = False
        self.terms: float | None = None
        self._elements = unreduced(self.loss_fn)
        self._summed: bool | None = None  # over a sample's outputs; None if the reduction says it
        self._averaged = 1  # how many values of the loss make up a sample's
        self._ratio = 1.0  # of the loss to the negative log-likelihood, in the units of curvature_draw
        ignored = option(self.loss_fn, "ignore_index")
        self._by_class = self._own and ignored is not None
        self._ignore_index = int(ignored) if isinstance(ignored, int) else -100

    @property
    def likelihood_name(self) -> str | None:
        """The likelihood's name, ``"given"`` for a user's function, None where none is known."""
        return self.likelihood if isinstance(self.likelihood, str) or self.likelihood is None else "given"

    def check(self, output: Tensor, target: Any) -> None:
        """Try the loss on one batch: labels in range, a finite value, samples that do not interact, a mean or a sum of them.

        Raises:
            LossError: with the cause and the fix.
        """
        if not isinstance(output, Tensor):
            raise LossError(
                f"the model returns {type(output).__name__}, not a tensor; pass forward=(model, batch) -> (output, target)"
            )
        self._check_target(output, target)
        output = output.detach()
        if self.couples:
            self.per_sample(output, target)
            return
        if (counts := self.counts(target)) is not None:
            counted = counts.cpu().nonzero().squeeze(1)
            if not len(counted):
                return  # this batch tells nothing
            output, target = output[counted], target_rows(target, counted)
        few, few_targets = _spread(output, target, _TRIED)
        some, some_targets = _spread(output, target, _COMPARED)
        try:
            value, whole = self._value(few, few_targets), self._value(some, some_targets)
        except LossError as error:  # a loss of pairs, say, that takes whole batches alone
            raise self._refusal(output, target) if mixes_outputs(self._value, some, some_targets) else error from None
        if not (torch.isfinite(value).all() and torch.isfinite(whole).all()):
            raise LossError(
                "the loss is not finite on the first batch; check the inputs, the targets, the weights and the running "
                "statistics of the BN layers"
            )
        if value.ndim:
            self._check_values(value, len(few))
            if mixes_samples(self._value, some, some_targets):
                raise self._refusal(output, target)
            self.reduction = "none"
        else:
            found = self._find_reduction(few, few_targets, some, some_targets)
            mixes = self._elements is None and mixes_outputs(self._value, some, some_targets)
            if mixes or not found:
                raise self._refusal(output, target, weights=not mixes)
        self._check_likelihood(few, few_targets)

    def _find_reduction(self, few: Tensor, few_targets: Any, some: Tensor, some_targets: Any) -> bool:
        """Find whether the loss is a mean or a sum, and how to have it without calling it sample by sample."""
        try:
            single = self._one_by_one(few, few_targets)
        except LossError:
            if mixes_outputs(self._value, some, some_targets):
                return False
            raise
        counts = self.counts(few_targets)
        weights = torch.ones_like(single) if counts is None else counts.to(single)
        # a batch of one sample cannot tell a mean from a sum, so it is repeated
        twice = torch.arange(2 * len(few)) % len(few)
        doubled = float(self._value(few[twice], target_rows(few_targets, twice)))
        scale = float(single.abs().mean())
        bound = tolerance(few.device) * scale + 1e-7
        if abs(doubled - float((weights * single).sum() / weights.sum())) <= bound:
            self.reduction = "mean"
        elif abs(doubled - 2 * float(single.sum())) <= bound * 2 * len(few):
            self.reduction = "sum"
        else:
            return False
        if self._elements is not None:
            self._summed = self._sums_outputs(few, few_targets, single, bound)
            if self._summed is not None:
                return True
            self._elements, self._by_class = None, False
        return adds_up(self._value, self.reduction == "mean", some, some_targets, scale)

    def _sums_outputs(self, output: Tensor, target: Any, single: Tensor, bound: float) -> bool | None:
        """Return whether samples' own losses are sums of the unreduced loss over their outputs, or means; None if neither."""
        assert self._elements is not None  # noqa: S101 - asked before
        elements = self._call(self._elements, output, target)
        self._check_values(elements, len(output))
        flat = elements.flatten(1) if elements.ndim > 1 else elements.unsqueeze(1)
        counts = self.counts(target)
        means = flat.sum(1) / counts if counts is not None else flat.mean(1)
        found = {False: means, True: flat.sum(1)}
        fitting = [summed for summed, values in found.items() if bool(((values - single).abs() <= bound).all())]
        return (self.reduction == "sum" if len(fitting) == 2 else fitting[0]) if fitting else None

    def _refusal(self, output: Tensor, target: Any, *, weights: bool = False) -> LossError:
        """Return the error of a loss whose samples interact, or whose targets weigh them."""
        if isinstance(target, Tensor) and target.shape != output.shape:
            elementwise = self._own and not self._by_class
            if elementwise or (target.is_floating_point() and target.numel() == output.numel()):  # (N, 1) and (N,)
                return _broadcast(output, target)
        if weights:
            return LossError(
                "the loss of a batch is neither the mean nor the sum of its samples' losses (class weights or ignored "
                "targets do this); pass PyTorch's own loss with weight= or ignore_index= as it is, not within a function, or "
                "return one value per sample, as with reduction='none'"
            )
        return LossError(
            "the loss of a sample depends on the other samples of its batch, as in contrastive losses and a Dice loss over the "
            "batch, so that a sample has no loss of its own; pass couples=True to measure the loss of whole batches, or give "
            "a loss that takes each sample for itself"
        )

    @property
    def _sums(self) -> bool:
        """Whether the loss of a sample is a sum over its outputs, not a mean."""
        return self.reduction == "sum" if self._summed is None else self._summed

    def _check_values(self, value: Tensor, size: int) -> None:
        if value.ndim == 0 or len(value) != size:
            raise LossError(
                f"the loss returns shape {tuple(value.shape)} for {size} samples; return one value per sample"
            )
        self._averaged = value.numel() // size

    def _check_likelihood(self, output: Tensor, target: Any) -> None:
        """Find the ratio of the loss to a likelihood that was given, or that there is none."""
        if self.likelihood is None or self.likelihood == self._recognised:
            return
        if callable(self.likelihood):
            drawn = self._drawn(output, torch.Generator().manual_seed(0))
            shape = drawn.shape if isinstance(drawn, Tensor) else None
            if self._by_class and isinstance(target, Tensor) and shape != target.shape:
                raise LossError(
                    f"likelihood draws targets of shape {shape and tuple(shape)}, not {tuple(target.shape)}, as the loader's; "
                    "return targets like these"
                )
            self.mismatch = not is_unbiased(self.total, self._drawn, output)
            return
        kept = self._kept_outputs(output, target) if self.likelihood == "cross_entropy" else None
        ratio = curvature_ratio(lambda leaf: self.total(leaf, target), output, self.likelihood, kept)
        self.mismatch = ratio is None or ratio <= 0
        if ratio is not None and ratio > 0:
            ratio *= self._likelihood_terms(output, target)
            self._ratio = 1.0 if abs(ratio - 1) < 10 * tolerance(output.device) else ratio

    def _check_target(self, output: Tensor, target: Any) -> None:
        if not isinstance(target, Tensor):
            return
        if target.is_floating_point() or self._recognised in ("binary_cross_entropy", "mean_squared_error"):
            if self._elements is not None and not self._by_class and target.shape != output.shape:
                raise _broadcast(output, target)
            return
        if self.likelihood != "cross_entropy" and not self._by_class:
            return
        classes = output.shape[1] if output.ndim > 1 else output.shape[0]
        kept = target != self._ignore_index
        if self.reduction == "mean" and not self._by_class and not kept.all():
            raise LossError(
                f"targets of {self._ignore_index} are ignored, so the loss of a batch is not the mean of its samples' losses; "
                "pass PyTorch's own loss as it is, give one with reduction='sum' or 'none', or leave such samples out"
            )
        wrong = target[kept & ((target < 0) | (target >= classes))]
        if wrong.numel():
            raise LossError(
                f"label {int(wrong.flatten()[0])} is out of range: the model has {classes} outputs, so labels run from 0 "
                f"to {classes - 1}; fix the labels or the last layer"
            )

    def _kept(self, target: Any) -> Tensor | None:
        """Return which targets are not ignored; None where they are no labels."""
        if not isinstance(target, Tensor) or target.is_floating_point():
            return None
        return target != self._ignore_index

    def _kept_outputs(self, output: Tensor, target: Any) -> Tensor | None:
        """Return where targets are not ignored, (N, 1, ...) for outputs (N, K, ...); None where they are no labels of these."""
        kept, like = self._kept(target), output[:, :1]
        return None if kept is None or kept.numel() != like.numel() else kept.view(like.shape)

    @property
    def is_weighted_mean(self) -> bool:
        """Whether the loss is a mean over the targets that are not ignored, with class weights or without."""
        return self._by_class and self.reduction == "mean" and not self.couples

    def counts(self, target: Any) -> Tensor | None:
        """Return what the targets of each sample weigh in a weighted mean, (N,), float64; None where the loss takes none.

        It is their number without ignored ones, or the sum of their class weights.
        """
        kept = self._kept(target) if self.is_weighted_mean else None
        if kept is None:
            return None
        weight = option(self.loss_fn, "weight")
        counts = kept.double() if weight is None else kept * weight.detach().double()[target.where(kept, 0)]
        return counts.flatten(1).sum(1) if counts.ndim > 1 else counts

    def per_sample(self, output: Tensor, target: Any) -> Tensor:
        """Return the loss of each sample, (N,), float32 or wider.

        Raises:
            LossError: a value is not finite, or a label is out of range.
        """
        self._check_target(output, target)
        losses = self._losses(output, target)
        if not torch.isfinite(losses).all():
            bad = int((~torch.isfinite(losses)).sum())
            raise LossError(
                f"the loss is not finite for {bad} of {len(losses)} samples; check the data and the weights"
            )
        return losses

    def total(self, output: Tensor, target: Any) -> Tensor:
        """Return the sum over the batch of the per-sample losses, a scalar that can be differentiated."""
        if self.couples or self.reduction == "none" or self._elements is not None:
            return self._losses(output, target).sum()
        value = self._value(output, target)
        return value * len(output) if self.reduction == "mean" else value

    def _losses(self, output: Tensor, target: Any) -> Tensor:
        if self.couples:
            return _wide(self._value(output, target)).mean().expand(len(output))
        if self.reduction != "none" and self._elements is None:
            return _wide(self._one_by_one(output, target))
        loss_fn = self.loss_fn if self.reduction == "none" or self._elements is None else self._elements
        losses = _wide(self._call(loss_fn, output, target))
        weighted = self._weighted_terms(target)
        if losses.ndim > 1:
            losses = losses.flatten(1).sum(1) if self._sums or weighted else losses.flatten(1).mean(1)
        return losses / weighted if weighted else losses

    def _weighted_terms(self, target: Any) -> float | None:
        """Return the denominator per sample of a weighted mean; None if the loss takes none of these targets."""
        if not self.is_weighted_mean or self._kept(target) is None:
            return None
        if self.terms is not None:
            return self.terms
        counts = self.counts(target)
        return None if counts is None else float(counts.mean()) or 1.0

    def _one_by_one(self, output: Tensor, target: Any) -> Tensor:
        rows = [slice(i, i + 1) for i in range(len(output))]
        return torch.stack([self._value(output[row], target_rows(target, row)) for row in rows])

    def _value(self, output: Tensor, target: Any) -> Tensor:
        return self._call(self.loss_fn, output, target)

    def _call(self, loss_fn: LossFunction, output: Tensor, target: Any) -> Tensor:
        try:
            value = _without_memory(loss_fn)(output, target)
        except Exception as error:  # the loss's own code may raise anything
            raise LossError(
                f"the loss cannot be computed from outputs of shape {tuple(output.shape)} "
                f"({reason(error)}); fix the loss, the targets or the model's output"
            ) from error
        if not isinstance(value, Tensor):
            raise LossError(f"the loss returns {type(value).__name__}; return a tensor")
        return value

    def curvature_draw(self, output: Tensor, target: Any, generator: torch.Generator) -> Tensor:
        """Return a random v of the outputs' shape with E[v v^T] = the Hessian of the per-sample loss in its outputs.

        Back-propagating v gives gradients whose second moment is the true Fisher matrix. (The empirical Fisher, at the given
        labels, is far too small on networks that fit their training data.) For a named likelihood v is
        `bnlens.likelihood.curvature_root` of random signs; a likelihood given as a function is drawn from. ``target`` says
        where cross-entropy ignores the output.
        """
        output = output.detach()
        if callable(self.likelihood):
            drawn, kept = self._drawn(output, generator), self._kept(target)
            if self._by_class and kept is not None:
                drawn = drawn.where(kept, self._ignore_index)
            with torch.enable_grad():
                leaf = output.clone().requires_grad_()
                score = torch.autograd.grad(self.total(leaf, drawn), leaf)[0]
            # of a mean of T losses the score is 1 / T, but its second moment is to be 1 / T, of that of their sum
            return score * math.sqrt(1.0 if self._sums else self._weighted_terms(target) or self._averaged)
        assert self.likelihood is not None  # noqa: S101 - else no draw is asked for
        wide = _wide(output)
        bits = torch.randint(2, wide.shape, generator=generator, dtype=torch.int8)
        score = curvature_root(wide, bits.to(wide) * 2 - 1, self.likelihood)
        if self.likelihood == "cross_entropy" and (kept := self._kept_outputs(output, target)) is not None:
            score = score.masked_fill(~kept, 0)
        return (score * math.sqrt(self._ratio / self._likelihood_terms(wide, target))).to(output.dtype)

    def _likelihood_terms(self, output: Tensor, target: Any) -> float:
        """Return by what the loss of a sample divides the sum of its negative log-likelihoods, were it that."""
        assert self.likelihood is not None and not callable(self.likelihood)  # noqa: S101, PT018
        if self._sums:
            return 1.0
        return self._weighted_terms(target) or terms_per_sample(output, self.likelihood)

    def _drawn(self, output: Tensor, generator: torch.Generator) -> Any:
        """Return targets from a likelihood that was given as a function, where the output is."""
        assert callable(self.likelihood)  # noqa: S101 - asked before
        try:
            with torch.no_grad():  # a target that depends on the output, as output + noise, counts as a constant
                target = self.likelihood(output.cpu(), generator)  # where the generator is
        except Exception as error:  # the user's own code may raise anything
            shape = tuple(output.shape)
            raise LossError(
                f"likelihood draws no targets for outputs of shape {shape} ({reason(error)}); fix it"
            ) from error
        if any(
            leaf.ndim == 0 or len(leaf) != len(output)
            for leaf in pytree.tree_leaves(target)
            if isinstance(leaf, Tensor)
        ):
            raise LossError(
                f"likelihood draws other than one target for each of {len(output)} outputs; return targets of shape "
                f"({len(output)}, ...)"
            )
        return pytree.tree_map(lambda leaf: leaf.to(output.device) if isinstance(leaf, Tensor) else leaf, target)


def _spread(output: Tensor, target: Any, size: int) -> tuple[Tensor, Any]:
    """Return at most ``size`` samples from all over a batch, whose neighbours may be of one class or one image."""
    if len(output) <= size:
        return output, target
    rows = torch.linspace(0, len(output) - 1, size).long()
    return output[rows], target_rows(target, rows)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _without_memory(loss_fn: LossFunction) -> LossFunction:
    """Return the loss with copies of its buffers: running means in it, say, are the same in every call, and are left alone."""
    if not isinstance(loss_fn, nn.Module) or isinstance(loss_fn, torch.jit.ScriptModule):
        return loss_fn
    buffers = {name: buffer.clone() for name, buffer in loss_fn.named_buffers()}
    return (lambda output, target: functional_call(loss_fn, buffers, (output, target))) if buffers else loss_fn


def _broadcast(output: Tensor, target: Tensor) -> LossError:
    return LossError(
        f"the targets have shape {tuple(target.shape)} and the outputs {tuple(output.shape)}, which the loss would "
        "broadcast against each other; give both one shape"
    )
