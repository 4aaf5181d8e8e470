"""Predictions by a curve through measured gaps, and from the noise of the outputs."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from measure_cases import batches, mlp, plain, seeded, trained
from measure_twin import bench
from torch import nn

import bnlens
from bnlens.errors import UsageError
from bnlens.measure import Estimate, Gaps, Report
from bnlens.measure._arguments import default_others
from bnlens.measure._logits import OutputNoise
from bnlens.measure._notes import _prediction_notes
from bnlens.measure._population import population_handler
from bnlens.measure._sampling import Groups
from bnlens.measure._tally import Tally, covariance
from bnlens.theory import noise_scale

P = 1024
LADDER = (8, 16, 32, 64, 128)


def f(size: int, population: int | None = P) -> float:
    return float(noise_scale(size, population))


def gaps(law: Any, *, error: float = 0.0, sizes: tuple[int, ...] = LADDER, **options: Any) -> Gaps:
    """Gaps on a law G(f), of which 16 and 64 were asked for."""
    every = {size: Estimate(law(f(size)), error * abs(law(f(size)))) for size in sizes}
    asked = {size: value for size, value in every.items() if size in (16, 64)}
    others = {size: value for size, value in every.items() if size not in asked}
    return Gaps(asked, None, None, None, 32, P, others, **options)


@pytest.mark.parametrize("size", [2, 4, 12, 16, 24, 64, 100, 128, 300])
@pytest.mark.parametrize("population", [P, None, 5000])
def test_a_law_of_second_order_is_met_at_every_size(size: int, population: int | None) -> None:
    point = gaps(lambda f: 1.5 * f - 2.0 * f**2).curve(size, population=population)
    assert point is not None
    target = f(size, population)
    assert point.gap.value == pytest.approx(1.5 * target - 2.0 * target**2, rel=1e-9)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [(8, (16, 32)), (16, (8, 32)), (64, (32, 128)), (128, (32, 64)), (12, (8, 16)), (2, (8, 16)), (500, (64, 128))],
)
def test_a_prediction_never_uses_groups_of_its_own_size(size: int, sizes: tuple[int, int]) -> None:
    known = gaps(lambda f: f + f**2, error=0.05)
    point = known.curve(size, population=P)
    assert point is not None
    assert point.sizes == sizes
    spoilt = dataclasses.replace(
        known,
        measured={s: Estimate(99.0, 9.0) if s == size else v for s, v in known.measured.items()},
        others={s: Estimate(99.0, 9.0) if s == size else v for s, v in known.others.items()},
    )
    assert spoilt.curve(size, population=P) == point


def test_the_error_is_that_of_measurements_and_of_the_curve() -> None:
    """On a flat law the curve has none, on a bent one what the order next to kinks makes of it."""
    flat = gaps(lambda f: 2 * f, error=0.05).curve(16, population=P)
    assert flat is not None
    low, high = f(8), f(32)
    part = (f(16) - low) / (high - low)
    first, second = (1 - part) * f(16) / low, part * f(16) / high  # weights of the gaps at 8 and 32
    expected = math.hypot(first * 0.05 * 2 * low, second * 0.05 * 2 * high)
    assert flat.gap.stderr == pytest.approx(expected, rel=1e-9)
    bent = gaps(lambda f: f + 10 * f**1.5).curve(16, population=P)
    assert bent is not None
    root = (math.sqrt(f(16)) - math.sqrt(low)) / (math.sqrt(high) - math.sqrt(low))
    y = [1 + 10 * math.sqrt(low), 1 + 10 * math.sqrt(high)]
    difference = f(16) * ((y[0] + root * (y[1] - y[0])) - (y[0] + part * (y[1] - y[0])))
    assert bent.gap.stderr == pytest.approx(abs(difference), rel=1e-9)
    assert abs(bent.gap.value - (f(16) + 10 * f(16) ** 1.5)) == pytest.approx(abs(difference), rel=1e-9)


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.9])
def test_the_covariance_of_measurements_counts(correlation: float) -> None:
    known = gaps(lambda f: 2 * f, error=0.05)
    errors = [0.1 * f(size) for size in LADDER]
    matrix = [[(1.0 if i == j else correlation) * a * b for j, b in enumerate(errors)] for i, a in enumerate(errors)]
    point = dataclasses.replace(known, covariance=tuple(map(tuple, matrix))).curve(256, population=P)
    assert point is not None
    assert point.sizes == (64, 128)
    part = (f(256) - f(128)) / (f(64) - f(128))
    first, second = 0.1 * part * f(256), 0.1 * (1 - part) * f(256)
    expected = first**2 + second**2 + 2 * correlation * first * second
    third = 0.0  # of a flat law: leaving out the second size moves nothing
    assert point.gap.stderr == pytest.approx(math.sqrt(expected + third), rel=1e-6)


def test_beyond_the_sizes_errors_grow() -> None:
    known = gaps(lambda f: f + 5 * f**2 + 30 * f**3, error=0.01)
    errors = [found.gap.stderr / found.gap.value for size in (32, 4, 2) if (found := known.curve(size)) is not None]
    assert errors == sorted(errors)
    assert errors[-1] > 5 * errors[0]


def test_one_other_size_is_scaled_with_a_wide_error() -> None:
    point = gaps(lambda f: f, error=0.05, sizes=(16, 64)).curve(16, population=P)
    assert point is not None
    assert point.sizes == (64,)
    assert point.gap.value == pytest.approx(f(16))
    octaves = math.log2(f(16) / f(64))
    assert point.gap.stderr == pytest.approx(f(16) * math.hypot(0.05, 0.2 * octaves))
    assert not point.has_law
    assert gaps(lambda f: f, sizes=(16,)).curve(16) is None
    end = gaps(lambda f: f, sizes=(16,)).curve(P, population=P)
    assert end is not None
    assert (end.gap.value, end.gap.stderr) == (0.0, 0.0)


def test_heavy_tails_leave_half_the_change_open() -> None:
    """A gap that changes its sign with M, as a MobileNetV3 has it: G / f falls from 6.7 at 8 to -5.8 at 128."""
    seen = {8: 6.67, 16: 5.74, 32: 2.82, 64: -0.93, 128: -5.76}
    values = {size: Estimate(value * f(size), 0.01) for size, value in seen.items()}
    others = {size: values[size] for size in (8, 32, 128)}
    light = Gaps({16: values[16], 64: values[64]}, None, None, None, 32, P, others)
    heavy = dataclasses.replace(light, kurtosis=92.0)
    assert light.has_law(16)
    assert not heavy.has_law(16)
    assert heavy.ratio(16) is None
    point = heavy.curve(16, population=P)
    assert point is not None
    assert abs(point.gap.value - values[16].value) < 2 * point.gap.stderr
    flat = gaps(lambda f: 2 * f, error=0.02, kurtosis=92.0)
    assert flat.has_law(16)
    assert flat.has_law(64)


# Covariance


def test_the_covariance_of_two_sizes_is_that_over_reports() -> None:
    model, loader = trained(mlp, 5)
    reports = [
        bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=(4, 8), rounds=6, seed=seed, shares=False)
        for seed in range(60)
    ]
    found = np.array([[r.network.gaps.measured[size].value for size in (4, 8)] for r in reports])
    wanted = np.corrcoef(found.T)[0, 1]
    sizes = sorted({**reports[0].network.gaps.measured, **reports[0].network.gaps.others})
    i, j = sizes.index(4), sizes.index(8)
    matrices = [np.array(r.network.gaps.covariance) for r in reports]
    stated = np.mean([m[i, j] / math.sqrt(m[i, i] * m[j, j]) for m in matrices])
    assert wanted > 0.2
    assert stated == pytest.approx(wanted, abs=0.2)  # 60 reports know a correlation to about 0.1
    for report, matrix in zip(reports, matrices, strict=True):
        assert matrix[i, i] == pytest.approx(report.network.gaps.measured[4].stderr ** 2)
        assert np.allclose(matrix, matrix.T)


def test_groups_of_different_batches_are_not_correlated() -> None:
    generator = torch.Generator().manual_seed(0)
    tallies = {size: Tally(torch.zeros(1, dtype=torch.float64)) for size in (4, 8)}
    for number, size in itertools.product(range(40), tallies):
        values, controls = torch.randn(2, 32 // size, generator=generator, dtype=torch.float64)
        tallies[size].add(Groups(values, controls.unsqueeze(1)), (size, number))
    matrix = covariance(tallies)
    assert matrix[0][1] == matrix[1][0] == 0
    assert matrix[0][0] == pytest.approx(tallies[4].gap().stderr ** 2)


# From the outputs


def overfitted() -> tuple[nn.Module, Any]:
    """Fitted until its loss is near zero."""
    model, loader = trained(mlp, 5)
    (x, target), optimizer = loader[0], torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(400):
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimizer.step()
    return model, loader


def test_the_outputs_noise_gives_the_measured_gap_at_its_own_size() -> None:
    model, loader = overfitted()
    report = bnlens.report(
        model, loader, F.cross_entropy, statistics_batch_size=(8, 32), logits=True, rounds=8, shares=False
    )
    found = report.network.gaps
    assert found.source == 16
    plain_mean = found.logits[16]
    assert plain_mean.value == pytest.approx(found.others[16].value, abs=4 * found.others[16].stderr)
    assert set(found.logits) == {2, 4, 8, 16, 32, 64, 128}
    for size in (8, 32):
        predicted = report.predict(size, kind="logits", population=report.samples)
        assert predicted.sizes == (16,)
        assert predicted.network == found.logits[size]
    assert found.logits[32].value == pytest.approx(
        found.measured[32].value, abs=3 * found.measured[32].stderr + 0.15 * found.measured[32].value
    )


def test_rescaled_noise_against_its_definition() -> None:
    """Each sample and round in a loop, with a sample that one round has no group for."""
    model, loader = seeded(mlp)(), plain()
    with bench(model, loader, F.cross_entropy) as b:
        probe, populations = b.sampler.probe, b.sampler.populations
        samples, rounds = len(probe.pool), 5
        noise = OutputNoise(4, samples)
        generator = torch.Generator().manual_seed(0)
        (batch,) = probe.pool.in_order(samples)
        with torch.no_grad():
            z0, target = probe.outputs(batch, population_handler(populations))
        drawn = z0 + torch.randn(rounds, *z0.shape, generator=generator)
        for number in range(rounds):
            rows = torch.randperm(samples, generator=generator)[: samples - (number == 2)]
            noise.add(number, rows, drawn[number, rows])
        found = noise.gaps(probe, populations, (2, 4, 16))
    for size, estimate in found.items():
        scale = f(size, samples) / f(4, samples)
        total = 0.0
        for j in range(samples):
            own = [z for z in (noise.rounds[number][j] for number in range(rounds)) if bool(z.isfinite().all())]
            mean = torch.stack(own).mean(0)
            spread = math.sqrt(max(0.0, (scale - scale**2 / len(own)) * len(own) / (len(own) - 1)))
            label = target[j : j + 1]
            each = [F.cross_entropy((z0[j] + scale * (mean - z0[j]) + spread * (z - mean))[None], label) for z in own]
            total += float(torch.stack(each).mean() - F.cross_entropy(z0[j : j + 1], label))
        assert estimate.value == pytest.approx(total / samples, rel=1e-4)
        assert estimate.stderr > 0


def test_outputs_of_samples_that_fill_no_group_are_left_out() -> None:
    model, ((x, target),) = overfitted()
    loader = batches(x[:330], target[:330], size=32)
    report = bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=(8, 32), logits=True, rounds=1)
    found = report.network.gaps
    assert found.logits[16].value == pytest.approx(found.others[16].value, abs=4 * found.others[16].stderr)


def test_one_output_per_sample() -> None:
    model, ((x, target),) = overfitted()
    model, binary = nn.Sequential(model, nn.Linear(3, 1), nn.Flatten(0)), (target == 0).float()
    options: dict[str, Any] = {"statistics_batch_size": (8, 32), "logits": True, "rounds": 4}
    report = bnlens.report(model, [(x, binary)], F.binary_cross_entropy_with_logits, **options)
    found = report.network.gaps
    assert found.logits[16].value == pytest.approx(found.others[16].value, abs=4 * found.others[16].stderr)


def test_outputs_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnlens.measure._logits._LIMIT", 3 * 10 * 4 * 5)
    noise = OutputNoise(4, 10)
    for number in range(9):
        if noise.wants(number):
            noise.add(number, torch.arange(10), torch.zeros(10, 5))
    assert list(noise.rounds) == [0, 1, 2]


def test_outputs_need_the_samples_held() -> None:
    with pytest.raises(UsageError, match=r"logits=True needs the samples held \(hold=True\)"):
        bnlens.report(seeded(mlp)(), plain(), F.cross_entropy, statistics_batch_size=4, logits=True, hold=False)


# Reports


def report_on(**options: Any) -> Report:
    return bnlens.report(*overfitted(), F.cross_entropy, **({"statistics_batch_size": (8, 32), "rounds": 6} | options))


@pytest.mark.parametrize(
    ("sizes", "samples", "others"),
    [
        ((16, 64), 4096, (8, 32, 128)),
        ((16, 64), 511, (8, 32)),
        ((16,), 1024, (8, 32)),
        ((2,), 1024, (4, 8)),
        ((3,), 24, (2, 6)),
        ((8, 16, 32), 1024, (4, 64)),
        ((64,), 256, (32, 128)),
    ],
)
def test_the_sizes_of_predictions_are_around_and_between(
    sizes: tuple[int, ...], samples: int, others: tuple[int, ...]
) -> None:
    assert default_others(sizes, samples) == others


def test_predictions_at_several_sizes() -> None:
    report = report_on()
    predictions = report.predict([4, 16, 24])
    assert [point.statistics_batch_size for point in predictions] == [4, 16, 24]
    assert predictions[2] == report.predict(24)
    frame = predictions.to_frame()
    assert frame.loc[("(network)", 16), "predicted"] == predictions[1].network.value
    assert frame.loc[("(network)", 16), "sizes"] == "8, 32"
    assert list(frame.columns) == ["predicted", "predicted_stderr", "has_law", "sizes"]
    traces = {trace.name for trace in predictions.plot().data}
    assert {"measured", "for predictions", "predicted", "predicted, fresh samples"} <= traces
    with pytest.raises(UsageError, match="statistics_batch_size is empty"):
        report.predict([])


def test_the_prediction_meets_the_measurement_where_first_order_fails() -> None:
    """A net whose loss is near zero: its gap falls much faster than 1/M."""
    report = report_on(rounds=12, first_order=True)
    gaps = report.network.gaps
    for size in (8, 32):
        ratio = gaps.ratio(size)
        assert ratio is not None
        assert abs(ratio.value - 1) < max(0.15, 3 * ratio.stderr)
        law = gaps.predicted(size, "first_order", population=gaps.population)
        assert law is not None
    assert any(note.kind == "beyond first order" for note in report.notes)


def test_no_law_is_said_with_its_cause() -> None:
    report = report_on()
    wild = dataclasses.replace(
        report.network.gaps, kurtosis=50.0, others={4: Estimate(9.0, 0.1), 16: Estimate(-1.0, 0.1)}
    )
    layers = (dataclasses.replace(report.layers[0], kurtosis=Estimate(50.0, 2.0)), *report.layers[1:])
    wild = dataclasses.replace(wild, covariance=())
    notes = list(_prediction_notes(layers, wild))
    assert [note.kind for note in notes] == ["no law"]  # one for both sizes
    assert "at M = 8" in notes[0].text
    assert "at M = 32" in notes[0].text
    assert f"heavy tails: layer {report.layers[0].name!r} has an excess kurtosis of 50.0 ± 2.0" in notes[0].text
    assert "measure at the M you need" in notes[0].text
