"""Averages over normalised batches of a ReLU unit, by quadrature, tabulated over R for each batch size.

A Gaussian batch z of M samples has a mean m ~ N(0, 1/M), a deviation S and a normalised form zh that are independent of
each other; sqrt(M) S is chi-distributed with M - 1 degrees of freedom, and zh / sqrt(M) is uniform on the unit sphere
across (1, ..., 1). So one or two entries of zh, and S, carry every average that the backward pass needs once the rest is
done in closed form: given v = S zh, the teacher's u = R (m + v) + sqrt(1 - R^2) a is Gaussian with mean R v and variance
s^2 = 1 - R^2 + R^2/M, and two of them have covariance R^2/M. With h = 1(zh > 0) and k = 1 - (1 + zh^2)/M

    gain        E[u+ h zh] - gamma/2
    alignment   (1 - R^2) E[h 1(u > 0) k / S]                          (Stein's lemma on a; sum phi z = 0)
    M * noise   E[delta^2 k / S^2] - (M-1)/M E[delta delta' (1 + zh zh') / S^2],   delta = h (u+ + label noise - gamma zh),

a quadratic in gamma. Extends theory sheet B.3, which draws these averages. The part of a pair is a function of S times the
length of (zh, zh') and of the direction; it is taken at a few of these products, and the average is that of the polynomial
through them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss, legvander
from scipy.special import gammaln, ndtr, owens_t

from bnlens.theory._check import FloatArray, normal_density

__all__ = ["ReluBatchTable", "relu_batch_table"]

_TINY = 1e-15


class Entry(NamedTuple):
    """The averages at one R: E[u+ zh+], alignment / (1 - R^2), and the parts of M * noise free of and linear in gamma."""

    product: float
    turn: float
    square: float
    cross: float


class Singles(NamedTuple):
    """Nodes (n,) over S and zh > 0; the weights sum to P(zh > 0) = 1/2."""

    weight: FloatArray
    zh: FloatArray
    v: FloatArray
    inverse: FloatArray


class Pairs(NamedTuple):
    """Nodes over pairs 0 < zh < zh', by the product of S and their length, and their direction.

    Attributes:
        left: (n,), v.
        right: (n,), v'.
        weights: (3, n), averages of functions of v and v' over both orders, with (M-1)/M (1 + zh zh')/S^2 in them; and with
            zh and zh' besides.
        square: the average of zh zh' with the first.
    """

    left: FloatArray
    right: FloatArray
    weights: FloatArray
    square: float


@dataclass(frozen=True)
class ReluBatchTable:
    """The averages of one batch size as Chebyshev series in theta = arccos R.

    Attributes:
        series: (n, 4), coefficients of the four averages of `Entry`.
        gamma_square: the part of M * noise that goes with gamma^2.
    """

    series: FloatArray
    gamma_square: float

    def __call__(self, R: float) -> Entry:
        """Return the averages at R in [-1, 1]."""
        phase = np.arccos(2 * np.arccos(R) / np.pi - 1)
        return Entry(*(np.cos(phase * np.arange(len(self.series))) @ self.series).tolist())


@lru_cache(maxsize=64)
def relu_batch_table(batch_size: int, *, nodes: int = 28, angles: int = 96) -> ReluBatchTable:
    """Return the table for statistics batch size M >= 4, made once.

    Doubling the nodes and angles changes no entry by more than 1e-8 for M from 4 to 256, and 2e-7 for 1024.

    Args:
        batch_size: M.
        nodes: Gauss-Legendre nodes in each of the three variables of a pair, and half as many more for the products that
            replace two of them; single entries take twice as many in two.
        angles: values of R.
    """
    single = _singles(batch_size, 2 * nodes)
    pair = _pairs(batch_size, nodes, 3 * nodes // 2)
    phases = np.pi * (np.arange(angles) + 0.5) / angles
    overlaps = np.cos(np.pi / 2 * (np.cos(phases) + 1))
    values = np.array([_entry(float(R), batch_size, single, pair) for R in overlaps])
    series = 2 / angles * np.cos(np.outer(np.arange(angles), phases)) @ values
    series[0] /= 2
    alone = np.sum(single.weight * single.inverse**2 * single.zh**2 * (1 - (1 + single.zh**2) / batch_size))
    return ReluBatchTable(series, float(alone) - pair.square)


def _entry(R: float, M: int, single: Singles, pair: Pairs) -> Entry:
    weight, zh, v, inverse = single
    variance = 1 - R**2 + R**2 / M
    spread = np.sqrt(variance)
    mean, gate, density = R * v, ndtr(R * v / spread), normal_density(R * v / spread)
    rectified = mean * gate + spread * density
    squared = (mean**2 + variance) * gate + mean * spread * density
    kept = 1 - (1 + zh**2) / M
    product, mean_left, mean_right = _rectified_pair(R * pair.left, R * pair.right, spread, R**2 / M / variance)
    together, together_left, together_right = pair.weights
    square = np.sum(weight * inverse**2 * squared * kept) - np.sum(together * product)
    apart = np.sum(together_right * mean_left + together_left * mean_right) / 2
    cross = np.sum(weight * inverse**2 * rectified * zh * kept) - apart
    turn = np.sum(weight * inverse * gate * kept)
    return Entry(float(np.sum(weight * rectified * zh)), float(turn), float(square), float(cross))


def _rectified_pair(
    left: FloatArray, right: FloatArray, spread: float, correlation: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return E[u+ u'+], E[u+], E[u'+] of a Gaussian pair with these means and one spread; means of one sign."""
    a, b = left / spread, right / spread
    rest = max(np.sqrt(1 - correlation**2), _TINY)
    slope_a, slope_b = (b - correlation * a) / rest, (a - correlation * b) / rest
    # Owen's formula for P(u > 0, u' > 0); at a mean of zero his T(0, .) takes its limit.
    both = (ndtr(a) + ndtr(b)) / 2 - owens_t(a, slope_a / _off_zero(a)) - owens_t(b, slope_b / _off_zero(b))
    tail_a, tail_b = normal_density(a) * ndtr(slope_a), normal_density(b) * ndtr(slope_b)
    corner = rest * normal_density(a) * normal_density(slope_a)
    product = spread**2 * ((a * b + correlation) * both + a * tail_b + b * tail_a + corner)
    return product, spread * (a * ndtr(a) + normal_density(a)), spread * (b * ndtr(b) + normal_density(b))


def _singles(M: int, nodes: int) -> Singles:
    S, weight_S = _deviations(M, nodes)
    # zh = sqrt(M-1) sin(alpha) with density cos(alpha)^(M-3)
    alpha, weight = _legendre(0, min(np.pi / 2, 8 / np.sqrt(M)), nodes)
    log_norm = gammaln((M - 1) / 2) - gammaln((M - 2) / 2) - np.log(np.pi) / 2
    weight = weight * np.exp(log_norm + (M - 3) * np.log(np.cos(alpha)))
    zh, S_grid = np.meshgrid(np.sqrt(M - 1) * np.sin(alpha), S)
    return Singles(np.outer(weight_S, weight).ravel(), zh.ravel(), (zh * S_grid).ravel(), (1 / S_grid).ravel())


def _pairs(M: int, nodes: int, products: int) -> Pairs:
    S, weight_S = _deviations(M, nodes)
    # zh + zh' = sqrt(2(M-2)) sin(alpha) cos(phi), zh' - zh = sqrt(2M) sin(alpha) sin(phi): two orthogonal directions of
    # the sphere, density sin(alpha) cos(alpha)^(M-4) in alpha, uniform in phi.
    alpha, weight_alpha = _legendre(0, min(np.pi / 2, 8 / np.sqrt(M)), nodes)
    weight_alpha = weight_alpha * (M - 3) * np.sin(alpha) * np.cos(alpha) ** (M - 4)
    phi, weight_phi = _legendre(0, np.arctan(np.sqrt((M - 2) / M)), nodes)
    middle, half = np.sqrt((M - 2) / 2) * np.cos(phi), np.sqrt(M / 2) * np.sin(phi)
    left, right = np.outer(np.sin(alpha), middle - half), np.outer(np.sin(alpha), middle + half)
    weight = (M - 1) / M * np.outer(weight_alpha, weight_phi / np.pi) * (1 + left * right)
    moved, points = _moved(np.outer(weight_S / S**2, np.ones(nodes)), np.outer(S, np.sin(alpha)), products)
    weights = np.array([moved @ (weight * factor) for factor in (1.0, left, right)]).reshape(3, -1)
    square = np.sum(weight_S / S**2) * np.sum(weight * left * right)
    return Pairs(
        np.outer(points, middle - half).ravel(), np.outer(points, middle + half).ravel(), weights, float(square)
    )


def _moved(weight: FloatArray, at: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Return the weights, (count, columns), and the points in [0, max] that replace weights (rows, columns) at other points.

    A column's sum over its own points is that over the new ones for every polynomial of a degree below ``count``.
    """
    end = float(at.max())
    points, own = _legendre(-1, 1, count)
    degrees = np.arange(count) + 0.5
    through = (legvander(points, count - 1) * degrees * own[:, None]).T  # from values to coefficients
    return np.einsum("ijn,nk,ij->kj", legvander(2 * at / end - 1, count - 1), through, weight), end * (points + 1) / 2


def _deviations(M: int, nodes: int) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights for the biased deviation S of M standard Gaussians."""
    spread = 1 / np.sqrt(2 * M)
    S, weight = _legendre(max(0.0, 1 - 8 * spread), 1 + 8 * spread + 24 / M**1.5, nodes)
    log_norm = np.log(2) + (M - 1) / 2 * np.log(M / 2) - gammaln((M - 1) / 2)
    return S, weight * np.exp(log_norm + (M - 2) * np.log(S) - M * S**2 / 2)


def _legendre(low: float, high: float, nodes: int) -> tuple[FloatArray, FloatArray]:
    points, weights = leggauss(nodes)
    return (high - low) / 2 * points + (high + low) / 2, (high - low) / 2 * weights


def _off_zero(x: FloatArray) -> FloatArray:
    return np.where(np.abs(x) < _TINY, _TINY, x)
