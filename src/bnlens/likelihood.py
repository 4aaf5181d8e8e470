"""Curvature of the losses that are negative log-likelihoods, in the outputs of a model.

For these the Hessian H of the loss in a sample's outputs does not depend on the target, and it is the Fisher matrix:

| likelihood | loss of one output | H |
|---|---|---|
| ``"cross_entropy"`` | cross-entropy over the classes, dimension 1 | diag(p) - p p^T, p the softmax |
| ``"binary_cross_entropy"`` | binary cross-entropy of logits | diag(p (1 - p)), p the sigmoid |
| ``"mean_squared_error"`` | squared difference | 2 |
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

__all__ = ["LIKELIHOODS", "Likelihood", "curvature_form", "curvature_root", "expected_target", "terms_per_sample"]

Likelihood = Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error"]
LIKELIHOODS: tuple[Likelihood, ...] = ("cross_entropy", "binary_cross_entropy", "mean_squared_error")


def terms_per_sample(output: Tensor, likelihood: Likelihood) -> int:
    """Return how many losses one sample's outputs make: its pixels, say, or its outputs where there are no classes.

    ``output`` is (N, ...), of cross-entropy (N, K, ...).
    """
    terms = output[0].numel()
    return terms // output.shape[1] if likelihood == "cross_entropy" else terms


def expected_target(output: Tensor, likelihood: Likelihood) -> Tensor:
    """Return what the gradient of the summed loss is but for terms of the target: softmax, sigmoid or twice the output.

    H is its derivative. ``output``, logits or values, is (N, ...), and so is the result.
    """
    if likelihood == "cross_entropy":
        return output.softmax(1)
    return output.sigmoid() if likelihood == "binary_cross_entropy" else 2 * output


def curvature_root(output: Tensor, signs: Tensor, likelihood: Likelihood) -> Tensor:
    """Return v with E[v v^T] = H for random signs, of the summed loss of each sample's outputs.

    With probabilities p and signs z: cross-entropy sqrt(p) z - p sum(sqrt(p) z), binary cross-entropy
    sqrt(p (1 - p)) z, squared error sqrt(2) z. The score at a label drawn from the model has the same second moment, but
    where the model is sure of its outputs that lies in labels too rare to be drawn. ``output``, logits or values, is (N, ...),
    float32 or wider; ``signs``, independent, +1 or -1, are of the same shape.
    """
    if likelihood == "cross_entropy":
        probabilities = output.softmax(1)
        roots = probabilities.sqrt() * signs
        return roots - probabilities * roots.sum(1, keepdim=True)
    if likelihood == "binary_cross_entropy":
        probabilities = output.sigmoid()
        return (probabilities * (1 - probabilities)).sqrt() * signs
    return math.sqrt(2) * signs


def curvature_form(output: Tensor, tangent: Tensor, likelihood: Likelihood) -> Tensor:
    """Return u^T H u of each sample, (N,), of the mean loss over its outputs (pixels, say); differentiable in both.

    ``output``, logits or values, is (N, ...), and ``tangent``, u, of the same shape.

    >>> import torch
    >>> curvature_form(torch.zeros(1, 2), torch.tensor([[1.0, -1.0]]), "cross_entropy")
    tensor([1.])
    """
    if likelihood == "cross_entropy":
        probabilities = output.softmax(1)
        mean = (probabilities * tangent).sum(1, keepdim=True)
        form = probabilities * (tangent - mean).square()
    elif likelihood == "binary_cross_entropy":
        probabilities = output.sigmoid()
        form = probabilities * (1 - probabilities) * tangent.square()
    else:
        form = 2 * tangent.square()
    return form.flatten(1).sum(1) / terms_per_sample(output, likelihood)
