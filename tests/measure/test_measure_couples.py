"""Losses that couple the samples of a batch: against the model itself in train mode, group by group of every batch."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from measure_cases import batches, data, mlp, seeded, trained
from measure_twin import probing
from torch import Tensor, nn

import bnlens
from bnlens.errors import DataError, UsageError
from bnlens.measure import Estimate, Report
from bnlens.measure._arguments import divisors
from bnlens.measure._notes import result_notes
from bnlens.measure._population import estimate_population
from bnlens.measure._sampling import Groups, Sampler

SAMPLES, BATCH, GROUP = 10, 4, 2  # two batches, and a group that fills none


def tower(width: int = 5) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4), nn.BatchNorm1d(4))


class Towers(nn.Module):
    """Images and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = tower(5), tower(3)


def segmenter() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 1, 1))


def nt_xent(output: Tensor, target: Any = None) -> Tensor:
    """The loss of SimCLR; two views of each sample, (N, 2, D)."""
    z = F.normalize(output.transpose(0, 1).flatten(0, 1), dim=1)
    similar = (z @ z.T / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), -math.inf)
    return F.cross_entropy(similar, torch.arange(len(z)).roll(len(output)))


def dice(output: Tensor, target: Tensor) -> Tensor:
    """Over all pixels of the batch."""
    p = output.sigmoid()
    return 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)


def one_by_one(model: nn.Module, batch: Any) -> tuple[Tensor, None]:
    return torch.stack([model(batch[0][:, 0]), model(batch[0][:, 1])], 1), None


def concatenated(model: nn.Module, batch: Any) -> tuple[Tensor, None]:
    return model(batch[0].transpose(0, 1).flatten(0, 1)).unflatten(0, (2, -1)).transpose(0, 1), None


def of_pairs(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    image, text = (F.normalize(z, dim=1) for z in (model.image(batch[0]), model.text(batch[1])))
    return torch.cat([image, text], 1), batch[0]


def in_batch_negatives(output: Tensor, target: Any = None) -> Tensor:
    """The loss of CLIP; embeddings of both side by side, (N, 2 D)."""
    image, text = output.chunk(2, 1)
    logits, own = image @ text.T, torch.arange(len(output))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def plain(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    return model(batch[0]), batch[1]


def views(size: int) -> list[Tensor]:
    x = data(5, size=size)[0]
    return [torch.stack([x, x + 0.5 * data(5, size=size)[0].roll(1, 0)], 1)]


@dataclass(frozen=True)
class Coupled:
    """A model with a loss that couples samples; ``tensors`` of so many samples, which ``forward`` gets by batch."""

    name: str
    model: Callable[[], nn.Module]
    tensors: Callable[[int], list[Tensor]]
    forward: Callable[[Any, Any], tuple[Tensor, Any]]
    loss: Callable[[Tensor, Any], Tensor]
    samples_of: Any = None

    def fitted(self) -> nn.Module:
        """The model after some steps on all samples of the small pool, so that its gap is not near zero."""
        model, tensors = seeded(self.model)(), self.tensors(SAMPLES)
        optimizer = torch.optim.SGD(model.parameters(), 0.3)
        for _ in range(100):
            optimizer.zero_grad()
            self.loss(*self.forward(model, tensors)).backward()
            optimizer.step()
        return model


COUPLED = [
    Coupled("views one by one", tower, views, one_by_one, nt_xent),
    Coupled("views concatenated", tower, views, concatenated, nt_xent, lambda b: torch.arange(len(b[0])).repeat(2)),
    Coupled(
        "in-batch negatives",
        Towers,
        lambda size: [data(5, size=size)[0], data(3, size=size)[0]],
        of_pairs,
        in_batch_negatives,
    ),
    Coupled(
        "batch Dice",
        segmenter,
        lambda size: [x := data(2, 4, 4, size=size)[0], (x[:, :1] > 0.5).float()],
        plain,
        dice,
    ),
]


@pytest.fixture(params=COUPLED, ids=lambda coupled: coupled.name)
def coupled(request: pytest.FixtureRequest) -> Coupled:
    chosen: Coupled = request.param
    return chosen


def loader(tensors: list[Tensor], size: int = BATCH) -> list[tuple[Tensor, ...]]:
    return batches(*tensors, size=size)


class TrainMode:
    """The model itself, its layers in train mode: each group goes through it alone.

    All samples as one group are the population, so that the outputs of all are those under population statistics.
    """

    def __init__(self, case: Coupled, model: nn.Module, tensors: list[Tensor], active: str | None = None) -> None:
        self.case, self.tensors = case, [tensor.double() for tensor in tensors]
        self.model = copy.deepcopy(model).double().train()
        with torch.no_grad():
            self.population = self._output(torch.arange(len(tensors[0])))

    def _output(self, rows: Tensor) -> Tensor:
        return self.case.forward(self.model, tuple(tensor[rows] for tensor in self.tensors))[0]

    @torch.no_grad()
    def gap(self, rows: Tensor, size: int) -> float:
        """The loss of a batch, each ``size`` of its samples normalised by themselves, less that by the population."""
        target = self.tensors[-1][rows]
        own = self.case.loss(torch.cat([self._output(group) for group in rows.split(size)]), target)
        return float(own.mean() - self.case.loss(self.population[rows], target).mean())


def all_batches_in_pairs() -> Iterator[Tensor]:
    """All batches of four of the samples, each split into two groups of two in all three ways."""
    for a, b, c, d in itertools.combinations(range(SAMPLES), BATCH):
        yield from (torch.tensor(order) for order in ((a, b, c, d), (a, c, b, d), (a, d, b, c)))


@pytest.mark.parametrize("hold", [True, False], ids=["held", "streamed"])
def test_the_gap_is_the_mean_over_all_batches_and_groups(coupled: Coupled, hold: bool) -> None:
    """All 630 batches with their groups are enumerated; the report draws some of them at random."""
    model, tensors = coupled.fitted(), coupled.tensors(SAMPLES)
    by_hand = TrainMode(coupled, model, tensors)
    expected = np.mean([by_hand.gap(rows, GROUP) for rows in all_batches_in_pairs()])
    before = copy.deepcopy(model.state_dict())
    report = bnlens.report(
        model, loader(tensors), coupled.loss, forward=coupled.forward, samples_of=coupled.samples_of, couples=True,
        statistics_batch_size=GROUP, rounds=150, shares=False, hold=hold, progress=False,
    )  # fmt: skip
    found = report.network.gaps.measured[GROUP]
    assert found.stderr < 0.15 * abs(expected)
    assert abs(found.value - expected) < 3 * found.stderr
    assert report.groups == {GROUP: 150 * 2 * 2}
    assert report.samples == SAMPLES
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_batches_of_the_loader_are_as_loaded(coupled: Coupled) -> None:
    """In their order, whole ones alone; and so is the loss under population statistics."""
    model, tensors = coupled.fitted(), coupled.tensors(4 * BATCH + 1)
    by_hand = TrainMode(coupled, model, tensors)
    rows = torch.arange(4 * BATCH).split(BATCH)
    report = bnlens.report(
        model, loader(tensors), coupled.loss, forward=coupled.forward, samples_of=coupled.samples_of, couples=True,
        statistics_batch_size=(GROUP, BATCH), rounds=1, shares=False, progress=False,
    )  # fmt: skip
    for size in (GROUP, BATCH):
        gaps = torch.tensor([by_hand.gap(batch, size) for batch in rows])
        assert report.network.as_loaded[size].value == pytest.approx(float(gaps.mean()), rel=1e-4, abs=1e-5)
        assert report.network.as_loaded[size].stderr == pytest.approx(float(gaps.std() / 2), rel=1e-3)
    losses = torch.stack([coupled.loss(by_hand.population[batch], by_hand.tensors[-1][batch]) for batch in rows])
    assert report.network.population_loss.value == pytest.approx(float(losses.mean()), rel=1e-5)
    assert report.network.population_loss.stderr == pytest.approx(float(losses.std() / 2), rel=1e-3)


def test_a_layer_alone_is_the_only_one_on_group_statistics() -> None:
    """With one layer there is no other, so its gap alone is the network's, batch by batch."""
    case = COUPLED[-1]
    report = bnlens.report(
        case.fitted(), loader(case.tensors(16)), dice, couples=True, statistics_batch_size=GROUP, rounds=3,
        alone=True, progress=False,
    )  # fmt: skip
    (layer,) = report.layers
    assert layer.gaps is not None
    found, network = layer.gaps.measured[GROUP], report.network.gaps.measured[GROUP]
    assert (found.value, found.stderr) == pytest.approx((network.value, network.stderr), rel=1e-4)
    assert layer.share[GROUP].value == pytest.approx(network.value, rel=0.05)


# Shares


def smooth() -> nn.Module:
    layers = [(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Tanh()) for _ in range(2)]
    return nn.Sequential(*itertools.chain(*layers), nn.Linear(5, 4))


def nearest(output: Tensor, target: Any) -> Tensor:
    """In-batch negatives of outputs whose neighbour in the batch is their pair."""
    z = F.normalize(output, dim=1)
    return F.cross_entropy((z @ z.T * 3).fill_diagonal_(-1e9), torch.arange(len(z)) ^ 1)


def dense_shares(model: nn.Sequential, x: Tensor, rows: Tensor, size: int) -> Tensor:
    """Works of both layers along the way of all groups of the batch together, by 50 nodes of Gauss and Legendre."""
    everything, own, statistics, eps = x, x[rows], [], []
    for layer in model:
        if isinstance(layer, nn.BatchNorm1d):
            gamma, beta = layer.weight, layer.bias
            mean, std = everything.mean(0), (everything.var(0, unbiased=False) + layer.eps).sqrt()
            groups = own.unflatten(0, (-1, size))
            means, stds = groups.mean(1), (groups.var(1, unbiased=False) + layer.eps).sqrt()
            statistics.append((mean, std))
            eps.append((gamma * (std / stds - 1), gamma * (mean - means) / stds))
            everything = gamma * (everything - mean) / std + beta
            own = (gamma * (groups - means.unsqueeze(1)) / stds.unsqueeze(1) + beta).flatten(0, 1)
        else:
            everything, own = layer(everything), layer(own)
    eps = [tuple(part.detach().repeat_interleave(size, 0) for part in pair) for pair in eps]

    def work(t: float) -> Tensor:
        y, leaves = x[rows], []
        for layer in model:
            if isinstance(layer, nn.BatchNorm1d):
                mean, std = statistics[len(leaves)]
                scale, shift = eps[len(leaves)]
                leaves.append(torch.tensor(1.0, dtype=torch.float64, requires_grad=True))
                moved = leaves[-1] * t  # its derivative is t times the work
                y = (layer.weight + moved * scale) * (y - mean) / std + layer.bias + moved * shift
            else:
                y = layer(y)
        return torch.stack(torch.autograd.grad(nearest(y, None), leaves)) / t

    points, weights = np.polynomial.legendre.leggauss(50)
    return sum(work(float(t)) * float(weight) for t, weight in zip((1 + points) / 2, weights / 2, strict=True))


def sampled(loss: Any, size: int, *, couples: bool, batch: int = 12, reduction: Any = None) -> tuple[Groups, Tensor]:
    """Groups of the first ``batch`` of 48 samples, with shares by 25 nodes, and gaps without; float64."""
    x, target = data(5)
    model = seeded(smooth)().double()
    with probing(model, [(x.double(), target)], loss, batch, couples=couples, reduction=reduction) as probe:
        sampler = Sampler(probe, estimate_population(probe, tolerance=1e-13)[0], {size: 25})
        first = probe.pool.take(torch.arange(batch))
        zero = sampler.zero(first)
        return sampler.shares(first, size, zero), sampler.gaps(first, size, sampler.losses(first))


@pytest.mark.parametrize("size", [3, 6, 12])
def test_shares_are_those_of_dense_quadrature_and_add_up(size: int) -> None:
    groups, gaps = sampled(nearest, size, couples=True)
    expected = dense_shares(seeded(smooth)().double(), data(5)[0].double(), torch.arange(12), size)
    assert groups.shares is not None
    assert groups.shares.shape == (1, 2)
    torch.testing.assert_close(groups.shares[0], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(groups.shares.sum(1), groups.gaps, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(groups.gaps, gaps)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_loss_that_does_not_couple_has_the_same_gaps_and_shares(reduction: Any) -> None:
    """A batch's value is the mean over its groups; of a sum, so many times that."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target, reduction=reduction)

    apart, gaps = sampled(loss, 3, couples=False, reduction=reduction)
    whole, together = sampled(loss, 3, couples=True)
    assert apart.shares is not None
    factor = 12 if reduction == "sum" else 1
    torch.testing.assert_close(whole.gaps, factor * apart.gaps.mean(0, keepdim=True))
    torch.testing.assert_close(whole.shares, factor * apart.shares.mean(0, keepdim=True))
    torch.testing.assert_close(together, factor * gaps.mean(0, keepdim=True))


def report_of(seed: int = 0, **options: Any) -> Report:
    """Of 64 samples in batches of 16 with groups of 4."""
    arguments: dict[str, Any] = {"couples": True, "statistics_batch_size": 4, "rounds": 6, "progress": False}
    return bnlens.report(seeded(smooth)(), loader(data(5, size=64), 16), nearest, seed=seed, **{**arguments, **options})


def test_shares_and_what_is_left_add_up_to_the_gap_of_a_report() -> None:
    report = report_of()
    total = sum(layer.share[4].value for layer in report.layers) + report.network.unattributed[4].value
    assert total == pytest.approx(report.network.gaps.measured[4].value, abs=1e-12)
    assert all(math.isnan(layer.self_inclusion) and math.isnan(layer.shift) for layer in report.layers)
    assert report.likelihood is None
    assert Report.loads(report.to_json()).to_frame().equals(report.to_frame())


@pytest.mark.slow
def test_standard_errors_are_those_over_seeds() -> None:
    """Taken over groups, of which there are four in a batch, they would be half as large."""

    def estimates(seed: int, **options: Any) -> list[Estimate]:
        report = report_of(seed, **options)
        return [
            report.network.gaps.measured[4],
            report.network.gaps.others[8],
            *(layer.share[4] for layer in report.layers),
        ]

    truth = estimates(1000, rounds=500)
    z = torch.tensor(
        [
            [
                (found.value - true.value) / math.hypot(found.stderr, true.stderr)
                for found, true in zip(found, truth, strict=True)
            ]
            for found in map(estimates, range(60))
        ]
    )
    rms = z.square().mean(0).sqrt()
    assert bool(((rms > 0.75) & (rms < 1.3)).all()), rms


def test_the_gap_of_a_loss_that_does_not_couple_is_the_same_and_predicted_as_well() -> None:
    """A mean over batches of means over their samples, to other errors."""
    model, (whole,) = trained(mlp, 5)
    options: dict[str, Any] = {"statistics_batch_size": (8, 32), "shares": False, "progress": False}
    apart, together = (
        bnlens.report(model, loader(list(whole), 64), F.cross_entropy, couples=couples, **options)
        for couples in (False, True)
    )
    for size in (8, 32):
        one, other = (report.network.gaps.measured[size] for report in (apart, together))
        assert abs(one.value - other.value) < 3 * math.hypot(one.stderr, other.stderr)
        ratio = together.network.gaps.ratio(size)
        assert ratio is not None
        assert abs(ratio.value - 1) < 3 * ratio.stderr
        assert size not in together.predict(size).sizes


# Arguments


@pytest.mark.parametrize(
    ("sizes", "batch", "expected"),
    [
        ((16, 64), 256, (8, 32, 128)),
        ((4,), 12, (2, 6)),
        ((16, 48), 96, (8, 32, 96)),
        ((64,), 64, (32,)),
        ((16, 64), 64, (8, 32)),
        ((17,), 17, ()),
        ((2,), 2, ()),
    ],
)
def test_sizes_for_predictions_divide_the_batch(sizes: tuple[int, ...], batch: int, expected: tuple[int, ...]) -> None:
    assert divisors(sizes, None, batch, 100 * batch) == expected


def test_a_batch_without_other_divisors_is_measured_and_not_predicted() -> None:
    report = bnlens.report(
        seeded(smooth)(), loader(data(5, size=21), 7), F.cross_entropy, couples=True, statistics_batch_size=7, rounds=4,
        progress=False,
    )  # fmt: skip
    assert report.network.gaps.others == {}
    assert report.network.gaps.ratio(7) is None
    assert report.network.gaps.measured[7].stderr > 0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"statistics_batch_size": (4, 5)},
            UsageError,
            "statistics_batch_size 5 does not divide .* batch of 16.* of 2, 4, 8, 16",
        ),
        ({"statistics_batch_size": 32}, UsageError, "statistics_batch_size 32 does not divide"),
        ({"prediction_batch_size": 3}, UsageError, "prediction_batch_size 3 does not divide"),
        ({"max_samples": 31}, DataError, "gave 31 samples, fewer than twice the batch size 16 .* at least 32"),
        ({"first_order": True}, UsageError, "first_order needs a loss of each sample for itself"),
        ({"fisher": True}, UsageError, "fisher needs"),
        ({"logits": True}, UsageError, "logits needs"),
        ({"likelihood": "cross_entropy"}, UsageError, "likelihood needs"),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        report_of(**options)


# Notes and ranks


def test_a_note_says_of_which_batches_the_gaps_are() -> None:
    (note,) = (note for note in report_of().notes if note.kind == "coupled loss")
    assert "whole batches of 16 samples" in note.text


def test_the_loaders_batches_are_compared_as_the_few_that_they_are() -> None:
    """Four batches five standard errors off are no surprise; sixteen groups would be."""
    report = report_of()
    gap = report.network.gaps.measured[4]
    error = 100 * gap.stderr
    network = replace(report.network, as_loaded={4: Estimate(gap.value + 5 * error, error)})
    found = [
        [note.kind for note in result_notes(report.layers, network, {}, None, 4, coupled)].count("loader's batches")
        for coupled in (16, 1)
    ]
    assert found == [0, 1]


def _report(shard: list[Any]) -> Report:
    options: dict[str, Any] = {"alone": True, "rounds": 2, "progress": False, "couples": True}
    return bnlens.report(seeded(mlp)().double(), shard, nearest, statistics_batch_size=(4, 8), **options)


def test_a_report_of_two_ranks_is_that_of_one_process(gloo_pool: Any) -> None:
    x, y = data(5, size=72)
    shards = batches(x.double(), y, size=16)  # and eight samples over
    whole, ranks = _report(shards), gloo_pool.run(_report, [shards[:1], shards[1:]])
    assert ranks[0].to_frame().equals(ranks[1].to_frame())
    torch.testing.assert_close(
        torch.tensor(ranks[0].to_frame().to_numpy(float)), torch.tensor(whole.to_frame().to_numpy(float)),
        rtol=1e-6, atol=1e-9, equal_nan=True,
    )  # fmt: skip


def _refused(shard: list[Any]) -> str:
    try:
        _report(shard)
    except DataError as error:
        return str(error)
    return ""


def test_a_rank_without_a_whole_batch_is_refused_on_all(gloo_pool: Any) -> None:
    shards = batches(*data(5), size=16)
    first, second = gloo_pool.run(_refused, [shards, [tuple(tensor[:8] for tensor in shards[0])]])
    assert first == second
    assert "a rank has 8 samples, fewer than one batch of 16" in first
