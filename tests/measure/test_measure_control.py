"""Estimates over groups against simulations whose truth is known."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from measure_cases import conv, data, initialised, mlp, seeded
from measure_twin import bench, probing
from torch import Tensor

from bnlens.measure._collect import collect
from bnlens.measure._control import _few, joined, split, with_control
from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._population import estimate_population
from bnlens.measure._sampling import Groups
from bnlens.measure._stream import StreamedPool
from bnlens.measure._tally import Tally, widening
from bnlens.theory import noise_scale

TRIALS = 1000


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_controls_have_their_expectation_over_all_groups(size: int) -> None:
    """f(M, P) E_j[g_j . v_j], which is what a tally subtracts."""
    rows = torch.tensor(list(itertools.combinations(range(8), size))).flatten()
    with bench(seeded(mlp)(), [data(5, size=8)], F.cross_entropy, rows=rows) as b:
        controls = b.zero.controls(size)
        everything = b.sampler.zero(b.sampler.probe.pool.take(torch.arange(8)))
    assert controls.shape == (math.comb(8, size), 2)
    own = everything.controls(1).mean(0) * float(noise_scale(size, 8))
    assert ((controls.mean(0) - own).abs() < 1e-9 * controls.std(0)).all()


@pytest.mark.parametrize("shape", [(5,), (2, 5, 4)], ids=str)
def test_what_is_kept_of_the_samples_is_what_a_pass_over_a_batch_finds(shape: tuple[int, ...]) -> None:
    model = seeded(mlp)() if len(shape) == 1 else initialised(conv(2), *shape)
    with bench(model, [data(*shape, size=24)], F.cross_entropy, rows=torch.tensor([7, 0, 23, 4, 11, 2])) as b:
        collected = collect(b.sampler.probe, b.sampler.populations, seed=0)
        assert collected.kept is not None
        recalled = replace(b.sampler, losses_of_all=collected.losses, kept=collected.kept).zero(b.batch)
    torch.testing.assert_close(recalled.result.losses, b.zero.result.losses)
    torch.testing.assert_close(recalled.controls(3), b.zero.controls(3))
    for name, found in b.zero.result.given.items():
        torch.testing.assert_close(recalled.result.given[name].stacked, found.stacked)


@pytest.mark.parametrize("loss", ["couples", "differs", "is read again", "is large"])
def test_nothing_is_kept_of_samples_where_it_would_not_hold_or_fit(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(5, size=48)
    with probing(seeded(mlp)(), list(zip(x.split(12), y.split(12), strict=True)), F.cross_entropy, 12) as probe:
        populations, _ = estimate_population(probe)
        assert collect(probe, populations, seed=0).kept is not None
        if loss == "couples":
            probe.loss.couples = True
        elif loss == "differs":
            probe.stochastic = True
        elif loss == "is read again":
            probe.pool = StreamedPool.from_loader(list(zip(x.split(12), y.split(12), strict=True)), 48)
        else:
            monkeypatch.setattr("bnlens.measure._collect._LIMIT", 1000)
        assert collect(probe, populations, seed=0).kept is None


def test_control_takes_out_what_it_explains() -> None:
    control = random(400, 2)
    control -= control.mean(0)
    noise = 0.01 * random(400, seed=1)
    shifted = control + torch.tensor([0.05, 0.0])  # a sample whose controls do not average to their expectation
    values = 3 + shifted @ torch.tensor([2.0, -1.0]).double() + noise
    estimate = with_control(values, shifted)
    assert estimate.value == pytest.approx(3, abs=4 * estimate.stderr)
    assert estimate.stderr == pytest.approx(0.01 / 20, rel=0.1)
    assert mean_estimate(values).value == pytest.approx(3.1, abs=0.01)


def test_few_groups_use_no_control() -> None:
    values = random(9)
    assert with_control(values, values.unsqueeze(1)) == mean_estimate(values)
    assert split(values.unsqueeze(1), values, values.unsqueeze(1), mean_estimate(values)) == [mean_estimate(values)]


def test_controls_of_a_dead_layer_do_no_harm() -> None:
    values, live = random(100), random(100, seed=1)
    with_dead = with_control(values, torch.stack([live, torch.zeros(100)], dim=1))
    alone = with_control(values, live.unsqueeze(1))
    assert with_dead.value == pytest.approx(alone.value, rel=1e-9)
    assert with_dead.stderr == pytest.approx(alone.stderr, rel=0.02)


def test_many_controls_are_reduced_to_those_that_vary_most() -> None:
    controls = random(30, 5) * torch.tensor([1.0, 4.0, 2.0, 5.0, 3.0])
    few = _few(controls)
    torch.testing.assert_close(few, torch.stack([controls[:, 3], controls[:, 1], controls[:, [4, 2, 0]].sum(1)], 1))
    torch.testing.assert_close(_few(controls[:15]), controls[:15].sum(1, keepdim=True))
    assert _few(controls, spare=1).shape == (30, 2)
    assert _few(random(60, 5)).shape == (60, 5)


def test_gaps_that_curve_with_their_controls_are_unbiased() -> None:
    """The mean over trials is 1, but for its own error; slopes of the groups themselves are off by six of these."""
    found = []
    for trial in range(TRIALS):
        noise = random(50, 5, seed=trial)
        control = (noise[:, :4].square() - 1).sum(1, keepdim=True)  # skewed, of mean 0 and variance 8
        values = 1 + 0.5 * control[:, 0] + 0.05 * (control[:, 0].square() - 8) + 0.5 * noise[:, 4]
        found.append(with_control(values, control).value)
    means = torch.tensor(found)
    assert abs(float(means.mean()) - 1) < 3 * float(means.std()) / math.sqrt(TRIALS)


@pytest.mark.parametrize(("size", "samples"), [(8, 16), (8, 24), (8, 32), (8, 60), (8, 256)])
def test_errors_know_that_groups_of_one_shuffle_are_not_independent(size: int, samples: int) -> None:
    """Of what is quadratic in the means of groups, 64 to 100 of them in all; two halves of the samples have one gap."""
    values, scatter, stated = random(samples, seed=5), [], []
    values = values - values.mean()
    generator = torch.Generator().manual_seed(0)
    for _ in range(TRIALS):
        tally = Tally(torch.zeros(0), widening(size, samples))
        for number in range(-(-64 * size // samples)):
            rows = torch.randperm(samples, generator=generator)[: samples - samples % size]
            gaps = values[rows].view(-1, size).mean(1).square()
            tally.add(Groups(gaps, torch.zeros(len(gaps), 0)), (number, 0))
        scatter.append(tally.gap().value)
        stated.append(tally.gap().stderr ** 2)
    assert math.sqrt(torch.tensor(stated).mean()) == pytest.approx(float(torch.tensor(scatter).std()), rel=0.1)


def phases(trial: int, full: int, light: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Parts of means (1, 3), values that are their sum, controls that explain most, and values without controls."""
    noise, control = random(full + light, 2, seed=2 * trial), random(full + light, 2, seed=2 * trial + 1)
    parts = torch.tensor([1.0, 3.0]) + control @ torch.tensor([[1.0, 0.5], [-0.5, 1.0]]).double() + 0.5 * noise
    return parts[:full], parts[:full].sum(1), control[:full], parts[full:].sum(1)


@pytest.mark.parametrize(("full", "light"), [(12, 0), (40, 0), (40, 60), (40, 2000)])
def test_estimates_over_two_phases_are_unbiased_with_honest_errors(full: int, light: int) -> None:
    """z has mean 0 and deviation 1 over trials, but for the tails of Student's t where groups are few."""
    z = []
    for trial in range(TRIALS):
        parts, values, controls, more = phases(trial, full, light)
        gap = joined(values, controls, more)
        shares = split(parts, values, controls, gap)
        assert sum(share.value for share in shares) == pytest.approx(gap.value, abs=1e-9)
        z.append([(e.value - true) / e.stderr for e, true in zip((gap, *shares), (4, 1, 3), strict=True)])
    scores = torch.tensor(z)
    freedom = full - 4  # constant, controls and the values
    assert (scores.mean(0).abs() < 4 / math.sqrt(TRIALS)).all()
    torch.testing.assert_close(scores.var(0), torch.full((3,), freedom / (freedom - 2)), rtol=0.25, atol=0)


def test_further_groups_make_estimates_more_precise() -> None:
    parts, values, controls, more = phases(0, 40, 2000)
    alone, together = joined(values, controls, more[:0]), joined(values, controls, more)
    assert alone == with_control(values, controls)
    assert together.stderr < 0.7 * alone.stderr
    for before, after in zip(
        split(parts, values, controls, alone), split(parts, values, controls, together), strict=True
    ):
        assert after.stderr < before.stderr


def test_values_without_spread_are_their_own_mean() -> None:
    still, controls = torch.full((40,), 2.0, dtype=torch.float64), random(40, 1)
    assert joined(still, controls, still).value == pytest.approx(2)
    (share,) = split(still.unsqueeze(1), still, controls, Estimate(2.0, 0.0))
    assert share.value == pytest.approx(2)
