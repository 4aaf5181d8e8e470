"""Population statistics and per-sample gradients against a twin with BN written out, sample by sample."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from measure_cases import Case
from measure_twin import Twin, double, probing
from torch import nn

from bnlens.errors import DataError
from bnlens.measure._gradients import collect_gradients
from bnlens.measure._population import estimate_population
from bnlens.measure._statistics import collect_statistics

CONSTANT_LABELS = [(torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(40).long())]


def test_population_is_that_of_the_full_batch(case: Case) -> None:
    model = case.model().double()
    with probing(model, double(case.batches()), case.loss) as probe:
        populations, passes = estimate_population(probe, tolerance=1e-12)
        twin = Twin(model, probe.pool.take(torch.arange(len(probe.pool))), case.loss)
    assert tuple(populations) == case.calls == tuple(twin.statistics)
    assert passes <= len(populations) + 2
    for name, (mean, std) in twin.statistics.items():
        torch.testing.assert_close(populations[name].mean, mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(populations[name].sigma, std, rtol=1e-9, atol=1e-9)


def test_gradients_and_losses_are_those_of_single_samples(case: Case) -> None:
    model = case.model()
    with probing(model, case.batches(), case.loss) as probe:
        populations, _ = estimate_population(probe)
        losses, _ = collect_statistics(probe, populations)
        given, drawn = collect_gradients(probe, populations)
        twin = Twin(model, probe.pool.take(torch.arange(len(probe.pool))), case.loss)
    assert tuple(given) == tuple(reversed(case.calls))  # in the order in which gradients arrive
    assert drawn == {}
    for sample in range(0, len(probe.pool), 5):
        loss = twin.loss(sample)
        assert float(losses[sample]) == pytest.approx(loss.item(), abs=2e-5)
        for name, (gamma, beta) in twin.affine.items():
            of_gamma, of_beta = torch.autograd.grad(loss, (gamma, beta), retain_graph=True)
            torch.testing.assert_close(given[name].gamma[sample].double(), of_gamma, rtol=1e-3, atol=2e-5)
            torch.testing.assert_close(given[name].beta[sample].double(), of_beta, rtol=1e-3, atol=2e-5)


def test_statistics_are_those_of_the_standardised_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(40, 3, 4, 5, generator=generator, dtype=torch.float64).exp()
    model = nn.Sequential(nn.BatchNorm2d(3, eps=0.5).double(), nn.Flatten())
    with probing(model, [(h, torch.zeros(40, dtype=torch.long))], F.cross_entropy) as probe:
        populations, _ = estimate_population(probe)
        statistics = collect_statistics(probe, populations)[1]["0"]
    x = (h - h.mean((0, 2, 3), keepdim=True)) / (h.var((0, 2, 3), unbiased=False, keepdim=True) + 0.5).sqrt()
    square = x.square().mean((0, 2, 3))
    torch.testing.assert_close(statistics.mean.double(), x.mean((2, 3)), rtol=1e-5, atol=1e-6)
    half = (x.square().mean((2, 3)) - square) / 2
    torch.testing.assert_close(statistics.half_square.double(), half, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(statistics.square, square, rtol=1e-6, atol=0)
    torch.testing.assert_close(statistics.cube, (x**3).mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(statistics.fourth, (x**4).mean((0, 2, 3)), rtol=1e-6, atol=0)
    assert statistics.pixels == 20


def test_tensors_outside_the_model_get_no_gradient() -> None:
    factor = nn.Parameter(torch.ones(()))
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    with probing(model, CONSTANT_LABELS, lambda o, t: factor * F.cross_entropy(o, t)) as probe:
        populations, _ = estimate_population(probe)
        given, _ = collect_gradients(probe, populations)
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
