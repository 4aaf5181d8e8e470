"""The gap of batches as the loader gives them, against torch in train mode; and the note where they are no random samples."""

import copy
import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import batches, mlp, seeded, trained
from measure_twin import probing
from torch import Tensor, nn

import bnlens
from bnlens.measure import Estimate, Report
from bnlens.measure._estimate import mean_estimate
from bnlens.measure._notes import differs
from bnlens.measure._population import estimate_population
from bnlens.measure._sampling import Sampler

SIZES, FEATURES, CLASSES = (4, 8), 5, 3


def one_layer() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES)).double()


def by_class(size: int = 96) -> tuple[Tensor, Tensor]:
    """Samples sorted by class, each class of its own mean."""
    generator = torch.Generator().manual_seed(0)
    y = (torch.arange(size) * CLASSES) // size
    return (torch.randn(size, FEATURES, generator=generator) + 2 * y.unsqueeze(1)).double(), y


def report(loader: Any, model: nn.Module | None = None, **options: Any) -> Report:
    chosen: dict[str, Any] = {"statistics_batch_size": SIZES, "rounds": 4, "progress": False, **options}
    return bnlens.report(seeded(one_layer)() if model is None else model, loader, F.cross_entropy, **chosen)


def in_train_mode(shards: list[tuple[Tensor, Tensor]], size: int) -> list[float]:
    """Gaps of consecutive groups of each shard: one BN layer in train mode on them, less in train mode on all samples."""
    model = copy.deepcopy(seeded(one_layer)()).train()
    x, y = (torch.cat(tensors) for tensors in zip(*shards, strict=True))
    gaps = []
    with torch.no_grad():
        losses = F.cross_entropy(
            model(x), y, reduction="none"
        )  # the statistics of one layer are those of the population
        start = 0
        for a, b in shards:
            for first in range(0, len(a) - size + 1, size):
                own = slice(first, first + size)
                gap = F.cross_entropy(model(a[own]), b[own]) - losses[start + first : start + first + size].mean()
                gaps.append(gap.item())
            start += len(a)
    return gaps


def assert_is_mean(found: Estimate, gaps: list[float]) -> None:
    each = torch.tensor(gaps, dtype=torch.float64)
    assert found.value == pytest.approx(float(each.mean()), abs=1e-9)
    assert found.stderr == pytest.approx(float(each.std()) / math.sqrt(len(gaps)), abs=1e-9)


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("batch", [7, 20, 96])
def test_groups_are_consecutive_samples_whatever_the_loader_cuts(hold: bool, batch: int) -> None:
    x, y = by_class(92)  # which leaves four samples over at M = 8
    found = report(batches(x, y, size=batch), hold=hold).network.as_loaded
    assert tuple(found) == SIZES
    for size in SIZES:
        assert_is_mean(found[size], in_train_mode([(x, y)], size))


def test_each_rank_has_groups_of_its_own(gloo_pool: Any) -> None:
    x, y = by_class()
    shards = [(x[:42], y[:42]), (x[42:], y[42:])]  # a group of either size would lie across the ranks
    for run in (_held, _streamed):
        for found in gloo_pool.run(run, [batches(*shard) for shard in shards]):
            for size in SIZES:
                assert_is_mean(found.network.as_loaded[size], in_train_mode(shards, size))


def _held(loader: Any) -> Report:
    return report(loader)


def _streamed(loader: Any) -> Report:
    return report(loader, hold=False)


def test_fewer_than_four_groups_say_nothing() -> None:
    x, y = by_class(31)
    found = report(batches(x, y), prediction_batch_size=6)
    assert tuple(found.network.as_loaded) == (4,)
    assert math.isnan(found.to_frame().loc[("(network)", 8), "as_loaded"])


def test_a_report_that_is_late_leaves_it_out() -> None:
    found = report(batches(*by_class()), rounds=None, precision=1e-6, max_seconds=1e-6)
    assert found.stopped == "seconds"
    assert found.network.as_loaded == {}


def test_the_frame_and_json_have_it() -> None:
    found = report(batches(*by_class()))
    row = found.to_frame().loc[("(network)", 8)]
    assert (row["as_loaded"], row["as_loaded_stderr"]) == tuple(vars(found.network.as_loaded[8]).values())
    assert Report.loads(found.to_json()).network.as_loaded == found.network.as_loaded
    earlier = json.loads(found.to_json())
    del earlier["network"]["as_loaded"]
    assert Report.loads(json.dumps(earlier)).network.as_loaded == {}


def fitted(x: Tensor, y: Tensor) -> nn.Module:
    model = seeded(one_layer)()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for rows in torch.randint(len(x), (200, 32), generator=torch.Generator().manual_seed(0)):
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model


def loader_notes(found: Report) -> list[str]:
    return [note.text for note in found.notes if note.kind == "loader's batches"]


def test_a_loader_that_sorts_is_told() -> None:
    x, y = by_class(384)
    model = fitted(x, y)
    told = report(batches(x, y), model)
    (text,), found = loader_notes(told), told.network
    for words in (
        "no random samples of the data",
        "groups of 4 consecutive samples",
        "shuffle the loader",
        "as_loaded",
    ):
        assert words in text
    assert str(found.as_loaded[4]) in text
    assert str(found.gaps.measured[4]) in text
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert loader_notes(report(batches(x[order], y[order]), model)) == []


@pytest.mark.parametrize("groups", [4, 8, 32])
def test_shuffled_loaders_are_rarely_accused(groups: int) -> None:
    """Of 1,000 orders at random, on a net whose gap differs much from group to group."""
    model, [(x, y)] = trained(mlp, FEATURES)
    size, orders = 8, 1000
    generator = torch.Generator().manual_seed(groups)
    with probing(model, [(x, y)], F.cross_entropy, 512) as probe:
        sampler = Sampler(probe, estimate_population(probe)[0])
        losses = sampler.losses(probe.pool.take(torch.arange(512)))
        gaps = []
        for _ in range(-(-orders * groups // 64)):
            drawn = torch.randperm(512, generator=generator)
            gaps.append(sampler.gaps(probe.pool.take(drawn), size, losses[drawn]))
    each = torch.cat(gaps)
    few = [mean_estimate(part) for part in each[: orders * groups].view(orders, groups)]
    many = mean_estimate(each)
    accused = sum(differs(found, many, groups) for found in few)
    assert accused <= 12  # of 2.7 expected, were gaps Gaussian
    assert differs(Estimate(few[0].value + 10 * few[0].stderr, few[0].stderr), many, groups)
