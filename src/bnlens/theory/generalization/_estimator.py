"""The interface of an estimator: all that a learning curve needs to know of a way of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from bnlens._arguments import Range, check
from bnlens.errors import UsageError
from bnlens.theory._check import FloatArray

__all__ = ["DecayEstimator", "Estimator", "LoadArray", "Loads", "OrderParameters", "Status"]

Status = Literal["exact", "asymptotic", "approximate"]
"""exact: an expectation at finite N; asymptotic: exact as N -> infinity at fixed P/N; approximate: neither."""


@dataclass(frozen=True)
class OrderParameters:
    """The state of a trained student at several loads; all arrays float64 of the shape of the loads.

    Attributes:
        error: generalization error E[(teacher - student)^2] / 2 on labels without noise.
        overlap: v.w* / N of student v and teacher w*.
        norm: |v|^2 / N.
        training_error: half the mean squared residual on the training set.
    """

    error: FloatArray
    overlap: FloatArray
    norm: FloatArray
    training_error: FloatArray

    @classmethod
    def of_linear(cls, *, overlap: FloatArray, norm: FloatArray, training_error: FloatArray) -> OrderParameters:
        """Return those of a linear student of a linear teacher, error = |v - w*|^2 / (2 N), |w*|^2 = N."""
        return cls(error=(1 + norm - 2 * overlap) / 2, overlap=overlap, norm=norm, training_error=training_error)


def _loads(name: str, value: Any) -> FloatArray:
    """Return loads as a 1-d float64 array; raise `UsageError` if one is not a positive number."""
    loads = np.atleast_1d(np.asarray(check(name, value, Annotated[ArrayLike, Range(0, above=True)]), dtype=np.float64))
    if loads.ndim != 1:
        raise UsageError(f"{name} has {loads.ndim} dimensions; it must be a number or a list of loads P/N")
    return loads


Loads: TypeAlias = Annotated[ArrayLike, _loads]
"""Loads alpha = P/N, a number or a list; a function that takes them is handed a 1-d array."""

LoadArray: TypeAlias = Annotated[FloatArray, _loads]
"""The same, where the array is made elsewhere."""


@runtime_checkable
class Estimator(Protocol):
    """A way of training a student on P = alpha N labels; a frozen dataclass, so that two alike are equal."""

    @property
    def label_noise(self) -> float:
        """Variance S of the Gaussian noise on the labels."""

    @property
    def title(self) -> str:
        """A few words for legends and tables."""

    @property
    def status(self) -> Status:
        """The kind of its curve: exact, asymptotic or approximate."""

    @property
    def basis(self) -> str:
        """One sentence that says why the curve has this status."""

    def order_parameters(self, alpha: LoadArray) -> OrderParameters:
        """Return the order parameters at loads alpha, 1-d."""


class DecayEstimator(Estimator, Protocol):
    """An estimator with a coefficient that can be tuned."""

    def best_decay(self, alpha: LoadArray) -> FloatArray:
        """Return the coefficient, in the estimator's own convention, of least generalization error at each load."""

    def with_decay(self, decay: float) -> Estimator:
        """Return the same estimator with another coefficient."""
