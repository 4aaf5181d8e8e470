"""Losses that couple samples are found and others are not; likelihoods that are not those of the loss are noticed."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import batches, data, mlp, seeded
from torch import Tensor, nn

import bnlens
from bnlens.errors import LossError
from bnlens.measure._loss import SampleLoss

N, K = 48, 8
SOURCE = torch.Generator().manual_seed(0)
OUTPUT, OTHER = torch.randn(2, N, K, generator=SOURCE)
TARGET = torch.randint(K, (N,), generator=SOURCE)
BINARY = (OTHER > 0).float()
VIEWS = torch.randn(N, 2, K, generator=SOURCE)
MASKS = torch.randn(N, 1, 6, 6, generator=SOURCE)

Loss = Callable[[Tensor, Any], Tensor]


def negatives(output: Tensor, target: Tensor, reduction: str = "none") -> Tensor:
    """Each row against all rows of the batch."""
    z = F.normalize(output, dim=1)
    return F.cross_entropy(z @ z.T / 0.2, torch.arange(len(z)), reduction=reduction)


def views(output: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """NT-Xent of two views of each sample."""
    z = F.normalize(output.transpose(0, 1).flatten(0, 1), dim=1)
    similar = (z @ z.T / 0.5).fill_diagonal_(-1e9)
    losses = F.cross_entropy(similar, torch.arange(len(z)).roll(len(output)), reduction="none").view(2, -1).mean(0)
    return losses if reduction == "none" else losses.mean()


def halves(output: Tensor, target: Tensor) -> Tensor:
    """The first half of the batch against the second, which has to be of the same size."""
    one, other = (F.normalize(half, dim=1) for half in output.view(2, -1, output.shape[1]))
    return F.cross_entropy(one @ other.T, torch.arange(len(one)))


def dice(output: Tensor, target: Tensor) -> Tensor:
    p = output.sigmoid()
    return 1 - 2 * (p * target).sum() / (p.sum() + target.sum())


def per_class_dice(output: Tensor, target: Tensor) -> Tensor:
    p, t = output.softmax(1), F.one_hot(target, output.shape[1])
    return (1 - 2 * (p * t).sum(0) / (p.sum(0) + t.sum(0))).mean()


def supervised(output: Tensor, target: Tensor) -> Tensor:
    """Supervised contrastive: one value per sample, zero where no other sample is of its class."""
    z = F.normalize(output, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool)
    logs = (z @ z.T).masked_fill(itself, -1e9).log_softmax(1)
    same = (target[:, None] == target[None]) & ~itself
    return -(logs * same).sum(1) / same.sum(1).clamp(min=1)


def hardest(output: Tensor, target: Tensor) -> Tensor:
    """Triplets of the hardest samples in the batch."""
    far = torch.cdist(output, output)
    same = target[:, None] == target[None]
    return F.relu((far * same).amax(1) - (far + 1e6 * same).amin(1) + 0.3).mean()


def spread_out(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target) + F.relu(1 - output.std(0, correction=0)).mean()


def batch_weights(output: Tensor, target: Tensor) -> Tensor:
    """Samples weighed against the frequency of their class in the batch."""
    counts = torch.bincount(target, minlength=output.shape[1])
    return F.cross_entropy(output, target, reduction="none") * len(target) / counts[target]


COUPLED: dict[str, tuple[Loss, Tensor, Any]] = {
    "negatives, none": (negatives, OUTPUT, TARGET),
    "negatives, mean": (functools.partial(negatives, reduction="mean"), OUTPUT, TARGET),
    "negatives, sum": (functools.partial(negatives, reduction="sum"), OUTPUT, TARGET),
    "negatives, two samples": (negatives, OUTPUT[:2], TARGET[:2]),
    "negatives, one sample": (negatives, OUTPUT[:1], TARGET[:1]),
    "negatives, mean, two samples": (functools.partial(negatives, reduction="mean"), OUTPUT[:2], TARGET[:2]),
    "negatives, duplicates": (negatives, OUTPUT[:3].repeat(8, 1), TARGET[:3].repeat(8)),
    "two views": (views, VIEWS, TARGET),
    "two views, none": (functools.partial(views, reduction="none"), VIEWS, TARGET),
    "halves of the batch": (halves, OUTPUT, TARGET),
    "dice": (dice, MASKS, (MASKS + MASKS.roll(1, 0) > 0).float()),
    "dice, two samples": (dice, OUTPUT[:2], BINARY[:2]),
    "dice, duplicates": (dice, OUTPUT[:2].repeat(6, 1), BINARY[:2].repeat(6, 1)),
    "dice, repeated": (lambda o, t: dice(o, t).expand(len(o)), OUTPUT, BINARY),
    "dice of classes": (per_class_dice, OUTPUT, TARGET),
    "supervised contrastive": (supervised, OUTPUT, TARGET),
    "supervised contrastive, sorted": (supervised, OUTPUT, TARGET.sort().values),
    "hardest triplets": (hardest, OUTPUT, TARGET),
    "spread of the batch": (spread_out, OUTPUT, OTHER),
    "weights of the batch": (batch_weights, OUTPUT, TARGET),
    "centred by the batch": (lambda o, t: F.mse_loss(o - o.mean(0), t), OUTPUT, OTHER),
    "targets as a tree": (lambda o, t: negatives(o, t["class"]), OUTPUT, {"class": TARGET, "name": "unused"}),
}


@pytest.mark.parametrize("name", COUPLED)
def test_losses_that_couple_samples_are_found(name: str) -> None:
    loss_fn, output, target = COUPLED[name]
    with pytest.raises(LossError, match=r"depends on the other samples of its batch.*pass couples=True"):
        SampleLoss(loss_fn).check(output, target)


def focal(output: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    losses = F.cross_entropy(output, target, reduction="none")
    losses = (1 - torch.exp(-losses)).square() * losses
    return losses.mean() if reduction == "mean" else losses


def sequences(output: Tensor, target: Tensor) -> Tensor:
    lengths = torch.full((len(output),), output.shape[1]), torch.full((len(output),), target.shape[1])
    return F.ctc_loss(output.transpose(0, 1).log_softmax(2), target, *lengths)


class Counting(nn.Module):
    """Counts its calls, and keeps a running mean that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        self.mean.mul_(0.9).add_(output.detach().mean())  # type: ignore[operator]
        return F.cross_entropy(output, target, reduction="none") * (1 + 1e-5 * self.calls)


class Proxies(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(K, K, generator=torch.Generator().manual_seed(5)))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            10 * F.normalize(output, dim=1) @ F.normalize(self.proxies, dim=1).T, target, reduction="none"
        )


WORDS = torch.randint(1, K, (N, 3), generator=SOURCE)
PIXELS, PIXEL_TARGET = torch.randn(N, K, 4, 4, generator=SOURCE), torch.randint(K, (N, 4, 4), generator=SOURCE)
APART: dict[str, tuple[Loss, Tensor, Any]] = {
    "cross-entropy": (lambda o, t: F.cross_entropy(o, t), OUTPUT, TARGET),
    "cross-entropy, nearly zero": (lambda o, t: F.cross_entropy(o, t), 40 * F.one_hot(TARGET, K).float(), TARGET),
    "large": (lambda o, t: 1e6 + F.mse_loss(1e3 * o, t), OUTPUT, OTHER),
    "smoothed": (functools.partial(F.cross_entropy, label_smoothing=0.1), OUTPUT, TARGET),
    "binary": (nn.BCEWithLogitsLoss(reduction="none"), OUTPUT, BINARY),
    "squeezed": (lambda o, t: F.mse_loss(o.squeeze(), t, reduction="none"), OUTPUT[:, :1], OTHER[:, 0]),
    "focal": (focal, OUTPUT, TARGET),
    "focal, none": (functools.partial(focal, reduction="none"), OUTPUT, TARGET),
    "focal, duplicates": (focal, OUTPUT[:2].repeat(6, 1), TARGET[:2].repeat(6)),
    "focal, one sample": (focal, OUTPUT[:1], TARGET[:1]),
    "focal, two samples": (focal, OUTPUT[:2], TARGET[:2]),
    "dice of each sample": (
        lambda o, t: torch.stack([dice(a, b) for a, b in zip(o, t, strict=True)]),
        MASKS,
        MASKS.gt(0).float(),
    ),
    "kl": (lambda o, t: F.kl_div(o.log_softmax(1), t.softmax(1), reduction="batchmean"), OUTPUT, OTHER),
    "ctc": (sequences, torch.randn(N, 9, K, generator=SOURCE), WORDS),
    "pixels": (lambda o, t: F.cross_entropy(o, t, reduction="none"), PIXELS, PIXEL_TARGET),
    "state": (Counting(), OUTPUT, TARGET),
    "proxies": (Proxies(), OUTPUT, TARGET),
}


@pytest.mark.parametrize("name", APART)
def test_losses_that_take_each_sample_for_itself_pass(name: str) -> None:
    loss_fn, output, target = APART[name]
    loss = SampleLoss(loss_fn)
    loss.check(output, target)
    assert len(loss.per_sample(output, target)) == len(output)


def test_half_precision_is_not_taken_for_coupling() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        SampleLoss(Proxies()).check(OUTPUT, TARGET)
        with pytest.raises(LossError, match="depends on the other samples"):
            SampleLoss(negatives).check(OUTPUT, TARGET)


def test_weights_that_the_first_samples_do_not_show_are_found() -> None:
    target = torch.zeros_like(TARGET)
    target[1] = 1  # between the samples that are tried one by one
    weight = torch.tensor([1.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    with pytest.raises(LossError, match=r"neither the mean nor the sum.*class weights"):
        SampleLoss(lambda o, t: F.cross_entropy(o, t, weight)).check(OUTPUT, target)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_coupled_losses_are_those_of_the_batch(reduction: str) -> None:
    loss = SampleLoss(functools.partial(negatives, reduction=reduction), likelihood="cross_entropy", couples=True)
    loss.check(OUTPUT, TARGET)
    output = OUTPUT.double()
    leaf = output.clone().requires_grad_()
    value = negatives(leaf, TARGET, "sum" if reduction == "sum" else "mean")
    assert loss.likelihood is None
    torch.testing.assert_close(loss.per_sample(output, TARGET), value.detach().expand(N))
    total = loss.total(leaf, TARGET)
    torch.testing.assert_close(total, N * value)
    torch.testing.assert_close(torch.autograd.grad(total, leaf), torch.autograd.grad(N * value, leaf))


def test_a_coupled_loss_may_take_whole_batches_alone() -> None:
    SampleLoss(halves, couples=True).check(OUTPUT, TARGET)
    with pytest.raises(LossError, match="not finite"):
        SampleLoss(halves, couples=True).check(OUTPUT * torch.nan, TARGET)


def categorical(output: Tensor, source: torch.Generator) -> Tensor:
    return torch.multinomial(output.softmax(1), 1, generator=source).squeeze(1)


def of_logs(output: Tensor, source: torch.Generator) -> Tensor:
    return torch.multinomial(output.exp(), 1, generator=source).squeeze(1)


def of_probabilities(output: Tensor, source: torch.Generator) -> Tensor:
    return torch.multinomial(output, 1, generator=source).squeeze(1)


def coin(output: Tensor, source: torch.Generator) -> Tensor:
    return torch.bernoulli(output, generator=source)


def coin_of_logits(output: Tensor, source: torch.Generator) -> Tensor:
    return torch.bernoulli(output.sigmoid(), generator=source)


def gaussian(output: Tensor, source: torch.Generator) -> Tensor:
    return output + torch.randn(output.shape, generator=source) / 2**0.5


def poisson(output: Tensor, source: torch.Generator) -> Tensor:
    return torch.poisson(output.exp(), generator=source)


WEIGHT = torch.linspace(0.5, 3.0, K)
FITTING: dict[str, tuple[Loss, Tensor, Any, Any]] = {
    "cross-entropy": (lambda o, t: F.cross_entropy(o, t), OUTPUT, TARGET, "cross_entropy"),
    "cross-entropy, sure": (lambda o, t: F.cross_entropy(o, t), 40 * OUTPUT, TARGET, "cross_entropy"),
    "cross-entropy, untrained": (lambda o, t: F.cross_entropy(o, t), 0 * OUTPUT, TARGET, "cross_entropy"),
    "cross-entropy, smoothed": (
        lambda o, t: F.cross_entropy(o, t, label_smoothing=0.3),
        OUTPUT,
        TARGET,
        "cross_entropy",
    ),
    "equal weights": (nn.CrossEntropyLoss(weight=torch.full((K,), 3.0)), OUTPUT, TARGET, "cross_entropy"),
    "log-probabilities": (nn.NLLLoss(), OUTPUT.log_softmax(1), TARGET, "cross_entropy"),
    "ignored": (nn.NLLLoss(ignore_index=1), PIXELS.log_softmax(1), PIXEL_TARGET, "cross_entropy"),
    "a column of labels": (lambda o, t: F.cross_entropy(o, t[:, 0]), OUTPUT, TARGET[:, None], "cross_entropy"),
    "targets as a tree": (lambda o, t: F.cross_entropy(o, t["class"]), OUTPUT, {"class": TARGET}, "cross_entropy"),
    "categorical": (F.cross_entropy, OUTPUT, TARGET, categorical),
    "categorical, sure": (F.cross_entropy, 20 * OUTPUT, TARGET, categorical),
    "categorical of log-probabilities": (nn.NLLLoss(), OUTPUT.log_softmax(1), TARGET, of_logs),
    "categorical of probabilities": (lambda o, t: F.nll_loss(o.log(), t), OUTPUT.softmax(1), TARGET, of_probabilities),
    "coin": (nn.BCELoss(), OUTPUT.sigmoid(), BINARY, coin),
    "coin, rarely heads": (nn.BCELoss(), (4 * OUTPUT - 6).sigmoid(), BINARY, coin),
    "coin of logits": (nn.BCEWithLogitsLoss(), OUTPUT, BINARY, coin_of_logits),
    "gaussian": (nn.MSELoss(), OUTPUT, OTHER, gaussian),
    "poisson": (nn.PoissonNLLLoss(), OUTPUT, BINARY, poisson),
}
UNFIT: dict[str, tuple[Loss, Tensor, Any, Any]] = {
    "focal": (focal, OUTPUT, TARGET, "cross_entropy"),
    "focal, sure": (focal, 10 * OUTPUT, TARGET, "cross_entropy"),
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHT), OUTPUT, TARGET, "cross_entropy"),
    "temperature": (lambda o, t: F.cross_entropy(o / 2, t), OUTPUT, TARGET, "cross_entropy"),
    "probabilities for logits": (nn.BCELoss(), OUTPUT.sigmoid(), BINARY, "binary_cross_entropy"),
    "positive weight": (nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)), OUTPUT, BINARY, "binary_cross_entropy"),
    "absolute value": (nn.L1Loss(), OUTPUT, OTHER, "mean_squared_error"),
    "focal, drawn": (focal, OUTPUT, TARGET, categorical),
    "class weights, drawn": (nn.CrossEntropyLoss(weight=WEIGHT), OUTPUT, TARGET, categorical),
    "positive weight, drawn": (nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)), OUTPUT, BINARY, coin_of_logits),
    "temperature, drawn": (F.cross_entropy, OUTPUT, TARGET, lambda o, source: categorical(o / 2, source)),
    "rate, drawn": (nn.PoissonNLLLoss(), OUTPUT, BINARY, lambda o, source: poisson(o + 0.5, source)),
}


@pytest.mark.parametrize("name", FITTING)
def test_a_likelihood_of_the_loss_is_left_alone(name: str) -> None:
    loss_fn, output, target, likelihood = FITTING[name]
    loss = SampleLoss(loss_fn, likelihood=likelihood)
    loss.check(output, target)
    assert not loss.mismatch
    assert loss.curvature_draw(output, target, SOURCE).shape == output.shape


@pytest.mark.parametrize("name", UNFIT)
def test_a_likelihood_of_another_loss_is_noticed(name: str) -> None:
    loss_fn, output, target, likelihood = UNFIT[name]
    loss = SampleLoss(loss_fn, likelihood=likelihood)
    loss.check(output, target)
    assert loss.mismatch


@pytest.mark.parametrize(
    ("loss_fn", "target", "likelihood"),
    [
        (lambda o, t: (o - t).square().sum(1).mean(), OTHER, "mean_squared_error"),  # a sum over outputs
        (lambda o, t: 0.5 * (o - t).square().mean(), OTHER, "mean_squared_error"),
        (lambda o, t: 3 * F.cross_entropy(o, t), TARGET, "cross_entropy"),
    ],
)
def test_multiples_of_a_likelihood_have_their_own_curvature(loss_fn: Loss, target: Tensor, likelihood: Any) -> None:
    """The trace of the Hessian of one sample's loss, against the mean square of curvature draws."""
    loss = SampleLoss(loss_fn, likelihood=likelihood)
    loss.check(OUTPUT, target)
    hessian = torch.autograd.functional.hessian(lambda o: loss_fn(o, target[:1]), OUTPUT[:1]).view(K, K)
    draws = loss.curvature_draw(OUTPUT[:1].expand(20_000, K), target[:1].expand(20_000, *target.shape[1:]), SOURCE)
    torch.testing.assert_close(draws.square().sum(1).mean(), hessian.trace(), rtol=0.02, atol=0)


def test_a_report_names_the_likelihood_of_another_loss() -> None:
    options: dict[str, Any] = {
        "statistics_batch_size": 8,
        "rounds": 1,
        "progress": False,
        "likelihood": "cross_entropy",
    }
    report = bnlens.report(seeded(mlp)(), batches(*data(5)), focal, **options)
    (note,) = (note for note in report.notes if note.kind == "likelihood mismatch")
    assert "Fisher and two-term values are those of another loss" in note.text
    plain = bnlens.report(seeded(mlp)(), batches(*data(5)), lambda o, t: F.cross_entropy(o, t), **options)
    assert not [note for note in plain.notes if note.kind == "likelihood mismatch"]


def test_a_report_refuses_a_loss_that_couples_samples() -> None:
    with pytest.raises(LossError, match="depends on the other samples of its batch"):
        bnlens.report(seeded(mlp)(), batches(*data(5)), negatives, statistics_batch_size=8, progress=False)
