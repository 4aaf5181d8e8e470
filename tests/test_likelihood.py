"""Curvatures of the likelihoods, against automatic Hessians."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from bnlens.likelihood import LIKELIHOODS, curvature_form, curvature_root, expected_target, terms_per_sample

LOSSES = {
    "cross_entropy": F.cross_entropy,
    "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    "mean_squared_error": F.mse_loss,
}


def target_like(output, likelihood):
    if likelihood == "cross_entropy":
        return torch.zeros(output.shape[:1] + output.shape[2:], dtype=torch.long)
    return torch.full_like(output, 0.3)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("shape", [(1, 3), (1, 2, 2)])
def test_form_is_that_of_the_automatic_hessian_and_of_the_root_over_all_signs(likelihood, shape):
    generator = torch.Generator().manual_seed(0)
    output, tangent = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    form = curvature_form(output, tangent, likelihood)
    target = target_like(output, likelihood)
    hessian = torch.autograd.functional.hessian(lambda z: LOSSES[likelihood](z, target), output)
    expected = tangent.flatten() @ hessian.reshape(output.numel(), -1) @ tangent.flatten()
    torch.testing.assert_close(form, expected[None])
    squares = []
    for signs in itertools.product((-1.0, 1.0), repeat=output.numel()):
        root = curvature_root(output, torch.tensor(signs, dtype=torch.float64).view(shape), likelihood)
        squares.append((root * tangent).sum().square())
    torch.testing.assert_close(torch.stack(squares).mean() / terms_per_sample(output, likelihood), form[0])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_expected_target_is_the_gradient_but_for_terms_of_the_target(likelihood):
    one, other = torch.randn(2, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = target_like(one, likelihood)

    def gradient(output):
        leaf = output.clone().requires_grad_()
        return torch.autograd.grad(LOSSES[likelihood](leaf, target, reduction="sum"), leaf)[0]

    change = expected_target(one, likelihood) - expected_target(other, likelihood)
    torch.testing.assert_close(change, gradient(one) - gradient(other))
