"""Merged running statistics against those of all data together, in float64."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnlens
from bnlens.errors import DataError, ModelError, UsageError

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def values(count: int, seed: int, *shape: int) -> Tensor:
    """Data whose mean and spread depend on the seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64) * (1 + seed) + 3 * seed


def flat() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)).double()


def maps() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double()


def recalibrated(model: nn.Module, data: Tensor) -> nn.Module:
    bnlens.recalibrate(model, [data], progress=False)
    return model


@pytest.mark.parametrize("counts", [(200, 200, 200), (2, 50, 7), (1000, 2, 3)])
def test_the_union_of_samples(counts: tuple[int, ...]) -> None:
    data = [values(count, seed, 4) for seed, count in enumerate(counts)]
    parts = [recalibrated(flat(), x).state_dict() for x in data]
    merged = bnlens.merge_statistics(parts, counts)
    together = torch.cat(data)
    torch.testing.assert_close(merged["0.running_mean"], together.mean(0), **EXACT)
    torch.testing.assert_close(merged["0.running_var"], together.var(0), **EXACT)


def test_of_the_average_it_differs_by_the_spread_of_the_means() -> None:
    data = [values(200, 0, 4) + 3 * k for k in range(3)]
    parts = [recalibrated(flat(), x).state_dict() for x in data]
    average = torch.stack([part["0.running_var"] for part in parts]).mean(0)
    merged = bnlens.merge_statistics(parts, [200] * 3)["0.running_var"]
    torch.testing.assert_close(merged, torch.cat(data).var(0), **EXACT)
    assert bool((merged > 5 * average).all())


@pytest.mark.parametrize("pixels", [36, {"1": 36}, {"1": 30, "1#2": 6}])
def test_pixels_count(pixels: Any) -> None:
    data = [values(count, seed, 3, 8, 8) for seed, count in ((0, 5), (1, 9))]
    parts = [recalibrated(maps(), x) for x in data]
    hidden = maps()[0](torch.cat(data)).detach()
    merged = bnlens.merge_statistics(parts, [5, 9], pixels=pixels)
    torch.testing.assert_close(merged["1.running_mean"], hidden.mean((0, 2, 3)), **EXACT)
    torch.testing.assert_close(merged["1.running_var"], hidden.var((0, 2, 3)), **EXACT)
    unknown = bnlens.merge_statistics(parts, [5, 9])  # behind a convolution they are taken for many
    torch.testing.assert_close(unknown["1.running_var"], hidden.var((0, 2, 3)), rtol=2 / (14 * 36), atol=0.0)


@pytest.mark.parametrize(
    ("weights", "shares"),
    [(None, (0.5, 0.5)), ([0.25, 0.75], (0.25, 0.75)), ([1.5, 4.5], (0.25, 0.75)), ([0.0, 2.0], (0, 1))],
)
def test_proportions(weights: Any, shares: tuple[float, float]) -> None:
    (m1, v1), (m2, v2) = (torch.rand(2, 5, dtype=torch.float64) + 0.1 for _ in range(2))
    parts = [{"running_mean": m1, "running_var": v1}, {"running_mean": m2, "running_var": v2}]
    p, q = shares
    merged = bnlens.merge_statistics(parts, weights)
    torch.testing.assert_close(merged["running_mean"], p * m1 + q * m2, **EXACT)
    torch.testing.assert_close(merged["running_var"], p * v1 + q * v2 + p * q * (m1 - m2).square(), **EXACT)


def test_merging_in_steps_is_merging_at_once() -> None:
    counts, data = (5, 8, 13), [values(count, seed, 4) for seed, count in ((0, 5), (1, 8), (2, 13))]
    one, two, three = (recalibrated(flat(), x).state_dict() for x in data)
    first = bnlens.merge_statistics([one, two], counts[:2])
    in_steps = bnlens.merge_statistics([first, three], [13, 13])
    at_once = bnlens.merge_statistics([one, two, three], counts)
    for name in ("0.running_mean", "0.running_var"):
        torch.testing.assert_close(in_steps[name], at_once[name], **EXACT)


def test_a_federated_round() -> None:
    """Clients' weights averaged by the user, statistics merged: the model normalises as if it had seen all data."""
    data = [values(40, seed, 4) for seed in range(3)]
    clients = [recalibrated(flat(), x).state_dict() for x in data]
    averaged = {name: torch.stack([state[name].double() for state in clients]).mean(0) for name in clients[0]}
    model = flat()
    model.load_state_dict(averaged | bnlens.merge_statistics(clients, [40] * 3))
    together = torch.cat(data)
    expected = F.batch_norm(together, together.mean(0), together.var(0), model[0].weight, model[0].bias)
    torch.testing.assert_close(model.eval()[0](together), expected, **EXACT)


def test_a_source_blended_with_a_target_domain() -> None:
    source, target = recalibrated(maps(), values(50, 0, 3, 8, 8)), copy.deepcopy(maps())
    recalibrated(target, values(6, 2, 3, 8, 8))
    weights = source[0].weight.clone()
    (m1, v1), (m2, v2) = ((model[1].running_mean.clone(), model[1].running_var.clone()) for model in (source, target))
    found = source.load_state_dict(bnlens.merge_statistics([source, target], [16, 6]), strict=False)
    assert not found.unexpected_keys
    torch.testing.assert_close(source[1].running_mean, (16 * m1 + 6 * m2) / 22, **EXACT)
    spread = (16 * v1 + 6 * v2) / 22 + 16 * 6 / 22**2 * (m1 - m2).square()
    torch.testing.assert_close(source[1].running_var, spread, **EXACT)
    assert torch.equal(source[0].weight, weights)


def test_only_statistics_come_back_in_their_dtype_and_nothing_is_changed() -> None:
    model = nn.Sequential(
        nn.Linear(3, 3), nn.BatchNorm1d(3), nn.LayerNorm(3), nn.InstanceNorm1d(3, track_running_stats=True)
    )
    other = copy.deepcopy(model).double()
    model[1].num_batches_tracked += 7
    states = copy.deepcopy([model.state_dict(), other.state_dict()])
    merged = bnlens.merge_statistics([nn.DataParallel(model), other])
    names = ("running_mean", "running_var", "num_batches_tracked")
    assert list(merged) == [f"{path}.{name}" for path in ("1", "3") for name in names]
    assert merged["1.running_mean"].dtype == torch.float32
    assert merged["1.num_batches_tracked"].dtype == torch.int64
    assert int(merged["1.num_batches_tracked"]) == 7
    for before, part in zip(states, (model, other), strict=True):
        assert all(torch.equal(value, part.state_dict()[name]) for name, value in before.items())


def _merged_over_ranks(counts: list[int]) -> dict[str, Tensor]:
    """Recalibration is over all ranks, so that clients' statistics are set by hand."""
    parts = []
    for count in counts:
        model, x = flat(), values(count, count, 4)
        model[0].running_mean, model[0].running_var = x.mean(0), x.var(0)
        parts.append(model)
    return bnlens.merge_statistics(parts, counts, over_ranks=True)


@pytest.mark.parametrize("counts", [([5, 9], [4]), ([7], []), ([], [2, 3, 8])])
def test_over_ranks(gloo_pool: Any, counts: tuple[list[int], list[int]]) -> None:
    together = torch.cat([values(count, count, 4) for own in counts for count in own])
    for merged in gloo_pool.run(_merged_over_ranks, counts):
        torch.testing.assert_close(merged["0.running_mean"], together.mean(0), **EXACT)
        torch.testing.assert_close(merged["0.running_var"], together.var(0), **EXACT)


def _mistake(weights: list[float]) -> str:
    try:
        bnlens.merge_statistics([flat()], weights, over_ranks=True)
    except UsageError as error:
        return str(error)
    return ""


def test_a_mistake_of_one_rank_is_one_of_all(gloo_pool: Any) -> None:
    assert all("weights has -1 in it" in message for message in gloo_pool.run(_mistake, [[3], [-1]]))
    assert all("some weights are whole numbers" in message for message in gloo_pool.run(_mistake, [[3], [0.5]]))


BN = nn.BatchNorm1d(2)
MISTAKES: list[tuple[str, Any, dict[str, Any], type[Exception]]] = [
    ("parts is of type BatchNorm1d; it must be a list of torch.nn.Modules or dicts", BN, {}, UsageError),
    ("parts is of type OrderedDict; it must be a list", BN.state_dict(), {}, UsageError),
    ("parts is empty", [], {}, UsageError),
    ("parts has 'state.pt' in it; each must be a torch.nn.Module or a dict", [BN, "state.pt"], {}, UsageError),
    ("part 1 has no running statistics", [BN, nn.Linear(2, 2)], {}, ModelError),
    (r"differ in layer '\(model\)'", [BN, nn.Sequential(nn.BatchNorm1d(2))], {}, ModelError),
    ("another number of channels", [BN, nn.BatchNorm1d(3)], {}, ModelError),
    ("2 weights for 1 parts", [BN], {"weights": [1, 2]}, UsageError),
    ("weights has nan in it; each must be a number", [BN], {"weights": [math.nan]}, UsageError),
    ("weights has True in it", [BN], {"weights": [True]}, UsageError),
    ("weights has '3' in it", [BN], {"weights": ["3"]}, UsageError),
    ("add up to 0", [BN, BN], {"weights": [0.0, 0.0]}, UsageError),
    ("add up to 1; give counts of two", [BN], {"weights": [1]}, UsageError),
    ("some weights are whole numbers", [BN, BN], {"weights": [1, 0.5]}, UsageError),
    ("pixels is 0; it must be an integer of at least 1", [BN], {"pixels": 0}, UsageError),
    ("pixels has 4 for 'bn', no layer of the parts", [BN], {"pixels": {"bn": 4}}, UsageError),
    ("pixels leaves out layer ''", [BN], {"pixels": {}}, UsageError),
]


@pytest.mark.parametrize(("words", "parts", "options", "error"), MISTAKES)
def test_mistakes(words: str, parts: Any, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=words):
        bnlens.merge_statistics(parts, **options)


def test_statistics_that_are_not_finite_are_not_merged_in() -> None:
    broken = nn.Sequential(nn.BatchNorm1d(2))
    broken[0].running_var[1] = math.inf
    with pytest.raises(DataError, match="layer '0' in part 1 are not finite"):
        bnlens.merge_statistics([nn.Sequential(nn.BatchNorm1d(2)), broken])
