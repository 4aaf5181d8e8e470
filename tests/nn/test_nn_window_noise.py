"""What the window promises: the variance and the bias of M samples, at fixed weights."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import bnlens
from bnlens.nn import BatchNorm1d, matching_window
from bnlens.nn._statistics import BatchStatistics
from bnlens.nn._window import advance_window, empty_window, window_weight

CHANNELS = 12_000  # independent draws


def steady_window(m: int, M: float) -> torch.Tensor:
    """The window after enough batches of m standard normal samples, one independent stream per channel."""
    generator = torch.Generator().manual_seed(1000 * m + int(min(M, 9999)))
    a = window_weight(m, M)
    batches = math.ceil(7 / a) if a < 1 else 1
    window = empty_window(CHANNELS, dtype=torch.float64)
    for _ in range(batches):
        x = torch.randn(m, CHANNELS, generator=generator)
        window = advance_window(window, BatchStatistics(x.mean(0).double(), x.var(0, correction=0).double(), m), m, a)
    return window


@pytest.mark.parametrize("m", [4, 16, 64])
@pytest.mark.parametrize("M", [64, 256, 1024])
def test_window_has_the_noise_and_the_bias_it_promises(m, M):
    mean, variance, _, concentration = steady_window(m, M)
    std = variance.sqrt()
    assert 1 / float(concentration[0]) == pytest.approx(M, rel=5e-3)
    # For M standard normal samples: Var(mean) = 1 / M, and M times the biased variance is chi-squared with M - 1 degrees.
    half = math.lgamma(M / 2) - math.lgamma((M - 1) / 2)
    expected_std = math.sqrt(2 / M) * math.exp(half)
    spread_std = math.sqrt((M - 1) / M - expected_std**2)
    assert float(mean.var()) * M == pytest.approx(1, rel=0.05)
    assert float(std.var()) / spread_std**2 == pytest.approx(1, rel=0.05)
    assert abs(float(mean.mean())) < 0.1 / math.sqrt(M)
    assert abs(float(std.mean()) - expected_std) < 0.1 * spread_std
    assert abs(float(variance.mean()) - (M - 1) / M) < 0.1 * math.sqrt(2 * (M - 1)) / M


@pytest.mark.parametrize(("m", "worth"), [(4, 128), (16, 128), (64, 192)])
def test_population_window_is_three_batches_or_128_samples(m, worth):
    window = steady_window(m, math.inf)
    assert float(window[0].var()) * worth == pytest.approx(1, rel=0.05)
    assert 1 / float(window[3, 0]) == pytest.approx(worth, rel=5e-3)


def noise_of_network(statistics_batch_size: int, m: int) -> float:
    """Mean squared distance of a network's output in batches of m from its output with population statistics."""
    torch.manual_seed(0)
    net = nn.Sequential()
    for inputs in (20, 32, 32, 32):
        net.extend([nn.Linear(inputs, 32, bias=False), BatchNorm1d(32), nn.ReLU()])
    x = torch.randn(8000, 20)
    bnlens.recalibrate(net, x.split(1000), progress=False)
    with torch.no_grad():
        population = net.eval()(x)
        bnlens.set_statistics_batch_size(net, statistics_batch_size)
        net.train()
        pairs = zip(x.split(m), population.split(m), strict=True)
        distances = [float((net(some) - exact).square().mean()) for some, exact in pairs]
    return float(np.mean(distances[len(distances) // 10 :]))  # the windows have filled by then


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:batches of 4 samples")
def test_a_network_is_as_noisy_as_batch_normalization_if_its_windows_are_wide_enough():
    """In each layer a window over M has the noise of M samples, but the whole network has more than BN over M."""
    M, m = 32, 4
    batch_normalization = noise_of_network(M, M)
    assert noise_of_network(M, m) > 1.4 * batch_normalization
    assert noise_of_network(matching_window(M, m), m) == pytest.approx(batch_normalization, rel=0.2)


@pytest.mark.parametrize("M", [2, 16, 64, 1024])
def test_a_matching_window_is_over_more_samples_the_fewer_are_at_hand(M):
    windows = [matching_window(M, m) for m in range(1, M + 2)]
    assert windows == sorted(windows, reverse=True)
    assert windows[-2:] == [M, M]
    assert M < windows[0] <= 2.5 * M


def test_an_average_of_batch_variances_would_be_too_low():
    """Why the second moment is averaged: over batches of four, a mean of variances is a quarter too low."""
    m, M = 4, 64
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(m, CHANNELS, generator=generator)
    spread = math.sqrt(2 * (M - 1)) / M
    assert abs(float(x.var(0, correction=0).mean()) - (M - 1) / M) > spread
    assert abs(float(steady_window(m, M)[1].mean()) - (M - 1) / M) < 0.1 * spread
