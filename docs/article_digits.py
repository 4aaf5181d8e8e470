"""The noise of batches of digits: one unit on the embedded pictures, for article_states.py."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import root
from scipy.special import expit

from bnlens import theory
from bnlens.web.article.states import CELL

_SIZES, _SHUFFLES, _BATCHES, _CLOUD = (4, 8, 16, 32, 64), 400, 8, 150
_INKS = 16  # grey levels of a picture, four bits

FloatArray = NDArray[np.float64]


class DigitUnit(NamedTuple):
    """One kernel on the embedded digits and a logistic output that tells even from odd, at the optimum of scale and shift."""

    images: FloatArray
    x: FloatArray
    unit: theory.Unit
    gamma: float
    beta: float

    @property
    def law(self) -> theory.GapLaw:
        """The expansion of its gap, the digits being the population."""
        return theory.gap_law(self.unit, theory.Population(self.x), gamma=self.gamma, beta=self.beta)

    def losses(self, x: FloatArray, chosen: NDArray[np.intp]) -> FloatArray:
        """Return the losses of chosen images, nats, with ``x`` as their standardised pre-activations."""
        y, labels = self.gamma * x + self.beta, self.images[chosen, -1]
        return np.asarray(np.logaddexp(0, y) - labels * y)

    def batches(self, chosen: NDArray[np.intp]) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return of batches (B, M) the means, the deviations, and the losses with population and with batch statistics."""
        x = self.x[chosen]
        mean, std = x.mean(1), x.std(1)
        own = (x - mean[:, None]) / std[:, None]
        return mean, std, self.losses(x, chosen).mean(1), self.losses(own, chosen).mean(1)


def digit_unit() -> DigitUnit:
    """Return the unit; its kernel is the difference of the mean even and the mean odd digit."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    even = (digits.target % 2 == 0).astype(float)
    h = digits.data @ (digits.data[even == 1].mean(0) - digits.data[even == 0].mean(0))
    unit = theory.Unit(
        name="digit",
        risk=lambda y, x: np.logaddexp(0, y) - even * y,
        slope=lambda y, x: expit(y) - even,
        curvature=lambda y, x: expit(y) * (1 - expit(y)),
    )
    population = theory.Population(h)

    def gradient(point: FloatArray) -> list[float]:
        law = theory.gap_law(unit, population, gamma=float(point[0]), beta=float(point[1]))
        return [law.G_g, law.G_b]

    gamma, beta = root(gradient, [1.0, 0.0], tol=1e-12).x
    return DigitUnit(np.c_[digits.data, even], population.values, unit, float(gamma), float(beta))


def noise() -> dict[str, Any]:
    """Batches of digits: their statistics, and how much they raise the loss on average over shuffles of all digits."""
    digit, rng = digit_unit(), np.random.default_rng(0)
    P, law = len(digit.x), digit.law
    shown = _shown(rng, P)
    states = []
    for M in _SIZES:
        epochs = [rng.permutation(P)[: P // M * M].reshape(-1, M) for _ in range(_SHUFFLES)]
        rises = np.array([np.subtract(*digit.batches(epoch)[:1:-1]).mean() for epoch in epochs])
        spread = theory.BatchNoise(M, excess_kurtosis=law.excess_kurtosis, population=P)
        mean, std, *_ = digit.batches(np.concatenate(epochs)[:_CLOUD])
        states.append(
            {
                "M": M,
                "gap": rises.mean(),
                "stderr": rises.std(ddof=1) / _SHUFFLES**0.5,
                "law": law.gap(M, "own", population=P),
                "two_term": law.two_term * spread.scale,
                "spread": [np.sqrt(spread.var_mean), np.sqrt(spread.var_std)],
                "cloud": [mean, std],
                "batches": np.transpose(digit.batches(shown[:, :M])),
            }
        )
    loss = digit.losses(digit.x, np.arange(P)).mean()
    return {"population": P, "loss": loss, "states": states}


def _shown(rng: np.random.Generator, population: int) -> NDArray[np.intp]:
    """Return the images of the batches that are shown, (batches, images); a smaller batch is the first part of a large one."""
    return rng.permutation(population)[: _BATCHES * _SIZES[-1]].reshape(_BATCHES, -1)


def picture() -> bytes:
    """Return the batches that are shown as a PNG, below one another, each a square of 8 x 8 images.

    In a square the first 4, 8, 16, 32 images fill a rectangle of their own: image k has the even bits of k for its column and
    the odd ones for its row.
    """
    from PIL import Image

    digit = digit_unit()
    images = digit.images[_shown(np.random.default_rng(0), len(digit.x)), :-1]
    cells = np.zeros((len(images), 8, CELL, 8, CELL))
    for k in range(64):
        column, row = (sum((k >> 2 * bit + odd & 1) << bit for bit in range(3)) for odd in (0, 1))
        cells[:, row, 1:-1, column, 1:-1] = images[:, k].reshape(-1, 8, 8)
    ink = (cells.reshape(-1, 8 * CELL) / 16 * (_INKS - 1)).round().astype(np.uint8)
    sheet = Image.fromarray(ink, mode="P")
    sheet.putpalette([63, 118, 196] * _INKS)
    file, alpha = io.BytesIO(), bytes(round(255 * ink / (_INKS - 1)) for ink in range(_INKS))
    sheet.save(file, "PNG", transparency=alpha, bits=4, optimize=True)
    return file.getvalue()
