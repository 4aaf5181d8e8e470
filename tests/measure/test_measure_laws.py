"""Predictions against dense forms, closed forms and simulation."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from measure_cases import Case, mlp, trained
from measure_twin import bench, probing
from torch import Tensor, nn

import bnlens
from bnlens.measure._collect import Collected, Kept, collect
from bnlens.measure._estimate import Estimate
from bnlens.measure._groups import Perturbation
from bnlens.measure._laws import describe, fisher_term, layer_fisher, layer_law, network_fisher
from bnlens.measure._population import estimate_population
from bnlens.theory import Population, gap_law, linear, linear_gap, mean_std, noise_scale
from bnlens.theory.zeta import zeta

GAMMA, BETA, CORRELATION = 0.7, 0.2, 0.8


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit() -> nn.Module:
    """One BN layer as the whole model, at GAMMA and BETA."""
    model = nn.BatchNorm1d(1, eps=1e-12)
    nn.init.constant_(model.weight, GAMMA)
    nn.init.constant_(model.bias, BETA)
    return model


def teacher(x: Tensor) -> Tensor:
    return CORRELATION * (x - x.mean()) / x.std(unbiased=False)


def test_fisher_term_is_half_the_trace() -> None:
    gradients, noise = random(50, 6).double(), random(70, 6, seed=1).double()
    by_gradient, by_noise = fisher_term([gradients], [noise])
    expected = float(torch.trace(gradients.T @ gradients / 50 @ (noise.T @ noise / 70)) / 2)
    assert float(by_gradient.mean()) == pytest.approx(expected, rel=1e-12)
    assert float(by_noise.mean()) == pytest.approx(expected, rel=1e-12)
    assert float(by_gradient[3]) == pytest.approx(float((noise @ gradients[3]).square().mean() / 2), rel=1e-12)
    assert float(by_noise[4]) == pytest.approx(float((gradients @ noise[4]).square().mean() / 2), rel=1e-12)


def test_fisher_term_is_not_rounded_by_autocast() -> None:
    gradients, noise = random(50, 6), random(70, 6, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = fisher_term([gradients], [noise])
    assert torch.equal(rounded, fisher_term([gradients], [noise])[0])


def test_network_fisher_is_one_joint_form_over_layers() -> None:
    drawn = {name: random(30, 4, seed=i) for i, name in enumerate("ab")}
    parts = {name: Perturbation(random(8, 2, seed=i + 3), random(8, 2, seed=i + 5)) for i, name in enumerate("ab")}
    dense = torch.zeros(())
    for j, k in itertools.product(range(30), range(8)):
        dense += sum(drawn[n][j] @ torch.cat([parts[n].shift[k], parts[n].scale[k]]) for n in "ab") ** 2
    assert network_fisher(Kept(drawn, drawn=drawn), parts).value == pytest.approx(float(dense) / 480, rel=1e-5)
    assert layer_fisher(Kept(drawn, drawn=drawn), "a") == layer_fisher(
        Kept({"a": drawn["a"]}, drawn={"a": drawn["a"]}), "a"
    )


def collected(model: nn.Module, loader: Any, loss: Any) -> Collected:
    with probing(model, loader, loss) as probe:
        populations, _ = estimate_population(probe)
        return collect(probe, populations, seed=0, fisher=True)


def test_streamed_terms_are_those_of_all_samples(case: Case) -> None:
    """Terms and descriptions from sums over batches of 16, against what all samples give at once."""
    with bench(case.model(), case.batches(), case.loss) as b:
        data = collect(b.sampler.probe, b.sampler.populations, seed=0, fisher=True)
        likelihood = b.sampler.probe.loss.likelihood is not None
    count = len(data.losses)
    for name, sums in data.calls.items():
        v, g = b.zero.moved[name], b.zero.result.given[name]
        law, gamma = layer_law(sums, likelihood), sums.gamma
        a, q = (-v / gamma.repeat(2)).chunk(2, dim=1)
        assert law.self_inclusion == pytest.approx(float((g.stacked * v).sum(1).mean()), rel=1e-9)
        shift = gamma * (g.beta.mean(0) * (a * q).mean(0) + g.gamma.mean(0) * (3 * q * q + a * a).mean(0) / 2)
        assert law.shift == pytest.approx(float(shift.sum()), rel=1e-9, abs=1e-15)
        assert (law.two_term is None) == (not likelihood)
        if law.two_term is not None:
            assert data.kept is not None
            squares = data.kept.drawn[name].double().square().mean(0).chunk(2)
            dense = zeta(*v.square().mean(0).chunk(2), *squares)
            assert law.two_term.value == pytest.approx(float(dense.sum()), rel=1e-5)
            assert 0 < law.two_term.stderr < law.two_term.value
        described = describe(b.sampler.probe.model.get_submodule(name.partition("#")[0]), sums)
        if sums.pixels > 1:
            square = b.sampler.populations[name].square
            ratios = square / a.square().mean(0).sum()
            assert described.effective_samples_mean.value == pytest.approx(float(ratios.sum()), rel=1e-9)
            influence = (square + 2 * q).sum(1) - ratios.sum() * a.square().sum(1)
            error = influence.std() / a.square().sum(1).mean() / count**0.5
            assert described.effective_samples_mean.stderr == pytest.approx(float(error), rel=1e-6)


def test_the_error_of_the_two_term_value_is_that_of_its_samples() -> None:
    """The weights that stream are those of the samples so far: close to the last ones after a few batches."""
    model, loader = trained(mlp, 5)
    found = collected(model, loader, F.cross_entropy)
    assert found.kept is not None
    for name, sums in found.calls.items():
        weights = found.kept.moved[name].double().square().mean(0).chunk(2)
        dense = zeta(*weights, *found.kept.drawn[name].double().square().chunk(2, dim=1)).sum(1)
        two_term = layer_law(sums, likelihood=True).two_term
        assert two_term is not None
        assert two_term.stderr == pytest.approx(float(dense.std()) / len(dense) ** 0.5, rel=0.1)


@pytest.mark.parametrize("shape", ["gaussian", "exponential"])
def test_a_linear_unit_meets_the_own_batch_law(shape: str) -> None:
    """Theory sheet A.2 with averages over the pool; mean_squared_error is twice the sheet's loss."""
    x = random(512, 1) if shape == "gaussian" else -torch.rand(512, 1, generator=torch.Generator().manual_seed(0)).log()
    found = collected(unit(), [(x, teacher(x))], F.mse_loss)
    ((name, sums),) = found.calls.items()
    law = layer_law(sums, likelihood=True)
    assert found.kept is not None
    fisher = layer_fisher(found.kept, name)
    theory = gap_law(linear(CORRELATION), Population(x.squeeze(1).numpy()), gamma=GAMMA, beta=BETA)
    quadratic = theory.two_term + GAMMA**2 * theory.skewness / 2 * theory.H_gb
    assert law.linear == pytest.approx(2 * (theory.coefficient("own") - quadratic), abs=2e-4)
    assert law.two_term is not None
    assert fisher.value == pytest.approx(2 * quadratic, abs=4 * fisher.stderr)
    assert law.two_term.value == pytest.approx(2 * theory.two_term, abs=4 * law.two_term.stderr)


@pytest.mark.parametrize("size", [3, 8])
def test_a_linear_unit_meets_the_exact_identity(size: int) -> None:
    """gap = gamma R (1 - E S), at any M (theory sheet A.3 d)."""
    x = random(2000, 1)
    report = bnlens.report(unit(), [(x, teacher(x))], F.mse_loss, statistics_batch_size=size, rounds=20, alone=True)
    shuffles = np.random.default_rng(0).permuted(np.tile(x.numpy().ravel(), (400, 1)), axis=1)
    groups = shuffles[:, : 2000 - 2000 % size].reshape(-1, size)
    inside = float(groups.std(axis=1).mean() / x.std(unbiased=False))
    measured = report.network.gaps.measured[size]
    assert measured.value == pytest.approx(2 * linear_gap(GAMMA, CORRELATION, inside), abs=4 * measured.stderr)
    assert measured.value == pytest.approx(2 * linear_gap(GAMMA, CORRELATION, mean_std(size)), rel=0.05)
    assert measured.stderr < 0.02 * measured.value
    assert report.layers[0].gaps is not None
    assert report.layers[0].gaps.measured[size].value == pytest.approx(measured.value, abs=1e-7)
    # of one layer the share is the gap but for what the quadrature leaves
    assert report.layers[0].share[size].value == pytest.approx(measured.value, rel=0.01)


def test_the_exact_second_order_of_a_linear_unit_is_that_of_the_noise() -> None:
    """For squared loss the antithetic term is gamma^2 E[(A x ...)^2] without remainder: it meets the law at large M0."""
    x = random(4000, 1)
    sizes = {"statistics_batch_size": 40, "prediction_batch_size": 80, "first_order": True}
    report = bnlens.report(unit(), [(x, teacher(x))], F.mse_loss, rounds=10, **sizes)
    theory = gap_law(linear(CORRELATION), Population(x.squeeze(1).numpy()), gamma=GAMMA, beta=BETA)
    exact = report.network.gaps.predicted(40, "first_order", population=4000)
    assert exact is not None
    expected = 2 * theory.coefficient("own") * float(noise_scale(40, 4000))
    assert exact.value == pytest.approx(expected, abs=4 * exact.stderr + 0.02 * expected)


def test_prediction_meets_measurement_on_a_trained_net() -> None:
    model, loader = trained(mlp, 5)
    sizes = {"statistics_batch_size": (32, 64), "prediction_batch_size": 48, "first_order": True}
    report = bnlens.report(model, loader, F.cross_entropy, rounds=30, seed=1, alone=True, **sizes)
    for name, size, gaps in report.gap_rows():
        measured, exact = gaps.measured[size], gaps.predicted(size, "first_order", population=512)
        assert exact is not None
        difference: Estimate = exact - measured
        assert abs(difference.value) < 4 * difference.stderr, (name, size)
        assert measured.value > 4 * measured.stderr, (name, size)


def test_standard_errors_cover_the_scatter_over_seeds() -> None:
    """The spread of a number over seeds is at most about its stated error, which conditions on the pool."""
    model, ((x, target),) = trained(mlp, 5)
    options = {"statistics_batch_size": 8, "rounds": 4, "alone": True, "fisher": True}
    reports = [bnlens.report(model, [(x[:192], target[:192])], F.cross_entropy, seed=s, **options) for s in range(24)]
    for name in ("(network)", "1", "4"):
        for kind in ("measured", "first_order", "fisher", "two_term"):
            gaps = [next(g for n, _, g in report.gap_rows() if n == name) for report in reports]
            estimates = [g.measured[8] if kind == "measured" else g.predicted(8, kind, population=192) for g in gaps]
            spread = np.std([e.value for e in estimates], ddof=1)
            stated = np.sqrt(np.mean([e.stderr**2 for e in estimates]))
            # 1.55 is the 0.1% point of the chi distribution of 23 degrees of freedom
            assert 0.3 * stated < spread < 1.55 * stated, (name, kind)
