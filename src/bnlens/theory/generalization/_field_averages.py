"""Gaussian averages over the effective single-sample problem of empirical risk minimisation.

A sample sees the cavity field w = sqrt(q) z and the teacher's field u = R z + rho a with rho^2 = 1 - R^2, its label is
t = g(u) + sqrt(S) b, and z, a, b are independent standard Gaussians. Adding the sample moves its field to the minimiser

    h* = argmin_h (h - w)^2 / (2 chi) + (t - g(h))^2 / 2,        f = (h* - w) / chi        (theory sheet C.4)

For given w the minimiser is piecewise linear in t with one threshold, so the average over b is in closed form. What is
left is a two-dimensional integral, by Gauss-Legendre panels that end where the integrand has kinks and jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr

from bnlens.theory._check import FloatArray, normal_density

__all__ = ["Activation", "FieldAverages", "field_averages"]

Activation = Literal["relu", "linear"]

_REACH = 7.0  # the Gaussian weight beyond is below 3e-12
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_STEPS = (0.0, 0.02, 0.1, 0.35, 0.9, 1.8, 3.3, _REACH)  # finer towards z = 0, where the threshold changes its law
_FIXED = (-3.0, 0.0, 3.0)
_BLUR = 5.0  # standard deviations of the label noise on either side of the threshold
_NEVER = -1e9  # a threshold that every label exceeds


@dataclass(frozen=True)
class FieldAverages:
    """Averages over z, a and b.

    Attributes:
        f_a: E[f a].
        f_z: E[f z].
        f_squared: E[f^2].
        loss: E[(t - g(h*))^2] / 2, the training error per sample.
    """

    f_a: float
    f_z: float
    f_squared: float
    loss: float


@dataclass(frozen=True)
class _LabelNoise:
    """Averages over b at label mean mu and field w, threshold included; see `_average_noise`."""

    f: FloatArray
    f_squared: FloatArray
    unfitted: FloatArray


def field_averages(
    *, q: float, ratio: float, chi: float, label_noise: float, student: Activation, teacher: Activation
) -> FieldAverages:
    """Average the response of one sample over its field, its teacher and its label noise.

    Args:
        q: variance of the cavity field.
        ratio: rho / R, which keeps its digits where R is close to one.
        chi: susceptibility.
        label_noise: S.
        student: activation g of the student.
        teacher: activation g of the teacher.
    """
    R, rho = 1 / np.hypot(1.0, ratio), ratio / np.hypot(1.0, ratio)
    z, weight = _Z_GRID
    w = np.sqrt(q) * z
    threshold = _threshold(w, chi, student)
    sigma = float(np.sqrt(label_noise))

    # Over a, from where the teacher's field turns positive (ReLU) or everything (linear).
    kink = -R * z / rho
    start = np.clip(kink, -_REACH, _REACH) if teacher == "relu" else np.full_like(z, -_REACH)
    jump, blur = (threshold - R * z) / rho, _BLUR * sigma / rho
    ends = [start, jump - blur, jump, jump + blur, *(np.full_like(z, end) for end in _FIXED), np.full_like(z, _REACH)]
    edges = np.sort(np.clip(np.stack(ends, axis=1), start[:, None], _REACH), axis=1)
    half = np.diff(edges, axis=1) / 2
    middle = (edges[:, 1:] + edges[:, :-1]) / 2
    a = (middle[..., None] + half[..., None] * _NODES).reshape(len(z), -1)
    a_weight = (half[..., None] * _WEIGHTS).reshape(len(z), -1) * normal_density(a)
    mean = R * z[:, None] + rho * a
    noise = _average_noise(mean, w[:, None], threshold[:, None], chi=chi, sigma=sigma, student=student)
    f = np.einsum("za,za->z", a_weight, noise.f)
    f_a = np.einsum("za,za,za->z", a_weight, a, noise.f)
    f_squared = np.einsum("za,za->z", a_weight, noise.f_squared)
    unfitted = np.einsum("za,za->z", a_weight, noise.unfitted)

    if teacher == "relu":  # below the kink the label is noise alone
        silent = _average_noise(np.zeros_like(z), w, threshold, chi=chi, sigma=sigma, student=student)
        mass = ndtr(kink)
        f += mass * silent.f
        f_a -= normal_density(kink) * silent.f
        f_squared += mass * silent.f_squared
        unfitted += mass * silent.unfitted

    return FieldAverages(
        f_a=float(weight @ f_a),
        f_z=float((weight * z) @ f),
        f_squared=float(weight @ f_squared),
        loss=float(weight @ unfitted) / 2,
    )


def _threshold(w: FloatArray, chi: float, student: Activation) -> FloatArray:
    """Return the label above which the sample is fitted, h* = (w + chi t) / (1 + chi), and not left where it is.

    For w < 0 the student must jump over the flat part of its loss, which pays above t = |w| / (sqrt(1 + chi) - 1).
    """
    if student == "linear":
        return np.full_like(w, _NEVER)
    return np.where(w >= 0, -w / chi, -w * (1 + np.sqrt(1 + chi)) / chi)


def _average_noise(
    mean: FloatArray, w: FloatArray, threshold: FloatArray, *, chi: float, sigma: float, student: Activation
) -> _LabelNoise:
    """Average f, f^2 and the squared residual over labels t = mean + sigma b.

    Above the threshold f = (t - w) / (1 + chi), which is the residual t - h* too. Below it the output is zero, the
    residual is t, and f = -w / chi for w >= 0 (h* = 0) and zero for w < 0 (h* = w).
    """
    above = mean - threshold
    if sigma > 0:
        fitted = ndtr(above / sigma)
        edge = sigma * normal_density(above / sigma)  # sigma times the density of b at the threshold
    else:
        fitted, edge = (above > 0).astype(np.float64), np.zeros_like(above)
    gain = 1 / (1 + chi)
    offset = mean - w
    square = ((offset**2 + sigma**2) * fitted + edge * (mean + threshold - 2 * w)) * gain**2
    if student == "linear":
        return _LabelNoise(f=gain * offset, f_squared=square, unfitted=square)
    rest = 1 - fitted
    pull = -np.maximum(w, 0) / chi
    return _LabelNoise(
        f=gain * (offset * fitted + edge) + pull * rest,
        f_squared=square + pull**2 * rest,
        unfitted=square + (mean**2 + sigma**2) * rest - edge * (mean + threshold),
    )


def _z_grid() -> tuple[FloatArray, FloatArray]:
    edges = np.array(_STEPS)
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    z = (middle[:, None] + half[:, None] * _NODES).ravel()
    weight = (half[:, None] * _WEIGHTS).ravel() * normal_density(z)
    return np.concatenate([-z, z]), np.concatenate([weight, weight])


_Z_GRID = _z_grid()
