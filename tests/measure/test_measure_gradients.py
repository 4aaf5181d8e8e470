"""Population statistics, per-sample gradients and noise against a twin with BN written out, sample by sample."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from measure_cases import Case
from measure_twin import Twin, double, probing
from torch import nn

from bnlens.errors import DataError
from bnlens.measure._collect import COLUMNS, CallNoise, collect
from bnlens.measure._nodes import node, standardise
from bnlens.measure._population import estimate_population

CONSTANT_LABELS = [(torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(40).long())]


def test_population_is_that_of_the_full_batch(case: Case) -> None:
    model = case.model().double()
    with probing(model, double(case.batches()), case.loss) as probe:
        populations, passes = estimate_population(probe, tolerance=1e-12)
        twin = Twin(model, probe.pool.take(torch.arange(len(probe.pool))).data, case.loss)
    assert tuple(populations) == case.calls == tuple(twin.statistics)
    assert passes <= len(populations) + 2
    for name, (mean, std) in twin.statistics.items():
        torch.testing.assert_close(populations[name].mean, mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(populations[name].sigma, std, rtol=1e-9, atol=1e-9)


def test_gradients_and_losses_are_those_of_single_samples(case: Case) -> None:
    model = case.model()
    with probing(model, case.batches(), case.loss) as probe:
        populations, _ = estimate_population(probe)
        losses = collect(probe, populations, seed=0).losses
        everything = probe.pool.take(torch.arange(len(probe.pool)))
        found = node(probe, everything, populations)
        twin = Twin(model, everything.data, case.loss)
    assert tuple(found.given) == case.calls
    assert found.drawn == {}
    torch.testing.assert_close(found.losses, losses, rtol=0, atol=2e-5)
    for sample in range(0, len(probe.pool), 5):
        loss = twin.loss(sample)
        assert float(losses[sample]) == pytest.approx(loss.item(), abs=2e-5)
        for name, (gamma, beta) in twin.affine.items():
            of_gamma, of_beta = torch.autograd.grad(loss, (gamma, beta), retain_graph=True)
            torch.testing.assert_close(found.given[name].gamma[sample].double(), of_gamma, rtol=1e-3, atol=2e-5)
            torch.testing.assert_close(found.given[name].beta[sample].double(), of_beta, rtol=1e-3, atol=2e-5)


def test_gradients_at_moved_parameters_are_those_of_single_samples(case: Case) -> None:
    """Each sample is moved by an amount of its own."""
    model = case.model().double()
    with probing(model, double(case.batches()), case.loss) as probe:
        populations, _ = estimate_population(probe, tolerance=1e-12)
        everything = probe.pool.take(torch.arange(len(probe.pool)))
        generator = torch.Generator().manual_seed(0)
        moved = {
            name: (0.3 * torch.randn(2, len(probe.pool), len(p.mean), generator=generator).double()).unbind()
            for name, p in populations.items()
        }
        found = node(probe, everything, populations, move=lambda name, h, gamma: moved[name])
        twin = Twin(model, everything.data, case.loss)
    for sample in range(0, len(probe.pool), 12):
        shifts, scales = ({name: pair[i][sample] for name, pair in moved.items()} for i in (0, 1))
        with twin.shifted(scales, shifts):
            loss = twin.loss(sample)
            assert float(found.losses[sample]) == pytest.approx(loss.item(), abs=1e-10)
            for name, pair in twin.affine.items():
                of_gamma, of_beta = torch.autograd.grad(loss, pair, retain_graph=True)
                torch.testing.assert_close(found.given[name].gamma[sample], of_gamma, rtol=1e-8, atol=1e-10)
                torch.testing.assert_close(found.given[name].beta[sample], of_beta, rtol=1e-8, atol=1e-10)


def test_noise_and_sums_are_those_of_the_standardised_maps() -> None:
    """Sums over batches of 16 of 40 samples against all of them at once."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(40, 3, 4, 5, generator=generator, dtype=torch.float64).exp()
    model = nn.Sequential(nn.BatchNorm2d(3, eps=0.5).double(), nn.Flatten())
    nn.init.uniform_(model[0].weight, 0.5, 1.5, generator=generator)
    with probing(model, [(h, torch.zeros(40, dtype=torch.long))], F.cross_entropy) as probe:
        populations, _ = estimate_population(probe)
        sums = collect(probe, populations, seed=0).calls["0"]
        given = node(probe, probe.pool.take(torch.arange(40)), populations).given["0"].stacked.detach()
    gamma = model[0].weight.detach()
    x = (h - h.mean((0, 2, 3), keepdim=True)) / (h.var((0, 2, 3), unbiased=False, keepdim=True) + 0.5).sqrt()
    noise = CallNoise.of(standardise(h, populations["0"]), populations["0"], gamma)
    square = x.square().mean((0, 2, 3))
    a, q = x.mean((2, 3)), (x.square().mean((2, 3)) - square) / 2
    torch.testing.assert_close(noise.mean, a)
    torch.testing.assert_close(noise.half_square, q)
    torch.testing.assert_close(noise.moved, torch.cat([-gamma * a, -gamma * q], 1))
    expected = torch.stack([(a * a).sum(0), (q * q).sum(0), (a * q).sum(0), *given.sum(0).chunk(2)])
    torch.testing.assert_close(sums.channels[:5], expected)
    means = dict(zip(COLUMNS, sums.samples.compute().mean, strict=True))
    wide = x.square().square().mean((0, 2, 3))
    per_sample = {
        "self_inclusion": (given * noise.moved).sum(1).mean(),
        "pixel_mean": square.sum(),
        "mean": a.square().mean(0).sum(),
        "pixel_std": (wide - square.square()).sum() / 4,
        "std": q.square().mean(0).sum(),
        "kurtosis": (wide / square.square()).mean() - 3,
    }
    for name, value in per_sample.items():
        torch.testing.assert_close(means[name], value)
    assert (sums.pixels, sums.reached, sums.samples.compute().count) == (20, True, 40)


def test_tensors_outside_the_model_get_no_gradient() -> None:
    factor = nn.Parameter(torch.ones(()))
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    with probing(model, CONSTANT_LABELS, lambda o, t: factor * F.cross_entropy(o, t)) as probe:
        populations, _ = estimate_population(probe)
        given = node(probe, probe.pool.take(torch.arange(40)), populations).given
    assert given["1"].beta.abs().max() > 0.1
    assert factor.grad is None


def test_a_deep_plain_net_settles_layer_by_layer() -> None:
    """Sixty layers without shortcuts multiply every error; statistics that do not fit yet would overflow."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()) for _ in range(60)]
        model = nn.Sequential(*itertools.chain(*blocks)).double()  # rounding errors grow in such a net as well
        x = torch.randn(64, 8, dtype=torch.float64)
    with probing(model, [(x, torch.zeros(64, dtype=torch.long))], F.cross_entropy) as probe:
        populations, passes = estimate_population(probe)
    assert passes <= 63
    h = x
    for name, layer in model.named_children():
        if isinstance(layer, nn.BatchNorm1d):
            torch.testing.assert_close(populations[name].mean, h.mean(0), rtol=1e-6, atol=1e-6)
            h = (h - h.mean(0)) / (h.var(0, unbiased=False) + layer.eps).sqrt()
        else:
            h = layer(h).detach()


def test_a_layer_that_is_not_finite_in_the_first_pass_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False))
    with probing(model, CONSTANT_LABELS, F.cross_entropy) as probe:
        model[0].bias[0] = float("inf")
        with pytest.raises(DataError, match="input of layer '1' is not finite"):
            estimate_population(probe)
