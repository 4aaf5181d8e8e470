"""PyTorch's own losses per sample, in one call, against sample by sample; weighted means against the loss of the pool."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import batches, data, mlp, pixel_labels, seeded, segmenter
from torch import Tensor, nn

import bnlens
from bnlens.errors import LossError
from bnlens.measure._loss import SampleLoss
from bnlens.measure._own_losses import declared_reduction, is_own, option, recognise, unreduced

N, K = 12, 4
SOURCE = torch.Generator().manual_seed(0)
OUTPUT = torch.randn(N, K, generator=SOURCE, dtype=torch.float64)
OTHER = torch.randn(N, K, generator=SOURCE, dtype=torch.float64)
TARGET = torch.randint(K, (N,), generator=SOURCE)
BINARY = (OTHER > 0).double()
PIXELS = torch.randn(N, K, 3, 2, generator=SOURCE, dtype=torch.float64)
PIXEL_TARGET = torch.randint(K, (N, 3, 2), generator=SOURCE)
WEIGHT = torch.tensor([0.3, 1.0, 2.5, 4.0], dtype=torch.float64)
SPARSE = torch.full((N, K), -1).index_fill(1, torch.tensor([0]), 2)

ELEMENTWISE: dict[str, tuple[Callable[..., Tensor], Tensor, Tensor]] = {
    "l1": (nn.L1Loss(), OUTPUT, OTHER),
    "l1, summed": (functools.partial(F.l1_loss, reduction="sum"), OUTPUT, OTHER),
    "smooth l1": (nn.SmoothL1Loss(beta=0.3), OUTPUT, OTHER),
    "huber": (nn.HuberLoss(delta=0.2), OUTPUT, OTHER),
    "probabilities": (nn.BCELoss(), OUTPUT.sigmoid(), BINARY),
    "probabilities (N,)": (nn.BCELoss(), OUTPUT[:, 0].sigmoid(), BINARY[:, 0]),
    "probabilities (N, 1)": (F.binary_cross_entropy, OUTPUT[:, :1].sigmoid(), BINARY[:, :1]),
    "weighted labels": (nn.BCEWithLogitsLoss(weight=WEIGHT, pos_weight=1 + WEIGHT), OUTPUT, BINARY),
    "poisson": (nn.PoissonNLLLoss(full=True), OUTPUT, OTHER.exp().round()),
    "kl": (functools.partial(F.kl_div, log_target=True), OUTPUT.log_softmax(1), OTHER.log_softmax(1)),
    "kl, batchmean": (nn.KLDivLoss(reduction="batchmean"), OUTPUT.log_softmax(1), OTHER.softmax(1)),
    "kl, summed": (nn.KLDivLoss(reduction="sum"), OUTPUT.log_softmax(1), OTHER.softmax(1)),
    "soft margin": (nn.SoftMarginLoss(), OUTPUT, 2 * BINARY - 1),
    "hinge": (nn.HingeEmbeddingLoss(), OUTPUT, 2 * BINARY - 1),
    "several labels": (nn.MultiLabelSoftMarginLoss(weight=WEIGHT), OUTPUT, BINARY),
    "multi margin": (nn.MultiMarginLoss(p=2), OUTPUT, TARGET),
    "several labels, margin": (F.multilabel_margin_loss, OUTPUT, SPARSE),
    "likelihood": (nn.NLLLoss(), PIXELS.log_softmax(1), PIXEL_TARGET),
    "soft labels, weighted": (nn.CrossEntropyLoss(weight=WEIGHT), OUTPUT, OTHER.softmax(1)),
}


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_one_call_gives_what_single_samples_give(name: str) -> None:
    loss_fn, output, target = ELEMENTWISE[name]
    singles = torch.stack([loss_fn(output[i : i + 1], target[i : i + 1]) for i in range(N)])
    loss = SampleLoss(loss_fn)
    loss.check(output, target)
    sizes: list[int] = []
    loss._call = lambda fn, o, t: (sizes.append(len(o)), fn(o, t))[1]  # type: ignore[method-assign]
    torch.testing.assert_close(loss.per_sample(output, target), singles)
    assert sizes == [N]
    torch.testing.assert_close(loss.total(output, target), singles.sum())


WEIGHTED: dict[str, tuple[Callable[..., Tensor], Tensor, Tensor]] = {
    "weights": (nn.CrossEntropyLoss(weight=WEIGHT), OUTPUT, TARGET),
    "weights of a partial": (functools.partial(F.cross_entropy, weight=WEIGHT), OUTPUT, TARGET),
    "weights of pixels": (nn.CrossEntropyLoss(weight=WEIGHT), PIXELS, PIXEL_TARGET),
    "ignored": (F.cross_entropy, OUTPUT, TARGET.masked_fill(torch.arange(N) % 3 == 0, -100)),
    "ignored class": (functools.partial(F.cross_entropy, ignore_index=2), OUTPUT, TARGET),
    "ignored pixels": (
        nn.CrossEntropyLoss(ignore_index=1),
        PIXELS,
        PIXEL_TARGET.index_fill(0, torch.tensor([0, 5]), 1),
    ),
    "both, smoothed": (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=0, label_smoothing=0.3), PIXELS, PIXEL_TARGET),
    "a class of weight 0": (nn.CrossEntropyLoss(weight=WEIGHT * (WEIGHT > 1)), OUTPUT, TARGET),
    "likelihood": (nn.NLLLoss(weight=WEIGHT, ignore_index=3), OUTPUT.log_softmax(1), TARGET),
    "likelihood of pixels": (functools.partial(F.nll_loss, weight=WEIGHT), PIXELS.log_softmax(1), PIXEL_TARGET),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_parts_of_a_weighted_mean_average_to_the_loss_of_the_pool(name: str) -> None:
    loss_fn, output, target = WEIGHTED[name]
    loss = SampleLoss(loss_fn)
    loss.check(output[:7], target[:7])
    counts = torch.cat([loss.counts(target[:5]), loss.counts(target[5:])])  # type: ignore[list-item]
    loss.terms = float(counts.mean())
    parts = torch.cat([loss.per_sample(output[:7], target[:7]), loss.per_sample(output[7:], target[7:])])
    torch.testing.assert_close(parts.mean(), loss_fn(output, target))
    for i in range(N):  # the part of one sample is what its outputs give, w l, over the pool's weights per sample
        alone = loss_fn(output[i : i + 1], target[i : i + 1]) * counts[i] if counts[i] else torch.zeros(())
        torch.testing.assert_close(parts[i], alone / loss.terms, check_dtype=False)


@pytest.mark.parametrize("name", WEIGHTED | ELEMENTWISE)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_total_has_the_gradient_of_the_losses(name: str) -> None:
    """The gradient of `total` against finite differences of the per-sample losses."""
    loss_fn, output, target = (WEIGHTED | ELEMENTWISE)[name]
    loss = SampleLoss(loss_fn)
    loss.check(output, target)
    loss.terms = 1.7
    leaf = output.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss.total(leaf, target), leaf)
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(3), dtype=output.dtype)
    step = 1e-6
    change = loss.per_sample(output + step * direction, target) - loss.per_sample(output - step * direction, target)
    per_sample = (gradient * direction).flatten(1).sum(1) if output.ndim > 1 else gradient * direction
    torch.testing.assert_close(change / (2 * step), per_sample, rtol=1e-5, atol=1e-7)


SHAPES = r"targets have shape .* which the loss would broadcast against each other; give both one shape"
UNFIT: list[tuple[Callable[..., Any], Tensor, Tensor, str]] = [
    (nn.BCELoss(), OUTPUT[:, :1].sigmoid(), BINARY[:, 0], SHAPES),
    (nn.L1Loss(), OUTPUT[:, :1], OTHER[:, 0], SHAPES),
    (F.smooth_l1_loss, OUTPUT[:, 0], OTHER[:, :1], SHAPES),
    (nn.MSELoss(), OUTPUT[:, :1], TARGET, SHAPES),
    (functools.partial(F.huber_loss, reduction="none"), OUTPUT[:, :1], OTHER[:, 0], SHAPES),
    (lambda o, t: F.mse_loss(o, t), OUTPUT[:, :1], OTHER[:, 0], SHAPES),
    (lambda o, t: F.l1_loss(o, t, reduction="none"), OUTPUT[:, :1], OTHER[:, 0], SHAPES),
    (nn.NLLLoss(), OUTPUT.log_softmax(1), TARGET + 1, "label 4 is out of range: the model has 4 outputs"),
    (nn.CrossEntropyLoss(weight=WEIGHT), OUTPUT, TARGET + 1, "label 4 is out of range: the model has 4 outputs"),
    (nn.CTCLoss(), OUTPUT, TARGET, "cannot be computed .*missing 2 required positional arguments"),
]


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(("loss_fn", "output", "target", "words"), UNFIT)
def test_targets_that_do_not_fit(loss_fn: Callable[..., Any], output: Tensor, target: Tensor, words: str) -> None:
    with pytest.raises(LossError, match=words):
        SampleLoss(loss_fn).check(output, target)


def test_a_first_batch_of_ignored_targets_decides_nothing() -> None:
    loss = SampleLoss(nn.CrossEntropyLoss())
    loss.check(OUTPUT, torch.full_like(TARGET, -100))
    torch.testing.assert_close(loss.per_sample(OUTPUT, TARGET), F.cross_entropy(OUTPUT, TARGET, reduction="none"))


class Doubled(nn.L1Loss):
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return 2 * super().forward(output, target)


def test_which_losses_are_pytorchs_own() -> None:
    own = [nn.L1Loss(), F.l1_loss, functools.partial(F.nll_loss, ignore_index=3), nn.KLDivLoss(reduction="batchmean")]
    others = [Doubled(), lambda o, t: F.l1_loss(o, t), functools.partial(F.l1_loss, OUTPUT), F.softmax, torch.dot]
    assert [is_own(loss) for loss in own] == [True] * 4
    assert [is_own(loss) for loss in others] == [False] * 5
    assert [unreduced(loss) for loss in others] == [None] * 5
    assert [declared_reduction(loss) for loss in own] == ["mean", "mean", "mean", None]
    assert [option(loss, "ignore_index") for loss in own] == [None, None, 3, None]
    assert recognise(functools.partial(F.cross_entropy, ignore_index=3)) == "cross_entropy"


def test_a_subclass_is_taken_sample_by_sample() -> None:
    loss = SampleLoss(Doubled())
    loss.check(OUTPUT, OTHER)
    torch.testing.assert_close(loss.per_sample(OUTPUT, OTHER), 2 * (OUTPUT - OTHER).abs().mean(1))


def test_the_unreduced_module_shares_buffers_and_leaves_the_loss_alone() -> None:
    module = nn.CrossEntropyLoss(weight=WEIGHT.clone())
    loss = unreduced(module)
    module.weight.mul_(2)  # type: ignore[union-attr]
    assert module.reduction == "mean"
    assert loss is not None
    torch.testing.assert_close(loss(OUTPUT, TARGET), 2 * F.cross_entropy(OUTPUT, TARGET, WEIGHT, reduction="none"))


class Averaging(nn.Module):
    """Keeps a running mean of the outputs, which its value depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(K, dtype=torch.float64))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(output - self.center, target)
        self.center = 0.5 * self.center + 0.5 * output.detach().mean(0)
        return loss


def test_running_means_in_a_loss_stand_still() -> None:
    module = Averaging()
    loss = SampleLoss(module)
    loss.check(OUTPUT, TARGET)
    torch.testing.assert_close(loss.per_sample(OUTPUT, TARGET), F.cross_entropy(OUTPUT, TARGET, reduction="none"))
    assert not module.center.any()


OPTIONS: dict[str, Any] = {"statistics_batch_size": (4, 8), "rounds": 2, "progress": False}


def population_loss(model: nn.Module, loader: list[Any], loss_fn: Callable[..., Tensor]) -> float:
    """The loss of all samples as one batch, normalised by the statistics of all."""
    x, y = (torch.cat(column) for column in zip(*loader, strict=True))
    with torch.no_grad():
        return float(loss_fn(model.train()(x), y))


REPORTS: dict[str, tuple[Callable[[], nn.Module], list[Any], Callable[..., Tensor]]] = {
    "weights": (mlp, batches(*data(5)), nn.CrossEntropyLoss(weight=WEIGHT[:3])),
    "ignored": (mlp, batches(*data(5)), functools.partial(F.cross_entropy, ignore_index=1)),
    "ignored pixels": (segmenter, batches(*data(2, 4, 4, target=pixel_labels)), nn.CrossEntropyLoss(ignore_index=0)),
    "weighted pixels": (
        segmenter,
        batches(*data(2, 4, 4, target=pixel_labels)),
        nn.CrossEntropyLoss(weight=WEIGHT[:3]),
    ),
}


def double(model: Callable[[], nn.Module], loader: list[Any]) -> tuple[nn.Module, list[Any]]:
    return seeded(model)().double(), [(x.double(), y) for x, y in loader]


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("forward", [False, True])
def test_a_report_with_a_weighted_mean(name: str, forward: bool) -> None:
    make, loader, loss_fn = REPORTS[name]
    model, loader = double(make, loader)
    options = {"forward": lambda model, batch: (model(batch[0]), batch[1])} if forward else {}
    report = bnlens.report(model, loader, loss_fn, **OPTIONS, **options, hold=not forward)
    expected = population_loss(model, loader, loss_fn)
    assert report.network.population_loss.value == pytest.approx(expected, rel=1e-6)


def test_equal_weights_change_nothing() -> None:
    model, loader = double(mlp, batches(*data(5)))
    plain = bnlens.report(model, loader, F.cross_entropy, **OPTIONS).network
    equal = bnlens.report(model, loader, nn.CrossEntropyLoss(weight=torch.full((3,), 7.0).double()), **OPTIONS).network
    for size in (4, 8):
        assert equal.gaps.measured[size].value == pytest.approx(plain.gaps.measured[size].value, rel=1e-9)
        assert equal.gaps.predicted(size).value == pytest.approx(plain.gaps.predicted(size).value, rel=1e-9)


def _weighted_report(shard: list[Any]) -> Any:
    model, shard = double(mlp, shard)
    return (
        bnlens.report(model, shard, nn.CrossEntropyLoss(weight=WEIGHT[:3], ignore_index=2), **OPTIONS)
        .to_frame()
        .filter(regex="^(?!as_loaded)")
    )


def test_ranks_share_the_denominator(gloo_pool: Any) -> None:
    """One rank's targets are ignored more often than the other's."""
    x, y = data(5)
    loader = batches(x, y.clone().index_fill_(0, torch.arange(15), 2))
    whole, ranks = _weighted_report(loader), gloo_pool.run(_weighted_report, [loader[:1], loader[1:]])
    for frame in ranks:
        torch.testing.assert_close(
            torch.tensor(frame.to_numpy(float)),
            torch.tensor(whole.to_numpy(float)),
            rtol=1e-6,
            atol=1e-9,
            equal_nan=True,
        )
