"""The averages over normalised batches of a ReLU unit against drawn batches and finer quadrature."""

import numpy as np
import pytest

from bnlens.theory.dynamics import BatchNorm
from bnlens.theory.dynamics._relu_batches import relu_batch_table

CASES = [(0.5, 0.7, 0.25), (0.98, 0.9, 0.0), (-0.6, 0.3, 0.1), (1.0, 1.0, 0.0), (-1.0, 0.5, 0.0)]


def drawn(size, R, gamma, noise, *, batches, seed):
    """Means over drawn batches of the three averages, by the backward pass as it stands, with standard errors."""
    generator = np.random.default_rng(seed)
    z, other, label = generator.standard_normal((3, batches, size))
    u = R * z + np.sqrt(1 - R**2) * other
    S = z.std(axis=1, keepdims=True)
    zh = (z - z.mean(axis=1, keepdims=True)) / S
    delta = (np.maximum(u, 0) + np.sqrt(noise) * label - np.maximum(gamma * zh, 0)) * (zh > 0)
    explained = zh * (delta * zh).mean(axis=1, keepdims=True)
    phi = delta - delta.mean(axis=1, keepdims=True) - explained
    rows = [(delta * zh).mean(axis=1), (phi * u / S).mean(axis=1), (phi**2 / S**2).mean(axis=1) / size]
    return [(row.mean(), row.std() / np.sqrt(batches)) for row in rows]


@pytest.mark.parametrize("size", [6, 8, 64])
@pytest.mark.parametrize(("R", "gamma", "noise"), CASES)
def test_agrees_with_drawn_batches(size, R, gamma, noise):
    system = BatchNorm(unit="relu", learning_rate=1.0, batch_size=size, label_noise=noise)
    found = drawn(size, R, gamma, noise, batches=200_000 // size, seed=size)
    for value, (mean, stderr) in zip(system.averages(gamma, R), found, strict=True):
        assert abs(value - mean) < 4 * stderr + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("size", [4, 256])
def test_finer_quadrature_changes_nothing(size):
    table, finer = relu_batch_table(size), relu_batch_table(size, nodes=36, angles=120)
    overlaps = np.cos(np.linspace(0, np.pi, 101))
    np.testing.assert_allclose([table(R) for R in overlaps], [finer(R) for R in overlaps], atol=1e-7)
    assert table.gamma_square == pytest.approx(finer.gamma_square, abs=1e-8)


@pytest.mark.parametrize(("size", "expected"), [(8, 2.7e-3), (32, 1.3e-4), (128, 8e-6)])
def test_sign_flips_leave_a_little_noise_at_the_teacher(size, expected):
    system = BatchNorm(unit="relu", learning_rate=1.0, batch_size=size)
    gamma0 = 2 * relu_batch_table(size)(1.0).product
    assert system.averages(gamma0, 1.0).noise == pytest.approx(expected, rel=0.05)  # theory sheet B.3
