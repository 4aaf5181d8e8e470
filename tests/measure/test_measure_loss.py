"""Losses sample by sample, and curvature draws against the dense Hessian in the outputs."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlens.errors import LossError
from bnlens.measure._loss import SampleLoss

DRAWS, BUDGET = 4000, 40  # per step, steps


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(1), dtype=torch.float64)


def labels(*shape: int) -> Tensor:
    return torch.randint(3, shape, generator=generator(2))


def gaussian(output: Tensor, source: torch.Generator) -> Tensor:
    # a target with the output in its graph, as a user writes it
    return output + torch.randn(output.shape, generator=source, dtype=output.dtype) / 2**0.5


def categorical(output: Tensor, source: torch.Generator) -> Tensor:
    return torch.multinomial(output.softmax(1), 1, generator=source).squeeze(1)


def pixels(output: Tensor, source: torch.Generator) -> Tensor:
    return categorical(output.movedim(1, -1).flatten(0, -2), source).view(output[:, 0].shape)


def log_loss(output: Tensor, target: Tensor) -> Tensor:
    return F.nll_loss(output.log_softmax(1), target)


OUTPUT, TARGET = normal(7, 3), labels(7)
IGNORED = labels(1, 2, 2).index_fill(2, torch.tensor([1]), 255)
PARTIAL = functools.partial(F.cross_entropy, ignore_index=255, reduction="sum")
CURVATURES: dict[str, tuple[SampleLoss, Tensor, Tensor]] = {
    "cross-entropy": (SampleLoss(F.cross_entropy), normal(1, 3), labels(1)),
    "sure of itself": (SampleLoss(F.cross_entropy), 8 * normal(1, 3), labels(1)),
    "summed": (SampleLoss(nn.CrossEntropyLoss(reduction="sum")), normal(1, 3, 2), labels(1, 2)),
    "pixels": (SampleLoss(nn.CrossEntropyLoss()), normal(1, 3, 2, 2), labels(1, 2, 2)),
    "pixels, none": (SampleLoss(nn.CrossEntropyLoss(reduction="none")), normal(1, 3, 2, 2), labels(1, 2, 2)),
    "ignored": (SampleLoss(PARTIAL), normal(1, 3, 2, 2), IGNORED),
    "ignored in a mean": (SampleLoss(nn.CrossEntropyLoss(ignore_index=255)), normal(1, 3, 2, 2), IGNORED),
    "ignored, given": (
        SampleLoss(nn.CrossEntropyLoss(ignore_index=255), likelihood=pixels),
        normal(1, 3, 2, 2),
        IGNORED,
    ),
    "log-probabilities": (SampleLoss(log_loss, likelihood=categorical), normal(1, 3), labels(1)),
    "smoothed": (SampleLoss(nn.CrossEntropyLoss(label_smoothing=0.2)), normal(1, 3), labels(1)),
    "soft targets": (SampleLoss(F.cross_entropy), normal(1, 3), torch.tensor([[0.2, 0.3, 0.5]]).double()),
    "binary": (SampleLoss(F.binary_cross_entropy_with_logits), normal(1, 4), normal(1, 4).sigmoid().round()),
    "binary, summed": (SampleLoss(nn.BCEWithLogitsLoss(reduction="sum")), normal(1, 4), torch.ones(1, 4).double()),
    "squared": (SampleLoss(nn.MSELoss()), normal(1, 3), normal(1, 3) + 1),
    "squared, summed": (SampleLoss(nn.MSELoss(reduction="sum")), normal(1, 3, 2), normal(1, 3, 2) + 1),
    "given gaussian": (SampleLoss(nn.MSELoss(reduction="sum"), likelihood=gaussian), normal(1, 3), normal(1, 3)),
    "given categorical": (SampleLoss(F.cross_entropy, likelihood=categorical), normal(1, 3), labels(1)),
    "given, averaged": (averaged := SampleLoss(nn.MSELoss(), likelihood=gaussian), normal(1, 3), normal(1, 3)),
    "named": (SampleLoss(log_loss, likelihood="cross_entropy"), normal(1, 3), labels(1)),
}
averaged.check(normal(4, 3), normal(4, 3) + 1)  # which finds how many values make a sample's loss


@pytest.mark.parametrize("name", CURVATURES)
def test_draws_average_to_the_hessian(name: str) -> None:
    loss, output, target = CURVATURES[name]
    loss.reduction = loss.reduction or "mean"

    def value(flat: Tensor) -> Tensor:
        return loss.per_sample(flat.view_as(output), target).sum()

    hessian = torch.autograd.functional.hessian(value, output.flatten())
    source, total, squares = generator(), torch.zeros_like(hessian), torch.zeros_like(hessian)
    many, targets = output.expand(DRAWS, *output.shape[1:]), target.expand(DRAWS, *target.shape[1:])
    for step in range(1, BUDGET + 1):  # average until the error is small against the Hessian
        v = loss.curvature_draw(many, targets, source).flatten(1)
        total += v.T @ v
        squares += v.square().T @ v.square()
        mean = total / (step * DRAWS)
        error = ((squares / (step * DRAWS) - mean.square()).clamp(min=0) / (step * DRAWS)).sqrt()
        if error.norm() < 0.01 * hessian.norm():
            break
    assert error.norm() < 0.05 * hessian.norm()
    assert ((mean - hessian).abs() <= 5 * error + 1e-9).all()


def test_draws_of_a_sure_network_do_not_depend_on_rare_labels() -> None:
    """The diagonal of the Hessian comes out nearly the same in every draw, however small the probabilities."""
    output = torch.tensor([[12.0, 0.0, -1.0]], dtype=torch.float64)
    v = SampleLoss(F.cross_entropy).curvature_draw(output.expand(200, 3), labels(200), generator())
    p = output.softmax(1)[0]
    torch.testing.assert_close(v[:, 1].square().mean(), p[1] * (1 - p[1]), rtol=0.05, atol=0)


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reduction = "mean"

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return (2 * F.cross_entropy(output, target, reduction="none")).mean()


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)


def over_samples(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target, reduction="none").mean(0)


def class_mean(output: Tensor, target: Any) -> Tensor:
    return F.cross_entropy(output, target["class"])


REDUCTIONS: list[tuple[Callable[..., Tensor], str]] = [
    (F.cross_entropy, "mean"),
    (functools.partial(F.cross_entropy, reduction="sum"), "sum"),
    (functools.partial(F.cross_entropy, reduction="none"), "none"),
    (functools.partial(nn.CrossEntropyLoss()), "mean"),
    (nn.CrossEntropyLoss(reduction="sum"), "sum"),
    (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]).double(), reduction="sum"), "sum"),
    (lambda o, t: F.cross_entropy(o, t, reduction="none"), "none"),
    (lambda o, t: F.cross_entropy(o, t, reduction="sum"), "sum"),
    (Weighted(), "mean"),
    (Unhashable(), "mean"),
]


@pytest.mark.parametrize(("loss_fn", "reduction"), REDUCTIONS)
def test_reduction_is_found_and_samples_add_up(loss_fn: Callable[..., Tensor], reduction: str) -> None:
    loss = SampleLoss(loss_fn)
    loss.check(OUTPUT, TARGET)
    assert loss.reduction == reduction
    singles = torch.stack([loss_fn(OUTPUT[i : i + 1], TARGET[i : i + 1]).sum() for i in range(7)])
    torch.testing.assert_close(loss.per_sample(OUTPUT, TARGET), singles)
    torch.testing.assert_close(loss.total(OUTPUT, TARGET), singles.sum())


def test_a_wrong_declaration_is_corrected() -> None:
    loss = SampleLoss(lambda o, t: F.cross_entropy(o, t, reduction="sum"), reduction="mean")
    loss.check(OUTPUT, TARGET)
    assert loss.reduction == "sum"


def test_targets_may_be_trees() -> None:
    loss, target = SampleLoss(class_mean), {"class": TARGET, "name": "unused"}
    loss.check(OUTPUT, target)
    expected = F.cross_entropy(OUTPUT, TARGET, reduction="none")
    torch.testing.assert_close(loss.per_sample(OUTPUT, target), expected)


@pytest.mark.parametrize(
    ("loss_fn", "name"),
    [
        (nn.CrossEntropyLoss(), "cross_entropy"),
        (functools.partial(F.cross_entropy, label_smoothing=0.1), "cross_entropy"),
        (nn.BCEWithLogitsLoss(), "binary_cross_entropy"),
        (F.mse_loss, "mean_squared_error"),
        (nn.CrossEntropyLoss(weight=torch.ones(3)), None),
        (functools.partial(F.binary_cross_entropy_with_logits, pos_weight=torch.ones(3)), None),
        (nn.L1Loss(), None),
        (Unhashable(), None),
    ],
)
def test_likelihood_is_recognised(loss_fn: Callable[..., Tensor], name: str | None) -> None:
    assert SampleLoss(loss_fn).likelihood_name == name


def test_a_given_likelihood_is_named_so() -> None:
    assert SampleLoss(nn.L1Loss(), likelihood=gaussian).likelihood_name == "given"


def pairs(output: Tensor, target: Tensor) -> Tensor:
    """Of rows in two halves, as a loss of augmented views may assert."""
    assert len(output) % 2 == 0
    one, two = output.log_softmax(1).chunk(2)
    return F.kl_div(one, two.exp(), reduction="batchmean") + F.cross_entropy(output, target)


def unexplained(output: Tensor, target: Tensor) -> Tensor:
    raise AssertionError


CHECKED = "the inputs, the targets, the weights and the running"
WEIGHTED = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 9.0]).double())
ERRORS: list[tuple[Callable[..., Any], Any, Any, str]] = [
    (F.cross_entropy, OUTPUT, TARGET + 1, "label 3 is out of range: the model has 3 outputs.* from 0 to 2; fix"),
    (F.cross_entropy, OUTPUT, TARGET - 1, "label -1 is out of range"),
    (log_loss, OUTPUT, TARGET + 1, "cannot be computed .*out of bounds.*; fix the loss"),
    (pairs, OUTPUT[:6], TARGET[:6], "depends on the other samples of its batch"),
    (lambda o, t: o[{}], OUTPUT, TARGET, "cannot be computed"),
    (
        unexplained,
        OUTPUT,
        TARGET,
        r"cannot be computed from outputs of shape \(6, 3\) \(AssertionError\); fix the loss",
    ),
    (F.cross_entropy, OUTPUT, normal(7), r"cannot be computed from outputs of shape \(6, 3\)"),
    (F.mse_loss, normal(7, 1), normal(7), r"targets have shape \(7,\) and the outputs \(7, 1\).* give both one shape"),
    (lambda o, t: WEIGHTED(o, t), OUTPUT, TARGET, "neither the mean nor the sum.*class weights.*PyTorch's own loss"),
    (over_samples, OUTPUT, OUTPUT + 1, r"returns shape \(3,\) for 6 samples; return one value per sample"),
    (lambda o, t: 1.0, OUTPUT, TARGET, "loss returns float; return a tensor"),
    (F.cross_entropy, OUTPUT * float("nan"), TARGET, f"not finite on the first batch; check {CHECKED}"),
    (F.cross_entropy, [OUTPUT], TARGET, r"returns list, not a tensor; pass forward"),
]


@pytest.mark.parametrize(("loss_fn", "output", "target", "words"), ERRORS)
def test_a_loss_that_cannot_be_used(loss_fn: Callable[..., Any], output: Any, target: Any, words: str) -> None:
    with pytest.raises(LossError, match=words):
        SampleLoss(loss_fn).check(output, target)


def test_ignored_targets_in_any_batch_forbid_a_mean_that_hides_them() -> None:
    output, target = normal(9, 3, 4), labels(9, 4)
    target[8, 0] = -100  # in no batch that the first look sees
    loss = SampleLoss(lambda o, t: F.cross_entropy(o, t), likelihood="cross_entropy")
    loss.check(output[:8], target[:8])
    with pytest.raises(LossError, match=r"targets of -100 are ignored.* give one with reduction='sum' or 'none'"):
        loss.per_sample(output, target)
    summed = SampleLoss(nn.CrossEntropyLoss(reduction="sum"))
    summed.check(output, target)
    torch.testing.assert_close(summed.per_sample(output, target).sum(), summed.total(output, target))


def test_a_loss_that_turns_bad_later() -> None:
    loss = SampleLoss(F.cross_entropy)
    loss.check(OUTPUT, TARGET)
    bad = OUTPUT.index_fill(0, torch.tensor([2, 5]), float("inf"))
    with pytest.raises(LossError, match="not finite for 2 of 7 samples; check the data and the weights"):
        loss.per_sample(bad, TARGET)
