"""Shares: against dense quadrature with the twin's own gradients, their sum, and the quadrature that makes them."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from measure_cases import Case, data, mlp, plain, seeded
from measure_twin import GROUP, Bench, bench
from torch import Tensor, nn

import bnlens
from bnlens.measure._quadrature import Residual, enough_nodes, lobatto


def dense(b: Bench, groups: range, size: int = GROUP, nodes: int = 50) -> Tensor:
    """Shares of groups by Gauss-Legendre quadrature, which has no node in common with Lobatto's."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    found = []
    for group in groups:
        rows, eps = b.members(group, size), b.recorded(group, size)
        steps = zip((1 + points) / 2, weights / 2, strict=True)
        found.append(torch.stack([b.twin.work(rows, eps, float(t)) * float(weight) for t, weight in steps]).sum(0))
    return torch.stack(found)


def smooth(blocks: int = 2) -> nn.Module:
    layers = [(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Tanh()) for _ in range(blocks)]
    return nn.Sequential(*itertools.chain(*layers), nn.Linear(5, 3))


def test_shares_are_the_weighted_sum_over_the_nodes(case: Case) -> None:
    """To rounding, group by group, with gradients of the twin at the same points."""
    with bench(case.model(), case.batches(), case.loss, nodes=4) as b:
        found = b.sampler.shares(b.batch, GROUP, b.zero).shares
        assert found is not None
        for group in (0, 5):
            rows, eps = b.members(group), b.recorded(group)
            expected = sum(weight * b.twin.work(rows, eps, t) for t, weight in lobatto(4))
            torch.testing.assert_close(found[group], expected, rtol=1e-8, atol=1e-11)


def test_shares_are_those_of_dense_quadrature(case: Case) -> None:
    """Kinks within the path leave a part of the shares to seven nodes: no more than what is not attributed shows."""
    with bench(case.model(), case.batches(), case.loss, nodes=7) as b:
        groups = b.sampler.shares(b.batch, GROUP, b.zero)
        expected = dense(b, range(2), nodes=100)
    assert groups.shares is not None
    scale = float(expected.norm())
    left = float((groups.gaps - groups.shares.sum(1))[:2].norm())
    assert float((groups.shares[:2] - expected).norm()) < 1.2 * left + 0.01 * scale
    assert float((groups.gaps[:2] - expected.sum(1)).norm()) < 0.02 * scale


def test_over_all_groups_of_a_tiny_pool_shares_add_up_to_the_gap() -> None:
    """All 20 groups of three of six samples: expectations without an error; the controls' is known beforehand."""
    x, y = data(5, size=6)
    rows = torch.tensor(list(itertools.combinations(range(6), 3))).flatten()
    with bench(seeded(smooth)(), [(x, y)], F.cross_entropy, nodes=7, size=3, rows=rows) as b:
        groups = b.sampler.shares(b.batch, 3, b.zero)
        expected = dense(b, range(20), 3)
    assert groups.shares is not None
    torch.testing.assert_close(groups.shares.mean(0), expected.mean(0), rtol=1e-3, atol=0)
    assert float(groups.shares.sum(1).mean()) == pytest.approx(float(groups.gaps.mean()), rel=1e-3)


def test_smooth_nets_meet_the_identity_group_by_group() -> None:
    with bench(seeded(smooth)(), plain(), F.cross_entropy, nodes=7) as b:
        groups = b.sampler.shares(b.batch, GROUP, b.zero)
        torch.testing.assert_close(groups.shares[:3], dense(b, range(3)), rtol=0, atol=1e-6)
    assert groups.shares is not None
    torch.testing.assert_close(groups.shares.sum(1), groups.gaps, rtol=0, atol=1e-6)


class Overshoot(nn.Module):
    """The first BN layer takes the noise of a group out twice; the second puts it back once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.BatchNorm1d(4, eps=0.0) for _ in range(2))
        self.head = nn.Linear(4, 3)
        nn.init.eye_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(2 * self.first(x) - x))


def test_a_share_is_negative_where_a_layer_takes_out_what_another_put_in() -> None:
    x = data(4, size=512)[0]
    x, model = (x - x.mean(0)) / x.std(0, unbiased=False), Overshoot()
    target = model.head(x).detach()  # no gradient at population statistics, so that the gap is the square of the noise
    report = bnlens.report(model, [(x, target)], F.mse_loss, statistics_batch_size=32, rounds=4)
    gap, (first, second) = report.network.gaps.measured[32], (layer.share[32] for layer in report.layers)
    assert first.value == pytest.approx(2 * gap.value, rel=0.25)  # orders of M = 32 beyond the first
    assert second.value == pytest.approx(-gap.value, rel=0.25)
    assert "negative share takes out" in report.to_html()


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_shares_and_what_is_left_add_up_to_the_gap(size: int, rounds: int) -> None:
    """Exactly, with 3 groups as with 120: few have no control, some have one, many have several."""
    model = seeded(mlp)()
    report = bnlens.report(
        model, plain(), F.cross_entropy, statistics_batch_size=size, prediction_batch_size=3, rounds=rounds
    )
    total = sum(layer.share[size].value for layer in report.layers) + report.network.unattributed[size].value
    assert total == pytest.approx(report.network.gaps.measured[size].value, abs=1e-12)


# Quadrature


@pytest.mark.parametrize("nodes", range(3, 8))
def test_nodes_are_exact_up_to_their_degree_and_not_beyond(nodes: int) -> None:
    t, weights = np.array(lobatto(nodes)).T
    assert (t[0], t[-1]) == (0, 1)
    for degree in range(2 * nodes - 2):
        assert weights @ t**degree == pytest.approx(1 / (degree + 1), abs=1e-13)
    assert abs(weights @ t ** (2 * nodes - 2) - 1 / (2 * nodes - 1)) > 1e-8


@pytest.mark.parametrize(("blocks", "steepness", "most"), [(1, 1.0, 3), (2, 4.0, 7)])
def test_nodes_are_added_where_they_are_needed(blocks: int, steepness: float, most: int) -> None:
    with bench(seeded(lambda: smooth(blocks))(), plain(), lambda o, t: F.cross_entropy(steepness * o, t)) as b:
        b.sampler.choose_nodes([(b.batch, b.zero)], GROUP)
        groups = b.sampler.shares(b.batch, GROUP, b.zero)
    assert groups.shares is not None
    assert (b.sampler.nodes[GROUP] > 3) == (most > 3)
    assert b.sampler.nodes[GROUP] <= most
    assert float((groups.gaps - groups.shares.sum(1)).norm()) < 0.02 * float(groups.gaps.norm())


@pytest.mark.parametrize(
    ("residuals", "nodes"),
    [
        ([0.01], 3),
        ([0.5, 0.01], 5),
        ([0.5, 0.45], 3),  # two more do not help, as next to kinks
        ([0.5, 0.3, 0.29], 5),
        ([0.9, 0.6, 0.4], 7),  # and no more
        ([0.0], 3),
    ],
)
def test_nodes_are_added_as_long_as_they_help(residuals: list[float], nodes: int) -> None:
    tried = dict(zip((3, 5, 7), residuals, strict=False))
    assert enough_nodes(lambda count: Residual(tried[count], mean=tried[count])) == nodes


def test_a_residual_of_either_sign_needs_no_more_nodes() -> None:
    """Gaps of 1 to 2 and residuals of 9%: alternating, they average out; of one sign they are a bias."""
    gaps = np.linspace(1, 2, 24)
    signs = np.resize([1.0, -1.0], 24)
    found = []
    for left in (0.09 * gaps * signs, 0.09 * gaps, 0.015 * gaps, 0.2 * gaps * signs):
        found.append(Residual.of(24, left.sum(), (left**2).sum(), gaps.sum(), (gaps**2).sum()))
    ratio, weights = found[0], gaps.mean()
    assert ratio.mean == pytest.approx((0.09 * gaps * signs).mean() / weights)
    assert ratio.stderr == pytest.approx((0.09 * gaps * signs).std(ddof=1) / 24**0.5 / weights)
    assert [residual.is_small for residual in found] == [True, False, True, False]
