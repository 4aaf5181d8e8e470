"""Predictions against dense forms, closed forms and simulation."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from measure_cases import mlp
from measure_twin import probing
from torch import Tensor, nn

import bnlens
from bnlens.measure._control import first_order_by_group, with_control
from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._gradients import SampleGradients, collect_gradients
from bnlens.measure._groups import Perturbation, SecondOrder
from bnlens.measure._laws import fisher_term, layer_law, linear_by_group, network_fisher
from bnlens.measure._population import estimate_population
from bnlens.measure._statistics import SampleStatistics, collect_statistics
from bnlens.theory import Population, gap_law, linear, linear_gap, mean_std, noise_scale

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
    drawn = {name: SampleGradients(random(30, 2, seed=i), random(30, 2, seed=i + 9)) for i, name in enumerate("ab")}
    parts = {name: Perturbation(random(8, 2, seed=i + 3), random(8, 2, seed=i + 5)) for i, name in enumerate("ab")}
    members = torch.arange(24).view(8, 3)
    runs = SecondOrder(torch.zeros(8), members, torch.zeros(8), parts)
    dense = torch.zeros(())
    for j, k in itertools.product(range(30), range(8)):
        dense += sum(drawn[n].beta[j] @ parts[n].shift[k] + drawn[n].gamma[j] @ parts[n].scale[k] for n in "ab") ** 2
    assert network_fisher(runs, drawn).value == pytest.approx(float(dense) / 480, rel=1e-5)
    group = members[2]
    terms = [drawn[n].beta[group] @ parts[n].shift[2] + drawn[n].gamma[group] @ parts[n].scale[2] for n in "ab"]
    assert float(linear_by_group(runs, drawn)[2]) == pytest.approx(float(sum(terms).mean()), rel=1e-5)


def collected(model: nn.Module, x: Tensor, target: Tensor) -> tuple[dict[str, SampleStatistics], dict, dict]:
    with probing(model, [(x, target)], F.cross_entropy if target.dtype == torch.long else F.mse_loss) as probe:
        populations, _ = estimate_population(probe)
        _, statistics = collect_statistics(probe, populations)
        given, drawn = collect_gradients(probe, populations, drawn=torch.Generator().manual_seed(0))
    return statistics, given, drawn


@pytest.mark.parametrize("size", [2, 3, 4])
def test_controls_have_expectation_zero_over_all_groups(size: int) -> None:
    statistics, given, _ = collected(mlp(), random(8, 5), torch.arange(8) % 3)
    members = torch.tensor(list(itertools.combinations(range(8), size)))
    controls = first_order_by_group(members, statistics, given)
    assert controls.shape == (math.comb(8, size), 2)
    assert (controls.mean(0).abs() < 1e-6 * controls.std(0)).all()


def test_control_takes_out_what_it_explains() -> None:
    control = random(400, 2).double()
    control -= control.mean(0)
    noise = 0.01 * random(400, seed=1).double()
    shifted = control + torch.tensor([0.05, 0.0])  # a sample whose controls do not average to their expectation
    values = 3 + shifted @ torch.tensor([2.0, -1.0]).double() + noise
    estimate = with_control(values, shifted)
    assert estimate.value == pytest.approx(3, abs=4 * estimate.stderr)
    assert estimate.stderr == pytest.approx(0.01 / 20, rel=0.1)
    assert mean_estimate(values).value == pytest.approx(3.1, abs=0.01)


def test_few_groups_use_no_control() -> None:
    values = random(9).double()
    assert with_control(values, values.unsqueeze(1)) == mean_estimate(values)


def test_controls_of_a_dead_layer_do_no_harm() -> None:
    values, live = random(100).double(), random(100, seed=1).double()
    with_dead = with_control(values, torch.stack([live, torch.zeros(100)], dim=1))
    alone = with_control(values, live.unsqueeze(1))
    assert with_dead.value == pytest.approx(alone.value, rel=1e-9)
    assert with_dead.stderr == pytest.approx(alone.stderr, rel=0.02)


@pytest.mark.parametrize("shape", ["gaussian", "exponential"])
def test_a_linear_unit_meets_the_own_batch_law(shape: str) -> None:
    """Theory sheet A.2 with averages over the pool; mean_squared_error is twice the sheet's loss."""
    x = random(512, 1) if shape == "gaussian" else -torch.rand(512, 1, generator=torch.Generator().manual_seed(0)).log()
    statistics, given, drawn = collected(unit(), x, teacher(x))
    (name,) = statistics
    law = layer_law(statistics[name], given[name], drawn[name])
    theory = gap_law(linear(CORRELATION), Population(x.squeeze(1).numpy()), gamma=GAMMA, beta=BETA)
    quadratic = theory.two_term + GAMMA**2 * theory.skewness / 2 * theory.H_gb
    assert law.linear == pytest.approx(2 * (theory.coefficient("own") - quadratic), abs=2e-4)
    assert law.fisher is not None
    assert law.two_term is not None
    assert law.fisher.value == pytest.approx(2 * quadratic, abs=4 * law.fisher.stderr)
    assert law.two_term.value == pytest.approx(2 * theory.two_term, abs=4 * law.two_term.stderr)


@pytest.mark.parametrize("size", [3, 8])
def test_a_linear_unit_meets_the_exact_identity(size: int) -> None:
    """gap = gamma R (1 - E S), at any M (theory sheet A.3 d)."""
    x = random(2000, 1)
    report = bnlens.report(unit(), [(x, teacher(x))], F.mse_loss, statistics_batch_size=size, rounds=20)
    shuffles = np.random.default_rng(0).permuted(np.tile(x.numpy().ravel(), (400, 1)), axis=1)
    groups = shuffles[:, : 2000 - 2000 % size].reshape(-1, size)
    inside = float(groups.std(axis=1).mean() / x.std(unbiased=False))
    measured = report.network.gaps.measured[size]
    assert measured.value == pytest.approx(2 * linear_gap(GAMMA, CORRELATION, inside), abs=4 * measured.stderr)
    assert measured.value == pytest.approx(2 * linear_gap(GAMMA, CORRELATION, mean_std(size)), rel=0.05)
    assert measured.stderr < 0.02 * measured.value
    assert report.layers[0].gaps is not None
    assert report.layers[0].gaps.measured[size] == measured


def test_the_exact_second_order_of_a_linear_unit_is_that_of_the_noise() -> None:
    """For squared loss the antithetic term is gamma^2 E[(A x ...)^2] without remainder: it meets the law at large M0."""
    x = random(4000, 1)
    sizes = {"statistics_batch_size": 40, "prediction_batch_size": 80}
    report = bnlens.report(unit(), [(x, teacher(x))], F.mse_loss, rounds=10, **sizes)
    theory = gap_law(linear(CORRELATION), Population(x.squeeze(1).numpy()), gamma=GAMMA, beta=BETA)
    exact = report.network.gaps.predicted(40, "exact", population=4000)
    assert exact is not None
    expected = 2 * theory.coefficient("own") * float(noise_scale(40, 4000))
    assert exact.value == pytest.approx(expected, abs=4 * exact.stderr + 0.02 * expected)


def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A two-layer net fitted for a moment, so that its gap is not near zero."""
    x = random(512, 5)
    target = (x @ random(5, 3, seed=1) + random(512, 3, seed=2)).argmax(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for rows in itertools.chain.from_iterable(torch.randperm(512).split(16) for _ in range(8)):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), target[rows]).backward()
            optimizer.step()
    return model, x, target


def test_prediction_meets_measurement_on_a_trained_net() -> None:
    model, x, target = trained()
    sizes = {"statistics_batch_size": (32, 64), "prediction_batch_size": 48}
    report = bnlens.report(model, [(x, target)], F.cross_entropy, rounds=30, seed=1, **sizes)
    for name, size, gaps in report.gap_rows():
        measured, exact = gaps.measured[size], gaps.predicted(size, population=512)
        assert exact is not None
        difference: Estimate = exact - measured
        assert abs(difference.value) < 4 * difference.stderr, (name, size)
        assert measured.value > 4 * measured.stderr, (name, size)


def test_standard_errors_cover_the_scatter_over_seeds() -> None:
    """The spread of a number over seeds is at most about its stated error, which conditions on the pool."""
    model, x, target = trained()
    pool = [(x[:192], target[:192])]
    reports = [
        bnlens.report(model, pool, F.cross_entropy, statistics_batch_size=8, seed=s) for s in range(0, 2400, 100)
    ]
    for name in ("(network)", "1", "4"):
        for kind in ("measured", "exact", "fisher", "two_term"):
            gaps = [next(g for n, _, g in report.gap_rows() if n == name) for report in reports]
            estimates = [g.measured[8] if kind == "measured" else getattr(g, kind) for g in gaps]
            spread = np.std([e.value for e in estimates], ddof=1)
            stated = np.sqrt(np.mean([e.stderr**2 for e in estimates]))
            # 1.55 is the 0.1% point of the chi distribution of 23 degrees of freedom
            assert 0.3 * stated < spread < 1.55 * stated, (name, kind)
